//! Lists stay flat: however much there is, a page is found by an index that has it in order, from its cursor on.

use std::collections::{BTreeMap, BTreeSet};

use bellwire::http::api;
use bellwire::http::router::Verb;
use bellwire::store::Store;
use bellwire::store::plans::Plan;
use bellwire::wire::cursor::{Cursor, Edge, List};

use crate::support::{FEED, OTHER_FEED, START, Setup, World, postgres};

#[path = "../../../loadtest/src/full.rs"]
mod full;

use full::{AUDIENCE, COLLECTION, Full, Sizes};

/// Enough that PostgreSQL does not rather read a table whole.
const SIZES: Sizes = Sizes { messages: 24_000, users: 50_000, others: 3_000 };

/// A list as it is asked for.
struct Asked {
    /// The operation whose list it is.
    operation: &'static str,
    path: String,
    /// What it can be narrowed by, each a part of the query; and by how many of these at once it is.
    filters: Vec<String>,
    at_once: usize,
    /// By which index its page is found when it is narrowed by these, and how that is read.
    way: fn(&[&str]) -> Way,
    /// A place in the middle, if it has pages.
    middle: Option<(List, Cursor)>,
}

/// How a page comes about. Indexes are called otherwise in PostgreSQL where they came with the table.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// Along one of these, in order, from the cursor on.
    Along(&'static [&'static str]),
    /// Of the few that were named: found by one of these, and sorted.
    Named(&'static [&'static str]),
    /// All that there is of it, which is little, by one of these.
    Whole(&'static [&'static str]),
}

const MESSAGE_IDS: &[&str] = &["sqlite_autoindex_messages_1", "messages_id_key"];
/// Where one has so many of all, PostgreSQL may go through all, which are in the same order.
const OF_OBJECT: &[&str] = &["subscriptions_of_object", "subscriptions_pkey"];
const OF_RECIPIENT: &[&str] = &["subscriptions_of_recipient", "subscriptions_pkey"];
/// PostgreSQL may take what one object or user has of them for as little as what is named.
const FOLLOWERS: &[&str] = &[
    "sqlite_autoindex_subscriptions_1",
    "subscriptions_env_object_recipient_key",
    "subscriptions_of_object on subscriptions",
    "subscriptions_of_recipient on subscriptions",
];

fn has(narrowed: &[&str], name: &str) -> bool {
    narrowed.iter().any(|one| one.starts_with(name))
}

/// Whether a trigger is named, or a run, which comes of one.
fn of_trigger(narrowed: &[&str]) -> bool {
    has(narrowed, "workflow_run_id") || has(narrowed, "workflow_recipient_run_id")
}

/// Whatever is asked for, the fewest messages it is known to be among are gone through.
fn messages(narrowed: &[&str]) -> Way {
    let is_sent = has(narrowed, "status[]=sent") || has(narrowed, "status[]=delivered");
    match () {
        () if has(narrowed, "message_ids") => Way::Named(MESSAGE_IDS),
        () if of_trigger(narrowed) => Way::Along(&["messages_by_workflow_run"]),
        () if has(narrowed, "tenant") => Way::Along(&["messages_by_tenant"]),
        () if has(narrowed, "status[]") && !is_sent => Way::Along(&["messages_unsent"]),
        () => Way::Along(&["messages_by_time"]),
    }
}

fn messages_of_one(narrowed: &[&str]) -> Way {
    match () {
        () if has(narrowed, "message_ids") || of_trigger(narrowed) => messages(narrowed),
        () => Way::Along(&["messages_by_recipient"]),
    }
}

fn runs(narrowed: &[&str]) -> Way {
    match () {
        () if has(narrowed, "recipient") => Way::Along(&["runs_by_recipient"]),
        () if has(narrowed, "has_errors=true") => Way::Along(&["runs_with_errors"]),
        () => Way::Along(&["runs_by_time"]),
    }
}

fn schedules(narrowed: &[&str]) -> Way {
    match has(narrowed, "recipients") {
        true => Way::Along(&["schedules_by_recipient"]),
        false => Way::Along(&["schedules_by_workflow"]),
    }
}

fn subscriptions_of_object(narrowed: &[&str]) -> Way {
    if has(narrowed, "mode=recipient") {
        return Way::Along(OF_RECIPIENT);
    }
    match has(narrowed, "recipients") {
        true => Way::Named(FOLLOWERS),
        false => Way::Along(OF_OBJECT),
    }
}

