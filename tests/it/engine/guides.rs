//! Guides to which steps of workflows bring their recipients (W-CHS-20).

use bellwire::engine::guides::{Asked, guidance};
use bellwire::model::channel::{Channel, ChannelKind, ResponseFilter};
use bellwire::model::guide::{Guide, Guides, Order};
use bellwire::model::mark::Mark;
use bellwire::model::workflow::Workflow;
use bellwire::verbs::guide::{Engagement, Renewal};
use bellwire::verbs::identify::Profile;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::support::START;
use crate::world::{World, document, record};

fn channel() -> Channel {
    Channel {
        id: Uuid::from_u128(7),
        key: "guides".to_owned(),
        name: "Guides".to_owned(),
        kind: ChannelKind::InAppGuide,
        provider: Channel::GUIDE_PROVIDER.to_owned(),
        created_at: START,
        updated_at: START,
        conditions: None,
        response_filter: ResponseFilter::default(),
    }
}

/// A step that brings its recipient to a guide.
fn step(reference: &str, guide: &str) -> Value {
    json!({"type": "channel", "ref": reference, "channel_key": "guides", "channel_type": "in_app_guide", "guide_key": guide})
}

/// Makes these the guides, each with what is special about it.
async fn declare(world: &World, guides: &[(&str, Value)]) {
    let read = |(key, more): &(&str, Value)| {
        let mut document =
            json!({"name": key, "channel_key": "guides", "steps": [{"ref": "one", "schema_key": "card"}]});
        document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Guide::parse(key, &document).unwrap()
    };
    let workflows = world.core.catalog.workflows(world.env);
    let guides = Guides::new(guides.iter().map(read).collect(), Order::default());
    let guides = guides.targeted_by(workflows.iter().map(AsRef::as_ref));
    assert!(guides.faults(world.core.catalog.channels()).is_empty());
    world.core.declare_guides(&guides).await.unwrap();
    world.core.catalog.replace_guides(guides);
}

/// A world with this workflow, `story`, and these guides.
async fn world(steps: Value, guides: &[(&str, Value)]) -> World {
    let world =
        World::with_channels(&[("story", document(steps))], Default::default(), vec![channel()], Vec::new()).await;
    declare(&world, guides).await;
    world
}

/// The guides that a user is shown in a tenant, and why not the others.
async fn found(world: &World, user: &str, tenant: Option<&str>) -> Vec<(String, &'static str)> {
    let (channel, data) = (channel(), Map::new());
    let asked = Asked { env: world.env, channel: &channel, user, tenant, data: &data, kind: None, is_forced: false };
    let found = guidance(&world.core, asked).await.unwrap().guides;
    let why = |found: bellwire::engine::guides::Found| {
        (found.guide.key.clone(), found.ineligible.map_or("shown", |ineligible| ineligible.as_str()))
    };
    let mut found: Vec<_> = found.into_iter().map(why).collect();
    found.sort();
    found
}

async fn rows(world: &World) -> i64 {
    world.core.store.query_one("SELECT count(*) FROM guide_members", &[], |row| row.int(0)).await.unwrap().unwrap()
}

async fn run(world: &World, body: Value) {
    world.trigger("story", body).await.unwrap();
    world.pass(0).await;
}

