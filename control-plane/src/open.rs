//! Opening the control plane: its directory, its secrets, and the admin of the first start.

use std::error::Error;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use service::clock;
use service::feed::ChangePublisher;
use sqlx::migrate::MigrateError;
use store::Store;

use crate::ControlPlane;
use crate::email::Email;
use crate::metadata::Metadata;
use crate::metrics::ControlPlaneMetrics;
use crate::password::{Hashing, Password};
use crate::registry::users::NewUser;
use crate::registry::{ConnectError, Registry, RegistryError};
use crate::relay::RelayError;
use crate::seal::Sealer;
use crate::secrets::{self, TokenSecrets};
use crate::tokens::Tokens;

type BoxError = Box<dyn Error + Send + Sync>;

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
    pub admin_email: Email,
    /// Password of that admin; without one a random one is made. Only the first start looks at it.
    pub admin_password: Option<Password>,
    /// What signs login tokens. Without them the directory's own are used, and made where there are none.
    pub token_secrets: Option<TokenSecrets>,
}

impl Config {
    /// Settings for a directory.
    pub fn new(directory: impl AsRef<Path>, admin_email: Email, admin_password: Option<Password>) -> Self {
        Self { directory: directory.as_ref().to_owned(), admin_email, admin_password, token_secrets: None }
    }
}

/// What the control plane works with.
#[derive(Clone)]
pub struct Parts {
    /// Where changes of access are published.
    pub feed: Arc<dyn ChangePublisher>,
    /// Where the records of deleted things and channels are deleted.
    pub store: Arc<dyn Store>,
    /// What it measures.
    pub metrics: ControlPlaneMetrics,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
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
    /// The registry can't be opened, brought up to date or asked. Nothing is known to be wrong with what is stored.
    #[error("the registry can't be used")]
    Registry(#[source] BoxError),
    /// What is stored is no registry, or damaged; a person has to look.
    #[error("the registry is damaged")]
    Damaged(#[source] BoxError),
    /// Changes of access that an earlier run left can't be published.
    #[error("the change feed can't be used")]
    Feed(#[source] BoxError),
    /// A newer build wrote the registry: this one leaves it alone. Start the newer one.
    #[error("this build can't use the registry")]
    Newer(#[source] BoxError),
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
        feed: Arc<dyn ChangePublisher>,
        store: Arc<dyn Store>,
    ) -> Result<(Self, FirstStart), OpenError> {
        Self::open_with(config, Parts { feed, store, metrics: ControlPlaneMetrics::default() }).await
    }

    /// [`ControlPlane::open`] of one that measures what it does.
    ///
    /// # Errors
    /// As [`ControlPlane::open`].
    pub async fn open_with(config: Config, parts: Parts) -> Result<(Self, FirstStart), OpenError> {
        let directory = &config.directory;
        fs::create_dir_all(directory)
            .map_err(|source| OpenError::Path { path: directory.clone(), source })?;
        let registry = open_registry(&directory.join("registry.sqlite")).await?;
        let sealer = open_sealer(&registry, directory).await?;
        let tokens = Tokens::new(token_secrets(&config)?.as_slice());
        let app = Self::assemble(registry, parts, tokens, sealer);
        let first_start = app.create_admin(&config).await?;
        app.relay().publish(app.registry()).await.map_err(published)?;
        app.relay().tidy(app.registry()).await.map_err(asked)?;
        Ok((app, first_start))
    }

    async fn create_admin(&self, config: &Config) -> Result<FirstStart, OpenError> {
        if self.registry().has_users().await.map_err(asked)? {
            return Ok(FirstStart::default());
        }
        let random_password = match config.admin_password {
            Some(_) => None,
            None => {
                let random = secrets::random::<RANDOM_PASSWORD_BYTES>();
                Some(SecretString::from(URL_SAFE_NO_PAD.encode(random)))
            }
        };
        let random = random_password.clone().map(|text| Password::new(text).expect("it is long enough"));
        let password = config.admin_password.clone().or(random).expect("one was given or made");
        let hash = Hashing::new().hash(password).await.expect("nothing else hashes yet");
        let admin = NewUser {
            email: &config.admin_email,
            password_hash: &hash,
            metadata: &Metadata::default(),
            is_admin: true,
        };
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

fn token_secrets(config: &Config) -> Result<TokenSecrets, OpenError> {
    match &config.token_secrets {
        Some(given) => Ok(given.clone()),
        None => secrets::token_secrets(&config.directory).map_err(secret),
    }
}

/// SQLite's codes for a file that is damaged, and for one that is no database. Source: sqlite.org/rescode.html.
const SQLITE_CORRUPT_OR_NOT_A_DATABASE: [&str; 2] = ["11", "26"];

fn asked(error: impl Into<BoxError>) -> OpenError {
    let error = error.into();
    let mut causes = std::iter::successors(Some(&*error as &(dyn Error + 'static)), |&cause| cause.source());
    let reaction = causes.find_map(|cause| {
        if let Some(ConnectError::Newer(_)) = cause.downcast_ref() {
            return Some(OpenError::Newer as fn(BoxError) -> OpenError);
        }
        let is_damage = match (cause.downcast_ref(), cause.downcast_ref(), cause.downcast_ref()) {
            (Some(sqlx::Error::Database(error)), _, _) => {
                error.code().is_some_and(|code| SQLITE_CORRUPT_OR_NOT_A_DATABASE.contains(&&*code))
            }
            (_, Some(RegistryError::Damaged(_)), _) => true,
            (_, _, Some(MigrateError::VersionMismatch(_) | MigrateError::Dirty(_))) => true,
            _ => false,
        };
        is_damage.then_some(OpenError::Damaged as fn(BoxError) -> OpenError)
    });
    reaction.unwrap_or(OpenError::Registry)(error)
}

fn published(error: RelayError) -> OpenError {
    match error {
        RelayError::Registry(error) => asked(error),
        error @ (RelayError::Feed(_) | RelayError::Late) => OpenError::Feed(error.into()),
    }
}

fn secret(error: impl Into<BoxError>) -> OpenError {
    OpenError::Secret(error.into())
}
