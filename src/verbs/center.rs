//! The preference centre: links to it, whom they are about, and what is chosen on it.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::model::environment::{Environment, Tracking};
use crate::model::recipient::{RecipientRef, User};
use crate::rules::choice::{Choice, Stand};
use crate::rules::preference::{DEFAULT, PERSISTENCE};
use crate::sign::page_token::{Holder, PageKey, Purpose, claimed_key};
use crate::store::page_keys::PageKeyRow;
use crate::store::{self, Env};
use crate::wire::json::deep_merge_maps;

use super::prefer::Write;
use super::{Change, Core, Error};

/// What the paths of pages begin with.
pub const PAGES: &str = "/p/";
/// What follows the token in that of a page that ends commercial messages.
pub const UNSUBSCRIBE: &str = "/unsubscribe";

/// The path of a page.
pub fn path(purpose: Purpose, token: &str) -> String {
    match purpose {
        Purpose::Preferences => format!("{PAGES}{token}"),
        Purpose::Unsubscribe => format!("{PAGES}{token}{UNSUBSCRIBE}"),
    }
}

/// What makes links to pages of an environment's users.
pub struct Links {
    origin: String,
    pub(super) tracking: Tracking,
    pub(super) key: PageKey,
}

impl Links {
    /// The link to a page of a user.
    pub fn to(&self, purpose: Purpose, user: &User) -> String {
        format!("{}{}", self.origin, path(purpose, &self.key.sign(purpose, &Holder::of(user))))
    }
}

/// Whom a page is about.
#[derive(Debug, Clone)]
pub struct Reader {
    pub environment: Arc<Environment>,
    pub user: User,
}

/// What was chosen on a page: the switches that were on when it was shown, and those that are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chosen {
    pub shown_on: BTreeSet<String>,
    pub on: BTreeSet<String>,
}

impl Core {
    /// A token that opens a page of a user for good (F-PCC-05); refused if there is no such user (F-AMB-63).
    pub async fn page_token(&self, env: Env, user: &str, purpose: Purpose) -> Result<String, Error> {
        let found = self.store.user(env, user).await?;
        let found = found.ok_or_else(|| Error::Missing(format!("There is no user `{user}`.")))?;
        let key = self.page_key(env).await?;
        Ok(key.sign(purpose, &Holder::of(&found)))
    }

    /// Whom a page token is about; none if it is no good, or if they have gone.
    pub async fn read_page_token(&self, token: &str, purpose: Purpose) -> Result<Option<Reader>, store::Error> {
        let Some(kid) = claimed_key(token) else { return Ok(None) };
        let Some(row) = self.store.page_key(&kid).await? else { return Ok(None) };
        let holder = key_of(&row)?.verify(purpose, token);
        let (Some(holder), Some(environment)) = (holder, self.catalog.environment(row.env)) else { return Ok(None) };
        let user = self.store.user(row.env, &holder.user).await?.filter(|user| user.inserted_at == holder.since);
        Ok(user.map(|user| Reader { environment: environment.clone(), user }))
    }

    /// What makes links to pages, of a server that is reached at all.
    pub async fn links(&self, env: Env) -> Result<Option<Links>, store::Error> {
        let Some(origin) = self.catalog.origin() else { return Ok(None) };
        let environment = self.catalog.environment(env);
        let mut tracking = environment.map(|environment| environment.settings.tracking.clone()).unwrap_or_default();
        for address in [&mut tracking.links, &mut tracking.short_links, &mut tracking.opens]
            .into_iter()
            .filter(|address| address.is_empty())
        {
            origin.clone_into(address);
        }
        Ok(Some(Links { origin: origin.to_owned(), tracking, key: self.page_key(env).await? }))
    }

    /// What signs the environment's page tokens; made when it is first needed.
    async fn page_key(&self, env: Env) -> Result<PageKey, store::Error> {
        if let Some(row) = self.store.newest_page_key(env).await? {
            return key_of(&row);
        }
        let key = PageKey::generate().map_err(|fault| store::Error::Unavailable(fault.message))?;
        let mut change = Change::new();
        let (kid, material) = (key.kid.clone(), key.material());
        change.batch.add_page_key(&PageKeyRow { kid, env, material, created_at: self.clock.now(), retired_at: None });
        self.commit(change).await?;
        Ok(key)
    }

    /// Puts into a user's default set what was switched on a page, and leaves alone what was not (F-PCC-06).
    pub async fn choose(&self, reader: &Reader, choices: &[Choice<'_>], chosen: &Chosen) -> Result<(), Error> {
        let env = reader.environment.number;
        let recipient = RecipientRef::User(reader.user.id.clone());
        let set = self.preferences(env, &recipient, DEFAULT, None).await?.to_json();
        let lowest = reader.environment.settings.preferences.as_ref();
        let mut said = Map::new();
        for choice in choices {
            let id = choice.id();
            let is_on = chosen.on.contains(&id);
            if is_on != chosen.shown_on.contains(&id) && choice.stand(&set, lowest) != Stand::Fixed {
                deep_merge_maps(&mut said, choice.switched(&set, is_on));
            }
        }
        self.say(env, &recipient, said).await
    }

    /// Says for a user whether commercial messages are wanted (F-PCC-10).
    pub async fn subscribe_to_commercial(&self, reader: &Reader, is_wanted: bool) -> Result<(), Error> {
        let said = Map::from_iter([("commercial_subscribed".to_owned(), Value::Bool(is_wanted))]);
        self.say(reader.environment.number, &RecipientRef::User(reader.user.id.clone()), said).await
    }

    async fn say(&self, env: Env, recipient: &RecipientRef, mut said: Map<String, Value>) -> Result<(), Error> {
        if said.is_empty() {
            return Ok(());
        }
        said.insert(PERSISTENCE.to_owned(), "merge".into());
        let write = Write::set(said).map_err(Error::Invalid)?;
        self.prefer(env, recipient, DEFAULT, &write).await?;
        Ok(())
    }
}

pub(super) fn key_of(row: &PageKeyRow) -> Result<PageKey, store::Error> {
    let damaged = || store::Error::Damaged(format!("page key `{}` cannot be read", row.kid));
    PageKey::read(&row.kid, &row.material).ok_or_else(damaged)
}
