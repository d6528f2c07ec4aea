//! Login tokens: JWTs with the claims that Mainflux prints, and no others.
//!
//! What a password change ends is told apart by a generation in the token's header, because times in whole seconds can't
//! tell a token issued just before the change from one issued just after it. Whether the generation is in force, the
//! registry knows; this module knows signatures, issuer and expiry.

use domain::UserId;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use service::secrets::NamedSecret;

/// Who issues: the name that Mainflux gives itself.
const ISSUER: &str = "mainflux.auth";
/// How long a login lasts.
const LOGIN_SECONDS: i64 = 10 * 3_600;
/// The `type` claim of a login token.
const LOGIN: u8 = 0;
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

/// The token is forged, expired, or no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvalidToken;

#[derive(Serialize, Deserialize)]
struct Claims {
    exp: i64,
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
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
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
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some(self.kid.clone());
        header.extras.insert(GENERATION, login.generation);
        let claims = Claims {
            exp: now + LOGIN_SECONDS,
            iat: now,
            iss: ISSUER.to_owned(),
            sub: email.to_owned(),
            issuer_id: login.user,
            r#type: LOGIN,
        };
        jsonwebtoken::encode(&header, &claims, &self.signing).expect("HS256 signs any text under any key")
    }

    /// Checks signature, issuer, type and expiry.
    pub(crate) fn verify(&self, token: &str, now: i64) -> Result<Login, InvalidToken> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| InvalidToken)?;
        let kid = header.kid.ok_or(InvalidToken)?;
        let (_, key) = self.verifying.iter().find(|(known, _)| *known == kid).ok_or(InvalidToken)?;
        let token = jsonwebtoken::decode::<Claims>(token, key, &self.validation).map_err(|_| InvalidToken)?;
        if token.claims.exp <= now || token.claims.r#type != LOGIN {
            return Err(InvalidToken);
        }
        let generation = token.header.extras.get(GENERATION).ok().flatten().ok_or(InvalidToken)?;
        Ok(Login { user: token.claims.issuer_id, generation })
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("kid", &self.kid).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
