//! What only a database that several nodes share can get wrong.

use std::time::{Duration, Instant};

use bellwire::model::cap::{Cap, Caps};
use bellwire::model::feed::Filter;
use bellwire::model::mark::Mark;
use bellwire::model::time::Time;
use bellwire::store::copy::copy;
use bellwire::store::feeds::Changes;
use bellwire::store::keys::ApiKeyRow;
use bellwire::store::{Batch, Error, Place, Store};
use bellwire::verbs::mark::Everything;
use serde_json::json;

use crate::support::postgres::{Server, Transaction, place, shared, url};
use crate::support::wire::{State, Wire};
use crate::world::{CHANNEL, World, document, tell};

async fn error(place: &Place) -> String {
    match Store::connect(place).await {
        Ok(_) => panic!("it must be refused"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_start_at_once_migrate_once() {
    let server = shared();
    let place = server.place(&server.database().await, 2);
    let starts = (0..8).map(|_| {
        let place = place.clone();
        tokio::spawn(async move { Store::connect(&place).await.map(drop) })
    });
    for start in futures_util::future::join_all(starts).await {
        start.unwrap().unwrap();
    }
    let store = Store::connect(&place).await.unwrap();
    let count = store.query("SELECT count(*), max(number) FROM migrations", &[], |row| Ok((row.int(0)?, row.int(1)?)));
    let migrations = std::fs::read_dir("src/store/migrations").unwrap();
    let files = migrations.filter(|file| !file.as_ref().unwrap().path().to_string_lossy().contains(".postgres."));
    let number = |name: std::ffi::OsString| name.to_string_lossy()[..4].parse::<i64>().unwrap();
    let numbers: Vec<i64> = files.map(|file| number(file.unwrap().file_name())).collect();
    assert_eq!(count.await.unwrap(), [(numbers.len() as i64, *numbers.iter().max().unwrap())]);
    assert!(store.is_shared());
}

#[tokio::test]
async fn what_is_wrong_with_the_database_is_said_with_the_key_to_look_at() {
    let server = shared();
    assert!(error(&server.place("nowhere", 2)).await.contains("`url` of [store] does not exist"));
    let nobody =
        place(&format!("postgres://nobody:geheim@127.0.0.1:{}/postgres", server.port), 2, Duration::from_secs(2));
    let said = error(&nobody).await;
    assert!(said.contains("`url` of [store]") && !said.contains("geheim"), "{said}");
    let closed = place("postgres://u:geheim@127.0.0.1:1/db", 2, Duration::from_secs(2));
    let said = error(&closed).await;
    assert!(
        said.contains("look at `url` of [store]") && said.contains("refused") && !said.contains("geheim"),
        "{said}"
    );
    let database = server.database().await;
    let newer = server.place(&database, 2);
    drop(Store::connect(&newer).await.unwrap());
    server.execute(&database, "INSERT INTO migrations VALUES (99, 'later', '')").await;
    assert!(error(&newer).await.contains("the database has schema 99"));
}

/// A world in PostgreSQL, and as many nodes beside it as asked for, each with connections of its own.
async fn nodes(server: &Server, count: usize) -> (World, Vec<bellwire::verbs::Core>) {
    let place = server.place(&server.database().await, 9);
    let workflow = document(json!([tell("one", "{{ n }}")]));
    let world = World::in_store(Store::connect(&place).await.unwrap(), &[("greet", workflow)]).await;
    let mut others = Vec::new();
    for _ in 0..count {
        others.push(world.neighbour_in(Store::connect(&place).await.unwrap()));
    }
    (world, others)
}

/// Items, marks of all and marks of some, from four nodes at once, in feeds that they share: no version is given twice,
/// none is skipped, the counters are what a recount finds, and nobody waits for a deadlock to be found (that takes 1 s).
#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_change_the_same_feeds_at_once_lose_and_double_nothing() {
    const ROUNDS: usize = 40;
    let (world, nodes) = nodes(shared(), 4).await;
    let users = ["ann", "bob", "cem", "dee"];
    let work = nodes.iter().enumerate().map(|(at, node)| {
        let world = &world;
        async move {
            for round in 0..ROUNDS {
                // Each in another order.
                let mut them = users;
                them.rotate_left((at + round) % users.len());
                let recipients: Vec<_> = them.iter().map(|id| json!({"id": id})).collect();
                world
                    .trigger_on(node, "greet", json!({"recipients": recipients, "data": {"n": round}}), None)
                    .await
                    .unwrap();
                for user in them {
                    if round % 3 == at % 3 {
                        node.mark_all(world.env, CHANNEL, user, &Everything::default(), Mark::Read, node.clock.now())
                            .await
                            .unwrap();
                    } else {
                        let head = node.store.feed_head(world.env, CHANNEL, user).await.unwrap();
                        let page = node.store.feed_page(&head, &Filter::default(), None, 3).await.unwrap();
                        let ids: Vec<String> = page.messages.into_iter().map(|message| message.id).collect();
                        let mark = [Mark::Archived, Mark::Seen, Mark::Unread][(round + at) % 3];
                        node.mark(world.env, &ids, mark, None, &Default::default()).await.unwrap();
                    }
                }
            }
        }
    });
    futures_util::future::join_all(work).await;
    for user in users {
        let head = world.head(user).await;
        let total = head.active.total + head.archived.total;
        assert_eq!(total, (nodes.len() * ROUNDS) as i64, "{user}");
        assert_eq!((head.active, head.archived), world.core.store.recount(head.id).await.unwrap(), "{user}");
        let sql = "SELECT count(DISTINCT seq), count(DISTINCT inserted_at) FROM messages WHERE feed = ?1";
        let feed = bellwire::params![head.id];
        let found = world.core.store.query(sql, &feed, |row| Ok((row.int(0)?, row.int(1)?)));
        assert_eq!(found.await.unwrap(), [(total, total)], "{user}: F-FED-06");
    }
    let sql = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(world.core.store.query(sql, &[], |row| row.int(0)).await.unwrap(), [0]);
}

/// A group locks feeds first, then counters; a trigger that comes alone must not have a counter while it waits for a feed.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_a_feed_keeps_no_counter_from_others() {
    let server = shared();
    let (world, _) = nodes(server, 0).await;
    let cap = Cap::parse("calm", &json!({"name": "Calm", "limit": 9, "per": "day"})).unwrap();
    world.core.catalog.replace_caps(Caps::new(vec![cap]));
    let trigger =
        async || world.trigger("greet", json!({"recipients": [{"id": "ann"}], "data": {"n": 1}})).await.unwrap();
    trigger().await;
    let url = server.url(&current(&world.core.store).await);
    let held = Transaction::begin(&url, "SELECT 1 FROM feeds FOR UPDATE").await;
    let others = async {
        while held.waiting().await.is_empty() {}
        drop(Transaction::begin(&url, "SELECT 1 FROM cap_counts WHERE recipient = 'ann' FOR UPDATE NOWAIT").await);
        drop(held);
    };
    tokio::join!(trigger(), others);
    assert_eq!(world.head("ann").await.active.total, 2);
}

/// Whoever asks in a crowd, as when the clients of a dead node all come at once, is told of its own feed, since its own
/// version: what it would have been told alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_is_answered_one_by_one() {
    let (world, _) = nodes(shared(), 0).await;
    let name = |user: i64| format!("user-{user}");
    for item in 1..4 {
        // A user has as many items as the remainder of its number.
        let recipients: Vec<_> =
            (0..100).filter(|user| user % 4 >= item).map(|user| json!({"id": name(user)})).collect();
        world.trigger("greet", json!({"recipients": recipients, "data": {"n": item}})).await.unwrap();
    }
    let asking = (0..500).map(|asked| {
        let (store, env, user, since) = (world.core.store.clone(), world.env, asked % 100, asked / 100);
        tokio::spawn(async move { (user, since, store.feed_since(env, CHANNEL, &name(user), since).await.unwrap()) })
    });
    for answer in futures_util::future::join_all(asking).await {
        let (user, since, (head, changes)) = answer.unwrap();
        let items = user % 4;
        assert_eq!((head.version, head.active.total), (items, items));
        match changes {
            Changes::Since { changed, removed } => {
                let seqs: Vec<i64> = changed.iter().map(|item| item.seq).collect();
                assert_eq!(
                    (seqs, removed.len()),
                    ((since + 1..=items).rev().collect(), 0),
                    "user {user} since {since}"
                );
                assert!(changed.iter().all(|item| item.recipient.user_id() == Some(&*name(user))));
            }
            Changes::TooOld => assert!(since > items, "user {user} since {since}"),
        }
    }
}

