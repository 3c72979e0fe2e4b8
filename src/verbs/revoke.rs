//! Revoke: what somebody was told is taken back, on every device at once.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use crate::model::invalid::Invalid;
use crate::model::message::{Message, QUEUED};
use crate::model::recipient::RecipientRef;
use crate::model::time::Time;
use crate::store::revoke::Telling;
use crate::store::{self, Env};

use super::cancel;
use super::change::{FEEDS, FeedName};
use super::{Change, Core, Error, OVERTAKEN};

/// What is to be revoked, read.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// What runs of a workflow have told that carry the key, which are stopped as well.
    Runs { workflow: String, cancel: cancel::Request },
    /// Whatever has the collapse key.
    Collapsed { key: String, recipients: Option<Vec<RecipientRef>> },
}

/// What a revocation came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Revoked {
    /// Runs that were stopped.
    pub cancelled: usize,
    /// Messages that were taken back, and had not been before.
    pub messages: usize,
}

impl Request {
    /// Reads a body.
    pub fn parse(body: &Map<String, Value>) -> Result<Request, Vec<Invalid>> {
        let text = |name: &str| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let is_said = |name: &str| body.get(name).is_some_and(|value| !value.is_null());
        match (is_said("cancellation_key"), is_said("collapse_key")) {
            (true, true) => {
                Err(vec![Invalid::new("collapse_key", "set either cancellation_key or collapse_key, not both")])
            }
            (false, false) => {
                Err(vec![Invalid::new("cancellation_key", "either cancellation_key or collapse_key is required")])
            }
            (true, false) => {
                let Some(workflow) = text("workflow").map(str::to_owned) else {
                    let message = "workflow is required beside a cancellation_key: the key of a workflow, as a string";
                    return Err(vec![Invalid::new("workflow", message)]);
                };
                Ok(Request::Runs { workflow, cancel: cancel::Request::parse(&Value::Object(body.clone()))? })
            }
            (false, true) => {
                let Some(key) = text("collapse_key").map(str::to_owned) else {
                    return Err(vec![Invalid::new("collapse_key", "collapse_key must be a string that is not empty")]);
                };
                Ok(Request::Collapsed { key, recipients: cancel::recipients(body.get("recipients"))? })
            }
        }
    }
}

impl Change {
    /// Adds that messages leave their feed for good. Gives the number of the answer: a row for each that did.
    pub fn revoke(&mut self, feed: &FeedName, messages: &[Message], now: Time) -> usize {
        let (head, left) = self.batch.revoke_in_feed(feed.id, messages, now);
        self.touch(feed, head);
        left
    }
}

/// A message that is to be taken back.
#[derive(Debug, Clone)]
struct Wanted {
    id: String,
    /// The run it must be of: an item whose place another has taken is the other's.
    run: Option<String>,
}

impl Core {
    /// Takes messages back: they leave their feeds, and those that wait to be sent never are. One that took another's place
    /// when it was sent is taken back there. Answers how many had not been taken back before; done again, it changes nothing.
    pub async fn revoke(&self, env: Env, ids: &[String]) -> Result<usize, Error> {
        let wanted: Vec<Wanted> = ids.iter().map(|id| Wanted { id: id.clone(), run: None }).collect();
        self.revoke_wanted(env, &wanted).await
    }

    /// Takes back whatever the request means, until nothing is left of it.
    pub async fn revoke_all(&self, env: Env, request: &Request) -> Result<Revoked, Error> {
        let mut out = Revoked::default();
        match request {
            Request::Runs { workflow, cancel } => {
                // First what may still tell something: nothing comes behind what is taken back.
                out.cancelled = self.cancel_request(env, workflow, cancel).await?;
                // One that carries on what others have brought to a batch goes on; what it has told is taken back.
                for are_over in [false, true] {
                    out.messages += self.revoke_told(env, workflow, cancel, are_over).await?;
                }
                Ok(out)
            }
            Request::Collapsed { key, recipients } => {
                let only = keys(recipients.as_deref());
                loop {
                    let ids = self.store.collapsed(env, key, only.as_deref(), FEEDS).await?;
                    if ids.is_empty() {
                        return Ok(out);
                    }
                    out.messages += self.revoke(env, &ids).await?;
                }
            }
        }
    }

    /// Takes back what runs have told that carry the key.
    async fn revoke_told(
        &self,
        env: Env,
        workflow: &str,
        cancel: &cancel::Request,
        are_over: bool,
    ) -> Result<usize, Error> {
        let (only, name) = (keys(cancel.recipients.as_deref()), (workflow, cancel.cancellation_key.as_str()));
        let (mut revoked, mut after) = (0, String::new());
        loop {
            let runs = self.store.telling(env, name, are_over, only.as_deref(), &after, FEEDS).await?;
            let Some(last) = runs.last() else { return Ok(revoked) };
            after.clone_from(&last.run);
            let of_run = |Telling { run, messages }: Telling| {
                messages.into_iter().map(move |id| Wanted { id, run: Some(run.clone()) })
            };
            let wanted: Vec<Wanted> = runs.into_iter().flat_map(of_run).collect();
            revoked += self.revoke_wanted(env, &wanted).await?;
        }
    }

