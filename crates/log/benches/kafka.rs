//! How many one-entry appends a second does the log on Kafka acknowledge, and how long does each wait, with few and many
//! callers that each wait for their answer: as ratios against bare producers of the same client with a fixed linger?
//!
//! Closed loop, each way in turns on the same broker, which takes about half of the machine. `deploy/engines with kafka --
//! cargo bench -p thalweg-log --features engines --bench kafka`. Payload: a pack of five records, about 300 bytes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::{Entry, ThingId};
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use thalweg_log::suite::entry;
use thalweg_log::{KafkaConfig, KafkaLog, Log};

const CALLERS: [usize; 4] = [1, 64, 256, 1_024];
const ROUNDS: usize = 3;
const RUN: Duration = Duration::from_millis(1_500);
const LANES: u32 = 16;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be started");
    runtime.block_on(compare());
}

/// One way of appending.
#[derive(Clone)]
enum Way {
    Log(Arc<KafkaLog>),
    Bare { producer: FutureProducer, topic: String },
}

impl Way {
    async fn append(&self, entry: &Entry) {
        match self {
            Self::Log(log) => drop(log.append(vec![entry.clone()]).await.expect("the broker is there")),
            Self::Bare { producer, topic } => {
                let key = entry.publisher.to_string();
                let record = FutureRecord::to(topic).key(&key).payload(entry.payload.as_ref());
                producer.send(record, Duration::ZERO).await.expect("the broker is there");
            }
        }
    }
}

async fn compare() {
    #[expect(clippy::disallowed_methods, reason = "where the broker is, is the one setting of this bench")]
    let brokers = std::env::var("THALWEG_KAFKA_BROKERS").expect("run it with `deploy/engines with kafka --`");
    let config = KafkaConfig {
        topic: format!("bench-{}", std::process::id()),
        lanes: LANES,
        replication: 1,
        in_sync_min: 1,
        retention_age: Duration::MAX,
        brokers,
        ..KafkaConfig::default()
    };
    let log = KafkaLog::open(config.clone()).await.expect("the broker is there");
    let mut ways = vec![("the log".to_owned(), Way::Log(Arc::new(log)))];
    for linger_millis in [0, 1, 5] {
        let bare = Way::Bare { producer: bare(&config, linger_millis), topic: config.topic.clone() };
        ways.push((format!("bare, linger {linger_millis} ms"), bare));
    }
    println!(
        "question: appends a second and their latency, closed loop, {LANES} lanes, {ROUNDS} rounds of {RUN:?}"
    );
    for callers in CALLERS {
        let mut results: Vec<Vec<(f64, f64)>> = vec![Vec::new(); ways.len()];
        for _ in 0..ROUNDS {
            for (results, (_, way)) in results.iter_mut().zip(&ways) {
                results.push(run(way, callers).await);
            }
        }
        let medians: Vec<_> = results.into_iter().map(medians).collect();
        for ((name, _), (rate, p50)) in ways.iter().zip(&medians) {
            let ratio = rate / medians[0].0;
            println!(
                "{callers:5} callers, {name:18}: {rate:8.0}/s, p50 {p50:6.2} ms, {ratio:.2} of the log's rate"
            );
        }
    }
}

fn bare(config: &KafkaConfig, linger_millis: u32) -> FutureProducer {
    ClientConfig::new()
        .set("bootstrap.servers", &config.brokers)
        .set("enable.idempotence", "true")
        .set("socket.nagle.disable", "true")
        .set("partitioner", "murmur2_random")
        .set("compression.type", "lz4")
        .set("linger.ms", linger_millis.to_string())
        .create()
        .expect("the settings are right")
}

/// Appends a second and the median wait in milliseconds.
async fn run(way: &Way, callers: usize) -> (f64, f64) {
    let (start, mut tasks) = (Instant::now(), tokio::task::JoinSet::new());
    for caller in 0..callers {
        let way = way.clone();
        tasks.spawn(async move {
            let record = r#"{"bn":"boiler:","n":"temperature","u":"Cel","v":23.5},"#.repeat(5);
            let mut entry = entry(0, 1_700_000_000_000_000, format!("[{}]", record.trim_end_matches(',')));
            let mut id = [7; 16];
            id[..8].copy_from_slice(&(caller as u64).to_be_bytes());
            entry.publisher = ThingId::from_bytes(id);
            let mut waits = Vec::new();
            while start.elapsed() < RUN {
                let began = Instant::now();
                way.append(&entry).await;
                waits.push(began.elapsed().as_secs_f64() * 1e3);
            }
            waits
        });
    }
    let mut waits: Vec<f64> = tasks.join_all().await.into_iter().flatten().collect();
    let rate = waits.len() as f64 / start.elapsed().as_secs_f64();
    waits.sort_by(f64::total_cmp);
    (rate, waits[waits.len() / 2])
}

fn medians(results: Vec<(f64, f64)>) -> (f64, f64) {
    let (mut rates, mut waits): (Vec<_>, Vec<_>) = results.into_iter().unzip();
    rates.sort_by(f64::total_cmp);
    waits.sort_by(f64::total_cmp);
    (rates[rates.len() / 2], waits[waits.len() / 2])
}
