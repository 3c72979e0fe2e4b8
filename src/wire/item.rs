//! An item as it is told of in the moment it is added to a feed: spelled once, and spliced into whatever tells of it.

use std::ops::Range;
use std::sync::OnceLock;

use super::cursor::{Cursor, List};
use crate::model::feed::{Facts, Mode};
use crate::model::message::Message;
use crate::model::time::Time;

/// An item that was added to a feed.
#[derive(Debug)]
pub struct Item(Source);

#[derive(Debug)]
enum Source {
    /// On this node. It is only spelled when somebody is to be told of it.
    Added { message: Box<Message>, spelled: OnceLock<Spelled> },
    /// On another node, which spelled it.
    Heard(Spelled),
}

impl PartialEq for Item {
    /// They are the same if the same is told of them.
    fn eq(&self, other: &Self) -> bool {
        self.spelled() == other.spelled()
    }
}

/// What is told of an item, and what filters look at.
#[derive(Debug, Clone, PartialEq)]
pub struct Spelled {
    /// The item as a compact feed shows it, with nothing left out that its channel hides.
    pub json: String,
    /// Where in it its data and its categories stand.
    pub data: Range<usize>,
    pub categories: Range<usize>,
    pub workflow: String,
    pub tenant: Option<String>,
    pub inserted_at: Time,
}

impl Item {
    /// An item that this node has added.
    pub fn added(message: Box<Message>) -> Self {
        Item(Source::Added { message, spelled: OnceLock::new() })
    }

    /// An item that another node has added.
    pub fn heard(spelled: Spelled) -> Self {
        Item(Source::Heard(spelled))
    }

    /// The message, if it was added here.
    pub fn message(&self) -> Option<&Message> {
        match &self.0 {
            Source::Added { message, .. } => Some(message),
            Source::Heard(_) => None,
        }
    }

    /// What is told of it.
    pub fn spelled(&self) -> &Spelled {
        match &self.0 {
            Source::Added { message, spelled } => spelled.get_or_init(|| Spelled::of(message)),
            Source::Heard(spelled) => spelled,
        }
    }

    /// What filters look at. An item that was just added is neither seen nor read nor archived.
    pub fn facts(&self) -> Facts<'_> {
        match &self.0 {
            Source::Added { message, .. } => Facts::from(&**message),
            Source::Heard(spelled) => Facts {
                workflow: &spelled.workflow,
                tenant: spelled.tenant.as_deref(),
                inserted_at: spelled.inserted_at,
                categories: &spelled.json[spelled.categories.clone()],
                data: &spelled.json[spelled.data.clone()],
                is_seen: false,
                is_read: false,
                is_archived: false,
            },
        }
    }

    /// About how many bytes it takes, however it is kept.
    pub fn weight(&self) -> usize {
        match &self.0 {
            Source::Added { message, .. } => {
                let shown = message.slim_data.as_ref().unwrap_or(&message.data);
                [&message.categories, &message.blocks, &message.actors, shown].map(|text| text.len()).iter().sum()
            }
            Source::Heard(spelled) => spelled.json.len(),
        }
    }
}

impl Spelled {
    fn of(message: &Message) -> Spelled {
        let mut json = String::with_capacity(1_024);
        let cursor = Cursor::Seq(message.seq).encode(List::Feed);
        let places = message.write_feed_item(&mut json, Mode::Compact, &cursor, "");
        Spelled {
            json,
            data: places.data,
            categories: places.categories,
            workflow: message.workflow.clone(),
            tenant: message.tenant.clone(),
            inserted_at: message.inserted_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::feed::{Bounds, Filter};
    use crate::model::recipient::RecipientRef;

    fn message() -> Message {
        let at = Time::from_micros(1_790_000_000_000_000);
        Message {
            id: "m1".into(),
            env: 1,
            feed: Some(3),
            seq: 41,
            version: 41,
            channel: "c".into(),
            recipient: RecipientRef::User("ann".into()),
            tenant: Some("acme".into()),
            actor: None,
            workflow: "comment".into(),
            version_id: "v".into(),
            categories: r#"["ä","b"]"#.into(),
            step_ref: "s".into(),
            workflow_run: "w".into(),
            run: "r".into(),
            status: "delivered".into(),
            blocks: r#"[{"rendered":"<p>ä</p>"}]"#.into(),
            actors: "[]".into(),
            total_actors: 0,
            data: r#"{"n":1,"deep":{"x":2}}"#.into(),
            slim_data: Some(r#"{"n":1}"#.into()),
            activities: None,
            total_activities: 1,
            metadata: None,
            inserted_at: at,
            updated_at: at,
            scheduled_at: None,
            seen_at: None,
            read_at: None,
            interacted_at: None,
            link_clicked_at: None,
            archived_at: None,
        }
    }

    #[test]
    fn an_item_that_was_heard_of_is_told_and_filtered_as_where_it_was_added() {
        let added = Item::added(Box::new(message()));
        let heard = Item::heard(added.spelled().clone());
        let mut shown = String::new();
        message().write_feed_item(&mut shown, Mode::Compact, &Cursor::Seq(41).encode(List::Feed), "");
        assert_eq!(heard.spelled().json, shown);
        let (at, data) = (message().inserted_at, |value| json!({"n": value}).as_object().unwrap().clone());
        let filters = [
            (Filter::default(), true),
            (Filter { source: Some("comment".into()), ..Filter::default() }, true),
            (Filter { source: Some("other".into()), ..Filter::default() }, false),
            (Filter { categories: vec!["b".into()], ..Filter::default() }, true),
            (Filter { categories: vec!["c".into()], ..Filter::default() }, false),
            (Filter { tenant: Some("acme".into()), ..Filter::default() }, true),
            (Filter { has_tenant: Some(false), ..Filter::default() }, false),
            (Filter { trigger_data: data(1), ..Filter::default() }, true),
            (Filter { trigger_data: data(2), ..Filter::default() }, false),
            (Filter { inserted_at: Bounds { gte: Some(at), ..Bounds::default() }, ..Filter::default() }, true),
            (Filter { inserted_at: Bounds { gt: Some(at), ..Bounds::default() }, ..Filter::default() }, false),
        ];
        for (filter, expected) in filters {
            assert_eq!(
                (filter.matches(added.facts()), filter.matches(heard.facts())),
                (expected, expected),
                "{filter:?}"
            );
        }
    }
}
