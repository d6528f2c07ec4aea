//! Tokens of users, of logins and for programs (API keys): JWTs with the claims that Mainflux prints, and no others.
//!
//! An API key carries its id, and is in force while the registry has it. What a password change ends is told apart by a generation in the token's header, because times in whole seconds can't
//! tell a token issued just before the change from one issued just after it. Whether a key or a generation is in force, the
//! registry knows; this module knows signatures, issuer and expiry.

use domain::{ApiKeyId, UserId};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use service::secrets::NamedSecret;

/// Who issues: the name that Mainflux gives itself.
const ISSUER: &str = "mainflux.auth";
/// How long a login lasts.
const LOGIN_SECONDS: i64 = 10 * 3_600;
/// The `type` claim of a login token.
const LOGIN: u8 = 0;
/// The `type` claim of an API key.
pub(crate) const API_KEY: u8 = 2;
/// The header field that names the generation.
const GENERATION: &str = "gen";

/// Issues and verifies tokens.
pub(crate) struct Tokens {
    kid: String,
    signing: EncodingKey,
    verifying: Vec<(String, DecodingKey)>,
    validation: Validation,
}

/// A login token with a good signature, not yet expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) user: UserId,
    /// In force only while it is the user's.
    pub(crate) generation: i64,
}

/// An API key to be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyToken {
    pub(crate) key: ApiKeyId,
    pub(crate) user: UserId,
    /// In seconds since the epoch, like the next.
    pub(crate) issued_at: i64,
    pub(crate) expires_at: Option<i64>,
}

/// What a token with a good signature says, a login token's not yet expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verified {
    Login(Login),
    /// In force only while the registry has it, which also knows when it ends: to the microsecond, where the claim is of whole
    /// seconds.
    Key {
        key: ApiKeyId,
        user: UserId,
    },
}

/// The token is forged, expired, or no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvalidToken;

#[derive(Serialize, Deserialize)]
struct Claims {
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<ApiKeyId>,
    iat: i64,
    iss: String,
    sub: String,
    issuer_id: UserId,
    r#type: u8,
}

impl Tokens {
    /// Signs with the first of the secrets, accepts all of them.
    pub(crate) fn new(secrets: &[NamedSecret]) -> Self {
        let current = secrets.first().expect("there is always a current secret");
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["iss", "sub"]);
        // The expiry is checked here, against the time we are given, to the second.
        validation.validate_exp = false;
        let verifying = secrets
            .iter()
            .map(|named| (named.kid.clone(), DecodingKey::from_secret(&named.secret)))
            .collect();
        Self {
            kid: current.kid.clone(),
            signing: EncodingKey::from_secret(&current.secret),
            verifying,
            validation,
        }
    }

    /// A login token for a user, issued `now` (seconds since the epoch).
    pub(crate) fn issue(&self, login: Login, email: &str, now: i64) -> String {
        let mut header = self.header();
        header.extras.insert(GENERATION, login.generation);
        let claims = Claims {
            exp: Some(now + LOGIN_SECONDS),
            jti: None,
            iat: now,
            iss: ISSUER.to_owned(),
            sub: email.to_owned(),
            issuer_id: login.user,
            r#type: LOGIN,
        };
        jsonwebtoken::encode(&header, &claims, &self.signing).expect("HS256 signs any text under any key")
    }

    /// An API key of a user.
    pub(crate) fn issue_key(&self, key: KeyToken, email: &str) -> String {
        let claims = Claims {
            exp: key.expires_at,
            jti: Some(key.key),
            iat: key.issued_at,
            iss: ISSUER.to_owned(),
            sub: email.to_owned(),
            issuer_id: key.user,
            r#type: API_KEY,
        };
        jsonwebtoken::encode(&self.header(), &claims, &self.signing)
            .expect("HS256 signs any text under any key")
    }

    fn header(&self) -> Header {
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(self.kid.clone());
        header
    }

    /// Checks signature, issuer and type, and the expiry of a login token.
    pub(crate) fn verify(&self, token: &str, now: i64) -> Result<Verified, InvalidToken> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| InvalidToken)?;
        let kid = header.kid.ok_or(InvalidToken)?;
        let (_, key) = self.verifying.iter().find(|(known, _)| *known == kid).ok_or(InvalidToken)?;
        let token = jsonwebtoken::decode::<Claims>(token, key, &self.validation).map_err(|_| InvalidToken)?;
        let Claims { exp, jti, issuer_id: user, r#type, .. } = token.claims;
        match (r#type, exp, jti) {
            (LOGIN, Some(exp), _) if now < exp => {
                let generation = token.header.extras.get(GENERATION).ok().flatten().ok_or(InvalidToken)?;
                Ok(Verified::Login(Login { user, generation }))
            }
            (API_KEY, _, Some(key)) => Ok(Verified::Key { key, user }),
            _ => Err(InvalidToken),
        }
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("kid", &self.kid).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
