//! The HTTPS transport against servers that behave and that do not, on loopback.

mod tunnels;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;
use time::macros::datetime;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::clock::Clock;
use crate::trust::{Pin, Source, Trust};

const NOW: OffsetDateTime = datetime!(2026-03-01 12:00 UTC);

struct FixedClock;
impl Clock for FixedClock {
    fn now(&self) -> OffsetDateTime {
        NOW
    }
    fn since_boot(&self) -> Duration {
        Duration::ZERO
    }
}

/// What a server does with a connection whose handshake is done.
#[derive(Clone, Copy)]
enum Manner {
    /// Answers every request with these bytes.
    Answer(&'static [u8]),
    /// Reads and never answers.
    Silence,
}

struct Server {
    address: String,
    pin: Pin,
    connections: Arc<AtomicUsize>,
}

fn identity(
    from: OffsetDateTime,
    until: OffsetDateTime,
) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.distinguished_name.push(DnType::CommonName, "example.com tls CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let root = ca.self_signed(&ca_key).unwrap().der().clone();
    let issuer = Issuer::new(ca, ca_key);
    let mut leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    (leaf.not_before, leaf.not_after) = (from, until);
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap().der().clone();
    (vec![leaf, root], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
}

async fn serve(manner: Manner, from: OffsetDateTime, until: OffsetDateTime) -> Server {
    let (chain, key) = identity(from, until);
    let pin = Pin::of_certificate(&chain[1]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(tcp).await else { continue };
            counter.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(behave(stream, manner));
        }
    });
    Server { address, pin, connections }
}

async fn behave(mut stream: impl AsyncRead + AsyncWrite + Unpin, manner: Manner) {
    let mut buffer = vec![0; 64 * 1024];
    let mut seen = Vec::new();
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        seen.extend_from_slice(&buffer[..count]);
        // Every request of these tests is short, and its head ends so.
        if let (Manner::Answer(answer), true) = (manner, seen.windows(4).any(|w| w == b"\r\n\r\n")) {
            seen.clear();
            if stream.write_all(answer).await.is_err() || answer.is_empty() {
                return;
            }
        }
    }
}

async fn good(manner: Manner) -> Server {
    serve(manner, NOW - time::Duration::DAY, NOW + time::Duration::DAY).await
}

fn client(server: &Server) -> HttpsTransport {
    let short = Duration::from_millis(300);
    let timeouts = Timeouts { connect: Duration::from_secs(5), handshake: short * 10, exchange: short };
    let trust = Trust::pins(vec![server.pin]);
    HttpsTransport::new(server.address.parse().unwrap(), trust, Arc::new(FixedClock), timeouts)
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

#[tokio::test]
async fn messages_share_one_connection_until_it_is_ended() {
    let server = good(Manner::Answer(OK)).await;
    let mut client = client(&server);
    assert_eq!(client.channel(), None);
    for _ in 0..3 {
        let reply = client.post("/v1/join/begin", b"{}".to_vec()).await.unwrap();
        assert_eq!(reply, Reply { status: 200, retry_after: None, body: b"{}".to_vec() });
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    let channel = client.channel().unwrap();
    assert_eq!((channel.source, channel.cluster.as_deref()), (Source::Pin, Some("example.com")));
    client.disconnect();
    assert_eq!(client.channel(), None);
    client.get("/v1/krl", 2).await.unwrap();
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn the_status_and_retry_after_are_passed_on() {
    let answer = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n";
    let server = good(Manner::Answer(answer)).await;
    let reply = client(&server).post("/", Vec::new()).await.unwrap();
    assert_eq!(reply, Reply { status: 503, retry_after: Some(Duration::from_secs(7)), body: Vec::new() });
}

#[tokio::test]
async fn answers_that_are_too_large_too_slow_or_no_http_are_errors() {
    let server = good(Manner::Answer(b"HTTP/1.1 200 OK\r\ncontent-length: 70000\r\n\r\n")).await;
    let error = client(&server).post("/", Vec::new()).await.unwrap_err();
    assert_eq!(error, TransportError::TooLarge { server: server.address.clone(), limit: MAX_BODY });

    let server = good(Manner::Silence).await;
    let error = client(&server).post("/", Vec::new()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{} did not finish the exchange within 300ms", server.address));

    for garbage in [&b"garbage\r\n\r\n"[..], b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{", b""] {
        let server = good(Manner::Answer(garbage)).await;
        let mut client = client(&server);
        let error = client.post("/", Vec::new()).await.unwrap_err();
        assert!(matches!(error, TransportError::Broken { .. } | TransportError::Timeout { .. }), "{error}");
        assert_eq!(client.channel(), None, "a connection on which something failed is not used again");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_or_speaks_no_tls_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let mut server = good(Manner::Silence).await;
    server.address = address.clone();
    let error = client(&server).post("/", Vec::new()).await.unwrap_err();
    assert!(matches!(&error, TransportError::Connect { server, .. } if *server == address), "{error}");

    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    server.address = plain.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = plain.accept().await {
            tokio::spawn(behave(tcp, Manner::Answer(b"HTTP/1.1 400 Bad Request\r\n\r\n")));
        }
    });
    let error = client(&server).post("/", Vec::new()).await.unwrap_err();
    assert!(
        matches!(&error, TransportError::Tls { .. } | TransportError::Timeout { step: "TLS handshake", .. }),
        "{error}"
    );
}

#[tokio::test]
async fn another_servers_certificate_ends_the_handshake_before_anything_is_sent() {
    let server = good(Manner::Answer(OK)).await;
    let mut wrong = good(Manner::Answer(OK)).await;
    wrong.address.clone_from(&server.address);
    let error = client(&wrong).post("/", Vec::new()).await.unwrap_err();
    assert!(matches!(error, TransportError::Trust(TrustError::NotPinned { .. })), "{error}");
}

#[tokio::test]
async fn a_wrong_clock_is_named_together_with_the_servers() {
    let answer = b"HTTP/1.1 200 OK\r\ndate: Sun, 01 Mar 2036 12:00:00 GMT\r\ncontent-length: 0\r\n\r\n";
    let (from, until) = (NOW + time::Duration::days(3650), NOW + time::Duration::days(3660));
    let server = serve(Manner::Answer(answer), from, until).await;
    let error = client(&server).post("/v1/join/begin", Vec::new()).await.unwrap_err();
    let TransportError::Trust(TrustError::Dates { not_before, not_after, now, server_date }) = error else {
        panic!("{error}")
    };
    assert_eq!((not_before, not_after, now), (from, until, NOW));
    assert_eq!(server_date.as_deref(), Some("Sun, 01 Mar 2036 12:00:00 GMT"));
    // A stranger's certificate is called a stranger's, whatever its dates.
    let mut stranger = good(Manner::Silence).await;
    stranger.address.clone_from(&server.address);
    let error = client(&stranger).post("/", Vec::new()).await.unwrap_err();
    assert!(matches!(error, TransportError::Trust(TrustError::NotPinned { .. })), "{error}");
}
