//! A store that is full: rows of everything there are lists of, written by the store's own code.

use std::sync::Arc;

use bellwire::model::ids::Ksuid;
use bellwire::model::mark::Mark;
use bellwire::model::message::Message;
use bellwire::model::recipient::{Object, RecipientRef, TENANTS, User};
use bellwire::model::run::{EventStatus, Run, RunEvent, RunStatus};
use bellwire::model::schedule::{Schedule, Timing};
use bellwire::model::time::Time;
use bellwire::model::trigger_data::TriggerData;
use bellwire::store::batches::{Gathering, NewActivity, OpenBatch};
use bellwire::store::feeds::Still;
use bellwire::store::{Batch, Env, Error, Store};
use bellwire::wire::json::Patch;
use serde_json::{Map, Value, json};

/// Every so many messages one is of a kind of its own: to one user, in one tenant, of one trigger, and so on.
pub(crate) const KINDS: u32 = 16;
/// Every so many messages one is of a kind that is rare.
pub(crate) const RARE: u32 = 10_000;
/// Between rows of a list and the next, in microseconds.
pub(crate) const STEP: i64 = 10;
/// Rows that are written at once.
const CHUNK: u32 = 2_000;
/// The collection, the audience and the version that rows name.
pub(crate) const COLLECTION: &str = "projects";
pub(crate) const AUDIENCE: &str = "crowd";
const VERSION: &str = "01935f7e-8f4c-7d2b-a1a0-51cd7a70d2ab";
const BLOCKS: &str = r#"[{"content":"Build **{{ data.build }}** finished","name":"body","rendered":"<p>Build <strong>finished</strong>: every test passed, the package is ready to be tried</p>","type":"markdown"},{"content":"/builds/1","name":"action_url","rendered":"/builds/1","type":"text"}]"#;

/// How much there is.
#[derive(Debug, Clone)]
pub(crate) struct Sizes {
    pub(crate) messages: u32,
    pub(crate) users: u32,
    /// Rows of everything else.
    pub(crate) others: u32,
}

/// Where rows go, and when the oldest was written.
#[derive(Clone)]
pub(crate) struct Full<'a> {
    pub(crate) store: &'a Store,
    pub(crate) env: Env,
    /// The ids of two feed channels.
    pub(crate) channels: [&'a str; 2],
    pub(crate) workflow: &'a str,
    pub(crate) begin: Time,
    pub(crate) sizes: Sizes,
}

