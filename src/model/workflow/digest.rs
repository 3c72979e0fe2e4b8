//! The settings of a digest step; our own.

use jiff::civil;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::batch::{RENDERED, Shown};
use super::reader::{Node, Reader};
use crate::model::time::Time;
use crate::rules::group_key::GroupKey;
use crate::rules::recurrence::Recurrence;
use crate::rules::window::WindowRule;

/// Rules at most, as of a schedule.
const MOST_REPEATS: usize = 10;

/// A Monday, and the first of a month and of a year: periods are counted from its beginning in the recipient's zone, so that
/// all digests of a recipient keep one rhythm, whenever they are begun.
const ANCHOR: civil::Date = civil::date(2024, 1, 1);

/// A step that gathers runs of a recipient until a time of the calendar, and goes on with one of them.
#[derive(Debug)]
pub struct DigestStep {
    /// When it may close: at least one, in the recipient's time zone.
    pub repeats: Vec<WindowRule>,
    /// What runs of a recipient are gathered by; none gathers them together.
    pub key: Option<GroupKey>,
    /// Which activities templates see.
    pub shown: Shown,
    /// With fewer it stays open until the next time.
    pub items_min: i64,
    /// So many activities close it, whatever time remains.
    pub items_max: Option<i64>,
    /// Which activities count.
    pub counted: Counting,
    /// How many times it stays open for want of activities; none sets no limit.
    pub hold_limit: Option<i64>,
    /// Whether too few are dropped when it may stay open no longer, rather than told.
    pub drops_few: bool,
    /// Whether it stays open across versions of the workflow, or belongs to one.
    pub follows_latest: bool,
}

/// Which of a digest's activities count: those whose item has been dealt with are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Counting {
    /// All of them.
    #[default]
    All,
    /// Those whose items, which the run made before, are all unread; one without an item is.
    Unread,
    /// Likewise, unseen.
    Unseen,
}

impl DigestStep {
    /// The first time strictly after `after` at which it may close.
    pub fn next_after(&self, after: Time, zone: &TimeZone) -> Option<Time> {
        next_after(&self.repeats, after, zone)
    }
}

fn next_after(rules: &[WindowRule], after: Time, zone: &TimeZone) -> Option<Time> {
    let anchor = Time::from(zone.to_timestamp(ANCHOR.at(0, 0, 0, 0)).ok()?);
    Recurrence { rules, anchor, zone }.next_after(after)
}

const SETTINGS: [&str; 10] = [
    "digest_repeats",
    "digest_key",
    "digest_order",
    "digest_items_min_limit",
    "digest_items_max_limit",
    "digest_items_render_limit",
    "digest_items_counted",
    "digest_hold_limit",
    "digest_hold_limit_action",
    "workflow_version_mode",
];

