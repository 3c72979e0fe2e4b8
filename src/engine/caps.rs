//! Whether frequency caps let a step's message pass.

use serde_json::{Value, json};

use super::run::Stretch;
use crate::model::cap::{Cap, Counter, Sending};
use crate::model::channel::Channel;
use crate::model::time::Time;
use crate::rules::cap::Verdict;
use crate::store::caps::Passed;
use crate::verbs::nested;

/// What counts a message that passes.
pub(super) struct Count {
    counter: Counter,
    before: Passed,
    sent: Vec<Time>,
    until: Time,
}

/// What is to be counted if the message is sent; or what the record says of the first cap that lets no more pass.
pub(super) fn room(stretch: &mut Stretch<'_>, channel: &Channel) -> Result<Vec<Count>, Value> {
    let workflow = stretch.scene.workflow;
    let caps = std::sync::Arc::clone(&stretch.scene.caps);
    let sending = Sending { workflow: &workflow.key, categories: &workflow.categories, channel };
    let mut counts = Vec::new();
    for cap in caps.over(sending) {
        let counter = cap.counter(stretch.run.recipient.key(), stretch.run.tenant.as_deref());
        let before = match stretch.passed.get(&counter) {
            Some(own) => own.clone(),
            None => stretch.scene.facts.passed(&counter),
        };
        match cap.judge(&before.sent, stretch.scene.now, &stretch.zone()) {
            Verdict::Room { sent, until } => counts.push(Count { counter, before, sent, until }),
            Verdict::Reached { count, frees_at } => return Err(reached(stretch, cap, count, frees_at)),
        }
    }
    Ok(counts)
}

fn reached(stretch: &mut Stretch<'_>, cap: &Cap, count: i64, frees_at: Time) -> Value {
    let (catalog, now) = (stretch.scene.catalog, stretch.scene.now);
    let data = stretch.run.data.value().clone();
    let overflow = nested::overflow(catalog, &mut stretch.run, cap, data, &mut stretch.change, now);
    json!({"cap": cap.key, "count": count, "limit": cap.limit, "frees_at": frees_at, "overflow": overflow})
}

/// Counts a message that is sent.
pub(super) fn count(stretch: &mut Stretch<'_>, counts: Vec<Count>) {
    for Count { counter, before, sent, until } in counts {
        stretch.change.batch.pass_cap(stretch.run.env, &counter, &before, &sent, until);
        stretch.passed.insert(counter, Passed::with(sent));
    }
}
