//! `thalweg dead-letters`: shows the packs that a writer could not store, and has them tried again.

use std::io::{self, Write as _};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use domain::Entry;
use log::{DeadLetter, Log, StoredLetter};
use serde_json::json;

use crate::cli::{Configured, Serve};
use crate::serve;

/// Letters that are read at a time.
const READ_MAX: usize = 100;

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLetters {
    /// Print them, a line of JSON each: number, reason, where it stood, who published it when, and how large it is.
    List(List),
    /// Append them to the log once more, as they were received: rows that are there already stay as they are. Those that still
    /// can't be stored become dead letters again.
    Replay(Replay),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Begin with this number.
    #[arg(long, default_value_t = 0, value_name = "NUMBER")]
    from: u64,
    /// Print so many at most.
    #[arg(long, default_value_t = 1_000, value_name = "LETTERS")]
    limit: usize,
    /// Print the packs, too, as the things sent them.
    #[arg(long)]
    payload: bool,
    #[command(flatten)]
    configured: Configured,
}

#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// Numbers of letters, as `list` prints them.
    #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "NUMBERS")]
    numbers: Vec<u64>,
    /// Every one there is.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    configured: Configured,
}

impl DeadLetters {
    /// The settings, which say where the log is.
    pub(crate) fn configured(&self) -> &Configured {
        match self {
            Self::List(List { configured, .. }) | Self::Replay(Replay { configured, .. }) => configured,
        }
    }

    /// Does it. The log is Kafka where brokers are given, else that of the data directory, which no server may use then.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let settings: Serve = self.configured().settings.clone();
        let opened = serve::open_log(&settings).await?;
        let done = match self {
            Self::List(list) => list.run(&opened.log).await,
            Self::Replay(replay) => replay.run(&opened.log).await,
        };
        opened.log.close().await;
        done
    }
}

impl List {
    async fn run(self, log: &Arc<dyn Log>) -> anyhow::Result<()> {
        let (mut from, mut left) = (self.from, self.limit);
        let mut out = io::stdout().lock();
        while left > 0 {
            let letters = log.dead_letters(from, left.min(READ_MAX)).await?;
            let Some(last) = letters.last() else { break };
            (from, left) = (last.number + 1, left.saturating_sub(letters.len()));
            for letter in &letters {
                if writeln!(out, "{}", line(letter, self.payload)).is_err() {
                    // Nobody reads on.
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

fn line(stored: &StoredLetter, with_payload: bool) -> serde_json::Value {
    let number = stored.number;
    let DeadLetter { position, entry, reason } = match &stored.letter {
        Ok(letter) => letter,
        Err(unreadable) => return json!({"number": number, "unreadable": unreadable.to_string()}),
    };
    let mut line = json!({
        "number": number, "reason": reason, "lane": position.lane.0, "offset": position.offset,
        "channel": entry.channel.to_string(), "publisher": entry.publisher.to_string(),
        "subtopic": entry.subtopic.as_str(), "received_micros": entry.received.as_micros(),
        "bytes": entry.payload.len(),
    });
    if with_payload {
        line["payload"] = String::from_utf8_lossy(&entry.payload).into();
    }
    line
}

impl Replay {
    async fn run(self, log: &Arc<dyn Log>) -> anyhow::Result<()> {
        let replayed = if self.all { everything(log).await? } else { some(log, &self.numbers).await? };
        let _ = writeln!(io::stdout(), "{replayed} appended to the log once more");
        Ok(())
    }
}

/// Only what was there at the beginning: what can't be stored this time, either, becomes a letter again.
async fn everything(log: &Arc<dyn Log>) -> anyhow::Result<usize> {
    let Some(last) = last_number(log).await? else { return Ok(0) };
    let (mut from, mut replayed) = (0, 0);
    while from <= last {
        let letters = log.dead_letters(from, READ_MAX).await?;
        let Some(newest) = letters.last() else { break };
        from = newest.number + 1;
        for StoredLetter { number, letter } in letters.into_iter().take_while(|letter| letter.number <= last)
        {
            match letter {
                Ok(DeadLetter { entry, .. }) => {
                    append(log, number, entry).await?;
                    replayed += 1;
                }
                Err(unreadable) => tracing::warn!(number, %unreadable, "a dead letter is passed over"),
            }
        }
    }
    Ok(replayed)
}

async fn last_number(log: &Arc<dyn Log>) -> anyhow::Result<Option<u64>> {
    let mut last = None;
    loop {
        let letters = log.dead_letters(last.map_or(0, |last| last + 1), READ_MAX).await?;
        let Some(newest) = letters.last() else { return Ok(last) };
        last = Some(newest.number);
    }
}

async fn some(log: &Arc<dyn Log>, numbers: &[u64]) -> anyhow::Result<usize> {
    for &number in numbers {
        let letter = log.dead_letters(number, 1).await?.into_iter().find(|letter| letter.number == number);
        let Some(letter) = letter else { bail!("there is no dead letter {number}") };
        let letter = letter.letter.with_context(|| format!("dead letter {number} can't be read"))?;
        append(log, number, letter.entry).await?;
    }
    Ok(numbers.len())
}

async fn append(log: &Arc<dyn Log>, number: u64, entry: Entry) -> anyhow::Result<()> {
    let appended = log.append(vec![entry]).await;
    appended
        .map(drop)
        .with_context(|| format!("dead letter {number} can't be appended; those before it were"))
}
