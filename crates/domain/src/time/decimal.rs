//! Decimal seconds, exact: read from text, added as decimals, rounded once.
//!
//! Never goes through a float, and never allocates: what is finer than a nanosecond stays in the text it came from.
//! Linear in the length of the text, whatever the exponent.

use std::cmp::Ordering;

const DECIMALS: i64 = 9;
/// Digits of nanoseconds that are kept. 10^30 ns are 10^21 s, far outside of every [`Timestamp`](super::Timestamp),
/// and the sum of two such numbers is far inside of an `i128`.
const DIGITS_MAX: i64 = 30;
/// Digits that a `u64` always holds.
const DIGITS_U64: i64 = 19;
/// Exponents are as good as infinite from here on: no text is so long that its digits could make up for it.
const EXPONENT_MAX: i64 = 1 << 48;

/// A number of seconds, exactly as it was written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seconds<'a> {
    /// Whole nanoseconds, rounded towards zero.
    nanos: i128,
    /// The rest, of the same sign.
    tail: Tail<'a>,
}

/// What is left below a nanosecond: a fraction from 0 to 1, exclusive, of one.
#[derive(Debug, Clone, Copy)]
struct Tail<'a> {
    negative: bool,
    /// Zeros before the first of [`Tail::digits`].
    gap: u64,
    /// Digits, perhaps with a decimal point between them, which means nothing here. Empty for zero.
    digits: &'a [u8],
}

/// Why a text is no number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotSeconds {
    /// Not a number in the grammar of JSON.
    Syntax,
    /// So large that not even a difference of two such numbers would be a time.
    Range,
}

/// The sum of two numbers of seconds, rounded half to even.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Total {
    /// Nanoseconds.
    pub(crate) nanos: i128,
    /// How the sum compares with the whole seconds asked for, before it was rounded.
    pub(crate) against: Ordering,
}

impl<'a> Seconds<'a> {
    /// Nothing.
    pub(crate) const ZERO: Self = Self { nanos: 0, tail: Tail::ZERO };

    /// Whole seconds.
    pub(crate) const fn from_integer(seconds: i128) -> Self {
        Self { nanos: seconds * 1_000_000_000, tail: Tail::ZERO }
    }

    /// Reads a number in the grammar of JSON (RFC 8259 section 6).
    ///
    /// # Errors
    /// [`NotSeconds::Syntax`] for any other text, [`NotSeconds::Range`] from 10^21 s.
    pub(crate) fn parse(text: &'a [u8]) -> Result<Self, NotSeconds> {
        let (negative, text) = match text.split_first() {
            Some((b'-', rest)) => (true, rest),
            _ => (false, text),
        };
        let whole = digits_at_start(text);
        if whole == 0 || (whole > 1 && text[0] == b'0') {
            return Err(NotSeconds::Syntax);
        }
        let mut end = whole;
        if text.get(end) == Some(&b'.') {
            let decimals = digits_at_start(&text[end + 1..]);
            if decimals == 0 {
                return Err(NotSeconds::Syntax);
            }
            end += 1 + decimals;
        }
        let exponent = match text.get(end) {
            None => 0,
            Some(b'e' | b'E') => parse_exponent(&text[end + 1..])?,
            Some(_) => return Err(NotSeconds::Syntax),
        };
        Self::from_parts(negative, &text[..end], whole as i64 + exponent)
    }

    /// The number with these digits, the point standing behind the first `point` of them.
    fn from_parts(negative: bool, digits: &'a [u8], point: i64) -> Result<Self, NotSeconds> {
        let Some(first) = digits.iter().position(|byte| matches!(byte, b'1'..=b'9')) else {
            return Ok(Self::ZERO);
        };
        let zeros = digits[..first].iter().filter(|&&byte| byte == b'0').count() as i64;
        let places = point + DECIMALS - zeros;
        if places > DIGITS_MAX {
            return Err(NotSeconds::Range);
        }
        let mut rest = &digits[first..];
        let mut small: u64 = 0;
        for _ in 0..places.min(DIGITS_U64) {
            small = small * 10 + u64::from(next_digit(&mut rest).unwrap_or(0));
        }
        let mut nanos = i128::from(small);
        for _ in DIGITS_U64..places {
            nanos = nanos * 10 + i128::from(next_digit(&mut rest).unwrap_or(0));
        }
        let nonzero = rest.iter().any(|byte| matches!(byte, b'1'..=b'9'));
        let digits = if nonzero { rest } else { &[] };
        let tail = Tail { negative, gap: places.min(0).unsigned_abs(), digits };
        Ok(Self { nanos: if negative { -nanos } else { nanos }, tail })
    }

