//! Answers to the rest of the pipeline, from the registry itself.

use async_trait::async_trait;
use domain::{ChannelId, ChannelProfile, Grant, KeyDigest};
use service::authority::{Authority, AuthorityError, ReadDenied};
use service::clock;

use crate::ControlPlane;
use crate::access::Action;
use crate::caller::NoCaller;
use crate::registry::RegistryError;

#[async_trait]
impl Authority for ControlPlane {
    async fn grant(&self, key: &KeyDigest, channel: ChannelId) -> Result<Option<Grant>, AuthorityError> {
        Ok(self.registry().grant(key, channel, clock::unix_micros()).await.map_err(unavailable)?)
    }

    async fn user_read(&self, bearer_token: &str, channel: ChannelId) -> Result<ChannelProfile, ReadDenied> {
        let caller = self.caller(bearer_token).await.map_err(|error| match error {
            NoCaller::InvalidToken => ReadDenied::InvalidToken,
            NoCaller::Registry(error) => unavailable(error).into(),
        })?;
        let found = self.registry().channel(channel).await.map_err(unavailable)?;
        let channel = found.ok_or(ReadDenied::UnknownChannel)?;
        // Reading an entity and being refused it look the same: there is nothing less than reading.
        let decision = self.rights(&caller, &channel).await.map_err(unavailable)?.decide(Action::Read);
        decision.map(|()| channel.profile).map_err(|_| ReadDenied::UnknownChannel)
    }
}

impl ControlPlane {
    /// What [`Authority::grant`] answers to each of the questions, in their order: for who has many at once.
    ///
    /// # Errors
    /// [`AuthorityError`] if the registry can't be asked.
    pub async fn grants(
        &self,
        questions: &[(KeyDigest, ChannelId)],
    ) -> Result<Vec<Option<Grant>>, AuthorityError> {
        self.registry().grants(questions, clock::unix_micros()).await.map_err(unavailable)
    }
}

fn unavailable(error: RegistryError) -> AuthorityError {
    AuthorityError(Box::new(error))
}
