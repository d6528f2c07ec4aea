//! Secrets as they are configured: named, the current one first, behind it those that are still accepted, so that one can be
//! exchanged while processes with the old one and with the new one run.
//!
//! Nothing here prints one, or says of a bad one more than what kind of mistake it is.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

/// Bytes of a secret that we make, and the least of one that we take: as many as the digest it keys.
pub const SECRET_BYTES: usize = 32;
/// Secrets that are accepted at a time: the current one and those it replaces.
const SECRETS_MAX: usize = 4;
/// Bytes of a secret's name: it may stand in a header.
const KID_BYTES_MAX: usize = 64;

/// Secrets with names, the current one first. There is one at least.
#[derive(Debug, Clone)]
pub struct NamedSecrets(Vec<NamedSecret>);

impl NamedSecrets {
    /// All of them, the current one first.
    pub fn as_slice(&self) -> &[NamedSecret] {
        &self.0
    }

    /// The one that new things are made with.
    pub fn current(&self) -> &NamedSecret {
        &self.0[0]
    }
}

/// A secret with its name.
#[derive(Clone)]
pub struct NamedSecret {
    /// Its name, which is no secret.
    pub kid: String,
    /// The secret, decoded.
    pub secret: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for NamedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamedSecret").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// `kid:secret`, as often as there are secrets, with white space or commas between them.
impl FromStr for NamedSecrets {
    type Err = BadSecrets;

    fn from_str(text: &str) -> Result<Self, BadSecrets> {
        let mut secrets: Vec<NamedSecret> = Vec::new();
        let words = text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty());
        for word in words {
            let (kid, secret) = word.split_once(':').ok_or(BadSecrets::NotNamed)?;
            let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            if kid.is_empty() || kid.len() > KID_BYTES_MAX || !kid.bytes().all(name) {
                return Err(BadSecrets::Kid);
            }
            if secrets.iter().any(|other| other.kid == kid) {
                return Err(BadSecrets::KidTwice);
            }
            let secret = decode(secret).ok_or(BadSecrets::Secret)?;
            secrets.push(NamedSecret { kid: kid.to_owned(), secret });
        }
        if secrets.is_empty() || secrets.len() > SECRETS_MAX {
            return Err(BadSecrets::Count);
        }
        Ok(Self(secrets))
    }
}

/// The text holds no secrets. Says what they look like, and nothing of what was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSecrets {
    /// A kid or a secret is missing.
    #[error("a secret is not written as `kid:secret`")]
    NotNamed,
    /// A name that can't stand in a header.
    #[error(
        "a kid is not 1 to {KID_BYTES_MAX} letters, digits, `-` or `_`; it stands before the secret, as in `kid:secret`"
    )]
    Kid,
    /// Two secrets have one name.
    #[error("a kid is there twice")]
    KidTwice,
    /// A secret that is too short, or no base64url.
    #[error("a secret is not {SECRET_BYTES} or more bytes in base64url, behind its name as in `kid:secret`")]
    Secret,
    /// None, or too many.
    #[error("there have to be 1 to {SECRETS_MAX} secrets, each written as `kid:secret`")]
    Count,
}

/// A secret out of base64url; nothing if it is none, or too short.
pub fn decode(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text.trim()).ok()?);
    (bytes.len() >= SECRET_BYTES).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_one_line_are_as_good_as_in_several() {
        let good = URL_SAFE_NO_PAD.encode([7; 32]);
        for text in [format!("new:{good},old:{good}"), format!(" new:{good} , \n old:{good}\r\n")] {
            let secrets: NamedSecrets = text.parse().unwrap();
            let kids: Vec<_> = secrets.as_slice().iter().map(|named| named.kid.as_str()).collect();
            assert_eq!((kids, secrets.current().kid.as_str()), (vec!["new", "old"], "new"), "{text:?}");
            assert!(!format!("{secrets:?}").contains(&good));
        }
    }

    #[test]
    fn what_is_no_secret_is_told_apart() {
        let good = URL_SAFE_NO_PAD.encode([7; 32]);
        let short = URL_SAFE_NO_PAD.encode([7; 31]);
        let five: Vec<_> = (0..5).map(|n| format!("k{n}:{good}")).collect();
        for (text, problem) in [
            (good.clone(), BadSecrets::NotNamed),
            (format!(":{good}"), BadSecrets::Kid),
            (format!("a,a:{good}"), BadSecrets::NotNamed),
            (format!("a:{good} a:{good}"), BadSecrets::KidTwice),
            (format!("a:{short}"), BadSecrets::Secret),
            (" , ".to_owned(), BadSecrets::Count),
            (five.join(","), BadSecrets::Count),
        ] {
            assert_eq!(text.parse::<NamedSecrets>().unwrap_err(), problem, "{text:?}");
        }
    }
}
