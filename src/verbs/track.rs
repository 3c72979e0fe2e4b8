//! Track: that a recipient has followed a link of a message, or has opened it.

use serde_json::{Map, Value};

use crate::model::channel::ChannelKind;
use crate::model::mark::Mark;
use crate::model::time::Time;
use crate::sign::page_token::claimed_key;
use crate::sign::tracking::{SHORT, TrackedLink};
use crate::store::{self, Env};

use super::center::{Links, key_of};
use super::mark::Reach;
use super::{Change, Core, Error};

/// What the paths of links begin with.
pub const LINKS: &str = "/l/";
/// What those of short links begin with.
pub const SHORT_LINKS: &str = "/s/";
/// What those of pictures begin with.
pub const OPENINGS: &str = "/o/";

impl Links {
    /// The address that stands for a link of a message (F-TRK-04).
    pub fn tracked(&self, message: &str, url: &str) -> String {
        format!("{}{LINKS}{}", self.tracking.links, self.key.sign_link(message, url))
    }

    /// The short address that stands for a link of a message, which `change` adds (F-TRK-04).
    pub fn shortened(&self, env: Env, message: &str, url: &str, change: &mut Change, now: Time) -> String {
        let link = TrackedLink { message: message.to_owned(), url: url.to_owned() };
        let key = self.key.short_key(&link);
        change.batch.add_short_link(env, &key, &link, now);
        format!("{}{SHORT_LINKS}{key}", self.tracking.short_links)
    }

    /// A picture that nobody sees, whose loading tells that a message was opened (F-TRK-07).
    pub fn pixel(&self, message: &str) -> String {
        let (origin, token) = (&self.tracking.opens, self.key.sign_opening(message));
        format!("<img src=\"{origin}{OPENINGS}{token}\" width=\"1\" height=\"1\" alt=\"\">")
    }
}

impl Core {
    /// Where a link leads, and of which message it is; none if nobody here has made it.
    pub async fn tracked_link(&self, token: &str) -> Result<Option<(Env, TrackedLink)>, store::Error> {
        let Some(row) = self.signing_page_key(token).await? else { return Ok(None) };
        Ok(key_of(&row)?.verify_link(token).map(|link| (row.env, link)))
    }

    /// Where a short link leads, and of which message it is; none if nobody here has made it.
    pub async fn short_link(&self, key: &str) -> Result<Option<(Env, TrackedLink)>, store::Error> {
        if key.len() != SHORT {
            return Ok(None);
        }
        self.store.short_link(key).await
    }

    /// Of which message a picture is; none if nobody here has made it.
    pub async fn tracked_opening(&self, token: &str) -> Result<Option<(Env, String)>, store::Error> {
        let Some(row) = self.signing_page_key(token).await? else { return Ok(None) };
        Ok(key_of(&row)?.verify_opening(token).map(|message| (row.env, message)))
    }

    async fn signing_page_key(&self, token: &str) -> Result<Option<store::page_keys::PageKeyRow>, store::Error> {
        let Some(kid) = claimed_key(token) else { return Ok(None) };
        self.store.page_key(&kid).await
    }

    /// Records that a link was followed (F-TRK-05, F-STA-15). Of a message that is forgotten, nothing is (F-TRK-08).
    pub async fn record_click(&self, env: Env, link: &TrackedLink) -> Result<(), Error> {
        let ids = std::slice::from_ref(&link.message);
        let Some(message) = self.store.message(env, &link.message).await? else { return Ok(()) };
        let kind = self.catalog.channel(&message.channel).map(|channel| channel.kind);
        if matches!(kind, Some(ChannelKind::Sms | ChannelKind::Chat)) {
            // Nothing else tells there that it was read (D-AMB-10).
            self.mark(env, ids, Mark::Read, None, &Reach::default()).await?;
        }
        let data = Map::from_iter([("url".to_owned(), Value::from(link.url.as_str()))]);
        self.mark(env, ids, Mark::LinkClicked, Some(&data), &Reach::default()).await.map(drop)
    }

    /// Records that a message was opened (F-TRK-07).
    pub async fn record_opening(&self, env: Env, message: &str) -> Result<(), Error> {
        self.mark(env, &[message.to_owned()], Mark::Read, None, &Reach::default()).await.map(drop)
    }
}
