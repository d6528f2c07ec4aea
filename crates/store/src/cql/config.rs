//! Settings of a CQL store.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;

/// Settings of a [`CqlStore`](super::CqlStore).
#[derive(Debug, Clone)]
pub struct CqlConfig {
    /// Addresses (`host:port`) to find the database by; it tells of its other nodes itself.
    pub nodes: Vec<String>,
    /// The keyspace that everything is in. It is made if it is not there.
    pub keyspace: KeyspaceName,
    /// User and password, where the database wants them.
    pub login: Option<(String, SecretString)>,
    /// On how many nodes each row is, where the keyspace has to be made.
    pub replicas: u8,
    /// How many of them have to have a row before an append is answered, and are asked in a read.
    pub consistency: CqlConsistency,
    /// How long one request may take before it has failed.
    pub request_timeout: Duration,
    /// How long one append may take, all its requests together.
    pub append_timeout: Duration,
    /// Requests of one append or one read that are under way at the same time.
    pub requests_in_flight_max: usize,
    /// How long after a purge another process may begin to store what it did not know to be purged. That is removed by
    /// a second purge, when every append that began in this time has ended.
    pub purges_known_within: Duration,
}

impl CqlConfig {
    /// The defaults, for the database at these addresses.
    pub fn new(nodes: Vec<String>, keyspace: KeyspaceName) -> Self {
        Self {
            nodes,
            keyspace,
            login: None,
            replicas: 3,
            consistency: CqlConsistency::Quorum,
            request_timeout: Duration::from_secs(5),
            append_timeout: Duration::from_secs(20),
            requests_in_flight_max: 64,
            purges_known_within: Duration::from_secs(10),
        }
    }
}

/// How many replicas a request waits for. There is nothing below a majority: totals are exact only because each read
/// asks at least one replica that has what was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CqlConsistency {
    /// A majority of all replicas.
    Quorum,
    /// A majority of those in the data centre of this process; all processes have to be in the same one.
    LocalQuorum,
}

/// The text is none of the consistencies that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("has to be quorum or local-quorum")]
pub struct NotAConsistency;

impl FromStr for CqlConsistency {
    type Err = NotAConsistency;

    fn from_str(text: &str) -> Result<Self, NotAConsistency> {
        match text {
            "quorum" => Ok(Self::Quorum),
            "local-quorum" => Ok(Self::LocalQuorum),
            _ => Err(NotAConsistency),
        }
    }
}

/// The name of a keyspace: lower case letters, digits and underscores, a letter first, at most 48.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyspaceName(String);

/// The text is no name of a keyspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a name of at most 48 lower case letters, digits and underscores that begins with a letter")]
pub struct NotAKeyspace;

impl FromStr for KeyspaceName {
    type Err = NotAKeyspace;

    fn from_str(text: &str) -> Result<Self, NotAKeyspace> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        if begins && text.len() <= 48 && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotAKeyspace)
        }
    }
}

impl fmt::Display for KeyspaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyspace_has_a_plain_name() {
        for name in ["thalweg", "t", "thalweg_2", &"a".repeat(48)] {
            assert_eq!(name.parse().map(|name: KeyspaceName| name.to_string()), Ok(name.to_owned()));
        }
        for name in ["", "Thalweg", "2t", "_t", "a-b", "a;b", "ä", &"a".repeat(49)] {
            assert_eq!(name.parse::<KeyspaceName>(), Err(NotAKeyspace), "{name}");
        }
    }
}
