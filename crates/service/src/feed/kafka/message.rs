//! A change as it stands in the topic: `{"v":1,"change":{"thing":"…"}}`.

use serde::{Deserialize, Serialize};

use crate::feed::Change;

/// The version that this build writes, and the only one that it reads.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Message {
    v: u32,
    change: Change,
}

/// What every version has.
#[derive(Deserialize)]
struct Versioned {
    v: u32,
}

/// Why a message is no change to this build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("it is of version {0}, which a newer build wrote")]
    UnknownVersion(u32),
    #[error("it is no change")]
    Malformed,
}

pub(super) fn encode(change: Change) -> Vec<u8> {
    serde_json::to_vec(&Message { v: VERSION, change }).expect("a change can be written as JSON")
}

pub(super) fn decode(payload: Option<&[u8]>) -> Result<Change, Unreadable> {
    let payload = payload.ok_or(Unreadable::Malformed)?;
    let Versioned { v } = serde_json::from_slice(payload).map_err(|_| Unreadable::Malformed)?;
    if v != VERSION {
        return Err(Unreadable::UnknownVersion(v));
    }
    let message = serde_json::from_slice(payload);
    message.map(|Message { change, .. }| change).map_err(|_| Unreadable::Malformed)
}

#[cfg(test)]
mod tests {
    use domain::{ChannelId, ThingId};

    use super::*;

    const THING: Change = Change::Thing(ThingId::from_bytes([1; 16]));

    #[test]
    fn a_change_survives_and_looks_like_this() {
        for change in [THING, Change::Channel(ChannelId::from_bytes([255; 16]))] {
            assert_eq!(decode(Some(&encode(change))), Ok(change));
        }
        let text = String::from_utf8(encode(THING)).unwrap();
        assert_eq!(text, r#"{"v":1,"change":{"thing":"01010101-0101-0101-0101-010101010101"}}"#);
        let more = text.replace(r#"{"v":1,"#, r#"{"v":1,"by":"somebody","#);
        assert_eq!(decode(Some(more.as_bytes())), Ok(THING), "a field that is added takes nothing away");
    }

    #[test]
    fn what_a_newer_build_wrote_is_told_from_what_is_no_change() {
        for text in [r#"{"v":2}"#, r#"{"v":2,"change":{"group":1}}"#, r#"{"change":[],"v":2}"#] {
            assert_eq!(decode(Some(text.as_bytes())), Err(Unreadable::UnknownVersion(2)), "{text}");
        }
        let whole = encode(THING);
        for text in
            ["", "{}", "[]", r#"{"v":1}"#, r#"{"v":1,"change":{"group":"x"}}"#, r#"{"v":-1}"#, "\u{0}"]
        {
            assert_eq!(decode(Some(text.as_bytes())), Err(Unreadable::Malformed), "{text}");
        }
        for cut in 0..whole.len() {
            assert_eq!(decode(Some(&whole[..cut])), Err(Unreadable::Malformed), "cut at {cut}");
        }
        assert_eq!(decode(None), Err(Unreadable::Malformed));
    }
}
