//! SenML (RFC 8428, updated by RFC 9100): packs as things send them, and the records they stand for.

/// How a pack is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// `application/senml+json`, or plain `application/json`.
    Json,
}

impl Format {
    /// The byte that stands for it in stored data.
    pub const fn code(self) -> u8 {
        match self {
            Self::Json => 1,
        }
    }

    /// The format that [`Self::code`] stands for.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Json),
            _ => None,
        }
    }
}
