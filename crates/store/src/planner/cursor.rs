//! Cursors: where a page ended, as text that only this system can write.
//!
//! A cursor says behind which row to go on, so it stays right whatever is written meanwhile. It is signed, because what
//! it says is believed, and bound to its query, because behind a row of one query is nowhere in another.

use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::{Subtopic, ThingId, Timestamp};

use super::{Query, TotalRelation};
use crate::contract::{Direction, RowKey};

/// The version of the text's inside. A cursor of another one is refused like a forged one: its page is read anew.
const VERSION: u8 = 1;
/// Bytes of the digest that binds a cursor to its query, and of the signature: too many to find a second one for.
const DIGEST_BYTES: usize = 16;

/// What cursors are signed with. Nodes that serve the same readers share it.
#[derive(Clone)]
pub struct CursorKey(hmac::Key);

impl std::fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CursorKey(..)")
    }
}

/// The text is no cursor of this query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotACursor;

/// Where a page ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Go on behind this row.
    pub(super) after: RowKey,
    /// Rows on all pages up to here.
    pub(super) before: u64,
    /// What the first page of a filtered query found in all.
    pub(super) total: Option<(u64, TotalRelation)>,
}

impl CursorKey {
    /// The key that 32 secret bytes make.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(HMAC_SHA256, bytes))
    }

    pub(super) fn seal(&self, query: &Query, place: &Place) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&place.before.to_be_bytes());
        let (found, relation) = match place.total {
            None => (0, 0),
            Some((found, TotalRelation::Exact)) => (found, 1),
            Some((found, TotalRelation::AtLeast)) => (found, 2),
        };
        bytes.push(relation);
        bytes.extend_from_slice(&found.to_be_bytes());
        bytes.extend_from_slice(&place.after.time.as_nanos().to_be_bytes());
        bytes.extend_from_slice(place.after.publisher.as_bytes());
        for text in [place.after.subtopic.as_str(), &place.after.name, &place.after.unit] {
            put_text(&mut bytes, text);
        }
        let signature = hmac::sign(&self.0, &signed(query, &bytes));
        bytes.extend_from_slice(&signature.as_ref()[..DIGEST_BYTES]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    pub(super) fn open(&self, query: &Query, text: &str) -> Result<Place, NotACursor> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotACursor)?;
        let (bytes, signature) = bytes.split_last_chunk::<DIGEST_BYTES>().ok_or(NotACursor)?;
        let expected = hmac::sign(&self.0, &signed(query, bytes));
        aws_lc_rs::constant_time::verify_slices_are_equal(&expected.as_ref()[..DIGEST_BYTES], signature)
            .map_err(|_| NotACursor)?;
        decode(bytes).ok_or(NotACursor)
    }
}

fn decode(bytes: &[u8]) -> Option<Place> {
    let mut rest = bytes;
    let [VERSION] = take(&mut rest)? else { return None };
    let before = u64::from_be_bytes(take(&mut rest)?);
    let [relation] = take(&mut rest)?;
    let found = u64::from_be_bytes(take(&mut rest)?);
    let total = match relation {
        0 => None,
        1 => Some((found, TotalRelation::Exact)),
        2 => Some((found, TotalRelation::AtLeast)),
        _ => return None,
    };
    let after = RowKey {
        time: Timestamp::from_nanos(i64::from_be_bytes(take(&mut rest)?)),
        publisher: ThingId::from_bytes(take(&mut rest)?),
        subtopic: Subtopic::from_stored(take_text(&mut rest)?),
        name: take_text(&mut rest)?,
        unit: take_text(&mut rest)?,
    };
    rest.is_empty().then_some(Place { after, before, total })
}

/// What the signature covers: the cursor, and a digest of what it is a cursor of. The page's size is no part of that.
fn signed(query: &Query, cursor: &[u8]) -> Vec<u8> {
    let mut asked = query.channel.as_bytes().to_vec();
    asked.push(match query.direction {
        Direction::Descending => 0,
        Direction::Ascending => 1,
    });
    asked.extend_from_slice(&query.range.from.as_nanos().to_be_bytes());
    put_optional(&mut asked, query.range.to.map(|to| to.as_nanos().to_be_bytes()));
    let filter = &query.filter;
    put_optional(&mut asked, filter.subtopic.as_ref().map(|subtopic| subtopic.as_str()));
    put_optional(&mut asked, filter.publisher.as_ref().map(ThingId::as_bytes));
    put_optional(&mut asked, filter.protocol.as_deref());
    put_optional(&mut asked, filter.name.as_deref());
    put_optional(&mut asked, filter.number.map(|number| [number.comparator as u8]));
    put_optional(&mut asked, filter.number.map(|number| number.number.to_be_bytes()));
    put_optional(&mut asked, filter.text.as_deref());
    put_optional(&mut asked, filter.bool.map(|bool| [u8::from(bool)]));
    put_optional(&mut asked, filter.data.as_deref());
    let mut signed = digest::digest(&SHA256, &asked).as_ref().to_vec();
    signed.extend_from_slice(cursor);
    signed
}

