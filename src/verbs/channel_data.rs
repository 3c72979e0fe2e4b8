//! Channel data: where a channel reaches a recipient; read, replaced and taken away, one channel at a time.

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::model::channel::{Channel, ChannelKind};
use crate::model::channel_data::Shape;
use crate::model::invalid::{Invalid, join};
use crate::model::recipient::RecipientRef;
use crate::store::Env;

use super::identify::Profile;
use super::staged::{Stage, Staged};
use super::{Catalog, Change, Core, Error};

impl Catalog {
    /// The channel of that id, with what data it takes; refused if there is none, if it is not configured in the environment,
    /// or if nobody needs data to be reached over it (F-CHD-05).
    pub fn data_channel(&self, env: Env, id: &str) -> Result<(&Channel, Shape), Error> {
        let unknown = || Error::ChannelInvalid(format!("There is no channel `{id}` on this server."));
        let channel = self.channel(id).ok_or_else(unknown)?;
        let Some(shape) = Shape::of(channel) else {
            let message = match channel.kind {
                ChannelKind::Email | ChannelKind::Sms => "it sends to the address in the recipient's properties",
                _ => "the server is its own provider",
            };
            let key = &channel.key;
            return Err(Error::ChannelInvalid(format!("The channel `{key}` takes no channel data: {message}.")));
        };
        let environment = self.environment(env);
        if environment.is_none_or(|environment| !environment.settings.channels.contains_key(&channel.key)) {
            let key = &channel.key;
            return Err(Error::ChannelInvalid(format!("The channel `{key}` is not configured in this environment.")));
        }
        Ok((channel, shape))
    }

    /// Channel data as somebody writes it, by the channels' usual ids; refused if any of it is not what its channel takes
    /// (F-USR-09).
    pub(super) fn sound_channel_data(
        &self,
        env: Env,
        given: &Map<String, Value>,
        path: &str,
    ) -> Result<Vec<(String, Value)>, Error> {
        let (mut sound, mut faults) = (Vec::new(), Vec::new());
        for (id, data) in given {
            let (channel, shape) = self.data_channel(env, id)?;
            let path = join(&join(path, "channel_data"), id);
            match data {
                Value::Object(members) => faults.extend(shape.check(members, &path)),
                _ => faults.push(Invalid::new(path, "must be an object")),
            }
            sound.push((channel.id.to_string(), data.clone()));
        }
        if faults.is_empty() { Ok(sound) } else { Err(Error::Invalid(faults)) }
    }
}

/// A recipient for whom channel data replaces what was there.
struct Reached<'a> {
    reference: &'a RecipientRef,
    profile: Profile,
}

impl Stage for Reached<'_> {
    async fn stage(&self, staged: &mut Staged<'_>) -> Result<(), Error> {
        staged.merge(self.reference, &self.profile, false, "").await
    }
}

impl Core {
    /// Where a channel reaches a recipient, as it is read; none where nothing was ever said (F-CHD-04).
    pub async fn channel_data(
        &self,
        env: Env,
        recipient: &RecipientRef,
        channel: &str,
    ) -> Result<Option<Value>, Error> {
        let (channel, shape) = self.catalog.data_channel(env, channel)?;
        let stored = self.store.channel_data_of(env, &recipient.key(), &channel.id.to_string()).await?;
        Ok(stored.map(|data| shape.shown(&data)))
    }

    /// Replaces where a channel reaches a recipient, who is created if they are not there (F-CHD-01, F-CHD-02); the data as
    /// it is read from then on.
    pub async fn set_channel_data(
        &self,
        env: Env,
        recipient: &RecipientRef,
        channel: &str,
        data: &Map<String, Value>,
    ) -> Result<Value, Error> {
        let (channel, shape) = self.catalog.data_channel(env, channel)?;
        let faults = shape.check(data, "data");
        if !faults.is_empty() {
            return Err(Error::Invalid(faults));
        }
        let data = Value::Object(data.clone());
        let channel_data = Map::from_iter([(channel.id.to_string(), data.clone())]);
        let reached = Reached { reference: recipient, profile: Profile { channel_data, ..Profile::default() } };
        self.change_recipient(env, &recipient.key(), &reached).await?;
        Ok(shape.shown(&data))
    }

    /// Takes away what a channel knows of a recipient; nothing happens where it knows nothing (F-AMB-27).
    pub async fn unset_channel_data(&self, env: Env, recipient: &RecipientRef, channel: &str) -> Result<(), Error> {
        let key = recipient.key();
        if !self.store.recipients(env, std::slice::from_ref(&key)).await?.contains_key(&key) {
            return Err(Error::Missing(match recipient {
                RecipientRef::User(id) => format!("There is no user `{id}`."),
                RecipientRef::Object { .. } => format!("There is no object `{recipient}`."),
            }));
        }
        // Of a channel that is not configured any more, data may still be there.
        let Some(channel) = Uuid::try_parse(channel).ok().map(|id| id.to_string()) else { return Ok(()) };
        let _turn = self.turns.take(env, [key.clone()]).await;
        if self.store.channel_data_of(env, &key, &channel).await?.is_none() {
            return Ok(());
        }
        let mut change = Change::new();
        change.batch.delete_channel_data(env, &key, &channel);
        change.signal_update(env, recipient, self.clock.now());
        self.commit(change).await?;
        Ok(())
    }
}
