//! The settings of a throttle step.

use super::reader::{Node, Reader};
use crate::rules::group_key::GroupKey;
use crate::rules::moment::{Longest, Moment};

/// The longest window (W-THR-12).
pub const LONGEST: Longest = Longest { seconds: 31 * 86_400, name: "31 days" };

/// A gate that lets so many runs of a recipient pass within a window (W-THR-01, W-THR-02).
#[derive(Debug)]
pub struct Throttle {
    /// When a window that is opened ends.
    pub window: Moment,
    /// Runs that pass within a window; at least one.
    pub limit: i64,
    /// What runs of a recipient are counted by; none counts them together.
    pub key: Option<GroupKey>,
}

const WINDOW: [&str; 2] = ["throttle_window", "throttle_window_field_path"];

impl Reader<'_> {
    pub(super) fn throttle(&mut self, node: &Node<'_>) -> Option<Throttle> {
        self.known(node, &["type", "ref", "name", "description", "conditions", "settings"]);
        let Some(settings) = self.object_at(node, "settings") else {
            self.wrong(node.at("settings"), "is required, with `throttle_window` or `throttle_window_field_path`");
            return None;
        };
        self.known(&settings, &[&WINDOW[..], &["throttle_limit", "throttle_key"]].concat());
        let key = self.group_key(&settings, "throttle_key");
        let limit = self.whole_number(&settings, "throttle_limit", 1..=i64::from(u32::MAX)).unwrap_or(1);
        let window = Moment::parse(settings.map, &settings.path, WINDOW, LONGEST);
        match self.keep(window)? {
            Some(Moment::Around(..)) => {
                self.wrong(settings.at(WINDOW[1]), format!("set either `{}` or `{}`, not both", WINDOW[0], WINDOW[1]));
                None
            }
            Some(window) => Some(Throttle { window, limit, key }),
            None => {
                self.wrong(&settings.path, format!("needs `{}` or `{}`", WINDOW[0], WINDOW[1]));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::model::workflow::{StepKind, Workflow};
    use serde_json::{Value, json};

    fn read(settings: Value) -> Result<Workflow, String> {
        let step = json!({"type": "throttle", "ref": "throttle_1", "settings": settings});
        let read = Workflow::parse("calm", &json!({"name": "Calm", "steps": [step]}), &[]);
        read.map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }

    #[test]
    fn a_throttle_has_a_window_a_limit_and_a_key_w_thr_01() {
        let hour = json!({"unit": "hours", "value": 1});
        let workflow = read(json!({"throttle_window": hour, "throttle_key": null})).unwrap();
        let StepKind::Throttle(throttle) = &workflow.steps[0].kind else { panic!("a throttle") };
        assert_eq!((throttle.limit, throttle.key.is_none()), (1, true));
        let path = json!({"throttle_window_field_path": "data.until", "throttle_limit": 5, "throttle_key": "page"});
        let workflow = read(path).unwrap();
        let StepKind::Throttle(throttle) = &workflow.steps[0].kind else { panic!("a throttle") };
        assert_eq!((throttle.limit, throttle.key.is_some()), (5, true));
    }

    #[test]
    fn what_a_throttle_cannot_be_is_said() {
        let hour = json!({"unit": "hours", "value": 1});
        for (settings, said) in [
            (json!({}), "steps[0].settings: needs `throttle_window`"),
            (json!(null), "steps[0].settings: is required"),
            (json!({"throttle_window": {"unit": "days", "value": 32}}), "at most 31 days"),
            (json!({"throttle_window": hour, "throttle_window_field_path": "data.x"}), "not both"),
            (json!({"throttle_window": hour, "throttle_limit": 0}), "throttle_limit: must be a whole number"),
            (json!({"throttle_window": hour, "throttle_limit": "2"}), "throttle_limit: must be a whole number"),
            (json!({"throttle_window": hour, "throttle_key": "{{ x"}), "throttle_key: line 1"),
            (json!({"throttle_window": hour, "limit": 2}), "unknown key `limit`"),
        ] {
            let problem = read(settings.clone()).unwrap_err();
            assert!(problem.contains(said), "W-THR-01 W-THR-12: {settings} gave {problem}");
        }
    }
}
