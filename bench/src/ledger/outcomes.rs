//! What became of each pack: one byte a pack, in memory and, where asked for, in a file that only grows.
//!
//! The file says at least what is true: a pack whose answer did not reach the file counts as sent without an answer.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use super::plan::{PackNumber, Plan};
use crate::api::Fleet;

/// Packs that the file promises at once: whoever reads it must take each of them for sent.
const PROMISED_PACKS: u64 = 4_096;
/// What the first line of the file says.
const VERSION: u32 = 1;

/// What became of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It never left this process: a server that has it made it up.
    Unsent,
    /// Sent, and no answer that says what became of it (none, or a 5xx): it may be stored, whole, or not.
    Unknown,
    /// Answered 202: it must be stored.
    Acknowledged,
    /// Answered with another status below 500: it must not be stored.
    Refused,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Unsent, Self::Unknown, Self::Acknowledged, Self::Refused];
}

/// The outcomes of all packs of one ledger.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    packs: Vec<Outcome>,
    acknowledged: u64,
    file: Option<BufWriter<File>>,
    promised: u64,
}

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    plan: Plan,
    fleet: Fleet,
}

impl Outcomes {
    /// Keeps outcomes in a new file as well. It holds the things' keys: nobody else may read it.
    pub(crate) fn create(path: &Path, plan: &Plan, fleet: &Fleet) -> anyhow::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let mut file = BufWriter::new(file.with_context(|| format!("can't create {}", path.display()))?);
        let header = Header { version: VERSION, plan: plan.clone(), fleet: fleet.clone() };
        serde_json::to_writer(&mut file, &header)?;
        file.write_all(b"\n")?;
        file.flush()?;
        Ok(Self { file: Some(file), ..Self::default() })
    }

    /// Reads a file back, and goes on writing to it.
    pub(crate) fn open(path: &Path) -> anyhow::Result<(Self, Plan, Fleet)> {
        let unreadable = || format!("can't use {} as a ledger", path.display());
        let file = OpenOptions::new().read(true).append(true).open(path).with_context(unreadable)?;
        let mut reader = BufReader::new(&file);
        let mut line = String::new();
        reader.read_line(&mut line).with_context(unreadable)?;
        let Header { version, plan, fleet } = serde_json::from_str(&line).with_context(unreadable)?;
        if version != VERSION {
            bail!("{} is of version {version}, this tool reads {VERSION}", path.display());
        }
        let mut outcomes = Self::default();
        let mut bytes = line.len() as u64;
        let mut event = [0; Event::BYTES];
        // A part of an event at the end is one that was being written when its process died.
        while reader.read_exact(&mut event).is_ok() {
            bytes += event.len() as u64;
            match Event::decode(event) {
                Event::Promise(packs) => outcomes.promise_kept(packs, &plan)?,
                Event::Outcome(pack, outcome) => {
                    if pack >= outcomes.promised {
                        bail!("{} has an outcome of pack {pack} that it did not promise", path.display());
                    }
                    outcomes.note(pack, outcome);
                }
            }
        }
        drop(reader);
        file.set_len(bytes)?;
        outcomes.file = Some(BufWriter::new(file));
        Ok((outcomes, plan, fleet))
    }

    fn promise_kept(&mut self, packs: u64, plan: &Plan) -> anyhow::Result<()> {
        if packs > plan.packs_max() + PROMISED_PACKS {
            bail!("the file promises {packs} packs, more than a ledger holds");
        }
        self.promised = self.promised.max(packs);
        self.packs.resize(self.promised as usize, Outcome::Unknown);
        Ok(())
    }

    /// A pack is about to be sent. Until its outcome is recorded, it may have been.
    pub(crate) fn send(&mut self, pack: PackNumber) -> anyhow::Result<()> {
        if self.file.is_some() && pack >= self.promised {
            self.promised = pack + PROMISED_PACKS;
            self.write(Event::Promise(self.promised))?;
            self.flush()?;
        }
        self.note(pack, Outcome::Unknown);
        Ok(())
    }

    /// The answer for a pack, or that there is none.
    pub(crate) fn record(&mut self, pack: PackNumber, outcome: Outcome) -> anyhow::Result<()> {
        self.note(pack, outcome);
        self.write(Event::Outcome(pack, outcome))
    }

    fn note(&mut self, pack: PackNumber, outcome: Outcome) {
        let index = pack as usize;
        if index >= self.packs.len() {
            self.packs.resize(index + 1, Outcome::Unsent);
        }
        // What a 202 promised, a later answer for the same pack does not take back.
        if self.packs[index] != Outcome::Acknowledged {
            self.acknowledged += u64::from(outcome == Outcome::Acknowledged);
            self.packs[index] = outcome;
        }
    }

    /// What became of a pack.
    pub(crate) fn of(&self, pack: PackNumber) -> Outcome {
        self.packs.get(pack as usize).copied().unwrap_or(Outcome::Unsent)
    }

    /// Number of the first pack that is certainly not in use.
    pub(crate) fn next(&self) -> PackNumber {
        self.packs.len() as u64
    }

    /// Packs answered 202.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Each pack in turn.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PackNumber, Outcome)> + '_ {
        self.packs.iter().enumerate().map(|(pack, outcome)| (pack as u64, *outcome))
    }

    /// Hands what was recorded to the system.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        self.file.as_mut().map_or(Ok(()), |file| file.flush()).context("can't write the ledger's file")
    }

    fn write(&mut self, event: Event) -> anyhow::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(&event.encode()).context("can't write the ledger's file")
    }
}

