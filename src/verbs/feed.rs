//! Reads of a feed that both faces serve: items as JSON, pages, and what changed since a version.

use serde_json::Value;

use crate::model::channel::{Channel, Exposure, ResponseFilter};
use crate::model::feed::{Counts, Filter, Head, Mode};
use crate::model::message::Message;
use crate::model::recipient::missing_user;
use crate::store::feeds::{Changes, FeedPage};
use crate::store::{self, Env};
use crate::wire::cursor::{Cursor, List, Page, page_info_json};

use super::{Core, Error};

/// A page of a feed, ready to be sent.
#[derive(Debug)]
pub struct View {
    pub head: Head,
    pub counts: Counts,
    /// A JSON array of feed items.
    pub entries: String,
    /// A JSON object.
    pub page_info: String,
}

/// What changed in a feed, ready to be sent.
#[derive(Debug)]
pub struct Delta {
    /// A JSON array of whole feed items, new or changed.
    pub items: String,
    /// A JSON array of ids that are gone, or that have left the filters.
    pub removed: String,
}

impl View {
    /// What a reader sees of a page of at most `size` items, of the counts beside it, and of the head that was read
    /// before them; `reader` is the reader's own record, see [`items`].
    pub(crate) fn of(
        showing: Showing<'_>,
        head: Head,
        counts: Counts,
        page: &FeedPage,
        size: usize,
        reader: &str,
    ) -> View {
        let cursor = |message: Option<&Message>| message.map(|message| Cursor::Seq(message.seq).encode(List::Feed));
        let after = cursor(page.messages.last().filter(|_| page.has_older));
        let before = cursor(page.messages.first().filter(|_| page.has_newer));
        let page_info = page_info_json(after.as_deref(), before.as_deref(), size, None);
        View { head, counts, entries: items(showing, &page.messages, reader), page_info }
    }
}

impl Delta {
    /// What a reader with these filters sees of `changes`: an item that belongs to any of them is there. None when it must
    /// start anew.
    pub(crate) fn of(showing: Showing<'_>, filters: &[&Filter], changes: Changes, reader: &str) -> Option<Delta> {
        let Changes::Since { changed, removed } = changes else { return None };
        let is_shown = |message: &Message| filters.iter().any(|filter| filter.matches(message));
        let (kept, left): (Vec<_>, Vec<_>) = changed.into_iter().partition(is_shown);
        let left = left.iter().map(|message| (message.id.as_str(), message.tenant.as_deref()));
        let removed = removed.iter().map(|removal| (removal.id.as_str(), removal.tenant.as_deref()));
        // An item keeps its tenant: one of a tenant that the reader does not see was never shown, and is not named.
        let is_seen = |tenant: Option<&str>| filters.iter().any(|filter| filter.matches_tenant(tenant));
        let seen = left.chain(removed).filter(|(_, tenant)| is_seen(*tenant));
        let gone: Vec<&str> = seen.map(|(id, _)| id).collect();
        let removed = serde_json::to_string(&gone).unwrap_or_else(|_| "[]".to_owned());
        Some(Delta { items: items(showing, &kept, reader), removed })
    }
}

/// How items are to be shown.
#[derive(Debug, Clone, Copy)]
pub struct Showing<'a> {
    pub channel: &'a Channel,
    pub mode: Mode,
}

impl Core {
    /// One page of a feed with its counts (F-FED-04 to F-FED-08). A user nobody knows has an empty feed (F-FED-02).
    pub async fn feed(
        &self,
        env: Env,
        recipient: &str,
        showing: Showing<'_>,
        filter: &Filter,
        page: &Page,
    ) -> Result<View, Error> {
        let head = self.store.feed_head(env, &showing.channel.id.to_string(), recipient).await?;
        self.feed_from(head, env, recipient, showing, filter, page).await
    }

