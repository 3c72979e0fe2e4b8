//! Fetch steps, asked of a server that is there.

use std::sync::Arc;
use std::time::Duration;

use bellwire::config::Fetch;
use bellwire::engine::work::{abandon, work};
use bellwire::model::environment::Settings;
use bellwire::model::feed::Filter;
use bellwire::model::run::{Run, RunStatus};
use bellwire::model::time::Time;
use bellwire::outside::Outside;
use bellwire::outside::policy::Policy;
use bellwire::queue::{self, Queue, WORKERS};
use bellwire::sign::webhook::signature;
use bellwire::store::jobs::{Job, Line};
use bellwire::store::messages::MessageFilter;
use bellwire::verbs::Core;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::stub::{Answer, Stub, settings};
use crate::world::{START, World, document, record, tell};

/// A workflow that fetches with these settings, then tells what it has.
fn fetching(settings: Value) -> Value {
    document(json!([
        {"type": "http_fetch", "ref": "http_fetch_1", "settings": settings},
        tell("tell", "{{ data | json }}"),
    ]))
}

async fn world(settings: Value) -> World {
    World::new(&[("story", fetching(settings))]).await
}

fn for_ann(data: Value) -> Value {
    json!({"recipients": [{"id": "ann", "name": "Ann \"A\""}], "data": data, "cancellation_key": "k"})
}

async fn claim(world: &World) -> Job {
    let now = world.core.clock.now();
    let mut jobs = world.core.store.claim_jobs("test", now, now.plus_seconds(30), 64).await.unwrap();
    assert_eq!(jobs.len(), 1, "one job is due");
    jobs.remove(0)
}

/// What the record says of the run's latest event of that name.
fn said(run: &Run, event: &str) -> Value {
    let event = run.events.iter().rev().find(|one| one.event == event);
    event.unwrap_or_else(|| panic!("{:?}", record(run))).data.clone().unwrap_or_default()
}

/// What a run that is over was told at last; empty if nothing.
async fn told(world: &World) -> String {
    let told = world.told("ann").await;
    told.last().map(|text| text.trim_start_matches("<p>").trim_end_matches("</p>").to_owned()).unwrap_or_default()
}