/// What the file consists of, after its first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// From here on packs below this number may have been sent.
    Promise(u64),
    /// The outcome of one pack.
    Outcome(PackNumber, Outcome),
}

impl Event {
    const BYTES: usize = 8;

    /// A number, and two bits for the kind: a promise has the bits of the one outcome that is never recorded.
    fn encode(self) -> [u8; Self::BYTES] {
        let (number, kind) = match self {
            Self::Promise(packs) => (packs, Outcome::Unsent),
            Self::Outcome(pack, outcome) => (pack, outcome),
        };
        (number << 2 | kind as u64).to_le_bytes()
    }

    fn decode(bytes: [u8; Self::BYTES]) -> Self {
        let word = u64::from_le_bytes(bytes);
        match Outcome::ALL[(word & 3) as usize] {
            Outcome::Unsent => Self::Promise(word >> 2),
            outcome => Self::Outcome(word >> 2, outcome),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan { run: 1, channels: 1, things: 1, records_per_pack: 1 }
    }

    #[test]
    fn a_file_reads_back_as_what_was_recorded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger");
        let mut written = Outcomes::create(&path, &plan(), &Fleet::made_up(1, 1)).unwrap();
        for (pack, outcome) in [(0, Outcome::Acknowledged), (1, Outcome::Refused), (2, Outcome::Unknown)] {
            written.send(pack).unwrap();
            written.record(pack, outcome).unwrap();
        }
        written.flush().unwrap();
        drop(written);

        // A torn event, as a killed process leaves it.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(&[1, 2, 3]).unwrap();
        let (mut read, read_plan, fleet) = Outcomes::open(&path).unwrap();
        assert_eq!((read_plan, fleet.things.len()), (plan(), 1));
        let outcomes: Vec<_> = (0..4).map(|pack| read.of(pack)).collect();
        // Pack 3 was promised: it may have been sent.
        assert_eq!(outcomes, [Outcome::Acknowledged, Outcome::Refused, Outcome::Unknown, Outcome::Unknown]);
        assert_eq!((read.acknowledged(), read.next()), (1, PROMISED_PACKS));

        read.send(read.next()).unwrap();
        read.record(PROMISED_PACKS, Outcome::Acknowledged).unwrap();
        read.flush().unwrap();
        let (again, ..) = Outcomes::open(&path).unwrap();
        assert_eq!(again.acknowledged(), 2);
    }

    #[test]
    fn without_a_file_what_was_not_sent_is_known() {
        let mut outcomes = Outcomes::default();
        outcomes.send(5).unwrap();
        assert_eq!(
            (outcomes.of(4), outcomes.of(5), outcomes.of(6)),
            (Outcome::Unsent, Outcome::Unknown, Outcome::Unsent)
        );
    }

    #[test]
    fn an_acknowledgement_is_final() {
        let mut outcomes = Outcomes::default();
        outcomes.record(0, Outcome::Acknowledged).unwrap();
        outcomes.record(0, Outcome::Unknown).unwrap();
        outcomes.record(0, Outcome::Acknowledged).unwrap();
        assert_eq!((outcomes.of(0), outcomes.acknowledged()), (Outcome::Acknowledged, 1));
    }
}
