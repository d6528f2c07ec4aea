//! Opens the parts of a process that runs some roles of a cluster: each role its own connections, and no others.

use std::sync::Arc;

use anyhow::Context as _;
use control_plane::delivery::{Courier, DeliveryMetrics};
use control_plane::{ControlPlane, ControlPlaneMetrics, FirstStart, RegistryConfig};
use ingest::IngestMetrics;
use log::{KafkaConfig, KafkaLog, Log, LogMetrics};
use reader::ReaderMetrics;
use service::access_cache::{AccessCache, AccessCacheConfig};
use service::authority::Authority;
use service::clock::ReceptionClock;
use service::consumer_status::ConsumerStatus;
use service::feed::kafka::{KafkaFeed, KafkaFeedConfig, KafkaPublisher};
use service::internal::{InternalSecrets, RemoteAuthority, RemoteConfig};
use service::metrics::{AccessMetrics, FeedMetrics, RemoteAuthorityMetrics};
use store::planner::CursorKey;
use store::{CqlConfig, CqlStore, Store};
use tokio::net::TcpListener;
use writer::WriterMetrics;

use super::deliveries;
use super::node::{Internal, Node};
use crate::cli::Serve;
use crate::cli::cluster::Cluster;
use crate::cli::roles::Role;
use crate::exit::Step;
use crate::operation::Operation;

/// Opens what the roles need.
///
/// What all nodes of a role share is no check of an ingest node or a control plane: without brokers none of them could do
/// better, and a client is told more by their 503 than by a proxy that has nobody left.
pub(super) async fn open(settings: &Serve) -> anyhow::Result<Node> {
    let cluster = &settings.cluster;
    let has = |role| cluster.role.contains(&role);
    let mut operation = Operation::new();
    let registry = operation.registry.clone();
    let log = match has(Role::Ingest) || has(Role::Writer) || has(Role::Webhooks) {
        true => Some(log(settings, LogMetrics::register(&registry)).await?),
        false => None,
    };
    let store = match has(Role::Writer) || has(Role::Reader) || has(Role::ControlPlane) {
        true => Some(store(cluster).await?),
        false => None,
    };
    let (control_plane, first_start, internal) = match (&store, has(Role::ControlPlane)) {
        (Some(store), true) => {
            let (control_plane, first_start) = open_control_plane(settings, store, &mut operation).await?;
            let listener = TcpListener::bind(cluster.internal_listen)
                .await
                .with_context(|| Step::ListenInternally(cluster.internal_listen))?;
            let router = control_plane.internal_router(internal_secret(cluster)?);
            (Some(control_plane), first_start, Some(Internal { listener, router }))
        }
        _ => (None, FirstStart::default(), None),
    };
    let authority = match (&control_plane, has(Role::Ingest) || has(Role::Reader)) {
        (_, false) => None,
        (Some(control_plane), true) => Some(control_plane.authority()),
        (None, true) => Some(remote_authority(cluster, &mut operation)?),
    };
    let ingest = match (&log, &authority) {
        (Some(log), Some(authority)) if has(Role::Ingest) => Some(ingest::Parts {
            log: Arc::clone(log),
            access: open_access(settings, authority, &mut operation).await?,
            clock: Arc::new(ReceptionClock::behind(None)),
            metrics: IngestMetrics::register(&registry),
        }),
        _ => None,
    };
    let reader = match (&store, authority) {
        (Some(store), Some(authority)) if has(Role::Reader) => {
            operation.watch_store(store);
            Some(reader::Parts {
                store: Arc::clone(store),
                authority,
                cursor_key: CursorKey::from_bytes(&internal_secret(cluster)?.derive_key("cursor")),
                metrics: ReaderMetrics::register(&registry),
            })
        }
        _ => None,
    };
    let writer = match (&log, store) {
        (Some(log), Some(store)) if has(Role::Writer) => {
            let status = ConsumerStatus::default();
            operation.watch_log(log);
            operation.watch_consumer("writer", &status);
            let metrics = WriterMetrics::register(&registry);
            Some(writer::Parts { log: Arc::clone(log), store, metrics, status })
        }
        _ => None,
    };
    let courier = match has(Role::Webhooks) {
        true => Some(open_courier(settings, control_plane.as_ref(), &mut operation).await?),
        false => None,
    };
    Ok(Node {
        operation,
        ingest,
        reader,
        writer,
        courier,
        control_plane,
        internal,
        log,
        upkeep: Vec::new(),
        first_start,
        directory: None,
    })
}

/// The log, for who reads and appends and runs no role.
pub(super) async fn log(settings: &Serve, metrics: LogMetrics) -> anyhow::Result<Arc<dyn Log>> {
    let cluster = &settings.cluster;
    let config = KafkaConfig {
        brokers: cluster.kafka_brokers.join(","),
        topic: cluster.kafka_topic.clone(),
        lanes: cluster.kafka_partitions,
        replication: cluster.kafka_replication,
        in_sync_min: cluster.kafka_in_sync_min,
        retention_age: settings.log_retention_age,
        ..KafkaConfig::default()
    };
    let log = KafkaLog::open_measured(config, metrics).await;
    Ok(Arc::new(log.with_context(|| Step::Reach("Kafka", "kafka_brokers"))?))
}

