//! `bellwire runs show`.

use serde_json::json;

use super::Dir;
use crate::stub::{Answer, Stub};
use crate::world::{World, document, tell};

#[tokio::test]
async fn a_run_says_what_it_did_and_why() {
    let when = json!({"all": [{"variable": "data.n", "operator": "greater_than", "argument": 5}]});
    let mut quiet = tell("quiet", "never");
    quiet["conditions"] = when;
    let world = World::embedded(&[("story", document(json!([quiet, tell("loud", "always")])))]).await;
    let body = json!({"recipients": [{"id": "ann"}, {"id": "bob"}], "data": {"n": 3}, "tenant": "acme", "cancellation_key": "k"});
    let answer = world.trigger("story", body).await.unwrap();
    let run = world.runs().await.into_iter().find(|run| run.recipient.key() == "ann").unwrap();
    let dir = Dir::new("runs");
    let home = world.file().parent().unwrap().display().to_string();
    let ask = |more: &[&str]| dir.ask(&[&["runs", "show", "--data", &home], more].concat());

    let said = ask(&[&run.id.to_string()]);
    for line in [
        &*format!("Run {} of `story` for ann: completed\n", run.id),
        "  tenant acme\n  cancellation key k\n",
        "Monday, 2026-09-21 (UTC)\n",
        "10:00:00  story          quiet              step_skipped  reason=conditions\n",
        "            data.n greater_than 5: 3: does not hold\n",
        "loud               message_enqueued  channel_id=0b9a5d7e-3f1c-4a53-9a64-5a7f5b3a1c11",
    ] {
        assert!(said.contains(line), "{line}\nis not in\n{said}");
    }
    let answer: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let all = ask(&[answer["workflow_run_id"].as_str().unwrap()]);
    assert!(all.contains("for ann: completed") && all.contains("for bob: completed"), "{all}");
    let read: serde_json::Value = serde_json::from_str(&ask(&[&run.id.to_string(), "--json"])).unwrap();
    assert_eq!((&read["id"], &read["events"][0]["event"]), (&json!(run.id), &json!("step_skipped")));

    let nothing = dir.run(&["runs", "show", "--data", &home, "11111111-2222-4333-8444-555555555555"]);
    assert_eq!(nothing.code, Some(1));
    assert!(nothing.err.contains("There is no run `11111111-2222-4333-8444-555555555555`"), "{}", nothing.err);
}

/// What a step asked of another server and what came, and whom a step changed and how; nothing that lets somebody in.
#[tokio::test]
async fn what_steps_fetched_and_changed_is_told() {
    let stub = Stub::start(|_, _| Answer::json(json!({"plan": "pro"}))).await;
    let steps = json!([
        {"type": "http_fetch", "ref": "fetch", "settings": {"url": stub.url("/plan?of={{ recipient.id }}"),
            "headers": [{"key": "authorization", "value": "Bearer geheim"}]}},
        {"type": "update_user", "ref": "note", "settings": {"recipient_mode": "current",
            "update_properties": r#"{"plan": "{{ data.plan }}"}"#}},
    ]);
    let world = World::embedded(&[("story", document(steps))]).await;
    world.trigger("story", json!({"recipients": [{"id": "ann", "plan": "free"}]})).await.unwrap();
    world.pass(0).await;
    let dir = Dir::new("runs-fetched");
    let home = world.file().parent().unwrap().display().to_string();
    let said = dir.ask(&["runs", "show", "--data", &home, &world.run().await.id.to_string()]);
    for line in [
        "fetch              fetch_succeeded  duration_ms=",
        &format!("            > GET {}\n", stub.url("/plan?of=ann")),
        "            > authorization: [redacted]\n",
        "            < 200\n",
        "            < {\"plan\":\"pro\"}\n",
        "note               user_updated  recipient=ann\n            plan: \"free\" -> \"pro\"\n",
    ] {
        assert!(said.contains(line), "{line}\nis not in\n{said}");
    }
    assert!(!said.contains("geheim"), "{said}");
}
