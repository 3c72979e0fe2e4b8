//! Reads lists of a store that is full: their first, their 1,000th and their last page.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bellwire::clock::Clock;
use bellwire::config::Config;
use bellwire::model::ids::Ksuid;
use bellwire::model::time::Time;
use bellwire::store::Store;
use bellwire::wire::cursor::{Cursor, List};
use hdrhistogram::Histogram;
use hyper::Method;
use serde_json::Value;

use crate::bare::lists::Asked;
use crate::bare::{self, pages::Times};
use crate::full::{self, AUDIENCE, COLLECTION, Full, KINDS, RARE, Sizes};
use crate::http::Connection;
use crate::machine::Reading;
use crate::options::{Join, Lists};
use crate::process::Process;
use crate::run::{Outcome, Round, Run};
use crate::server::{self, CHANNEL};
use crate::target::{Side, Target};

/// Rows of a full page.
const PAGE: u32 = 50;
/// The page that must be as quick as the first.
const DEEP: u32 = 1_000;
/// Another channel than the feed's, which nobody has set up.
const OTHER_CHANNEL: &str = "8209f26c-62a5-461d-95e2-a5716a26e653";
/// How long one list is read in a round at most, however slow it is.
const PATIENCE: Duration = Duration::from_secs(3);
/// Lists that the bare program reads, too.
const BARE: [&str; 3] = ["messages", "users", "feed"];

/// A list, or a part of one.
struct Listed {
    name: String,
    path: String,
    list: List,
    /// How many rows it has, or nearly.
    rows: u32,
    place: Place,
}

/// Where the row is that was written `n`-th.
#[derive(Clone, Copy)]
enum Place {
    /// Rows were written one after the other, this the first, and then every so many were the list's.
    Time(f64, f64),
    /// The same, where the place is told by the id.
    Id,
    /// Rows are numbered: this the first, and then every so many.
    Number(u32, u32),
}

impl Listed {
    /// Whence the page is read that begins with the list's `n`-th row, counted from the oldest, which is 0.
    fn after(&self, begin: Time, n: u32) -> String {
        let at = |nth: f64| begin.plus_micros((nth * full::STEP as f64) as i64 + 1);
        let cursor = match self.place {
            Place::Time(first, every) => Cursor::At(at(first + f64::from(n) * every), String::new()),
            Place::Id => Cursor::At(at(f64::from(n)), Ksuid::lowest(at(f64::from(n))).to_string()),
            Place::Number(first, every) => Cursor::Seq(i64::from(first + n * every) + 1),
        };
        cursor.encode(self.list)
    }

    /// The pages that are compared: each with its name, and whence it is read.
    fn pages(&self, begin: Time) -> Vec<(String, Option<String>)> {
        let pages = self.rows / PAGE;
        let deep = DEEP.min(pages.saturating_sub(1));
        let mut out = vec![("first".to_owned(), None)];
        if deep > 1 {
            out.push((format!("{deep}."), Some(self.after(begin, self.rows - 1 - (deep - 1) * PAGE))));
            out.push(("last".to_owned(), Some(self.after(begin, PAGE / 2))));
        }
        out
    }

    fn path_of(&self, after: Option<&str>) -> String {
        let mark = if self.path.contains('?') { '&' } else { '?' };
        let after = after.map(|after| format!("&after={after}")).unwrap_or_default();
        format!("{}{mark}page_size={PAGE}{after}", self.path)
    }
}

