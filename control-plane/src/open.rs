//! Opening the control plane: its registry, its secrets, and the admin of the first start.

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
use crate::delivery::{Courier, DeliveryConfig, DeliveryMetrics};
use crate::email::Email;
use crate::metadata::Metadata;
use crate::metrics::ControlPlaneMetrics;
use crate::password::{Hashing, Password};
use crate::postgres_url::PostgresUrl;
use crate::registry::users::NewUser;
use crate::registry::{ConnectError, Registry, RegistryError};
use crate::relay::RelayError;
use crate::seal::Sealer;
use crate::secrets::{self, SealingSecret, TokenSecrets};
use crate::tokens::Tokens;

type BoxError = Box<dyn Error + Send + Sync>;

/// Random bytes of the admin's password where none was given.
const RANDOM_PASSWORD_BYTES: usize = 15;
/// What is sealed when a registry is made, to recognise the sealing secret by.
const SEAL_CHECK: &str = "thalweg";

/// Settings of the control plane.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the registry is.
    pub registry: RegistryConfig,
    /// Email of the admin that the first start creates.
    pub admin_email: Email,
    /// Password of that admin. Only the first start looks at it. In a directory a random one is made where none is given; on a
    /// server that several processes start on, one has to be.
    pub admin_password: Option<Password>,
    /// How deliveries to webhooks are made, where this process makes them, and which endpoints they may have.
    pub deliveries: DeliveryConfig,
}

/// Where the registry is, and with which secrets.
#[derive(Debug, Clone)]
pub enum RegistryConfig {
    /// In a directory.
    Directory {
        /// It belongs to one process at a time. The sealing secret is in it, and made where there is none.
        directory: PathBuf,
        /// What signs login tokens. Without them the directory's own are used, and made where there are none.
        token_secrets: Option<TokenSecrets>,
    },
    /// On a server that any number of control planes share. All of them have the same secrets.
    Postgres {
        /// The server, the login, and the database.
        url: PostgresUrl,
        /// What signs login tokens.
        token_secrets: TokenSecrets,
        /// What seals thing keys.
        sealing_secret: SealingSecret,
    },
}

impl Config {
    /// Settings for a directory, with its own secrets.
    pub fn new(directory: impl AsRef<Path>, admin_email: Email, admin_password: Option<Password>) -> Self {
        let directory = directory.as_ref().to_owned();
        Self {
            registry: RegistryConfig::Directory { directory, token_secrets: None },
            admin_email,
            admin_password,
            deliveries: DeliveryConfig::default(),
        }
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
    /// What its deliveries measure.
    pub delivery_metrics: DeliveryMetrics,
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
    /// The registry's thing keys were sealed by another secret than the one that is given.
    #[error("THALWEG_SEALING_SECRET is not the secret that this registry was made with")]
    GivenSealingSecret,
    /// There is no user yet, and several processes may be starting: none of them can tell a person a random password.
    #[error(
        "there is no admin yet: the first start on PostgreSQL takes a password for it in THALWEG_ADMIN_PASSWORD"
    )]
    NoAdminPassword,
    /// The server does not answer.
    #[error("PostgreSQL can't be reached at {place} (THALWEG_POSTGRES_URL)")]
    Unreachable {
        /// Host, port and database.
        place: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The server does not let us in, or not do what we have to.
    #[error("PostgreSQL at {place} refuses us: look at user, password and database in THALWEG_POSTGRES_URL")]
    Refused {
        /// Host, port and database.
        place: String,
        /// What it says.
        #[source]
        source: BoxError,
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
    /// Opens the registry; on the first start, makes it, its secrets and an admin.
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
        let metrics = ControlPlaneMetrics::default();
        Self::open_with(config, Parts { feed, store, metrics, delivery_metrics: DeliveryMetrics::default() })
            .await
    }

    /// [`ControlPlane::open`] of one that measures what it does.
    ///
    /// # Errors
    /// As [`ControlPlane::open`].
    pub async fn open_with(config: Config, parts: Parts) -> Result<(Self, FirstStart), OpenError> {
        let (registry, sealer, tokens) = match &config.registry {
            RegistryConfig::Directory { directory, token_secrets } => {
                open_directory(directory, token_secrets.as_ref()).await?
            }
            RegistryConfig::Postgres { url, token_secrets, sealing_secret } => {
                let registry = Registry::connect(url).await.map_err(|error| connected(error, url))?;
                let sealer =
                    check_sealer(&registry, sealing_secret, || OpenError::GivenSealingSecret).await?;
                (registry, sealer, Tokens::new(token_secrets.as_slice()))
            }
        };
        let app = Self::assemble(registry, parts, tokens, sealer, config.deliveries.clone());
        let first_start = app.create_admin(&config).await?;
        app.relay().publish(app.registry()).await.map_err(published)?;
        app.registry().tidy_outbox().await.map_err(asked)?;
        Ok((app, first_start))
    }

    async fn create_admin(&self, config: &Config) -> Result<FirstStart, OpenError> {
        if self.registry().has_users().await.map_err(asked)? {
            return Ok(FirstStart::default());
        }
        let random_password = match config.admin_password {
            Some(_) => None,
            None if self.registry().is_shared() => return Err(OpenError::NoAdminPassword),
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
        self.registry().create_first_user(admin, clock::unix_micros()).await.map_err(asked)?;
        Ok(FirstStart { random_password })
    }
}

impl Courier {
    /// Opens what delivers, on a registry that control planes share, for a process that is none of them.
    ///
    /// # Errors
    /// [`OpenError`] says what is in the way.
    pub async fn open(
        url: &PostgresUrl,
        sealing_secret: &SealingSecret,
        config: DeliveryConfig,
        metrics: DeliveryMetrics,
    ) -> Result<Self, OpenError> {
        let registry = Registry::connect(url).await.map_err(|error| connected(error, url))?;
        let sealer = check_sealer(&registry, sealing_secret, || OpenError::GivenSealingSecret).await?;
        Ok(Self::new(Arc::new(registry), Arc::new(sealer), config, metrics, Arc::default()))
    }
}

/// What a run of [`migrate`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationReport {
    /// Versions of the tables that were not there before, in their order. None: they were up to date.
    pub applied: Vec<i64>,
}

