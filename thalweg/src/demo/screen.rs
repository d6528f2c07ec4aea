//! What the person sees: on a terminal a table that is redrawn in place, elsewhere plain lines.
//!
//! No line is wider than the terminal, no escape code goes to anything else, and `NO_COLOR` is honoured.

use std::io;
use std::time::Duration;

use console::{Term, style, truncate_str};

use super::client::{Row, Thing};
use super::simulation::RECORDS_PER_PACK;
use super::tally::Progress;

/// Lines of a terminal that the table leaves: its header, the progress, a problem, and where the cursor stands.
const LINES_BESIDES_ROWS: usize = 7;
/// Rows of the table at most: more is a wall of numbers.
const ROWS_MAX: usize = 15;

/// Standard output.
#[derive(Debug)]
pub(super) struct Screen {
    out: Term,
    live: bool,
    drawn_lines: usize,
}

/// What there is to draw.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) things: &'a [Thing],
    /// The newest records of the channel, newest first.
    pub(super) records: &'a [Row],
    /// Records of the channel in all.
    pub(super) stored: u64,
    pub(super) progress: &'a Progress,
    /// Packs acknowledged a second, of late.
    pub(super) rate: f64,
}

impl Screen {
    /// `plain`: lines, also on a terminal.
    pub(super) fn new(plain: bool) -> Self {
        let out = Term::buffered_stdout();
        let live = out.is_term() && !console::is_dumb() && !plain;
        Self { out, live, drawn_lines: 0 }
    }

    /// How long a drawing stands.
    pub(super) fn interval(&self) -> Duration {
        if self.live { Duration::from_millis(500) } else { Duration::from_secs(5) }
    }

    /// Prints a line that stays. One that is wider than the terminal wraps.
    pub(super) fn line(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        self.out.write_line(text.as_ref())?;
        self.out.flush()
    }

    /// Prints what the next line is for.
    pub(super) fn heading(&mut self, text: &str) -> io::Result<()> {
        self.line(style(text).bold().to_string())
    }

    /// Shows the newest readings and the progress, in place of those shown before if the terminal can.
    pub(super) fn draw(&mut self, view: &View<'_>) -> io::Result<()> {
        if !self.live {
            for line in readings(view.things, view.records, view.things.len()) {
                self.out.write_line(&line)?;
            }
            self.out.write_line(&format!("{}, {}", packs(view), records(view)))?;
            if let Some((problem, _)) = &view.progress.problem {
                self.out.write_line(&format!("problem: {problem}"))?;
            }
            return self.out.flush();
        }
        let (height, width) = self.out.size();
        let rows = usize::from(height).saturating_sub(LINES_BESIDES_ROWS).clamp(1, ROWS_MAX);
        let mut lines = vec![style(HEADER.to_owned()).bold().to_string()];
        let coloured =
            |line: String| if line.contains("  alarm  ") { style(line).red().to_string() } else { line };
        lines.extend(readings(view.things, view.records, rows).into_iter().map(coloured));
        if view.things.len() > rows {
            lines.push(format!("  … and {} more", view.things.len() - rows));
        }
        lines.extend([String::new(), packs(view), records(view)]);
        if let Some((problem, _)) = &view.progress.problem {
            lines.push(style(format!("problem: {problem}")).red().to_string());
        }
        self.clear()?;
        for line in &lines {
            // The last column stays free: some terminals begin a new line when it is written to.
            self.out.write_line(&truncate_str(line, usize::from(width).saturating_sub(1), "…"))?;
        }
        self.drawn_lines = lines.len();
        self.out.flush()
    }

    /// Takes the table away; what is printed next begins where it began.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        if self.live {
            // The line of the cursor too: a terminal echoes ^C.
            self.out.clear_line()?;
            self.out.clear_last_lines(std::mem::take(&mut self.drawn_lines))?;
        }
        Ok(())
    }
}

const HEADER: &str = "  THING            TEMPERATURE  HUMIDITY  BATTERY  DOOR    STATE    UTC";

