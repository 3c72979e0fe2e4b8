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
fn a_digest_is_told_from_its_first_activity_to_its_end() {
    let dir = Dir::new("simulate-digest");
    let digest = json!({"type": "digest", "ref": "digest_1", "settings": {
        "digest_repeats": [{"frequency": "daily", "days": "weekdays", "hours": 9}], "digest_items_min_limit": 2}});
    let tell = json!({"type": "channel", "ref": "tell", "channel_key": "in-app-feed", "channel_type": "in_app_feed",
        "template": {"markdown_body": "{{ total_activities }} things"}});
    let workflow = json!({"name": "Daily", "steps": [digest, tell]}).to_string();
    std::fs::create_dir_all(dir.path("w/daily")).unwrap();
    dir.write("w/daily/workflow.json", &workflow);
    dir.write("events.json", r#"[{"data": {"n": 1}}, {"after": "1d", "data": {"n": 2}}]"#);
    dir.write("people.json", r#"[{"id": "ann", "timezone": "Europe/Berlin"}]"#);
    let files = ["--event", "events.json", "--recipient", "people.json", "--workflows", "w", "--advance", "4d"];
    let said = dir.ask(&[&["simulate", "daily", "--at", "2026-01-08T12:00:00Z"], &files[..]].concat());
    let lines: Vec<String> = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for expected in [
        "12:00:00 ann #1 digest_1 digest_opened batch_id=id-1 closes_at=2026-01-09T08:00:00.000000Z key= timezone=Europe/Berlin",
        "08:00:00 ann #1 digest_1 digest_held batch_id=id-1 closes_at=2026-01-12T08:00:00.000000Z dealt_with=0 held=1 minimum=2 timezone=Europe/Berlin total_activities=1",
        "12:00:00 ann #2 digest_1 digested batch_id=id-1 closes_at=2026-01-12T08:00:00.000000Z key=",
        "08:00:00 ann #1 digest_1 digest_closed batch_id=id-1 dealt_with=0 total_activities=2 total_actors=0",
        "| body: <p>2 things</p>",
    ] {
        assert!(lines.iter().any(|line| line == expected), "{expected}\n{said}");
    }
}

#[test]
fn what_is_over_a_cap_is_told_with_what_becomes_of_it() {
    let dir = Dir::new("simulate-cap");
    let tell = |text: &str| {
        let step = json!({"type": "channel", "ref": "tell", "channel_key": "in-app-feed", "channel_type": "in_app_feed",
            "template": {"markdown_body": text}});
        json!({"name": "Told", "steps": [step]}).to_string()
    };
    dir.write("p/workflows/story/workflow.json", &tell("{{ n }}"));
    dir.write("p/workflows/later/workflow.json", &tell("later {{ n }}"));
    let cap = json!({"name": "Calm", "limit": 1, "per": "day", "overflow": {"workflow": "later"}});
    dir.write("p/caps/calm.json", &cap.to_string());
    dir.write(
        "events.json",
        r#"[{"data": {"n": 1}, "recipients": ["ann"]}, {"data": {"n": 2}, "recipients": ["ann"]}]"#,
    );
    dir.write("people.json", r#"[{"id": "ann"}]"#);
    let files =
        ["--event", "events.json", "--recipient", "people.json", "--workflows", "p/workflows", "--advance", "1h"];
    let said = dir.ask(&[&["simulate", "story"], &files[..]].concat());
    let told = "step_skipped  cap=calm channel_key=in-app-feed count=1 frees_at=2026-01-06T00:00:00.000000Z limit=1";
    assert!(said.contains(told) && said.contains("reason=frequency_cap"), "{said}");
    assert!(said.contains("| body: <p>later 2</p>"), "{said}");
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
            &["welcome", "--event", "event.json", "--env", "moon"],
            "There is no environment `moon`; there is development.",
        ),
    ] {
        let done = dir.run(&[&["simulate"], args, &["--workflows", SAMPLES]].concat());
        assert_eq!(done.code, Some(1), "{args:?}");
        assert!(done.err.contains(said), "{args:?}: {}", done.err);
    }
}

/// A word that was misspelled was passed over, and the timeline looked as if it had been meant so.
#[test]
fn what_nobody_understands_is_refused_with_a_suggestion() {
    let dir = Dir::new("simulate-unknown");
    dir.write("ann.json", r#"{"id": "ann"}"#);
    for (event, said) in [
        (r#"[{}, {"recipient": ["ann"]}]"#, "e.json[1]: `recipient` is not known here (did you mean `recipients`?)"),
        (r#"{"cancle": "k"}"#, "e.json: `cancle` is not known here (did you mean `cancel`?)"),
        (
            r#"{"cancel": "k", "data": {}}"#,
            "e.json: `data` is not known here: known are after, cancel, recipients, workflow",
        ),
        (r#"{"cancel": "k", "join": "vip"}"#, "e.json: `join` is not known here"),
        (r#"{"join": "vip", "usr": "ann"}"#, "e.json: `usr` is not known here (did you mean `user`?)"),
        (r#"{"source": "s", "header": {}}"#, "e.json: `header` is not known here (did you mean `headers`?)"),
        (r#"{"source": "s", "headers": []}"#, "e.json: `headers` must be an object"),
        (
            r#"{"settings": {"skip_delays": true}}"#,
            "e.json: settings: `skip_delays` is not known here (did you mean `skip_delay`?)",
        ),
        (r#"{"after": 90}"#, "e.json: `after` must be a text: 90"),
        (
            r#"{"identify": {"id": "ann", "$trigger_data": {}}}"#,
            "e.json: identify: `$trigger_data` is of the `recipients` of a trigger",
        ),
    ] {
        dir.write("e.json", event);
        let args = ["simulate", "welcome", "--event", "e.json", "--recipient", "ann.json", "--workflows", SAMPLES];
        let done = dir.run(&args);
        assert_eq!((done.code, done.out.as_str()), (Some(1), ""), "{event}: nothing is played before");
        assert!(done.err.contains(said), "{event}: {}", done.err);
    }
    dir.write("e.json", "{}");
    for (file, content, said) in [
        ("--recipient", r#"[{"id": "ann", "$trigger_data": {}}]"#, "x.json[0]: `$trigger_data` is of the `recipients`"),
        ("--answer", r#"{"ulr": "https://a.example"}"#, "an answer's `ulr` is not known here (did you mean `url`?)"),
    ] {
        dir.write("x.json", content);
        let done = dir.run(&["simulate", "welcome", "--event", "e.json", file, "x.json", "--workflows", SAMPLES]);
        assert!(done.code == Some(1) && done.err.contains(said), "{content}: {}", done.err);
    }
}

const FETCHING: &str = r#"{"name": "Fetching", "steps": [
    {"type": "http_fetch", "ref": "fetch", "settings": {"method": "post", "url": "https://api.example.com/{{ recipient.id }}",
        "headers": [{"key": "authorization", "value": "Bearer geheim"}], "body": "{\"n\": {{ data.n }}}"}},
    {"type": "update_data", "ref": "add", "settings": {"data": "{\"sum\": {{ data.more | plus: data.n }}}"}},
    {"type": "update_user", "ref": "note", "settings": {"recipient_mode": "current",
        "update_properties": "{\"sum\": {{ data.sum }}}"}},
    {"type": "trigger_workflow", "ref": "next", "settings": {"workflow_key": "next", "data": "{\"sum\": {{ data.sum }}}"}},
    {"type": "ai_agent", "ref": "think", "settings": {"model": "some:model", "request_prompt": "hi", "response_type": "text"}}
]}"#;

/// Nobody is called: what others would say is among the input, and every attempt is told with what was sent and came.
#[test]
fn what_others_would_answer_is_played_too() {
    let dir = Dir::new("simulate-fetch");
    dir.write("workflows/fetching/workflow.json", FETCHING);
    dir.write("workflows/next/workflow.json", r#"{"name": "Next", "steps": []}"#);
    dir.write("event.json", r#"{"recipients": [{"id": "ann"}], "data": {"n": 1}}"#);
    let answers = r#"[{"url": "https://api.example.com/*", "status": 503},
        {"url": "https://api.example.com/ann", "method": "post", "body": {"more": 2}}]"#;
    dir.write("answers.json", answers);
    let play = |more: &[&str]| {
        let args = ["simulate", "fetching", "--event", "event.json", "--workflows", "workflows", "--advance", "1m"];
        dir.ask(&[&args[..], more].concat())
    };
    let said = play(&["--answer", "answers.json"]);
    let expected = r#"Monday, 2026-01-05 (UTC)
09:00:00  fetching                          triggered  data={"n":1} recipients=[{"id":"ann"}]
09:00:00  ann #1         fetch              ! fetch_failed  duration_ms=0 error=the server answered 503; 200, 201 and 204 are good retry_at=2026-01-05T09:00:30.000000Z
            > POST https://api.example.com/ann
            > accept: application/json
            > authorization: [redacted]
            > content-type: application/json
            > idempotency-key: id-1
            > {"n": 1}
            < 503
09:00:30  ann #1         fetch              fetch_succeeded  duration_ms=0 merged=["more"]
            > POST https://api.example.com/ann
            > accept: application/json
            > authorization: [redacted]
            > content-type: application/json
            > idempotency-key: id-1
            > {"n": 1}
            < 200
            < {"more":2}
09:00:30  ann #1         add                data_updated  merged={"sum":3}
09:00:30  ann #1         note               user_updated  recipient=ann
            sum: not set -> 3
09:00:30  ann #1         next               workflow_triggered  workflow=next workflow_run_id=id-2
09:00:30  ann #1         think              ! step_failed  error=this version can ask no model, and so not `some:model`
09:00:30  ann #1                            run_halted  reason=step_failed
09:00:30  ann #1                            run_completed
09:00:30  ann #2                            run_completed
09:01:00  the end
"#;
    assert_eq!(said, expected);
    assert_eq!(play(&["--answer", "answers.json"]), said, "a second time");
    let said = play(&[]);
    let refusal =
        "! fetch_failed  duration_ms=0 error=nobody is called from here, and there is no answer to this request";
    assert!(said.contains(refusal) && said.contains("run_halted  reason=step_failed"), "{said}");
    dir.write("answers.json", r#"{"url": "nowhere"}"#);
    let wrong = dir.run(&[
        "simulate",
        "fetching",
        "--event",
        "event.json",
        "--workflows",
        "workflows",
        "--answer",
        "answers.json",
    ]);
    assert!(wrong.err.contains("the answer's `url` is invalid"), "{}", wrong.err);
}

const PROJECT: [(&str, &str); 5] = [
    (
        "p/workflows/greet/workflow.json",
        r#"{"name": "Greet", "steps": [{"type": "wait_for_event", "ref": "paid", "settings": {
            "event": {"event_type": "integration_source", "event_key": "paid", "integration_source_key": "shop"}}}]}"#,
    ),
    ("p/workflows/other/workflow.json", r#"{"name": "Other", "steps": []}"#),
    (
        "p/audiences/pro/audience.json",
        r#"{"name": "Pro", "type": "dynamic", "segments": [{"conditions": [
            {"property": "recipient.plan", "operator": "equal_to", "argument": "pro"}]}]}"#,
    ),
    ("p/triggers.json", r#"{"greet": {"audience": "pro"}}"#),
    (
        "p/sources/shop.json",
        r#"{"mappings": [{"event": "paid", "action": "workflows_trigger", "workflow": "other", "recipients": "body.userId"},
            {"event": "paid", "action": "tenants_set", "id": "headers.X-Tenant"}]}"#,
    ),
];

/// Whoever is introduced is a member from the beginning; who comes to be one later joins.
#[test]
fn joins_and_events_of_sources_are_played_too() {
    let dir = Dir::new("simulate-events");
    PROJECT.iter().for_each(|(file, text)| dir.write(file, text));
    dir.write("people.json", r#"[{"id": "ann", "plan": "pro"}, {"id": "bob", "plan": "free"}]"#);
    let events = r#"[{"identify": {"id": "bob", "plan": "pro"}},
        {"after": "1m", "source": "shop", "headers": {"x-tenant": "acme"}, "body": {"type": "paid", "userId": "bob"}},
        {"after": "1m", "source": "shop", "body": {"type": "paid", "userId": "ann"}}]"#;
    dir.write("events.json", events);
    let files = ["--event", "events.json", "--recipient", "people.json", "--workflows", "p/workflows"];
    let said = dir.ask(&[&["simulate", "greet"], &files[..]].concat());
    let expected = r#"Monday, 2026-01-05 (UTC)
09:00:00                                    identified  id=bob plan=pro
09:00:00  bob #1         paid               wait_started  event=source.paid expires_at=2026-01-05T09:15:00.000000Z source=shop
09:01:00                                    event_arrived  body={"type":"paid","userId":"bob"} source=shop
09:01:00  bob #1         paid               event_matched  event=source.paid happened_at=2026-01-05T09:01:00.000000Z
09:01:00  bob #1                            run_completed
09:01:00                                    action_done  action=tenants_set
09:01:00                                    action_done  action=workflows_trigger
09:01:00  bob #2                            run_completed
09:02:00                                    event_arrived  body={"type":"paid","userId":"ann"} source=shop
09:02:00                                    ! action_skipped  action=tenants_set reason=`id` is required, and nothing stands at headers.X-Tenant
09:02:00                                    action_done  action=workflows_trigger
09:02:00  ann #3                            run_completed
09:02:00  the end
"#;
    assert_eq!(said, expected);
    for (event, why) in [
        (r#"{"source": "shpo"}"#, "There is no source `shpo`; there is shop."),
        (r#"{"source": "shop", "body": {}}"#, "does not say what it is"),
        (r#"{"join": "pro", "user": "ann"}"#, "the audience `pro` is dynamic"),
        (r#"{"leave": ["pro"]}"#, "`leave` must be a text"),
    ] {
        dir.write("events.json", event);
        let done = dir.run(&[&["simulate", "greet"], &files[..]].concat());
        assert!(done.code == Some(1) && done.err.contains(why), "{event}: {}", done.err);
    }
    dir.write("p/audiences/vip/audience.json", r#"{"name": "VIP", "type": "static"}"#);
    dir.write("p/triggers.json", r#"{"other": {"audience": "vip"}}"#);
    dir.write("events.json", r#"[{"join": "vip", "user": "ann", "tenant": "acme"}, {"leave": "vip", "user": "ann"}]"#);
    let said = dir.ask(&[&["simulate", "greet"], &files[..]].concat());
    let expected = "\
Monday, 2026-01-05 (UTC)
09:00:00                                    joined  audience=vip tenant=acme user=ann
09:00:00  ann #1                            run_completed
09:00:00                                    left  audience=vip user=ann
09:00:00  the end
";
    assert_eq!(said, expected);
}
