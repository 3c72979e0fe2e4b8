//! What triggers cost: figures, not tests.

use std::io::Write as _;
use std::time::Instant;

use bellwire::model::cap::{Cap, Caps};
use serde_json::json;

use crate::world::{World, document, tell};

/// User and system time of this process in microseconds.
fn cpu_micros() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let mut fields = stat.rsplit(')').next().unwrap().split(' ').skip(12);
    let mut next = || fields.next().unwrap().parse::<u64>().unwrap() * 10_000;
    next() + next()
}

/// The most memory this process has had, in bytes.
fn peak_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

fn say(what: &str) {
    std::io::stderr().write_all(format!("{what}\n").as_bytes()).unwrap();
}

/// `cargo test --test it engine::figures -- --ignored --nocapture`
#[tokio::test]
#[ignore = "measures; what it finds depends on the machine"]
async fn figures() {
    const ROUNDS: usize = 100;
    const AT_ONCE: usize = 64;
    let mut picky = tell("hello", "Hello **{{ recipient.name }}**, {{ data.page }}");
    picky["conditions"] =
        json!({"all": [{"variable": "data.page", "operator": "equal_to", "argument": "{{ data.page }}"}]});
    let plain = tell("hello", "Hello **{{ recipient.name }}**, {{ data.page }}");
    let world = World::new(&[
        ("greet", document(json!([plain.clone()]))),
        ("picky", document(json!([picky]))),
        ("capped", document(json!([plain]))),
    ])
    .await;
    for n in 0..1_000 {
        let profile = json!({"name": "Ada", "plan": {"tier": "pro", "seats": 3}, "timezone": "Europe/Berlin"});
        let profile = bellwire::verbs::identify::Profile::parse(profile.as_object().unwrap(), "").unwrap();
        if n < AT_ONCE {
            world.core.identify_user(world.env, &format!("u{n}"), &profile).await.unwrap();
        }
    }
    let cap = json!({"name": "All", "limit": 1_000, "per": "day", "workflows": ["capped"]});
    world.core.catalog.replace_caps(Caps::new(vec![Cap::parse("all", &cap).unwrap()]));
    for workflow in ["greet", "picky", "capped", "greet", "picky", "capped"] {
        let (cpu, wall) = (cpu_micros(), Instant::now());
        for _ in 0..ROUNDS {
            let all = (0..AT_ONCE).map(|n| {
                let body = json!({"recipients": [format!("u{n}")], "data": {"page": "p", "n": n, "tags": ["a", "b"]}});
                world.trigger(workflow, body)
            });
            for answer in futures_util::future::join_all(all).await {
                answer.unwrap();
            }
        }
        let each = (ROUNDS * AT_ONCE) as f64;
        say(&format!(
            "{workflow}: {:.0} us CPU, {:.0} us in all per trigger of one recipient",
            (cpu_micros() - cpu) as f64 / each,
            wall.elapsed().as_micros() as f64 / each
        ));
    }
    for (bytes, recipients) in [(60_000, 1_000), (10_000_000, 6)] {
        let (before, cpu, wall) = (peak_bytes(), cpu_micros(), Instant::now());
        let who: Vec<_> = (0..recipients).map(|n| json!({"id": format!("new-{bytes}-{n}")})).collect();
        // As many small parts as such data has: their number is what copies cost.
        let parts: Vec<_> = (0..bytes / 20).map(|n| format!("part {n:012}")).collect();
        world.trigger("greet", json!({"recipients": who, "data": {"page": "p", "parts": parts}})).await.unwrap();
        say(&format!(
            "{recipients} recipients with {bytes} bytes each: {} ms CPU, {} ms in all, {} MB more at the peak",
            (cpu_micros() - cpu) / 1_000,
            wall.elapsed().as_millis(),
            (peak_bytes() - before) / 1_000_000
        ));
    }
}

