//! Opening the control plane: its directory, its secrets, and the admin of the first start.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use service::clock;
use service::feed::Feed;
use store::Store;

use crate::ControlPlane;
use crate::email::Email;
use crate::metadata::Metadata;
use crate::password::{Hashing, Password};
use crate::registry::Registry;
use crate::registry::users::NewUser;
use crate::seal::Sealer;
use crate::secrets;
use crate::tokens::Tokens;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Random bytes of the admin's password where none was given.
const RANDOM_PASSWORD_BYTES: usize = 15;
/// What is sealed when a registry is made, to recognise the sealing secret by.
const SEAL_CHECK: &str = "thalweg";

/// Settings of the control plane.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory of the registry and of the secrets. It belongs to one process at a time.
    pub directory: PathBuf,
    /// Email of the admin that the first start creates.
    pub admin_email: String,
    /// Password of that admin; without one a random one is made. Only the first start looks at it.
    pub admin_password: Option<SecretString>,
}

impl Config {
    /// Settings for a directory.
    pub fn new(
        directory: impl AsRef<Path>,
        admin_email: impl Into<String>,
        admin_password: Option<String>,
    ) -> Self {
        Self {
            directory: directory.as_ref().to_owned(),
            admin_email: admin_email.into(),
            admin_password: admin_password.map(SecretString::from),
        }
    }
}

/// What the first start made that has to be told to a person, once.
#[derive(Debug, Default)]
pub struct FirstStart {
    random_password: Option<SecretString>,
}

impl FirstStart {
    /// The admin's password, if this was the first start and none was given.
    pub fn random_password(&self) -> Option<&str> {
        self.random_password.as_ref().map(|password| password.expose_secret())
    }
}

/// Why the control plane can't start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory or a file in it can't be used.
    #[error("{} can't be used", path.display())]
    Path {
        /// What can't be used.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A secret can't be read, or is malformed.
    #[error("a secret can't be used")]
    Secret(#[source] BoxError),
    /// The registry's thing keys were sealed by another secret than the one at hand, or there is none.
    #[error("{} does not belong to this registry: put the file back that was made with it", path.display())]
    SealingSecret {
        /// Where the secret has to be.
        path: PathBuf,
    },
    /// The registry can't be opened, brought up to date or asked.
    #[error("the registry can't be used")]
    Registry(#[source] BoxError),
    /// The first start can't create the admin with what it was given.
    #[error("the admin can't be created: {0}")]
    Admin(String),
}

impl ControlPlane {
    /// Opens the registry of a directory; on the first start, makes it, its secrets and an admin.
    ///
    /// Changes that a crash kept from being published are published before it returns.
    ///
    /// # Errors
    /// [`OpenError`] says what is in the way. Nothing that exists was changed.
    pub async fn open(
        config: Config,
        feed: Arc<Feed>,
        store: Arc<dyn Store>,
    ) -> Result<(Self, FirstStart), OpenError> {
        let directory = &config.directory;
        fs::create_dir_all(directory)
            .map_err(|source| OpenError::Path { path: directory.clone(), source })?;
        let registry = open_registry(&directory.join("registry.sqlite")).await?;
        let sealer = open_sealer(&registry, directory).await?;
        let tokens = Tokens::new(&secrets::token_secrets(directory).map_err(secret)?);
        let app = Self::assemble(registry, store, feed, tokens, sealer);
        let first_start = app.create_admin(&config).await?;
        app.relay().publish(app.registry()).await.map_err(asked)?;
        app.relay().tidy(app.registry()).await.map_err(asked)?;
        Ok((app, first_start))
    }

    async fn create_admin(&self, config: &Config) -> Result<FirstStart, OpenError> {
        if self.registry().has_users().await.map_err(asked)? {
            return Ok(FirstStart::default());
        }
        let email = Email::parse(&config.admin_email)
            .map_err(|error| OpenError::Admin(format!("the email {error}")))?;
        let random_password = match config.admin_password {
            Some(_) => None,
            None => {
                let random = secrets::random::<RANDOM_PASSWORD_BYTES>();
                Some(SecretString::from(URL_SAFE_NO_PAD.encode(random)))
            }
        };
        let password = config.admin_password.as_ref().or(random_password.as_ref());
        let password = password.expect("one was given or made").clone();
        let password =
            Password::new(password).map_err(|error| OpenError::Admin(format!("the password {error}")))?;
        let hash = Hashing::new().hash(password).await.map_err(|busy| OpenError::Admin(busy.to_string()))?;
        let admin =
            NewUser { email: &email, password_hash: &hash, metadata: &Metadata::default(), is_admin: true };
        self.registry().create_user(admin, clock::unix_micros()).await.map_err(asked)?;
        Ok(FirstStart { random_password })
    }
}

/// The file is made before the engine does, because only its owner may read it.
async fn open_registry(file: &Path) -> Result<Registry, OpenError> {
    let made = OpenOptions::new().create(true).append(true).mode(0o600).open(file);
    made.map_err(|source| OpenError::Path { path: file.to_owned(), source })?;
    Registry::open(file).await.map_err(asked)
}

/// A registry knows its sealing secret: a lost one is noticed here, and not when the first key is to be shown.
async fn open_sealer(registry: &Registry, directory: &Path) -> Result<Sealer, OpenError> {
    let check = registry.seal_check().await.map_err(asked)?;
    let path = secrets::sealing_secret_file(directory);
    if check.is_some() && !path.exists() {
        return Err(OpenError::SealingSecret { path });
    }
    let sealer = Sealer::new(&secrets::sealing_secret(directory).map_err(secret)?);
    match check {
        None => registry.set_seal_check(&sealer.seal_text(b"check", SEAL_CHECK)).await.map_err(asked)?,
        Some(sealed) if sealer.open_text(b"check", &sealed).as_deref() == Some(SEAL_CHECK) => {}
        Some(_) => return Err(OpenError::SealingSecret { path }),
    }
    Ok(sealer)
}

fn asked(error: impl Into<BoxError>) -> OpenError {
    OpenError::Registry(error.into())
}

fn secret(error: impl Into<BoxError>) -> OpenError {
    OpenError::Secret(error.into())
}
