//! `bellwire workflows apply`: what is published is what every node runs, and what is under way stays what it is.

use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::Duration;

use bellwire::model::workflow::Workflow;
use bellwire::store::{Batch, Store};
use bellwire::verbs::Error;
use serde_json::{Value, json};

use super::{Dir, Done, Server};
use crate::support::{is_on_postgres, postgres};
use crate::world::{CHANNEL, World, document, record, tell, wait};

/// A directory whose nodes follow the store, look every second, and have two environments.
fn project(name: &str) -> Dir {
    let dir = Dir::new(name);
    let channel = format!("[[channels]]\nid = \"{CHANNEL}\"\nkey = \"feed\"\ntype = \"in_app_feed\"\n");
    dir.write(
        "b.toml",
        &format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[workflows]\nfrom = \"store\"\ndir = \"w\"\n[bus]\nsweep_seconds = 1\n\
             [environments.development]\n[environments.production]\n{channel}\
             [[channels]]\nid = \"5f3c1d6e-0000-4000-8000-000000000002\"\nkey = \"post\"\ntype = \"email\"\n\
             [channels.environments.production]\nsandbox_mode = true\n"
        ),
    );
    dir
}

fn says(body: &str) -> Value {
    document(json!([tell("tell", body)]))
}

fn gather(mode: &str, body: &str) -> Value {
    let settings = json!({"workflow_version_mode": mode, "batch_window": {"unit": "minutes", "value": 1}});
    document(json!([{"type": "batch", "ref": "gather", "settings": settings}, tell("tell", body)]))
}

fn pause(body: &str) -> Value {
    document(json!([wait("pause", "hours", 1), tell("tell", body)]))
}

