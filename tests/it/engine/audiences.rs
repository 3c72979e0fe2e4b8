//! Audiences under concurrency, and where there are many users; their stories are in `scenarios/`.

use std::collections::BTreeMap;

use bellwire::engine::work::work;
use bellwire::model::audience::{Audience, Audiences};
use bellwire::store::Batch;
use bellwire::verbs::audience::{JOIN_JOB, Join};
use bellwire::verbs::identify::Profile;
use bellwire::verbs::{Core, Error};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{World, document, tell};

fn audience(key: &str, plan: Option<&str>) -> Audience {
    let document = match plan {
        None => json!({"name": key, "type": "static"}),
        Some(plan) => json!({"name": key, "type": "dynamic", "segments": [
            {"conditions": [{"property": "recipient.plan", "operator": "equal_to", "argument": plan}]}
        ]}),
    };
    Audience::parse(key, &document).unwrap()
}

/// The audience `vip`, whose new members are greeted.
async fn declare(core: &Core, plan: Option<&str>) {
    let joins = BTreeMap::from([("greet".to_owned(), "vip".to_owned())]);
    core.catalog.replace_audiences(Audiences::new(vec![audience("vip", plan)], joins));
    core.publish_audiences().await.unwrap();
}

fn greet() -> Value {
    document(json!([tell("tell", "hello")]))
}

fn ann() -> Value {
    json!({"members": [{"user": {"id": "ann"}}]})
}

async fn identify(core: &Core, env: i64, id: &str, properties: Value) {
    let profile = Profile::parse(properties.as_object().unwrap(), "").unwrap();
    core.identify_user(env, id, &profile).await.unwrap();
}

async fn members(world: &World) -> Vec<String> {
    let members = world.core.store.audience_members(world.env, "vip", None, 10_000).await.unwrap();
    members.into_iter().map(|member| member.user).collect()
}

/// W-AUD-08: both have read that nobody is a member before either is committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_add_the_same_member_one_makes_them_join() {
    let world = World::new(&[("greet", greet())]).await;
    declare(&world.core, None).await;
    identify(&world.core, world.env, "ann", json!({})).await;
    let other = world.neighbour();
    declare(&other, None).await;
    let (env, body) = (world.env, ann());
    let (one, two) = world
        .at_once(world.core.add_members(env, "vip", &body, false), other.add_members(env, "vip", &body, false))
        .await;
    one.unwrap();
    two.unwrap();
    world.pass(0).await;
    assert_eq!(world.runs().await.len(), 1);
    assert_eq!(members(&world).await, ["ann"]);
}

/// W-UPD-20, W-AUD-08: two runs add the same recipient at once; the second finds that it is so already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_runs_that_add_the_same_member_one_makes_them_join() {
    let add = document(json!([
        {"type": "update_audience", "ref": "add", "settings": {"action": "add", "audience_key": "vip"}}
    ]));
    let world = World::new(&[("greet", greet()), ("add", add)]).await;
    declare(&world.core, None).await;
    identify(&world.core, world.env, "ann", json!({})).await;
    let other = world.neighbour();
    declare(&other, None).await;
    let body = json!({"recipients": ["ann"]});
    let (one, two) =
        world.at_once(world.trigger("add", body.clone()), world.trigger_on(&other, "add", body, None)).await;
    one.unwrap();
    two.unwrap();
    world.pass(0).await;
    assert_eq!(world.feed("ann").await.len(), 1);
    assert_eq!(world.runs().await.len(), 3);
}

/// W-AUD-12: two changes of a user at once are one after the other; who enters enters once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_changes_that_make_somebody_a_member_one_is_the_join() {
    let world = World::new(&[("greet", greet())]).await;
    declare(&world.core, Some("pro")).await;
    let (env, other) = (world.env, world.neighbour());
    declare(&other, Some("pro")).await;
    identify(&world.core, env, "ann", json!({"plan": "free"})).await;
    let change = identify(&world.core, env, "ann", json!({"plan": "pro"}));
    world.at_once(change, identify(&other, env, "ann", json!({"plan": "pro", "name": "Ann"}))).await;
    world.pass(0).await;
    assert_eq!(world.runs().await.len(), 1);
}

