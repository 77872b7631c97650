//! The service on real sockets, on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use boundkey_ca::{ServerNames, inspect_leaf, spki_pin};
use boundkey_keys::PrivateKey;
use rustls::pki_types::ServerName;
use rustls::{CipherSuite, ClientConfig, ProtocolVersion, RootCertStore};
use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::fixture::{CLUSTER, Fixture};
use crate::authorities::pem;
use crate::serve::{Listeners, ServerTls, SocketError, TlsError, TlsSource, bind_admin_socket, serve_router};
use crate::{Service, ServiceConfig};

pub(super) struct Served {
    pub(super) service: Service,
    pub(super) address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<(), TlsError>>,
}

/// The test's clock stands in the past, the client's does not: a certificate that outlives both.
pub(super) fn long_lived() -> ServiceConfig {
    let mut config = ServiceConfig::new(CLUSTER);
    config.lifetimes.server = Duration::from_secs(3000 * 86_400);
    config
}

impl Served {
    pub(super) async fn start(config: ServiceConfig, admin: Option<&Path>) -> Self {
        Self::start_with(config, admin, Router::new()).await
    }

    /// With further routes on the TLS port.
    pub(super) async fn start_with(config: ServiceConfig, admin: Option<&Path>, more: Router) -> Self {
        let service = Fixture::with(config).service;
        let tls = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = tls.local_addr().unwrap();
        let source =
            TlsSource::Own { addresses: vec![address.to_string(), "server.example.com:443".to_owned()] };
        let certificate = ServerTls::new(&service, source).unwrap();
        let admin = admin.map(|path| bind_admin_socket(path, 0o600).unwrap());
        let (stop, stopped) = oneshot::channel();
        let until = async { drop(stopped.await) };
        let routes = service.public_router().merge(more);
        let listeners = Listeners { tls, certificate, admin };
        let task = tokio::spawn(serve_router(service.clone(), routes, listeners, until));
        Self { service, address, stop, task }
    }

    pub(super) async fn end(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }

    pub(super) async fn connect(&self, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
        self.shake(TcpStream::connect(self.address).await?, name, &[]).await
    }

