//! Questions and answers as they travel: the JSON of the internal listener.
//!
//! Fields may be added; what an older process does not know of them it passes over. A value that it can't understand is no
//! answer to it.

use std::str::FromStr;

use domain::{ChannelId, ChannelProfile, Grant, KeyDigest, Retention, ThingId};
use serde::{Deserialize, Serialize};

/// Asks what things may do: [`GrantsRequest`], answered by [`GrantsAnswer`].
pub const GRANTS: &str = "/grants";
/// Asks whether a user may read a channel: [`UserReadRequest`], answered by [`UserReadAnswer`].
pub const USER_READ: &str = "/user-read";
/// The routes of the internal listener.
pub const ROUTES: &[&str] = &[GRANTS, USER_READ];

/// The code of a 503 that says: ask again, there was only too much to do.
pub const BUSY: &str = "busy";

/// Questions in one request: read in one or two statements, and answered within milliseconds.
pub const QUESTIONS_MAX: usize = 1_000;
/// Bytes of a request's or an answer's body. A question takes 110, an answer less.
pub const BODY_BYTES_MAX: usize = 256 << 10;

/// `POST /grants`.
#[derive(Debug, Serialize, Deserialize)]
pub struct GrantsRequest {
    /// At most [`QUESTIONS_MAX`].
    pub questions: Vec<Question>,
}

/// What may the thing with this key do on this channel?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Question {
    /// SHA-256 of the key, in base64url.
    #[serde(with = "digest")]
    pub key: KeyDigest,
    /// The channel.
    pub channel: ChannelId,
}

/// The answers, in the order of the questions.
#[derive(Debug, Serialize, Deserialize)]
pub struct GrantsAnswer {
    /// `null`: no thing has this key.
    pub grants: Vec<Option<Granted>>,
}

/// What a known thing may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// Whose key it is.
    pub thing: ThingId,
    /// The channel, if the thing is connected to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<Profile>,
}

/// A channel's profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// As the API writes it: `5m`, `1h`, `1d`.
    pub bucket_width: String,
    /// As the API writes a retention: `7d`, `90d`, `400d`; for ever where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// The same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<String>,
}

/// `POST /user-read`.
#[derive(Serialize, Deserialize)]
pub struct UserReadRequest {
    /// The user's login token.
    pub token: String,
    /// What is to be read.
    pub channel: ChannelId,
}

/// A token is a secret.
impl std::fmt::Debug for UserReadRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserReadRequest").field("channel", &self.channel).finish_non_exhaustive()
    }
}

/// Whether a user may read a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserReadAnswer {
    /// Yes.
    Profile(Profile),
    /// The token is not valid, or no longer.
    InvalidToken,
    /// There is no such channel, or none that the user may know of.
    UnknownChannel,
}

/// A newer control plane knows more widths or retentions than this process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the control plane says something of a channel that this version does not know: {0:?}")]
pub struct UnknownAnswer(String);

impl From<ChannelProfile> for Profile {
    fn from(profile: ChannelProfile) -> Self {
        let text = |retention: Retention| (retention != Retention::Forever).then(|| retention.to_string());
        Self {
            bucket_width: profile.bucket_width.to_string(),
            storage_class: text(profile.storage_class),
            retention: text(profile.retention),
        }
    }
}

impl TryFrom<Profile> for ChannelProfile {
    type Error = UnknownAnswer;

    fn try_from(profile: Profile) -> Result<Self, UnknownAnswer> {
        let retention = |text: Option<String>| text.map_or(Ok(Retention::Forever), known);
        Ok(Self {
            bucket_width: known(profile.bucket_width)?,
            storage_class: retention(profile.storage_class)?,
            retention: retention(profile.retention)?,
        })
    }
}

fn known<T: FromStr>(text: String) -> Result<T, UnknownAnswer> {
    text.parse().map_err(|_| UnknownAnswer(text))
}

impl From<Grant> for Granted {
    fn from(Grant { thing, connection }: Grant) -> Self {
        Self { thing, connection: connection.map(Profile::from) }
    }
}

impl TryFrom<Granted> for Grant {
    type Error = UnknownAnswer;

