//! Where PostgreSQL is, and as whom to log in.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

/// The parameters that a URL may have: how the connection is encrypted.
const PARAMETERS: [&str; 4] = ["sslmode", "sslrootcert", "sslcert", "sslkey"];
/// What the server's own list of its clients calls us.
const APPLICATION_NAME: &str = "thalweg";

/// `postgres://user:password@host:port/database`. Never shown whole: it holds a password.
#[derive(Clone)]
pub struct PostgresUrl {
    options: Arc<PgConnectOptions>,
    place: String,
}

/// The text is no such URL. Says what is wrong, and nothing of what was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPostgresUrl {
    /// No URL, or one of something else.
    #[error("is not written as postgres://user:password@host:port/database")]
    Form,
    /// A part is missing that nothing else could say.
    #[error("has no {0}; it is written as postgres://user:password@host:port/database")]
    Missing(&'static str),
    /// A parameter that is not known, or has a value it can't have.
    #[error("has a parameter that is not one of sslmode, sslrootcert, sslcert and sslkey, or can't be that")]
    Parameter,
}

impl FromStr for PostgresUrl {
    type Err = BadPostgresUrl;

    fn from_str(text: &str) -> Result<Self, BadPostgresUrl> {
        let url = Url::parse(text.trim()).map_err(|_| BadPostgresUrl::Form)?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(BadPostgresUrl::Form);
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(BadPostgresUrl::Missing("host"))?;
        if url.username().is_empty() {
            return Err(BadPostgresUrl::Missing("user"));
        }
        let database = url.path().trim_start_matches('/');
        if database.is_empty() {
            return Err(BadPostgresUrl::Missing("database"));
        }
        if !url.query_pairs().all(|(name, _)| PARAMETERS.contains(&&*name)) {
            return Err(BadPostgresUrl::Parameter);
        }
        let place = format!("{host}:{}/{database}", url.port().unwrap_or(5432));
        Ok(Self { options: Arc::new(options(&url)?), place })
    }
}

impl PostgresUrl {
    /// How to connect.
    pub(crate) fn options(&self) -> PgConnectOptions {
        PgConnectOptions::clone(&self.options)
    }

    /// Host, port and database: what may be shown.
    pub fn place(&self) -> &str {
        &self.place
    }
}

/// Only the settings decide: what libpq's own variables and files say, the driver would add where the URL is silent.
fn options(url: &Url) -> Result<PgConnectOptions, BadPostgresUrl> {
    let mut options: PgConnectOptions = url.as_str().parse().map_err(|_| BadPostgresUrl::Parameter)?;
    if url.port().is_none() {
        options = options.port(5432);
    }
    if url.password().is_none() {
        options = options.password("");
    }
    if !url.query_pairs().any(|(name, _)| name == "sslmode") {
        options = options.ssl_mode(PgSslMode::Prefer);
    }
    Ok(options.application_name(APPLICATION_NAME).options([("client_min_messages", "warning")]))
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({})", self.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PostgresUrl, BadPostgresUrl> {
        text.parse()
    }

    #[test]
    fn a_url_shows_where_and_not_how_to_get_in() {
        let url =
            parse("postgres://thalweg:s3cret@db.example.com:6000/registry?sslmode=verify-full").unwrap();
        assert_eq!(url.place(), "db.example.com:6000/registry");
        assert!(!format!("{url:?}").contains("s3cret"));
        assert_eq!(parse("postgresql://u@h/d").unwrap().place(), "h:5432/d");
    }

    #[test]
    fn what_is_missing_is_named() {
        for (text, wanted) in [
            ("", BadPostgresUrl::Form),
            ("db.example.com", BadPostgresUrl::Form),
            ("mysql://u:p@h/d", BadPostgresUrl::Form),
            ("postgres:///d", BadPostgresUrl::Missing("host")),
            ("postgres://h/d", BadPostgresUrl::Missing("user")),
            ("postgres://u:p@h", BadPostgresUrl::Missing("database")),
            ("postgres://u:p@h/", BadPostgresUrl::Missing("database")),
            ("postgres://u:p@h/d?password=x", BadPostgresUrl::Parameter),
            ("postgres://u:p@h/d?sslmode=perhaps", BadPostgresUrl::Parameter),
            ("postgres://u:p@h/d?host=elsewhere", BadPostgresUrl::Parameter),
        ] {
            assert_eq!(parse(text).unwrap_err(), wanted, "{text}");
        }
    }
}
