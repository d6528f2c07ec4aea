//! Typed identities. A bare [`Uuid`] never passes a parser: each entity has a type of its own.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::{Uuid, Variant, Version};

/// Why a text is not an id that may be given from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is no UUID at all.
    #[error("is not a UUID")]
    NotUuid,
    /// The text is a UUID of another version or variant: external ids have to be version 4.
    #[error("is a UUID, but not of version 4")]
    NotVersion4,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps an id that this system has made or stored before.
            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            /// Reads an id as the 16 bytes that [`Self::as_bytes`] gave.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The 16 bytes of the id, most significant first.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// The UUID inside, for the seams (SQL) that need it.
            pub const fn as_uuid(&self) -> Uuid {
                self.0
            }

            /// Reads an id that a caller chose for a new entity: a UUID of version 4, in its hyphenated form.
            ///
            /// # Errors
            /// [`IdError`] says whether it is no UUID or one of another version.
            pub fn from_external(text: &str) -> Result<Self, IdError> {
                let id: Self = text.parse()?;
                if id.0.get_version() != Some(Version::Random) || id.0.get_variant() != Variant::RFC4122 {
                    return Err(IdError::NotVersion4);
                }
                Ok(id)
            }
        }

        /// Only the hyphenated form of 36 characters is an id: one entity has one spelling.
        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                if text.len() != 36 {
                    return Err(IdError::NotUuid);
                }
                Uuid::try_parse(text).map(Self).map_err(|_| IdError::NotUuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

id! {
    /// A device, or anything else that publishes.
    ThingId
}
id! {
    /// A stream that things publish to and users read.
    ChannelId
}
id! {
    /// A person or program with an account.
    UserId
}

id! {
    /// Users who share groups, in roles.
    OrgId
}

id! {
    /// Where a thing's records are delivered to.
    WebhookId
}

id! {
    /// Things and the users who look after them.
    GroupId
}

id! {
    /// A token for programs, which its user can revoke.
    ApiKeyId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_version_4_comes_from_outside() {
        let check = |text: &str| ThingId::from_external(text).map(|id| id.to_string());
        assert_eq!(
            check("D782B42B-e317-4cd7-9dd0-4e2ea0f349c8"),
            Ok("d782b42b-e317-4cd7-9dd0-4e2ea0f349c8".into())
        );
        assert_eq!(check("c232ab00-9414-11ec-b3c8-9f6bdeced846"), Err(IdError::NotVersion4));
        assert_eq!(check("00000000-0000-0000-0000-000000000000"), Err(IdError::NotVersion4));
        for variant in ["0", "7", "c", "f"] {
            let id = format!("d782b42b-e317-4cd7-{variant}dd0-4e2ea0f349c8");
            assert_eq!(check(&id), Err(IdError::NotVersion4), "{id}: the digit of the version means nothing");
        }
        assert_eq!(check("d782b42be3174cd79dd04e2ea0f349c8"), Err(IdError::NotUuid));
        assert_eq!(check("{d782b42b-e317-4cd7-9dd0-4e2ea0f349c8}"), Err(IdError::NotUuid));
        assert_eq!(check("not-a-uuid"), Err(IdError::NotUuid));
    }
}
