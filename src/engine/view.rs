//! What a run's templates see (W-SCP-01).

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::run::Stretch;
use crate::model::ids::Ksuid;
use crate::model::message::shown_activity;
use crate::model::recipient::{RecipientRef, missing};
use crate::model::run::ClosedBatch;
use crate::model::scope::Scope;
use crate::model::time::Time;
use crate::store::batches::{self, Gathered};
use crate::template::json::JsonTemplate;
use crate::template::{Env, Template};

/// What a message tells of: the run's own single activity (W-SCP-11), or what has come together in its batch.
pub(super) struct Told {
    pub(super) batch: Option<Arc<Gathered>>,
    pub(super) total_activities: i64,
    pub(super) total_actors: i64,
}

impl Told {
    /// What a run as it stands tells of.
    pub(super) fn of(stretch: &Stretch<'_>) -> Told {
        match stretch.gathered() {
            Some((ClosedBatch { total_activities, total_actors, .. }, gathered)) => {
                Told { batch: Some(gathered), total_activities, total_actors }
            }
            None => Told { batch: None, total_activities: 1, total_actors: i64::from(stretch.actor().is_some()) },
        }
    }

    /// `activities` as templates see it.
    fn activities(&self, stretch: &Stretch<'_>) -> Value {
        let Some(gathered) = &self.batch else { return Value::Array(vec![own_activity(stretch)]) };
        let one = |shown: &batches::Activity| {
            let actor = shown.actor.as_ref().and_then(|key| stretch.scene.facts.actor(key));
            activity(stretch, &shown.id, &shown.data, shown.inserted_at, actor.map(|actor| actor.to_scope()))
        };
        gathered.activities.iter().map(one).collect()
    }

    /// `actors` as templates see it.
    fn actors(&self, stretch: &Stretch<'_>) -> Value {
        let Some(gathered) = &self.batch else { return stretch.actor().into_iter().cloned().collect() };
        let known = gathered.actors.iter().filter_map(|key| stretch.scene.facts.actor(key));
        known.map(|actor| actor.to_scope()).collect()
    }

    /// The actors' records as the message embeds them: a JSON array.
    pub(super) fn records(&self, stretch: &Stretch<'_>) -> Arc<str> {
        let Some(gathered) = &self.batch else { return stretch.actors() };
        let record = |key: &String| match stretch.scene.facts.actor(key) {
            Some(actor) => actor.to_json(),
            None => missing(&RecipientRef::from_key(key), stretch.scene.now),
        };
        Value::from_iter(gathered.actors.iter().map(record)).to_string().into()
    }

    /// The activities as the message embeds them, if there may be others than the run's own.
    pub(super) fn shown(&self) -> Option<Arc<str>> {
        let gathered = self.batch.as_ref()?;
        let place = |actor: &String| gathered.actors.iter().position(|key| key == actor);
        let shown = gathered.activities.iter().map(|one| {
            let data = serde_json::to_string(&one.data).unwrap_or_default();
            shown_activity(&one.id, one.actor.as_ref().and_then(place), one.inserted_at, &data)
        });
        Some(format!("[{}]", shown.collect::<Vec<_>>().join(",")).into())
    }
}

/// What templates see beside the roots that conditions share.
pub(super) struct View {
    timestamp: Value,
    activities: Value,
    total_activities: Value,
    actors: Value,
    total_actors: Value,
    /// What came of waits (W-SCP-24).
    refs: Value,
}

impl View {
    /// The view of a run that tells of this. What holds copies is made only for templates that mention it.
    pub(super) fn of(stretch: &Stretch<'_>, told: &Told, mentions: impl Fn(&str) -> bool) -> View {
        View {
            timestamp: Value::from(stretch.run.inserted_at.to_string()),
            activities: if mentions("activities") { told.activities(stretch) } else { Value::Null },
            total_activities: Value::from(told.total_activities),
            actors: if mentions("actors") { told.actors(stretch) } else { Value::Null },
            total_actors: Value::from(told.total_actors),
            refs: if mentions("refs") { json!(stretch.run.state.waited) } else { Value::Null },
        }
    }

    /// The scope of a template, with what it sees besides.
    pub(super) fn scope<'s>(&'s self, stretch: &'s Stretch<'_>, more: &[(&'s str, &'s Value)]) -> Scope<'s> {
        let mut roots = stretch.shared_roots();
        roots.extend([
            ("refs", &self.refs),
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

impl Stretch<'_> {
    /// What a setting called `name` says in the run as it stands.
    pub(super) fn says(&self, name: &str, template: &Template) -> Result<String, String> {
        self.seen(name, template.source(), false, |env| template.render(env))
    }

    /// Likewise of a setting that is to make JSON; `strict` refuses to name what is not there.
    pub(super) fn says_json(&self, name: &str, template: &JsonTemplate, strict: bool) -> Result<String, String> {
        self.seen(name, template.source(), strict, |env| template.render(env))
    }

    fn seen(
        &self,
        name: &str,
        source: &str,
        strict: bool,
        render: impl FnOnce(&Env<'_>) -> Result<String, crate::template::Error>,
    ) -> Result<String, String> {
        let view = View::of(self, &Told::of(self), |root| source.contains(root));
        let scope = view.scope(self, &[]);
        render(&Env { strict, ..self.env(&scope) }).map_err(|error| format!("`{name}`: {error}"))
    }
}

/// The run's own single activity.
fn own_activity(stretch: &Stretch<'_>) -> Value {
    let at = stretch.run.inserted_at;
    let id = Ksuid::mint(at, &[b"activity", stretch.run.id.as_bytes()]);
    let data = stretch.data().cloned().unwrap_or_default();
    activity(stretch, id.as_str(), &data, at, stretch.actor().cloned())
}

/// An activity as templates see it: its data at the root and under `data` (W-SCP-09, W-SCP-10).
fn activity(stretch: &Stretch<'_>, id: &str, data: &Map<String, Value>, at: Time, actor: Option<Value>) -> Value {
    let mut out = data.clone();
    out.insert("data".to_owned(), Value::Object(data.clone()));
    out.insert("id".to_owned(), id.into());
    out.insert("inserted_at".to_owned(), at.to_string().into());
    out.insert("updated_at".to_owned(), at.to_string().into());
    out.insert("actor".to_owned(), actor.unwrap_or_default());
    out.insert("recipient".to_owned(), stretch.recipient().cloned().unwrap_or_default());
    Value::Object(out)
}