/// Brings the tables on a server up to date, and does nothing else. Opening a control plane does it too; a deployment that
/// wants it done before the first of them starts, runs this. Several may run at once.
///
/// # Errors
/// [`OpenError`] says what is in the way.
pub async fn migrate(url: &PostgresUrl) -> Result<MigrationReport, OpenError> {
    let applied = Registry::migrate(url).await.map_err(|error| connected(error, url))?;
    Ok(MigrationReport { applied })
}

async fn open_directory(
    directory: &Path,
    given: Option<&TokenSecrets>,
) -> Result<(Registry, Sealer, Tokens), OpenError> {
    let unusable = |path: &Path| {
        let path = path.to_owned();
        |source| OpenError::Path { path, source }
    };
    fs::create_dir_all(directory).map_err(unusable(directory))?;
    // The file is made before the engine does, because only its owner may read it.
    let file = directory.join("registry.sqlite");
    let made = OpenOptions::new().create(true).append(true).mode(0o600).open(&file);
    made.map_err(unusable(&file))?;
    let registry = Registry::open(&file).await.map_err(asked)?;
    let sealer = open_sealer(&registry, directory).await?;
    let tokens = match given {
        Some(given) => Tokens::new(given.as_slice()),
        None => Tokens::new(secrets::token_secrets(directory).map_err(secret)?.as_slice()),
    };
    Ok((registry, sealer, tokens))
}

/// A lost secret is noticed before another is made in its place.
async fn open_sealer(registry: &Registry, directory: &Path) -> Result<Sealer, OpenError> {
    let path = secrets::sealing_secret_file(directory);
    if !path.exists() && registry.seal_check().await.map_err(asked)?.is_some() {
        return Err(OpenError::SealingSecret { path });
    }
    let secret = secrets::sealing_secret(directory).map_err(secret)?;
    check_sealer(registry, &secret, || OpenError::SealingSecret { path }).await
}

/// A registry knows its sealing secret: a wrong one is noticed here, and not when the first key is to be shown. The first one
/// that a new registry is opened with becomes its own, whoever else opens it at the same time.
async fn check_sealer(
    registry: &Registry,
    secret: &SealingSecret,
    foreign: impl FnOnce() -> OpenError,
) -> Result<Sealer, OpenError> {
    let sealer = Sealer::new(secret.as_bytes());
    let mut check = registry.seal_check().await.map_err(asked)?;
    if check.is_none() {
        registry.set_seal_check(&sealer.seal_text(b"check", SEAL_CHECK)).await.map_err(asked)?;
        check = registry.seal_check().await.map_err(asked)?;
    }
    let is_own =
        check.is_some_and(|sealed| sealer.open_text(b"check", &sealed).as_deref() == Some(SEAL_CHECK));
    if is_own { Ok(sealer) } else { Err(foreign()) }
}

/// PostgreSQL's codes for a login that it refuses, a database that is not there, and what the login may not do. Source:
/// postgresql.org/docs/current/errcodes-appendix.html.
const POSTGRES_REFUSALS: [&str; 4] = ["28000", "28P01", "3D000", "42501"];

/// What a server said, or that it said nothing.
fn connected(error: ConnectError, url: &PostgresUrl) -> OpenError {
    let place = url.place().to_owned();
    match code(&error) {
        Some(code) if POSTGRES_REFUSALS.contains(&&*code) => {
            OpenError::Refused { place, source: error.into() }
        }
        None if matches!(error, ConnectError::Encoding(_)) => {
            OpenError::Refused { place, source: error.into() }
        }
        None if matches!(error, ConnectError::Open(_)) => {
            OpenError::Unreachable { place, source: error.into() }
        }
        _ => asked(error),
    }
}

/// The code of the engine's answer, if it gave one.
fn code(error: &ConnectError) -> Option<String> {
    let error: &(dyn Error + 'static) = error;
    let mut causes = std::iter::successors(Some(error), |&cause| cause.source());
    causes.find_map(|cause| match cause.downcast_ref() {
        Some(sqlx::Error::Database(error)) => error.code().map(Into::into),
        _ => None,
    })
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
        RelayError::Together(error) if matches!(*error, RelayError::Registry(_)) => asked(error),
        error => OpenError::Feed(error.into()),
    }
}

fn secret(error: impl Into<BoxError>) -> OpenError {
    OpenError::Secret(error.into())
}