    /// Whole nanoseconds, rounded up: the first that is not before the number.
    pub(crate) fn nanos_up(self) -> i128 {
        self.nanos + i128::from(!self.tail.digits.is_empty() && !self.tail.negative)
    }

    /// Adds two numbers exactly, compares the sum with `threshold_seconds`, and rounds it half to even.
    pub(crate) fn add(self, other: Seconds<'_>, threshold_seconds: i64) -> Total {
        let nanos = self.nanos + other.nanos;
        let threshold = i128::from(threshold_seconds) * 1_000_000_000;
        if self.tail.digits.is_empty() && other.tail.digits.is_empty() {
            return Total { nanos, against: nanos.cmp(&threshold) };
        }
        let tails = |halves: i32| compare_tails(self.tail, other.tail, halves);
        let against = match threshold - nanos {
            // The tails add up to something between -2 and 2.
            distance @ -2..=2 => tails(2 * distance as i32),
            distance => 0.cmp(&distance),
        };
        Total { nanos: nanos + round(nanos, tails), against }
    }
}

impl Tail<'_> {
    const ZERO: Self = Self { negative: false, gap: 0, digits: &[] };
}

/// What to add to `nanos` so that it is rounded half to even, if `tails` compares the fraction to be added to it,
/// which is between -2 and 2, with a number of halves.
fn round(nanos: i128, tails: impl Fn(i32) -> Ordering) -> i128 {
    for (halves, below) in [(-3, -2), (-1, -1), (1, 0), (3, 1)] {
        match tails(halves) {
            Ordering::Less => return below,
            Ordering::Equal => return below + (nanos + below).rem_euclid(2),
            Ordering::Greater => {}
        }
    }
    2
}

/// Compares the sum of two tails with a number of halves, digit by digit, from the first.
fn compare_tails(mut one: Tail<'_>, mut other: Tail<'_>, halves: i32) -> Ordering {
    // How far the sum is ahead, in units of the digit just seen. What is still to come is less than 2.5 units.
    let mut ahead = -halves.div_euclid(2);
    let mut expected = 5 * halves.rem_euclid(2);
    loop {
        match ahead {
            3.. => return Ordering::Greater,
            ..=-3 => return Ordering::Less,
            _ => {}
        }
        if one.digits.is_empty() && other.digits.is_empty() && expected == 0 {
            return ahead.cmp(&0);
        }
        if ahead == 0 && expected == 0 {
            skip_common_gap(&mut one, &mut other);
        }
        ahead = 10 * ahead + one.next() + other.next() - expected;
        expected = 0;
    }
}

/// Skips zeros that both have: they may be very many, and they change nothing between equals.
fn skip_common_gap(one: &mut Tail<'_>, other: &mut Tail<'_>) {
    let gap = match (one.digits.is_empty(), other.digits.is_empty()) {
        (false, false) => one.gap.min(other.gap),
        (false, true) => one.gap,
        (true, _) => other.gap,
    };
    one.gap = one.gap.saturating_sub(gap);
    other.gap = other.gap.saturating_sub(gap);
}

impl Tail<'_> {
    /// The next digit, with the sign of the number.
    fn next(&mut self) -> i32 {
        if self.gap > 0 {
            self.gap -= 1;
            return 0;
        }
        let digit = i32::from(next_digit(&mut self.digits).unwrap_or(0));
        if self.negative { -digit } else { digit }
    }
}

fn next_digit(digits: &mut &[u8]) -> Option<u8> {
    loop {
        let (&byte, rest) = digits.split_first()?;
        *digits = rest;
        if byte != b'.' {
            return Some(byte - b'0');
        }
    }
}

fn digits_at_start(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn parse_exponent(text: &[u8]) -> Result<i64, NotSeconds> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || digits_at_start(digits) != digits.len() {
        return Err(NotSeconds::Syntax);
    }
    let exponent =
        digits.iter().fold(0, |sum: i64, digit| (sum * 10 + i64::from(digit - b'0')).min(EXPONENT_MAX));
    Ok(if negative { -exponent } else { exponent })
}

#[cfg(test)]
mod tests;
