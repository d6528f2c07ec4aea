//! The credential of the internal listener.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header};

use crate::secrets::{BadSecrets, NamedSecrets};

/// What processes of one installation know each other by: the current secret, which is presented, and behind it those that are
/// still accepted. Written as `kid:secret`, with white space or commas between several.
///
/// To exchange it, give every process the new one *behind* the old one, then in front of it, then alone.
#[derive(Clone)]
pub struct InternalSecrets(NamedSecrets);

impl InternalSecrets {
    /// What a client presents.
    pub(super) fn credential(&self) -> HeaderValue {
        let text = format!("Bearer {}", URL_SAFE_NO_PAD.encode(&*self.0.current().secret));
        let mut value = HeaderValue::try_from(text).expect("base64url stands in a header");
        value.set_sensitive(true);
        value
    }

    /// Whether these headers carry one of the secrets. Takes as long whichever it is, and however much of it is right.
    pub fn admit(&self, headers: &HeaderMap) -> bool {
        let presented = presented(headers).unwrap_or_default();
        let is_it =
            |named: &crate::secrets::NamedSecret| verify_slices_are_equal(&named.secret, &presented).is_ok();
        self.0.as_slice().iter().fold(false, |admitted, named| admitted | is_it(named))
    }

    /// A key for another purpose, the same in all processes that have the same current secret.
    pub fn derive_key(&self, purpose: &str) -> [u8; 32] {
        let root = Salt::new(HKDF_SHA256, b"thalweg").extract(&self.0.current().secret);
        let (mut key, info) = ([0; 32], format!("derived: {purpose}"));
        let info = [info.as_bytes()];
        let expanded = root.expand(&info, Bytes32).and_then(|okm| okm.fill(&mut key));
        expanded.expect("32 bytes are within what HKDF-SHA256 gives");
        key
    }
}

fn presented(headers: &HeaderMap) -> Option<Vec<u8>> {
    let (scheme, secret) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return None;
    }
    URL_SAFE_NO_PAD.decode(secret.trim()).ok()
}

struct Bytes32;

impl KeyType for Bytes32 {
    fn len(&self) -> usize {
        32
    }
}

impl FromStr for InternalSecrets {
    type Err = BadSecrets;

    fn from_str(text: &str) -> Result<Self, BadSecrets> {
        text.parse().map(Self)
    }
}

impl fmt::Debug for InternalSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InternalSecrets(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(text: &str) -> InternalSecrets {
        text.parse().unwrap()
    }

    fn named(kid: &str, byte: u8) -> String {
        format!("{kid}:{}", URL_SAFE_NO_PAD.encode([byte; 32]))
    }

    fn headers(value: HeaderValue) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, value)])
    }

    #[test]
    fn each_accepted_secret_admits_and_nothing_else_does() {
        let [old, new] = [named("old", 1), named("new", 2)];
        let both = secrets(&format!("{new},{old}"));
        for known in [&old, &new] {
            assert!(both.admit(&headers(secrets(known).credential())));
        }
        assert!(!secrets(&old).admit(&headers(both.credential())), "the first one is presented");
        assert!(!both.admit(&headers(secrets(&named("new", 3)).credential())), "a name proves nothing");
        assert!(!both.admit(&HeaderMap::new()));
        let text = URL_SAFE_NO_PAD.encode([2; 32]);
        for wrong in ["Bearer", "Bearer ", &text, &format!("Basic {text}"), &format!("Bearer {text}AAAA")] {
            assert!(!both.admit(&headers(wrong.parse().unwrap())), "{wrong}");
        }
        let shown = format!("{both:?} {:?}", both.credential());
        assert!(!shown.contains(&text), "{shown}");
    }

    #[test]
    fn each_purpose_has_a_key_of_its_own() {
        let one = secrets(&named("a", 1));
        assert_eq!(one.derive_key("cursor"), secrets(&named("b", 1)).derive_key("cursor"));
        assert_ne!(one.derive_key("cursor"), one.derive_key("other"));
        assert_ne!(one.derive_key("cursor"), secrets(&named("a", 2)).derive_key("cursor"));
    }
}
