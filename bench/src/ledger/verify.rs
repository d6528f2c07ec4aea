//! Reads everything back through the API, and holds it against what was sent.
//!
//! Every row is accounted for: it is a record that was acknowledged, or one whose fate was open, or a fault.

use std::time::Duration;

use anyhow::{Context as _, bail};
use hyper::header::HeaderValue;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{Ledger, Outcome, Plan, RECORDS_MAX, RecordNumber, UNIT};
use crate::api::{self, PAGE_RECORDS_MAX, PageStart, Row};
use crate::http::Connection;

/// Between two looks at whether everything is stored, at least: a look takes from what has to store it.
const POLL_PAUSE: Duration = Duration::from_millis(20);
/// A wait that is longer is known to this part of itself.
const POLL_PART: u32 = 20;
/// Faults that are described; the rest are counted.
const EXAMPLES_MAX: usize = 10;

/// What reading everything back came to. All counts are of records, unless they say otherwise.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Verdict {
    /// Records of packs answered 202.
    pub acknowledged: u64,
    /// Rows read back.
    pub stored: u64,
    /// What the API says as `total`, over all channels.
    pub total: u64,
    /// Acknowledged, and not there.
    pub lost: u64,
    /// Rows of a record that another row holds already.
    pub doubled: u64,
    /// Rows of a record that was never sent: another time, name, unit, publisher or channel.
    pub invented: u64,
    /// Rows with another value or protocol than what was sent.
    pub altered: u64,
    /// Rows that are newer than the row before.
    pub misordered: u64,
    /// Rows of packs that were refused with a 4xx.
    pub refused_but_stored: u64,
    /// Packs without a definite answer of which some records are stored and some are not.
    pub torn_packs: u64,
    /// Records without a definite answer that are stored. That is allowed.
    pub unknown_but_stored: u64,
    /// Seconds until `total` was at least what was acknowledged.
    pub settle_seconds: f64,
    /// Seconds that reading everything took, the last time.
    pub read_seconds: f64,
    /// Some of the faults, in words.
    pub examples: Vec<String>,
}

impl Verdict {
    /// Whether the server kept its promises.
    pub fn holds(&self) -> bool {
        self.is_final_fault_free() && self.lost == 0 && self.torn_packs == 0 && self.total == self.stored
    }

    /// Whether there is no fault of a kind that stays, however long one waits.
    fn is_final_fault_free(&self) -> bool {
        self.doubled + self.invented + self.altered + self.misordered + self.refused_but_stored == 0
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lines = [
            ("acknowledged", self.acknowledged),
            ("stored", self.stored),
            ("total says", self.total),
            ("lost", self.lost),
            ("doubled", self.doubled),
            ("invented", self.invented),
            ("altered", self.altered),
            ("misordered", self.misordered),
            ("refused but stored", self.refused_but_stored),
            ("torn packs", self.torn_packs),
            ("unknown but stored (allowed)", self.unknown_but_stored),
        ];
        for (name, count) in lines {
            writeln!(f, "  {name:<30}{count:>14}")?;
        }
        for example in &self.examples {
            writeln!(f, "  e.g. {example}")?;
        }
        let rate = self.stored as f64 / self.read_seconds.max(f64::MIN_POSITIVE);
        writeln!(
            f,
            "  settled after {:.3} s, read back in {:.1} s ({rate:.0} records/s)",
            self.settle_seconds, self.read_seconds
        )?;
        write!(f, "  the ledger {}", if self.holds() { "holds" } else { "DOES NOT HOLD" })
    }
}

