//! A whole engine in a database of its own and on a clock that is turned by hand: what a workflow would do, told step by
//! step. The same input gives the same timeline, always: what is made by chance is told by a name of its own.

use std::collections::HashMap;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::StartError;
use crate::bus::Bus;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::project;
use crate::engine::source::Deed;
use crate::engine::start::{Asked, trigger};
use crate::engine::work::work;
use crate::metrics::Metrics;
use crate::model::audience::Audiences;
use crate::model::environment::Environment;
use crate::model::recipient::RecipientRef;
use crate::model::run::{EventStatus, Run, RunStatus};
use crate::model::source::Event;
use crate::model::time::Time;
use crate::outside::Outside;
use crate::outside::script::{Answer, Script};
use crate::queue::{LEASE_SECONDS, Waker};
use crate::store::runs::RunFilter;
use crate::store::{Env, Store};
use crate::verbs::identify::RecipientRequest;
use crate::verbs::staged::Staged;
use crate::verbs::turns::Turns;
use crate::verbs::{Catalog, Change, Core, door, send, source};

/// Runs that are looked at: more is no story any more.
const MOST_RUNS: usize = 10_000;
/// Jobs that are done at the same instant at most: a workflow that triggers itself for ever is stopped here.
const MOST_AT_ONCE: usize = 100_000;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    pub at: Time,
    /// The run it is about, counted from one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipient: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What happened, as runs record it; beside that `triggered`, `identified`, `joined`, `left`, `event_arrived` with
    /// `action_done` and `action_skipped`, `run_completed` and `message_sent`.
    pub event: String,
    /// Whether it is an error.
    pub is_error: bool,
    #[serde(skip_serializing_if = "Value::is_null")]
    pub data: Value,
    /// The blocks of the message that was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Value>,
}

/// What has been told of a run.
#[derive(Clone, Copy, Default)]
struct Told {
    /// The run's number, counted from one.
    number: usize,
    /// How many of its events.
    events: usize,
    is_completed: bool,
}

/// A simulation under way.
pub struct Simulation {
    core: Core,
    env: Env,
    /// The audiences, until it begins.
    declared: Option<Audiences>,
    told: HashMap<Uuid, Told>,
    names: Names,
    directory: PathBuf,
}

