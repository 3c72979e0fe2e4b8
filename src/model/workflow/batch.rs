//! The settings of a batch step.

use serde::{Deserialize, Serialize};

use super::reader::{Node, Reader};
use crate::rules::group_key::GroupKey;
use crate::rules::moment::{Longest, Moment};
use crate::wire::duration::Duration;

/// The longest window, and the longest that sliding ones stay open (W-AMB-27).
pub const LONGEST: Longest = Longest { seconds: 365 * 86_400, name: "365 days" };

/// Activities that templates see, unless the step says otherwise (W-BAT-31).
pub(super) const RENDERED: i64 = 10;

/// A step that gathers runs of a recipient, and goes on with one of them (W-BAT-01 to W-BAT-03).
#[derive(Debug)]
pub struct BatchStep {
    /// When a batch that is opened closes.
    pub window: Moment,
    /// Whether each activity moves the end of the window (W-BAT-18).
    pub is_sliding: bool,
    /// How long after its opening a sliding window closes at the latest (W-BAT-19).
    pub extension_limit: Option<Duration>,
    /// What runs of a recipient are gathered by; none gathers them together (W-BAT-04).
    pub key: Option<GroupKey>,
    /// Which activities templates see.
    pub shown: Shown,
    /// So many activities close the batch, whatever time remains (W-BAT-27).
    pub items_max: Option<i64>,
    /// Whether the run that opens a batch goes on at once and is none of it (W-BAT-41).
    pub flushes_leading: bool,
    /// Whether batches stay open across versions of the workflow (W-BAT-33), or belong to one (W-BAT-34).
    pub follows_latest: bool,
}

/// Which of a batch's activities and actors are shown (W-BAT-30, W-BAT-31).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shown {
    /// At most so many.
    pub limit: i64,
    /// The newest rather than the oldest.
    pub are_newest: bool,
}

const WINDOW: [&str; 2] = ["batch_window", "batch_until_field_path"];
const CAP: &str = "batch_window_extension_limit";
const SETTINGS: [&str; 8] = [
    "batch_key",
    "batch_window_type",
    CAP,
    "batch_order",
    "batch_items_max_limit",
    "batch_items_render_limit",
    "batch_execution_mode",
    "workflow_version_mode",
];

