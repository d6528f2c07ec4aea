//! Email addresses, as far as a registry has to know them.
//!
//! Whether an address works, only a mail to it shows. This refuses what can't be one, and knows when two are the same.

use std::fmt;
use std::str::FromStr;

/// Bytes of an address. Source: RFC 5321, section 4.5.3.1.3 (a path of 256 with its brackets).
pub(crate) const EMAIL_BYTES_MAX: usize = 254;
/// Bytes before the `@`. Source: RFC 5321, section 4.5.3.1.1.
pub(crate) const LOCAL_PART_BYTES_MAX: usize = 64;

/// An address, as its owner writes it.
#[derive(Clone, PartialEq, Eq)]
pub struct Email(String);

/// The text is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not an email address, such as name@example.com")]
pub struct NotAnEmail;

impl Email {
    /// Reads an address: one `@`, something before it, a domain of at least two labels behind it, no white space.
    pub(crate) fn parse(text: &str) -> Result<Self, NotAnEmail> {
        let (local, host) = text.split_once('@').ok_or(NotAnEmail)?;
        let label = |label: &str| {
            let inside = label.chars().all(|c| c.is_alphanumeric() || c == '-');
            !label.is_empty() && inside && !label.starts_with('-') && !label.ends_with('-')
        };
        let forbidden = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | ',' | ';');
        let ok = text.len() <= EMAIL_BYTES_MAX
            && (1..=LOCAL_PART_BYTES_MAX).contains(&local.len())
            && !local.contains(forbidden)
            && host.contains('.')
            && host.split('.').all(label);
        if ok { Ok(Self(text.to_owned())) } else { Err(NotAnEmail) }
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it is compared by. Case decides nothing: no mail service in use gives `Ann@` and `ann@` to two people, and two
    /// accounts that look the same invite mistakes and fraud.
    pub(crate) fn folded(&self) -> String {
        self.0.to_lowercase()
    }
}

impl FromStr for Email {
    type Err = NotAnEmail;

    fn from_str(text: &str) -> Result<Self, NotAnEmail> {
        Self::parse(text)
    }
}

/// Logs carry no addresses of persons.
impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_other_texts() {
        for good in ["a@b.co", "first.last+tag@sub.example.com", "o'neil@example.com", "ü@bücher.example"] {
            assert!(Email::parse(good).is_ok(), "{good}");
        }
        let long_local = format!("{}@example.com", "x".repeat(65));
        let long = format!("a@{}com", "label.".repeat(50));
        for bad in [
            "",
            "nobody",
            "@example.com",
            "a@",
            "a@host",
            "a@b@example.com",
            "a b@example.com",
            "a@exa mple.com",
            "a@example..com",
            "a@.com",
            "a@example.com.",
            "a@-x.com",
            "a@x_y.com",
            "a\n@example.com",
            "Ann <a@example.com>",
            &long_local,
            &long,
        ] {
            assert_eq!(Email::parse(bad), Err(NotAnEmail), "{bad:?}");
        }
    }

    #[test]
    fn case_is_kept_and_does_not_count() {
        let email = Email::parse("Ann@Example.com").unwrap();
        assert_eq!((email.as_str(), email.folded().as_str()), ("Ann@Example.com", "ann@example.com"));
        assert_eq!(format!("{email:?}"), "Email(..)");
    }
}
