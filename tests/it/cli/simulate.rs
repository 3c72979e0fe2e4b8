//! `bellwire simulate`: the timeline of a workflow, the same every time.

use serde_json::{Value, json};

use super::{Dir, SAMPLES};

const EVENTS: &str = r#"[
    {"data": {"name": "Ann"}, "cancellation_key": "k"},
    {"after": "30s", "cancel": "k", "recipients": ["bob"]}
]"#;
const PEOPLE: &str = r#"[{"id": "ann", "name": "Ann", "timezone": "Europe/Berlin"}, {"id": "bob"}]"#;

fn asked(more: &[&str]) -> (Dir, String) {
    let dir = Dir::new(&format!("simulate{}", more.len()));
    dir.write("events.json", EVENTS);
    dir.write("people.json", PEOPLE);
    let files = ["--event", "events.json", "--recipient", "people.json", "--workflows", SAMPLES];
    let said = dir.ask(&[&["simulate", "welcome"], &files[..], more].concat());
    (dir, said)
}

#[test]
fn a_workflow_is_told_step_by_step_and_the_same_every_time() {
    let (_dir, said) = asked(&["--advance", "2d"]);
    let expected = "\
Monday, 2026-01-05 (UTC)
09:00:00  welcome                           triggered  cancellation_key=k data={\"name\":\"Ann\"} recipients=[\"ann\",\"bob\"]
09:00:00  ann #1         in_app_feed_1      message_enqueued  channel_id=id-1 channel_type=in_app_feed message_id=id-2
            | body: <p>Welcome, <strong>Ann</strong>! Three short steps and you are ready to go.</p>
            | action_url: /start
09:00:00  ann #1         delay_1            delay_started  resume_at=2026-01-05T09:01:00.000000Z timezone=Europe/Berlin
09:00:00  bob #2         in_app_feed_1      message_enqueued  channel_id=id-1 channel_type=in_app_feed message_id=id-3
            | body: <p>Welcome! Three short steps and you are ready to go.</p>
            | action_url: /start
09:00:00  bob #2         delay_1            delay_started  resume_at=2026-01-05T09:01:00.000000Z timezone=Etc/UTC
09:00:30  bob #2                            run_cancelled
09:01:00  ann #1         delay_1            delay_finished
09:01:00  ann #1         branch_1           branch_chosen  branch=Still unread index=0
            branch \"Still unread\": holds
            refs.in_app_feed_1.engagement_status not_contains \"$message.read\": \"delivered\": holds
09:01:00  ann #1         in_app_feed_2      message_enqueued  channel_id=id-1 channel_type=in_app_feed message_id=id-4
            | body: <p>Ann, your first steps are still waiting. They take <strong>two minutes</strong>.</p>
            | action_url: /start
09:01:00  ann #1                            run_completed

Wednesday, 2026-01-07 (UTC)
09:00:30  the end
";
    assert_eq!(said, expected);
    assert_eq!(asked(&["--advance", "2d"]).1, said, "a second time");
}

#[test]
fn the_timeline_is_there_for_programs_too() {
    let (_dir, said) = asked(&["--json", "--at", "2026-03-01T00:00:00Z"]);
    let read: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(read["ended_at"], "2026-03-01T00:00:30.000000Z", "the clock is turned no further than the events say");
    let timeline = read["timeline"].as_array().unwrap();
    assert_eq!(
        (&timeline[0]["event"], &timeline[0]["at"]),
        (&json!("triggered"), &json!("2026-03-01T00:00:00.000000Z"))
    );
    let told = timeline.iter().find(|entry| entry["event"] == "message_enqueued").unwrap();
    assert_eq!((&told["run"], &told["recipient"], &told["step"]), (&json!(1), &json!("ann"), &json!("in_app_feed_1")));
    assert!(told["message"][0]["rendered"].as_str().unwrap().contains("Ann"));
    assert_eq!(timeline.last().unwrap()["event"], "run_cancelled");
}

#[test]
fn what_cannot_be_played_is_said() {
    let dir = Dir::new("simulate-wrong");
    dir.write("event.json", r#"{"recipients": []}"#);
    dir.write("broken.json", "{");
    dir.write("late.json", r#"{"after": "soon", "recipients": ["ann"]}"#);
    for (args, said) in [
        (&["nothing", "--event", "event.json"][..], "There is no workflow `nothing`; there is comment, "),
        (&["welcome", "--event", "event.json"], "recipients has 0 entries; 1 to 1000 are allowed"),
        (&["welcome", "--event", "broken.json"], "broken.json is not JSON"),
        (&["welcome", "--event", "gone.json"], "gone.json can't be read"),
        (&["welcome", "--event", "late.json"], "`soon` is not a duration"),
        (&["welcome", "--event", "late.json", "--advance", "x"], "--advance: `x` is not a duration"),
        (&["welcome", "--event", "late.json", "--at", "x"], "--at: `x` is not an ISO-8601 time"),
        (
            &["welcome", "--event", "late.json", "--env", "moon"],
            "There is no environment `moon`; there is development.",
        ),
    ] {
        let done = dir.run(&[&["simulate"], args, &["--workflows", SAMPLES]].concat());
        assert_eq!(done.code, Some(1), "{args:?}");
        assert!(done.err.contains(said), "{args:?}: {}", done.err);
    }
}
