//! Audiences: who joins them, who leaves, and who is found by their properties.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::model::audience::{Audience, Audiences, Members, Transition, holds};
use crate::model::ids::new_workflow_run_id;
use crate::model::invalid::{Invalid, join};
use crate::model::recipient::{User, tenant_id_fault};
use crate::model::scope::Scope;
use crate::model::time::Time;
use crate::queue::{Failure, LEASE_SECONDS};
use crate::rules::condition::Group;
use crate::store::audiences::{Known, Slot};
use crate::store::jobs::{Job, Line};
use crate::store::{self, Batch, Env};
use crate::template::{self, Limits, NoLookup, Template};

use super::bulk::CHUNKS_PER_CLAIM;
use super::identify::RecipientRequest;
use super::staged::{Stage, Staged};
use super::{Change, Core, Error, OVERTAKEN};

/// The kind of job that runs a workflow for somebody who has joined an audience; its subject is the workflow run.
pub const JOIN_JOB: &str = "join";
/// The kind of job that finds the members of a dynamic audience whose definition is new.
pub const POPULATE_JOB: &str = "populate";

/// Members of one request at most (F-AUD-01).
const MAX_MEMBERS: usize = 1_000;
/// The place of the job's own claim in its batch: the first.
const CLAIM: usize = 0;
/// Users looked at in one transaction.
const CHUNK: usize = 200;

/// Somebody has joined an audience for which a workflow runs (W-AUD-01).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    pub env: Env,
    pub workflow: String,
    pub audience: String,
    pub user: String,
    pub tenant: Option<String>,
    /// How many workflows have caused each other to come here.
    pub depth: u32,
}

impl Join {
    /// What a join causes: one for each workflow that the audience starts.
    pub fn all(audiences: &Audiences, env: Env, slot: &Slot, depth: u32) -> Vec<Join> {
        let join = |workflow: &str| Join {
            env,
            workflow: workflow.to_owned(),
            audience: slot.audience.clone(),
            user: slot.user.clone(),
            tenant: slot.tenant.clone(),
            depth,
        };
        audiences.workflows(&slot.audience).into_iter().map(join).collect()
    }

    /// What the job is to do, as its row has it. (The subject is logged, and a user's id may be an address: it stands here.)
    pub fn progress(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl Change {
    /// Adds what changes of users, each as they were and as they are, make of their places in the dynamic audiences
    /// (W-AUD-12). Whether somebody was a member is a matter of what they were, so that another definition alone makes
    /// nobody join (W-AUD-02).
    pub(super) fn sort_into_audiences<'u>(
        &mut self,
        core: &Core,
        env: Env,
        changed: impl Iterator<Item = (Option<&'u User>, &'u User)>,
        depth: u32,
        now: Time,
    ) {
        let audiences = core.catalog.audiences();
        if audiences.dynamic().next().is_none() {
            return;
        }
        let mut sorted = Vec::new();
        for (before, after) in changed {
            let (was, is) = (before.map(User::to_json), after.to_json());
            for (key, conditions) in audiences.dynamic() {
                let is_member = belongs(conditions, &is, now);
                let was_member = was.as_ref().is_some_and(|was| belongs(conditions, was, now));
                sorted.push((key, after, is_member));
                if let Some(transition) = Transition::between(was_member, is_member) {
                    self.passes(&audiences, env, (key, &after.id), transition, depth, now);
                }
            }
        }
        self.batch.sort_members(env, &sorted, now);
    }

    /// Adds that a user enters a dynamic audience, or leaves it.
    fn passes(
        &mut self,
        audiences: &Audiences,
        env: Env,
        (audience, user): (&str, &str),
        transition: Transition,
        depth: u32,
        now: Time,
    ) {
        let topic = format!("audience.{}", transition.name());
        self.signal(env, user, (topic.as_str(), audience), &json!({"audience": audience}), now);
        if transition == Transition::Enter {
            let slot = Slot { audience: audience.to_owned(), user: user.to_owned(), tenant: None };
            for join in Join::all(audiences, env, &slot, depth) {
                self.add_long_job(JOIN_JOB, &new_workflow_run_id(now).to_string(), &join.progress(), now);
            }
        }
    }
}

/// Whether a user, as it is on the wire, is a member of a dynamic audience.
pub fn belongs(conditions: &Group, user: &Value, now: Time) -> bool {
    let scope = Scope::new(vec![("recipient", user)]);
    let env = template::Env { scope: &scope, now, lookup: &NoLookup, strict: false, limits: Limits::default() };
    holds(conditions, user, now, &|template: &Template| template.render(&env).ok())
}

/// Members as a request names them.
#[derive(Debug)]
struct Named {
    user: RecipientRequest,
    tenant: Option<String>,
}

impl Named {
    fn parse(value: &Value, path: &str) -> Result<Named, Vec<Invalid>> {
        let at = |name: &str| join(path, name);
        let user =
            value.get("user").ok_or_else(|| vec![Invalid::new(at("user"), "is required, with the user's id")])?;
        let user = RecipientRequest::parse(user, &at("user"))?;
        if user.reference.user_id().is_none() {
            return Err(vec![Invalid::new(at("user"), "must be a user: objects are no members of audiences")]);
        }
        let tenant = match value.get("tenant") {
            None | Some(Value::Null) => None,
            Some(Value::String(tenant)) => Some(tenant.clone()),
            Some(_) => return Err(vec![Invalid::new(at("tenant"), "must be a tenant's id, or null")]),
        };
        if let Some(fault) = tenant.as_deref().and_then(tenant_id_fault) {
            return Err(vec![Invalid::new(at("tenant"), fault)]);
        }
        Ok(Named { user, tenant })
    }

