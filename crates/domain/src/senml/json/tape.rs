//! The fast path: simd-json's tape, read in order with reused buffers.
//!
//! Never says why a pack is refused: whatever it does not take, the [authority](super::authority) reads again.
//!
//! simd-json turns numbers into doubles, and a time must be exact. It also leaves the place of every structural
//! character in the body, and a node's place among these follows from its place on the tape: each node is followed by
//! one separator (a colon, a comma, or the end of what it is in), so that node `i`, in `d` open containers, stands
//! at `2 i - d`, plus one for each empty container before it, whose end separates nothing. There the text of the number
//! is found again, in the body as it was sent.

use simd_json::{Buffers, INPUT_PADDING, Node, StaticNode, Tape};

use crate::limits::{PACK_DEPTH_MAX, SCRATCH_NODES_MAX};
use crate::senml::PackLimits;
use crate::senml::error::Kind;
use crate::senml::pack::{Fields, Mismatch, Pack, Sink};
use crate::time::ReceivedAt;
use crate::time::decimal::{NotSeconds, Seconds};

/// Open containers around a record's fields: the pack and the record.
const FIELD_DEPTH: usize = 2;

/// Buffers of the fast path.
pub(super) struct TapeScratch {
    /// The body, which simd-json rewrites, with room behind it.
    body: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
}

impl Default for TapeScratch {
    fn default() -> Self {
        Self { body: Vec::new(), buffers: Buffers::with_max_depth(0, PACK_DEPTH_MAX), tape: Tape(Vec::new()) }
    }
}

/// The fast path does not take this pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotTaken;

/// Reads a pack into the sink and says how many measurements it held.
pub(super) fn read<S: Sink>(
    body: &[u8],
    received: ReceivedAt,
    limits: &PackLimits,
    scratch: &mut TapeScratch,
    sink: &mut S,
) -> Result<usize, NotTaken> {
    scratch.body.clear();
    scratch.body.extend_from_slice(body);
    scratch.body.resize(body.len() + INPUT_PADDING, b' ');
    let mut tape = std::mem::replace(&mut scratch.tape, Tape(Vec::new())).reset();
    let parsed = simd_json::fill_tape_padded(&mut scratch.body, body.len(), &mut scratch.buffers, &mut tape);
    let measurements = match parsed {
        Ok(()) => read_tape(&tape.0, scratch.buffers.structural_indexes(), body, received, limits, sink),
        Err(_) => Err(NotTaken),
    };
    // One large pack must not hold its memory for as long as the process runs.
    if tape.0.capacity() > SCRATCH_NODES_MAX {
        *scratch = TapeScratch::default();
    } else {
        scratch.tape = tape.reset();
    }
    measurements
}

fn read_tape<S: Sink>(
    nodes: &[Node<'_>],
    structurals: &[u32],
    body: &[u8],
    received: ReceivedAt,
    limits: &PackLimits,
    sink: &mut S,
) -> Result<usize, NotTaken> {
    let Some(&Node::Array { len: records, .. }) = nodes.first() else {
        return Err(NotTaken);
    };
    if records > limits.records_max {
        return Err(NotTaken);
    }
    let mut pack = Pack::new(received, limits);
    let mut reader = TapeReader { nodes, structurals, body, at: 1, empties: 0, fields: 0 };
    for _ in 0..records {
        let Node::Object { len: fields, .. } = reader.next() else {
            return Err(NotTaken);
        };
        reader.fields = fields;
        reader.empties += usize::from(fields == 0);
        pack.record(&mut reader, sink).map_err(|_| NotTaken)?;
    }
    reader.check_end()?;
    pack.end().map_err(|_| NotTaken)
}

/// A place on the tape.
struct TapeReader<'t, 'a> {
    nodes: &'t [Node<'t>],
    structurals: &'t [u32],
    body: &'a [u8],
    /// The next node.
    at: usize,
    /// Empty containers before it.
    empties: usize,
    /// Fields left in the record.
    fields: usize,
}

