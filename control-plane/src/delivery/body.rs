//! Bodies of deliveries: records of one pack in the form of a webhook, and several of them put together.
//!
//! Pure. A record is encoded once for all webhooks of a thing that have the same format.

use bytes::Bytes;
use domain::{ChannelId, ReceivedAt, Record, ThingId, WebhookId};
use store::{Messages, Row};
use uuid::Uuid;

use super::tracker::Ticket;
use crate::registry::webhooks::Format;

/// Records of one delivery.
pub(crate) const RECORDS_MAX: usize = 1_000;
/// Bytes of one delivery, but for one record that is larger by itself.
pub(crate) const BYTES_MAX: usize = 256 << 10;

/// Records of one pack, encoded, with commas between them.
#[derive(Debug, Clone)]
pub(crate) struct Fragment {
    /// The place of the first in the pack.
    pub(crate) first: usize,
    pub(crate) records: usize,
    pub(crate) text: Bytes,
}

/// A fragment on its way to one webhook.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) ticket: Ticket,
    pub(crate) channel: ChannelId,
    pub(crate) publisher: ThingId,
    pub(crate) received: ReceivedAt,
    pub(crate) format: Format,
    pub(crate) fragment: Fragment,
}

impl Piece {
    pub(crate) fn bytes(&self) -> usize {
        self.fragment.text.len()
    }

    /// Whether it can be in one delivery with another, which fits as far as size goes.
    pub(crate) fn goes_with(&self, other: &Self) -> bool {
        (self.channel, self.publisher, self.format) == (other.channel, other.publisher, other.format)
    }
}

/// Encodes the rows of a pack, in parts that each fit into a delivery.
pub(crate) fn fragments(channel: ChannelId, rows: &[Row], format: Format) -> Vec<Fragment> {
    let mut fragments = Vec::new();
    for (index, rows) in rows.chunks(RECORDS_MAX).enumerate() {
        add(&mut fragments, channel, rows, format, index * RECORDS_MAX);
    }
    fragments
}

fn add(into: &mut Vec<Fragment>, channel: ChannelId, rows: &[Row], format: Format, first: usize) {
    let text = encode(channel, rows, format);
    if text.len() <= BYTES_MAX || rows.len() == 1 {
        into.push(Fragment { first, records: rows.len(), text: text.into() });
    } else {
        let (one, other) = rows.split_at(rows.len() / 2);
        add(into, channel, one, format, first);
        add(into, channel, other, format, first + one.len());
    }
}

fn encode(channel: ChannelId, rows: &[Row], format: Format) -> Vec<u8> {
    let mut array = match format {
        Format::Senml => {
            let records: Vec<Record> = rows.iter().map(|row| row.record.clone()).collect();
            domain::senml::encode(&records).into_bytes()
        }
        Format::Json => {
            serde_json::to_vec(&Messages::new(channel, rows)).expect("every field has a JSON form")
        }
    };
    // What is between the brackets.
    array.pop();
    array.drain(..1);
    array
}

/// The body that pieces make, all of one channel, publisher and format. There has to be one.
pub(crate) fn join(pieces: &[Piece]) -> Vec<u8> {
    let bytes: usize = pieces.iter().map(|piece| piece.bytes() + 1).sum();
    let mut body = Vec::with_capacity(bytes + 128);
    if let Some(Piece { format: Format::Json, channel, publisher, .. }) = pieces.first() {
        body.extend_from_slice(
            format!(r#"{{"channel":"{channel}","publisher":"{publisher}","messages":"#).as_bytes(),
        );
    }
    body.push(b'[');
    for (index, piece) in pieces.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&piece.fragment.text);
    }
    body.push(b']');
    if let Some(Piece { format: Format::Json, .. }) = pieces.first() {
        body.push(b'}');
    }
    body
}

/// The media type of a body.
pub(crate) fn media_type(format: Format) -> &'static str {
    match format {
        Format::Senml => "application/senml+json",
        Format::Json => "application/json",
    }
}

/// The id of the delivery that pieces make: the same whenever the same records of the log make one, and another for any
/// others, so that a receiver that drops what it has by this id drops nothing that it has not.
pub(crate) fn delivery_id(webhook: WebhookId, pieces: &[Piece]) -> Uuid {
    let place = |piece: &Piece, record: usize| {
        // With the time, because a log that was made anew begins with the same offsets.
        let (received, Ticket { lane, offset, .. }) = (piece.received.as_micros(), piece.ticket);
        format!("{received}:{}:{offset}:{record}", lane.0)
    };
    let name = match (pieces.first(), pieces.last()) {
        (Some(first), Some(last)) => {
            let end = last.fragment.first + last.fragment.records;
            format!("{}-{}", place(first, first.fragment.first), place(last, end))
        }
        _ => String::new(),
    };
    Uuid::new_v5(&webhook.as_uuid(), name.as_bytes())
}