pub(crate) async fn run(run: &Run, options: &Lists) -> Result<Outcome> {
    let sizes = Sizes {
        messages: options.messages,
        users: options.users,
        // A little more than a thousand pages where there are a million messages.
        others: (options.messages / 16).min(options.users).max(PAGE),
    };
    let room = run.room(Side::Bellwire)?;
    let file = room.join("node-0").join("bellwire.db");
    let begin = Clock::system().now().plus_seconds(-3_600);
    let (env, filled) = fill(run, &file, &sizes, begin).await?;
    let lists = lists(&sizes, begin);
    let mut target = None;
    if !run.common.bare_only {
        target = Some(Target::start(Side::Bellwire, &run.common, &room, Join::Bellwire, true).await?);
    }
    let of_file = run.common.store.is_none();
    let bare = if of_file { Some(tokio::sync::Mutex::new(start_bare(run, options, &file, env).await?)) } else { None };
    let mut read: Vec<Vec<Histogram<u64>>> = lists.iter().map(|one| vec![times(); one.pages(begin).len()]).collect();
    let mut outcome = run
        .interleave("lists", async |side| match (side, &target, &bare) {
            (Side::Bellwire, Some(target), _) => read_all(run, options, target, &lists, begin, &mut read).await,
            (_, _, Some(bare)) => read_bare(run, &mut *bare.lock().await, &lists, begin).await,
            _ => Ok(Round::default()),
        })
        .await?;
    if target.is_some() {
        outcome.notes.push(table(&lists, &read, begin));
    }
    outcome.notes.push(format!(
        "{} messages, {} users, {} of each of the others, written in {:.0} s; pages of {PAGE} rows, read in turn; the bare program \
         reads the same rows of the same file in process",
        sizes.messages,
        sizes.users,
        sizes.others,
        filled.as_secs_f64()
    ));
    Ok(outcome)
}

/// Writes everything, before the server starts; answers the number of the environment, and how long it took.
async fn fill(run: &Run, file: &Path, sizes: &Sizes, begin: Time) -> Result<(i64, Duration)> {
    let began = Instant::now();
    let store = match &run.common.store {
        Some(url) => Store::connect(&Config::default().store.at(url).map_err(anyhow::Error::msg)?).await?,
        None => {
            std::fs::create_dir_all(file.parent().context("a file is in a directory")?)?;
            Store::open(file)?
        }
    };
    let env = store.ensure_environment(server::ENVIRONMENT, begin).await?.number;
    ensure!(
        store.users(env, None, 1).await?.is_empty(),
        "the database holds users already: this needs an empty one, whose rows it can count"
    );
    let full = Full {
        store: &store,
        env,
        channels: [CHANNEL, OTHER_CHANNEL],
        workflow: server::WORKFLOW,
        begin,
        sizes: sizes.clone(),
    };
    let mut part = "";
    full.fill(|what, at, of| {
        if std::mem::replace(&mut part, what) != what {
            run.progress.part(format!("write {what}"), of.into());
        }
        run.progress.at(at.into());
    })
    .await?;
    Ok((env, began.elapsed()))
}

