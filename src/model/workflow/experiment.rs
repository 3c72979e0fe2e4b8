//! The settings of an experiment: a step that sends each recipient down one of several ways, by chance that is stable.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::Branch;
use super::reader::{Node, Reader};
use crate::rules::group_key::GroupKey;

/// Shares are told in tenths of a percent (W-EXP-04).
const WHOLE: u16 = 1_000;

/// A random cohort step (W-EXP-01).
#[derive(Debug)]
pub struct Experiment {
    /// What a recipient is assigned by; none is the recipient's id (W-EXP-07).
    pub key: Option<GroupKey>,
    /// The share of each cohort, in tenths of a percent; a thousand in all.
    pub shares: Vec<u16>,
    /// What the cohorts do, in the same order.
    pub branches: Vec<Branch>,
}

impl Experiment {
    /// The place of the cohort that `key` belongs to (W-EXP-06, W-AMB-55). What it gives must never change: whoever was
    /// assigned would be assigned anew.
    pub fn cohort(&self, workflow: &str, step_ref: &str, key: &str) -> usize {
        let mut bucket = bucket([workflow, step_ref, key]);
        for (place, share) in self.shares.iter().enumerate() {
            match bucket.checked_sub(*share) {
                None => return place,
                Some(rest) => bucket = rest,
            }
        }
        // Shares add up to the whole: not reached.
        0
    }
}

/// The place of what these parts name among a thousand: by chance, and always the same.
pub fn bucket(parts: [&str; 3]) -> u16 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let number = digest.iter().take(8).fold(0u64, |number, byte| (number << 8) | u64::from(*byte));
    (number % u64::from(WHOLE)) as u16
}

impl Reader<'_> {
    /// The experiment that stands `depth` deep among branch steps, counting itself.
    pub(super) fn experiment(&mut self, node: &Node<'_>, depth: usize) -> Option<Experiment> {
        self.known(node, &["type", "ref", "name", "description", "conditions", "cohort_branches", "cohort_key"]);
        self.no_conditions(node, "an experiment has no conditions of its own; put it into a branch");
        if !self.may_stand(node, depth) {
            return None;
        }
        let key = self.group_key(node, "cohort_key");
        let path = node.at("cohort_branches");
        let list = self.list(node, "cohort_branches");
        if !(2..=10).contains(&list.len()) {
            self.wrong(path.clone(), format!("2 to 10 cohorts are allowed; here are {}", list.len()));
        }
        let found = self.problems.len();
        let cohorts: Vec<_> =
            list.iter().enumerate().map(|(i, cohort)| self.cohort(cohort, &format!("{path}[{i}]"), depth)).collect();
        let (shares, branches): (Vec<u16>, Vec<Branch>) =
            cohorts.into_iter().collect::<Option<Vec<_>>>()?.into_iter().unzip();
        let sum: u32 = shares.iter().map(|share| u32::from(*share)).sum();
        if self.problems.len() == found && sum != u32::from(WHOLE) {
            self.wrong(path, format!("the percentages add up to {}.{}; they must be 100", sum / 10, sum % 10));
        }
        Some(Experiment { key, shares, branches })
    }

    fn cohort(&mut self, value: &Value, path: &str, depth: usize) -> Option<(u16, Branch)> {
        let node = self.object(value, path)?;
        self.known(&node, &["name", "percentage", "steps", "terminates"]);
        let name = self.text(&node, "name").map(str::to_owned);
        let terminates = self.flag(&node, "terminates");
        let steps = self.steps(&node, depth);
        let share = node.get("percentage").and_then(tenths);
        if share.is_none() {
            self.wrong(node.at("percentage"), "must be a number from 0 to 100 with at most one decimal, as \"33.3\"");
        }
        Some((share?, Branch { name, conditions: None, terminates, steps, is_default: false }))
    }
}

