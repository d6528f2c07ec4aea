//! The settings of a process that runs some roles of a cluster, and where the others and the engines are.
//!
//! Fields of [`Serve`](super::Serve) like the others. Which role needs which is said in [`crate::config::check`].

use std::net::SocketAddr;

use clap::Args;
use secrecy::SecretString;
use service::internal::{BaseUrl, InternalSecrets};
use store::{CqlConsistency, KeyspaceName};

use super::roles::Role;

/// Where the rest of the cluster is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Cluster {
    /// Roles of this process in a cluster, such as `ingest` or `reader,control-plane`; the engines keep everything then. Without
    /// a role the whole pipeline runs in this process, on its data directory.
    #[arg(long, env = "THALWEG_ROLE", value_enum, value_delimiter = ',', value_name = "ROLES")]
    pub(crate) role: Vec<Role>,

    /// Kafka: addresses of some of the brokers. For the roles ingest, writer, control-plane and webhooks.
    #[arg(long, env = "THALWEG_KAFKA_BROKERS", value_delimiter = ',', value_name = "ADDRESSES")]
    pub(crate) kafka_brokers: Vec<String>,

    /// Kafka: name of the topic of accepted packs. The topics of dead letters and of changes of access, and the consumer groups,
    /// have names that begin with it.
    #[arg(long, env = "THALWEG_KAFKA_TOPIC", default_value = "thalweg", value_name = "TOPIC")]
    pub(crate) kafka_topic: String,

    /// Kafka: partitions of that topic, where it does not exist yet. So many writers can work at a time; it can't be changed
    /// later.
    #[arg(long, env = "THALWEG_KAFKA_PARTITIONS", default_value_t = 16, value_name = "PARTITIONS")]
    pub(crate) kafka_partitions: u32,

    /// Kafka: brokers that keep each entry, of topics that do not exist yet.
    #[arg(long, env = "THALWEG_KAFKA_REPLICATION", default_value_t = 3, value_name = "BROKERS")]
    pub(crate) kafka_replication: u16,

    /// Kafka: brokers that must have an entry before it counts as kept, of topics that do not exist yet.
    #[arg(long, env = "THALWEG_KAFKA_IN_SYNC_MIN", default_value_t = 2, value_name = "BROKERS")]
    pub(crate) kafka_in_sync_min: u16,

    /// CQL: addresses of some of the nodes of ScyllaDB or Cassandra. For the roles writer, reader and control-plane.
    #[arg(long, env = "THALWEG_CQL_NODES", value_delimiter = ',', value_name = "ADDRESSES")]
    pub(crate) cql_nodes: Vec<String>,

    /// CQL: the keyspace of the records. It is made if it is not there.
    #[arg(long, env = "THALWEG_CQL_KEYSPACE", default_value = "thalweg", value_name = "KEYSPACE")]
    pub(crate) cql_keyspace: KeyspaceName,

    /// CQL: nodes that keep each record, where the keyspace has to be made.
    #[arg(long, env = "THALWEG_CQL_REPLICAS", default_value_t = 3, value_name = "NODES")]
    pub(crate) cql_replicas: u8,

    /// CQL: nodes that have to have a record before it counts as stored, and are asked in a read: `quorum`, or `local-quorum` where
    /// the database has several data centres and all of Thalweg is in one.
    #[arg(long, env = "THALWEG_CQL_CONSISTENCY", default_value = "quorum", value_name = "CONSISTENCY")]
    pub(crate) cql_consistency: CqlConsistency,

    /// CQL: user to log in as, where the database wants to know.
    #[arg(long, env = "THALWEG_CQL_USER", value_name = "USER")]
    pub(crate) cql_user: Option<String>,

    /// CQL: password of that user.
    #[arg(long, env = "THALWEG_CQL_PASSWORD", hide_env_values = true, hide = true, value_name = "PASSWORD")]
    pub(crate) cql_password: Option<SecretString>,

    /// PostgreSQL: `postgres://user:password@host:port/database` of the registry; `?sslmode=verify-full` and the like are
    /// understood. For the roles control-plane and webhooks.
    #[arg(long, env = "THALWEG_POSTGRES_URL", hide_env_values = true, hide = true, value_name = "URL")]
    pub(crate) postgres_url: Option<control_plane::PostgresUrl>,

    /// Secret that seals the keys of things and the secrets of webhooks in the registry, 32 or more bytes in base64url; all
    /// processes that have it have the same, for ever. For the roles control-plane and webhooks.
    #[arg(long, env = "THALWEG_SEALING_SECRET", hide_env_values = true, hide = true, value_name = "SECRET")]
    pub(crate) sealing_secret: Option<control_plane::SealingSecret>,

    /// Secrets that the roles know each other by, as `name:secret`, the current one first and behind it those that are still
    /// accepted; written like the token secrets. For the roles ingest, reader and control-plane.
    #[arg(
        long,
        env = "THALWEG_INTERNAL_SECRET",
        hide_env_values = true,
        hide = true,
        value_name = "SECRETS"
    )]
    pub(crate) internal_secret: Option<InternalSecrets>,

    /// Address and port where a control plane answers the other roles. Nobody else should reach it.
    #[arg(long, env = "THALWEG_INTERNAL_LISTEN", default_value = "127.0.0.1:8081", value_name = "ADDRESS")]
    pub(crate) internal_listen: SocketAddr,

    /// Where control planes answer the other roles: the URLs of their internal listeners, such as `http://control-plane:8081`. For
    /// the roles ingest and reader, where this process is no control plane itself.
    #[arg(long, env = "THALWEG_CONTROL_PLANE_URL", value_delimiter = ',', value_name = "URLS")]
    pub(crate) control_plane_url: Vec<BaseUrl>,
}