/// Every list there is, and messages narrowed by every filter.
fn lists(sizes: &Sizes, begin: Time) -> Vec<Listed> {
    let Sizes { messages, users, others } = *sizes;
    let (kinds, of_kind) = (f64::from(KINDS), messages / KINDS);
    let kind = |kind: u32| (of_kind, Place::Time(kind.into(), kinds));
    let listed = |name: &str, path: String, list: List, (rows, place): (u32, Place)| Listed {
        name: name.to_owned(),
        path,
        list,
        rows,
        place,
    };
    let narrowed = |filter: &str, what: (u32, Place)| {
        let name = filter.split(['=', '[']).next().unwrap_or_default();
        listed(&format!("messages, {name}"), format!("/v1/messages?{filter}"), List::Messages, what)
    };
    let every = |rows: u32, step: u32| (rows, Place::Time(0.0, step.into()));
    let number = |rows: u32, first: u32, step: u32| (rows, Place::Number(first, step));
    let id = |n: u32| Ksuid::mint(begin.plus_micros(i64::from(n) * full::STEP), &[&n.to_be_bytes()]).to_string();
    let feed = |query: &str| format!("/v1/users/u0/feeds/{CHANNEL}?mode=compact&{query}");
    let object = format!("/v1/objects/{COLLECTION}/p0");
    let main = "trigger_data=%7B%22branch%22:%22main%22%7D";
    let (rare, none) = ((messages / RARE, Place::Time(0.0, 1.0)), (1, Place::Time(0.0, 1.0)));
    let three = (others * 3, Place::Time(0.0, 1.0 / 3.0));
    let mut out = vec![
        listed("messages", "/v1/messages".into(), List::Messages, every(messages, 1)),
        listed("messages of a user", "/v1/users/u0/messages".into(), List::Messages, kind(0)),
        listed("messages of an object", format!("{object}/messages"), List::Messages, kind(1)),
        narrowed(&format!("workflow_run_id={}", full::large_trigger()), kind(2)),
        narrowed("tenant=t0", kind(3)),
        narrowed("status[]=undelivered", kind(4)),
        narrowed("source=other", kind(5)),
        narrowed(&format!("channel_id={OTHER_CHANNEL}"), kind(6)),
        narrowed("workflow_categories[]=offers", kind(7)),
        narrowed(main, kind(8)),
        narrowed("engagement_status[]=seen", kind(0)),
        narrowed(
            &format!("inserted_at.gte={}", begin.plus_micros(i64::from(messages) / 8 * full::STEP)),
            (messages / 8 * 7, Place::Time(f64::from(messages / 8), 1.0)),
        ),
        narrowed(&format!("message_ids[]={}&message_ids[]={}", id(16), id(32)), none),
        narrowed(&format!("workflow_recipient_run_id={}", full::run_of(16)), none),
        listed("messages of a rare status", "/v1/messages?status[]=bounced".into(), List::Messages, rare),
        listed("messages of a rare source", "/v1/messages?source=rare".into(), List::Messages, rare),
        listed("messages of a small tenant", "/v1/messages?tenant=t7".into(), List::Messages, none),
        listed("messages that there are none of", "/v1/messages?source=none".into(), List::Messages, none),
        listed(
            "activities of a message",
            format!("/v1/messages/{}/activities", id(0)),
            List::MessageActivities,
            (others, Place::Id),
        ),
        listed("events of a message", format!("/v1/messages/{}/events", id(0)), List::MessageEvents, none),
        listed("delivery logs", format!("/v1/messages/{}/delivery_logs", id(0)), List::DeliveryLogs, none),
        listed("feed", feed("archived=include"), List::Feed, number(of_kind, 1, 1)),
        listed("feed, archived", feed("archived=exclude"), List::Feed, number(of_kind / 8 * 7, 1, 1)),
        listed("feed, status", feed("archived=include&status=seen"), List::Feed, number(of_kind, 1, 1)),
        listed("feed, has_tenant", feed("archived=include&has_tenant=false"), List::Feed, number(of_kind, 1, 1)),
        listed("feed, source", feed(&format!("source={}", server::WORKFLOW)), List::Feed, number(of_kind, 1, 1)),
    ];
    out.extend([
        listed("users", "/v1/users".into(), List::Users, every(users, 1)),
        listed("users with preferences", "/v1/users?include[]=preferences".into(), List::Users, every(users, 1)),
        listed("objects", format!("/v1/objects/{COLLECTION}"), List::Objects, every(others, 1)),
        listed("tenants", "/v1/tenants".into(), List::Tenants, every(others, 1)),
        listed("tenants, name", "/v1/tenants?name=Branch".into(), List::Tenants, every(others, 1)),
        listed("tenants, tenant_id", "/v1/tenants?tenant_id=t7".into(), List::Tenants, none),
        listed("followers of an object", format!("{object}/subscriptions"), List::Subscriptions, number(others, 1, 2)),
        listed(
            "followers, recipients",
            format!("{object}/subscriptions?recipients[]=u1&recipients[]=u2"),
            List::Subscriptions,
            none,
        ),
        listed(
            "subscriptions of a user",
            "/v1/users/u0/subscriptions".into(),
            List::Subscriptions,
            number(others, 2, 2),
        ),
        listed("schedules", format!("/v1/schedules?workflow={}", server::WORKFLOW), List::Schedules, three),
        listed("schedules of a user", "/v1/users/u0/schedules".into(), List::Schedules, every(others, 1)),
        listed("schedules of an object", format!("{object}/schedules"), List::Schedules, every(others, 1)),
        listed(
            "schedules, tenant",
            format!("/v1/schedules?workflow={}&tenant=t0", server::WORKFLOW),
            List::Schedules,
            (others / 2 * 3, Place::Time(0.0, 2.0 / 3.0)),
        ),
        listed(
            "members of an audience",
            format!("/v1/audiences/{AUDIENCE}/members"),
            List::AudienceMembers,
            every(others, 1),
        ),
        listed("runs", "/v1/workflow_recipient_runs".into(), List::WorkflowRuns, every(messages / 8, 8)),
        listed("runs, recipient", "/v1/workflow_recipient_runs?recipient=u0".into(), List::WorkflowRuns, kind(0)),
        listed(
            "runs, has_errors",
            "/v1/workflow_recipient_runs?has_errors=true".into(),
            List::WorkflowRuns,
            (messages / 128, Place::Time(8.0, 128.0)),
        ),
        listed(
            "runs, status",
            "/v1/workflow_recipient_runs?status[]=cancelled".into(),
            List::WorkflowRuns,
            (messages / 128, Place::Time(16.0, 128.0)),
        ),
        listed(
            "runs that there are none of",
            "/v1/workflow_recipient_runs?workflow=none".into(),
            List::WorkflowRuns,
            none,
        ),
    ]);
    out
}