    fn try_from(Granted { thing, connection }: Granted) -> Result<Self, UnknownAnswer> {
        Ok(Self { thing, connection: connection.map(ChannelProfile::try_from).transpose()? })
    }
}

mod digest {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use domain::KeyDigest;
    use serde::de::{Deserialize as _, Deserializer, Error as _};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(key: &KeyDigest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(key.as_bytes()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<KeyDigest, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        match URL_SAFE_NO_PAD.decode_slice(&*text, &mut bytes) {
            Ok(32) => Ok(KeyDigest::from_bytes(bytes)),
            // What was there may be a digest, and is not repeated.
            _ => Err(D::Error::custom("a key is not 32 bytes in base64url")),
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::BucketWidth;

    use super::*;

    const THING: ThingId = ThingId::from_bytes([1; 16]);
    const CHANNEL: ChannelId = ChannelId::from_bytes([2; 16]);

    #[test]
    fn this_is_how_it_looks() {
        let question = Question { key: KeyDigest::from_bytes([7; 32]), channel: CHANNEL };
        let text = serde_json::to_string(&GrantsRequest { questions: vec![question] }).unwrap();
        assert_eq!(
            text,
            r#"{"questions":[{"key":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc","channel":"02020202-0202-0202-0202-020202020202"}]}"#
        );
        assert_eq!(serde_json::from_str::<GrantsRequest>(&text).unwrap().questions, [question]);
        assert!(text.len() * QUESTIONS_MAX < BODY_BYTES_MAX);

        let profile = ChannelProfile::from(BucketWidth::FiveMinutes);
        let created = ChannelProfile::new(BucketWidth::Hour, Retention::Days90);
        let shortened = created.shortened(Retention::Days7).unwrap();
        let grants = [
            None,
            Some(Grant { thing: THING, connection: None }),
            Some(Grant { thing: THING, connection: Some(profile) }),
        ];
        let answer = GrantsAnswer { grants: grants.map(|grant| grant.map(Granted::from)).to_vec() };
        let text = serde_json::to_string(&answer).unwrap();
        assert_eq!(
            text,
            r#"{"grants":[null,{"thing":"01010101-0101-0101-0101-010101010101"},{"thing":"01010101-0101-0101-0101-010101010101","connection":{"bucket_width":"5m"}}]}"#
        );
        let again = serde_json::from_str::<GrantsAnswer>(&text).unwrap().grants;
        let again: Vec<_> =
            again.into_iter().map(|granted| granted.map(|g| Grant::try_from(g).unwrap())).collect();
        assert_eq!(again, grants);

        for (answer, text) in [
            (UserReadAnswer::Profile(profile.into()), r#"{"profile":{"bucket_width":"5m"}}"#),
            (
                UserReadAnswer::Profile(shortened.into()),
                r#"{"profile":{"bucket_width":"1h","storage_class":"90d","retention":"7d"}}"#,
            ),
            (UserReadAnswer::InvalidToken, r#""invalid_token""#),
            (UserReadAnswer::UnknownChannel, r#""unknown_channel""#),
        ] {
            assert_eq!(serde_json::to_string(&answer).unwrap(), text);
            assert_eq!(serde_json::from_str::<UserReadAnswer>(text).unwrap(), answer);
        }
        assert_eq!(ChannelProfile::try_from(Profile::from(shortened)), Ok(shortened));
    }

    #[test]
    fn what_is_wrong_is_not_repeated_and_what_is_unknown_is_no_answer() {
        for key in ["", "AAAA", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH", "!"] {
            let text = format!(r#"{{"key":"{key}","channel":"{CHANNEL}"}}"#);
            let error = serde_json::from_str::<Question>(&text).unwrap_err().to_string();
            assert!(error.starts_with("a key is not 32 bytes in base64url"), "{error}");
        }
        let secret = UserReadRequest { token: "secret".to_owned(), channel: CHANNEL };
        assert!(!format!("{secret:?}").contains("secret\""));
        for profile in
            [r#"{"bucket_width":"1y"}"#, r#"{"bucket_width":"1h","storage_class":"8d","retention":"7d"}"#]
        {
            let granted = Granted { thing: THING, connection: serde_json::from_str(profile).unwrap() };
            assert!(Grant::try_from(granted).is_err(), "{profile}");
        }
    }
}
