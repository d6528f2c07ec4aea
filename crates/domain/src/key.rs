//! Thing keys: the secret a thing shows, and the digest that everyone else works with.
//!
//! A key is never logged, never printed by `Debug`, never stored in the clear.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Random bytes in a key that we make: 192 bits, well past guessing.
pub const KEY_RANDOM_BYTES: usize = 24;
/// What a key that we make begins with, so that a leaked one can be found by a scanner.
pub const KEY_PREFIX: &str = "tk_";
/// Longest credential that is worth hashing; anything longer is unknown at once.
pub const KEY_BYTES_MAX: usize = 128;

/// A thing's secret. Only its [`KeyDigest`] may be cached or compared.
#[derive(Clone, PartialEq, Eq)]
pub struct ThingKey(String);

/// The text can't be any thing's key: empty, too long, or not printable ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a thing key")]
pub struct NotAKey;

impl ThingKey {
    /// Makes a key out of fresh random bytes, which the caller takes from the system's generator.
    pub fn from_random(random: [u8; KEY_RANDOM_BYTES]) -> Self {
        let mut text = String::with_capacity(KEY_PREFIX.len() + 32);
        text.push_str(KEY_PREFIX);
        URL_SAFE_NO_PAD.encode_string(random, &mut text);
        Self(text)
    }

    /// Takes what a caller presents as a key.
    ///
    /// # Errors
    /// [`NotAKey`] for what can't be one: that is an unknown key, not a malformed request.
    pub fn from_presented(text: &str) -> Result<Self, NotAKey> {
        if text.is_empty() || text.len() > KEY_BYTES_MAX || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(NotAKey);
        }
        Ok(Self(text.to_owned()))
    }

    /// SHA-256 of the key. Keys are long and random, so a fast digest can't be searched back.
    pub fn digest(&self) -> KeyDigest {
        KeyDigest::of(self.0.as_bytes())
    }

    /// The key itself, for the two places that may show or seal it: the API's answer and the registry.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ThingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ThingKey(..)")
    }
}

/// What a key is looked up by: its SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    fn of(key: &[u8]) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }

    /// Reads a digest back from storage.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Even a digest is not for logs: it would tell that two requests used the same key.
impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_never_shows_itself() {
        let key = ThingKey::from_random([7; KEY_RANDOM_BYTES]);
        assert_eq!(format!("{key:?} {:?}", key.digest()), "ThingKey(..) KeyDigest(..)");
        assert!(key.expose().starts_with(KEY_PREFIX));
        assert_eq!(ThingKey::from_presented(key.expose()), Ok(key));
    }

    #[test]
    fn what_cannot_be_a_key_is_not_hashed() {
        for text in ["", "with space", "tab\t", "ключ", &"x".repeat(KEY_BYTES_MAX + 1)] {
            assert_eq!(ThingKey::from_presented(text), Err(NotAKey), "{text:?}");
        }
    }
}
