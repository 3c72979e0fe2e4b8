//! What a run's templates see (W-SCP-01).

use serde_json::{Map, Value};

use super::run::Stretch;
use crate::model::ids::Ksuid;
use crate::model::scope::Scope;

/// What templates see beside the roots that conditions share.
pub(super) struct View {
    timestamp: Value,
    activities: Value,
    total_activities: Value,
    actors: Value,
    total_actors: Value,
}

impl View {
    /// The view of a run as it stands. What holds copies is made only for templates that mention it.
    pub(super) fn of(stretch: &Stretch<'_>, mentions: impl Fn(&str) -> bool) -> View {
        let actor = stretch.actor();
        View {
            timestamp: Value::from(stretch.run.inserted_at.to_string()),
            activities: mentions("activities").then(|| activity(stretch)).into_iter().collect(),
            total_activities: Value::from(1),
            actors: actor.filter(|_| mentions("actors")).into_iter().cloned().collect(),
            total_actors: Value::from(usize::from(actor.is_some())),
        }
    }

    /// The scope of a template, with what it sees besides.
    pub(super) fn scope<'s>(&'s self, stretch: &'s Stretch<'_>, more: &[(&'s str, &'s Value)]) -> Scope<'s> {
        let mut roots = stretch.shared_roots();
        roots.extend([
            ("activities", &self.activities),
            ("total_activities", &self.total_activities),
            ("actors", &self.actors),
            ("total_actors", &self.total_actors),
            ("timestamp", &self.timestamp),
        ]);
        roots.extend(more);
        Scope::new(roots).with_fallback(stretch.data())
    }
}

/// The run's single activity: its data at the root and under `data` (W-SCP-09 to W-SCP-11).
fn activity(stretch: &Stretch<'_>) -> Value {
    let mut out: Map<String, Value> = stretch.data().cloned().unwrap_or_default();
    let at = stretch.run.inserted_at;
    out.insert("data".to_owned(), stretch.run.data.value().clone());
    out.insert("id".to_owned(), Ksuid::mint(at, &[b"activity", stretch.run.id.as_bytes()]).as_str().into());
    out.insert("inserted_at".to_owned(), at.to_string().into());
    out.insert("updated_at".to_owned(), at.to_string().into());
    out.insert("actor".to_owned(), stretch.actor().cloned().unwrap_or_default());
    out.insert("recipient".to_owned(), stretch.recipient().cloned().unwrap_or_default());
    Value::Object(out)
}