/// F-AUT-03: keys are read for many at once, but never before they are asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_counts_on_the_next_question_in_a_crowd_too() {
    let store = Store::connect(&shared().place(&shared().database().await, 9)).await.unwrap();
    let is_over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let key = |number: usize| format!("key-{number}");
    let crowd: Vec<_> = (0..64)
        .map(|at| {
            let (store, is_over) = (store.clone(), std::sync::Arc::clone(&is_over));
            tokio::spawn(async move {
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    store.known_key(&key(at % 8)).await.unwrap();
                }
            })
        })
        .collect();
    for number in 0..40 {
        let row = ApiKeyRow {
            digest: key(number),
            env: 1,
            kind: "public".to_owned(),
            name: String::new(),
            hint: String::new(),
            created_at: Time::from_micros(1),
            revoked_at: None,
            scope: None,
        };
        let mut batch = Batch::new();
        batch.add_api_key(&row);
        store.apply(batch).await.unwrap();
        assert_eq!(store.known_key(&row.digest).await.unwrap().unwrap().key, row, "known at once");
        let mut batch = Batch::new();
        batch.revoke_api_key(&row.digest, Time::from_micros(2));
        store.apply(batch).await.unwrap();
        let known = store.known_key(&row.digest).await.unwrap().unwrap();
        assert_eq!(known.key.revoked_at, Some(Time::from_micros(2)), "key {number}");
    }
    is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    for one in crowd {
        one.await.unwrap();
    }
}