impl Drop for Simulation {
    fn drop(&mut self) {
        // What is left lies where the system clears up.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Simulation {
    /// Sets up the configuration's workflows in its environment called `slug`, at `at`. Nothing of the configured
    /// database is read or written.
    pub async fn new(config: Config, slug: &str, at: Time) -> Result<Self, StartError> {
        let directory = std::env::temp_dir().join(format!("bellwire-simulation-{}", Uuid::new_v4()));
        std::fs::create_dir_all(&directory).map_err(|error| StartError::file(&directory, "can't be made", &error))?;
        let store = Store::open(&directory.join("simulation.db"))?;
        let known: Vec<&str> = config.environments.keys().map(String::as_str).collect();
        let Some(settings) = config.environments.get(slug) else {
            let message = format!("There is no environment `{slug}`; there is {}.", known.join(", "));
            return Err(StartError::Said(message));
        };
        let row = store.ensure_environment(slug, at).await?;
        let environment = Environment { number: row.number, id: row.id, slug: row.slug, settings: settings.clone() };
        let channels: Vec<_> = config.channels.into_iter().map(|declared| declared.channel).collect();
        let loaded = project::load(&config.workflows.dir, &channels).map_err(StartError::Problems)?;
        let core = Core {
            store,
            bus: Bus::local(|_| {}),
            clock: Clock::manual(at),
            waker: Waker::default(),
            // Nobody is called: see `answer`.
            outside: Outside::default(),
            catalog: Catalog::new(vec![environment], channels, loaded.workflows)
                .with_channel_groups(config.channel_groups),
            rings: door::Rings::default(),
            turns: Turns::default(),
            sightings: Default::default(),
            metrics: Metrics::new(),
        };
        core.catalog.replace_sources(loaded.sources);
        core.catalog.replace_caps(loaded.caps);
        core.declare_guides(&loaded.guides).await?;
        core.catalog.replace_guides(loaded.guides);
        super::reload::publish(&core, &core.catalog.workflows(row.number)).await?;
        let declared = Some(loaded.audiences);
        Ok(Simulation { core, env: row.number, declared, told: HashMap::new(), names: Names::default(), directory })
    }

    /// Has the audiences filled with those who have been introduced; whoever is new to one from now on joins it.
    pub async fn begin(&mut self) -> Result<(), String> {
        if let Some(declared) = self.declared.take() {
            self.core.catalog.replace_audiences(declared);
            self.core.publish_audiences().await.map_err(|error| error.to_string())?;
            self.work_until(self.now()).await?;
        }
        Ok(())
    }

    /// The workflow's key, if there is such a workflow; else a sentence with what there is.
    pub fn find(&self, workflow: &str) -> Result<(), String> {
        match self.core.catalog.workflow(self.env, workflow) {
            Some(_) => Ok(()),
            None => {
                let all: Vec<String> =
                    self.core.catalog.workflows(self.env).iter().map(|one| one.key.clone()).collect();
                Err(format!("There is no workflow `{workflow}`; there is {}.", all.join(", ")))
            }
        }
    }

    /// Has steps that fetch something answered so; nobody is called.
    pub fn answer(&mut self, answers: &[Value]) -> Result<(), String> {
        let answers = answers.iter().map(Answer::parse).collect::<Result<_, _>>()?;
        self.core.outside = Outside::scripted(Script::new(answers));
        Ok(())
    }

    /// The time it is.
    pub fn now(&self) -> Time {
        self.core.clock.now()
    }

    /// Has a user or an object known, as an inline recipient says it.
    pub async fn introduce(&mut self, recipient: &Value) -> Result<RecipientRef, String> {
        let request = RecipientRequest::parse(recipient, "recipient").map_err(|faults| told(&faults))?;
        let Some(profile) = &request.profile else {
            return Err(format!("recipient: {recipient} is only a reference; write an object with an `id`"));
        };
        let mut staged = Staged::new(&self.core, self.env);
        staged.merge(&request.reference, profile, true, "recipient").await.map_err(|fault| fault.to_string())?;
        let mut change = Change::new();
        staged.write(&mut change).await.map_err(|fault| fault.to_string())?;
        self.core.commit(change).await.map_err(|fault| fault.to_string())?;
        Ok(request.reference)
    }

    /// Triggers a workflow.
    pub async fn trigger(&mut self, workflow: &str, body: Value) -> Result<Vec<Entry>, String> {
        let entry =
            Entry { workflow: Some(workflow.to_owned()), ..Entry::plain(self.now(), "triggered", body.clone()) };
        let asked = Asked { env: self.env, workflow, request_id: "simulation", idempotency: None };
        trigger(&self.core, &asked, body).await.map_err(|fault| fault.to_string())?;
        self.follows(entry).await
    }

    /// Has somebody become as they are told to be, as an inline recipient says it.
    pub async fn identify(&mut self, recipient: &Value) -> Result<Vec<Entry>, String> {
        self.introduce(recipient).await?;
        self.follows(Entry::plain(self.now(), "identified", recipient.clone())).await
    }

    /// Has a user, an id or an object with one, join an audience or leave it, under a tenant or none.
    pub async fn member(
        &mut self,
        joins: bool,
        audience: &str,
        user: &Value,
        tenant: &Value,
    ) -> Result<Vec<Entry>, String> {
        let body = json!({"members": [{"user": user, "tenant": tenant}]});
        let (done, event) = match joins {
            true => (self.core.add_members(self.env, audience, &body, false).await, "joined"),
            false => (self.core.remove_members(self.env, audience, &body).await, "left"),
        };
        done.map_err(|fault| fault.to_string())?;
        let data = json!({"audience": audience, "user": user, "tenant": tenant});
        self.follows(Entry::plain(self.now(), event, data)).await
    }

    /// Has an event of a source arrive; nobody has to prove who sent it.
    pub async fn arrive(
        &mut self,
        source: &str,
        body: Value,
        headers: Map<String, Value>,
    ) -> Result<Vec<Entry>, String> {
        let sources = self.core.catalog.sources();
        let Some(source) = sources.get(source) else {
            let all: Vec<&str> = sources.all().map(|one| one.key.as_str()).collect();
            return Err(format!("There is no source `{source}`; there is {}.", all.join(", ")));
        };
        let entry = Entry::plain(self.now(), "event_arrived", json!({"source": source.key, "body": body}));
        let headers = headers.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
        let taken = self.core.take_event(self.env, source, Event { body, headers }).await;
        taken.map_err(|fault| fault.to_string())?;
        self.follows(entry).await
    }

    /// What has happened, and what comes of it at once.
    async fn follows(&mut self, entry: Entry) -> Result<Vec<Entry>, String> {
        let mut entries = vec![entry];
        self.tell(&mut entries).await?;
        entries.extend(self.work_until(self.now()).await?);
        Ok(entries)
    }

    /// Cancels runs, as the API does.
    pub async fn cancel(&mut self, workflow: &str, body: &Value) -> Result<Vec<Entry>, String> {
        self.core.cancel(self.env, workflow, body).await.map_err(|fault| fault.to_string())?;
        let mut entries = Vec::new();
        self.tell(&mut entries).await?;
        Ok(entries)
    }

    /// Turns the clock on to `until`, doing everything that falls due meanwhile.
    pub async fn work_until(&mut self, until: Time) -> Result<Vec<Entry>, String> {
        let mut entries = Vec::new();
        let (mut instant, mut at_once) = (self.now(), 0);
        loop {
            let next = self.core.store.next_job_at().await.map_err(|error| error.to_string())?;
            let Some(at) = next.filter(|at| *at <= until) else { break };
            let now = at.max(self.now());
            (instant, at_once) = if now == instant { (now, at_once + 1) } else { (now, 0) };
            if at_once > MOST_AT_ONCE {
                return Err(format!("at {now} it never comes to an end: {MOST_AT_ONCE} jobs at one instant"));
            }
            self.core.clock.set(now);
            let claimed = self.core.store.claim_jobs("simulation", now, now.plus_seconds(LEASE_SECONDS), 1).await;
            for job in claimed.map_err(|error| error.to_string())? {
                let failed = |failure| format!("{} at {now}: {failure}", job.kind);
                if job.kind == source::JOB {
                    let deeds = crate::engine::source::work(&self.core, &job).await.map_err(failed)?;
                    entries.extend(deeds.into_iter().map(|deed| Entry::of_action(now, deed)));
                } else {
                    work(&self.core, &job).await.map_err(failed)?;
                }
                if job.kind == send::JOB {
                    entries.extend(self.sent(&job.subject).await?);
                }
                self.tell(&mut entries).await?;
            }
        }
        self.core.clock.set(until.max(self.now()));
        Ok(entries)
    }

    /// A message that waited for its window has been sent, or not.
    async fn sent(&mut self, id: &str) -> Result<Option<Entry>, String> {
        let Some(message) = self.core.store.message(self.env, id).await.map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        let run = Uuid::try_parse(&message.run).ok().and_then(|run| self.told.get(&run)).map(|told| told.number);
        Ok(Some(Entry {
            at: self.now(),
            run,
            workflow: Some(message.workflow),
            recipient: Some(json!(message.recipient)),
            step: Some(message.step_ref),
            event: "message_sent".to_owned(),
            is_error: false,
            data: json!({"message_id": self.names.of(&message.id), "status": message.status}),
            message: None,
        }))
    }

    /// Tells what has been recorded since the last time.
    async fn tell(&mut self, entries: &mut Vec<Entry>) -> Result<(), String> {
        let runs = self.core.store.runs(self.env, &RunFilter::default(), None, MOST_RUNS).await;
        let mut runs = runs.map_err(|error| error.to_string())?;
        runs.sort_by_key(|run| (run.inserted_at, run.recipient.key()));
        for run in runs {
            let new = Told { number: self.told.len() + 1, ..Told::default() };
            let told = *self.told.entry(run.id).or_insert(new);
            for event in run.events.iter().skip(told.events) {
                let made = event.data.as_ref().and_then(|data| data["message_id"].as_str());
                let message = match made {
                    Some(id) => self.core.store.message(self.env, id).await.map_err(|error| error.to_string())?,
                    None => None,
                };
                entries.push(Entry {
                    step: event.step_ref.clone(),
                    is_error: event.status == EventStatus::Error,
                    data: self.names.in_place(event.data.clone().unwrap_or_default()),
                    message: message.and_then(|message| serde_json::from_str(&message.blocks).ok()),
                    ..Entry::about(&run, Some(told.number), event.inserted_at, &event.event)
                });
            }
            let is_completed = run.status == RunStatus::Completed;
            if is_completed && !told.is_completed {
                entries.push(Entry::about(&run, Some(told.number), run.updated_at, "run_completed"));
            }
            self.told.insert(run.id, Told { events: run.events.len(), is_completed, ..told });
        }
        Ok(())
    }
}

impl Entry {
    /// Something that happened to nobody in particular.
    fn plain(at: Time, event: &str, data: Value) -> Entry {
        let (run, workflow, recipient, step, message) = (None, None, None, None, None);
        Entry { at, run, workflow, recipient, step, event: event.to_owned(), is_error: false, data, message }
    }