    fn slot(&self, audience: &str) -> Slot {
        Slot { audience: audience.to_owned(), user: self.user.reference.id().to_owned(), tenant: self.tenant.clone() }
    }
}

/// Reads the body of a request about members.
fn named(body: &Value) -> Result<Vec<Named>, Error> {
    let Some(items) = body.get("members").and_then(Value::as_array) else {
        return Err(Invalid::new("members", "members is required, as an array").into());
    };
    if items.len() > MAX_MEMBERS {
        let fault = format!("members has {} entries; {MAX_MEMBERS} are allowed", items.len());
        return Err(Invalid::new("members", fault).into());
    }
    let read = items.iter().enumerate().map(|(at, item)| Named::parse(item, &format!("members[{at}]")));
    let (read, faults): (Vec<_>, Vec<_>) = read.partition(Result::is_ok);
    let faults: Vec<Invalid> = faults.into_iter().filter_map(Result::err).flatten().collect();
    if faults.is_empty() { Ok(read.into_iter().flatten().collect()) } else { Err(Error::Invalid(faults)) }
}

impl Stage for Vec<Named> {
    /// Identifies whoever is given with properties (F-AUD-02).
    async fn stage(&self, staged: &mut Staged<'_>) -> Result<(), Error> {
        let users: Vec<&str> = self.iter().map(|named| named.user.reference.id()).collect();
        staged.preload(&users).await?;
        for (at, named) in self.iter().enumerate() {
            if let Some(profile) = &named.user.profile {
                staged.merge(&named.user.reference, profile, false, &format!("members[{at}].user")).await?;
            }
        }
        Ok(())
    }
}

impl Core {
    /// Adds members to a static audience, which is made if it is not there and `create` says so (F-AUD-01 to F-AUD-04).
    /// Whoever is new runs through the audience's workflows (F-AUD-08).
    pub async fn add_members(&self, env: Env, key: &str, body: &Value, create: bool) -> Result<(), Error> {
        let (members, audiences) = (named(body)?, self.catalog.audiences());
        let is_there = self.static_audience(env, key, create).await?;
        for _ in 0..OVERTAKEN {
            let (mut staged, _turn) = self.staged(env, None, &members).await?;
            let now = self.clock.now();
            // In one order, so that no two of these wait for each other.
            let (mut slots, mut joins) = (BTreeMap::new(), Vec::new());
            for slot in members.iter().map(|named| named.slot(key)) {
                // Somebody who was never identified is a member all the same, and joins nothing (W-AUD-09).
                let is_known = staged.user(&slot.user).await?.is_some();
                let is_new = slots.insert(slot.key(), slot.user.clone()).is_none();
                if is_known && is_new {
                    let caused = Join::all(&audiences, env, &slot, 0).into_iter();
                    joins.extend(caused.map(|join| {
                        json!([slot.key(), JOIN_JOB, new_workflow_run_id(now), join.progress().to_string()])
                    }));
                }
            }
            let mut change = Change::new();
            if !is_there {
                change.batch.ensure_audience(env, key, false, now);
            }
            staged.write(&mut change).await?;
            if !joins.is_empty() {
                change.wake(Line::Own, now);
            }
            change.batch.add_members((env, key), &slots, joins, Uuid::new_v4(), now);
            match self.commit(change).await {
                Ok(_) => return Ok(()),
                Err(store::Error::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Store(store::Error::Refused(0)))
    }

    /// Takes exactly these members out of a static audience; whoever is none is ignored (F-AUD-05). Nobody is identified
    /// (F-AMB-26), and nothing runs (W-AUD-02).
    pub async fn remove_members(&self, env: Env, key: &str, body: &Value) -> Result<(), Error> {
        let slots: Vec<String> = named(body)?.iter().map(|named| named.slot(key).key()).collect();
        self.static_audience(env, key, false).await?;
        let mut batch = Batch::new();
        batch.remove_members(env, key, &slots);
        self.store.apply(batch).await?;
        Ok(())
    }

    /// Whether there is an audience of that key.
    pub async fn knows_audience(&self, env: Env, key: &str) -> Result<bool, store::Error> {
        if self.catalog.audiences().get(key).is_some() {
            return Ok(true);
        }
        // A dynamic one that is not declared any more is not there: nobody can tell who is a member.
        Ok(self.store.audience(env, key).await?.is_some_and(|known| !known.is_dynamic))
    }

    /// Refuses unless members of the audience may be written (F-AUD-07, F-AMB-26); whether it is there, or is to be made.
    async fn static_audience(&self, env: Env, key: &str, create: bool) -> Result<bool, Error> {
        let declared = self.catalog.audiences().get(key).map(|audience| audience.conditions().is_some());
        let known = match declared {
            Some(is_dynamic) => Some(is_dynamic),
            None => self.store.audience(env, key).await?.map(|known| known.is_dynamic),
        };
        match known {
            Some(false) => Ok(true),
            Some(true) => {
                let fault = format!("the audience `{key}` is dynamic: its members are those whose properties say so");
                Err(Invalid::new("key", fault).into())
            }
            None if create => match Audience::key_problem(key) {
                None => Ok(false),
                Some(fault) => Err(Invalid::new("key", fault).into()),
            },
            None => Err(Error::Missing(format!(
                "There is no audience `{key}` here. Declare it in a file, or create it with `create_audience=true`."
            ))),
        }
    }

    /// Those of these audiences that have been of the other type, in whatever environment: an audience keeps its type
    /// (W-AUD-14).
    pub async fn audiences_of_other_type(&self, audiences: &Audiences) -> Result<Vec<String>, store::Error> {
        let mut keys = BTreeSet::new();
        for environment in self.catalog.environments() {
            let known = self.store.audiences(environment.number).await?.into_iter();
            let differs = |known: &Known| {
                audiences.get(&known.key).is_some_and(|audience| audience.conditions().is_some() != known.is_dynamic)
            };
            keys.extend(known.filter(differs).map(|known| known.key));
        }
        Ok(keys.into_iter().collect())
    }

    /// Tells the store which audiences files declare, in every environment: before whoever adds members is told of them.
    pub async fn declare_audiences(&self, audiences: &Audiences) -> Result<(), store::Error> {
        let now = self.clock.now();
        for environment in self.catalog.environments() {
            let mut batch = Batch::new();
            for audience in audiences.all() {
                batch.ensure_audience(environment.number, &audience.key, audience.conditions().is_some(), now);
            }
            if !batch.is_empty() {
                self.store.apply(batch).await?;
            }
        }
        Ok(())
    }

    /// Tells the store which audiences files declare, and how; the members of those whose definition is new are found in
    /// the background, and none of them joins by it (W-AUD-02). One that is not declared any more has no definition: changes
    /// of users pass it by, so that its members are found anew when it comes back.
    pub async fn publish_audiences(&self) -> Result<(), store::Error> {
        let audiences = self.catalog.audiences();
        self.declare_audiences(&audiences).await?;
        for environment in self.catalog.environments() {
            let env = environment.number;
            for known in self.store.audiences(env).await? {
                match audiences.get(&known.key) {
                    Some(audience) => {
                        if let Members::Dynamic { segments, .. } = &audience.members
                            && known.version != audience.version.to_string()
                        {
                            let (audience, version, segments) = (known.key, audience.version, segments.clone());
                            self.populate(Progress { env, audience, version, segments, after: String::new() }).await?;
                        }
                    }
                    // Where the store is followed there are no files that could declare it.
                    None if known.version.is_empty() || self.catalog.follows_store() => {}
                    None => {
                        let mut change = Change::new();
                        change.batch.redefine_audience(env, &known.key, "");
                        self.redefine(change).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Has the members of a dynamic audience found by what says now who they are.
    async fn populate(&self, progress: Progress) -> Result<(), store::Error> {
        let mut change = Change::new();
        change.batch.redefine_audience(progress.env, &progress.audience, &progress.version.to_string());
        change.add_long_job(POPULATE_JOB, &Uuid::new_v4().to_string(), &progress.to_json(), self.clock.now());
        self.redefine(change).await
    }

    async fn redefine(&self, change: Change) -> Result<(), store::Error> {
        match self.commit(change).await {
            // Another node was first.
            Ok(_) | Err(store::Error::Refused(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Does a claimed job of finding the members of a dynamic audience.
    pub async fn work_on_populating(&self, job: &Job) -> Result<(), Failure> {
        let progress = job.progress.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let mut progress: Progress =
            progress.ok_or_else(|| Failure(format!("job {} does not say of which audience", job.id)))?;
        for _ in 0..CHUNKS_PER_CLAIM {
            if !self.populate_chunk(job, &mut progress).await? {
                return Ok(());
            }
        }
        self.hand_on(job).await
    }

    /// Looks at some users; whether there is more to do. Whoever has lost the claim is done.
    async fn populate_chunk(&self, job: &Job, progress: &mut Progress) -> Result<bool, Failure> {
        let (now, version) = (self.clock.now(), progress.version.to_string());
        let mut change = Change::new();
        let known = self.store.audience(progress.env, &progress.audience).await?;
        // For another definition there is another job.
        let next = match known.filter(|known| known.version == version) {
            Some(_) => self.sort_some(progress, &mut change).await?,
            None => None,
        };
        let further = next.map(|after| Progress { after, ..progress.clone() });
        let mut first = Change::new();
        match &further {
            Some(further) => first.batch.advance_job(job, &further.to_json(), now.plus_seconds(LEASE_SECONDS)),
            None => first.batch.finish_job(job),
        }
        first.append(change);
        match self.commit(first).await {
            Ok(_) => {}
            Err(store::Error::Refused(CLAIM)) => return Ok(false),
            // It is defined otherwise since it was looked at: look again.
            Err(store::Error::Refused(_)) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
        let is_more = further.is_some();
        further.into_iter().for_each(|further| *progress = further);
        Ok(is_more)
    }

    /// Adds who of the next users is a member; the last of them, if there may be more.
    async fn sort_some(&self, progress: &Progress, change: &mut Change) -> Result<Option<String>, Failure> {
        let (now, audience) = (self.clock.now(), progress.audience.as_str());
        let conditions = Group::parse_segments(&progress.segments, "segments");
        let conditions = conditions.map_err(|_| Failure("the audience's segments cannot be read".to_owned()))?;
        let users = self.store.users_after(progress.env, &progress.after, CHUNK).await?;
        let is_member = |user: &User| belongs(&conditions, &user.to_json(), now);
        let sorted: Vec<_> = users.iter().map(|user| (audience, user, is_member(user))).collect();
        // Another definition may come while this one is gone by.
        change.batch.require_definition(progress.env, audience, &progress.version.to_string());
        change.batch.sort_members(progress.env, &sorted, now);
        Ok(users.last().filter(|_| users.len() == CHUNK).map(|last| last.id.clone()))
    }
}

/// How far the search for members has come.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Progress {
    env: Env,
    audience: String,
    version: Uuid,
    /// Who is a member: whichever node goes on, it need not have the same files.
    segments: Value,
    /// The last user looked at.
    after: String,
}

impl Progress {
    fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}