/// Reads the pages of every list, each in turn.
async fn read_all(
    run: &Run,
    options: &Lists,
    target: &Target,
    lists: &[Listed],
    begin: Time,
    read: &mut [Vec<Histogram<u64>>],
) -> Result<Round> {
    let pool = target.pool(1).await?.context("only the server is read this way")?;
    let mut connection = pool.take().await?;
    let mut round = Round::default();
    let reading = Reading::take(target.pid())?;
    run.progress.part("bellwire: read lists", lists.len() as u64);
    for (at, listed) in lists.iter().enumerate() {
        run.progress.at(at as u64);
        let pages = listed.pages(begin);
        for (name, after) in &pages {
            // Once to have it at hand, and to see that it is the page that is meant.
            let page = call(&mut connection, &listed.path_of(after.as_deref())).await?;
            check(listed, name, &page).with_context(|| format!("{}, {name} page", listed.name))?;
        }
        let mut all = vec![times(); pages.len()];
        let began = Instant::now();
        for _ in 0..options.reads {
            for ((_, after), times) in pages.iter().zip(&mut all) {
                let path = listed.path_of(after.as_deref());
                let began = Instant::now();
                connection.call(Method::GET, &path, String::new()).await?;
                times.saturating_record(u64::try_from(began.elapsed().as_nanos())?);
            }
            if began.elapsed() > PATIENCE {
                break;
            }
        }
        if BARE.contains(&listed.name.as_str()) {
            report(&mut round, listed, begin, &all);
        }
        for (total, times) in read[at].iter_mut().zip(&all) {
            total.add(times)?;
        }
    }
    let usage = reading.usage(target.pid())?;
    let worst = |page: usize| {
        let over = read.iter().filter(|times| times.len() > page).map(|times| median(&times[page]) / median(&times[0]));
        over.fold(0.0, f64::max)
    };
    round.less("1,000th page over the first, worst list", "x", worst(1));
    round.less("last page over the first, worst list", "x", worst(2));
    round.disturbed(usage.noise);
    Ok(round)
}

async fn call(connection: &mut Connection, path: &str) -> Result<Value> {
    Ok(serde_json::from_slice(&connection.call(Method::GET, path, String::new()).await?)?)
}