/// What of a trigger is not the store: reading, staging, deciding.
#[tokio::test]
#[ignore = "measures; what it finds depends on the machine"]
async fn decisions() {
    use bellwire::engine::run::advance;
    use bellwire::engine::scene::{Common, Scene};
    use bellwire::model::run::SourceType;
    use bellwire::verbs::staged::{Stage as _, Staged};
    const ROUNDS: u32 = 5_000;
    let plain = tell("hello", "Hello **{{ recipient.name }}**, {{ data.page }}");
    let world = World::new(&[("greet", document(json!([plain])))]).await;
    let profile = json!({"name": "Ada", "plan": {"tier": "pro", "seats": 3}, "timezone": "Europe/Berlin"});
    let profile = bellwire::verbs::identify::Profile::parse(profile.as_object().unwrap(), "").unwrap();
    world.core.identify_user(world.env, "u", &profile).await.unwrap();
    let body = json!({"recipients": ["u"], "data": {"page": "p", "n": 1, "tags": ["a", "b"]}});
    let mut times = [std::time::Duration::ZERO; 4];
    for _ in 0..ROUNDS {
        let mut at = Instant::now();
        let mut lap = |slot: usize| {
            times[slot] += at.elapsed();
            at = Instant::now();
        };
        let order = world.core.catalog.order(world.env, "greet", body.clone()).unwrap();
        lap(0);
        let mut staged = Staged::new(&world.core, world.env);
        order.stage(&mut staged).await.unwrap();
        let common = Common { actor: None, tenant: None, cancellation_key: None };
        let scene = Scene::set(&world.core, &order.environment, &order.workflow, common, &mut staged).await.unwrap();
        lap(1);
        let run = order.runs(SourceType::Api, uuid::Uuid::new_v4(), scene.now).next().unwrap();
        let input = scene.input(&run, &mut staged, Default::default()).await.unwrap();
        lap(2);
        let outcome = advance(run, &input);
        lap(3);
        assert_eq!(outcome.run.state.messages.len(), 1);
    }
    let [order, scene, input, advanced] = times.map(|time| time / ROUNDS);
    say(&format!("order {order:?}, scene {scene:?}, input {input:?}, stretch {advanced:?}"));
}

/// How fast an object's followers are told, beside the same rows put down by nobody in particular; and in how much
/// memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; what it finds depends on the machine"]
async fn fan_out() {
    use bellwire::engine::fan_out::Work;
    use bellwire::model::recipient::RecipientRef;
    use bellwire::store::Batch;
    const FEW: usize = 20_000;
    const MANY: usize = 100_000;
    let plain = tell("hello", "Hello **{{ recipient.name }}**, {{ data.page }}");
    let world = World::embedded(&[("greet", document(json!([plain])))]).await;
    let now = world.core.clock.now();
    let team = |of: usize| RecipientRef::Object { collection: "teams".to_owned(), id: of.to_string() };
    let members = json!({"name": "Ada", "plan": {"tier": "pro", "seats": 3}, "timezone": "Europe/Berlin"});
    for n in (0..MANY).step_by(1_000) {
        let mut batch = Batch::new();
        for n in n..n + 1_000 {
            let id = format!("u{n}");
            let properties = members.as_object().unwrap().clone();
            let user = bellwire::model::recipient::User { id, properties, inserted_at: now, updated_at: now };
            batch.put_user(world.env, &user, None);
            for of in [FEW, MANY].into_iter().filter(|of| n < *of) {
                let none = bellwire::wire::json::Patch::Absent;
                batch.subscribe(world.env, &team(of).key(), &user.id, &none, now);
            }
        }
        world.core.store.apply(batch).await.unwrap();
    }
    for of in [FEW, MANY, FEW] {
        let (before, cpu, wall) = (peak_bytes(), cpu_micros(), Instant::now());
        let who = json!([{"collection": "teams", "id": of.to_string()}]);
        world.trigger("greet", json!({"recipients": who, "data": {"page": "p", "n": 1}})).await.unwrap();
        let answered = wall.elapsed();
        let now = world.core.clock.now();
        let job = world.core.store.claim_jobs("it", now, now.plus_seconds(30), 1).await.unwrap().remove(0);
        let mut work = Work::take_up(&world.core, &job).await.unwrap().unwrap();
        while work.goes_on(&world.core).await.unwrap() {}
        let fan_out = wall.elapsed();
        let cpu = cpu_micros() - cpu;
        let memory = (peak_bytes() - before) / 1_000_000;
        world.events.lock().unwrap().clear();
        // The rows that it wrote, of other runs: what a database takes for them alone.
        let model = world.feed("u1").await.remove(0);
        let run = world.core.store.run(&model.run).await.unwrap().unwrap();
        let wall = Instant::now();
        for n in (0..of).step_by(256) {
            let mut batch = Batch::new();
            for n in n..of.min(n + 256) {
                let id = uuid::Uuid::now_v7();
                let recipient = RecipientRef::User(format!("u{n}"));
                batch.add_run(&bellwire::model::run::Run { id, recipient: recipient.clone(), ..run.clone() });
                let message =
                    bellwire::model::message::Message { id: id.simple().to_string(), recipient, ..model.clone() };
                batch.add_to_feed(&message);
            }
            world.core.store.apply(batch).await.unwrap();
        }
        let bare = wall.elapsed();
        say(&format!(
            "{of} followers: answered in {answered:?}, told in {fan_out:.2?} ({:.0} a second, {:.0} us CPU each), {memory} MB more at \
             the peak; bare rows {:.0} a second; ratio {:.2}",
            of as f64 / fan_out.as_secs_f64(),
            cpu as f64 / of as f64,
            of as f64 / bare.as_secs_f64(),
            bare.as_secs_f64() / fan_out.as_secs_f64()
        ));
    }
}
