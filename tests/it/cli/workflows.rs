//! `bellwire workflows`: what files would change against what is published, told beside a world that is under way.

use bellwire::model::recipient::RecipientRef;
use bellwire::verbs::subscribe::Request;
use serde_json::{Value, json};

use super::{Dir, Done};
use crate::world::{CHANNEL, World, document, tell, wait};

/// A directory whose configuration fits the worlds of tests.
fn project(name: &str) -> Dir {
    let dir = Dir::new(name);
    let channel = format!("[[channels]]\nid = \"{CHANNEL}\"\nkey = \"feed\"\ntype = \"in_app_feed\"\n");
    dir.write("b.toml", &format!("[environments.development]\nsecret_vars = {{ key = \"verschwiegen\" }}\n{channel}"));
    dir
}

impl Dir {
    pub(super) fn lay(&self, workflows: &[(&str, Value)]) {
        let _ = std::fs::remove_dir_all(self.path("w"));
        std::fs::create_dir_all(self.path("w")).unwrap();
        workflows.iter().for_each(|(key, document)| {
            self.write(&format!("w/{key}/workflow.json"), &document.to_string());
        });
    }

    /// Runs a command beside the world.
    fn beside(&self, world: &World, args: &[&str]) -> Done {
        let (name, value) = world.variable();
        self.run_with(&[&["workflows"], args, &["--config", "b.toml"]].concat(), &[(name, &value)])
    }
}

fn gather(seconds: i64, mode: &str) -> Value {
    json!({"type": "batch", "ref": "gather", "settings": {"workflow_version_mode": mode,
        "batch_window": {"unit": "seconds", "value": seconds}}})
}

fn fetch(url: &str, token: &str) -> Value {
    json!({"type": "http_fetch", "ref": "ask", "settings": {"url": url,
        "headers": [{"key": "Authorization", "value": token}, {"key": "x-note", "value": url}]}})
}

/// Runs that wait in a digest go on in the new version unless it is pinned, or a batch now.
#[tokio::test]
async fn a_plan_tells_whose_digests_go_on() {
    let digest = |hours: i64, mode: Value| {
        let settings =
            json!({"digest_repeats": [{"frequency": "daily", "hours": hours}], "workflow_version_mode": mode});
        document(json!([{"type": "digest", "ref": "gather", "settings": settings}]))
    };
    let world = World::new(&[
        ("calm", digest(9, json!(null))),
        ("other", digest(9, json!(null))),
        ("pinned", digest(9, json!("pinned"))),
    ])
    .await;
    for workflow in ["calm", "other", "pinned"] {
        world.trigger(workflow, json!({"recipients": [{"id": "ann"}]})).await.unwrap();
    }
    let dir = project("plan-digest");
    dir.lay(&[
        ("calm", digest(17, json!(null))),
        ("other", document(json!([gather(60, "latest")]))),
        ("pinned", digest(17, json!("pinned"))),
    ]);
    let said = dir.beside(&world, &["plan", "w"]).out;
    let expected = "\
  ~ calm: changed
      ~ steps[0].settings.digest_repeats[0].hours (gather): 9 -> 17
      1 run in flight: 1 goes on in the new one
        1 in gather (digest), which goes on in the new version
";
    assert!(said.contains(expected), "{said}");
    assert_eq!(said.matches("1 keeps its version\n        1 in gather (digest)\n").count(), 2, "{said}");
}

