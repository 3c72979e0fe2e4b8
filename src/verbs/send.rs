//! Send: a message that was made outside its send window goes out when the next one opens (W-SNW-07).

use serde_json::{Value, json};
use tracing::debug;

use super::cap::{Reached, judge};
use super::staged::Staged;
use super::{Change, Core, OVERTAKEN, nested};
use crate::model::cap::Sending;
use crate::model::ids::Ksuid;
use crate::model::message::{Message, QUEUED};
use crate::model::run::EventStatus;
use crate::model::signal::Happened;
use crate::model::time::Time;
use crate::queue::Failure;
use crate::store::collapse::Collapsing;
use crate::store::jobs::Job;
use crate::store::{self, Env};

/// The kind of job that sends a message. Its subject is the message's id.
pub const JOB: &str = "send";

/// The place of a job's end in its batch: the first.
const FINISHED: usize = 0;

impl Change {
    /// Adds that a message, which is added besides, is sent at `at`.
    pub fn queue_message(&mut self, message: &Message, at: Time) {
        let id = Ksuid::mint(message.inserted_at, &[message.id.as_bytes(), b"queued"]);
        let data = json!({"scheduled_at": at}).to_string();
        self.batch.add_message_event(&message.id, id.as_str(), "message.queued", &data, message.inserted_at);
        self.add_long_job(JOB, &message.id, &json!({"env": message.env}), at);
    }

    /// Adds that a message has another delivery status since this change, behind what gives it.
    pub fn signal_status(&mut self, message: &Message, at: Time) {
        let happened = Happened {
            recipient: &message.recipient.key(),
            workflow: &message.workflow,
            run: None,
            has_begun: false,
            is_over: false,
            messages: std::slice::from_ref(&message.id),
            are_new: false,
            at,
        };
        self.signal_happened(message.env, &happened);
    }
}

