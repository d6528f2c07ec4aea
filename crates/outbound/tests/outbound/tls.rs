//! Encrypted connections: whom a client believes to have reached.

use std::sync::Arc;

use http::StatusCode;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thalweg_outbound::{Client, PostError, RootCertStore, Target, Unreachable};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use crate::receiver::{LENIENT, LONG, Receiver, SHORT, Says, post};

/// An authority, and what it vouches for.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.issuer.der().to_vec())).unwrap();
        roots
    }

    /// Somebody who answers encrypted, with a certificate for `name`.
    async fn receiver(&self, name: &str) -> Receiver {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Receiver::start(move |caller| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut stream) = acceptor.accept(caller.stream).await else { return };
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n[]")
                    && stream.read_buf(&mut request).await.is_ok_and(|read| read > 0)
                {}
                let _gone = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
                let _gone = stream.shutdown().await;
            }
        })
        .await
    }
}

fn target(receiver: &Receiver, name: &str) -> Target {
    Target::parse(&format!("https://{name}:{}/", receiver.address.port()), &LENIENT).unwrap()
}

fn client(roots: RootCertStore) -> Client {
    Client::with(LENIENT, Says::these(&[&["127.0.0.1"]]), roots)
}

#[tokio::test]
async fn who_is_vouched_for_is_believed() {
    let authority = Authority::new();
    let receiver = authority.receiver("receiver.example").await;
    let answer = post(&client(authority.roots()), &target(&receiver, "receiver.example"), LONG).await;
    assert_eq!(answer.unwrap().status, StatusCode::NO_CONTENT);
    let receiver = authority.receiver("127.0.0.1").await;
    let answer = post(&client(authority.roots()), &target(&receiver, "127.0.0.1"), LONG).await;
    assert_eq!(answer.unwrap().status, StatusCode::NO_CONTENT, "an address has a certificate, too");
}

#[tokio::test]
async fn a_certificate_of_nobody_or_of_somebody_else_is_not_believed() {
    let authority = Authority::new();
    let receiver = authority.receiver("receiver.example").await;
    let stranger = client(Authority::new().roots());
    let trusting = client(authority.roots());
    for (client, name) in [(stranger, "receiver.example"), (trusting, "other.example")] {
        let answer = post(&client, &target(&receiver, name), LONG).await;
        assert!(matches!(answer, Err(PostError::Unreachable(Unreachable::Handshake(_)))), "{answer:?}");
    }
}

#[tokio::test]
async fn a_handshake_that_never_ends_costs_a_deadline() {
    let receiver = Receiver::start(|mut caller| async move { caller.closed().await }).await;
    let answer = post(&client(RootCertStore::empty()), &target(&receiver, "receiver.example"), SHORT).await;
    assert!(matches!(answer, Err(PostError::TimedOut)), "{answer:?}");
}

#[tokio::test]
async fn who_answers_in_the_clear_is_not_believed() {
    let receiver = Receiver::start(|mut caller| async move {
        caller.send("HTTP/1.1 200 OK\r\n\r\n").await;
    })
    .await;
    let answer = post(&client(RootCertStore::empty()), &target(&receiver, "receiver.example"), LONG).await;
    assert!(matches!(answer, Err(PostError::Unreachable(Unreachable::Handshake(_)))), "{answer:?}");
}