fn subscriptions_of_user(narrowed: &[&str]) -> Way {
    match has(narrowed, "objects") {
        true => Way::Named(FOLLOWERS),
        false => Way::Along(OF_RECIPIENT),
    }
}

fn tenants(narrowed: &[&str]) -> Way {
    match () {
        () if has(narrowed, "tenant_id") => Way::Named(&["sqlite_autoindex_objects_1", "objects_pkey"]),
        () if has(narrowed, "name") => Way::Along(&["tenants_by_name"]),
        () => Way::Along(&["objects_by_time"]),
    }
}

fn preference_sets(_: &[&str]) -> Way {
    Way::Whole(&["sqlite_autoindex_preference_sets_1", "preference_sets_pkey"])
}

/// Every list there is.
fn lists(full: &Full<'_>) -> Vec<Asked> {
    let few = |filters: &[&str]| filters.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
    let times = ["inserted_at.gt", "inserted_at.gte", "inserted_at.lt", "inserted_at.lte"].map(|name| {
        let at = if name.contains('g') { full.at(10) } else { full.at(SIZES.messages - 10) };
        format!("{name}={at}")
    });
    let mut of_messages = few(&[
        "tenant=t0",
        "status[]=undelivered",
        "status[]=bounced",
        "status[]=delivered",
        "workflow_categories[]=offers",
        "source=other",
        "trigger_data={\"branch\":\"main\"}",
    ]);
    let words = ["seen", "unseen", "read", "unread", "archived", "unarchived", "link_clicked", "interacted"];
    of_messages.extend(words.map(|word| format!("engagement_status[]={word}")));
    of_messages.push(format!("channel_id={OTHER_FEED}"));
    of_messages.push(format!("message_ids[]={}&message_ids[]={}", full.message_id(16), full.message_id(32)));
    of_messages.push(format!("workflow_run_id={}", full::large_trigger()));
    of_messages.push(format!("workflow_recipient_run_id={}", full::run_of(8)));
    of_messages.extend(times.clone());
    let mut of_feed = few(&[
        "status=unread",
        "status=read",
        "status=unseen",
        "status=seen",
        "archived=include",
        "archived=only",
        "source=other",
        "workflow_categories[]=offers",
        "tenant=t0",
        "has_tenant=true",
        "has_tenant=false",
        "trigger_data={\"branch\":\"main\"}",
        "mode=compact",
    ]);
    of_feed.extend(times);
    let middle = |n: u32| Cursor::At(full.at(n), String::new());
    let half = i64::from(SIZES.others / 2);
    let of_all = |list| Some((list, middle(SIZES.messages / 2)));
    let of_others = |list| Some((list, middle(SIZES.others / 2)));
    let asked = |operation, path: &str, filters: Vec<String>, way: fn(&[&str]) -> Way, middle| Asked {
        operation,
        path: path.to_owned(),
        // Those of one user are read like those of all, but for where they are found.
        at_once: match (operation, filters.len()) {
            ("listMessagesForUser" | "listMessagesForObject", _) => 1,
            (_, ..10) => 3,
            _ => 2,
        },
        filters,
        way,
        middle,
    };
    let first = full.message_id(0);
    let follows = few(&["include[]=preferences", "objects[0][collection]=projects&objects[0][id]=p1"]);
    let workflows = few(&["workflow=comment", "tenant=t0"]);
    vec![
        asked("listMessages", "/v1/messages", of_messages.clone(), messages, of_all(List::Messages)),
        asked(
            "listMessagesForUser",
            "/v1/users/u0/messages",
            of_messages.clone(),
            messages_of_one,
            of_all(List::Messages),
        ),
        asked(
            "listMessagesForObject",
            "/v1/objects/projects/p0/messages",
            of_messages,
            messages_of_one,
            of_all(List::Messages),
        ),
        asked(
            "listMessageActivities",
            &format!("/v1/messages/{first}/activities"),
            few(&["trigger_data={\"build\":7}"]),
            |_| Way::Along(&["sqlite_autoindex_batch_activities_1", "batch_activities_pkey"]),
            Some((List::MessageActivities, Cursor::At(full.at(SIZES.others / 2), full.message_id(SIZES.others / 2)))),
        ),
        asked(
            "listMessageEvents",
            &format!("/v1/messages/{first}/events"),
            vec![],
            |_| Way::Whole(&["sqlite_autoindex_message_events_1", "message_events_pkey"]),
            None,
        ),
        asked(
            "listMessageDeliveryLogs",
            &format!("/v1/messages/{first}/delivery_logs"),
            vec![],
            |_| Way::Whole(MESSAGE_IDS),
            None,
        ),
        asked(
            "listUserInAppFeedItems",
            &format!("/v1/users/u0/feeds/{FEED}"),
            of_feed,
            |_| Way::Along(&["messages_by_feed"]),
            Some((List::Feed, Cursor::Seq(i64::from(SIZES.messages / full::KINDS / 2)))),
        ),
        asked(
            "listUsers",
            "/v1/users",
            few(&["include[]=preferences"]),
            |_| Way::Along(&["users_by_time"]),
            of_others(List::Users),
        ),
        asked(
            "listObjects",
            &format!("/v1/objects/{COLLECTION}"),
            few(&["include[]=preferences"]),
            |_| Way::Along(&["objects_by_time"]),
            of_others(List::Objects),
        ),
        asked("listTenants", "/v1/tenants", few(&["tenant_id=t7", "name=Branch"]), tenants, of_others(List::Tenants)),
        asked(
            "listSubscriptionsForObject",
            "/v1/objects/projects/p0/subscriptions",
            few(&["include[]=preferences", "mode=recipient", "recipients[]=u1&recipients[]=u2"]),
            subscriptions_of_object,
            Some((List::Subscriptions, Cursor::Seq(half))),
        ),
        asked(
            "listSubscriptionsForUser",
            "/v1/users/u0/subscriptions",
            follows,
            subscriptions_of_user,
            Some((List::Subscriptions, Cursor::Seq(half))),
        ),
        asked(
            "listSchedules",
            "/v1/schedules?workflow=comment",
            few(&["tenant=t0", "recipients[]=u0", "recipients[]=u1"]),
            schedules,
            of_others(List::Schedules),
        ),
        asked(
            "listUserSchedules",
            "/v1/users/u0/schedules",
            workflows.clone(),
            |_| Way::Along(&["schedules_by_recipient"]),
            of_others(List::Schedules),
        ),
        asked(
            "listObjectSchedules",
            "/v1/objects/projects/p0/schedules",
            workflows,
            |_| Way::Along(&["schedules_by_recipient"]),
            of_others(List::Schedules),
        ),
        asked("listUserPreferenceSets", "/v1/users/u0/preferences", vec![], preference_sets, None),
        asked("listObjectPreferenceSets", "/v1/objects/projects/p0/preferences", vec![], preference_sets, None),
        asked(
            "listAudienceMembers",
            &format!("/v1/audiences/{AUDIENCE}/members"),
            vec![],
            |_| Way::Along(&["audience_members_by_time"]),
            of_others(List::AudienceMembers),
        ),
        asked(
            "listWorkflowRecipientRuns",
            "/v1/workflow_recipient_runs",
            [
                few(&["workflow=other", "status[]=cancelled", "status[]=paused", "tenant=t0", "recipient=u0"]),
                few(&["has_errors=true", "has_errors=false"]),
                vec![format!("starting_at={}", full.at(8)), format!("ending_at={}", full.at(SIZES.messages - 8))],
            ]
            .concat(),
            runs,
            of_all(List::WorkflowRuns),
        ),
    ]
}