impl Reader<'_> {
    pub(super) fn digest(&mut self, node: &Node<'_>) -> Option<DigestStep> {
        self.known(node, &["type", "ref", "name", "description", "conditions", "settings"]);
        let Some(settings) = self.object_at(node, "settings") else {
            self.wrong(node.at("settings"), "is required, with `digest_repeats`");
            return None;
        };
        let settings = &settings;
        self.known(settings, &SETTINGS);
        let repeats = self.repeats(settings);
        let key = self.group_key(settings, "digest_key");
        let are_newest = self.one_of(settings, "digest_order", &["asc", "desc"]) == Some(1);
        let limit = self.whole_number(settings, "digest_items_render_limit", 1..=100).unwrap_or(RENDERED);
        let items_min = self.whole_number(settings, "digest_items_min_limit", 1..=1_000).unwrap_or(1);
        let items_max = self.whole_number(settings, "digest_items_max_limit", 2..=1_000);
        let counted = match self.one_of(settings, "digest_items_counted", &["all", "unread", "unseen"]) {
            Some(1) => Counting::Unread,
            Some(2) => Counting::Unseen,
            _ => Counting::All,
        };
        let hold_limit = self.whole_number(settings, "digest_hold_limit", 0..=1_000);
        let drops_few = self.one_of(settings, "digest_hold_limit_action", &["send", "drop"]) == Some(1);
        // It lives long: a new version of the workflow is not to begin another, unless that is asked for.
        let follows_latest = self.one_of(settings, "workflow_version_mode", &["pinned", "latest"]) != Some(0);
        if let Some(most) = items_max.filter(|most| *most < items_min) {
            let problem = format!("is {most}, and would close a digest before it has {items_min} activities");
            self.wrong(settings.at("digest_items_max_limit"), problem);
        }
        for name in ["digest_hold_limit", "digest_hold_limit_action"] {
            if settings.get(name).is_some() && items_min == 1 {
                self.wrong(settings.at(name), "means something only with a `digest_items_min_limit` of 2 or more");
            }
        }
        let shown = Shown { limit, are_newest };
        Some(DigestStep {
            repeats: repeats?,
            key,
            shown,
            items_min,
            items_max,
            counted,
            hold_limit,
            drops_few,
            follows_latest,
        })
    }

    fn repeats(&mut self, settings: &Node<'_>) -> Option<Vec<WindowRule>> {
        let at = settings.at("digest_repeats");
        let items: &[Value] = match settings.get("digest_repeats") {
            Some(Value::Array(items)) => items,
            _ => &[],
        };
        if !(1..=MOST_REPEATS).contains(&items.len()) {
            self.wrong(at, format!("is required, as a list of 1 to {MOST_REPEATS} rules, as schedules have them"));
            return None;
        }
        let rules = items.iter().enumerate().map(|(i, item)| WindowRule::parse(item, &format!("{at}[{i}]")));
        let rules: Vec<WindowRule> = rules.filter_map(|rule| self.keep(rule)).collect();
        for (i, rule) in rules.iter().enumerate().filter(|_| rules.len() == items.len()) {
            if next_after(std::slice::from_ref(rule), Time::default(), &TimeZone::UTC).is_none() {
                self.wrong(format!("{at}[{i}]"), "never occurs, counted from Monday, 2024-01-01");
            }
        }
        Some(rules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::workflow::{StepKind, Workflow};
    use serde_json::json;

    fn read(settings: Value) -> Result<DigestStep, String> {
        let step = json!({"type": "digest", "ref": "digest_1", "settings": settings});
        let read = Workflow::parse("calm", &json!({"name": "Calm", "steps": [step]}), &[]);
        let mut workflow =
            read.map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
        match workflow.steps.remove(0).kind {
            StepKind::Digest(digest) => Ok(digest),
            _ => panic!("a digest"),
        }
    }

    fn daily() -> Value {
        json!([{"frequency": "daily", "hours": 9}])
    }

    fn with(more: Value) -> Value {
        let mut settings = json!({"digest_repeats": daily()});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        settings
    }

    #[test]
    fn what_a_digest_does_not_say_has_a_meaning() {
        let plain = read(with(json!({"digest_key": null}))).unwrap();
        assert_eq!((plain.items_min, plain.items_max, plain.hold_limit), (1, None, None));
        assert_eq!((plain.counted, plain.drops_few, plain.follows_latest), (Counting::All, false, true));
        assert!(plain.key.is_none());
        assert_eq!(plain.shown, Shown { limit: 10, are_newest: false });
        let full = read(with(json!({
            "digest_key": "{{ data.project }}", "digest_order": "desc", "digest_items_min_limit": 3,
            "digest_items_max_limit": 1000, "digest_items_render_limit": 100, "digest_items_counted": "unseen",
            "digest_hold_limit": 0, "digest_hold_limit_action": "drop", "workflow_version_mode": "pinned"
        })))
        .unwrap();
        assert_eq!((full.items_min, full.items_max, full.hold_limit), (3, Some(1_000), Some(0)));
        assert_eq!((full.counted, full.drops_few, full.follows_latest), (Counting::Unseen, true, false));
        assert!(full.key.is_some());
        assert_eq!(full.shown, Shown { limit: 100, are_newest: true });
    }

    #[test]
    fn what_a_digest_cannot_be_is_said() {
        for (settings, said) in [
            (json!(null), "steps[0].settings: is required, with `digest_repeats`"),
            (json!({}), "steps[0].settings.digest_repeats: is required"),
            (json!({"digest_repeats": []}), "a list of 1 to 10 rules"),
            (json!({"digest_repeats": vec![daily()[0].clone(); 11]}), "a list of 1 to 10 rules"),
            (json!({"digest_repeats": {"frequency": "daily"}}), "a list of 1 to 10 rules"),
            (
                json!({"digest_repeats": [{"frequency": "dayly"}]}),
                "settings.digest_repeats[0].frequency: must be hourly",
            ),
            (
                json!({"digest_repeats": [{"frequency": "daily"}, {"frequency": "daily", "minutes": 7}]}),
                "settings.digest_repeats[1].minutes: must be a multiple of 5",
            ),
            (
                json!({"digest_repeats": [{"frequency": "daily", "interval": 7, "days": ["sat"]}]}),
                "settings.digest_repeats[0]: never occurs",
            ),
            (with(json!({"digest_order": "newest"})), "must be asc or desc"),
            (with(json!({"digest_items_counted": "new"})), "must be all, unread or unseen"),
            (with(json!({"digest_items_min_limit": 0})), "from 1 to 1000"),
            (with(json!({"digest_items_max_limit": 1})), "from 2 to 1000"),
            (with(json!({"digest_items_render_limit": 101})), "from 1 to 100"),
            (
                with(json!({"digest_items_min_limit": 5, "digest_items_max_limit": 4})),
                "is 4, and would close a digest before it has 5 activities",
            ),
            (with(json!({"digest_hold_limit": 3})), "only with a `digest_items_min_limit` of 2 or more"),
            (with(json!({"digest_hold_limit_action": "drop"})), "only with a `digest_items_min_limit` of 2 or more"),
            (with(json!({"digest_items_min_limit": 2, "digest_hold_limit_action": "keep"})), "must be send or drop"),
            (with(json!({"workflow_version_mode": "newest"})), "must be pinned or latest"),
            (with(json!({"digest_ordr": "asc"})), "unknown key `digest_ordr`; did you mean `digest_order`?"),
        ] {
            let problem = read(settings.clone()).unwrap_err();
            assert!(problem.contains(said), "{settings} gave {problem}");
        }
    }

    #[test]
    fn periods_are_counted_alike_for_every_digest_of_a_recipient() {
        let at = |text: &str| Time::parse(text).unwrap();
        let fortnightly =
            json!({"digest_repeats": [{"frequency": "weekly", "interval": 2, "days": ["mon"], "hours": 9}]});
        let fortnightly = read(fortnightly).unwrap();
        for zone in ["Etc/UTC", "Pacific/Kiritimati", "America/Los_Angeles"] {
            let zone = TimeZone::get(zone).unwrap();
            let local = |at: Time| zone.to_datetime(at.timestamp()).strftime("%a %Y-%m-%d %H:%M").to_string();
            // Whenever it begins, the week that counts is the same.
            for begun in ["2026-09-08T00:00:00Z", "2026-09-15T00:00:00Z", "2026-09-20T00:00:00Z"] {
                let next = fortnightly.next_after(at(begun), &zone).unwrap();
                assert_eq!(local(next), "Mon 2026-09-21 09:00", "{begun}");
            }
        }
        let quarterly = read(json!({"digest_repeats": [{"frequency": "monthly", "interval": 3}]})).unwrap();
        let next = quarterly.next_after(at("2026-09-21T10:00:00Z"), &TimeZone::UTC);
        assert_eq!(next, Some(at("2026-10-01T00:00:00Z")));
    }
}