impl Dir {
    /// Applies these workflows, and nothing else, to the database that the variable names.
    #[track_caller]
    fn publish(&self, database: &(&'static str, String), workflows: &[(&str, Value)], more: &[&str]) -> Done {
        self.lay(workflows);
        let args = [&["workflows", "apply", "--yes", "--config", "b.toml"], more].concat();
        let done = self.run_with(&args, &[(database.0, &database.1)]);
        assert_eq!(done.code, Some(0), "{}{}", done.out, done.err);
        done
    }
}

/// W-ENG-15, W-BAT-33, W-BAT-34, W-ENV-11: as the plan has told.
#[tokio::test]
async fn what_is_under_way_stays_what_it_is_on_nodes_that_have_not_looked_yet() {
    let world = World::new(&[
        ("greet", pause("old")),
        ("latest", gather("latest", "old {{ total_activities }}")),
        ("legacy", pause("never")),
        ("pinned", gather("pinned", "old {{ total_activities }}")),
    ])
    .await;
    let (one, two) = (world.follower(), world.follower());
    two.catalog.catch_up(&two.store).await.unwrap();
    let ann = json!({"recipients": [{"id": "ann"}]});
    for workflow in ["greet", "latest", "legacy", "pinned"] {
        world.trigger_on(&one, workflow, ann.clone(), None).await.unwrap();
    }
    let dir = project("apply-under-way");
    let new = [
        ("fresh", pause("fresh")),
        ("greet", pause("new")),
        ("latest", gather("latest", "new {{ total_activities }}")),
        ("pinned", gather("pinned", "new {{ total_activities }}")),
    ];
    let done = dir.publish(&world.variable(), &new, &["--env", "development"]);
    assert!(done.out.contains("1 new, 3 changed, 1 missing, 0 unchanged; 4 runs in flight."), "{}", done.out);
    assert!(done.out.ends_with("Published. Every node that is up runs it within 1 second.\n"), "{}", done.out);

    // A node that has not looked since is told of what is new, and ends nothing of it.
    world.trigger_on(&one, "fresh", ann.clone(), None).await.unwrap();
    assert!(one.catalog.workflow(world.env, "legacy").is_none());
    // What a node takes over that has not looked at all.
    for workflow in ["greet", "latest", "pinned"] {
        world.trigger_on(&one, workflow, ann.clone(), None).await.unwrap();
    }
    world.pass_on(&two, 3_600).await;
    let mut told = world.told("ann").await;
    told.sort();
    assert_eq!(
        told,
        ["<p>fresh</p>", "<p>new 1</p>", "<p>new 2</p>", "<p>new</p>", "<p>old 1</p>", "<p>old</p>"],
        "`new 2` is of the latest batch, `old 1` and `new 1` of the pinned ones"
    );
    let runs = world.runs().await;
    let ended = runs.iter().find(|run| run.workflow == "legacy").unwrap();
    assert_eq!(record(ended), ["delay_started", "run_halted:workflow_archived"], "W-ENV-11");
    let gone = world.trigger_on(&two, "legacy", ann, None).await;
    assert!(matches!(gone, Err(Error::WorkflowMissing(_))), "W-ENV-11");
}

/// W-BAT-33: newest is what this environment has had.
#[tokio::test]
async fn a_batch_goes_on_in_no_version_of_another_environment() {
    let world = World::new(&[("latest", gather("latest", "own"))]).await;
    let ann = json!({"recipients": [{"id": "ann"}]});
    world.trigger_on(&world.follower(), "latest", ann, None).await.unwrap();
    let dir = project("apply-elsewhere");
    let database = world.variable();
    dir.publish(&database, &[("latest", gather("latest", "of another"))], &["--env", "production"]);
    dir.publish(&database, &[("latest", says("without a batch"))], &["--env", "development"]);
    world.pass_on(&world.follower(), 60).await;
    assert_eq!(world.told("ann").await, ["<p>own</p>"], "W-BAT-33");
}

/// Two nodes where several may share a database, else one.
fn nodes(dir: &Dir, database: &(&'static str, String)) -> Vec<Server> {
    let start = || {
        let mut command = dir.command(&["serve", "--config", "b.toml"]);
        command.env(database.0, &database.1);
        Server::started(command)
    };
    (0..if is_on_postgres() { 2 } else { 1 }).map(|_| start()).collect()
}

async fn database(dir: &Dir) -> (&'static str, String) {
    match is_on_postgres() {
        false => ("BELLWIRE_STORE_PATH", dir.path("bellwire.db").display().to_string()),
        true => ("BELLWIRE_STORE_URL", postgres::shared().url(&postgres::shared().database().await)),
    }
}

impl Server {
    fn trigger(&self, key: &str, workflow: &str) -> u16 {
        let headers = [("authorization", key), ("content-type", "application/json")];
        let path = format!("/v1/workflows/{workflow}/trigger");
        self.request("POST", &path, &headers, r#"{"recipients": [{"id": "u"}]}"#).0
    }

    fn newest(&self, key: &str) -> String {
        let path = format!("/v1/users/u/feeds/{CHANNEL}?page_size=1");
        let (_, feed) = self.request("GET", &path, &[("authorization", key)], "");
        let feed: Value = serde_json::from_str(&feed).unwrap();
        feed["entries"][0]["blocks"][0]["rendered"].as_str().unwrap_or_default().to_owned()
    }
}

/// W-ENV-03, W-ENV-04, W-ENV-05, W-TRG-31: each environment runs what was published there last.
#[tokio::test]
async fn every_node_follows_what_is_published_in_each_environment_without_a_restart() {
    let dir = project("apply-nodes");
    let database = database(&dir).await;
    let mut nodes = nodes(&dir, &database);
    assert!(nodes[0].greeting.contains("no workflow is published in `production` yet"), "{}", nodes[0].greeting);
    let key = |slug: &str| {
        let args = ["keys", "create", "--kind", "secret", "--env", slug, "--config", "b.toml", "--json"];
        let made = dir.run_with(&args, &[(database.0, &database.1)]);
        let made: Value = serde_json::from_str(&made.out).expect("a key");
        format!("Bearer {}", made["key"].as_str().unwrap())
    };
    let (development, production) = (key("development"), key("production"));
    let mail = json!({"type": "channel", "ref": "mail", "channel_key": "post", "channel_type": "email",
        "template": {"subject": "Hello", "html_body": "Hello"}});
    let mail = document(json!([mail]));
    dir.publish(&database, &[("hello", says("one")), ("mail", mail.clone())], &[]);
    for node in &mut nodes {
        node.log_until("took over what is published in `production`");
        assert_eq!((node.trigger(&production, "hello"), node.newest(&production).as_str()), (200, "<p>one</p>"));
    }
    dir.publish(&database, &[("hello", says("two")), ("mail", mail)], &["--env", "development"]);
    for node in &mut nodes {
        node.log_until("took over what is published in `development`");
        assert_eq!((node.trigger(&development, "hello"), node.newest(&development).as_str()), (200, "<p>two</p>"));
        node.trigger(&production, "hello");
        assert_eq!(node.newest(&production), "<p>one</p>", "W-ENV-03");
    }
    let switch = |word: &str| {
        let args = ["workflows", word, "hello", "--env", "production", "--config", "b.toml"];
        let done = dir.run_with(&args, &[(database.0, &database.1)]);
        assert_eq!(done.code, Some(0), "{}", done.err);
        done.out
    };
    let said = switch("deactivate");
    assert_eq!(said, "`hello` is switched off in production; every node that is up knows within 1 second.\n");
    for node in &mut nodes {
        node.log_until("took over what is published in `production`");
        assert_eq!((node.trigger(&production, "hello"), node.trigger(&development, "hello")), (422, 200), "W-ENV-05");
    }
    assert!(
        dir.run_with(&["workflows", "plan", "--config", "b.toml"], &[(database.0, &database.1)])
            .out
            .contains("In production:\n  ~ hello: changed, switched off\n")
    );
    switch("activate");
    // W-ENV-15: the channel is the same everywhere, and has settings in production alone.
    let skipped = |key: &str| {
        let headers = [("authorization", key), ("content-type", "application/json")];
        let body = r#"{"recipients": [{"id": "u", "email": "u@example.com"}]}"#;
        let (_, answer) = nodes[0].request("POST", "/v1/workflows/mail/trigger", &headers, body);
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let run = answer["workflow_run_id"].as_str().unwrap();
        let show = ["runs", "show", run, "--json", "--config", "b.toml"];
        let run: Value = serde_json::from_str(&dir.run_with(&show, &[(database.0, &database.1)]).out).unwrap();
        run["events"][0]["data"]["reason"].clone()
    };
    assert_eq!(skipped(&development), "channel_not_configured", "W-ENV-15");
    assert_ne!(skipped(&production), "channel_not_configured", "W-ENV-15");
    for node in &mut nodes {
        node.log_until("took over what is published in `production`");
        assert_eq!(node.trigger(&production, "hello"), 200, "W-ENV-05");
        node.stop();
    }
    // Nodes read what is published when they start, and no files.
    std::fs::remove_dir_all(dir.path("w")).unwrap();
    let mut again = self::nodes(&dir, &database);
    again[0].trigger(&production, "hello");
    assert_eq!(again[0].newest(&production), "<p>one</p>");
    again.iter_mut().for_each(|node| drop(node.stop()));
}

/// W-ENV-14: for pinned batches, too.
#[tokio::test]
async fn an_empty_publication_makes_a_version_of_its_own() {
    let world = World::new(&[("pinned", gather("pinned", "{{ total_activities }}"))]).await;
    let node = world.follower();
    let ann = json!({"recipients": [{"id": "ann"}]});
    world.trigger_on(&node, "pinned", ann.clone(), None).await.unwrap();
    let dir = project("apply-empty");
    let new = [("pinned", gather("pinned", "{{ total_activities }}"))];
    let only = ["--env", "development"];
    let first = node.catalog.workflow(world.env, "pinned").unwrap();
    let done = dir.publish(&world.variable(), &new, &only);
    node.catalog.catch_up(&node.store).await.unwrap();
    assert_eq!(node.catalog.workflow(world.env, "pinned").unwrap().version_id, first.version_id, "{}", done.out);
    assert!(dir.publish(&world.variable(), &new, &only).out.ends_with("Nothing is to be published.\n"));

    let done = dir.publish(&world.variable(), &new, &["--env", "development", "--allow-empty", "--json"]);
    let said: Value = serde_json::from_str(&done.out).unwrap();
    let told = &said["environments"][0]["workflows"][0];
    assert_eq!((&said["published"], &told["fate"]), (&json!(true), &json!("renewed")));
    assert_eq!((&told["in_flight"]["keep"], &told["in_flight"]["follow"]), (&json!(1), &json!(0)));
    node.catalog.catch_up(&node.store).await.unwrap();
    let second = node.catalog.workflow(world.env, "pinned").unwrap();
    assert_ne!(second.version_id, first.version_id, "W-ENV-14");
    assert_eq!(
        (second.version_id.to_string(), &second.source),
        (told["next_version_id"].as_str().unwrap().to_owned(), &first.source)
    );
    world.trigger_on(&node, "pinned", ann, None).await.unwrap();
    // Another node knows the older one from the store alone.
    world.pass_on(&world.follower(), 60).await;
    assert_eq!(world.told("ann").await, ["<p>1</p>", "<p>1</p>"], "W-ENV-14");
    let versions: Vec<String> = world.feed("ann").await.into_iter().map(|message| message.version_id).collect();
    assert!(versions.contains(&first.version_id.to_string()) && versions.contains(&second.version_id.to_string()));
}

#[tokio::test]
async fn what_somebody_else_has_published_meanwhile_is_not_overwritten() {
    let world = World::new(&[("hello", says("one"))]).await;
    let dir = project("apply-overtaken");
    let database = world.variable();
    dir.publish(&database, &[("hello", says("two"))], &[]);
    dir.lay(&[("hello", says("three"))]);
    let asked = |answer: &str, meanwhile: &dyn Fn()| {
        let mut command = dir.command(&["workflows", "apply", "--config", "b.toml"]);
        command.env(database.0, &database.1).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut prompt = vec![0; "\nPublish this? Only `yes` is a yes: ".len()];
        child.stderr.as_mut().unwrap().read_exact(&mut prompt).unwrap();
        assert!(prompt.ends_with(b"is a yes: "), "{}", String::from_utf8_lossy(&prompt));
        meanwhile();
        child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        (done.status.code(), String::from_utf8(done.stderr).unwrap(), String::from_utf8(done.stdout).unwrap())
    };
    let published = async || {
        let node = world.follower();
        let env = world.env;
        node.catalog.catch_up(&node.store).await.unwrap();
        node.catalog.workflow(env, "hello").unwrap().source["steps"][0]["template"]["markdown_body"].clone()
    };
    let (code, said, _) = asked("y\n", &|| ());
    assert_eq!((code, said.as_str()), (Some(1), "Nothing was published.\n"));
    assert_eq!(published().await, json!("two"));
    let (code, said, _) = asked("yes\n", &|| drop(dir.publish(&database, &[("hello", says("four"))], &[])));
    assert_eq!(code, Some(1));
    assert!(said.starts_with("Somebody else has published since this plan was made"), "{said}");
    assert_eq!(published().await, json!("four"));
    dir.lay(&[("hello", says("three"))]);
    let (code, _, out) = asked("yes\n", &|| ());
    assert_eq!(code, Some(0), "{out}");
    assert_eq!(published().await, json!("three"));
}

#[tokio::test]
async fn nodes_with_files_leave_alone_what_was_applied_until_it_is_released() {
    let dir = project("apply-files");
    let database = database(&dir).await;
    let variables = [(database.0, database.1.as_str()), ("BELLWIRE_WORKFLOWS_FROM", "files")];
    dir.lay(&[("hello", says("of a file"))]);
    let done = dir.run_with(&["workflows", "apply", "--yes", "--config", "b.toml"], &variables);
    assert_eq!(done.code, Some(1));
    assert!(done.err.starts_with("The nodes of this configuration read files: "), "{}", done.err);
    nodes(&dir, &database).iter_mut().for_each(|node| drop(node.stop()));
    dir.publish(&database, &[("hello", says("applied"))], &[]);
    dir.lay(&[("hello", says("of a file"))]);
    let done = dir.run_with(&["serve", "--config", "b.toml"], &variables);
    assert_eq!(done.code, Some(1));
    let sentence = "The workflows of `development` are applied to the database, and are not those of this node's files: set \
                    `from = \"store\"` of [workflows], or give them back to files with `bellwire workflows release`.\n";
    assert!(done.err.ends_with(sentence), "{}", done.err);
    dir.run_with(&["workflows", "release", "--config", "b.toml"], &[(database.0, &database.1)]);
    let mut command = dir.command(&["serve", "--config", "b.toml"]);
    command.envs(variables);
    Server::started(command).stop();
    let plan = dir.run_with(&["workflows", "plan", "--config", "b.toml"], &variables);
    assert!(plan.out.contains("    hello: unchanged\n"), "{}{}", plan.out, plan.err);
    // What a directory has no more is archived by its node, and is itself again when it comes back.
    dir.lay(&[]);
    let mut command = dir.command(&["serve", "--config", "b.toml"]);
    command.envs(variables);
    Server::started(command).stop();
    let plan = dir.run_with(&["workflows", "plan", "--config", "b.toml"], &variables);
    assert!(
        plan.out.starts_with("In development, production:\n  0 new, 0 changed, 0 missing"),
        "{}{}",
        plan.out,
        plan.err
    );
}

/// It was told that what is applied is not what its files say, where it was only published again; the plan said otherwise.
#[tokio::test]
async fn a_node_with_the_files_that_are_applied_runs_the_versions_that_they_are() {
    let dir = project("apply-same-files");
    let database = database(&dir).await;
    nodes(&dir, &database).iter_mut().for_each(|node| drop(node.stop()));
    let hello = [("hello", says("one"))];
    dir.publish(&database, &hello, &[]);
    dir.publish(&database, &hello, &["--env", "development", "--allow-empty"]);
    let files = [(database.0, database.1.as_str()), ("BELLWIRE_WORKFLOWS_FROM", "files")];
    let versions = || {
        let plan = dir.run_with(&["workflows", "plan", "--config", "b.toml", "--json"], &files);
        let plan: Value = serde_json::from_str(&plan.out).unwrap();
        assert_eq!(plan["has_changes"], json!(false));
        [0, 1].map(|at| plan["environments"][at]["workflows"][0]["version_id"].as_str().unwrap().to_owned())
    };
    let before = versions();
    assert_ne!(before[0], before[1], "W-ENV-14");
    let mut command = dir.command(&["serve", "--config", "b.toml"]);
    command.envs(files);
    let mut node = Server::started(command);
    let made = ["keys", "create", "--kind", "secret", "--env", "development", "--config", "b.toml", "--json"];
    let made: Value = serde_json::from_str(&dir.run_with(&made, &[(database.0, &database.1)]).out).unwrap();
    assert_eq!(node.trigger(&format!("Bearer {}", made["key"].as_str().unwrap()), "hello"), 200);
    node.stop();
    let store = match is_on_postgres() {
        true => Store::connect(&postgres::place(&database.1, 1, Duration::from_secs(10))).await,
        false => Store::open(database.1.as_ref()),
    };
    let of_run = store.unwrap().query_one("SELECT version_id FROM runs", &[], |row| row.string(0)).await.unwrap();
    assert_eq!(of_run.as_ref(), Some(&before[0]));
    assert_eq!(versions(), before, "nothing was published");
}

/// W-AMB-15: all of a publication, or nothing.
#[tokio::test]
async fn a_publication_that_a_node_cannot_run_changes_nothing_there() {
    let world = World::new(&[("hello", says("one")), ("other", says("one"))]).await;
    let node = world.follower();
    node.catalog.catch_up(&node.store).await.unwrap();
    let now = world.core.clock.now();
    let newer = Workflow::parse("other", &says("two"), world.core.catalog.channels()).unwrap();
    let mut batch = Batch::new();
    batch.raise_publication(world.env, 0, true, now);
    let broken = json!({"name": "N", "steps": [{"type": "of the future", "ref": "a"}]});
    batch.publish_workflow(world.env, "hello", uuid::Uuid::from_u128(1), &broken, now);
    batch.publish_workflow(world.env, "other", newer.version_id, &newer.source, now);
    node.store.apply(batch).await.unwrap();
    let looked = node.catalog.look(&node.store).await.unwrap();
    assert_eq!((looked.len(), looked[0].faults.len()), (1, 1));
    assert!(looked[0].faults[0].contains("of `hello`: steps[0].type: "), "{:?}", looked[0].faults);
    let body = |key: &str| {
        node.catalog.workflow(world.env, key).unwrap().source["steps"][0]["template"]["markdown_body"].clone()
    };
    assert_eq!((body("hello"), body("other")), (json!("one"), json!("one")), "W-AMB-15");
    assert!(node.catalog.look(&node.store).await.unwrap().is_empty(), "it is said once");
}
