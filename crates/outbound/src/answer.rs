//! What is kept of an answer: its status, when to come again, and a few bytes for a person to look at.
//!
//! The status decides; nothing that the body does can change it. So a body that never ends, or never comes, costs a little time and a
//! little memory, and the connection.

use std::time::{Duration, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

/// Bytes of an answer that are shown.
const EXCERPT_BYTES_MAX: usize = 256;
/// Bytes that are read so that the connection can be used again. A longer answer costs it.
const BODY_BYTES_MAX: usize = 64 << 10;
/// How long a body is waited for, once the head is there.
const BODY_WITHIN: Duration = Duration::from_secs(2);
/// The longest wait that is believed.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What somebody answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// As it came: 3xx is no success, because nothing follows it.
    pub status: StatusCode,
    /// When it wants to be asked again.
    pub retry_after: Option<RetryAfter>,
    /// The first bytes of the body, for a person: up to 256, with replacements for what is no UTF-8, and control
    /// characters escaped.
    pub excerpt: String,
}

/// When somebody wants to be asked again. Source: RFC 9110, section 10.2.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// So long after the answer, at most a day.
    In(Duration),
    /// At this time of an answer that does not say what time it was there: seconds since the Unix epoch.
    At(i64),
}

impl RetryAfter {
    /// How long to wait, if the answer came at `now`, in seconds since the Unix epoch. A day at most.
    pub fn wait(self, now: i64) -> Duration {
        match self {
            Self::In(wait) => wait.min(WAIT_MAX),
            Self::At(then) => between(now, then),
        }
    }

    fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let seconds = text.parse().unwrap_or(u64::MAX);
            return Some(Self::In(Duration::from_secs(seconds).min(WAIT_MAX)));
        }
        let then = unix_seconds(text)?;
        let now = headers.get(DATE).and_then(|date| unix_seconds(date.to_str().ok()?));
        // By its own clock, if it tells: ours may differ.
        Some(now.map_or(Self::At(then), |now| Self::In(between(now, then))))
    }
}

fn unix_seconds(http_date: &str) -> Option<i64> {
    let since = httpdate::parse_http_date(http_date).ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

fn between(now: i64, then: i64) -> Duration {
    Duration::from_secs(u64::try_from(then.saturating_sub(now)).unwrap_or(0)).min(WAIT_MAX)
}

impl Answer {
    /// Reads what is kept of an answer, until `deadline` at most.
    pub(crate) async fn read(response: http::Response<Incoming>, deadline: Instant) -> Self {
        let (head, body) = response.into_parts();
        let shown = read_body(body, deadline.min(Instant::now() + BODY_WITHIN)).await;
        Self { status: head.status, retry_after: RetryAfter::of(&head.headers), excerpt: excerpt(&shown) }
    }
}

/// The first bytes. It goes on to the end if that is near, for then the connection can be used again.
async fn read_body(mut body: Incoming, deadline: Instant) -> Bytes {
    let mut shown = BytesMut::new();
    let mut read = 0;
    while read <= BODY_BYTES_MAX
        && let Ok(Some(Ok(frame))) = timeout_at(deadline, body.frame()).await
    {
        if let Some(data) = frame.data_ref() {
            let missing = EXCERPT_BYTES_MAX - shown.len();
            shown.extend_from_slice(&data[..data.len().min(missing)]);
            read += data.len();
        }
    }
    shown.freeze()
}

fn excerpt(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut chunks = bytes.utf8_chunks().peekable();
    while let Some(chunk) = chunks.next() {
        for c in chunk.valid().chars() {
            if c.is_control() || is_invisible(c) { text.extend(c.escape_default()) } else { text.push(c) }
        }
        // A character that the end cut off is none of the answer's mistakes.
        let is_cut = chunks.peek().is_none() && bytes.len() == EXCERPT_BYTES_MAX && chunk.invalid().len() < 4;
        if !chunk.invalid().is_empty() && !is_cut {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    text
}

/// What changes how a text looks and can't be seen: separators of lines, directions, joiners.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry_after(headers: &[(&'static str, &str)]) -> Option<RetryAfter> {
        let headers =
            headers.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()));
        RetryAfter::of(&headers.collect())
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_a_day_at_most() {
        let day = Duration::from_secs(86_400);
        let after = |seconds| Some(RetryAfter::In(Duration::from_secs(seconds)));
        assert_eq!(retry_after(&[("retry-after", "120")]), after(120));
        assert_eq!(retry_after(&[("retry-after", "0")]), after(0));
        assert_eq!(retry_after(&[("retry-after", "99999999999999999999999")]), after(86_400));
        let date = ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(retry_after(&[date]), Some(RetryAfter::At(784_111_777)));
        assert_eq!(retry_after(&[date, ("date", "Sun, 06 Nov 1994 08:49:30 GMT")]), after(7));
        assert_eq!(
            retry_after(&[date, ("date", "Mon, 07 Nov 1994 08:49:30 GMT")]),
            after(0),
            "it has passed"
        );
        assert_eq!(retry_after(&[date, ("date", "Tue, 01 Nov 1994 08:49:30 GMT")]), after(86_400));
        for bad in ["", "soon", "-1", "1.5", "12 s", "+3"] {
            assert_eq!(retry_after(&[("retry-after", bad)]), None, "{bad}");
        }
        assert_eq!(RetryAfter::At(1_000).wait(990), Duration::from_secs(10));
        assert_eq!(RetryAfter::At(1_000).wait(1_001), Duration::ZERO);
        assert_eq!(RetryAfter::At(i64::MAX).wait(i64::MIN), day);
        assert_eq!(RetryAfter::In(Duration::MAX).wait(0), day);
    }

    #[test]
    fn an_excerpt_can_be_shown_anywhere() {
        assert_eq!(excerpt(b"all good"), "all good");
        assert_eq!(excerpt("größer \u{1f600}".as_bytes()), "größer \u{1f600}");
        assert_eq!(excerpt(b"a\r\nb\0\x1b[31m"), "a\\r\\nb\\u{0}\\u{1b}[31m");
        assert_eq!(excerpt("\u{202e}gnp.exe".as_bytes()), "\\u{202e}gnp.exe");
        assert_eq!(excerpt(b"\xff\xfeok"), "\u{fffd}\u{fffd}ok");
        let cut = &"ö".repeat(200).into_bytes()[1..=EXCERPT_BYTES_MAX];
        assert_eq!(excerpt(cut), format!("\u{fffd}{}", "ö".repeat(127)), "the last byte is half a character");
        assert_eq!(excerpt(b"ok\xc3"), "ok\u{fffd}", "this one was not cut by us");
    }
}