/// A percentage in tenths: a number or its text (W-EXP-05).
pub fn tenths(value: &Value) -> Option<u16> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return None,
    };
    let (whole, tenth) = text.split_once('.').unwrap_or((&text, "0"));
    let digits = |text: &str| text.len() <= 3 && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let tenth = tenth.trim_end_matches('0');
    if !digits(whole) || !(tenth.is_empty() || digits(tenth) && tenth.len() == 1) {
        return None;
    }
    let share = whole.parse::<u16>().ok()? * 10 + if tenth.is_empty() { 0 } else { tenth.parse().ok()? };
    Some(share).filter(|share| *share <= WHOLE)
}

/// Writes every cohort's percentage as decimal text (W-EXP-05): the same shares are the same document, however written.
pub(super) fn spell_percentages(document: &mut Value) {
    match document {
        Value::Object(members) => {
            for cohort in members.get_mut("cohort_branches").and_then(Value::as_array_mut).into_iter().flatten() {
                if let Some(share) = cohort.get("percentage").and_then(tenths) {
                    cohort["percentage"] = format!("{}.{}", share / 10, share % 10).into();
                }
            }
            // Settings and templates hold no steps.
            for name in ["steps", "branches", "cohort_branches"] {
                members.get_mut(name).map(spell_percentages).unwrap_or_default();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(spell_percentages),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::workflow::{StepKind, Workflow};
    use serde_json::json;

    fn read(cohorts: Value) -> Result<Workflow, String> {
        let step = json!({"type": "random_cohort", "ref": "random_cohort_1", "cohort_branches": cohorts});
        let read = Workflow::parse("try", &json!({"name": "Try", "steps": [step]}), &[]);
        read.map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }

    fn shares(percentages: Value) -> Result<Vec<u16>, String> {
        let items = percentages.as_array().cloned().unwrap_or_default();
        let cohorts: Value = items.iter().map(|percentage| json!({"percentage": percentage, "steps": []})).collect();
        let workflow = read(cohorts)?;
        let StepKind::Experiment(experiment) = &workflow.steps[0].kind else { panic!("an experiment") };
        Ok(experiment.shares.clone())
    }

    #[test]
    fn shares_are_percentages_of_a_whole() {
        assert_eq!(shares(json!([33.3, "33.3", 33.4])), Ok(vec![333, 333, 334]), "W-EXP-04 W-EXP-05");
        assert_eq!(shares(json!([0, "100.0"])), Ok(vec![0, 1000]), "W-EXP-04 W-EXP-09");
        assert_eq!(shares(json!([10, 10, 10, 10, 10, 10, 10, 10, 10, 10])).map(|all| all.len()), Ok(10), "W-EXP-03");
        for (percentages, said) in [
            (json!([100]), "2 to 10 cohorts are allowed; here are 1"),
            (json!([10, 10, 10, 10, 10, 10, 10, 10, 10, 5, 5]), "here are 11"),
            (json!([50, 49.9]), "add up to 99.9"),
            (json!([100, 0.1]), "add up to 100.1"),
            (json!([50.25, 49.75]), "at most one decimal"),
            (json!([101, 0]), "from 0 to 100"),
            (json!([-1, 101]), "from 0 to 100"),
            (json!(["half", 50]), "from 0 to 100"),
            (json!([null, 100]), "cohort_branches[0].percentage"),
        ] {
            let problem = shares(percentages.clone()).unwrap_err();
            assert!(problem.contains(said), "W-EXP-02 W-EXP-03 W-EXP-04: {percentages} gave {problem}");
        }
    }

    /// W-EXP-05.
    #[test]
    fn percentages_are_kept_as_decimal_text() {
        let nested = json!({"type": "random_cohort", "ref": "inner", "cohort_branches": [
            {"percentage": "50", "steps": []}, {"percentage": 50.0, "steps": []}]});
        let workflow =
            read(json!([{"percentage": 33.3, "steps": [nested]}, {"percentage": 66.7, "steps": []}])).unwrap();
        let cohorts = &workflow.source["steps"][0]["cohort_branches"];
        assert_eq!((&cohorts[0]["percentage"], &cohorts[1]["percentage"]), (&json!("33.3"), &json!("66.7")));
        let inner = &cohorts[0]["steps"][0]["cohort_branches"];
        assert_eq!((&inner[0]["percentage"], &inner[1]["percentage"]), (&json!("50.0"), &json!("50.0")));
    }

    #[test]
    fn an_experiment_has_no_conditions_and_its_refs_are_the_workflows() {
        let step = |more: Value| {
            let mut step = json!({"type": "random_cohort", "ref": "a", "cohort_branches": [
                {"percentage": 50, "steps": [{"type": "branch", "ref": "a", "branches": []}]},
                {"percentage": 50, "steps": []}]});
            step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            Workflow::parse("try", &json!({"name": "Try", "steps": [step]}), &[]).unwrap_err()
        };
        let paths: Vec<String> = step(json!({})).into_iter().map(|problem| problem.path).collect();
        assert!(paths.contains(&"steps[0].cohort_branches[0].steps[0].ref".to_owned()), "W-STP-02: {paths:?}");
        let when = json!({"all": [{"variable": "data.x", "operator": "equal_to", "argument": "1"}]});
        let paths: Vec<String> = step(json!({"conditions": when})).into_iter().map(|problem| problem.path).collect();
        assert!(paths.contains(&"steps[0].conditions".to_owned()), "W-STP-05: {paths:?}");
    }

    /// W-EXP-12, W-BRN-10.
    #[test]
    fn experiments_and_branches_nest_five_deep_together() {
        let deep = |depth: usize| {
            let mut steps = json!([]);
            for level in (0..depth).rev() {
                steps = match level % 2 {
                    0 => json!([{"type": "random_cohort", "ref": format!("r{level}"), "cohort_branches": [
                        {"percentage": 50, "steps": steps}, {"percentage": 50, "steps": []}]}]),
                    _ => json!([{"type": "branch", "ref": format!("r{level}"), "branches": [
                        {"name": "a", "steps": steps, "conditions": {"all": [
                            {"variable": "data.x", "operator": "exists"}]}},
                        {"name": "b", "steps": []}]}]),
                };
            }
            Workflow::parse("deep", &json!({"name": "Deep", "steps": steps}), &[]).map(drop)
        };
        assert_eq!(deep(5), Ok(()));
        assert!(deep(6).unwrap_err()[0].to_string().contains("nested 5 deep"));
    }

    /// Whoever was assigned by one release is assigned alike by the next: these must never change (W-EXP-06).
    #[test]
    fn an_assignment_stands_for_good() {
        let experiment = Experiment { key: None, shares: vec![333, 333, 334], branches: Vec::new() };
        let of = |step: &str| ["ann", "bob", "cid", "dee", "eve", "fay"].map(|key| experiment.cohort("try", step, key));
        assert_eq!(of("random_cohort_1"), ASSIGNED[0]);
        assert_eq!(of("random_cohort_2"), ASSIGNED[1], "W-EXP-08: each step assigns for itself");
    }

    const ASSIGNED: [[usize; 6]; 2] = [[1, 2, 2, 1, 0, 1], [2, 1, 2, 2, 2, 0]];

    /// W-EXP-09, W-EXP-13.
    #[test]
    fn many_are_split_as_the_shares_say() {
        let experiment = Experiment { key: None, shares: vec![0, 100, 300, 600], branches: Vec::new() };
        let mut counts = [0i32; 4];
        (0..20_000).for_each(|number| counts[experiment.cohort("try", "one", &number.to_string())] += 1);
        assert_eq!(counts[0], 0, "W-EXP-09");
        for (count, share) in counts.into_iter().zip([0, 2_000, 6_000, 12_000]) {
            assert!((count - share).abs() <= 300, "W-EXP-13: {counts:?}");
        }
    }
}