/// W-ENG-25: of all jobs each is claimed by one node, and no node waits for another's claim.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_claimed_by_one_node_each_and_past_each_other() {
    let (world, nodes) = nodes(shared(), 3).await;
    let mut batch = Batch::new();
    for number in 0..600 {
        batch.add_job("test", &number.to_string(), Time::from_micros(1));
    }
    world.core.store.apply(batch).await.unwrap();
    let (now, until) = (Time::from_micros(2), Time::from_micros(9));
    let claims = nodes.iter().enumerate().map(|(at, node)| async move {
        let mut mine = Vec::new();
        loop {
            let claimed = node.store.claim_jobs(&format!("node {at}"), now, until, 16).await.unwrap();
            if claimed.is_empty() {
                return mine;
            }
            mine.extend(claimed.into_iter().map(|job| job.subject));
        }
    });
    let mut all: Vec<String> = futures_util::future::join_all(claims).await.concat();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 600);
    // One row is another's at this moment: the others are there for whoever asks.
    let url = shared().url(&current(&world.core.store).await);
    let held = Transaction::begin(&url, "SELECT 1 FROM jobs WHERE subject = '7' FOR UPDATE").await;
    let later = world.core.store.claim_jobs("late", until, Time::from_micros(20), 1_000);
    let claimed = tokio::time::timeout(Duration::from_secs(30), later).await.expect("it does not wait").unwrap();
    assert_eq!(claimed.len(), 599);
    drop(held);
}

async fn current(store: &Store) -> String {
    store.query("SELECT CAST(current_database() AS text)", &[], |row| row.string(0)).await.unwrap().remove(0)
}