/// A line for each of the first things: the newest of each of its records.
fn readings(things: &[Thing], records: &[Row], rows: usize) -> Vec<String> {
    things.iter().take(rows).map(|thing| reading(thing, records)).collect()
}

fn reading(thing: &Thing, records: &[Row]) -> String {
    let newest = |name: &str| records.iter().find(|row| row.publisher == thing.id && row.name == name);
    let number = |name: &str, unit: &str| {
        let value = newest(name).and_then(|row| row.value);
        value.map_or_else(|| "–".to_owned(), |value| format!("{value:.1} {unit}"))
    };
    let door = match newest("door").and_then(|row| row.bool_value) {
        None => "–",
        Some(true) => "open",
        Some(false) => "closed",
    };
    let state = newest("state").and_then(|row| row.string_value.as_deref()).unwrap_or("–");
    let time = newest("temperature").map(|row| time_of_day(row.time)).unwrap_or_default();
    format!(
        "  {:<15}  {:>11}  {:>8}  {:>7}  {door:<6}  {state:<7}  {time}",
        truncate_str(&thing.name, 15, "…"),
        number("temperature", "°C"),
        number("humidity", "%"),
        number("battery", "%"),
    )
}

fn packs(view: &View<'_>) -> String {
    let Progress { sent, acknowledged, failed, p50, p99, .. } = view.progress;
    let failed = if *failed > 0 { format!(", {} failed", grouped(*failed)) } else { String::new() };
    format!(
        "packs: {} sent, {} acknowledged{failed}, {:.1}/s, p50 {}, p99 {}",
        grouped(*sent),
        grouped(*acknowledged),
        view.rate,
        milliseconds(*p50),
        milliseconds(*p99)
    )
}

fn records(view: &View<'_>) -> String {
    let acknowledged = view.progress.acknowledged * RECORDS_PER_PACK;
    format!("records: {} stored of {} acknowledged", grouped(view.stored), grouped(acknowledged))
}

/// A duration in milliseconds, with a decimal where it tells something.
fn milliseconds(duration: Duration) -> String {
    let milliseconds = duration.as_secs_f64() * 1e3;
    if milliseconds < 100.0 { format!("{milliseconds:.1} ms") } else { format!("{milliseconds:.0} ms") }
}

/// A number with commas between its thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Hours, minutes and seconds of a time in seconds since the epoch.
fn time_of_day(seconds: f64) -> String {
    let second = (seconds as i64).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, time: f64) -> Row {
        Row {
            publisher: "1".to_owned(),
            name: name.to_owned(),
            time,
            value: None,
            string_value: None,
            bool_value: None,
        }
    }

    #[test]
    fn the_newest_of_each_record_stands_in_the_table() {
        let thing =
            |id: &str, name: &str| Thing { id: id.to_owned(), name: name.to_owned(), key: String::new() };
        let things = [thing("1", "cold-room-1"), thing("2", "a name that is too long"), thing("3", "third")];
        let at = 1_764_085_267.5;
        let records = [
            Row { value: Some(4.26), ..row("temperature", at) },
            Row { value: Some(71.0), ..row("humidity", at) },
            Row { bool_value: Some(true), ..row("door", at) },
            Row { value: Some(99.0), ..row("temperature", at - 1.0) },
            Row { string_value: Some("cooling".to_owned()), ..row("state", at - 1.0) },
            Row { value: Some(100.0), ..row("battery", at - 1.0) },
        ];
        assert_eq!(
            readings(&things, &records, 2),
            [
                "  cold-room-1           4.3 °C    71.0 %  100.0 %  open    cooling  15:41:07",
                "  a name that is…            –         –        –  –       –        ",
            ]
        );
    }

    #[test]
    fn numbers_are_short_and_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        let shown = [350, 1_250, 99_940, 250_000].map(|micros| milliseconds(Duration::from_micros(micros)));
        assert_eq!(shown, ["0.3 ms", "1.2 ms", "99.9 ms", "250 ms"]);
        assert_eq!(time_of_day(86_399.9), "23:59:59");
    }
}