#[tokio::test]
async fn a_request_is_sent_as_it_is_written_and_its_answer_is_laid_over_the_data() {
    let stub = Stub::start(|_, _| {
        Answer::With(201, ("set-cookie", "sid=geheim".to_owned()), json!({"b": 2, "m": {"y": 2}}).to_string())
    })
    .await;
    let settings = json!({
        "method": "post",
        "url": "{{ vars.api }}/digest/{{ recipient.id }}?v=1",
        "headers": [{"key": "authorization", "value": "Bearer {{ vars.token }}"}, {"key": "x-{{ data.a }}", "value": "{{ data.a }}"}],
        "query_params": [{"key": "since", "value": "{{ data.since }}"}],
        "body": r#"{"name": "{{ recipient.name }}", "ids": [{{ data.ids | json }}]}"#,
    });
    let vars = json!({"api": format!("http://{}", stub.address), "token": "geheim-1"});
    let secret_vars = json!({"token": "geheim-1"}).as_object().unwrap().clone();
    let environment = Settings { all_vars: vars, secret_vars, ..Settings::default() };
    let steps = json!([
        {"type": "http_fetch", "ref": "http_fetch_1", "settings": settings},
        {"type": "channel", "ref": "tell", "channel_key": "feed", "channel_type": "in_app_feed",
            "conditions": {"all": [{"variable": "data.m.y", "operator": "equal_to", "argument": "2"}]},
            "template": {"markdown_body": "{{ data | json }}"}},
    ]);
    // The name stands inside a text of a body that is no JSON before it is rendered: it is for the template to quote it.
    let steps: Value =
        serde_json::from_str(&steps.to_string().replace(r#"\"{{ recipient.name }}\""#, "{{ recipient.name | json }}"))
            .unwrap();
    let world = World::with_settings(&[("story", document(steps))], environment).await;
    world.trigger("story", for_ann(json!({"a": 1, "m": {"x": 1}, "since": "1/2 3", "ids": [7]}))).await.unwrap();
    assert_eq!(world.run().await.status, RunStatus::Processing, "W-RUN-08: nothing has been sent in the trigger");
    assert!(stub.seen().is_empty());
    world.pass(0).await;
    let seen = stub.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].method, "POST", "W-FET-02");
    assert_eq!(seen[0].target, "/digest/ann?v=1&since=1%2F2+3", "W-FET-06 W-FET-07");
    assert_eq!(seen[0].headers["authorization"], "Bearer geheim-1", "W-FET-03 W-SCP-22");
    assert_eq!(seen[0].headers["x-1"], "1", "W-FET-06");
    assert_eq!(seen[0].headers["content-type"], "application/json", "W-FET-04");
    assert_eq!(seen[0].headers["host"], stub.address.to_string());
    assert_eq!(
        seen[0].body, r#"{"name": "Ann \"A\"", "ids": [[7]]}"#,
        "W-FET-04 W-AMB-32: it is sent as it is rendered"
    );
    let expected = json!({"a": 1, "b": 2, "m": {"y": 2}, "since": "1/2 3", "ids": [7]});
    let run = world.run().await;
    assert_eq!(run.data.value(), &expected, "W-FET-13 W-FET-14");
    assert_eq!(serde_json::from_str::<Value>(&told(&world).await).unwrap(), expected, "W-FET-10 W-FET-15 W-ENG-19");
    let item: Value = serde_json::from_str(&world.feed("ann").await[0].data).unwrap();
    assert_eq!(item, expected, "W-FET-15");
    let said = said(&run, "fetch_succeeded");
    assert_eq!(said["request"]["url"], json!(stub.url("/digest/ann?v=1&since=1%2F2+3")), "W-RUN-18");
    assert_eq!(said["request"]["body"], json!(seen[0].body), "W-RUN-18");
    assert_eq!(said["response"]["status"], 201, "W-RUN-18");
    assert_eq!(said["response"]["body"], r#"{"b":2,"m":{"y":2}}"#, "W-RUN-18");
    assert!(said["duration_ms"].is_u64(), "W-RUN-18");
    assert_eq!((run.events[0].attempt, run.events[0].step_type.as_deref()), (1, Some("http_fetch")), "W-FET-27");
    assert!(!run.to_detail_json().to_string().contains("geheim"), "W-RUN-18: what lets somebody in is not shown");
}

/// Filters see what a message was made of: all that came together and what was fetched, of it what is neither a list nor a
/// map, and of texts so much.
#[tokio::test]
async fn filters_see_what_a_message_was_made_of() {
    let stub = Stub::start(|_, _| Answer::With(200, ("x-a", String::new()), json!({"c": true}).to_string())).await;
    let gather = json!({"type": "batch", "ref": "gather", "settings": {"batch_window": {"unit": "hours", "value": 1}}});
    let fetch =
        json!({"type": "http_fetch", "ref": "http_fetch_1", "settings": {"method": "get", "url": stub.url("/")}});
    let gathered = document(json!([gather, fetch, tell("tell", "{{ data.a }}")]));
    let alone = document(json!([fetch, tell("tell", "{{ data.a }}")]));
    let world = World::new(&[("gathered", gathered), ("alone", alone)]).await;
    let long = "ü".repeat(300);
    let (one, other) = (json!({"a": 1, "f": 2.5, "list": [1], "map": {"x": 1}}), json!({"b": long, "n": null}));
    let both = json!({"a": 1, "f": 2.5, "list": [1], "map": {"x": 1}, "b": long, "n": null});
    for (workflow, user, data) in [("gathered", "ann", &one), ("gathered", "ann", &other), ("alone", "bob", &both)] {
        world.trigger(workflow, json!({"recipients": [{"id": user}], "data": data})).await.unwrap();
    }
    world.pass(3_600).await;
    let cut: String = long.chars().take(256).collect();
    for (wanted, is_found) in [
        (json!({"a": 1, "b": long, "c": true, "f": 2.5, "n": null}), true),
        (json!({"b": cut}), true),
        (json!({"b": format!("{cut}!")}), true),
        (json!({"b": &cut[2..]}), false),
        (json!({"a": 2}), false),
        (json!({"c": false}), false),
        (json!({"absent": null}), false),
        (json!({"list": "[1]"}), false),
        (json!({"map": "{\"x\":1}"}), false),
    ] {
        let trigger_data = wanted.as_object().unwrap().clone();
        let filter = Filter { trigger_data: trigger_data.clone(), ..Filter::default() };
        for user in ["ann", "bob"] {
            let (head, items) = (world.head(user).await, world.feed(user).await);
            let page = world.core.store.feed_page(&head, &filter, None, 50).await.unwrap().messages;
            let recipient = Some(items[0].recipient.clone());
            let of_all = MessageFilter { trigger_data: trigger_data.clone(), recipient, ..MessageFilter::default() };
            let list = world.core.store.messages(world.env, &of_all, None, 50).await.unwrap();
            let found = [!page.is_empty(), filter.matches(&items[0]), !list.is_empty()];
            assert_eq!(found, [is_found; 3], "F-FED-18 {user} {wanted}");
        }
    }
}

/// W-FET-12, W-FET-16, W-FET-17, W-AMB-33.
#[tokio::test]
async fn an_answer_is_put_where_the_step_says() {
    for (path, status, answer, expected) in [
        (None, 204, "", json!({"a": {"c": 1}})),
        (None, 200, "  ", json!({"a": {"c": 1}})),
        (Some("digest"), 200, r#"{"n": 1}"#, json!({"a": {"c": 1}, "digest": {"n": 1}})),
        (Some("a.b"), 200, r#"{"n": 1}"#, json!({"a": {"b": {"n": 1}, "c": 1}})),
        (Some("a.c.d"), 200, "[1]", json!({"a": {"c": {"d": [1]}}})),
        (Some("list"), 200, "[1, 2]", json!({"a": {"c": 1}, "list": [1, 2]})),
        (Some("x"), 200, "null", json!({"a": {"c": 1}, "x": null})),
        (Some("x"), 204, "", json!({"a": {"c": 1}})),
    ] {
        let stub = Stub::start(move |_, _| Answer::Text(status, answer.to_owned())).await;
        let world = world(json!({"url": stub.url("/"), "response_path": path})).await;
        world.trigger("story", for_ann(json!({"a": {"c": 1}}))).await.unwrap();
        world.pass(0).await;
        let run = world.run().await;
        assert_eq!(run.data.value(), &expected, "W-FET-12 W-FET-16 W-AMB-33 {path:?} {answer}");
        assert_eq!(record(&run), ["fetch_succeeded", "message_enqueued"], "{path:?} {answer}");
        assert_eq!(stub.seen()[0].method, "GET", "W-FET-02");
    }
}

/// W-FET-10, W-FET-11, W-FET-17, W-FET-25, W-AMB-33, W-AMB-34: what is not tried again.
#[tokio::test]
async fn what_will_not_do_halts_the_run_at_once() {
    for (status, body, why) in [
        (202, "{}", "the server answered 202; 200, 201 and 204 are good"),
        (206, "{}", "the server answered 206"),
        (301, "{}", "the server answered 301"),
        (400, "{}", "the server answered 400"),
        (404, "{}", "the server answered 404"),
        (429, "{}", "the server answered 429"),
        (200, "<html>", "the response is no JSON"),
        (200, "[1]", "the response is JSON, but no object: set `response_path`"),
        (200, "1", "no object"),
    ] {
        let stub =
            Stub::start(move |_, _| Answer::With(status, ("location", "/elsewhere".to_owned()), body.to_owned())).await;
        let world = world(json!({"url": stub.url("/")})).await;
        world.trigger("story", for_ann(json!({}))).await.unwrap();
        world.pass(1_000).await;
        let run = world.run().await;
        assert_eq!(record(&run), ["fetch_failed", "run_halted:step_failed"], "W-FET-25 {status} {body}");
        assert!(
            said(&run, "fetch_failed")["error"].as_str().unwrap().contains(why),
            "W-FET-10 W-FET-11 {status} {body}"
        );
        assert_eq!((run.status, run.error_count()), (RunStatus::Completed, 1), "W-RUN-09");
        assert_eq!(stub.seen().len(), 1, "W-AMB-34: a redirect is not followed either");
        assert_eq!(said(&run, "fetch_failed")["response"]["body"], body, "W-RUN-18");
        assert!(world.feed("ann").await.is_empty());
    }
}

/// W-FET-25: such a request is not sent.
#[tokio::test]
async fn what_is_no_request_halts_the_run_at_once() {
    let stub = Stub::start(|_, _| Answer::json(json!({}))).await;
    let url = stub.url("/");
    for (settings, why) in [
        (json!({"url": "{{ data.nothing }}"}), "the URL is invalid"),
        (json!({"url": "ftp://example.com"}), "the URL must begin with http:// or https://"),
        (json!({"url": url, "headers": [{"key": "a b", "value": "x"}]}), "`a b` is no name of a header"),
        (
            json!({"url": url, "headers": [{"key": "x", "value": "{{ data.lines }}"}]}),
            "the value of the header `x` is no good",
        ),
        (json!({"url": url, "headers": "{{ data.lines }}"}), "`headers` must render to a JSON object"),
        (json!({"url": url, "method": "post", "body": "{{ data.lines }}"}), "`body` must render to JSON"),
        (json!({"url": "{{ data.n | divided_by: 0 }}"}), "`url`: line 1"),
        (json!({"url": url, "signing_key": "{{ vars.none }}"}), "`signing_key` renders to nothing"),
    ] {
        let world = world(settings.clone()).await;
        world.trigger("story", for_ann(json!({"lines": "a\nb", "n": 1}))).await.unwrap();
        world.pass(1_000).await;
        let run = world.run().await;
        assert_eq!(record(&run), ["fetch_failed", "run_halted:step_failed"], "W-FET-25 {settings}");
        let error = said(&run, "fetch_failed")["error"].as_str().unwrap().to_owned();
        assert!(error.starts_with(why), "W-FET-25 {settings}: {error}");
    }
    assert!(stub.seen().is_empty(), "W-FET-25");
}

/// W-FET-03, W-AMB-32.
#[tokio::test]
async fn names_with_values_may_be_an_object_and_only_some_methods_have_a_body() {
    for (method, has_body) in [("get", false), ("delete", false), ("post", true), ("put", true), ("patch", true)] {
        let stub = Stub::start(|_, _| Answer::json(json!({}))).await;
        let settings = json!({"method": method, "url": stub.url("/p"), "headers": r#"{"x-n": {{ data.n }}, "x-t": "{{ data.t }}"}"#,
            "query_params": "{{ data.query | json }}", "body": r#"{"said": "{{ data.said }}"}"#});
        let world = world(settings).await;
        world
            .trigger("story", for_ann(json!({"n": 1, "t": "é", "query": {"a": [1], "b": "x y"}, "said": "\"}, \"a\""})))
            .await
            .unwrap();
        world.pass(0).await;
        let seen = &stub.seen()[0];
        assert_eq!((seen.method.to_lowercase().as_str(), seen.body.is_empty()), (method, !has_body), "W-AMB-32");
        assert_eq!(seen.headers.contains_key("content-type"), has_body, "W-AMB-32");
        assert_eq!((seen.headers["x-n"].as_str(), seen.target.as_str()), ("1", "/p?a=%5B1%5D&b=x+y"), "W-FET-03");
        if has_body {
            assert_eq!(seen.body, r#"{"said": "\"}, \"a\""}"#, "what somebody says adds nothing to the body");
        }
    }
}

/// W-FET-21, W-FET-22, W-FET-23, W-FET-27: told by the virtual clock.
#[tokio::test]
async fn what_may_be_otherwise_later_is_tried_after_thirty_and_after_sixty_seconds() {
    let stub = Stub::start(|_, before| match before {
        0 => Answer::Text(500, "sorry".to_owned()),
        1 => Answer::HangUp,
        _ => Answer::json(json!({"at": "last"})),
    })
    .await;
    let world = world(json!({"url": stub.url("/")})).await;
    world.trigger("story", for_ann(json!({}))).await.unwrap();
    world.pass(0).await;
    let run = world.run().await;
    assert_eq!((run.status, stub.seen().len()), (RunStatus::Paused, 1), "W-RUN-08 W-FET-23");
    let first_at = run.events[0].inserted_at;
    assert_eq!(said(&run, "fetch_failed")["retry_at"], json!(first_at.plus_seconds(30)), "W-FET-22");
    world.pass(29).await;
    assert_eq!(stub.seen().len(), 1, "W-FET-22: not yet");
    world.pass(1).await;
    assert_eq!((world.run().await.status, stub.seen().len()), (RunStatus::Paused, 2), "W-FET-22: after 30 s");
    world.pass(59).await;
    assert_eq!(stub.seen().len(), 2, "W-FET-22: not yet");
    world.pass(1).await;
    let run = world.run().await;
    assert_eq!((run.status, stub.seen().len()), (RunStatus::Completed, 3), "W-FET-22: after another 60 s");
    assert_eq!(
        record(&run),
        ["fetch_failed", "fetch_failed", "fetch_succeeded", "message_enqueued"],
        "W-FET-21 W-AMB-34"
    );
    let attempts: Vec<u32> = run.events.iter().map(|event| event.attempt).collect();
    assert_eq!(attempts, [1, 2, 3, 1], "W-FET-27 W-RUN-12");
    let keys: Vec<String> = stub.seen().iter().map(|seen| seen.headers["idempotency-key"].clone()).collect();
    assert!(keys.iter().all(|key| *key == keys[0] && key.len() == 36), "{keys:?}");
    assert_eq!(told(&world).await, r#"{"at":"last"}"#);
}

/// W-FET-20, W-FET-21, W-FET-24.
#[tokio::test]
async fn after_the_third_attempt_the_step_has_failed_and_the_run_halts() {
    let stub = Stub::start(|_, _| Answer::Never).await;
    let mut world = world(json!({"url": stub.url("/")})).await;
    world.core.outside = Outside::new(settings(Duration::from_millis(50)));
    world.trigger("story", for_ann(json!({}))).await.unwrap();
    world.pass(1_000).await;
    let run = world.run().await;
    assert_eq!(record(&run), ["fetch_failed", "fetch_failed", "fetch_failed", "run_halted:step_failed"], "W-FET-24");
    assert_eq!(said(&run, "fetch_failed")["error"], "there was no complete response within 0.05 s", "W-FET-20");
    assert_eq!((stub.seen().len(), run.error_count(), run.status), (3, 3, RunStatus::Completed), "W-FET-22 W-RUN-14");
    assert!(world.feed("ann").await.is_empty(), "W-FET-24");
}

/// W-FET-26, W-AMB-34: nobody listens where the stub was.
#[tokio::test]
async fn a_server_that_is_not_there_may_be_there_later() {
    let stub = Stub::start(|_, _| Answer::Never).await;
    let url = stub.url("/");
    drop(stub);
    tokio::task::yield_now().await;
    let world = world(json!({"url": url})).await;
    world.trigger("story", for_ann(json!({}))).await.unwrap();
    world.pass(0).await;
    let run = world.run().await;
    assert_eq!(run.status, RunStatus::Paused, "W-AMB-34");
    assert!(said(&run, "fetch_failed")["error"].as_str().unwrap().starts_with("no connection"), "W-FET-26");
}

/// W-CAN-07, W-FET-23.
#[tokio::test]
async fn a_run_can_be_cancelled_between_attempts_and_while_one_is_under_way() {
    let stub =
        Stub::start(|_, before| if before == 0 { Answer::Text(500, String::new()) } else { Answer::Never }).await;
    let world = world(json!({"url": stub.url("/")})).await;
    world.trigger("story", for_ann(json!({}))).await.unwrap();
    world.pass(0).await;
    let cancel = json!({"cancellation_key": "k"});
    assert_eq!(world.core.cancel(world.env, "story", &cancel).await.unwrap(), 1, "W-CAN-07");
    world.pass(1_000).await;
    assert_eq!((world.run().await.status, stub.seen().len()), (RunStatus::Cancelled, 1), "W-FET-23 W-CAN-10");

    world.trigger("story", for_ann(json!({}))).await.unwrap();
    let job = claim(&world).await;
    let meanwhile = async {
        stub.until(2).await;
        assert_eq!(world.core.cancel(world.env, "story", &cancel).await.unwrap(), 1);
        stub.release();
    };
    let (worked, ()) = tokio::join!(work(&world.core, &job), meanwhile);
    worked.expect("whoever was overtaken has nothing more to do");
    assert_eq!(world.runs().await[1].status, RunStatus::Cancelled, "W-CAN-10");
    assert!(world.feed("ann").await.is_empty(), "W-CAN-10: no message comes of it");
}

/// A worker that dies after the request and before the commit: the run goes on once, and the server can tell that it is
/// asked again.
#[tokio::test]
async fn a_worker_that_dies_with_the_answer_in_its_hands_is_followed_by_one_that_asks_again() {
    let stub = Stub::start(|_, before| if before == 0 { Answer::Never } else { Answer::json(json!({"n": 2})) }).await;
    let world = world(json!({"url": stub.url("/")})).await;
    world.trigger("story", for_ann(json!({}))).await.unwrap();
    let dead = claim(&world).await;
    tokio::select! {
        _ = work(&world.core, &dead) => panic!("there is no answer yet"),
        () = stub.until(1) => {}
    }
    assert_eq!(record(&world.run().await), Vec::<String>::new(), "nothing was written down");
    world.core.clock.advance_seconds(31);
    let job = claim(&world).await;
    work(&world.core, &job).await.unwrap();
    work(&world.core, &dead).await.unwrap();
    let seen = stub.seen();
    assert_eq!(seen[0].headers["idempotency-key"], seen[1].headers["idempotency-key"]);
    let run = world.run().await;
    assert_eq!(record(&run), ["fetch_succeeded", "message_enqueued"], "it went on once");
    assert_eq!((run.events[0].attempt, world.feed("ann").await.len()), (1, 1), "no attempt was lost");
}

/// What a step after it needs another transaction for does not have it asked again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_run_asks_once_however_often_its_transaction_is_begun_anew() {
    let stub = Stub::start(|_, _| Answer::json(json!({}))).await;
    let steps = json!([
        {"type": "http_fetch", "ref": "http_fetch_1", "settings": {"url": stub.url("/")}},
        {"type": "update_object", "ref": "u", "settings": {"recipient_gid": "gid://Object/projects/one",
            "update_properties": r#"{"said": {"{{ recipient.id }}": true}}"#}},
    ]);
    let world = World::new(&[("story", document(steps))]).await;
    let people: Vec<Value> = (0..20).map(|n| json!({"id": format!("u{n}")})).collect();
    world.trigger("story", json!({"recipients": people})).await.unwrap();
    let now = world.core.clock.now();
    let jobs = world.core.store.claim_jobs("test", now, now.plus_seconds(30), 64).await.unwrap();
    let done = futures_util::future::join_all(jobs.iter().map(|job| work(&world.core, job)));
    world.on_a_slow_disk(async { done.await.into_iter().for_each(|done| done.unwrap()) }).await;
    let project = world.core.store.object(world.env, "projects", "one").await.unwrap().unwrap();
    assert_eq!(project.properties["said"].as_object().unwrap().len(), 20);
    assert_eq!(stub.seen().len(), 20, "nothing is asked twice by accident");
    let keys: std::collections::BTreeSet<_> =
        stub.seen().iter().map(|seen| seen.headers["idempotency-key"].clone()).collect();
    assert_eq!(keys.len(), 20, "each run has a key of its own");
}

/// W-FET-15: several in a row, each with what the one before it brought; and one that is skipped asks nobody.
#[tokio::test]
async fn steps_fetch_one_after_the_other() {
    let stub = Stub::start(|seen, _| Answer::json(json!({"n": seen.target.len()}))).await;
    let steps = json!([
        {"type": "http_fetch", "ref": "one", "settings": {"url": stub.url("/a")}},
        {"type": "http_fetch", "ref": "skipped", "settings": {"url": stub.url("/skipped")},
            "conditions": {"all": [{"variable": "data.n", "operator": "equal_to", "argument": "9"}]}},
        {"type": "http_fetch", "ref": "two", "settings": {"url": stub.url("/{{ data.n }}00")}},
        tell("tell", "{{ data.n }}"),
    ]);
    let world = World::new(&[("story", document(steps))]).await;
    world.trigger("story", for_ann(json!({}))).await.unwrap();
    world.pass(0).await;
    let targets: Vec<String> = stub.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, ["/a", "/200"], "W-FET-15 W-STP-04");
    assert_eq!(told(&world).await, "4", "W-FET-15");
    assert_ne!(stub.seen()[0].headers["idempotency-key"], stub.seen()[1].headers["idempotency-key"]);
}

/// W-ENV-08: switched off while a request is under way, the run takes the answer, and stops before its next step.
#[tokio::test]
async fn a_workflow_that_is_switched_off_meanwhile_keeps_the_answer_and_goes_no_further() {
    let stub = Stub::start(|_, _| Answer::Never).await;
    let world = world(json!({"url": stub.url("/")})).await;
    world.trigger("story", for_ann(json!({}))).await.unwrap();
    let job = claim(&world).await;
    let meanwhile = async {
        stub.until(1).await;
        world.core.catalog.set_active(world.env, "story", false);
        stub.release();
    };
    let (worked, ()) = tokio::join!(work(&world.core, &job), meanwhile);
    worked.unwrap();
    assert_eq!(record(&world.run().await), ["fetch_succeeded", "run_halted:workflow_inactive"], "W-ENV-08");
}

/// W-FET-30, W-FET-31, W-FET-32, W-FET-33, W-AMB-35.
#[tokio::test]
async fn a_signed_request_can_be_told_from_others() {
    let stub =
        Stub::start(|_, before| if before == 0 { Answer::Text(500, String::new()) } else { Answer::json(json!({})) })
            .await;
    for (method, body) in [("post", Some(r#"{ "a": "{{ data.a }}" }"#)), ("get", None)] {
        let world =
            world(json!({"url": stub.url("/"), "method": method, "body": body, "signing_key": "{{ data.key }}"})).await;
        world.trigger("story", for_ann(json!({"a": 1, "key": "geheim"}))).await.unwrap();
        world.pass(30).await;
    }
    let seen = stub.seen();
    let sent: Vec<&str> = seen.iter().map(|seen| seen.body.as_str()).collect();
    assert_eq!(sent, [r#"{ "a": "1" }"#, r#"{ "a": "1" }"#, ""]);
    for (seen, at) in seen.iter().zip([START, START.plus_seconds(30), START]) {
        // The signature's own form has a test against another program.
        let expected = signature("geheim", at, &seen.body);
        assert_eq!(seen.headers["x-knock-signature"], expected, "W-FET-30 W-FET-31 W-FET-32 W-AMB-35");
        assert!(expected.starts_with(&format!("t={},s=", at.seconds())), "W-FET-33");
    }
}

#[tokio::test]
async fn a_response_that_is_too_long_is_not_read_to_its_end() {
    let stub = Stub::start(|_, _| Answer::Text(200, format!("\"{}\"", "x".repeat(1 << 20)))).await;
    let world = world(json!({"url": stub.url("/"), "response_path": "x"})).await;
    world.trigger("story", for_ann(json!({}))).await.unwrap();
    world.pass(0).await;
    let run = world.run().await;
    assert_eq!(record(&run), ["fetch_failed", "run_halted:step_failed"]);
    assert_eq!(said(&run, "fetch_failed")["error"], "the response is longer than 1048576 bytes");
}

/// What is not public is refused after the name has been looked up, and the record names the rule.
#[tokio::test]
async fn only_where_the_operator_says_so_is_this_machine_asked() {
    let stub = Stub::start(|_, _| Answer::json(json!({}))).await;
    let port = stub.address.port();
    let rule = "it leads to a loopback address, which is not called unless `allow` or `private` of [fetch] says so";
    for (url, allow, deny, refusal) in [
        (format!("http://127.0.0.1:{port}/x?secret=1"), None, None, Some(rule)),
        (format!("http://localhost:{port}/"), None, None, Some(rule)),
        (format!("http://127.1:{port}/"), None, None, Some(rule)),
        (format!("http://localhost:{port}/"), Some("localhost"), None, None),
        (format!("http://127.0.0.1:{port}/"), Some("127.0.0.0/8"), None, None),
        (
            format!("http://localhost:{port}/"),
            Some("127.0.0.0/8"),
            Some("localhost"),
            Some("`localhost` of `deny` of [fetch] keeps it from being called"),
        ),
    ] {
        let read = |pattern: Option<&str>| pattern.map(|text| text.parse().unwrap()).into_iter().collect();
        let policy = Policy { allow: read(allow), deny: read(deny), private: false };
        let mut world = world(json!({"url": url})).await;
        world.core.outside = Outside::new(bellwire::outside::Settings { policy, ..settings(Duration::from_secs(15)) });
        let before = stub.seen().len();
        world.trigger("story", for_ann(json!({}))).await.unwrap();
        world.pass(1_000).await;
        let run = world.run().await;
        match refusal {
            None => assert_eq!(record(&run), ["fetch_succeeded", "message_enqueued"], "{url}"),
            Some(rule) => {
                assert_eq!(said(&run, "fetch_failed")["error"], rule, "{url}");
                assert_eq!(record(&run), ["fetch_failed", "run_halted:step_failed"], "{url}: it is fatal");
            }
        }
        assert_eq!(stub.seen().len() > before, refusal.is_none(), "{url}");
    }
}

/// Servers that are slow hold up nobody but those who wait for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_requests_that_nobody_answers_hold_up_no_other_job() {
    const AT_ONCE: usize = 200;
    let stub = Stub::start(|_, _| Answer::Never).await;
    let slow = fetching(json!({"url": stub.url("/")}));
    let settings = json!({"recipient_mode": "current", "update_properties": r#"{"seen": true}"#});
    let quick = document(json!([{"type": "update_user", "ref": "u", "settings": settings}, tell("tell", "quick")]));
    let world = World::new(&[("slow", slow), ("quick", quick)]).await;
    let core: Arc<Core> = Arc::new(world.neighbour());
    let (stop, stopped) = watch::channel(false);
    let mut lines = Vec::new();
    for (line, workers) in [(Line::Own, WORKERS), (Line::Calls, AT_ONCE)] {
        let queue = Queue {
            store: core.store.clone(),
            clock: core.clock.clone(),
            waker: core.waker.clone(),
            metrics: core.metrics.jobs.clone(),
            line,
            workers,
            is_joint: |_| false,
            call: || {},
        };
        let (worker, closer) = (Arc::clone(&core), Arc::clone(&core));
        let work = move |job| {
            let core = Arc::clone(&worker);
            async move { work(&core, &job).await }
        };
        let abandon = move |job, why: String| {
            let core = Arc::clone(&closer);
            async move { abandon(&core, &job, &why).await }
        };
        lines.push(tokio::spawn(queue::run(queue, stopped.clone(), work, async |jobs| jobs, abandon)));
    }
    let people: Vec<Value> = (0..300).map(|n| json!({"id": format!("u{n}")})).collect();
    world.trigger_on(&core, "slow", json!({"recipients": people}), None).await.unwrap();
    stub.until(AT_ONCE).await;
    world.trigger_on(&core, "quick", json!({"recipients": [{"id": "ann"}, {"id": "bob"}]}), None).await.unwrap();
    let told = async {
        while world.feed("ann").await.is_empty() || world.feed("bob").await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), told).await.expect("jobs of this server's own go on");
    assert_eq!(stub.seen().len(), AT_ONCE, "no more than may are under way, and none has ended");
    stub.release();
    stub.until(300).await;
    let over = async {
        while world.runs().await.iter().any(|run| run.status != RunStatus::Completed) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), over).await.expect("all of them go on");
    assert_eq!(stub.seen().len(), 300, "each has been asked once");
    stop.send_replace(true);
    for line in lines {
        line.await.unwrap();
    }
}

/// A run whose call is given up says so; what is claimed and not done is a job like any other.
#[tokio::test]
async fn a_call_that_is_given_up_ends_its_run() {
    let world = world(json!({"url": "http://127.0.0.1:1/"})).await;
    world.trigger("story", for_ann(json!({}))).await.unwrap();
    let job = claim(&world).await;
    abandon(&world.core, &job, "the disk is full").await.unwrap();
    assert_eq!(record(&world.run().await), ["run_halted:gave_up"]);
    assert_eq!(world.core.store.next_job_at().await.unwrap(), None::<Time>);
}

/// W-AMB-34: over TLS a server is who its certificate says, and somebody vouches for that; else there is no connection.
#[tokio::test]
async fn a_server_with_tls_is_asked_if_its_certificate_is_trusted() {
    let directory = std::env::temp_dir().join(format!("bellwire-fetch-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&directory).unwrap();
    let make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=stub \
                -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE -keyout key.pem -out cert.pem";
    let made = std::process::Command::new("sh").args(["-c", make]).current_dir(&directory).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let certificate = directory.join("cert.pem");
    let acceptor = {
        let chain = vec![CertificateDer::from_pem_file(&certificate).unwrap()];
        let key = PrivateKeyDer::from_pem_file(directory.join("key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let settings = builder.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap();
        tokio_rustls::TlsAcceptor::from(Arc::new(settings))
    };
    let stub = Stub::serve(
        |seen, _| Answer::json(json!({"n": seen.headers.len()})),
        move |stream| {
            let acceptor = acceptor.clone();
            async move { acceptor.accept(stream).await.ok() }
        },
    )
    .await;
    let port = stub.address.port();
    for (host, ca_file, fault) in [
        ("localhost", Some(certificate.clone()), None),
        ("127.0.0.1", Some(certificate.clone()), Some("no encrypted connection: ")),
        ("localhost", None, Some("no encrypted connection: ")),
    ] {
        let before = stub.seen().len();
        let fetch = Fetch { private: true, ca_file, ..Fetch::default() };
        let mut world = world(json!({"url": format!("https://{host}:{port}/")})).await;
        world.core.outside = Outside::new(fetch.settings());
        world.trigger("story", for_ann(json!({}))).await.unwrap();
        world.pass(0).await;
        let run = world.run().await;
        match fault {
            None => assert_eq!(record(&run), ["fetch_succeeded", "message_enqueued"], "{:?}", run.events),
            Some(fault) => {
                let error = said(&run, "fetch_failed")["error"].as_str().unwrap().to_owned();
                assert!(error.starts_with(fault), "{host}: {error}");
                assert_eq!(run.status, RunStatus::Paused, "W-AMB-34: it is tried again");
            }
        }
        assert_eq!(stub.seen().len() - before, usize::from(fault.is_none()), "{host}: nothing is said to a stranger");
    }
    std::fs::remove_dir_all(directory).unwrap();
}

/// W-BAT-51: what came together is flat and cut (W-BAT-45); what is fetched then is whole.
#[tokio::test]
async fn what_is_fetched_after_a_batch_is_neither_flattened_nor_cut() {
    let long = "x".repeat(300);
    let answer = json!({"fetched": {"nested": [1, {"deep": long}]}, "long": long});
    let stub = Stub::start(move |_, _| Answer::json(answer.clone())).await;
    let settings = json!({"batch_window": {"unit": "minutes", "value": 1}});
    let steps = json!([
        {"type": "batch", "ref": "gather", "settings": settings},
        {"type": "http_fetch", "ref": "fetch", "settings": {"url": stub.url("/")}},
        tell("tell", "{{ data.flat | size }} {{ data.nested }} {{ data.long | size }} {{ data.fetched.nested[1].deep | size }}"),
    ]);
    let world = World::new(&[("story", document(steps))]).await;
    world.trigger("story", for_ann(json!({"flat": "y".repeat(300), "nested": {"a": 1}}))).await.unwrap();
    world.pass(60).await;
    assert_eq!(told(&world).await, "256  300 300", "W-BAT-51");
}