/// Who follows which version is told by the rules: W-ENG-15, W-BAT-33, W-BAT-34, W-ENV-11.
#[tokio::test]
async fn a_plan_tells_what_changes_and_whom_it_touches() {
    let calm = |seconds| document(json!([gather(seconds, "latest"), tell("tell", "hello")]));
    let pinned = |seconds| document(json!([gather(seconds, "pinned"), tell("tell", "hello")]));
    let world = World::new(&[
        ("calm", calm(60)),
        (
            "greet",
            document(json!([wait("pause", "hours", 1), fetch("/a/verschwiegen", "geheim"), tell("old", "x\ny\nz")])),
        ),
        ("legacy", document(json!([wait("pause", "hours", 1)]))),
        ("pinned", pinned(60)),
        ("same", document(json!([tell("tell", "hello")]))),
    ])
    .await;
    for (workflow, recipient) in [
        ("calm", "ann"),
        ("calm", "ann"),
        ("calm", "bob"),
        ("greet", "ann"),
        ("legacy", "ann"),
        ("pinned", "ann"),
        ("same", "ann"),
    ] {
        world.trigger(workflow, json!({"recipients": [{"id": recipient}]})).await.unwrap();
    }
    let dir = project("plan");
    let greet = json!([
        wait("before", "days", 1),
        wait("pause", "hours", 2),
        fetch("/b/verschwiegen", "geheimer"),
        tell("other", "hello")
    ]);
    let mut greet = document(greet);
    greet["tags"] = json!(["one"]);
    dir.lay(&[
        ("calm", calm(90)),
        ("fresh", document(json!([tell("tell", "hello"), wait("pause", "hours", 1)]))),
        ("greet", greet),
        ("pinned", pinned(90)),
        ("same", document(json!([tell("tell", "hello")]))),
    ]);
    let done = dir.beside(&world, &["plan", "w"]);
    let expected = "\
In development:
  ~ calm: changed
      ~ steps[0].settings.batch_window.value (gather): 60 -> 90
      2 runs in flight: 2 go on in the new one
        2 in gather (batch), which goes on in the new version
  + fresh: new, 2 steps
  ~ greet: changed
      ~ tags: (none) -> [\"one\"]
      + steps[0] (before): delay step
      ~ steps[1].settings.delay_for.value (pause): 1 -> 2
      ~ steps[2].settings.headers[0].value (ask): \"[redacted]\" -> \"[redacted]\"
      ~ steps[2].settings.headers[1].value (ask): \"/a/[redacted]\" -> \"/b/[redacted]\"
      ~ steps[2].settings.url (ask): \"/a/[redacted]\" -> \"/b/[redacted]\"
      + steps[3] (other): channel step
      - steps[2] (old): channel step
      1 run in flight: 1 keeps its version
        1 in pause (delay)
  - legacy: not in the directory; it can be triggered no more
      1 run in flight: 1 ends as it resumes
        1 in pause (delay)
  ~ pinned: changed
      ~ steps[0].settings.batch_window.value (gather): 60 -> 90
      1 run in flight: 1 keeps its version
        1 in gather (batch)
    same: unchanged
  1 new, 3 changed, 1 missing, 1 unchanged; 5 runs in flight.
";
    assert_eq!((done.code, done.out.as_str()), (Some(0), expected), "{}", done.err);
    assert_eq!(dir.beside(&world, &["plan", "w"]).out, expected, "the same again");

    let done = dir.beside(&world, &["plan", "w", "--json", "--detailed-exitcode"]);
    assert!(!done.out.contains("geheim") && !done.out.contains("verschwiegen"), "{}", done.out);
    let plan: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!((done.code, &plan["has_changes"]), (Some(2), &json!(true)));
    let workflows = &plan["environments"][0]["workflows"];
    assert_eq!(plan["environments"][0]["environment"], "development");
    assert_eq!(
        workflows[0]["changes"],
        json!([{"change": "value", "path": "steps[0].settings.batch_window.value", "step": "gather", "old": 60, "new": 90}])
    );
    let of = |at: usize, name: &str| workflows[at]["in_flight"][name].clone();
    assert_eq!(
        (&workflows[0]["key"], of(0, "follow"), of(0, "keep")),
        (&json!("calm"), json!(2), json!(0)),
        "W-BAT-33"
    );
    assert_eq!(
        (&workflows[4]["key"], of(4, "follow"), of(4, "keep")),
        (&json!("pinned"), json!(0), json!(1)),
        "W-BAT-34"
    );
    assert_eq!((&workflows[3]["fate"], of(3, "end")), (&json!("missing"), json!(1)), "W-ENV-11");
    assert_eq!((&workflows[2]["fate"], of(2, "keep")), (&json!("changed"), json!(1)), "W-ENG-15");
    let nowhere = world.core.catalog.workflow(world.env, "calm").unwrap().version_id;
    assert_eq!(workflows[0]["version_id"], json!(nowhere));
}

#[tokio::test]
async fn a_batch_that_the_new_version_has_no_more_keeps_its_version() {
    let calm = |steps: Value| document(steps);
    let world = World::new(&[("calm", calm(json!([gather(60, "latest"), tell("tell", "hello")])))]).await;
    world.trigger("calm", json!({"recipients": [{"id": "ann"}]})).await.unwrap();
    let dir = project("plan-gone");
    for steps in [json!([tell("tell", "hello")]), json!([gather(60, "pinned"), tell("tell", "hello")])] {
        dir.lay(&[("calm", calm(steps))]);
        let done = dir.beside(&world, &["plan", "w"]);
        assert!(done.out.contains("1 run in flight: 1 keeps its version\n"), "W-BAT-33 {}{}", done.out, done.err);
    }
}

/// It was said that they stand at their beginning.
#[tokio::test]
async fn where_runs_of_a_version_stand_that_cannot_be_read_is_not_made_up() {
    let world = World::new(&[("greet", document(json!([wait("pause", "hours", 1)])))]).await;
    world.trigger("greet", json!({"recipients": [{"id": "ann"}]})).await.unwrap();
    let version = world.run().await.version_id;
    let later = document(json!([{"type": "of_a_later_time", "ref": "pause"}])).to_string();
    let mut batch = bellwire::store::Batch::new();
    batch.push("UPDATE workflow_versions SET document = ?1", vec![later.into()]);
    world.core.store.apply(batch).await.unwrap();
    let dir = project("plan-unreadable");
    dir.lay(&[("greet", document(json!([tell("tell", "hello")])))]);
    let done = dir.beside(&world, &["plan", "w"]);
    let expected = format!(
        "      1 run in flight: 1 keeps its version\n        1 in version {version}, which can't be read here\n"
    );
    assert!(done.out.contains(&expected), "{}{}", done.out, done.err);
    let plan: Value = serde_json::from_str(&dir.beside(&world, &["plan", "w", "--json"]).out).unwrap();
    let waiting = &plan["environments"][0]["workflows"][0]["in_flight"]["waiting"][0];
    assert_eq!((&waiting["is_unknown"], &waiting["step"]), (&json!(true), &Value::Null));
}

#[tokio::test]
async fn texts_differ_by_their_lines() {
    let lines = |third: &str| document(json!([tell("tell", &format!("one\ntwo\n{third}\nfour"))]));
    let world = World::new(&[("story", lines("three"))]).await;
    let dir = project("plan-lines");
    dir.lay(&[("story", lines("3"))]);
    let done = dir.beside(&world, &["plan", "w"]);
    let expected =
        "      ~ steps[0].template.markdown_body (tell):\n          - three\n          + 3\n  0 new, 1 changed";
    assert!(done.out.contains(expected), "{}{}", done.out, done.err);
}

#[tokio::test]
async fn where_nothing_is_different_nothing_is_planned() {
    let world = World::new(&[("same", document(json!([tell("tell", "hello")])))]).await;
    let dir = project("plan-same");
    dir.lay(&[("same", document(json!([tell("tell", "hello")])))]);
    let done = dir.beside(&world, &["plan", "w", "--detailed-exitcode"]);
    let expected =
        "In development:\n    same: unchanged\n  0 new, 0 changed, 0 missing, 1 unchanged; 0 runs in flight.\n";
    assert_eq!((done.code, done.out.as_str()), (Some(0), expected), "{}", done.err);
    let done = dir.beside(&world, &["plan", "w", "--env", "production"]);
    assert_eq!(done.err, "There is no environment `production`; there is development.\n");
    // What is wrong is told as `check` tells it, before anything is compared.
    dir.lay(&[("same", document(json!([{"type": "dellay", "ref": "a"}])))]);
    let done = dir.beside(&world, &["plan", "w", "--detailed-exitcode"]);
    assert_eq!(done.code, Some(1));
    assert!(
        done.out.starts_with("w/same/workflow.json: steps[0].type: ") && done.out.ends_with("1 problem to solve.\n"),
        "{}",
        done.out
    );
}

/// W-SNW-07, W-AMB-50, W-FAN-03: what is under way besides runs.
#[tokio::test]
async fn a_plan_tells_of_messages_triggers_and_schedules_under_way() {
    let week = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let days: Vec<Value> =
        week.iter().map(|day| json!({"day": day, "type": "send", "from": "03:00", "until": "04:00"})).collect();
    let mut step = tell("tell", "hello");
    step["send_windows"] = days.into();
    let world = World::new(&[("story", document(json!([step]))), ("hello", document(json!([])))]).await;
    let team = json!({"recipients": [{"collection": "teams", "id": "red", "name": "Red"}]});
    world.trigger("hello", team.clone()).await.unwrap();
    let follower = json!({"recipients": [{"id": "ann"}]});
    let request = Request::parse(follower.as_object().unwrap()).unwrap();
    let red = RecipientRef::Object { collection: "teams".to_owned(), id: "red".to_owned() };
    world.core.subscribe(world.env, &red, &request).await.unwrap();
    world.trigger("story", follower).await.unwrap();
    world.trigger("story", team).await.unwrap();
    let body = json!({"workflow": "story", "recipients": ["ann"], "repeats": [{"frequency": "daily", "hours": 9}]});
    world.core.create_schedules(world.env, body.as_object().unwrap().clone()).await.unwrap();
    let dir = project("plan-besides");
    dir.lay(&[("story", document(json!([tell("tell", "hello")]))), ("hello", document(json!([])))]);
    let done = dir.beside(&world, &["plan", "w"]);
    let expected = "      1 message waiting for a send window: sent as made\n      1 trigger still being told to followers: in their old version
      1 schedule to come: in the version that is published then\n";
    assert!(done.out.contains(expected), "{}{}", done.out, done.err);
    dir.lay(&[("hello", document(json!([])))]);
    let done = dir.beside(&world, &["plan", "w"]);
    let expected = "followers: who is left is not told\n      1 schedule to come: nothing comes any more\n";
    assert!(done.out.contains(expected), "{}{}", done.out, done.err);
}