/// W-AUD-01: the run and the end of its job are one transaction: whoever comes back to the job finds it done.
#[tokio::test]
async fn a_join_is_worked_on_once() {
    let world = World::new(&[("greet", greet())]).await;
    declare(&world.core, None).await;
    world.core.add_members(world.env, "vip", &ann(), false).await.unwrap();
    let now = world.core.clock.now();
    let dead = world.core.store.claim_jobs("dead", now, now.plus_seconds(30), 64).await.unwrap();
    world.pass(31).await;
    for job in &dead {
        work(&world.core, job).await.unwrap();
    }
    assert_eq!((dead.len(), world.runs().await.len()), (1, 1));
}

/// Leaves a job that starts `greet` for whoever has joined `vip`, under this tenant.
async fn joins(world: &World, subject: &str, tenant: &str) {
    let join = Join {
        env: world.env,
        workflow: "greet".to_owned(),
        audience: "vip".to_owned(),
        user: "ann".to_owned(),
        tenant: Some(tenant.to_owned()),
        depth: 0,
    };
    let mut batch = Batch::new();
    batch.add_long_job(JOIN_JOB, subject, &join.progress(), world.core.clock.now());
    world.core.store.apply(batch).await.unwrap();
}

/// What no trigger takes is said in the log, and not tried for half a day.
#[tokio::test]
async fn a_join_that_cannot_start_anything_ends() {
    let world = World::new(&[("greet", greet())]).await;
    declare(&world.core, None).await;
    identify(&world.core, world.env, "ann", json!({})).await;
    joins(&world, &Uuid::nil().to_string(), "no tenant").await;
    assert_eq!(world.pass(0).await, 1);
    assert_eq!((world.runs().await.len(), world.core.store.next_job_at().await.unwrap()), (0, None), "W-TRG-24");
    // Without an id of its own it would be run again and again.
    joins(&world, "", "acme").await;
    let now = world.core.clock.now();
    let claimed = world.core.store.claim_jobs("test", now, now.plus_seconds(30), 64).await.unwrap();
    let failure = work(&world.core, &claimed[0]).await.unwrap_err().to_string();
    assert!(failure.contains("is no id"), "{failure}");
    assert_eq!(world.runs().await.len(), 0);
}

/// W-AUD-01, W-ENV-12: a node that follows the store looks what is published before it says that there is no workflow.
#[tokio::test]
async fn a_join_starts_a_workflow_that_its_node_has_not_heard_of() {
    let world = World::new(&[("greet", greet())]).await;
    declare(&world.core, None).await;
    identify(&world.core, world.env, "ann", json!({})).await;
    world.core.add_members(world.env, "vip", &ann(), false).await.unwrap();
    assert_eq!(world.pass_on(&world.follower(), 0).await, 1);
    assert_eq!(world.runs().await.len(), 1);
}

/// W-AUD-02: more users than one transaction looks at.
#[tokio::test]
async fn the_members_of_a_new_definition_are_found_among_many() {
    let world = World::new(&[("greet", greet())]).await;
    for n in 0..450 {
        let plan = if n % 3 == 0 { "pro" } else { "free" };
        identify(&world.core, world.env, &format!("u{n:03}"), json!({"plan": plan})).await;
    }
    declare(&world.core, Some("pro")).await;
    world.pass(0).await;
    assert_eq!(members(&world).await.len(), 150);
    // The same definition again looks for nobody.
    declare(&world.core, Some("pro")).await;
    assert_eq!(world.pass(0).await, 0);
    declare(&world.core, Some("free")).await;
    world.pass(0).await;
    assert_eq!((members(&world).await.len(), world.runs().await.len()), (300, 0));
}

/// A search that another definition has overtaken ends, and changes nothing.
#[tokio::test]
async fn a_search_by_an_old_definition_ends() {
    let world = World::new(&[("greet", greet())]).await;
    identify(&world.core, world.env, "ann", json!({"plan": "pro"})).await;
    declare(&world.core, Some("pro")).await;
    declare(&world.core, Some("free")).await;
    assert_eq!(world.pass(0).await, 2);
    assert_eq!(members(&world).await, [""; 0]);
}

