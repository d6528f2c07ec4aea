//! Does a page cost the same wherever it is in a large channel, and does a server start quickly that holds one?
//!
//! Sides alternate request by request on one connection, so that both meet the same machine.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hyper::header::HeaderValue;
use thalweg_bench::api::{self, PAGE_RECORDS_MAX, PageStart};
use thalweg_bench::http::Connection;
use thalweg_bench::ledger::{Ledger, Load, Pace};
use thalweg_bench::server::Launch;
use thalweg_bench::statistics::median;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Bench;
use crate::finding::{Findings, Goal};
use crate::{footprint, load};

/// Records of one pack while the channel is filled, and while it is written to.
const RECORDS_PER_PACK: u32 = 100;
/// Requests of each side in one round.
const REQUESTS: usize = 25;
/// Packs a second while reads and writes go on together: 2,000 records.
const WRITES_PER_SECOND: f64 = 20.0;
/// How long everything may take to be stored after filling.
const SETTLE: Duration = Duration::from_secs(300);
/// The most that a page may cost against one at the newest end.
const DEEP: Goal = Goal::AtMost(1.5);

/// Pages of a channel at its newest end and deep inside, quiet and while writes go on; then starting with it.
pub(crate) async fn pages(bench: &Bench, findings: &mut Findings) -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let (server, ledger) = load::start(bench, data.path(), RECORDS_PER_PACK).await?;
    fill(bench, &ledger).await?;
    let mut reader = Reader::of(bench, &ledger).await?;
    for while_writing in [false, true] {
        let stop = CancellationToken::new();
        let writing = while_writing.then(|| tokio::spawn(write(Arc::clone(&ledger), stop.clone())));
        for comparison in &reader.comparisons(while_writing).await? {
            let (ratios, absolute) = reader.compare(comparison).await?;
            findings.add(comparison.question, DEEP, ratios, absolute);
        }
        stop.cancel();
        if let Some(writing) = writing {
            writing.await.context("writing panicked")??;
        }
    }
    reader.quiet_against_busy(findings).await?;
    load::verified(&ledger).await?;

    server.end().await?;
    let launch = Launch::serve(&bench.server, &data.path().join("data"));
    footprint::with_records(bench, &launch, findings).await
}

async fn fill(bench: &Bench, ledger: &Arc<Ledger>) -> anyhow::Result<()> {
    let load = Load {
        connections: bench.connections,
        pace: Pace::Closed,
        packs: Some(bench.records.div_ceil(u64::from(RECORDS_PER_PACK))),
        duration: None,
        resend: true,
    };
    let filled = ledger.publish(&load, CancellationToken::new()).await?;
    ensure!(
        filled.records_acknowledged >= bench.records,
        "not all packs were accepted: {:?}",
        filled.answers
    );
    ledger.settled(Instant::now() + SETTLE).await?;
    Ok(())
}

async fn write(ledger: Arc<Ledger>, stop: CancellationToken) -> anyhow::Result<()> {
    let load = Load {
        connections: 4,
        pace: Pace::Open(WRITES_PER_SECOND),
        packs: None,
        duration: None,
        resend: true,
    };
    ledger.publish(&load, stop).await?;
    Ok(())
}

/// Reads pages of the ledger's one channel.
struct Reader {
    ledger: Arc<Ledger>,
    connection: Connection,
    credential: HeaderValue,
    channel: String,
    /// Nine tenths of the channel: a page there is far from either end.
    deep: u64,
    rounds: u32,
}

/// Two pages of the same size: one deep inside, and the newest.
struct Comparison {
    question: &'static str,
    deep: String,
    newest: String,
}

impl Reader {
    async fn of(bench: &Bench, ledger: &Arc<Ledger>) -> anyhow::Result<Self> {
        Ok(Self {
            connection: Connection::open(ledger.target()).await?,
            credential: ledger.reader_credential()?,
            channel: ledger.fleet().channels[0].clone(),
            deep: bench.records / 10 * 9,
            rounds: bench.rounds,
            ledger: Arc::clone(ledger),
        })
    }