/// The database dies under load, and comes back: what was acknowledged is there once, what was not is there at most once,
/// and the node goes on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_dies_and_comes_back_loses_nothing_acknowledged() {
    let server = Server::with(&["fsync=on"]);
    let place = place(&server.url(&server.database().await), 6, Duration::from_secs(3));
    let store = Store::connect(&place).await.unwrap();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let writers = (0..4).map(|writer| {
        let (store, stopped) = (store.clone(), stopped.clone());
        tokio::spawn(async move {
            let mut kept = Vec::new();
            for number in 0.. {
                if *stopped.borrow() {
                    break;
                }
                let name = format!("{writer}-{number}");
                let mut batch = Batch::new();
                batch.add_job("test", &name, Time::from_micros(1));
                match store.apply(batch).await {
                    Ok(_) => kept.push(name),
                    Err(Error::Unavailable(_)) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            kept
        })
    });
    let writers: Vec<_> = writers.collect();
    let count = async || store.query_one("SELECT count(*) FROM jobs", &[], |row| row.int(0)).await.ok().flatten();
    let until = async |least: i64| while count().await.unwrap_or(0) < least {};
    until(200).await;
    for _ in 0..2 {
        server.down();
        server.up();
        let before = count().await.unwrap();
        tokio::time::timeout(Duration::from_secs(30), until(before + 200)).await.expect("it goes on by itself");
    }
    stop.send_replace(true);
    let mut kept = Vec::new();
    for writer in writers {
        kept.extend(writer.await.unwrap());
    }
    let mut there = store.query("SELECT subject FROM jobs", &[], |row| row.string(0)).await.unwrap();
    there.sort();
    let all = there.len();
    there.dedup();
    assert_eq!(there.len(), all, "nothing is there twice");
    kept.retain(|name| there.binary_search(name).is_err());
    assert_eq!(kept, [] as [String; 0], "what was acknowledged is there");
}

/// A store that cannot answer says so within its time, and not later.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_answer_is_waited_for_no_longer_than_allowed() {
    let server = Server::start();
    let store = Store::connect(&place(&server.url(&server.database().await), 4, Duration::from_secs(1))).await.unwrap();
    let signal = |name: &str| {
        // The one that starts others first; of those that there were, some may have ended meanwhile.
        let all = format!(
            "kill -{name} {0} && {{ kill -{name} $(cat /proc/{0}/task/{0}/children); true; }}",
            server.process()
        );
        assert!(std::process::Command::new("sh").args(["-c", &all]).status().unwrap().success());
    };
    signal("STOP");
    let begun = Instant::now();
    let mut batch = Batch::new();
    batch.add_job("test", "late", Time::default());
    let (asked, written) = tokio::join!(store.ping(), store.apply(batch));
    let took = begun.elapsed();
    signal("CONT");
    assert!(matches!(asked, Err(Error::Unavailable(_))) && matches!(written, Err(Error::Unavailable(_))), "{asked:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    tokio::time::timeout(Duration::from_secs(20), async { while store.ping().await.is_err() {} })
        .await
        .expect("it heals");
}

/// A transaction goes out as a whole. When its node or the network is gone in the midst of it, what it holds would be held
/// until the kernel misses the other end: for two hours.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_in_the_midst_of_a_change_holds_up_nobody_for_long() {
    let server = shared();
    let database = server.database().await;
    let wire = Wire::to(server.address());
    let patience = Duration::from_secs(60);
    let far = Store::connect(&place(&url(wire.address, &database), 3, patience)).await.unwrap();
    let near = Store::connect(&place(&server.url(&database), 3, patience)).await.unwrap();
    let (now, until) = (Time::from_micros(1), Time::from_micros(2));
    let mut batch = Batch::new();
    batch.add_job("test", "one", now);
    near.apply(batch).await.unwrap();
    let job = near.claim_jobs("near", now, until, 1).await.unwrap().pop().unwrap();

    let mut held = Batch::new();
    held.keep_job(&job, until);
    // So long that it does not arrive before the wire is mute.
    held.add_job("test", &"x".repeat(16 << 20), now);
    wire.set(State::Passing { there: Duration::from_millis(10), back: Duration::ZERO });
    let holding = tokio::spawn(async move { far.apply(held).await });
    let ask = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'";
    while server.ask(&database, ask).await.is_empty() {}
    wire.set(State::Mute);
    let (mut own, began) = (Batch::new(), Instant::now());
    own.finish_job(&job);
    near.apply(own).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    wire.set(State::Cut);
    assert!(matches!(holding.await.unwrap(), Err(Error::Unavailable(_))), "it may be tried again");
}

#[tokio::test]
async fn an_embedded_store_is_copied_whole_and_goes_on_where_it_was_broken_off() {
    let world = World::embedded(&[("greet", document(json!([tell("one", "{{ n }}\\ \"tab\there\"\n")])))]).await;
    for user in ["ann", "bob"] {
        world
            .trigger("greet", json!({"recipients": [{"id": user, "name": "Zoë\u{0} \\N"}], "data": {"n": "1\t2"}}))
            .await
            .unwrap();
    }
    world.copy("ann", 12_000).await;
    let file = world.file();
    let place = shared().place(&shared().database().await, 4);
    let (mut seen, pulled) = (0, tokio::sync::Notify::new());
    let broken = copy(&file, &place, |copied| {
        seen += usize::from(copied.table == "messages");
        if seen == 3 {
            pulled.notify_one();
        }
    });
    tokio::select! {
        biased;
        () = pulled.notified() => {}
        done = broken => panic!("it was to be broken off: {done:?}"),
    }
    let mut first = None;
    let tables = copy(&file, &place, |copied| {
        if copied.table == "messages" && first.is_none() {
            first = Some(copied.done);
        }
    });
    let tables = tables.await.unwrap();
    assert_eq!(first, Some(10_000), "it did not begin anew");
    assert!(tables.iter().any(|copied| copied.table == "messages" && copied.total == 12_002));
    let copied = Store::connect(&place).await.unwrap();
    for user in ["ann", "bob"] {
        let head = world.head(user).await;
        assert_eq!(copied.feed_head(world.env, CHANNEL, user).await.unwrap(), head);
        assert_eq!(copied.recount(head.id).await.unwrap(), (head.active, head.archived));
        let page = async |store: &Store| store.feed_page(&head, &Filter::default(), None, 50).await.unwrap().messages;
        assert_eq!(page(&copied).await, page(&world.core.store).await);
    }
    let there = world.neighbour_in(copied);
    world.trigger_on(&there, "greet", json!({"recipients": ["ann"], "data": {}}), None).await.unwrap();
    assert_eq!(there.store.feed_head(world.env, CHANNEL, "ann").await.unwrap().active.total, 12_002, "it goes on");
    let said = copy(&file, &place, |_| {}).await.unwrap_err().to_string();
    assert!(said.contains("copy into an empty database"), "{said}");
}

