//! The secrets of this installation: given by the settings, or two files in the data directory that only its owner may read.
//!
//! `token-secret`, if the settings give no other in its place, signs login tokens: one line `kid:secret` each, the current one first, behind it those that are still
//! accepted. To exchange it, put a new line on top and restart; take the old line away 10 hours later. `sealing-secret` seals
//! thing keys: without it they can't be shown any more, so it is made once and never replaced in silence.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use service::secrets::{BadSecrets, NamedSecret, NamedSecrets, SECRET_BYTES, decode};
use zeroize::{Zeroize as _, Zeroizing};

/// The secrets that sign login tokens: the current one, and behind it those that are still accepted. There is one at
/// least. Never shown.
#[derive(Debug, Clone)]
pub struct TokenSecrets(NamedSecrets);

impl TokenSecrets {
    pub(crate) fn as_slice(&self) -> &[NamedSecret] {
        self.0.as_slice()
    }
}

impl FromStr for TokenSecrets {
    type Err = BadSecrets;

    fn from_str(text: &str) -> Result<Self, BadSecrets> {
        text.parse().map(Self)
    }
}

/// What seals thing keys. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SealingSecret(Zeroizing<Vec<u8>>);

impl SealingSecret {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The bytes in base64url.
impl FromStr for SealingSecret {
    type Err = BadSealingSecret;

    fn from_str(text: &str) -> Result<Self, BadSealingSecret> {
        decode(text).map(Self).ok_or(BadSealingSecret)
    }
}

impl std::fmt::Debug for SealingSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealingSecret(..)")
    }
}

/// The text holds no sealing secret. Says what one looks like, and nothing of what was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not {SECRET_BYTES} or more bytes in base64url")]
pub struct BadSealingSecret;

/// Why a secret can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("{} can't be read or written", file.display())]
    File {
        file: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is malformed: {problem}", file.display())]
    Malformed { file: PathBuf, problem: String },
}

/// Fills with bytes of the system's generator.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the system's generator does not fail once it was seeded");
    bytes
}

/// The token secrets of a directory, the current one first; made if there are none.
pub(crate) fn token_secrets(directory: &Path) -> Result<TokenSecrets, SecretError> {
    let file = directory.join("token-secret");
    let text = read_or_create(&file, || {
        Zeroizing::new(format!("{}:{}\n", encode(&random::<6>()), *encode_secret()))
    })?;
    text.parse().map_err(|problem: BadSecrets| SecretError::Malformed { file, problem: problem.to_string() })
}

/// Where the sealing secret of a directory is.
pub(crate) fn sealing_secret_file(directory: &Path) -> PathBuf {
    directory.join("sealing-secret")
}

/// The sealing secret of a directory; made if there is none.
pub(crate) fn sealing_secret(directory: &Path) -> Result<SealingSecret, SecretError> {
    let file = sealing_secret_file(directory);
    let text = read_or_create(&file, encode_secret)?;
    text.parse().map_err(|problem| SecretError::Malformed { file, problem: format!("it {problem}") })
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn encode_secret() -> Zeroizing<String> {
    let mut bytes = random::<SECRET_BYTES>();
    let text = Zeroizing::new(encode(&bytes));
    bytes.zeroize();
    text
}

fn read_or_create(
    file: &Path,
    make: impl FnOnce() -> Zeroizing<String>,
) -> Result<Zeroizing<String>, SecretError> {
    let failed = |source| SecretError::File { file: file.to_owned(), source };
    match fs::read_to_string(file) {
        Ok(text) => {
            let mode = fs::metadata(file).map_err(failed)?.permissions().mode();
            if mode & 0o077 != 0 {
                tracing::warn!(file = %file.display(), "a secret can be read by others: chmod 600 it");
            }
            Ok(Zeroizing::new(text))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = make();
            create(file, &text).map_err(failed)?;
            Ok(text)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Writes a file that is there whole or not at all, and survives a crash of the machine.
fn create(file: &Path, text: &str) -> io::Result<()> {
    let unfinished = file.with_extension("new");
    let mut options = OpenOptions::new();
    let mut new = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    new.write_all(text.as_bytes())?;
    new.sync_all()?;
    fs::rename(&unfinished, file)?;
    match file.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_and_for_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let [first, again] = [(); 2].map(|()| token_secrets(directory.path()).unwrap().as_slice().to_vec());
        assert_eq!((first.len(), &first[0].kid, &first[0].secret), (1, &again[0].kid, &again[0].secret));
        let sealing = sealing_secret(directory.path()).unwrap();
        assert_eq!(sealing, sealing_secret(directory.path()).unwrap());
        assert_ne!(sealing.as_bytes(), first[0].secret.as_slice());
        for file in ["token-secret", "sealing-secret"] {
            let mode = fs::metadata(directory.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        assert!(!format!("{first:?}").contains(&encode(&first[0].secret)));
    }

    #[test]
    fn a_malformed_file_is_named_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token-secret");
        let good = encode(&[7; 32]);
        for text in [
            "",
            "\n",
            "no-colon",
            "a:short",
            &format!(":{good}"),
            &format!("a b:{good}"),
            &format!("a:{good}\na:{good}"),
        ] {
            fs::write(&file, text).unwrap();
            let error = token_secrets(directory.path()).unwrap_err().to_string();
            assert!(error.contains("token-secret is malformed"), "{text:?}: {error}");
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        fs::write(&file, format!("new:{good}\n\nold:{good}\n")).unwrap();
        let kids: Vec<_> =
            token_secrets(directory.path()).unwrap().as_slice().iter().map(|s| s.kid.clone()).collect();
        assert_eq!(kids, ["new", "old"]);
    }

    #[test]
    fn a_given_sealing_secret_has_the_length_of_one_that_we_make() {
        let parse = |bytes: &[u8]| encode(bytes).parse::<SealingSecret>();
        assert_eq!(parse(&[7; 31]), Err(BadSealingSecret));
        assert_eq!("not base64url!".parse::<SealingSecret>(), Err(BadSealingSecret));
        let secret = parse(&[7; 32]).unwrap();
        assert_eq!(secret.as_bytes(), [7; 32]);
        assert_eq!(format!("{secret:?}"), "SealingSecret(..)");
    }
}