impl Ledger {
    /// Waits until everything acknowledged is stored, for `settle` at most, then reads all of it and compares.
    ///
    /// What time may still mend (lost, torn, miscounted) is read again until `settle` is over. Publishing should have
    /// ended.
    ///
    /// # Errors
    /// When the server can't be read from within `settle`.
    pub async fn verify(&self, settle: Duration) -> anyhow::Result<Verdict> {
        let started = Instant::now();
        let deadline = started + settle;
        let settle_seconds = self.settled(deadline).await?.as_secs_f64();
        loop {
            match self.read_back().await {
                Ok(verdict)
                    if verdict.holds() || !verdict.is_final_fault_free() || Instant::now() > deadline =>
                {
                    return Ok(Verdict { settle_seconds, ..verdict });
                }
                Err(error) if Instant::now() > deadline => return Err(error),
                Ok(_) | Err(_) => sleep(POLL_PAUSE).await,
            }
        }
    }

    /// Polls `total` until it is at least what was acknowledged, or until the deadline: how long it took.
    ///
    /// # Errors
    /// When the last look before the deadline fails.
    pub async fn settled(&self, deadline: Instant) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let mut reader = None;
        loop {
            let total = self.total(&mut reader).await;
            if total.as_ref().is_ok_and(|total| *total >= self.records_acknowledged()) {
                return Ok(started.elapsed());
            }
            if Instant::now() > deadline {
                return total.map(|_| started.elapsed());
            }
            sleep(POLL_PAUSE.max(started.elapsed() / POLL_PART)).await;
        }
    }

    /// Records of packs answered 202.
    pub fn records_acknowledged(&self) -> u64 {
        *self.acknowledged.borrow() * u64::from(self.plan.records_per_pack)
    }

    /// What the API says as `total`, over all channels; a connection that worked is kept in `reader` for the next look.
    ///
    /// # Errors
    /// When the server can't be read from.
    pub async fn total(&self, reader: &mut Option<Connection>) -> anyhow::Result<u64> {
        let mut connection = match reader.take() {
            Some(connection) => connection,
            None => Connection::open(self.target()).await?,
        };
        let credential = self.reader_credential()?;
        let mut total = 0;
        for channel in &self.fleet.channels {
            let path = api::page_path(channel, 1, PageStart::Offset(0));
            total += api::parse_page(&api::read_page(&mut connection, &credential, &path).await?)?.total;
        }
        *reader = Some(connection);
        Ok(total)
    }

    /// What may read every channel of the ledger.
    ///
    /// # Errors
    /// When a thing's key can't be part of a header.
    pub fn reader_credential(&self) -> anyhow::Result<HeaderValue> {
        self.fleet.things.first().context("a ledger without things")?.authorization()
    }

    async fn read_back(&self) -> anyhow::Result<Verdict> {
        let started = Instant::now();
        let mut connection = Connection::open(self.target()).await?;
        let credential = self.reader_credential()?;
        let mut audit = Audit::of(self);
        for (index, channel) in self.fleet.channels.iter().enumerate() {
            let mut path = api::page_path(channel, PAGE_RECORDS_MAX, PageStart::Offset(0));
            audit.newest = None;
            for page_number in 0_u64.. {
                let body = api::read_page(&mut connection, &credential, &path).await?;
                let page = api::parse_page(&body)?;
                if page_number == 0 {
                    audit.verdict.total += page.total;
                }
                for row in &page.messages {
                    audit.row(index, row);
                }
                let Some(next) = page.next else { break };
                if page.messages.is_empty() || audit.verdict.stored > 2 * RECORDS_MAX {
                    bail!(
                        "channel {channel} has no end: its pages go on after {} records",
                        audit.verdict.stored
                    );
                }
                path = api::page_path(channel, PAGE_RECORDS_MAX, PageStart::Cursor(&next));
            }
        }
        let mut verdict = audit.close();
        verdict.read_seconds = started.elapsed().as_secs_f64();
        Ok(verdict)
    }
}

/// Goes through the rows one by one.
struct Audit<'a> {
    ledger: &'a Ledger,
    verdict: Verdict,
    seen: Bits,
    newest: Option<RecordNumber>,
}

impl<'a> Audit<'a> {
    fn of(ledger: &'a Ledger) -> Self {
        Self { ledger, verdict: Verdict::default(), seen: Bits::default(), newest: None }
    }