/// So many filters at once, at most, and all together; what has one value is named once.
fn combinations(filters: &[String], at_once: usize) -> Vec<Vec<&str>> {
    let all: Vec<&str> = filters.iter().map(String::as_str).collect();
    let is_new = |one: &str, chosen: &[&str]| {
        let name = one.split('=').next().unwrap_or_default();
        name.ends_with("[]") || chosen.iter().all(|other| other.split('=').next() != Some(name))
    };
    let mut out: Vec<Vec<&str>> = vec![vec![]];
    for most in 0..at_once {
        for at in 0..out.len() {
            let chosen = out[at].clone();
            let behind = chosen.last().map_or(0, |last| all.iter().position(|one| one == last).unwrap() + 1);
            if chosen.len() == most {
                let next = all[behind..].iter().filter(|one| is_new(one, &chosen));
                out.extend(next.map(|one| [&chosen[..], &[*one]].concat()).collect::<Vec<_>>());
            }
        }
    }
    let mut together = Vec::new();
    for one in all {
        if is_new(one, &together) {
            together.push(one);
        }
    }
    out.push(together);
    out
}

/// Rows that PostgreSQL may sort rather than read in order.
const FEW: u32 = 200;

/// Tables that hold as much as there is.
const LARGE: [&str; 11] = [
    "messages",
    "users",
    "objects",
    "subscriptions",
    "schedules",
    "audience_members",
    "runs",
    "batch_activities",
    "message_events",
    "preference_sets",
    "feeds",
];

