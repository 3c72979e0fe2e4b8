//! Sources: events of services elsewhere are taken, told to the runs that wait for them, and worked on (W-SRC).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::{info, warn};
use uuid::Uuid;

use crate::model::environment::Environment;
use crate::model::recipient::user_id_fault;
use crate::model::source::{Event, Source, scope};
use crate::model::time::Time;
use crate::store::idempotency::Remembered;
use crate::store::{self, Env};

use super::{Change, Core, OVERTAKEN};

/// The kind of job that works on an event. Its subject is the event's id.
pub const JOB: &str = "source";

/// What is remembered of an event that has been worked on whole; of one that is being worked on it is nothing.
pub const DONE: &str = "done";

/// Characters of an idempotency key at most (W-SRC-05).
const LONGEST_KEY: usize = 255;

/// An event that has been taken, as its job carries it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Taken {
    pub env: Env,
    pub source: String,
    /// Its type.
    pub kind: String,
    /// By which repetitions are told (W-SRC-05).
    pub key: Option<String>,
    /// What is to be done about it, in order: the active mappings, as the source's document had them when it was taken.
    pub mappings: Vec<Value>,
    #[serde(flatten)]
    pub event: Event,
    /// How many mappings have been worked on.
    #[serde(default)]
    pub done: usize,
    /// Whether one of them failed: then the event may come again.
    #[serde(default)]
    pub has_failed: bool,
}

impl Taken {
    /// As its job's row has it.
    pub fn progress(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Under which name its success is remembered, apart from what requests of the API are: their keys are one line.
    pub fn remembered_as(&self) -> Option<String> {
        let key = self.key.as_ref()?;
        Some(format!("source\n{}", json!([self.source, self.kind, key])))
    }
}

/// Why an event is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Whoever sent it did not prove who they are.
    #[error("{0}")]
    Unproven(String),
    /// It does not say what it is.
    #[error("{0}")]
    Nameless(String),
    /// The database failed; it may be sent again.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Core {
    /// Refuses unless `proof`, what stands in the header that the source names, shows who has sent `body`.
    pub fn prove_sender(
        &self,
        environment: &Environment,
        source: &Source,
        proof: Option<&str>,
        body: &[u8],
    ) -> Result<(), Refusal> {
        if !source.enforces_verification {
            return Ok(());
        }
        let secrets = environment.settings.secrets_of_source(&source.key);
        let header = &source.signature.header;
        let why = match proof {
            _ if secrets.is_empty() => {
                "This source has no secret in this environment, so that nobody can prove who they are. Its operator sets \
                 one in `source_secrets` of the environment."
                    .to_owned()
            }
            None => format!("The header `{header}`, which proves who sent this, is missing."),
            Some(proof) if source.signature.is_proof(proof, body, &secrets, self.clock.now()) => return Ok(()),
            Some(_) => format!("What stands in the header `{header}` does not prove who sent this, or it is too old."),
        };
        Err(Refusal::Unproven(why))
    }

    /// Takes an event: when this returns, it is on disk, and whatever is to be done about it will be. What that is, the
    /// source says now: it may say something else, or be gone, when it is done. Of a repetition no run is told; of one on
    /// which all has been done nothing is done, and one of what is still being worked on waits for how that ends (W-SRC-05).
    pub async fn take_event(&self, env: Env, source: &Source, event: Event) -> Result<(), Refusal> {
        let (now, gid) = (self.clock.now(), Uuid::new_v4());
        let Some(kind) = source.event_type.text(&event) else {
            let why = format!("The event does not say what it is: nothing stands at {}.", source.event_type);
            return Err(Refusal::Nameless(why));
        };
        // One that is no key is as if it were not there (W-SRC-05).
        let key = source.idempotency_key.as_ref().and_then(|path| path.text(&event));
        let key = key.filter(|key| key.chars().count() <= LONGEST_KEY);
        let user = source.user_id.text(&event).filter(|user| user_id_fault(user).is_none());
        let happened_at = source.timestamp.as_ref().and_then(|path| path.find(&event)).map(Time::read);
        if happened_at == Some(None) {
            warn!(event.id = %gid, source.key = %source.key, "when an event of source `{}` happened cannot be read: it counts as of now", source.key);
        }
        let at = happened_at.flatten().unwrap_or(now);
        let mappings = source.mappings(&kind).map(|mapping| mapping.document.clone()).collect();
        let source_key = source.key.clone();
        let taken = Taken { env, source: source_key, kind, key, mappings, event, done: 0, has_failed: false };
        let known = taken.remembered_as();
        for _ in 0..OVERTAKEN {
            let mut change = Change::new();
            let before = match &known {
                Some(known) => self.store.remembered(env, known, now).await?,
                None => None,
            };
            if before.as_ref().is_some_and(|before| before.response == DONE) {
                info!(event.id = %gid, source.key = %source.key, "an event of source `{}` is a repetition: nothing is done", source.key);
                return Ok(());
            }
            if before.is_none() {
                if let Some(known) = &known {
                    // Where nothing is to be done, all has been.
                    let response = if taken.mappings.is_empty() { DONE } else { "" };
                    change.batch.remember(env, known, &remembered(&gid.to_string(), response, now));
                }
                if let Some(user) = &user {
                    // Without a user nobody is told: every wait is of some recipient (W-WFE-11).
                    let about = scope(&taken.event, &gid.to_string(), user, now);
                    let topic = format!("source.{}", taken.kind);
                    change.signal_at(env, user, (topic.as_str(), source.key.as_str()), &about, at, now);
                }
            }
            if !taken.mappings.is_empty() {
                change.add_long_job(JOB, &gid.to_string(), &taken.progress(), now);
            }
            match self.commit(change).await {
                Ok(_) => {
                    // Neither its type nor anything in it: whoever sends it says what that is.
                    info!(event.id = %gid, source.key = %source.key, "took an event of source `{}`", source.key);
                    return Ok(());
                }
                // Another with the same key has come meanwhile.
                Err(store::Error::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Refusal::Store(store::Error::Refused(0)))
    }
}

/// What is remembered of the event with this id.
pub(crate) fn remembered(event: &str, response: &str, created_at: Time) -> Remembered {
    let (response, request_id) = (response.to_owned(), event.to_owned());
    Remembered { fingerprint: String::new(), response, request_id, created_at }
}