    fn row(&mut self, channel: usize, row: &Row<'_>) {
        let ledger = self.ledger;
        let plan = ledger.plan();
        self.verdict.stored += 1;
        let record = plan.record_at(row.time.get()).filter(|record| self.is_as_sent(*record, channel, row));
        let Some(record) = record else {
            self.verdict.invented += 1;
            return self.example(|| format!("never sent: {row:?}"));
        };
        if self.newest.is_some_and(|newest| record > newest) {
            self.verdict.misordered += 1;
            self.example(|| format!("newer than the row before: {row:?}"));
        }
        self.newest = Some(record);
        match ledger.outcome(plan.pack_of(record)) {
            Outcome::Unsent => {
                self.verdict.invented += 1;
                return self.example(|| format!("not sent yet: {row:?}"));
            }
            Outcome::Refused => {
                self.verdict.refused_but_stored += 1;
                self.example(|| format!("refused, but stored: {row:?}"));
            }
            Outcome::Unknown | Outcome::Acknowledged => {}
        }
        if self.seen.set(record) {
            self.verdict.doubled += 1;
            self.example(|| format!("on a second row: {row:?}"));
        }
        if row.value.map(f64::to_bits) != Some(plan.value(record).to_bits()) || row.protocol != "http" {
            self.verdict.altered += 1;
            self.example(|| format!("sent as {} by http: {row:?}", plan.value(record)));
        }
    }

    /// Whether all that a record is known by is what was sent; its time is how it was found.
    fn is_as_sent(&self, record: RecordNumber, channel: usize, row: &Row<'_>) -> bool {
        let (plan, fleet) = (self.ledger.plan(), self.ledger.fleet());
        let pack = plan.pack_of(record);
        plan.channel(pack) == channel
            && row.channel_name == fleet.channels[channel]
            && row.publisher == fleet.things[plan.thing(pack)].id
            && row.name == plan.name(record)
            && row.unit.as_deref() == Some(UNIT)
    }

    /// Accounts for the packs: what should be there, and what may be there as a whole.
    fn close(mut self) -> Verdict {
        let ledger = self.ledger;
        let plan: &Plan = ledger.plan();
        let records = u64::from(plan.records_per_pack);
        for (pack, outcome) in ledger.outcomes().iter() {
            let first = pack * records;
            let stored = (first..first + records).filter(|record| self.seen.get(*record)).count() as u64;
            match outcome {
                Outcome::Acknowledged => {
                    self.verdict.acknowledged += records;
                    self.verdict.lost += records - stored;
                    if stored < records {
                        self.example(|| {
                            format!("acknowledged, not there: {} records of pack {pack}", records - stored)
                        });
                    }
                }
                Outcome::Unknown => {
                    self.verdict.unknown_but_stored += stored;
                    if stored != 0 && stored != records {
                        self.verdict.torn_packs += 1;
                        self.example(|| {
                            format!("torn: {stored} of {records} records of pack {pack} are there")
                        });
                    }
                }
                Outcome::Unsent | Outcome::Refused => {}
            }
        }
        self.verdict
    }

    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.verdict.examples.len() < EXAMPLES_MAX {
            self.verdict.examples.push(text());
        }
    }
}

/// One bit a record; a record is below [`RECORDS_MAX`], and so is what this takes.
#[derive(Debug, Default)]
struct Bits(Vec<u64>);

impl Bits {
    /// Sets a bit: whether it was set before.
    fn set(&mut self, bit: u64) -> bool {
        let (word, mask) = ((bit / 64) as usize, 1 << (bit % 64));
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        let before = self.0[word] & mask != 0;
        self.0[word] |= mask;
        before
    }

    fn get(&self, bit: u64) -> bool {
        self.0.get((bit / 64) as usize).is_some_and(|word| word & (1 << (bit % 64)) != 0)
    }
}