impl Core {
    /// Does a claimed job of sending: the message comes into its feed as if it had been made now, unmarked. One that was
    /// archived or deleted meanwhile, or whose recipient is gone, is not sent.
    pub async fn send(&self, job: &Job) -> Result<(), Failure> {
        let env =
            env_of(job).ok_or_else(|| Failure(format!("job {} does not say in which environment it sends", job.id)))?;
        for _ in 0..OVERTAKEN {
            let mut change = Change::new();
            change.batch.finish_job(job);
            if let Some(message) = self.queued(env, &job.subject).await? {
                let now = self.clock.now();
                if message.archived_at.is_some() {
                    change.batch.set_aside(&message, now);
                    change.signal_status(&message, now);
                } else {
                    self.deliver(&message, &mut change, now).await?;
                    change.signal_status(&message, now);
                }
            }
            match self.commit(change).await {
                Ok(_) | Err(store::Error::Refused(FINISHED)) => {
                    debug!(message.id = %job.subject, "a message was sent when its window opened");
                    return Ok(());
                }
                Err(store::Error::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Failure("other changes of the message kept coming in between".to_owned()))
    }

    /// The message if it still waits for its window.
    async fn queued(&self, env: Env, id: &str) -> Result<Option<Message>, store::Error> {
        let message = self.store.message(env, id).await?;
        Ok(message.filter(|message| message.feed.is_none() && message.status == QUEUED))
    }

    /// Adds that a message whose sending is given up is never sent, which it says.
    pub async fn abandon_sending(&self, job: &Job, why: &str, change: &mut Change) -> Result<(), store::Error> {
        // A message that cannot be found cannot be written to either: the log has the reason.
        let Some(env) = env_of(job) else { return Ok(()) };
        let message = match self.queued(env, &job.subject).await {
            Err(store::Error::Damaged(_)) => None,
            other => other?,
        };
        if let Some(message) = message {
            let now = self.clock.now();
            change.batch.set_aside(&message, now);
            let id = Ksuid::mint(now, &[message.id.as_bytes(), b"gave_up"]);
            let data = json!({"reason": "gave_up", "error": why}).to_string();
            change.batch.add_message_event(&message.id, id.as_str(), "message.not_sent", &data, now);
            change.signal_status(&message, now);
        }
        Ok(())
    }

    /// Adds that a message comes into its feed; one whose place is taken already leaves what it says there, and is set aside.
    async fn deliver(&self, message: &Message, change: &mut Change, now: Time) -> Result<(), store::Error> {
        let sent = Message { status: "delivered".to_owned(), inserted_at: now, updated_at: now, ..message.clone() };
        let standing = match Collapsing::of(message) {
            Some(collapsing) => self.store.standing(message.env, &collapsing).await?,
            None => None,
        };
        let Some(standing) = standing else {
            if !self.pass(message, change, now).await? {
                return Ok(());
            }
            change.batch.take_queued(message);
            change.add_message(unmarked(sent), true);
            return Ok(());
        };
        change.batch.set_aside(message, now);
        let id = Ksuid::mint(now, &[message.id.as_bytes(), b"collapsed"]);
        let data = json!({"message_id": standing.id}).to_string();
        change.batch.add_message_event(&message.id, id.as_str(), "message.collapsed", &data, now);
        change.replace_message(standing.feed, &Message { id: standing.id, ..sent });
        Ok(())
    }

    /// Adds that frequency caps count a message, and answers whether they let it pass. One that may not is never sent, which
    /// it and its run say.
    async fn pass(&self, message: &Message, change: &mut Change, now: Time) -> Result<bool, store::Error> {
        let (env, caps) = (message.env, self.catalog.caps());
        let categories: Vec<String> = serde_json::from_str(&message.categories).unwrap_or_default();
        let Some(channel) = self.catalog.channel(&message.channel) else { return Ok(true) };
        let sending = Sending { workflow: &message.workflow, categories: &categories, channel };
        let mut over = Vec::new();
        for cap in caps.over(sending) {
            let counter = cap.counter(message.recipient.key(), message.tenant.as_deref());
            let before = self.store.passed(env, &counter).await?;
            over.push((cap, counter, before));
        }
        if over.is_empty() {
            return Ok(true);
        }
        let zone = Staged::new(self, env).zone(&message.recipient).await?;
        match judge(over, now, &zone) {
            Ok(counts) => {
                for count in counts {
                    count.add(env, &mut change.batch);
                }
                Ok(true)
            }
            Err(reached) => {
                self.hold_back(message, &reached, change, now).await?;
                Ok(false)
            }
        }
    }

    /// Adds that a message is over the limit of a cap, which may overflow.
    async fn hold_back(
        &self,
        message: &Message,
        reached: &Reached<'_>,
        change: &mut Change,
        now: Time,
    ) -> Result<(), store::Error> {
        let mut record = reached.record();
        record["reason"] = "frequency_cap".into();
        change.batch.set_aside(message, now);
        let id = Ksuid::mint(now, &[message.id.as_bytes(), b"frequency_cap"]);
        change.batch.add_message_event(&message.id, id.as_str(), "message.not_sent", &record.to_string(), now);
        let Some(mut run) = self.store.run(&message.run).await? else { return Ok(()) };
        let data = serde_json::from_str(&message.data).unwrap_or_default();
        record["overflow"] = nested::overflow(&self.catalog, &mut run, reached.cap, data, change, now);
        record["message_id"] = message.id.as_str().into();
        let step = Some((message.step_ref.as_str(), "channel"));
        run.record(now, EventStatus::Ok, "message_not_sent", step, Some(record));
        change.batch.update_run(&run, now);
        Ok(())
    }
}

/// In which environment a claimed job sends.
fn env_of(job: &Job) -> Option<Env> {
    serde_json::from_str::<Value>(job.progress.as_deref()?).ok()?["env"].as_i64()
}

fn unmarked(message: Message) -> Message {
    Message { seen_at: None, read_at: None, interacted_at: None, link_clicked_at: None, ..message }
}