impl Reader<'_> {
    pub(super) fn batch(&mut self, node: &Node<'_>) -> Option<BatchStep> {
        self.known(node, &["type", "ref", "name", "description", "conditions", "settings"]);
        let Some(settings) = self.object_at(node, "settings") else {
            self.wrong(node.at("settings"), "is required, with `batch_window` or `batch_until_field_path`");
            return None;
        };
        let settings = &settings;
        self.known(settings, &[&WINDOW[..], &SETTINGS].concat());
        let key = self.group_key(settings, "batch_key");
        let is_sliding = self.one_of(settings, "batch_window_type", &["fixed", "sliding"]) == Some(1);
        let extension_limit = self.extension_limit(settings);
        let are_newest = self.one_of(settings, "batch_order", &["asc", "desc"]) == Some(1);
        let items_max = self.whole_number(settings, "batch_items_max_limit", 2..=1_000);
        let limit = self.whole_number(settings, "batch_items_render_limit", 1..=100).unwrap_or(RENDERED);
        let flushes_leading =
            self.one_of(settings, "batch_execution_mode", &["accumulate", "flush_leading"]) == Some(1);
        // A stored document that says nothing means pinned (W-BAT-35).
        let follows_latest = self.one_of(settings, "workflow_version_mode", &["pinned", "latest"]) == Some(1);
        let window = Moment::parse(settings.map, &settings.path, WINDOW, LONGEST);
        let Some(window) = self.keep(window)? else {
            self.wrong(&settings.path, format!("needs `{}`, `{}` or both", WINDOW[0], WINDOW[1]));
            return None;
        };
        let shown = Shown { limit, are_newest };
        Some(BatchStep { window, is_sliding, extension_limit, key, shown, items_max, flushes_leading, follows_latest })
    }

    fn extension_limit(&mut self, settings: &Node<'_>) -> Option<Duration> {
        let read = Duration::parse(settings.get(CAP)?, &settings.at(CAP)).map_err(|problem| vec![problem]);
        let limit = self.keep(read)?;
        if !limit.is_positive() || limit.exceeds(LONGEST.seconds) {
            self.wrong(settings.at(CAP), format!("{limit} must be positive, and at most {}", LONGEST.name));
            return None;
        }
        Some(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::Shown;
    use crate::model::workflow::{BatchStep, StepKind, Workflow};
    use serde_json::{Value, json};

    fn read(settings: Value) -> Result<BatchStep, String> {
        let step = json!({"type": "batch", "ref": "batch_1", "settings": settings});
        let read = Workflow::parse("calm", &json!({"name": "Calm", "steps": [step]}), &[]);
        let mut workflow =
            read.map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
        match workflow.steps.remove(0).kind {
            StepKind::Batch(batch) => Ok(batch),
            _ => panic!("a batch"),
        }
    }

    fn window() -> Value {
        json!({"unit": "hours", "value": 1})
    }

    #[test]
    fn what_a_batch_does_not_say_has_a_meaning() {
        let plain = read(json!({"batch_window": window(), "batch_key": null})).unwrap();
        assert!(plain.key.is_none() && !plain.is_sliding && plain.items_max.is_none() && !plain.flushes_leading);
        assert_eq!(plain.shown, Shown { limit: 10, are_newest: false }, "W-BAT-31");
        assert!(!plain.follows_latest, "W-BAT-35");
        let sliding = read(json!({"batch_window": window(), "batch_window_type": "sliding"})).unwrap();
        assert!(sliding.is_sliding && sliding.extension_limit.is_none(), "W-BAT-23");
        let full = read(json!({
            "batch_key": "{{ data.doc_id }}:{{ tenant.id }}", "batch_until_field_path": "data.until", "batch_window": window(),
            "batch_window_type": "sliding", "batch_window_extension_limit": {"unit": "minutes", "value": 30},
            "batch_order": "desc", "batch_items_max_limit": 1000, "batch_items_render_limit": 100,
            "batch_execution_mode": "flush_leading", "workflow_version_mode": "latest"
        }))
        .unwrap();
        assert!(full.is_sliding && full.extension_limit.is_some() && full.key.is_some() && full.flushes_leading);
        assert!(full.follows_latest, "W-BAT-35");
        assert_eq!((full.shown, full.items_max), (Shown { limit: 100, are_newest: true }, Some(1_000)), "W-BAT-27");
    }

    #[test]
    fn windows_have_every_unit() {
        for unit in ["seconds", "minutes", "hours", "days", "weeks", "months"] {
            let window = json!({"unit": unit, "value": 2});
            assert!(read(json!({"batch_window": window})).is_ok(), "W-DUR-03 {unit}");
            let throttle = json!({"type": "throttle", "ref": "t", "settings": {"throttle_window": window}});
            let read = Workflow::parse("calm", &json!({"name": "Calm", "steps": [throttle]}), &[]);
            assert_eq!(read.is_ok(), unit != "months", "W-DUR-03 {unit}: two months are too long for a throttle");
        }
    }

    #[test]
    fn what_a_batch_cannot_be_is_said() {
        for (settings, said) in [
            (json!({}), "steps[0].settings: needs `batch_window`"),
            (json!(null), "steps[0].settings: is required"),
            (json!({"batch_window": {"unit": "days", "value": 366}}), "at most 365 days"),
            (json!({"batch_window": window(), "batch_window_type": "slidng"}), "must be fixed or sliding"),
            (json!({"batch_window": window(), "batch_order": "newest"}), "must be asc or desc"),
            (json!({"batch_window": window(), "batch_execution_mode": "x"}), "must be accumulate or flush_leading"),
            (json!({"batch_window": window(), "workflow_version_mode": "x"}), "must be pinned or latest"),
            (json!({"batch_window": window(), "batch_items_max_limit": 1}), "from 2 to 1000"),
            (json!({"batch_window": window(), "batch_items_max_limit": 1001}), "from 2 to 1000"),
            (json!({"batch_window": window(), "batch_items_render_limit": 0}), "from 1 to 100"),
            (json!({"batch_window": window(), "batch_items_render_limit": 101}), "from 1 to 100"),
            (json!({"batch_window": window(), "batch_key": "{{ x"}), "batch_key: line 1"),
            (json!({"batch_window": window(), "batch_window_extension_limit": 5}), "a duration is"),
            (
                json!({"batch_window": window(), "batch_window_extension_limit": {"unit": "days", "value": 0}}),
                "must be positive",
            ),
            (json!({"batch_window": window(), "limit": 2}), "unknown key `limit`"),
        ] {
            let problem = read(settings.clone()).unwrap_err();
            assert!(problem.contains(said), "W-BAT-27 W-BAT-31: {settings} gave {problem}");
        }
    }
}