    /// A handshake on a connection that there is.
    pub(super) async fn shake(
        &self,
        stream: TcpStream,
        name: &str,
        protocols: &[&[u8]],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        let root = self.service.authorities().tls.certificate_der().to_vec();
        roots.add(CertificateDer::from(root)).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

pub(super) const ASK: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

pub(super) async fn answer(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) -> String {
    stream.write_all(ASK).await.unwrap();
    let mut text = Vec::new();
    // A peer that closes without a farewell is no matter here.
    drop(stream.read_to_end(&mut text).await);
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn machines_reach_it_over_tls_under_all_its_names() {
    let served = Served::start(long_lived(), None).await;
    for name in ["localhost", "127.0.0.1", "server.example.com"] {
        let stream = served.connect(name).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let (_, session) = stream.get_ref();
        assert_eq!(session.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        let chain = session.peer_certificates().unwrap();
        assert_eq!(chain.len(), 2, "the chain holds its root");
        assert_eq!(vec![spki_pin(&chain[1]).unwrap()], served.service.ca_pins());
        assert!(answer(stream).await.ends_with("\r\n\r\nok\n"));
    }
    assert!(served.connect("other.example.com").await.is_err(), "no other name");
    served.end().await;
}

#[tokio::test]
async fn the_server_chooses_the_suite_and_gives_no_tickets() {
    let served = Served::start(long_lived(), None).await;
    let mut stream = served.connect("localhost").await.unwrap();
    let prefers = rustls::crypto::ring::default_provider().cipher_suites[0].suite();
    assert_eq!(prefers, CipherSuite::TLS13_AES_256_GCM_SHA384, "the client");
    stream.write_all(ASK).await.unwrap();
    let mut text = Vec::new();
    drop(stream.read_to_end(&mut text).await);
    assert!(text.ends_with(b"ok\n"));
    let (_, session) = stream.get_ref();
    let suite = session.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, CipherSuite::TLS13_AES_128_GCM_SHA256);
    assert_eq!(session.tls13_tickets_received(), 0);
    served.end().await;
}

#[tokio::test]
async fn who_says_nothing_is_sent_away_and_the_others_are_served() {
    let mut config = long_lived();
    config.limits.handshake_timeout = Duration::from_millis(50);
    let served = Served::start(config, None).await;
    let mut silent = TcpStream::connect(served.address).await.unwrap();
    let mut garbage = TcpStream::connect(served.address).await.unwrap();
    garbage.write_all(ASK).await.unwrap();
    assert!(answer(served.connect("localhost").await.unwrap()).await.contains("200 OK"));
    let mut rest = Vec::new();
    assert_eq!(silent.read_to_end(&mut rest).await.unwrap(), 0);
    drop(garbage.read_to_end(&mut rest).await);
    served.end().await;
}

#[tokio::test]
async fn the_admin_socket_is_for_its_owner_and_speaks_plain_http() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let served = Served::start(ServiceConfig::new(CLUSTER), Some(&path)).await;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = answer(UnixStream::connect(&path).await.unwrap()).await;
    assert!(text.contains("200 OK") && text.ends_with("ok\n"), "{text}");
    let refused = bind_admin_socket(&path, 0o600).unwrap_err();
    assert!(matches!(refused, SocketError::Alive { .. }), "{refused}");
    served.end().await;
    assert!(path.exists(), "as after kill -9");
    drop(bind_admin_socket(&path, 0o660).unwrap());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
}

#[tokio::test]
async fn what_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    std::fs::write(&path, "mine").unwrap();
    assert!(matches!(bind_admin_socket(&path, 0o600).unwrap_err(), SocketError::NotASocket { .. }));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    let long = directory.path().join("x".repeat(120));
    assert!(matches!(bind_admin_socket(&long, 0o600).unwrap_err(), SocketError::TooLong { .. }));
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_the_end_up() {
    let served = Served::start(long_lived(), None).await;
    let idle = served.connect("localhost").await.unwrap();
    let mut stopping = served.service.stopping();
    served.end().await;
    assert!(*stopping.borrow_and_update(), "whoever waits is told");
    drop(idle);
}

#[test]
fn the_own_certificate_is_made_anew_when_two_thirds_are_over() {
    let fixture = Fixture::new();
    let tls = ServerTls::new(&fixture.service, TlsSource::Own { addresses: vec!["127.0.0.1:1".to_owned()] })
        .unwrap();
    assert!(!tls.renew_if_due(&fixture.service).unwrap());
    fixture.clock.advance(time::Duration::days(20));
    assert!(tls.renew_if_due(&fixture.service).unwrap());
    assert!(!tls.renew_if_due(&fixture.service).unwrap());
}

#[test]
fn the_own_certificate_is_made_anew_when_the_clock_is_set_back_to_before_it() {
    let fixture = Fixture::new();
    fixture.clock.advance(time::Duration::days(3000));
    let tls = ServerTls::new(&fixture.service, TlsSource::Own { addresses: vec!["127.0.0.1:1".to_owned()] })
        .unwrap();
    fixture.clock.advance(-time::Duration::MINUTE);
    assert!(!tls.renew_if_due(&fixture.service).unwrap(), "it is back-dated a little");
    fixture.clock.advance(-time::Duration::days(3000));
    assert!(tls.renew_if_due(&fixture.service).unwrap());
    assert!(!tls.renew_if_due(&fixture.service).unwrap());
}

#[test]
fn the_own_certificate_ends_with_its_ca_and_a_clock_beyond_that_is_named() {
    let fixture = Fixture::new();
    let make =
        || ServerTls::new(&fixture.service, TlsSource::Own { addresses: vec!["127.0.0.1:1".to_owned()] });
    fixture.clock.advance(time::Duration::days(3652));
    let tls = make().unwrap();
    assert!(!tls.renew_if_due(&fixture.service).unwrap(), "for its last day it is good");
    fixture.clock.advance(time::Duration::days(1));
    let says = "this machine's clock says 2036-05-01T12:00:00Z, and the cluster's CAs are valid from 2026-04-30T12:00:00Z \
                until 2036-05-01T12:00:00Z: set the clock";
    assert_eq!(make().unwrap_err().to_string(), says);
    assert_eq!(tls.renew_if_due(&fixture.service).unwrap_err().to_string(), says);
}

#[test]
fn a_certificate_from_files_replaces_the_own_one_and_is_pinned() {
    let fixture = Fixture::new();
    let directory = tempfile::tempdir().unwrap();
    let key = PrivateKey::generate_p256().unwrap();
    let names = ServerNames::new(["www.example.com"]).unwrap();
    let now = fixture.service.now();
    let issuer = &fixture.service.authorities().bot;
    let leaf =
        issuer.sign_server(&names, key.public_key(), [1; 20], now, now + time::Duration::days(1)).unwrap();
    assert_eq!(inspect_leaf(&leaf).unwrap().common_name, "www.example.com");
    let put = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let chain = pem("CERTIFICATE", &leaf) + &pem("CERTIFICATE", issuer.certificate_der());
    let certificate = put("cert.pem", &chain);
    let fitting = put("key.pem", &key.to_pkcs8_pem());
    let source = |certificate: &Path, key: &Path| TlsSource::Files {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
    };
    let tls = ServerTls::new(&fixture.service, source(&certificate, &fitting)).unwrap();
    assert_eq!(fixture.service.ca_pins(), [issuer.pin(), fixture.service.authorities().tls.pin()]);

    let other = put("other.pem", &PrivateKey::generate_p256().unwrap().to_pkcs8_pem());
    let empty = put("empty.pem", "nothing here\n");
    let none = directory.path().join("none.pem");
    let fault = |certificate: &Path, key: &Path| {
        ServerTls::new(&fixture.service, source(certificate, key)).unwrap_err()
    };
    assert!(matches!(fault(&certificate, &other), TlsError::Unfit { path, .. } if path == other));
    assert!(matches!(fault(&empty, &fitting), TlsError::NoCertificate { path } if path == empty));
    assert!(matches!(fault(&none, &fitting), TlsError::Read { path, .. } if path == none));
    assert!(matches!(fault(&certificate, &empty), TlsError::Read { path, .. } if path == empty));

    std::fs::write(&certificate, "torn").unwrap();
    tls.reload(&fixture.service).unwrap_err();
    assert_eq!(fixture.service.ca_pins().len(), 2, "the one in force stays");
}

#[test]
fn addresses_that_cannot_stand_in_a_certificate_are_refused() {
    let fixture = Fixture::new();
    let source = TlsSource::Own { addresses: vec!["*.example.com:443".to_owned()] };
    let error = ServerTls::new(&fixture.service, source).unwrap_err();
    assert!(matches!(error, TlsError::Addresses(_)), "{error}");
}
