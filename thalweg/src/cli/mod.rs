//! The command line: what can be run, and every setting, defined once.
//!
//! A setting is a field of [`Serve`], or of [`Cluster`], which is a part of it. From that field come its flag, its variable, its key in the file, its line in
//! `thalweg config show`, and its place in `deploy/thalweg.example.toml` and `docs/configuration.md`: see [`crate::config`].
//!
//! To add one, add a field: `long`, `env` (`THALWEG_` and the name), a default, and a value name that is its unit. `BYTES` and
//! `DURATION` are read and printed with units. `hide_env_values` marks a secret, which also gets a variable ending in
//! `_FILE`; a secret without a flag is marked `hide`, too. Then run `make generated`. What has to hold between two settings
//! stands in [`crate::config::check`].

pub(crate) mod cluster;
pub(crate) mod roles;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;
use service::client_address::Proxies;
use service::rate::Rate;

use crate::cli::cluster::Cluster;
use crate::config::values::{bytes, filter};
use crate::dead_letters::DeadLetters;
use crate::demo::Demo;

/// A telemetry pipeline: things publish SenML over HTTP, every accepted record is kept, and read back as time series.
#[derive(Debug, Parser)]
#[command(name = "thalweg", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the whole pipeline in this process, with its data in one directory; or some roles of a cluster.
    Serve(Configured),
    /// Show, check or explain the settings, without starting anything.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Bring the tables of the registry, the schema of the store and the topics of the log up to date, and end. The roles do the
    /// same when they start; a deployment that wants it done before, and by one process, runs this.
    Migrate(Configured),
    /// Show the packs that could not be stored, and have them tried again.
    #[command(subcommand)]
    DeadLetters(DeadLetters),
    /// Watch a small fleet publish, on a server of its own that leaves nothing behind, or on one that runs already.
    Demo(Demo),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the settings that `thalweg serve` would run with, and where each comes from. Secrets are left out.
    Show(Configured),
    /// Check file, environment and flags. Ends with 0 if a server could run with them, else with 78.
    Check(Configured),
    /// Print a file with every setting, its meaning and its default.
    Example,
    /// Print docs/configuration.md.
    #[command(hide = true)]
    Reference,
}

/// The settings, and the file that they may come from.
#[derive(Debug, Args)]
pub(crate) struct Configured {
    /// File of settings, in TOML. A flag goes before a variable, and a variable before the file.
    #[arg(long, env = "THALWEG_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) settings: Serve,
}

