//! Why a pack is refused: one code for programs, the record and field at fault, and a text for people.

use std::fmt;

/// Bytes of a label that an error repeats; the rest of a longer one is cut off.
const LABEL_BYTES_MAX: usize = 64;

/// Why a pack is refused. Nothing of it may be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenmlError(Box<Parts>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Parts {
    code: ErrorCode,
    record: Option<usize>,
    field: Option<String>,
    text: String,
}

/// What kind of fault it is. HTTP answers 413 to [`ErrorCode::TooLarge`], 400 to all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// Not JSON, not UTF-8, a lone surrogate, or nested too deeply.
    Malformed,
    /// The root is not an array.
    NotAPack,
    /// No record is a measurement.
    EmptyPack,
    /// More records than one pack may have.
    TooLarge,
    /// An element of the pack is not an object.
    BadRecord,
    /// A field has a value of another type than its label asks for.
    BadType,
    /// A label appears twice in one record.
    DuplicateField,
    /// A measurement has neither value nor sum.
    NoValue,
    /// A measurement has more than one of `v`, `vs`, `vb` and `vd`.
    ManyValues,
    /// A resolved name is empty, too long, or has characters that a name may not have.
    BadName,
    /// A unit is longer than we keep. Our own limit: the RFC has none.
    BadUnit,
    /// A number beyond a double, or one that its field may not have.
    BadNumber,
    /// A time outside of what 64 bits of nanoseconds can hold.
    TimeRange,
    /// A time before those that the channel keeps.
    Expired,
    /// `vd` is not base64url.
    BadData,
    /// A field that we do not know, and that must be understood.
    MustUnderstand,
    /// A version of SenML, or a feature of it, that we do not know.
    UnsupportedVersion,
    /// Two records name different versions.
    VersionChange,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [Self; 18] = [
        Self::Malformed,
        Self::NotAPack,
        Self::EmptyPack,
        Self::TooLarge,
        Self::BadRecord,
        Self::BadType,
        Self::DuplicateField,
        Self::NoValue,
        Self::ManyValues,
        Self::BadName,
        Self::BadUnit,
        Self::BadNumber,
        Self::TimeRange,
        Self::Expired,
        Self::BadData,
        Self::MustUnderstand,
        Self::UnsupportedVersion,
        Self::VersionChange,
    ];

    /// The code as the API shows it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotAPack => "not_a_pack",
            Self::EmptyPack => "empty_pack",
            Self::TooLarge => "too_large",
            Self::BadRecord => "bad_record",
            Self::BadType => "bad_type",
            Self::DuplicateField => "duplicate_field",
            Self::NoValue => "no_value",
            Self::ManyValues => "many_values",
            Self::BadName => "bad_name",
            Self::BadUnit => "bad_unit",
            Self::BadNumber => "bad_number",
            Self::TimeRange => "time_range",
            Self::Expired => "expired",
            Self::BadData => "bad_data",
            Self::MustUnderstand => "must_understand",
            Self::UnsupportedVersion => "unsupported_version",
            Self::VersionChange => "version_change",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl SenmlError {
    /// What kind of fault it is.
    pub fn code(&self) -> ErrorCode {
        self.0.code
    }

    /// The record at fault: its index in the pack, from 0. `None` where the pack as a whole is at fault.
    pub fn record(&self) -> Option<usize> {
        self.0.record
    }

    /// The label of the field at fault, where it is one field.
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    #[cold]
    pub(super) fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self(Box::new(Parts { code, record: None, field: None, text: text.into() }))
    }

    #[cold]
    pub(super) fn at(mut self, record: usize) -> Self {
        self.0.record = Some(record);
        self
    }

    #[cold]
    pub(super) fn in_field(mut self, label: &str) -> Self {
        let mut end = label.len().min(LABEL_BYTES_MAX);
        while !label.is_char_boundary(end) {
            end -= 1;
        }
        self.0.field = Some(label[..end].to_owned());
        self
    }
}

/// `record 3: "v" must be a number, got a string`: where, then what.
impl fmt::Display for SenmlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(record) = self.0.record {
            write!(f, "record {record}: ")?;
        }
        if let Some(field) = &self.0.field {
            write!(f, "{field:?} ")?;
        }
        f.write_str(&self.0.text)
    }
}

impl std::error::Error for SenmlError {}

/// What kind of JSON value stands where another was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Boolean,
    Number,
    Text,
    Array,
    Object,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::Text => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        })
    }
}
