//! The `Authorization` header, parsed once.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::ThingKey;
use http::{HeaderMap, header};

use crate::ApiError;

/// What a client presents. Its `Debug` shows nothing of it.
pub enum Credential {
    /// `Thing <key>`, or `Basic` with the key as password; the user name is not looked at.
    Thing(ThingKey),
    /// `Bearer <token>`.
    Bearer(String),
}

impl Credential {
    /// Reads the header.
    ///
    /// # Errors
    /// 401 if there is none or more than one, or it holds no credential of a scheme that we know.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, ApiError> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let value = match (values.next(), values.next()) {
            (Some(value), None) => value,
            (None, _) => return Err(ApiError::unauthenticated("the Authorization header is missing")),
            // A proxy that looks at another one than this would let pass what it must not.
            (Some(_), Some(_)) => {
                return Err(ApiError::unauthenticated("there is more than one Authorization header"));
            }
        };
        let value = value.to_str().map_err(|_| unreadable())?;
        let (scheme, credential) = value.split_once(' ').ok_or_else(unreadable)?;
        let credential = credential.trim();
        if scheme.eq_ignore_ascii_case("Thing") {
            thing(credential)
        } else if scheme.eq_ignore_ascii_case("Bearer") && !credential.is_empty() {
            Ok(Self::Bearer(credential.to_owned()))
        } else if scheme.eq_ignore_ascii_case("Basic") {
            thing(&basic_password(credential).ok_or_else(unreadable)?)
        } else {
            Err(unreadable())
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Thing(_) => "Thing(..)",
            Self::Bearer(_) => "Bearer(..)",
        })
    }
}

fn thing(key: &str) -> Result<Credential, ApiError> {
    ThingKey::from_presented(key)
        .map(Credential::Thing)
        .map_err(|_| ApiError::unauthenticated("unknown thing key"))
}

/// Source: RFC 7617, section 2.
fn basic_password(credential: &str) -> Option<String> {
    let pair = String::from_utf8(STANDARD.decode(credential).ok()?).ok()?;
    pair.split_once(':').map(|(_, password)| password.to_owned())
}

fn unreadable() -> ApiError {
    ApiError::unauthenticated(
        "the Authorization header is not one of: Thing <key>, Basic with the key as password, Bearer <token>",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Result<Credential, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        Credential::from_headers(&headers)
    }

    #[test]
    fn a_thing_may_use_either_scheme() {
        for value in ["Thing some-key", "thing  some-key", "Basic dXNlcjpzb21lLWtleQ==", "Basic OnNvbWUta2V5"]
        {
            let Ok(Credential::Thing(key)) = parse(value) else { panic!("{value}") };
            assert_eq!(key.expose(), "some-key");
        }
        assert!(matches!(parse("Bearer abc"), Ok(Credential::Bearer(token)) if token == "abc"));
    }

    #[test]
    fn anything_else_is_401() {
        for value in
            ["", "Thing", "Thing ", "some-key", "Basic !!", "Basic bm9jb2xvbg==", "Digest x", "Bearer "]
        {
            assert_eq!(parse(value).unwrap_err().status(), 401, "{value:?}");
        }
        assert_eq!(Credential::from_headers(&HeaderMap::new()).unwrap_err().status(), 401);
        let two =
            ["Thing some-key", "Thing some-key"].map(|value| (header::AUTHORIZATION, value.parse().unwrap()));
        assert_eq!(Credential::from_headers(&HeaderMap::from_iter(two)).unwrap_err().status(), 401);
    }
}
