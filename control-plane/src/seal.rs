//! Sealed thing keys: the API shows a key to those who may write its thing, and a stolen registry shows it to nobody.
//!
//! AES-256-GCM under a key derived from the sealing secret, with a random nonce and the thing's id as associated data: a
//! sealed key that is moved to another thing's row does not open.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use domain::{ThingId, ThingKey};

/// The first byte of what is sealed. Another way to seal gets another number.
const SEAL_VERSION: u8 = 1;
/// What the sealing key is derived for.
const SEALING: &str = "seal thing keys, version 1";

/// Seals and opens.
pub(crate) struct Sealer {
    key: RandomizedNonceKey,
    root: Prk,
}

impl Sealer {
    /// A sealer whose keys come from the installation's secret.
    pub(crate) fn new(secret: &[u8]) -> Self {
        let root = Salt::new(HKDF_SHA256, b"thalweg").extract(secret);
        let key = derive(&root, SEALING);
        let key =
            RandomizedNonceKey::new(&AES_256_GCM, &key).expect("the derived key has the cipher's length");
        Self { key, root }
    }

    /// A key of its own for another purpose, always the same for the same secret.
    pub(crate) fn derive_key(&self, purpose: &str) -> [u8; 32] {
        derive(&self.root, &format!("derived: {purpose}"))
    }

    /// Seals a thing's key.
    pub(crate) fn seal(&self, thing: ThingId, key: &ThingKey) -> Vec<u8> {
        self.seal_text(thing.as_bytes(), key.expose())
    }

    /// Opens a thing's key. `None`: it was not sealed by this secret, for this thing.
    pub(crate) fn open(&self, thing: ThingId, sealed: &[u8]) -> Option<ThingKey> {
        ThingKey::from_presented(&self.open_text(thing.as_bytes(), sealed)?).ok()
    }

    /// Seals a text that belongs to `to`.
    pub(crate) fn seal_text(&self, to: &[u8], text: &str) -> Vec<u8> {
        let mut cipher = text.as_bytes().to_vec();
        let sealed = self.key.seal_in_place_append_tag(Aad::from(to), &mut cipher);
        let nonce = sealed.expect("sealing a short text can't fail");
        let mut sealed = vec![SEAL_VERSION];
        sealed.extend_from_slice(nonce.as_ref());
        sealed.append(&mut cipher);
        sealed
    }

    /// Opens a text that was sealed to `to`.
    pub(crate) fn open_text(&self, to: &[u8], sealed: &[u8]) -> Option<String> {
        let (&version, rest) = sealed.split_first()?;
        let (nonce, cipher) = rest.split_first_chunk::<NONCE_LEN>()?;
        if version != SEAL_VERSION {
            return None;
        }
        let mut cipher = cipher.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let text = self.key.open_in_place(nonce, Aad::from(to), &mut cipher).ok()?;
        String::from_utf8(text.to_vec()).ok()
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(..)")
    }
}

struct Bytes32;

impl KeyType for Bytes32 {
    fn len(&self) -> usize {
        32
    }
}

fn derive(root: &Prk, info: &str) -> [u8; 32] {
    let mut key = [0; 32];
    let info = [info.as_bytes()];
    let expanded = root.expand(&info, Bytes32).and_then(|okm| okm.fill(&mut key));
    expanded.expect("32 bytes are within what HKDF-SHA256 gives");
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_key_opens_for_its_thing_and_under_its_secret_only() {
        let sealer = Sealer::new(&[1; 32]);
        let [one, other] = [1, 2].map(|byte| ThingId::from_bytes([byte; 16]));
        let key = ThingKey::from_random([9; 24]);
        let sealed = sealer.seal(one, &key);
        assert_eq!(sealer.open(one, &sealed), Some(key.clone()));
        assert_eq!(Sealer::new(&[1; 32]).open(one, &sealed), Some(key.clone()));
        assert_eq!(sealer.open(other, &sealed), None);
        assert_eq!(Sealer::new(&[2; 32]).open(one, &sealed), None);
        assert_ne!(sealer.seal(one, &key), sealed, "the nonce is random");
        for i in 0..sealed.len() {
            let mut forged = sealed.clone();
            forged[i] ^= 1;
            assert_eq!(sealer.open(one, &forged), None, "byte {i}");
            assert_eq!(sealer.open(one, &sealed[..i]), None, "cut at {i}");
        }
    }

    #[test]
    fn each_purpose_has_a_key_of_its_own() {
        let sealer = Sealer::new(&[1; 32]);
        assert_eq!(sealer.derive_key("cursor"), Sealer::new(&[1; 32]).derive_key("cursor"));
        assert_ne!(sealer.derive_key("cursor"), sealer.derive_key("other"));
        assert_ne!(sealer.derive_key("cursor"), Sealer::new(&[2; 32]).derive_key("cursor"));
    }
}
