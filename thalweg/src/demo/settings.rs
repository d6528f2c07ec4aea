//! Settings of `thalweg demo`, parsed as far as they can be before anything starts.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use reqwest::Url;

/// Things of a demo. One page of records then holds each thing's newest pack.
const THINGS_MAX: u16 = 100;
/// Packs a second. More is the business of a load tool.
const RATE_MAX: f64 = 10_000.0;
/// Packs a second: less than one in a quarter of an hour shows nothing.
const RATE_MIN: f64 = 0.001;

/// Settings of `thalweg demo`.
#[derive(Args)]
pub(crate) struct Demo {
    /// A server that runs already, such as `http://127.0.0.1:8080`. Without it the demo starts one of its own.
    #[arg(long, value_name = "BASE", conflicts_with_all = ["listen", "data_dir"])]
    pub(super) url: Option<Base>,

    /// Where the demo's own server listens. Port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS")]
    pub(super) listen: SocketAddr,

    /// Where the demo's own server keeps its data, to go on with later. Without it the data goes to a temporary
    /// directory and is removed at the end.
    #[arg(long, value_name = "DIRECTORY")]
    pub(super) data_dir: Option<PathBuf>,

    /// Things that publish, at most 100.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=i64::from(THINGS_MAX)), value_name = "THINGS")]
    pub(super) things: u16,

    /// Packs published a second, by all things together. A pack holds 5 records.
    #[arg(long, default_value = "10", value_name = "PACKS")]
    pub(super) rate: Rate,

    /// How long to publish, such as `30s`. Without it, until Ctrl-C.
    #[arg(long, value_parser = humantime::parse_duration, value_name = "DURATION")]
    pub(super) duration: Option<Duration>,

    /// Email of an account to use. Without it the demo makes one.
    #[arg(long, requires = "password", value_name = "EMAIL")]
    pub(super) email: Option<String>,

    /// Password of that account. Prefer the variable: other users of the machine can see a flag.
    #[arg(long, env = "THALWEG_DEMO_PASSWORD", hide_env_values = true, value_name = "PASSWORD")]
    pub(super) password: Option<String>,

    /// Print lines, also on a terminal, instead of redrawing a table.
    #[arg(long)]
    pub(super) plain: bool,

    /// What is logged to standard error: `error`, `warn`, `info`, `debug`, or per module.
    #[arg(long, default_value = "warn", value_name = "FILTER")]
    pub(crate) log_filter: String,
}

/// Without the password.
impl fmt::Debug for Demo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Demo").field("url", &self.url).field("things", &self.things).finish_non_exhaustive()
    }
}

/// Where a server's API begins: `http://host:port`, perhaps with a path, never with a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base(String);

impl Base {
    /// The base of a server that listens here on this machine.
    pub(super) fn of(address: SocketAddr) -> Self {
        let mut reachable = address;
        if address.ip().is_unspecified() {
            reachable.set_ip(match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        Self(format!("http://{reachable}"))
    }
}

impl FromStr for Base {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url =
            Url::parse(text).map_err(|error| format!("{error}; it has to be like http://127.0.0.1:8080"))?;
        match url.scheme() {
            "http" => {}
            "https" => {
                return Err("the demo does not speak https: give it the server's http:// address".to_owned());
            }
            _ => return Err("it has to begin with http://".to_owned()),
        }
        if url.query().is_some()
            || url.fragment().is_some()
            || !url.username().is_empty()
            || url.password().is_some()
        {
            return Err("it has to be the server's address alone, like http://127.0.0.1:8080".to_owned());
        }
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Packs a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rate(f64);

impl Rate {
    /// When the pack of this index is due, after the first.
    pub(super) fn due(self, index: u64) -> Duration {
        Duration::from_secs_f64(index as f64 / self.0)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(rate) if (RATE_MIN..=RATE_MAX).contains(&rate) => Ok(Self(rate)),
            _ => Err(format!("it has to be a number from {RATE_MIN} to {RATE_MAX}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_an_http_address_without_anything_behind_it() {
        for (text, base) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
            ("http://[::1]:80", "http://[::1]"),
            ("HTTP://Example.com/mainflux/", "http://example.com/mainflux"),
        ] {
            assert_eq!(text.parse::<Base>().unwrap().to_string(), base);
        }
        for (text, problem) in [
            ("127.0.0.1:8080", "like http://127.0.0.1:8080"),
            ("", "like http://127.0.0.1:8080"),
            ("https://example.com", "does not speak https"),
            ("ftp://example.com", "begin with http://"),
            ("http://example.com/?a=b", "address alone"),
            ("http://user@example.com/", "address alone"),
        ] {
            let refused = text.parse::<Base>().unwrap_err();
            assert!(refused.contains(problem), "{text}: {refused}");
        }
        assert_eq!(Base::of("0.0.0.0:81".parse().unwrap()).to_string(), "http://127.0.0.1:81");
        assert_eq!(Base::of("[::]:81".parse().unwrap()).to_string(), "http://[::1]:81");
    }

    #[test]
    fn packs_are_due_at_the_rate() {
        let rate: Rate = "4".parse().unwrap();
        assert_eq!([0, 1, 8].map(|index| rate.due(index).as_millis()), [0, 250, 2_000]);
        assert_eq!("0.5".parse::<Rate>().unwrap().due(3), Duration::from_secs(6));
        for text in ["0", "-1", "NaN", "inf", "10001", "x", ""] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}