/// Settings of `thalweg serve`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Serve {
    /// Address and port to listen on, for all APIs. Port 0 takes a free one.
    #[arg(long, env = "THALWEG_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,

    /// Directory that holds all data. It is created if it is missing, and belongs to one process at a time. In a cluster nothing is
    /// kept in it.
    #[arg(long, env = "THALWEG_DATA_DIR", default_value = "thalweg-data", value_name = "DIRECTORY")]
    pub(crate) data_dir: PathBuf,

    /// Email of the admin that the first start creates.
    #[arg(long, env = "THALWEG_ADMIN_EMAIL", default_value = "admin@example.com", value_name = "EMAIL")]
    pub(crate) admin_email: control_plane::Email,

    /// Password of that admin, at least 8 characters. Without one the first start makes a random one. Prefer the variable or
    /// a file: other users of the machine can see a flag.
    #[arg(long, env = "THALWEG_ADMIN_PASSWORD", hide_env_values = true, value_name = "PASSWORD")]
    pub(crate) admin_password: Option<control_plane::Password>,

    /// Secrets that sign login tokens, as `kid:secret`, the current one first and behind it, separated by commas or white
    /// space, those that are still accepted; a secret is 32 or more bytes in base64url. Without them the first start makes
    /// one and keeps it in the data directory.
    #[arg(long, env = "THALWEG_TOKEN_SECRET", hide_env_values = true, hide = true, value_name = "SECRETS")]
    pub(crate) token_secret: Option<control_plane::TokenSecrets>,

    /// What is logged: `error`, `warn`, `info`, `debug`, or per module as in `info,thalweg_writer=debug`.
    #[arg(long, env = "THALWEG_LOG_FILTER", default_value = "info,fjall=warn,lsm_tree=warn,scylla=warn", value_parser = filter, value_name = "FILTER")]
    pub(crate) log_filter: String,

    /// How a line of the log looks: `json`, `text`, or `auto`: text on a terminal, JSON elsewhere.
    #[arg(long, env = "THALWEG_LOG_FORMAT", default_value = "auto", value_name = "FORMAT")]
    pub(crate) log_format: service::telemetry::Format,

    /// Size of one published pack, after inflation.
    #[arg(long, env = "THALWEG_BODY_BYTES_MAX", default_value_t = domain::limits::BODY_BYTES_MAX, value_parser = bytes::<usize>, value_name = "BYTES")]
    pub(crate) body_bytes_max: usize,

    /// Records of one published pack.
    #[arg(
        long,
        env = "THALWEG_RECORDS_PER_PACK_MAX",
        default_value_t = domain::limits::RECORDS_PER_PACK_MAX,
        value_name = "RECORDS"
    )]
    pub(crate) records_per_pack_max: usize,

    /// Memory that packs on their way into the log may take; past it they are answered 503.
    #[arg(long, env = "THALWEG_IN_FLIGHT_BYTES_MAX", default_value_t = 256 << 20, value_parser = bytes::<usize>, value_name = "BYTES")]
    pub(crate) in_flight_bytes_max: usize,

    /// How long a client may take to send the head of a request, and be idle between two, such as `30s`.
    #[arg(long, env = "THALWEG_HEADER_TIMEOUT", default_value = "30s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub(crate) header_timeout: Duration,

    /// How long a client may take to send the whole body of a request.
    #[arg(long, env = "THALWEG_BODY_TIMEOUT", default_value = "30s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub(crate) body_timeout: Duration,

    /// How long a client may take to take a whole answer.
    #[arg(long, env = "THALWEG_WRITE_TIMEOUT", default_value = "30s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub(crate) write_timeout: Duration,

    /// How long a stop waits for requests in flight.
    #[arg(long, env = "THALWEG_DRAIN_TIMEOUT", default_value = "20s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub(crate) drain_timeout: Duration,

    /// Open connections; more wait until one ends.
    #[arg(long, env = "THALWEG_CONNECTIONS_MAX", default_value_t = 16_000, value_name = "CONNECTIONS")]
    pub(crate) connections_max: usize,

    /// Open connections of one address; one more is closed at once. No limit by default.
    #[arg(long, env = "THALWEG_CONNECTIONS_PER_ADDRESS_MAX", value_name = "CONNECTIONS")]
    pub(crate) connections_per_address_max: Option<usize>,

    /// Requests a second that one address may make, such as `50`, or `50:200` with 200 at once; past it they are answered 429.
    /// No limit by default.
    #[arg(long, env = "THALWEG_RATE_PER_ADDRESS", value_name = "RATE[:BURST]")]
    pub(crate) rate_per_address: Option<Rate>,

    /// Publishes and reads a second that one thing may make, such as `0.5`, or `0.5:10` with 10 at once; past it they are
    /// answered 429. No limit by default.
    #[arg(long, env = "THALWEG_RATE_PER_THING", value_name = "RATE[:BURST]")]
    pub(crate) rate_per_thing: Option<Rate>,

    /// Networks of proxies whose `X-Forwarded-For` is believed, such as `10.0.0.0/8,192.0.2.1`. None by default.
    #[arg(long, env = "THALWEG_TRUSTED_PROXIES", value_delimiter = ',', value_parser = Proxies::parse_network, value_name = "NETWORKS")]
    pub(crate) trusted_proxies: Vec<IpNet>,

    /// Size that the log of stored packs may grow to before its oldest are deleted. What is not stored yet is kept.
    #[arg(long, env = "THALWEG_LOG_RETENTION_BYTES", default_value_t = 1 << 30, value_parser = bytes::<u64>, value_name = "BYTES")]
    pub(crate) log_retention_bytes: u64,

    /// Age that stored packs in the log may reach before they are deleted, such as `7days`. In a cluster, of a topic that does not
    /// exist yet, and whether they are stored or not.
    #[arg(long, env = "THALWEG_LOG_RETENTION_AGE", default_value = "7days", value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub(crate) log_retention_age: Duration,

    /// Whether webhooks may lead to private and loopback addresses, and be without TLS: for tests, and where whoever
    /// makes webhooks is trusted with the network of this server. In a cluster, for the roles control-plane and webhooks.
    #[arg(long, env = "THALWEG_WEBHOOKS_ALLOW_PRIVATE")]
    pub(crate) webhooks_allow_private: bool,

    #[command(flatten)]
    pub(crate) cluster: Cluster,
}