#[tokio::test]
async fn a_step_brings_its_recipient_to_a_guide_that_is_shown_to_nobody_else() {
    let vip = json!({"target_property_conditions": {"all": [{"variable": "recipient.plan", "operator": "equal_to", "argument": "pro"}]}});
    let world = world(
        json!([step("first", "tour"), step("second", "vips")]),
        &[("open", json!({})), ("tour", json!({})), ("vips", vip)],
    )
    .await;
    let own = |tour, vips| vec![("open".to_owned(), "shown"), ("tour".to_owned(), tour), ("vips".to_owned(), vips)];
    let none = "not_in_target_audience";
    assert_eq!(found(&world, "ann", None).await, own(none, none), "W-CHS-20 F-GDE-06: nobody was brought to them");
    run(&world, json!({"recipients": [{"id": "ann"}]})).await;
    assert_eq!(found(&world, "ann", None).await, own("shown", "target_conditions_not_met"), "W-CHS-20 F-GDE-11");
    assert_eq!(found(&world, "bob", None).await, own(none, none), "W-CHS-20");
    let told = world.run().await;
    assert_eq!(record(&told), ["guide_audience_updated", "guide_audience_updated"], "W-CHS-20");
    let expected =
        json!({"guide_key": "tour", "tenant": null, "channel_type": "in_app_guide", "channel_id": Uuid::from_u128(7)});
    assert_eq!(told.events[0].data, Some(expected), "W-RUN-16");
    assert_eq!(world.feed("ann").await.len(), 0, "W-CHS-20: no message is made");
    run(&world, json!({"recipients": ["ann"]})).await;
    assert_eq!(rows(&world).await, 2, "twice is once");
}

#[tokio::test]
async fn who_is_brought_in_a_tenant_is_so_everywhere_unless_the_guide_is_strict() {
    let strict = json!({"tenancy_strict_mode": true});
    let world =
        world(json!([step("first", "loose"), step("second", "strict")]), &[("loose", json!({})), ("strict", strict)])
            .await;
    run(&world, json!({"recipients": [{"id": "ann"}], "tenant": {"id": "acme"}})).await;
    for (tenant, strict) in
        [(Some("acme"), "shown"), (Some("other"), "not_in_target_audience"), (None, "not_in_target_audience")]
    {
        let expected = vec![("loose".to_owned(), "shown"), ("strict".to_owned(), strict)];
        assert_eq!(found(&world, "ann", tenant).await, expected, "W-CHS-20 F-GDE-11 {tenant:?}");
    }
}

#[tokio::test]
async fn whoever_is_no_user_or_only_tries_it_is_brought_nowhere() {
    let world = world(json!([step("first", "tour")]), &[("tour", json!({}))]).await;
    run(&world, json!({"recipients": [{"id": "red", "collection": "teams", "name": "Red"}]})).await;
    assert_eq!(record(&world.run().await), ["step_skipped:recipient_is_no_user"], "W-CHS-20");
    run(&world, json!({"recipients": [{"id": "ann"}], "settings": {"sandbox_mode": true}})).await;
    assert_eq!(rows(&world).await, 0);
    // A node that knows no such guide says so.
    declare(&world, &[("other", json!({}))]).await;
    run(&world, json!({"recipients": ["ann"]})).await;
    let mut said: Vec<_> = world.runs().await.iter().flat_map(record).collect();
    said.sort();
    assert_eq!(
        said,
        ["step_skipped:guide_missing", "step_skipped:recipient_is_no_user", "step_skipped:sandbox_mode"],
        "W-RUN-15"
    );
}

#[tokio::test]
async fn who_is_brought_goes_with_the_user_and_becomes_anothers_and_stays_whatever_files_say() {
    let world = world(json!([step("first", "tour")]), &[("tour", json!({})), ("open", json!({}))]).await;
    run(&world, json!({"recipients": [{"id": "ann"}, {"id": "bob"}, {"id": "guest"}], "tenant": {"id": "acme"}})).await;
    run(&world, json!({"recipients": ["bob"]})).await;
    assert_eq!(rows(&world).await, 4);
    world.core.identify_user(world.env, "carl", &Profile::default()).await.unwrap();
    world.core.merge_users(world.env, "carl", "guest").await.unwrap();
    assert_eq!(found(&world, "carl", None).await[1].1, "shown", "F-USR-15");
    world.core.merge_users(world.env, "ann", "carl").await.unwrap();
    assert_eq!(rows(&world).await, 3, "F-USR-15: both were brought to it");
    world.core.delete_user(world.env, "bob").await.unwrap();
    assert_eq!(rows(&world).await, 1, "F-USR-12");
    // No step names it any more: whoever was brought to it still was, and nobody else.
    let tour = Guide::parse(
        "tour",
        &json!({"name": "T", "channel_key": "guides", "steps": [{"ref": "one", "schema_key": "card"}]}),
    );
    let unnamed = Guides::new(vec![tour.unwrap()], Order::default());
    world.core.declare_guides(&unnamed).await.unwrap();
    world.core.catalog.replace_guides(unnamed);
    assert_eq!(found(&world, "ann", None).await[0].1, "shown", "W-CHS-20");
    assert_eq!(found(&world, "bob", None).await[0].1, "not_in_target_audience", "W-CHS-20");
    // A node that has other files, an older one say, takes nothing back: it would be shown to everybody by those that have these.
    declare(&world, &[("open", json!({}))]).await;
    world.core.declare_guides(&Guides::default()).await.unwrap();
    assert_eq!(rows(&world).await, 1);
    declare(&world, &[("tour", json!({}))]).await;
    assert_eq!(found(&world, "ann", None).await[0].1, "shown");
    assert_eq!(found(&world, "bob", None).await[0].1, "not_in_target_audience");
}