#[cfg(test)]
pub(crate) mod tests {
    use domain::{Lane, Protocol, Subtopic, Timestamp, Value};

    use super::*;

    fn row(name: &str) -> Row {
        Row {
            publisher: ThingId::from_bytes([2; 16]),
            subtopic: Subtopic::default(),
            protocol: Protocol::Http,
            received: ReceivedAt::from_micros(5),
            record: Record {
                name: name.to_owned(),
                unit: String::new(),
                time: Timestamp::MIN,
                value: Some(Value::Number(1.5)),
                sum: None,
                update_time: None,
            },
        }
    }

    /// A piece of so many records at an offset.
    pub(crate) fn piece(offset: u64, records: usize) -> Piece {
        let text = vec!["{}"; records].join(",").into();
        Piece {
            ticket: Ticket { lane: Lane(0), generation: 0, offset },
            channel: ChannelId::from_bytes([1; 16]),
            publisher: ThingId::from_bytes([2; 16]),
            received: ReceivedAt::from_micros(5),
            format: Format::Json,
            fragment: Fragment { first: 0, records, text },
        }
    }

    #[test]
    fn a_pack_is_cut_where_a_delivery_would_be_too_large_and_nothing_is_lost() {
        let channel = ChannelId::from_bytes([1; 16]);
        let long = "x".repeat(250);
        let rows: Vec<Row> = (0..2_500).map(|index| row(&format!("{long}{index}"))).collect();
        for format in [Format::Senml, Format::Json] {
            let fragments = fragments(channel, &rows, format);
            let mut next = 0;
            for fragment in &fragments {
                assert_eq!(fragment.first, next);
                assert!(fragment.records <= RECORDS_MAX && fragment.text.len() <= BYTES_MAX);
                let array = [b"[", &fragment.text[..], b"]"].concat();
                let array: Vec<serde_json::Value> = serde_json::from_slice(&array).unwrap();
                assert_eq!(array.len(), fragment.records);
                next += fragment.records;
            }
            assert_eq!(next, rows.len());
        }
    }

    #[test]
    fn bodies_have_the_shape_of_their_format() {
        let (channel, rows) = (ChannelId::from_bytes([1; 16]), [row("a"), row("b")]);
        let piece =
            |format| Piece { format, fragment: fragments(channel, &rows, format).remove(0), ..piece(1, 1) };
        let senml: serde_json::Value =
            serde_json::from_slice(&join(&[piece(Format::Senml), piece(Format::Senml)])).unwrap();
        assert_eq!(
            (senml.as_array().unwrap().len(), &senml[3]["n"], &senml[0]["v"]),
            (4, &"b".into(), &1.5.into())
        );
        let json: serde_json::Value = serde_json::from_slice(&join(&[piece(Format::Json)])).unwrap();
        assert_eq!(json["channel"], channel.to_string());
        assert_eq!(json["publisher"], rows[0].publisher.to_string());
        assert_eq!(
            (&json["messages"][1]["name"], json["messages"].as_array().unwrap().len()),
            (&"b".into(), 2)
        );
    }

    #[test]
    fn an_id_stands_for_exactly_these_records() {
        let webhook = WebhookId::from_bytes([7; 16]);
        let id = |pieces: &[Piece]| delivery_id(webhook, pieces);
        assert_eq!(id(&[piece(1, 2), piece(2, 1)]), id(&[piece(1, 2), piece(2, 1)]));
        let others =
            [vec![piece(1, 2)], vec![piece(1, 2), piece(3, 1)], vec![piece(2, 2)], vec![piece(1, 3)]];
        let mut ids: Vec<Uuid> = others.iter().map(|pieces| id(pieces)).collect();
        ids.push(id(&[piece(1, 2), piece(2, 1)]));
        ids.push(delivery_id(WebhookId::from_bytes([8; 16]), &[piece(1, 2)]));
        // At the same places of a log that was made anew.
        let again = Piece { received: ReceivedAt::from_micros(6), ..piece(1, 2) };
        ids.push(delivery_id(webhook, &[again]));
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 7);
    }
}