/// What is wrong with a plan, whatever is asked: a table gone through from one end to the other, or rows sorted that did
/// not come as a list.
fn faults(plan: &Plan, may_sort: bool) -> Vec<String> {
    let may_sort = may_sort || plan.sql.contains("json_each(?1) j");
    let fault = |line: &String| {
        let of_postgres = line.trim_start().trim_start_matches("->").trim_start();
        let scan = of_postgres.strip_prefix("Seq Scan on ").or(of_postgres.strip_prefix("Parallel Seq Scan on "));
        let is_whole = match scan {
            Some(rest) => LARGE.contains(&rest.split(' ').next().unwrap_or_default()),
            // Of the embedded database: rows of the table itself, or all of an index.
            None => line.starts_with("SCAN ") && !is_harmless(line),
        };
        // PostgreSQL, which knows how many there are, may sort a few.
        let many = line.split_once(" rows=").and_then(|(_, rest)| rest.split(' ').next()?.parse::<u32>().ok());
        let is_sorted = line.starts_with("USE TEMP B-TREE") || (of_postgres.starts_with("Sort ") && many > Some(FEW));
        is_whole || (is_sorted && !may_sort)
    };
    plan.lines.iter().filter(|line| fault(line)).cloned().collect()
}

/// Lists that came as parameters, and rows that another line has found.
fn is_harmless(line: &str) -> bool {
    ["VIRTUAL TABLE", "CONSTANT ROW", "(subquery-", "SCAN counted"].iter().any(|word| line.contains(word))
}

/// What is wrong with how the page itself comes about.
fn page_fault(plan: &Plan, way: Way, edge: Option<&Edge>) -> Option<String> {
    let (Way::Along(names) | Way::Named(names) | Way::Whole(names)) = way;
    let is_by = |line: &String| names.iter().any(|name| line.contains(&format!("{name} ")));
    let Some(found) = plan.lines.iter().position(is_by) else { return Some(format!("not by {}", names[0])) };
    let sign = match edge {
        Some(Edge::After(_)) => '<',
        Some(Edge::Before(_)) => '>',
        None => return None,
    };
    // The embedded database says it in the same line, PostgreSQL in the next.
    let mut said = plan.lines[found..].iter().take(2);
    let begins = said.any(|line| (line.contains("SEARCH") || line.contains("Index Cond")) && is_bound(line, sign));
    (matches!(way, Way::Along(_)) && !begins).then(|| "not from its cursor on".to_owned())
}

/// Whether an index is begun or left at a place in the list: it is not enough that something of it is less or more.
fn is_bound(line: &str, sign: char) -> bool {
    let line = line.replace(' ', "");
    ["n", "n)", "seq", "id", "id)", "slot)"].iter().any(|place| line.contains(&format!("{place}{sign}")))
}

/// What is wrong with how a request was answered: of each fault an example, by the statement.
type Faulty = BTreeMap<(String, String), String>;

impl Asked {
    fn path_of(&self, narrowed: &[&str], edge: Option<&Edge>) -> String {
        let cursor = match (edge, &self.middle) {
            (Some(Edge::After(at)), Some((list, _))) => format!("&after={}", at.encode(*list)),
            (Some(Edge::Before(at)), Some((list, _))) => format!("&before={}", at.encode(*list)),
            _ => String::new(),
        };
        let mark = if self.path.contains('?') { '&' } else { '?' };
        let query = narrowed.join("&").replace('"', "%22").replace('{', "%7B").replace('}', "%7D");
        format!("{}{mark}{query}{cursor}", self.path)
    }