/// Makes the topics of the log and of the change feed where they are missing.
pub(crate) async fn topics(settings: &Serve) -> anyhow::Result<()> {
    log(settings, LogMetrics::default()).await?.close().await;
    let feed = KafkaPublisher::open(feed_config(settings)).await;
    feed.map(drop).with_context(|| Step::Reach("Kafka", "kafka_brokers"))
}

/// The store, with its schema up to date.
pub(crate) async fn store(cluster: &Cluster) -> anyhow::Result<Arc<dyn Store>> {
    let config = CqlConfig {
        replicas: cluster.cql_replicas,
        consistency: cluster.cql_consistency,
        login: cluster.cql_user.clone().zip(cluster.cql_password.clone()),
        ..CqlConfig::new(cluster.cql_nodes.clone(), cluster.cql_keyspace.clone())
    };
    let store = CqlStore::open(config).await.with_context(|| Step::Reach("the store", "cql_nodes"))?;
    Ok(Arc::new(store))
}

async fn open_control_plane(
    settings: &Serve,
    store: &Arc<dyn Store>,
    operation: &mut Operation,
) -> anyhow::Result<(ControlPlane, FirstStart)> {
    let cluster = &settings.cluster;
    let feed = KafkaPublisher::open(feed_config(settings)).await;
    let feed = feed.with_context(|| Step::Reach("Kafka", "kafka_brokers"))?;
    let registry = RegistryConfig::Postgres {
        url: given(cluster.postgres_url.clone())?,
        token_secrets: given(settings.token_secret.clone())?,
        sealing_secret: given(cluster.sealing_secret.clone())?,
    };
    let config = control_plane::Config {
        registry,
        admin_email: settings.admin_email.clone(),
        admin_password: settings.admin_password.clone(),
        deliveries: deliveries(settings),
    };
    let parts = control_plane::Parts {
        feed: Arc::new(feed),
        store: Arc::clone(store),
        metrics: ControlPlaneMetrics::register(&operation.registry),
        delivery_metrics: DeliveryMetrics::register(&operation.registry),
    };
    let (control_plane, first_start) =
        ControlPlane::open_with(config, parts).await.context("can't open the registry")?;
    operation.watch_registry(&control_plane);
    Ok((control_plane, first_start))
}

/// What delivers: on the control plane's own connections, where this process is one.
async fn open_courier(
    settings: &Serve,
    control_plane: Option<&ControlPlane>,
    operation: &mut Operation,
) -> anyhow::Result<Courier> {
    let courier = match control_plane {
        Some(control_plane) => control_plane.courier().clone(),
        None => {
            let url = given(settings.cluster.postgres_url.clone())?;
            let secret = given(settings.cluster.sealing_secret.clone())?;
            let metrics = DeliveryMetrics::register(&operation.registry);
            let courier = Courier::open(&url, &secret, deliveries(settings), metrics).await;
            courier.context("can't open the registry")?
        }
    };
    operation.watch_consumer("webhooks", &courier.status());
    Ok(courier)
}

fn remote_authority(cluster: &Cluster, operation: &mut Operation) -> anyhow::Result<Arc<dyn Authority>> {
    let config = RemoteConfig::new(cluster.control_plane_url.clone(), internal_secret(cluster)?);
    let authority = RemoteAuthority::new(config, RemoteAuthorityMetrics::register(&operation.registry));
    let shown = authority.clone();
    operation.registry.before_scrape(move || shown.show_state());
    Ok(Arc::new(authority))
}

/// The cache, on a feed whose end was found before the cache holds anything.
async fn open_access(
    settings: &Serve,
    authority: &Arc<dyn Authority>,
    operation: &mut Operation,
) -> anyhow::Result<Arc<AccessCache>> {
    let feed = KafkaFeed::open(feed_config(settings), FeedMetrics::register(&operation.registry)).await;
    let feed = Arc::new(feed.with_context(|| Step::Reach("Kafka", "kafka_brokers"))?);
    let access = AccessCache::new(&AccessCacheConfig::default(), Arc::clone(authority), &*feed);
    let access = Arc::new(access.measured(AccessMetrics::register(&operation.registry)));
    operation.watch_access(&access);
    // It is followed for as long as somebody shows how it stands.
    operation.registry.before_scrape(move || feed.show_state());
    Ok(access)
}

fn feed_config(settings: &Serve) -> KafkaFeedConfig {
    let cluster = &settings.cluster;
    KafkaFeedConfig {
        brokers: cluster.kafka_brokers.join(","),
        topic: format!("{}.changes", cluster.kafka_topic),
        replication: cluster.kafka_replication,
        in_sync_min: cluster.kafka_in_sync_min,
        ..KafkaFeedConfig::default()
    }
}

fn internal_secret(cluster: &Cluster) -> anyhow::Result<InternalSecrets> {
    given(cluster.internal_secret.clone())
}

/// What the settings were checked to have.
fn given<T>(setting: Option<T>) -> anyhow::Result<T> {
    setting.context("a setting is missing that the roles need")
}
