//! Where a user wants requests to go: a URL, checked as far as it can be without asking anybody.
//!
//! Pure. A name that resolves to something private is not found out here, but when it is dialled.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::Uri;
use url::{Host, Url};

use crate::address::{Guard, NotPublic};

/// Bytes of a URL. More than any that works everywhere.
pub(crate) const URL_BYTES_MAX: usize = 2_048;
/// What names of private networks end with: RFC 6761, 6762 and 8375, and what ICANN has set aside for it.
const PRIVATE_DOMAINS: [&str; 5] = ["localhost", "localdomain", "local", "internal", "home.arpa"];

/// A URL that may be asked, if the addresses of its host may be dialled.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Target {
    uri: Uri,
    origin: Arc<str>,
}

/// Why a URL is none that we ask. The text goes on from the name of the field that has it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    /// Longer than any that works everywhere.
    #[error("has more than {URL_BYTES_MAX} bytes")]
    TooLong,
    /// Can't be read as one; a host that looks like an address and is none, too.
    #[error("is not a URL")]
    NotAUrl,
    /// What is sent could be read on its way.
    #[error("has to begin with https://")]
    NotHttps,
    /// Neither `http` nor `https`.
    #[error("has to begin with https:// or http://")]
    NotHttp,
    /// It would be shown with the URL, and sent to whoever answers there.
    #[error("must not have a user name or a password in it")]
    Credentials,
    /// Never sent, so whoever wrote it expects something else.
    #[error("must not have a fragment (#)")]
    Fragment,
    /// Nobody can listen there.
    #[error("must not have port 0")]
    Port,
    /// The host is an address that is not public, in whatever spelling.
    #[error("must not lead to {address}, which is {kind}")]
    NotPublic {
        /// As it would be dialled.
        address: IpAddr,
        /// What it is.
        kind: NotPublic,
    },
    /// The host is a name of private networks.
    #[error("must not lead to a host of a private network")]
    PrivateName,
}

impl Target {
    /// Reads a URL. With a guard that allows private addresses plain HTTP is good, too.
    ///
    /// # Errors
    /// Why it is none that we ask.
    pub fn parse(text: &str, guard: &Guard) -> Result<Self, BadTarget> {
        if text.len() > URL_BYTES_MAX {
            return Err(BadTarget::TooLong);
        }
        // The URL standard drops some of them, and takes a backslash for a slash: what is shown would be another URL than the
        // one that is asked.
        if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
            return Err(BadTarget::NotAUrl);
        }
        let url = Url::parse(text).map_err(|_| BadTarget::NotAUrl)?;
        check(&url, *guard)?;
        // It also takes any number of slashes for two: what was meant as a path would be the host.
        let behind_scheme = &text[url.scheme().len()..];
        if behind_scheme.strip_prefix("://").is_none_or(|host| host.starts_with('/')) {
            return Err(BadTarget::NotAUrl);
        }
        let url = without_root_dot(url)?;
        let uri: Uri = url.as_str().parse().map_err(|_| BadTarget::NotAUrl)?;
        Ok(Self { uri, origin: url.origin().ascii_serialization().into() })
    }

    /// Scheme, host and port, which are no secret.
    pub fn origin(&self) -> &Arc<str> {
        &self.origin
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }
}

/// Path and query may have a secret in them.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({}/..)", self.origin)
    }
}

fn check(url: &Url, guard: Guard) -> Result<(), BadTarget> {
    match url.scheme() {
        "https" => {}
        "http" if guard.allow_private => {}
        _ if guard.allow_private => return Err(BadTarget::NotHttp),
        _ => return Err(BadTarget::NotHttps),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(BadTarget::Credentials);
    }
    if url.fragment().is_some() {
        return Err(BadTarget::Fragment);
    }
    if url.port() == Some(0) {
        return Err(BadTarget::Port);
    }
    match url.host().ok_or(BadTarget::NotAUrl)? {
        Host::Ipv4(address) => check_address(address.into(), guard),
        Host::Ipv6(address) => check_address(address.into(), guard),
        Host::Domain(name) if !guard.allow_private && is_private(name) => Err(BadTarget::PrivateName),
        Host::Domain(_) => Ok(()),
    }
}

fn check_address(address: IpAddr, guard: Guard) -> Result<(), BadTarget> {
    guard.check(address).map_err(|kind| BadTarget::NotPublic { address, kind })
}

/// Names without a dot, which a resolver looks for in its own domain, and those in domains of private networks.
fn is_private(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_within =
        |domain: &str| name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    !name.contains('.') || PRIVATE_DOMAINS.into_iter().any(is_within)
}

/// `example.com.` is `example.com`; servers and certificates know the latter.
fn without_root_dot(mut url: Url) -> Result<Url, BadTarget> {
    let name = url.domain().and_then(|name| name.strip_suffix('.')).map(str::to_owned);
    if let Some(name) = name {
        url.set_host(Some(&name)).map_err(|_| BadTarget::NotAUrl)?;
    }
    Ok(url)
}
