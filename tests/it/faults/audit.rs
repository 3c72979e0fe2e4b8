//! The reckoning: what clients know is compared with what was told, with the rows, and with what the nodes say.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::bell::Bell;
use super::town::Town;
use super::writers::{Items, Writers};

/// How often each node looks for what nobody told it, as it is configured by default.
const SWEEP: Duration = Duration::from_secs(5);
/// What a look takes beyond that: it may have to wait for a database that does not answer (5 s), then a second, before it
/// goes well.
const MARGIN: Duration = Duration::from_secs(6);
/// How long a timer may be late: whoever had taken it up may have died, and holds it for 30 s.
const LEASE: Duration = Duration::from_secs(30);

/// A feed as its row has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Row {
    version: i64,
    /// Items, those that are unread and those that are unseen, the archive included.
    counts: [i64; 3],
}

/// Waits until all bells know everything that was told at once to their users, and complains of what was wrong on the way;
/// how long that took.
pub async fn until_all_are_whole(town: &Town, bells: &[Bell], writers: &Writers) -> Duration {
    let began = Instant::now();
    loop {
        let rows = rows(town).await;
        let took = began.elapsed();
        let behind: Vec<String> = {
            let told = writers.told();
            bells.iter().filter_map(|bell| fault(bell, told.get(&bell.user), &rows)).collect()
        };
        if behind.is_empty() {
            counters_equal_a_recount(town).await;
            return took;
        }
        assert!(took < SWEEP + MARGIN, "after {took:?}:\n{}", behind.join("\n"));
        sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until timers have told everything, too; then everything is there, once and in order, for clients, in the rows and
/// as each node says.
pub async fn everything_has_come(town: &Town, bells: &[Bell], writers: &Writers) {
    let began = Instant::now();
    loop {
        let awaited: Vec<String> = {
            let told = writers.told();
            let awaited = |bell: &Bell| {
                let awaited = bell.known().awaits(told.get(&bell.user)?).len();
                (awaited > 0).then(|| format!("{} awaits {awaited} items", bell.user))
            };
            bells.iter().filter_map(awaited).collect()
        };
        if awaited.is_empty() {
            break;
        }
        assert!(began.elapsed() < LEASE + SWEEP + MARGIN, "{}", awaited.join("\n"));
        sleep(Duration::from_millis(100)).await;
    }
    until_all_are_whole(town, bells, writers).await;
    for bell in bells {
        let counts = bell.known().counts;
        for said in town.counts(&bell.user).await {
            assert_eq!(counts, said, "{}: its badge, and what a node says", bell.user);
        }
    }
    let wrong = town.ask(DOUBLED_OR_OUT_OF_ORDER).await;
    assert!(wrong.is_empty(), "items are doubled or out of order: {wrong:?}");
}

/// What is wrong with a bell: none if nothing is.
fn fault(bell: &Bell, told: Option<&Items>, rows: &HashMap<String, Row>) -> Option<String> {
    let none = Items::default();
    let told = told.unwrap_or(&none);
    let row = rows.get(&bell.user).copied().unwrap_or_default();
    let known = bell.known();
    assert!(known.faults().is_empty(), "{}: {:?}", bell.user, known.faults());
    let own = Row { version: known.version.unwrap_or(-1), counts: known.counts };
    if own != row || !known.looks_whole(told) {
        let (lost, ..) = known.compared(told);
        return Some(format!("{} is at {own:?}, its feed at {row:?}; it was not told of {lost:?}", bell.user));
    }
    let (lost, unasked, is_doubled) = known.compared(told);
    assert!(!is_doubled, "{}: an item is there twice", bell.user);
    assert!(unasked.is_empty(), "{}: it was told of {unasked:?}, which nobody has told", bell.user);
    assert!(lost.is_empty(), "{}: LOST {lost:?}", bell.user);
    None
}

async fn rows(town: &Town) -> HashMap<String, Row> {
    let ask =
        "SELECT recipient, version, total + archived, unread + archived_unread, unseen + archived_unseen FROM feeds";
    let rows = town.ask(ask).await;
    let row =
        |row: &tokio_postgres::Row| (row.get(0), Row { version: row.get(1), counts: [2, 3, 4].map(|at| row.get(at)) });
    rows.iter().map(row).collect()
}

async fn counters_equal_a_recount(town: &Town) {
    let wrong = town.ask(MISCOUNTED).await;
    let wrong: Vec<String> = wrong.iter().map(|row| row.get(0)).collect();
    assert!(wrong.is_empty(), "counters of feeds, and a recount:\n{}", wrong.join("\n"));
}

/// Feeds whose counters are not what counting finds.
const MISCOUNTED: &str = "\
    SELECT f.recipient || ': ' || row(f.total, f.unread, f.unseen, f.archived, f.archived_unread, f.archived_unseen)::text \
        || ' ' || coalesce(m.counted::text, 'nothing') \
    FROM feeds f LEFT JOIN ( \
        SELECT feed, row( \
            count(*) FILTER (WHERE archived_at IS NULL), \
            count(*) FILTER (WHERE archived_at IS NULL AND read_at IS NULL), \
            count(*) FILTER (WHERE archived_at IS NULL AND seen_at IS NULL), \
            count(*) FILTER (WHERE archived_at IS NOT NULL), \
            count(*) FILTER (WHERE archived_at IS NOT NULL AND read_at IS NULL), \
            count(*) FILTER (WHERE archived_at IS NOT NULL AND seen_at IS NULL)) AS counted \
        FROM messages GROUP BY feed) m ON m.feed = f.id \
    WHERE m.counted IS DISTINCT FROM \
        row(f.total, f.unread, f.unseen, f.archived, f.archived_unread, f.archived_unseen)";

/// Items that are no younger than those that stand before them in their feed, or bear the name of another.
const DOUBLED_OR_OUT_OF_ORDER: &str = "\
    SELECT feed, seq FROM ( \
        SELECT feed, seq, inserted_at <= lag(inserted_at) OVER (PARTITION BY feed ORDER BY seq) AS is_out_of_order, \
            count(*) OVER (PARTITION BY feed, data::json ->> 'name') > 1 AS is_doubled, recipient FROM messages) m \
    WHERE recipient LIKE 'user-%' AND (is_out_of_order OR is_doubled) ORDER BY feed, seq LIMIT 20";