/// What is found is found whichever transaction ends first; and once is enough to be told of it.
#[tokio::test(flavor = "multi_thread")]
async fn changes_are_found_in_whatever_order_they_are_committed() {
    // Transactions of other tests count as well: it has a server to itself.
    let server = &Server::start();
    let (world, _) = nodes(server, 0).await;
    let trigger = async |user: &str| {
        world.trigger("greet", json!({"recipients": [{"id": user}], "data": {"n": 1}})).await.unwrap();
    };
    let store = &world.core.store;
    let mut seen = store.changes_now().await.unwrap();
    let mut since = async || {
        let now = store.changes_now().await.unwrap();
        let changed = store.changes_since(&std::mem::replace(&mut seen, now)).await.unwrap();
        let mut names: Vec<(String, i64)> = changed.into_iter().map(|feed| (feed.recipient, feed.version)).collect();
        names.sort();
        names
    };
    trigger("ann").await;
    let url = server.url(&current(store).await);
    let late = Transaction::begin(&url, "UPDATE feeds SET version = version + 1 WHERE recipient = 'ann'").await;
    trigger("bob").await;
    trigger("bob").await;
    assert_eq!(since().await, [("ann".to_owned(), 1), ("bob".to_owned(), 2)]);
    late.commit().await;
    assert!(since().await.contains(&("ann".to_owned(), 2)), "it began before the last look, and ended after it");
    world
        .core
        .mark_all(world.env, CHANNEL, "bob", &Everything::default(), Mark::Read, world.core.clock.now())
        .await
        .unwrap();
    assert_eq!(since().await, [("bob".to_owned(), 3)], "a mark is a change");
    assert_eq!(since().await, []);
    let mut batch = Batch::new();
    batch.forget_changes(&store.changes_now().await.unwrap());
    store.apply(batch).await.unwrap();
    assert_eq!(store.query("SELECT feed FROM changes", &[], |row| row.int(0)).await.unwrap(), [] as [i64; 0]);
    let before = store.changes_now().await.unwrap();
    assert!(before.leads_to(&store.changes_now().await.unwrap()));
    server.down();
    server.up();
    assert!(!before.leads_to(&store.changes_now().await.unwrap()), "after a crash nobody knows what has changed");
}

/// What `sslmode` says is what is done, and `ca_file` says whom to trust.
#[tokio::test]
async fn a_server_is_spoken_to_encrypted_and_trusted_as_the_address_says() {
    let (server, certificate) = Server::start_with_tls();
    let connect = async |host: &str, mode: &str, authority: &std::path::Path| {
        let text = format!(
            "[store]\nurl = \"postgres://bellwire@{host}:{}/postgres?sslmode={mode}\"\nca_file = {authority:?}\ntimeout_seconds = 5\n",
            server.port
        );
        let config = bellwire::config::Config::parse(&text, "b.toml".as_ref(), Time::default(), Vec::new()).unwrap();
        let store = Store::connect(&config.store.place()?).await.map_err(|error| error.to_string())?;
        let ask = "SELECT CAST(ssl AS int) FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        Ok::<_, String>(store.query(ask, &[], |row| row.int(0)).await.unwrap()[0])
    };
    let (nobody, own) = (std::path::Path::new(""), certificate.as_path());
    assert_eq!(connect("localhost", "disable", nobody).await, Ok(0));
    assert_eq!(connect("localhost", "prefer", nobody).await, Ok(1));
    assert_eq!(connect("localhost", "require", nobody).await, Ok(1), "encrypted, and nobody is asked who it is");
    assert_eq!(connect("localhost", "verify-full", own).await, Ok(1));
    let other = connect("127.0.0.1", "verify-full", own).await.unwrap_err();
    assert!(other.contains("NotValidForName") || other.contains("not valid for name"), "{other}");
    let stranger = connect("localhost", "verify-full", nobody).await.unwrap_err();
    assert!(stranger.contains("certificate") && stranger.contains("`url` of [store]"), "{stranger}");
}
