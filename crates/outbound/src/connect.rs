//! How a connection is made: resolved, checked, dialled, and encrypted where the URL says so.
//!
//! What was checked is what is dialled: nothing behind the check knows the host's name but TLS, which holds the certificate against it.
//! Each connection is checked by itself, so a name that leads elsewhere by now gains nothing from having been good before.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::{Future, ready};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
pub use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower::{Service, ServiceExt as _, service_fn};

use crate::address::{Guard, NotPublic};
use crate::resolve::Resolve;

/// How long a connection may take until it can be used. A request has a deadline of its own; this ends attempts that are left
/// behind by theirs.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long it may take to be accepted by any of a host's addresses. They share it.
const DIAL_WITHIN: Duration = Duration::from_secs(6);

/// Why there is no connection.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("the host has no address but {address}, which is {kind}")]
    Refused { address: IpAddr, kind: NotPublic },
    #[error("no connection within {CONNECT_WITHIN:?}")]
    Late,
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
}

/// What of a connection did not come about.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unreachable {
    /// The name has no address, or nobody says which.
    #[error("the host's name was not resolved")]
    Unresolved(#[source] Arc<io::Error>),
    /// No address accepted a connection.
    #[error("the host did not accept a connection")]
    NotAccepted(#[source] Arc<dyn Error + Send + Sync>),
    /// No encrypted connection came about; a certificate that nobody vouches for, for one.
    #[error("the TLS handshake failed")]
    Handshake(#[source] Arc<io::Error>),
}

/// The authorities that the system trusts; those that this program brings, if the system has none.
pub fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (trusted, _) = roots.add_parsable_certificates(found.certs);
    if trusted == 0 {
        tracing::info!("the system trusts no authority: the built-in ones are taken");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

/// Makes connections to what may be dialled. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Connector(Arc<Inner>);

struct Inner {
    guard: Guard,
    resolver: Arc<dyn Resolve>,
    tls: TlsConnector,
}

impl Connector {
    pub(crate) fn new(guard: Guard, resolver: Arc<dyn Resolve>, roots: RootCertStore) -> Self {
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider speaks the versions that rustls does")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self(Arc::new(Inner { guard, resolver, tls: TlsConnector::from(Arc::new(config)) }))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Wire>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            timeout(CONNECT_WITHIN, inner.connect(&to)).await.unwrap_or(Err(ConnectError::Late))
        })
    }
}

impl Inner {
    async fn connect(&self, to: &Uri) -> Result<TokioIo<Wire>, ConnectError> {
        let is_encrypted = to.scheme() == Some(&Scheme::HTTPS);
        let host = to.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = to.port_u16().unwrap_or(if is_encrypted { 443 } else { 80 });
        let tcp = dial(self.checked(host).await?, port).await?;
        let wire: Box<dyn Stream> = if is_encrypted { self.encrypt(host, tcp).await? } else { Box::new(tcp) };
        Ok(TokioIo::new(Wire(wire)))
    }

    /// The addresses of a host that may be dialled: one at least.
    async fn checked(&self, host: &str) -> Result<Vec<IpAddr>, ConnectError> {
        let found = match host.parse() {
            Ok(address) => vec![address],
            Err(_) => {
                self.resolver.resolve(host).await.map_err(|error| Unreachable::Unresolved(Arc::new(error)))?
            }
        };
        let mut refused =
            ConnectError::from(Unreachable::Unresolved(Arc::new(io::ErrorKind::NotFound.into())));
        let mut addresses = Vec::with_capacity(found.len());
        for address in found {
            match self.guard.check(address) {
                Ok(()) => addresses.push(address),
                Err(kind) => refused = ConnectError::Refused { address, kind },
            }
        }
        if addresses.is_empty() { Err(refused) } else { Ok(addresses) }
    }

    async fn encrypt(&self, host: &str, tcp: TcpStream) -> Result<Box<dyn Stream>, Unreachable> {
        let failed = |error| Unreachable::Handshake(Arc::new(error));
        let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(io::Error::other(error)))?;
        Ok(Box::new(self.tls.connect(name, tcp).await.map_err(failed)?))
    }
}

/// Dials one of these addresses and no other. Both families are tried side by side.
async fn dial(addresses: Vec<IpAddr>, port: u16) -> Result<TcpStream, Unreachable> {
    let addresses: Vec<_> = addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect();
    let checked = service_fn(move |_: Name| ready(Ok::<_, Infallible>(addresses.clone().into_iter())));
    let mut connector = HttpConnector::new_with_resolver(checked);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(DIAL_WITHIN));
    // A name that nobody asks for, in place of the host's own.
    let to = format!("http://checked.invalid:{port}/");
    let to = Uri::try_from(to).expect("a fixed name and a number are a URI");
    let io = connector.oneshot(to).await.map_err(|error| Unreachable::NotAccepted(Arc::new(error)))?;
    Ok(io.into_inner())
}

/// A connection, encrypted or not.
pub(crate) struct Wire(Box<dyn Stream>);

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire(..)")
    }
}