    /// What has become of an action of a source.
    fn of_action(at: Time, Deed { action, skipped }: Deed) -> Entry {
        let event = if skipped.is_some() { "action_skipped" } else { "action_done" };
        let is_error = skipped.is_some();
        Entry { is_error, ..Entry::plain(at, event, json!({"action": action, "reason": skipped})) }
    }

    /// Something that happened to a run, told as number `number`.
    pub fn about(run: &Run, number: Option<usize>, at: Time, event: &str) -> Entry {
        let (workflow, recipient) = (Some(run.workflow.clone()), Some(json!(run.recipient)));
        Entry { run: number, workflow, recipient, ..Entry::plain(at, event, Value::Null) }
    }
}

fn told(faults: &[crate::model::invalid::Invalid]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Names for ids that are made by chance: the first is `id-1`.
#[derive(Default)]
struct Names(HashMap<String, usize>);

impl Names {
    fn of(&mut self, id: &str) -> String {
        let count = self.0.len() + 1;
        format!("id-{}", self.0.entry(id.to_owned()).or_insert(count))
    }

    /// The value with every id in it replaced, under whatever name it stands.
    fn in_place(&mut self, value: Value) -> Value {
        match value {
            Value::String(text) if is_id(&text) => self.of(&text).into(),
            Value::Array(items) => items.into_iter().map(|item| self.in_place(item)).collect(),
            Value::Object(members) => {
                let members = members.into_iter().map(|(name, value)| (name, self.in_place(value)));
                members.collect::<Map<_, _>>().into()
            }
            other => other,
        }
    }
}

/// Whether a text is a UUID or a KSUID.
fn is_id(text: &str) -> bool {
    let is_ksuid = text.len() == 27 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_ksuid || (text.len() == 36 && Uuid::try_parse(text).is_ok())
}
