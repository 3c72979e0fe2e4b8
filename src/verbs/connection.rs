//! Connection: what a channel's provider lets us do in somebody's name, kept with the object that stands for them.

use serde_json::{Map, Value};

use crate::model::channel::Channel;
use crate::model::provider_app::App;
use crate::model::recipient::RecipientRef;
use crate::store::Env;

use super::identify::Profile;
use super::staged::{Stage, Staged};
use super::{Catalog, Core, Error};

impl Catalog {
    /// The channel of that id, and the app through which it acts in the environment; refused where `pick` finds that it is
    /// none of the provider's that is meant.
    pub fn app_channel<A>(&self, env: Env, id: &str, pick: fn(&App) -> Option<&A>) -> Result<(&Channel, &A), Error> {
        let (channel, _) = self.data_channel(env, id)?;
        let setup = self.environment(env).and_then(|environment| environment.settings.channels.get(&channel.key));
        let app = setup.and_then(|setup| setup.app.as_ref()).and_then(pick);
        let Some(app) = app else {
            let (key, provider) = (&channel.key, &channel.provider);
            let message = format!("The channel `{key}` is of the provider `{provider}`, which is not meant here.");
            return Err(Error::ChannelInvalid(message));
        };
        Ok((channel, app))
    }
}

/// A recipient of whose data of a channel a part is written anew.
struct Amended<'a, W> {
    reference: &'a RecipientRef,
    channel: &'a Channel,
    write: W,
}

impl<W: Fn(Map<String, Value>) -> Option<Map<String, Value>> + Sync> Stage for Amended<'_, W> {
    async fn stage(&self, staged: &mut Staged<'_>) -> Result<(), Error> {
        let channel = self.channel.id.to_string();
        let stored = staged.stored_channel_data(self.reference, &channel).await?;
        let stored = if let Some(Value::Object(members)) = stored { members } else { Map::new() };
        let Some(written) = (self.write)(stored) else { return Ok(()) };
        let channel_data = Map::from_iter([(channel, Value::Object(written))]);
        let profile = Profile { channel_data, ..Profile::default() };
        staged.merge(self.reference, &profile, false, "").await
    }
}

impl Core {
    /// Makes of a recipient's data of a channel what `write` makes of it, which is asked again if somebody else has changed
    /// the recipient meanwhile; the recipient is created if they are not there. Nothing happens where it makes nothing.
    pub async fn amend_channel_data(
        &self,
        env: Env,
        reference: &RecipientRef,
        channel: &Channel,
        write: impl Fn(Map<String, Value>) -> Option<Map<String, Value>> + Sync,
    ) -> Result<(), Error> {
        let amended = Amended { reference, channel, write };
        self.change_recipient(env, &reference.key(), &amended).await
    }
}