impl<'t, 'a> TapeReader<'t, 'a> {
    #[inline]
    fn next(&mut self) -> Node<'t> {
        let node = self.nodes.get(self.at).copied().unwrap_or(Node::Static(StaticNode::Null));
        self.at += 1;
        node
    }

    /// The text of the number that [`Self::next`] just returned.
    #[inline]
    fn number_text(&self) -> Option<&'a [u8]> {
        let structural = 2 * (self.at - 1) - FIELD_DEPTH + self.empties;
        let start = *self.structurals.get(structural)? as usize;
        let text = self.body.get(start..)?;
        let is_in_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E');
        let bytes = text.iter().position(|byte| !is_in_number(byte))?;
        Some(&text[..bytes])
    }

    /// Whether the rule by which texts are found held for this pack: if not, no time may be believed.
    fn check_end(&self) -> Result<(), NotTaken> {
        let is_at_end =
            self.at == self.nodes.len() && 2 * self.at + self.empties == self.structurals.len() + 1;
        if is_at_end { Ok(()) } else { Err(NotTaken) }
    }
}

impl<'t, 'a> Fields<'a> for TapeReader<'t, 'a> {
    type Text = &'t str;

    #[inline]
    fn label(&mut self) -> Option<&'t str> {
        self.fields = self.fields.checked_sub(1)?;
        match self.next() {
            Node::String(label) => Some(label),
            _ => None,
        }
    }

    #[inline]
    fn text(&mut self) -> Result<&'t str, Mismatch> {
        match self.next() {
            Node::String(text) => Ok(text),
            other => Err(mismatch(&other)),
        }
    }

    #[inline]
    fn number(&mut self) -> Result<f64, Mismatch> {
        match self.next() {
            Node::Static(StaticNode::F64(number)) => Ok(number),
            Node::Static(StaticNode::U64(number)) => Ok(number as f64),
            // Only a text with a sign gives a signed integer, so that this was -0.
            Node::Static(StaticNode::I64(0)) => Ok(-0.0),
            Node::Static(StaticNode::I64(number)) => Ok(number as f64),
            other => Err(mismatch(&other)),
        }
    }

    #[inline]
    fn seconds(&mut self) -> Result<Seconds<'a>, Mismatch> {
        match self.next() {
            Node::Static(StaticNode::U64(number)) => Ok(Seconds::from_integer(i128::from(number))),
            Node::Static(StaticNode::I64(number)) => Ok(Seconds::from_integer(i128::from(number))),
            Node::Static(StaticNode::F64(_)) => {
                let text = self.number_text().unwrap_or_default();
                Seconds::parse(text).map_err(|_: NotSeconds| Mismatch::Time)
            }
            other => Err(mismatch(&other)),
        }
    }

    #[inline]
    fn boolean(&mut self) -> Result<bool, Mismatch> {
        match self.next() {
            Node::Static(StaticNode::Bool(boolean)) => Ok(boolean),
            other => Err(mismatch(&other)),
        }
    }

    fn skip(&mut self) {
        let inner = match self.next() {
            Node::Object { len, count } | Node::Array { len, count } => {
                self.empties += usize::from(len == 0);
                count
            }
            _ => 0,
        };
        let is_empty =
            |node: &&Node<'_>| matches!(node, Node::Object { len: 0, .. } | Node::Array { len: 0, .. });
        let end = self.at + inner;
        self.empties += self.nodes.get(self.at..end).unwrap_or_default().iter().filter(is_empty).count();
        self.at = end;
    }
}

#[cold]
fn mismatch(node: &Node<'_>) -> Mismatch {
    Mismatch::Kind(match node {
        Node::String(_) => Kind::Text,
        Node::Object { .. } => Kind::Object,
        Node::Array { .. } => Kind::Array,
        Node::Static(StaticNode::Bool(_)) => Kind::Boolean,
        Node::Static(StaticNode::Null) => Kind::Null,
        Node::Static(_) => Kind::Number,
    })
}
