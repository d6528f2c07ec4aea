//! Passwords and their hashes: argon2id, a few at a time, away from the threads that serve requests.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Semaphore;

/// Characters of a password, at least.
pub(crate) const PASSWORD_CHARS_MIN: usize = 8;
/// Bytes of a password, at most: a hash of more costs more and protects no better.
pub(crate) const PASSWORD_BYTES_MAX: usize = 1_024;
/// Hashes computed at a time: each takes 19 MiB and a core for tens of milliseconds.
const HASHES_AT_ONCE_MAX: usize = 2;
/// Requests that wait for a hash or have one computed; more are answered 503. At tens of milliseconds each, the last of
/// them waits a few seconds.
const HASHES_WAITING_MAX: usize = 256;

/// The hash of no password, with the parameters of every other one: checking against it takes the same time.
const NOBODYS_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$dGhhbHdlZy1ub2JvZHk$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A password that is long enough, or one to be checked. Never shown.
#[derive(Clone)]
pub struct Password(SecretString);

/// The text can't be a new password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPassword {
    /// Too easy to guess.
    #[error("has fewer than {PASSWORD_CHARS_MIN} characters")]
    TooShort,
    /// Costs more to check, and protects no better.
    #[error("has more than {PASSWORD_BYTES_MAX} bytes")]
    TooLong,
}

impl Password {
    /// Takes a password that somebody wants to use.
    pub(crate) fn new(text: impl Into<SecretString>) -> Result<Self, BadPassword> {
        let text = text.into();
        if text.expose_secret().chars().count() < PASSWORD_CHARS_MIN {
            return Err(BadPassword::TooShort);
        }
        Self::presented(text)
    }

    /// Takes a password to be checked. One that is too long is nobody's.
    pub(crate) fn presented(text: impl Into<SecretString>) -> Result<Self, BadPassword> {
        let text = text.into();
        if text.expose_secret().len() > PASSWORD_BYTES_MAX {
            return Err(BadPassword::TooLong);
        }
        Ok(Self(text))
    }
}

impl FromStr for Password {
    type Err = BadPassword;

    fn from_str(text: &str) -> Result<Self, BadPassword> {
        Self::new(text)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Too many requests wait for a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are being checked")]
pub(crate) struct Busy;

/// Computes hashes. Cheap to clone; all clones share the bounds.
#[derive(Debug, Clone)]
pub(crate) struct Hashing {
    waiting: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

impl Hashing {
    pub(crate) fn new() -> Self {
        Self {
            waiting: Arc::new(Semaphore::new(HASHES_WAITING_MAX)),
            running: Arc::new(Semaphore::new(HASHES_AT_ONCE_MAX)),
        }
    }

    /// The hash of a new password, with a random salt, as a PHC string.
    pub(crate) async fn hash(&self, password: Password) -> Result<String, Busy> {
        self.run(move || {
            let hash = Argon2::default().hash_password(password.0.expose_secret().as_bytes());
            hash.expect("the parameters and the length are in range").to_string()
        })
        .await
    }

    /// Whether it is the password of this hash. Without a hash it never is, and takes as long to say so.
    pub(crate) async fn verify(&self, password: Password, hash: Option<String>) -> Result<bool, Busy> {
        self.run(move || {
            let text = hash.as_deref().unwrap_or(NOBODYS_HASH);
            let Ok(stored) = PasswordHash::new(text) else { return false };
            let matches =
                Argon2::default().verify_password(password.0.expose_secret().as_bytes(), &stored).is_ok();
            matches && hash.is_some()
        })
        .await
    }

    /// Requests that wait for a hash, or have one computed.
    pub(crate) fn waiting(&self) -> usize {
        HASHES_WAITING_MAX - self.waiting.available_permits()
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let waiting = Arc::clone(&self.waiting).try_acquire_owned().map_err(|_| Busy)?;
        let running = Arc::clone(&self.running).acquire_owned().await.expect("the semaphore is never closed");
        let work = move || {
            let done = work();
            drop((waiting, running));
            done
        };
        Ok(tokio::task::spawn_blocking(work).await.expect("hashing does not panic"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::new(text.to_owned()).unwrap()
    }

    #[tokio::test]
    async fn a_hash_knows_its_password_and_no_other() {
        let hashing = Hashing::new();
        let hash = hashing.hash(password("correct horse 9")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_eq!(hashing.verify(password("correct horse 9"), Some(hash.clone())).await, Ok(true));
        assert_eq!(hashing.verify(password("correct horse 8"), Some(hash)).await, Ok(false));
        assert_eq!(hashing.verify(password("correct horse 9"), None).await, Ok(false));
    }

    #[test]
    fn the_hash_of_nobody_costs_what_every_hash_costs() {
        let [nobody, somebody] = [NOBODYS_HASH.to_owned(), {
            let hash = Argon2::default().hash_password(b"correct horse 9").unwrap();
            hash.to_string()
        }]
        .map(|text| PasswordHash::new(&text).unwrap());
        assert_eq!(nobody.algorithm, somebody.algorithm);
        assert_eq!(nobody.params.to_string(), somebody.params.to_string());
        assert_eq!(nobody.hash.unwrap().len(), somebody.hash.unwrap().len());
    }

    #[test]
    fn length_is_counted_in_characters_below_and_in_bytes_above() {
        let check = |text: String| Password::new(text).map(|_| ());
        assert_eq!(check("1234567".into()), Err(BadPassword::TooShort));
        assert_eq!(check("12345678".into()), Ok(()));
        assert_eq!(check("пароль7".into()), Err(BadPassword::TooShort));
        assert_eq!(check("x".repeat(1_024)), Ok(()));
        assert_eq!(check("x".repeat(1_025)), Err(BadPassword::TooLong));
    }
}