/// That a page is what it is read for.
fn check(listed: &Listed, name: &str, page: &Value) -> Result<()> {
    let rows = page["entries"].as_array().or(page["items"].as_array()).context("a page has rows")?.len();
    let is_end = page["page_info"]["after"].is_null();
    match name {
        "first" => ensure!(rows == PAGE as usize || listed.rows < PAGE, "it has {rows} rows"),
        "last" => {
            ensure!(rows > 0 && is_end, "it has {rows} rows, and there are {} more", if is_end { "no" } else { "some" })
        }
        _ => ensure!(rows == PAGE as usize && !is_end, "it has {rows} rows"),
    }
    Ok(())
}

async fn start_bare(run: &Run, options: &Lists, file: &Path, env: i64) -> Result<Process> {
    let arguments = [
        "--rows".to_owned(),
        file.display().to_string(),
        "--env".to_owned(),
        env.to_string(),
        "--reads".to_owned(),
        options.reads.to_string(),
    ];
    let room = run.room(Side::Bare)?;
    let (process, _): (_, Times) = bare::start(&run.common, "bare-lists", &arguments, &room).await?;
    Ok(process)
}

async fn read_bare(run: &Run, process: &mut Process, lists: &[Listed], begin: Time) -> Result<Round> {
    let mut round = Round::default();
    run.progress.part("bare: read lists", BARE.len() as u64);
    let reading = Reading::take(process.pid())?;
    for listed in lists.iter().filter(|listed| BARE.contains(&listed.name.as_str())) {
        let mut all = Vec::new();
        for (_, after) in listed.pages(begin) {
            let after = after.map(|word| Cursor::decode(&word, listed.list)).transpose();
            let after = match after.map_err(|_| anyhow::anyhow!("a cursor of this program's own"))? {
                Some(Cursor::At(at, _)) => at.micros(),
                Some(Cursor::Seq(number)) => number,
                None => i64::MAX,
            };
            process.say(&serde_json::to_string(&Asked { list: listed.name.clone(), after })?)?;
            let read: Times = process.line().await?;
            let mut times = times();
            read.nanoseconds.iter().for_each(|time| times.saturating_record(*time));
            all.push(times);
        }
        report(&mut round, listed, begin, &all);
    }
    round.disturbed(reading.usage(process.pid())?.noise);
    Ok(round)
}

fn report(round: &mut Round, listed: &Listed, begin: Time, all: &[Histogram<u64>]) {
    for ((name, _), times) in listed.pages(begin).iter().zip(all) {
        round.less(format!("{}, {name} page, p50", listed.name), "µs", median(times));
    }
}

/// Every list with its pages, and how they compare with its first.
fn table(lists: &[Listed], read: &[Vec<Histogram<u64>>], begin: Time) -> String {
    let mut text = format!(
        "\n{:<36} {:>9} {:>10} {:>10} {:>10} {:>8} {:>8}",
        "list (p50, µs)", "rows", "first", "deep", "last", "deep/1st", "last/1st"
    );
    for (listed, times) in lists.iter().zip(read) {
        let value = |page: usize| times.get(page).map(median);
        let micros = |page: usize| value(page).map_or_else(|| "-".to_owned(), |micros| format!("{micros:.0}"));
        let over = |page: usize| match (value(page), value(0)) {
            (Some(page), Some(first)) => format!("{:.2}", page / first),
            _ => "-".to_owned(),
        };
        let deep = listed.pages(begin).get(1).map(|(name, _)| name.clone()).filter(|name| name != "1000.");
        let name = match deep {
            Some(page) => format!("{} (deep: {page})", listed.name),
            None => listed.name.clone(),
        };
        text += &format!(
            "\n{name:<36} {:>9} {:>10} {:>10} {:>10} {:>8} {:>8}",
            listed.rows,
            micros(0),
            micros(1),
            micros(2),
            over(1),
            over(2)
        );
    }
    text + "\n"
}

/// In microseconds.
fn median(times: &Histogram<u64>) -> f64 {
    times.value_at_quantile(0.5) as f64 / 1_000.0
}

/// In nanoseconds.
fn times() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("constant bounds are valid")
}
