//! Subtopics: the part of a channel a pack was published to, written with dots.

use std::fmt;

use crate::limits::SUBTOPIC_BYTES_MAX;

/// A subtopic in its dotted form: `bedroom.temperature`, or empty for the channel itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Subtopic(String);

/// Why a path is no subtopic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubtopicError {
    /// Longer than [`SUBTOPIC_BYTES_MAX`].
    #[error("subtopic is longer than {SUBTOPIC_BYTES_MAX} bytes")]
    TooLong,
    /// A level is empty, as in `a//b`.
    #[error("subtopic has an empty level")]
    EmptyLevel,
    /// A level holds a wildcard, which a publisher may not send, white space or a control character.
    #[error("subtopic has a character that is not allowed: {0:?}")]
    BadCharacter(char),
}

impl Subtopic {
    /// Reads the part of a publish path behind `/messages/`: levels divided by `/` or `.`, already percent-decoded.
    ///
    /// One `/` at the end is not a level. `a/b` and `a.b` are the same subtopic.
    ///
    /// # Errors
    /// [`SubtopicError`] says which rule the path breaks.
    pub fn from_path(path: &str) -> Result<Self, SubtopicError> {
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.is_empty() {
            return Ok(Self::default());
        }
        if path.len() > SUBTOPIC_BYTES_MAX {
            return Err(SubtopicError::TooLong);
        }
        let forbidden = |c: &char| matches!(c, '*' | '>' | '+' | '#') || c.is_whitespace() || c.is_control();
        if let Some(bad) = path.chars().find(forbidden) {
            return Err(SubtopicError::BadCharacter(bad));
        }
        let dotted = path.replace('/', ".");
        if dotted.split('.').any(str::is_empty) {
            return Err(SubtopicError::EmptyLevel);
        }
        Ok(Self(dotted))
    }

    /// Takes a subtopic in the dotted form that [`Self::as_str`] gave.
    pub fn from_stored(dotted: impl Into<String>) -> Self {
        Self(dotted.into())
    }

    /// The dotted form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the channel itself.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Subtopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_join_with_dots() {
        let check = |path: &str| Subtopic::from_path(path).map(|s| s.as_str().to_owned());
        assert_eq!(check("bedroom/temperature"), Ok("bedroom.temperature".into()));
        assert_eq!(check("bedroom.temperature/"), Ok("bedroom.temperature".into()));
        assert_eq!(check(""), Ok(String::new()));
        assert_eq!(check("a//b"), Err(SubtopicError::EmptyLevel));
        assert_eq!(check("a/b//"), Err(SubtopicError::EmptyLevel));
        assert_eq!(check(".a"), Err(SubtopicError::EmptyLevel));
        assert_eq!(check("a/*"), Err(SubtopicError::BadCharacter('*')));
        assert_eq!(check("a/>"), Err(SubtopicError::BadCharacter('>')));
        assert_eq!(check("a b"), Err(SubtopicError::BadCharacter(' ')));
        assert_eq!(check("a\0"), Err(SubtopicError::BadCharacter('\0')));
        assert_eq!(check(&"x".repeat(SUBTOPIC_BYTES_MAX + 1)), Err(SubtopicError::TooLong));
    }
}
