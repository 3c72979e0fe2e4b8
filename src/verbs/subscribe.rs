//! Subscribe: somebody follows an object from now on, or follows it no more.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::{Map, Value};

use super::identify::{RecipientRequest, nobody};
use super::staged::{Stage, Staged};
use super::turns::Turn;
use super::{Change, Core, Error, OVERTAKEN};
use crate::model::invalid::Invalid;
use crate::model::recipient::RecipientRef;
use crate::model::subscription::Subscription;
use crate::store::subscriptions::{Whose, subscribed};
use crate::store::{self, Env};
use crate::wire::json::Patch;

/// Recipients of one call at most (F-SUB-02).
pub const MOST: usize = 100;

/// Who is to follow an object, or no more.
#[derive(Debug, Clone)]
pub struct Request {
    pub recipients: Vec<RecipientRequest>,
    pub properties: Patch<Map<String, Value>>,
}

impl Request {
    /// Reads a body: 1 to 100 recipients, each once, and properties for all of them (F-SUB-02, F-SUB-03).
    pub fn parse(body: &Map<String, Value>) -> Result<Request, Vec<Invalid>> {
        let mut faults = Vec::new();
        let mut recipients: Vec<RecipientRequest> = Vec::new();
        match body.get("recipients") {
            Some(Value::Array(items)) if (1..=MOST).contains(&items.len()) => {
                for (at, item) in items.iter().enumerate() {
                    match RecipientRequest::parse(item, &format!("recipients[{at}]")) {
                        Ok(recipient) => recipients.push(recipient),
                        Err(more) => faults.extend(more),
                    }
                }
            }
            Some(Value::Array(items)) => {
                let message = format!("recipients has {} entries; 1 to {MOST} are allowed", items.len());
                faults.push(Invalid::new("recipients", message));
            }
            _ => faults.push(Invalid::new("recipients", "recipients is required, as an array of 1 to 100 entries")),
        }
        let properties = match body.get("properties") {
            None => Patch::Absent,
            Some(Value::Null) => Patch::Null,
            Some(Value::Object(map)) => Patch::Value(map.clone()),
            Some(_) => {
                faults.push(Invalid::new("properties", "properties must be an object or null"));
                Patch::Absent
            }
        };
        if faults.is_empty() { Ok(Request { recipients, properties }) } else { Err(faults) }
    }

    /// The recipients, each once, in the order asked.
    fn references(&self) -> Vec<&RecipientRef> {
        let mut seen = HashSet::new();
        self.recipients.iter().map(|one| &one.reference).filter(|one| seen.insert(*one)).collect()
    }
}

impl Stage for Request {
    /// Stages who is named inline.
    async fn stage(&self, staged: &mut Staged<'_>) -> Result<(), Error> {
        let named = self.recipients.iter();
        let users: Vec<&str> = named.clone().filter_map(|one| one.reference.user_id()).collect();
        staged.preload(&users).await?;
        for (at, recipient) in named.enumerate() {
            if let Some(profile) = &recipient.profile {
                staged.merge(&recipient.reference, profile, false, &format!("recipients[{at}]")).await?;
            }
        }
        Ok(())
    }
}

impl Core {
    /// Has recipients follow an object, which must be there; inline ones are identified first (F-SUB-02, F-SUB-03).
    pub async fn subscribe(
        &self,
        env: Env,
        object: &RecipientRef,
        request: &Request,
    ) -> Result<Vec<Subscription>, Error> {
        for _ in 0..OVERTAKEN {
            let mut change = Change::new();
            let (numbers, _turn) = self.stage_subscription(env, object, request, &mut change).await?;
            match self.commit(change).await {
                Ok(applied) => {
                    let row = |one: &RecipientRef| subscribed(&applied, *numbers.get(&one.key())?);
                    return Ok(request.references().into_iter().filter_map(row).collect());
                }
                Err(store::Error::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Store(store::Error::Refused(0)))
    }

    /// Adds that recipients follow an object. Gives back the numbers of their rows, by key, and the turn to change those
    /// who are identified, to be held until the commit.
    pub(super) async fn stage_subscription(
        &self,
        env: Env,
        object: &RecipientRef,
        request: &Request,
        change: &mut Change,
    ) -> Result<(BTreeMap<String, usize>, Turn<'_>), Error> {
        let (mut staged, turn) = self.staged(env, None, request).await?;
        if staged.record(object).await?.is_none() {
            return Err(nobody(object));
        }
        staged.write(change).await?;
        let now = self.clock.now();
        // In one order, so that no two of these wait for each other.
        let named: BTreeSet<String> = request.references().into_iter().map(RecipientRef::key).collect();
        let number = |key: String| {
            let number = change.batch.subscribe(env, &object.key(), &key, &request.properties, now);
            (key, number)
        };
        Ok((named.into_iter().map(number).collect(), turn))
    }

    /// Has recipients follow an object no more; answers the subscriptions that there were (F-SUB-04).
    pub async fn unsubscribe(
        &self,
        env: Env,
        object: &RecipientRef,
        request: &Request,
    ) -> Result<Vec<Subscription>, Error> {
        let mut change = Change::new();
        let (found, number) = self.stage_unsubscription(env, object, request, &mut change).await?;
        let applied = self.commit(change).await?;
        let gone: HashSet<i64> = applied.rows(number).iter().filter_map(|row| row.first()).map(|n| n.int()).collect();
        Ok(found.into_iter().filter(|one| gone.contains(&one.n)).collect())
    }

    /// Adds that recipients follow an object no more. Gives back the subscriptions that there are, and the number of the
    /// rows of those that there were.
    pub(super) async fn stage_unsubscription(
        &self,
        env: Env,
        object: &RecipientRef,
        request: &Request,
        change: &mut Change,
    ) -> Result<(Vec<Subscription>, usize), store::Error> {
        let keys: Vec<String> = request.references().into_iter().map(RecipientRef::key).collect();
        let found = self.store.subscriptions(env, Whose::Object(&object.key()), Some(&keys), None, keys.len()).await?;
        let number = change.batch.unsubscribe(&found.iter().map(|one| one.n).collect::<Vec<_>>());
        Ok((found, number))
    }
}