/// F-GDE-09, F-GDE-10: the guide is reset when the message that tells of it is found and the mark is not yet written: what
/// is done then is the first that is done with it, and is not lost on a message that tells of nothing any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_while_a_guide_is_reset_is_done_anew() {
    let world = world(json!([]), &[("tour", json!({}))]).await;
    let environment = world.core.catalog.environment(world.env).unwrap().id;
    let id = world.core.catalog.guides().get("tour").unwrap().id(environment);
    let engagement = |mark: Mark| {
        let body = json!({"channel_id": Uuid::from_u128(7), "guide_key": "tour", "guide_id": id, "guide_step_ref": "one",
            "content": {}});
        Engagement::parse(mark, body.as_object().unwrap()).unwrap()
    };
    world.core.engage(world.env, "ann", &engagement(Mark::Seen)).await.unwrap();
    let renewal = Renewal::parse(json!({"guide_key": "tour"}).as_object().unwrap()).unwrap();
    let archived = engagement(Mark::Archived);
    let (reset, done) = world
        .at_once(world.core.reset_guide(world.env, "ann", &renewal), world.core.engage(world.env, "ann", &archived))
        .await;
    reset.unwrap();
    done.unwrap();
    assert_eq!(found(&world, "ann", None).await[0].1, "marked_as_archived", "F-GDE-09");
    let told = "SELECT count(*) FROM messages m WHERE m.archived_at IS NOT NULL AND m.seen_at IS NULL";
    let told = world.core.store.query_one(told, &[], |row| row.int(0)).await.unwrap();
    assert_eq!(told, Some(1), "F-GDE-10: by a message of its own");
}

#[test]
fn what_steps_say_of_guides_must_fit() {
    let tour = json!({"name": "T", "channel_key": "guides", "steps": [{"ref": "one", "schema_key": "card"}]});
    let guides = Guides::new(vec![Guide::parse("tour", &tour).unwrap()], Order::default());
    let others = || Channel { key: "others".to_owned(), ..channel() };
    let faults = |step: Value| -> Vec<String> {
        let workflow = Workflow::parse("story", &document(json!([step])), &[channel(), others()]).unwrap();
        workflow.guide_faults(&guides).iter().map(ToString::to_string).collect()
    };
    let with = |name: &str, value: Value| {
        let mut step = step("first", "tour");
        step[name] = value;
        step
    };
    assert!(faults(step("first", "tour")).is_empty(), "W-CHS-20");
    let day = |day: &str| json!({"day": day, "type": "send", "from": "09:00", "until": "17:00"});
    let days = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"].map(day);
    for (step, said) in [
        (step("first", "tuor"), "steps[0].guide_key: there is no guide `tuor` (did you mean `tour`?)"),
        (with("guide_key", Value::Null), "steps[0].guide_key: is required"),
        (with("channel_key", "others".into()), "steps[0].channel_key: guide `tour` is shown over channel `guides`"),
        (with("send_windows", json!(days)), "steps[0].send_windows: nothing is sent for a guide"),
    ] {
        let found = faults(step.clone());
        assert!(found.len() == 1 && found[0].starts_with(said), "W-CHS-20: {step} gave {found:?}");
    }
}