fn put_optional(into: &mut Vec<u8>, part: Option<impl AsRef<[u8]>>) {
    match part {
        None => into.push(0),
        Some(part) => {
            into.push(1);
            into.extend_from_slice(&(part.as_ref().len() as u64).to_be_bytes());
            into.extend_from_slice(part.as_ref());
        }
    }
}

fn put_text(into: &mut Vec<u8>, text: &str) {
    into.extend_from_slice(&(text.len() as u16).to_be_bytes());
    into.extend_from_slice(text.as_bytes());
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    let length = u16::from_be_bytes(take(rest)?);
    let (text, behind) = rest.split_at_checked(usize::from(length))?;
    *rest = behind;
    String::from_utf8(text.to_vec()).ok()
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::TimeRange;
    use crate::planner::{Filter, Start};
    use domain::{ChannelId, ChannelProfile};
    use proptest::prelude::*;

    fn query() -> Query {
        Query {
            channel: ChannelId::from_bytes([1; 16]),
            profile: ChannelProfile::default(),
            range: TimeRange::ALL,
            cut_off: Timestamp::MIN,
            direction: Direction::Descending,
            filter: Filter::default(),
            limit: 10,
            start: Start::Offset(0),
        }
    }

    fn any_place() -> impl Strategy<Value = Place> {
        let relation = prop_oneof![Just(TotalRelation::Exact), Just(TotalRelation::AtLeast)];
        let total = proptest::option::of((any::<u64>(), relation));
        let texts = ("[a-z.]{0,9}", any::<String>(), any::<String>());
        (any::<i64>(), any::<[u8; 16]>(), texts, any::<u64>(), total).prop_map(
            |(time, publisher, (subtopic, name, unit), before, total)| Place {
                after: RowKey {
                    time: Timestamp::from_nanos(time),
                    publisher: ThingId::from_bytes(publisher),
                    subtopic: Subtopic::from_stored(subtopic),
                    name,
                    unit,
                },
                before,
                total,
            },
        )
    }

    proptest! {
        #[test]
        fn a_cursor_survives_a_round_trip(place in any_place()) {
            let key = CursorKey::from_bytes(&[7; 32]);
            let text = key.seal(&query(), &place);
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            prop_assert_eq!(key.open(&query(), &text), Ok(place));
        }

        #[test]
        fn a_changed_cursor_is_refused(place in any_place(), at: prop::sample::Index, bit in 0u8..8) {
            let key = CursorKey::from_bytes(&[7; 32]);
            let mut bytes = URL_SAFE_NO_PAD.decode(key.seal(&query(), &place)).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(key.open(&query(), &URL_SAFE_NO_PAD.encode(&bytes)), Err(NotACursor));
            bytes.truncate(at);
            prop_assert_eq!(key.open(&query(), &URL_SAFE_NO_PAD.encode(&bytes)), Err(NotACursor));
        }

        #[test]
        fn no_text_panics(text: String) {
            prop_assert_eq!(CursorKey::from_bytes(&[7; 32]).open(&query(), &text), Err(NotACursor));
        }
    }

    #[test]
    fn a_cursor_belongs_to_its_key_and_its_query() {
        let place = Place {
            after: RowKey {
                time: Timestamp::from_nanos(5),
                publisher: ThingId::from_bytes([2; 16]),
                subtopic: Subtopic::default(),
                name: "n".into(),
                unit: String::new(),
            },
            before: 10,
            total: None,
        };
        let key = CursorKey::from_bytes(&[7; 32]);
        let text = key.seal(&query(), &place);
        assert!(CursorKey::from_bytes(&[8; 32]).open(&query(), &text).is_err());
        let changes: [fn(&mut Query); 13] = [
            |query| query.channel = ChannelId::from_bytes([9; 16]),
            |query| query.direction = Direction::Ascending,
            |query| query.range.from = Timestamp::from_nanos(0),
            |query| query.range.to = Some(Timestamp::MAX),
            |query| query.filter.subtopic = Some(Subtopic::default()),
            |query| query.filter.publisher = Some(ThingId::from_bytes([2; 16])),
            |query| query.filter.protocol = Some("http".into()),
            |query| query.filter.name = Some("n".into()),
            |query| {
                query.filter.number =
                    Some(super::super::NumberFilter { comparator: Default::default(), number: 1.0 })
            },
            |query| query.filter.text = Some("n".into()),
            |query| query.filter.bool = Some(false),
            |query| query.filter.data = Some(Vec::new()),
            |query| query.filter.data = Some(b"n".to_vec()),
        ];
        for (n, change) in changes.into_iter().enumerate() {
            let mut other = query();
            change(&mut other);
            assert_eq!(key.open(&other, &text), Err(NotACursor), "change {n}");
        }
        let larger = Query { limit: 1_000, ..query() };
        assert_eq!(key.open(&larger, &text), Ok(place.clone()), "pages of one walk may differ in size");
        let later = Query { cut_off: Timestamp::from_nanos(7), ..query() };
        assert_eq!(key.open(&later, &text), Ok(place), "the cut-off moves between pages");
    }
}