    /// Asks for a page, and looks at everything that the database was asked for it. Gives the times of the page's rows.
    async fn look(&self, world: &World, narrowed: &[&str], edge: Option<&Edge>, faulty: &mut Faulty) -> Vec<String> {
        let path = self.path_of(narrowed, edge);
        let page = world.get(&path).sk().send().await.ok(200);
        let (way, plans) = ((self.way)(narrowed), world.core.store.plans().await.unwrap());
        let mut note = |fault: String, plan: &Plan| {
            let example = format!("{path}\n  {fault}\n  {}\n  {}", plan.sql, plan.lines.join("\n  "));
            faulty.entry((fault, plan.sql.clone())).or_insert(example);
        };
        let is_page = |plan: &Plan| plan.sql.ends_with("LIMIT 51");
        for plan in &plans {
            for fault in faults(plan, is_page(plan) && matches!(way, Way::Named(_))) {
                note(fault, plan);
            }
        }
        let pages: Vec<&Plan> = plans.iter().filter(|plan| is_page(plan)).collect();
        match way {
            Way::Whole(_) => {
                let is_found = plans.iter().any(|plan| page_fault(plan, way, None).is_none());
                assert!(is_found, "{path}: {plans:?}");
            }
            // What a feed's counters say is not there is not looked for.
            _ => assert!(!pages.is_empty() || self.operation == "listUserInAppFeedItems", "{path}: {plans:?}"),
        }
        for plan in pages {
            if let Some(fault) = page_fault(plan, way, edge) {
                note(fault, plan);
            }
        }
        let rows = page["entries"].as_array().or(page["items"].as_array()).cloned().unwrap_or_default();
        rows.iter().filter_map(|row| row["inserted_at"].as_str()).map(str::to_owned).collect()
    }
}

async fn stay_flat(store: Store, analyze: impl AsyncFn()) {
    let world = World::with(Setup { store: Some(store), ..Setup::default() }).await;
    let (store, channels) = (&world.core.store, [FEED, OTHER_FEED]);
    let full = Full { store, env: world.env, channels, workflow: "comment", begin: START, sizes: SIZES };
    full.fill(|_, _, _| {}).await.unwrap();
    analyze().await;
    store.watch();
    let lists = lists(&full);
    let known: BTreeSet<&str> = lists.iter().map(|list| list.operation).collect();
    let served = api::routes();
    // Providers list theirs elsewhere, and guides are those of the files.
    let is_of_rows = |path: &str| !path.contains("/providers/") && !path.contains("/guides/");
    let served = served
        .iter()
        .filter(|route| route.verb == Verb::Get && route.operation.starts_with("list") && is_of_rows(route.path));
    let unknown: Vec<&str> = served.map(|route| route.operation).filter(|one| !known.contains(one)).collect();
    assert!(unknown.is_empty(), "how these lists are read is not looked at: {unknown:?}");
    let mut faulty = Faulty::new();
    for list in &lists {
        for narrowed in combinations(&list.filters, list.at_once) {
            list.look(&world, &narrowed, None, &mut faulty).await;
            let Some((_, middle)) = &list.middle else { continue };
            let after = list.look(&world, &narrowed, Some(&Edge::After(middle.clone())), &mut faulty).await;
            let before = list.look(&world, &narrowed, Some(&Edge::Before(middle.clone())), &mut faulty).await;
            let what = format!("{} {narrowed:?}", list.operation);
            assert!(before.len() <= 50 && after.len() <= 50, "F-PAG-01 {what}");
            let newest_first = [before, after].concat();
            // Subscriptions have two rows, and schedules three, of each instant.
            assert!(newest_first.is_sorted_by(|one, next| one >= next), "F-PAG-05 F-PAG-07 {what}: {newest_first:?}");
        }
    }
    let faulty: Vec<String> = faulty.into_values().collect();
    assert!(faulty.is_empty(), "{} such as\n{}", faulty.len(), faulty[..faulty.len().min(8)].join("\n"));
}

/// F-PAG-01, F-PAG-05, F-PAG-07, whatever a list is narrowed by.
#[tokio::test]
async fn pages_are_found_by_an_index_from_their_cursor_on() {
    let directory = std::env::temp_dir().join(format!("bellwire-lists-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&directory).unwrap();
    stay_flat(Store::open(&directory.join("db")).unwrap(), async || ()).await;
    std::fs::remove_dir_all(directory).unwrap();
}

/// The same of PostgreSQL, which knows how many rows there are and what is in them.
#[tokio::test]
async fn pages_are_found_by_an_index_from_their_cursor_on_in_postgres() {
    let server = postgres::shared();
    let database = server.database().await;
    let store = Store::connect(&server.place(&database, 4)).await.unwrap();
    stay_flat(store, async || server.execute(&database, "VACUUM ANALYZE").await).await;
}