    async fn revoke_wanted(&self, env: Env, wanted: &[Wanted]) -> Result<usize, Error> {
        let mut revoked = 0;
        for chunk in wanted.chunks(FEEDS) {
            revoked += self.revoke_chunk(env, chunk).await?;
        }
        Ok(revoked)
    }

    async fn revoke_chunk(&self, env: Env, wanted: &[Wanted]) -> Result<usize, Error> {
        let mut revoked = 0;
        for _ in 0..OVERTAKEN {
            let found = self.to_revoke(env, wanted).await?;
            if found.is_empty() {
                return Ok(revoked);
            }
            let (now, all) = (self.clock.now(), found.len());
            let mut by_feed: BTreeMap<Option<FeedName>, Vec<Message>> = BTreeMap::new();
            let mut change = Change::new();
            for (message, is_of_run) in found {
                if is_of_run {
                    change.batch.require_teller(&message);
                }
                let (channel, recipient) = (message.channel.clone(), message.recipient.key());
                let feed = message.feed.map(|id| FeedName { id, env, channel, recipient });
                by_feed.entry(feed).or_default().push(message);
            }
            let (mut alone, mut left) = (0, Vec::new());
            for (feed, messages) in by_feed {
                match feed {
                    Some(feed) => left.push(change.revoke(&feed, &messages, now)),
                    None => {
                        alone = messages.len();
                        messages.iter().for_each(|message| change.batch.revoke_alone(message, now));
                    }
                }
            }
            match self.commit(change).await {
                Ok(applied) => {
                    let done = alone + left.iter().map(|number| applied.rows(*number).len()).sum::<usize>();
                    revoked += done;
                    if done == all {
                        return Ok(revoked);
                    }
                }
                // Those that left their feed in between are where they were not looked for: look again.
                Err(store::Error::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Store(store::Error::Refused(0)))
    }

    /// What is there of the messages and not taken back, with the items whose place they took when they were sent; each with
    /// whether it is meant only as long as it is of the run that it is of.
    async fn to_revoke(&self, env: Env, wanted: &[Wanted]) -> Result<Vec<(Message, bool)>, Error> {
        let of: HashMap<&str, Option<&str>> =
            wanted.iter().map(|wanted| (wanted.id.as_str(), wanted.run.as_deref())).collect();
        let ids: Vec<String> = wanted.iter().map(|wanted| wanted.id.clone()).collect();
        let mut found = BTreeMap::new();
        let mut collapsed = HashMap::new();
        for message in self.store.messages_by_ids(env, &ids).await? {
            let run = of.get(message.id.as_str()).copied().flatten();
            if run.is_some_and(|run| run != message.run) {
                continue;
            }
            if message.feed.is_none() && message.status != QUEUED && message.collapse_key.is_some() {
                collapsed.insert(message.id.clone(), (message.run.clone(), message.step_ref.clone()));
            }
            found.insert(message.id.clone(), (message, run.is_some()));
        }
        for (id, place) in self.store.places_taken(env, collapsed.keys()).await? {
            let teller = collapsed.get(&id);
            if teller.is_some_and(|(run, step)| *run == place.run && *step == place.step_ref) {
                found.entry(place.id.clone()).or_insert((place, true));
            }
        }
        Ok(found.into_values().filter(|(message, _)| message.revoked_at.is_none()).collect())
    }
}

fn keys(recipients: Option<&[RecipientRef]>) -> Option<Vec<String>> {
    recipients.map(|only| only.iter().map(RecipientRef::key).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_to_be_revoked_is_named_by_one_key() {
        let read = |body: Value| Request::parse(body.as_object().unwrap());
        let fault = |body: Value| read(body).expect_err("refused").remove(0).path;
        assert_eq!(fault(json!({})), "cancellation_key");
        assert_eq!(fault(json!({"cancellation_key": "a", "collapse_key": "b"})), "collapse_key");
        assert_eq!(fault(json!({"cancellation_key": "a"})), "workflow");
        assert_eq!(fault(json!({"cancellation_key": 7, "workflow": "w"})), "cancellation_key");
        assert_eq!(fault(json!({"collapse_key": ""})), "collapse_key");
        assert_eq!(fault(json!({"collapse_key": "a", "recipients": "ann"})), "recipients");
        let recipients = Some(vec![RecipientRef::User("ann".to_owned())]);
        let expected = Request::Collapsed { key: "a".to_owned(), recipients: recipients.clone() };
        assert_eq!(read(json!({"collapse_key": "a", "recipients": ["ann"]})), Ok(expected));
        let cancel = cancel::Request { cancellation_key: "a".to_owned(), recipients };
        let expected = Request::Runs { workflow: "w".to_owned(), cancel };
        let body = json!({"cancellation_key": "a", "workflow": "w", "recipients": ["ann"], "collapse_key": null});
        assert_eq!(read(body), Ok(expected));
    }
}