/// The same of one that another definition overtakes while it is under way: it has read the old one, and is committed after
/// the new one is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_that_is_overtaken_before_it_is_committed_changes_nothing() {
    let world = World::embedded(&[("greet", greet())]).await;
    identify(&world.core, world.env, "ann", json!({"plan": "pro"})).await;
    declare(&world.core, Some("pro")).await;
    let now = world.core.clock.now();
    let [search] =
        world.core.store.claim_jobs("test", now, now.plus_seconds(30), 64).await.unwrap().try_into().unwrap();
    let other = world.neighbour();
    let mut batch = Batch::new();
    batch.redefine_audience(world.env, "vip", "other");
    let (redefined, searched) = world.at_once(other.store.apply(batch), work(&world.core, &search)).await;
    redefined.unwrap();
    searched.unwrap();
    assert_eq!(members(&world).await, [""; 0]);
    assert_eq!(world.core.store.next_job_at().await.unwrap(), None, "it has ended");
}

/// Changes of users pass an audience by that is not declared: whoever is a member is found anew when it is again.
#[tokio::test]
async fn an_audience_that_comes_back_has_those_who_are_members_then() {
    let world = World::new(&[("greet", greet())]).await;
    identify(&world.core, world.env, "ann", json!({"plan": "pro"})).await;
    identify(&world.core, world.env, "bob", json!({"plan": "free"})).await;
    declare(&world.core, Some("pro")).await;
    world.pass(0).await;
    assert_eq!(members(&world).await, ["ann"]);
    // A node that has no files says nothing of what they declare.
    world.follower().publish_audiences().await.unwrap();
    declare(&world.core, Some("pro")).await;
    assert_eq!(world.pass(0).await, 0);
    world.core.catalog.replace_audiences(Audiences::default());
    world.core.publish_audiences().await.unwrap();
    identify(&world.core, world.env, "ann", json!({"plan": "free"})).await;
    identify(&world.core, world.env, "bob", json!({"plan": "pro"})).await;
    declare(&world.core, Some("pro")).await;
    world.pass(0).await;
    assert_eq!(members(&world).await, ["bob"]);
    assert_eq!(world.runs().await.len(), 0, "W-AUD-02: nobody joins by it");
}

/// W-AUD-14.
#[tokio::test]
async fn an_audience_keeps_its_type() {
    let world = World::new(&[("greet", greet())]).await;
    declare(&world.core, None).await;
    let changed = Audiences::new(vec![audience("vip", Some("pro"))], BTreeMap::new());
    assert_eq!(world.core.audiences_of_other_type(&changed).await.unwrap(), ["vip"]);
    assert!(world.core.audiences_of_other_type(&world.core.catalog.audiences()).await.unwrap().is_empty());
    // One that is declared no more stays what it was, too; of a dynamic one nobody knows who is a member.
    world.core.catalog.replace_audiences(Audiences::new(vec![audience("pro", Some("pro"))], BTreeMap::new()));
    world.core.publish_audiences().await.unwrap();
    world.core.catalog.replace_audiences(Audiences::default());
    assert!(world.core.knows_audience(world.env, "vip").await.unwrap());
    assert!(!world.core.knows_audience(world.env, "pro").await.unwrap());
    let refused = world.core.add_members(world.env, "pro", &ann(), true).await;
    assert!(matches!(refused, Err(Error::Invalid(_))));
}

/// A user that changed since the search has read it is left to what the change itself has said.
#[tokio::test]
async fn whoever_changed_meanwhile_is_not_sorted_by_what_they_were() {
    let world = World::new(&[("greet", greet())]).await;
    declare(&world.core, Some("pro")).await;
    world.pass(0).await;
    identify(&world.core, world.env, "ann", json!({"plan": "pro"})).await;
    let read = world.core.store.user(world.env, "ann").await.unwrap().unwrap();
    world.core.clock.advance(1_000);
    identify(&world.core, world.env, "ann", json!({"plan": "free"})).await;
    let mut batch = Batch::new();
    batch.sort_members(world.env, &[("vip", &read, true)], world.core.clock.now());
    world.core.store.apply(batch).await.unwrap();
    assert_eq!(members(&world).await, [""; 0]);
}