    /// The same where the head has just been read. It is read before the page: a count may then be older than an item,
    /// never an item than its count's version, and whoever resumes from this version hears of everything after it.
    pub async fn feed_from(
        &self,
        head: Head,
        env: Env,
        recipient: &str,
        showing: Showing<'_>,
        filter: &Filter,
        Page { size, at }: &Page,
    ) -> Result<View, Error> {
        let page = self.store.feed_page(&head, filter, at.as_ref(), *size).await?;
        let counts = self.store.feed_counts(&head, filter).await?;
        let reader = self.reader(env, recipient, showing.mode, !page.messages.is_empty()).await?;
        Ok(View::of(showing, head, counts, &page, *size, &reader))
    }

    /// What changed in a feed, as a reader with these filters sees it; none when it must start anew.
    pub async fn feed_delta(
        &self,
        env: Env,
        recipient: &str,
        showing: Showing<'_>,
        filters: &[&Filter],
        changes: Changes,
    ) -> Result<Option<Delta>, Error> {
        let shows_any = matches!(&changes, Changes::Since { changed, .. } if !changed.is_empty());
        let reader = self.reader(env, recipient, showing.mode, shows_any).await?;
        Ok(Delta::of(showing, filters, changes, &reader))
    }

    /// The reader's own record as JSON, for activities to embed: empty where none are shown.
    async fn reader(&self, env: Env, recipient: &str, mode: Mode, shows_any: bool) -> Result<String, store::Error> {
        if mode == Mode::Compact || !shows_any {
            return Ok(String::new());
        }
        let user = self.store.user(env, recipient).await?;
        Ok(user.map_or_else(|| missing_user(recipient, self.clock.now()), |user| user.to_json()).to_string())
    }

    /// The public variables as a feed of this channel shows them; none when the channel hides them (F-FED-04, F-FED-27).
    pub fn feed_vars(&self, env: Env, channel: &Channel) -> Option<Value> {
        let vars = self.catalog.environment(env).map(|environment| environment.settings.vars.clone());
        channel.response_filter.vars.apply(Value::Object(vars.unwrap_or_default()))
    }
}

/// Messages as a JSON array of feed items; `reader` is the reader's own record as JSON, which only [`Mode::Rich`] shows.
pub(crate) fn items(showing: Showing<'_>, messages: &[Message], reader: &str) -> String {
    let mut out = String::with_capacity(2 + messages.len() * 1_024);
    out.push('[');
    for (at, message) in messages.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        message.write_feed_item(&mut out, showing.mode, &Cursor::Seq(message.seq).encode(List::Feed), reader);
    }
    out.push(']');
    let filter = &showing.channel.response_filter;
    if *filter == ResponseFilter::default() { out } else { filtered(&out, filter) }
}

/// Items with what the channel hides left out (F-FED-27).
fn filtered(items: &str, filter: &ResponseFilter) -> String {
    let mut items: Vec<Value> = serde_json::from_str(items).unwrap_or_default();
    for item in &mut items {
        hide(item, "data", &filter.data);
        hide_each(item, "actors", &filter.actor);
        if let Some(Value::Array(activities)) = item.get_mut("activities") {
            for activity in activities {
                hide(activity, "data", &filter.data);
                hide(activity, "actor", &filter.actor);
                hide(activity, "recipient", &filter.recipient);
            }
        }
    }
    Value::Array(items).to_string()
}

fn hide(holder: &mut Value, name: &str, exposure: &Exposure) {
    let Some(map) = holder.as_object_mut() else { return };
    if let Some(value) = map.remove(name)
        && let Some(shown) = if value.is_null() { Some(value) } else { exposure.apply(value) }
    {
        map.insert(name.to_owned(), shown);
    }
}

fn hide_each(holder: &mut Value, name: &str, exposure: &Exposure) {
    let Some(map) = holder.as_object_mut() else { return };
    if let Some(Value::Array(values)) = map.remove(name) {
        let shown: Vec<Value> = values.into_iter().filter_map(|value| exposure.apply(value)).collect();
        if *exposure != Exposure::Nothing {
            map.insert(name.to_owned(), Value::Array(shown));
        }
    }
}