/// A number that looks like none in particular, the same for the same `n`.
fn scattered(n: u64) -> u64 {
    let n = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// A UUID that looks like any other, the same for the same `n`.
fn uuid(n: u64) -> String {
    let (a, b) = (scattered(n), scattered(n ^ u64::MAX));
    let (third, fourth, last) = (a & 0xfff, 0x8000 | b >> 50, b & 0xffff_ffff_ffff);
    format!("{:08x}-{:04x}-4{third:03x}-{fourth:04x}-{last:012x}", a >> 32, a >> 16 & 0xffff)
}

/// The id of the user with this number.
pub(crate) fn user(n: u32) -> String {
    format!("u{n}")
}

/// The id of the trigger of every [`KINDS`]-th message.
pub(crate) fn large_trigger() -> String {
    uuid(u64::MAX / 3)
}

/// The id of message `n`'s run. Every eighth is kept.
pub(crate) fn run_of(n: u32) -> String {
    uuid(u64::from(n) << 1)
}

fn of_key(key: &str) -> RecipientRef {
    RecipientRef::from_key(key)
}

fn object(id: &str) -> RecipientRef {
    RecipientRef::Object { collection: COLLECTION.to_owned(), id: id.to_owned() }
}

impl Full<'_> {
    /// Writes everything; `told` hears what is written, and how far that is.
    pub(crate) async fn fill(&self, mut told: impl FnMut(&'static str, u32, u32)) -> Result<(), Error> {
        let Sizes { messages, users, others } = self.sizes;
        self.rows("users", users, &mut told, |batch, n| self.add_user(batch, n)).await?;
        self.rows("objects", others, &mut told, |batch, n| self.add_objects(batch, n)).await?;
        self.rows("messages", messages, &mut told, |batch, n| self.add_message(batch, n)).await?;
        self.rows("subscriptions", others, &mut told, |batch, n| self.subscribe(batch, n)).await?;
        self.rows("schedules", others, &mut told, |batch, n| self.add_schedules(batch, n)).await?;
        self.add_members(others).await?;
        self.gather(others, &mut told).await?;
        self.mark().await
    }

    async fn rows(
        &self,
        what: &'static str,
        many: u32,
        told: &mut impl FnMut(&'static str, u32, u32),
        add: impl Fn(&mut Batch, u32),
    ) -> Result<(), Error> {
        for first in (0..many).step_by(CHUNK as usize) {
            told(what, first, many);
            let mut batch = Batch::new();
            (first..many.min(first + CHUNK)).for_each(|n| add(&mut batch, n));
            self.store.apply(batch).await?;
        }
        Ok(())
    }

    /// When the `n`-th row of a list was written.
    pub(crate) fn at(&self, n: u32) -> Time {
        self.begin.plus_micros(i64::from(n) * STEP)
    }

    /// The id of message `n`.
    pub(crate) fn message_id(&self, n: u32) -> String {
        Ksuid::mint(self.at(n), &[&n.to_be_bytes()]).to_string()
    }

    /// A user, who wants no e-mail.
    fn add_user(&self, batch: &mut Batch, n: u32) {
        let at = self.at(n);
        let properties = json!({"name": format!("User {n}"), "email": format!("u{n}@example.com")});
        let properties = properties.as_object().cloned().unwrap_or_default();
        batch.put_user(self.env, &User { id: user(n), properties, inserted_at: at, updated_at: at }, None);
        let set = json!({"channel_types": {"email": false}});
        batch.put_preference_set(self.env, &user(n), "default", &set, None, at);
    }

    /// An object, and a tenant.
    fn add_objects(&self, batch: &mut Batch, n: u32) {
        let at = self.at(n);
        for (collection, id) in [(COLLECTION, format!("p{n}")), (TENANTS, format!("t{n}"))] {
            let properties = Map::from_iter([("name".to_owned(), Value::from("Branch"))]);
            let collection = collection.to_owned();
            batch.put_object(self.env, &Object { collection, id, properties, inserted_at: at, updated_at: at }, None);
        }
    }

    /// A message, with its run if it is one of every eighth.
    fn add_message(&self, batch: &mut Batch, n: u32) {
        let (at, kind, is_rare) = (self.at(n), n % KINDS, n % RARE == RARE / 2);
        let one_of = |many: u32| u32::try_from(scattered(n.into()) % u64::from(many.max(1))).unwrap_or_default();
        let recipient = match kind {
            0 => of_key("u0"),
            1 => object("p0"),
            _ => of_key(&user(1 + one_of(self.sizes.users - 1))),
        };
        let tenant = match kind {
            3 => Some("t0".to_owned()),
            _ => (n % 2 == 1).then(|| format!("t{}", 1 + one_of(1_000))),
        };
        let workflow = match kind {
            _ if is_rare => "rare".to_owned(),
            5 => "other".to_owned(),
            _ => self.workflow.to_owned(),
        };
        let workflow_run = if kind == 2 { large_trigger() } else { uuid(u64::from(n) << 1 | 1) };
        let status = match kind {
            _ if is_rare => "bounced",
            4 => "undelivered",
            _ => "delivered",
        };
        let message = Message {
            tenant: tenant.clone(),
            workflow: workflow.clone(),
            version_id: VERSION.to_owned(),
            categories: if kind == 7 { r#"["offers"]"#.into() } else { "[]".into() },
            step_ref: "in_app_feed_1".to_owned(),
            workflow_run: workflow_run.clone(),
            run: run_of(n),
            status: status.to_owned(),
            blocks: BLOCKS.into(),
            data: format!(r#"{{"build":{n},"branch":"{}"}}"#, if kind == 8 { "main" } else { "else" }).into(),
            batch: (n == 0).then(|| "gathered".to_owned()),
            ..Message::new(
                self.message_id(n),
                self.env,
                self.channels[usize::from(kind == 6)].to_owned(),
                recipient.clone(),
                at,
            )
        };
        if n.is_multiple_of(8) {
            let (Ok(id), Ok(workflow_run), Ok(version_id)) = (run_of(n).parse(), workflow_run.parse(), VERSION.parse())
            else {
                return;
            };
            let mut events = vec![RunEvent::new(run_of(n).as_bytes(), b"begun", at, "run_started")];
            if n % 128 == 8 {
                let failed = RunEvent::new(run_of(n).as_bytes(), b"failed", at, "step_failed");
                events.push(RunEvent { status: EventStatus::Error, ..failed });
            }
            batch.add_run(&Run {
                id,
                env: self.env,
                rev: 1,
                workflow_run,
                workflow,
                version_id,
                status: if is_rare || n % 128 == 16 { RunStatus::Cancelled } else { RunStatus::Completed },
                recipient,
                actor: None,
                tenant,
                cancellation_key: None,
                source: Default::default(),
                settings: Default::default(),
                data: Arc::new(TriggerData::new(Map::new())),
                state: Default::default(),
                events,
                inserted_at: at,
                updated_at: at,
            });
        }
        // What failed was for no feed.
        match status {
            "delivered" => _ = batch.add_to_feed(&message),
            _ => batch.add_message(&message),
        }
    }

    /// Somebody follows the first object, and the first user follows something.
    fn subscribe(&self, batch: &mut Batch, n: u32) {
        let at = self.at(n);
        batch.subscribe(self.env, &object("p0").key(), &user(n), &Patch::Absent, at);
        batch.subscribe(self.env, &object(&format!("p{}", n + 1)).key(), "u0", &Patch::Absent, at);
    }

    /// One of the first user's, one of the first object's, and one of somebody else's.
    fn add_schedules(&self, batch: &mut Batch, n: u32) {
        for (part, recipient) in [(0, of_key("u0")), (1, object("p0")), (2, of_key(&user(n)))] {
            let Ok(id) = uuid(u64::from(n) << 4 | 8 | part).parse() else { return };
            let at = self.at(n);
            batch.add_schedule(&Schedule {
                id,
                env: self.env,
                rev: 1,
                workflow: self.workflow.to_owned(),
                recipient,
                actor: None,
                tenant: n.is_multiple_of(2).then(|| "t0".to_owned()),
                cancellation_key: None,
                data: Arc::new(TriggerData::new(Map::new())),
                timing: Timing { scheduled_at: Some(at), ..Timing::default() },
                last_occurrence_at: None,
                next_occurrence_at: None,
                inserted_at: at,
                updated_at: at,
            });
        }
    }

    async fn add_members(&self, many: u32) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch.ensure_audience(self.env, AUDIENCE, false, self.begin);
        for n in 0..many {
            let slot = bellwire::store::audiences::Slot { audience: AUDIENCE.to_owned(), user: user(n), tenant: None };
            batch.add_member(self.env, &slot, self.at(n));
        }
        self.store.apply(batch).await.map(drop)
    }

    /// What came together in the first message.
    async fn gather(&self, many: u32, told: &mut impl FnMut(&'static str, u32, u32)) -> Result<(), Error> {
        let activity = |n: u32| NewActivity {
            env: self.env,
            batch: "gathered".to_owned(),
            workflow: self.workflow.to_owned(),
            run: run_of(n * 8),
            cancellation_key: None,
            actor: None,
            data: format!(r#"{{"build":{n}}}"#).into(),
            told: None,
            now: self.at(n),
        };
        let recipient = "u0".to_owned();
        let gathering =
            Gathering { recipient, workflow: self.workflow.to_owned(), identity: "b".into(), key: "".into() };
        let until = self.at(many).plus_seconds(1);
        let batch =
            OpenBatch { id: "gathered".to_owned(), is_carried: true, closes_at: until, cap_at: until, items_max: None };
        let mut open = Batch::new();
        open.open_batch(self.env, &gathering, &batch, Some(&activity(0)), self.begin);
        self.store.apply(open).await?;
        self.rows("activities", many - 1, told, |batch, n| batch.join_batch(&activity(n + 1), false, None)).await
    }

    /// The first user has seen everything, and has put away a little of it.
    async fn mark(&self) -> Result<(), Error> {
        let head = self.store.feed_head(self.env, self.channels[0], "u0").await?;
        let ids: Vec<String> = (0..self.sizes.messages).step_by(KINDS as usize).map(|n| self.message_id(n)).collect();
        let now = self.at(self.sizes.messages);
        let few: Vec<String> = ids.iter().step_by(8).cloned().collect();
        for (ids, mark) in [(&ids, Mark::Seen), (&few, Mark::Archived)] {
            for ids in ids.chunks(CHUNK as usize) {
                let mut batch = Batch::new();
                batch.mark_in_feed(head.id, ids, Still::default(), mark, None, now);
                self.store.apply(batch).await?;
            }
        }
        Ok(())
    }
}