    fn path(&self, limit: usize, at: PageStart<'_>) -> String {
        api::page_path(&self.channel, limit, at)
    }

    async fn comparisons(&mut self, while_writing: bool) -> anyhow::Result<Vec<Comparison>> {
        let (deep, newest) = (PageStart::Offset(self.deep), PageStart::Offset(0));
        let before = self.path(PAGE_RECORDS_MAX, deep);
        let body = api::read_page(&mut self.connection, &self.credential, &before).await?;
        let next = api::parse_page(&body)?.next.context("a page deep inside names no next one")?;
        let questions = match while_writing {
            false => [
                "last 10: at nine tenths / at the newest end",
                "last 1,000: at nine tenths / at the newest end",
                "1,000 by cursor at nine tenths / at the newest end",
            ],
            true => [
                "last 10, while writes go on: deep / newest",
                "last 1,000, while writes go on: deep / newest",
                "1,000 by cursor, while writes go on: deep / newest",
            ],
        };
        let sides = [(10, deep), (PAGE_RECORDS_MAX, deep), (PAGE_RECORDS_MAX, PageStart::Cursor(&next))];
        let comparison = |(question, (limit, deep))| Comparison {
            question,
            deep: self.path(limit, deep),
            newest: self.path(limit, newest),
        };
        Ok(questions.into_iter().zip(sides).map(comparison).collect())
    }

    /// The ratio of the two sides' medians in each round, and what is behind the last.
    async fn compare(&mut self, comparison: &Comparison) -> anyhow::Result<(Vec<f64>, String)> {
        let (mut ratios, mut absolute) = (Vec::new(), String::new());
        for _ in 0..self.rounds {
            let (mut deep, mut newest) = (Vec::new(), Vec::new());
            for _ in 0..REQUESTS {
                deep.push(self.millis(&comparison.deep).await?);
                newest.push(self.millis(&comparison.newest).await?);
            }
            let (deep, newest) = (median(&deep), median(&newest));
            ratios.push(deep / newest);
            absolute = format!("e.g. {deep:.2} against {newest:.2} ms");
        }
        Ok((ratios, absolute))
    }

    /// The newest page while writes go on against the same page without them, by turns.
    async fn quiet_against_busy(&mut self, findings: &mut Findings) -> anyhow::Result<()> {
        for (question, limit) in [
            ("last 10: while writes go on / quiet", 10),
            ("last 1,000: while writes go on / quiet", PAGE_RECORDS_MAX),
        ] {
            let path = self.path(limit, PageStart::Offset(0));
            let (mut ratios, mut absolute) = (Vec::new(), String::new());
            for _ in 0..self.rounds {
                let quiet = self.typical(&path).await?;
                let stop = CancellationToken::new();
                let writing = tokio::spawn(write(Arc::clone(&self.ledger), stop.clone()));
                let busy = self.typical(&path).await?;
                stop.cancel();
                writing.await.context("writing panicked")??;
                self.ledger.settled(Instant::now() + SETTLE).await?;
                ratios.push(busy / quiet);
                absolute = format!("e.g. {busy:.2} against {quiet:.2} ms");
            }
            findings.add(question, Goal::None, ratios, absolute);
        }
        Ok(())
    }

    /// Requests spread over several packs that are written meanwhile.
    async fn typical(&mut self, path: &str) -> anyhow::Result<f64> {
        let ends = Instant::now() + Duration::from_secs(1);
        let mut millis = Vec::new();
        while millis.len() < REQUESTS || Instant::now() < ends {
            millis.push(self.millis(path).await?);
        }
        Ok(median(&millis))
    }

    /// How long one page takes, to its last byte; a page is never empty.
    async fn millis(&mut self, path: &str) -> anyhow::Result<f64> {
        let started = Instant::now();
        let body = api::read_page(&mut self.connection, &self.credential, path).await?;
        let took = started.elapsed();
        ensure!(body.len() > 200, "{path} is an empty page: {}", String::from_utf8_lossy(&body));
        Ok(took.as_secs_f64() * 1_000.0)
    }
}
