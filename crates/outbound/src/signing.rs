//! Signs what is sent, so that who gets it knows that it came from here, unchanged and lately.
//!
//! Source: Standard Webhooks 1.0.0, <https://github.com/standard-webhooks/standard-webhooks>, the symmetric scheme (`v1`). Pure,
//! but for [`Secret::generate`].

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

/// The header with what is the same for each try: who gets something twice knows it by this.
pub const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
/// The header with the time of the try, in seconds since the Unix epoch.
pub const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
/// The header with the signatures.
pub const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// What a secret begins with, so that a leaked one can be found by a scanner.
pub const SECRET_PREFIX: &str = "whsec_";
/// Bytes of a secret.
pub const SECRET_BYTES_MIN: usize = 24;
/// Bytes of a secret.
pub const SECRET_BYTES_MAX: usize = 64;
/// Random bytes in a secret that we make: as many as the digest it keys.
pub const SECRET_RANDOM_BYTES: usize = 32;
/// Characters of a secret's text, with room for what is refused anyway.
const SECRET_TEXT_MAX: usize = 128;

/// Room for the headers of a request: these, and what else says what is sent and by whom.
const HEADERS: usize = 8;

/// Standard base64. Some write it without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What we and one receiver know. Gone from memory when dropped.
#[derive(Clone)]
pub struct Secret {
    bytes: Zeroizing<Vec<u8>>,
    /// Made of them: as costly as a short signature.
    key: hmac::Key,
}

/// The text is no secret. It goes on from the name of the field that has it, and repeats nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not {SECRET_PREFIX} followed by {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes in base64")]
pub struct BadSecret;

/// The text can't be an id: what is signed could be read in two ways, or the header can't carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id has to be visible ASCII without a full stop")]
pub struct BadId;

impl Secret {
    /// A new one, from the system's generator.
    ///
    /// # Panics
    /// The system has no randomness.
    pub fn generate() -> Self {
        let mut random = Zeroizing::new([0; SECRET_RANDOM_BYTES]);
        aws_lc_rs::rand::fill(random.as_mut()).expect("the system gives random bytes");
        Self::of(Zeroizing::new(random.to_vec()))
    }

    /// Reads one as it is shown: `whsec_` and base64.
    ///
    /// # Errors
    /// It is none, or one of too few or too many bytes.
    pub fn parse(text: &str) -> Result<Self, BadSecret> {
        let encoded =
            text.strip_prefix(SECRET_PREFIX).filter(|_| text.len() <= SECRET_TEXT_MAX).ok_or(BadSecret)?;
        let bytes = Zeroizing::new(BASE64.decode(encoded).map_err(|_| BadSecret)?);
        if (SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes.len()) {
            Ok(Self::of(bytes))
        } else {
            Err(BadSecret)
        }
    }

    fn of(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &bytes), bytes }
    }

    /// The secret itself, for the two places that may have it: the API's answer and the sealed registry.
    pub fn expose(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(SECRET_TEXT_MAX));
        text.push_str(SECRET_PREFIX);
        STANDARD.encode_string(self.bytes.as_slice(), &mut text);
        text
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The headers of one try: the id, the time in seconds since the Unix epoch, and a signature by each secret, in their order.
///
/// # Errors
/// The id can't be one. That of a UUID can.
pub fn sign(secrets: &[&Secret], id: &str, timestamp_seconds: i64, body: &[u8]) -> Result<HeaderMap, BadId> {
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.') {
        return Err(BadId);
    }
    let signatures: Vec<_> =
        secrets.iter().map(|secret| signature(secret, id, timestamp_seconds, body)).collect();
    let value = |text: String| HeaderValue::try_from(text).map_err(|_| BadId);
    let mut headers = HeaderMap::with_capacity(HEADERS);
    headers.insert(WEBHOOK_ID, value(id.to_owned())?);
    headers.insert(WEBHOOK_TIMESTAMP, timestamp_seconds.into());
    headers.insert(WEBHOOK_SIGNATURE, value(signatures.join(" "))?);
    Ok(headers)
}

fn signature(secret: &Secret, id: &str, timestamp_seconds: i64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(&secret.key);
    context.update(format!("{id}.{timestamp_seconds}.").as_bytes());
    context.update(body);
    let mut text = "v1,".to_owned();
    STANDARD.encode_string(context.sign(), &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;

    /// The vector that Standard Webhooks' own libraries are tested with.
    #[test]
    fn signatures_are_those_of_the_specification() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let headers = sign(&[&secret], ID, 1_614_265_330, BODY).unwrap();
        assert_eq!(headers[WEBHOOK_ID], ID);
        assert_eq!(headers[WEBHOOK_TIMESTAMP], "1614265330");
        assert_eq!(headers[WEBHOOK_SIGNATURE], "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn several_secrets_sign_side_by_side() {
        let (old, new) = (Secret::generate(), Secret::generate());
        let of = |secrets: &[&Secret]| {
            let headers = sign(secrets, ID, 1_614_265_330, BODY).unwrap();
            headers[WEBHOOK_SIGNATURE].to_str().unwrap().to_owned()
        };
        assert_ne!(of(&[&new]), of(&[&old]));
        assert_eq!(of(&[&new, &old]), format!("{} {}", of(&[&new]), of(&[&old])));
    }

    #[test]
    fn a_secret_is_read_as_it_is_shown_and_shows_itself_nowhere_else() {
        let secret = Secret::generate();
        assert_eq!(Secret::parse(&secret.expose()).unwrap().bytes, secret.bytes);
        assert_eq!(secret.bytes.len(), SECRET_RANDOM_BYTES);
        assert_ne!(Secret::generate().bytes, secret.bytes);
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        let of = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        for good in [of(24), of(25), of(64), of(25).trim_end_matches('=').to_owned()] {
            assert!(Secret::parse(&good).is_ok(), "{good}");
        }
        let bare = of(32)["whsec_".len()..].to_owned();
        let url_safe = format!("whsec_{}", "-_".repeat(16));
        let long = format!("whsec_{}", "A".repeat(1 << 20));
        for bad in [
            &of(23),
            &of(65),
            &bare,
            &url_safe,
            &long,
            "whsec_",
            "",
            "whsec_ ",
            &of(32).replace("whsec", "WHSEC"),
        ] {
            assert_eq!(Secret::parse(bad).unwrap_err(), BadSecret, "{bad:.80}");
        }
    }

    #[test]
    fn an_id_can_be_told_from_what_stands_behind_it() {
        for bad in ["", "a.b", "a b", "a\n", "ü"] {
            assert_eq!(sign(&[], bad, 0, BODY).unwrap_err(), BadId, "{bad:?}");
        }
    }
}
