//! Whether frequency caps let a step's message pass.

use std::sync::Arc;

use serde_json::Value;

use super::run::Stretch;
use crate::model::cap::Sending;
use crate::model::channel::Channel;
use crate::verbs::cap::{Count, judge};
use crate::verbs::nested;

/// What is to be counted if the message is sent; or what the record says of the first cap that lets no more pass.
pub(super) fn room(stretch: &mut Stretch<'_>, channel: &Channel) -> Result<Vec<Count>, Value> {
    let (workflow, now) = (stretch.scene.workflow, stretch.scene.now);
    let caps = Arc::clone(&stretch.scene.caps);
    let sending = Sending { workflow: &workflow.key, categories: &workflow.categories, channel };
    let with_passed = caps.over(sending).map(|cap| {
        let counter = cap.counter(stretch.run.recipient.key(), stretch.run.tenant.as_deref());
        let own = stretch.passed.get(&counter).cloned();
        let before = own.unwrap_or_else(|| stretch.scene.facts.passed(&counter));
        (cap, counter, before)
    });
    judge(with_passed, now, &stretch.zone()).map_err(|reached| {
        let mut record = reached.record();
        let (catalog, data) = (stretch.scene.catalog, stretch.run.data.value().clone());
        record["overflow"] = nested::overflow(catalog, &mut stretch.run, reached.cap, data, &mut stretch.change, now);
        record
    })
}

/// Counts a message that is sent.
pub(super) fn count(stretch: &mut Stretch<'_>, counts: Vec<Count>) {
    for count in counts {
        let (counter, passed) = count.add(stretch.run.env, &mut stretch.change.batch);
        stretch.passed.insert(counter, passed);
    }
}
