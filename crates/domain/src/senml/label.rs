//! The labels of RFC 8428 section 4.3 (table 1), and the fields they may share a record with.

/// A label that we know. Any other is ignored, or must be understood and is refused (section 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    BaseName,
    BaseTime,
    BaseUnit,
    BaseValue,
    BaseSum,
    BaseVersion,
    Name,
    Unit,
    Number,
    Text,
    Bool,
    Data,
    Sum,
    Time,
    UpdateTime,
}

impl Label {
    /// Labels are case-sensitive: `N` and `V` are not known.
    #[inline]
    pub(super) fn of(text: &str) -> Option<Self> {
        Some(match text.as_bytes() {
            b"n" => Self::Name,
            b"v" => Self::Number,
            b"t" => Self::Time,
            b"u" => Self::Unit,
            b"s" => Self::Sum,
            b"bn" => Self::BaseName,
            b"bt" => Self::BaseTime,
            b"bu" => Self::BaseUnit,
            b"bv" => Self::BaseValue,
            b"bs" => Self::BaseSum,
            b"bver" => Self::BaseVersion,
            b"vs" => Self::Text,
            b"vb" => Self::Bool,
            b"vd" => Self::Data,
            b"ut" => Self::UpdateTime,
            _ => return None,
        })
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::BaseName => "bn",
            Self::BaseTime => "bt",
            Self::BaseUnit => "bu",
            Self::BaseValue => "bv",
            Self::BaseSum => "bs",
            Self::BaseVersion => "bver",
            Self::Name => "n",
            Self::Unit => "u",
            Self::Number => "v",
            Self::Text => "vs",
            Self::Bool => "vb",
            Self::Data => "vd",
            Self::Sum => "s",
            Self::Time => "t",
            Self::UpdateTime => "ut",
        }
    }

    /// The type of its value, for a person.
    pub(super) const fn expected(self) -> &'static str {
        match self {
            Self::BaseName | Self::BaseUnit | Self::Name | Self::Unit | Self::Text => "a string",
            Self::Data => "a string of base64url",
            Self::Bool => "true or false",
            Self::BaseTime | Self::BaseValue | Self::BaseSum | Self::BaseVersion => "a number",
            Self::Number | Self::Sum | Self::Time | Self::UpdateTime => "a number",
        }
    }
}

/// Some of the labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Labels(u16);

impl Labels {
    /// What a record may hold and still be no measurement (section 4.1).
    pub(super) const BASE: Self = Self::of([
        Label::BaseName,
        Label::BaseTime,
        Label::BaseUnit,
        Label::BaseValue,
        Label::BaseSum,
        Label::BaseVersion,
    ]);
    /// Of these a record may hold one (section 4.2).
    pub(super) const VALUES: Self = Self::of([Label::Number, Label::Text, Label::Bool, Label::Data]);

    const fn of<const N: usize>(labels: [Label; N]) -> Self {
        let (mut bits, mut i) = (0, 0);
        while i < N {
            bits |= 1 << labels[i] as u16;
            i += 1;
        }
        Self(bits)
    }

    /// Adds a label. Says whether it was new.
    #[inline]
    pub(super) fn insert(&mut self, label: Label) -> bool {
        let bit = 1 << label as u16;
        let new = self.0 & bit == 0;
        self.0 |= bit;
        new
    }

    pub(super) const fn contains(self, label: Label) -> bool {
        self.0 & (1 << label as u16) != 0
    }

    pub(super) const fn are_all_in(self, others: Self) -> bool {
        self.0 & !others.0 == 0
    }

    pub(super) const fn count_in(self, others: Self) -> u32 {
        (self.0 & others.0).count_ones()
    }
}
