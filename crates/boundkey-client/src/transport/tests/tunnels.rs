//! The way through a CONNECT proxy.

use std::sync::Mutex;

use tokio::net::TcpStream;

use super::*;
use crate::transport::{Proxy, ProxyVariables};

/// A proxy on loopback, and the head of every request that it was sent.
struct Between {
    address: String,
    heads: Arc<Mutex<Vec<String>>>,
}

/// Sends the answer to each request; after one that begins a tunnel it passes everything on to `target`.
async fn between(answer: &'static str, target: Option<String>) -> Between {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let (seen, target) = (Arc::clone(&seen), target.clone());
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = near.read_u8().await else { return };
                    head.push(byte);
                }
                seen.lock().unwrap().push(String::from_utf8(head).unwrap());
                if answer.is_empty() {
                    return std::future::pending::<()>().await;
                }
                near.write_all(answer.as_bytes()).await.unwrap();
                if let Some(target) = target {
                    let mut far = TcpStream::connect(target).await.unwrap();
                    drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
                }
            });
        }
    });
    Between { address, heads }
}

fn by_way_of(address: &str, server: &Server, name: &str) -> HttpsTransport {
    let proxy = Proxy::parse("HTTPS_PROXY", &format!("http://user:hush@{address}")).unwrap();
    let short = Duration::from_millis(300);
    let timeouts = Timeouts { connect: short, handshake: short * 10, exchange: short * 10 };
    let trust = Trust::pins(vec![server.pin]);
    HttpsTransport::new(name.parse().unwrap(), trust, Arc::new(FixedClock), timeouts).through(Some(proxy))
}

#[tokio::test]
async fn messages_go_through_the_proxy_under_tls_with_the_server() {
    for answer in [
        "HTTP/1.1 200 Connection established\r\n\r\n",
        "HTTP/1.0 200 OK\r\nProxy-Agent: p\r\nContent-Length: 0\r\n\r\n",
    ] {
        let server = good(Manner::Answer(OK)).await;
        let proxy = between(answer, Some(server.address.clone())).await;
        let mut client = by_way_of(&proxy.address, &server, &server.address);
        for _ in 0..2 {
            assert_eq!(client.post("/v1/join/begin", b"{}".to_vec()).await.unwrap().body, b"{}");
        }
        assert_eq!(client.channel().unwrap().source, Source::Pin);
        let heads = proxy.heads.lock().unwrap();
        let [head] = heads.as_slice() else { panic!("one tunnel: {heads:?}") };
        let mut lines: Vec<String> = head.trim_end().lines().map(str::to_ascii_lowercase).collect();
        lines[1..].sort();
        assert_eq!(lines[0], format!("connect {} http/1.1", server.address));
        assert_eq!(lines[1], format!("host: {}", server.address));
        assert_eq!(lines[2], "proxy-authorization: basic dxnlcjpodxno");
        assert!(lines[3].starts_with("user-agent: boundkey-agent/") && lines.len() == 4, "{lines:?}");
    }
}

#[tokio::test]
async fn trust_is_the_same_behind_a_proxy() {
    let (server, stranger) = (good(Manner::Answer(OK)).await, good(Manner::Answer(OK)).await);
    let proxy = between("HTTP/1.1 200 OK\r\n\r\n", Some(stranger.address.clone())).await;
    let error = by_way_of(&proxy.address, &server, &server.address).post("/", Vec::new()).await.unwrap_err();
    assert!(matches!(error, TransportError::Trust(TrustError::NotPinned { .. })), "{error}");
}

#[tokio::test]
async fn the_proxys_own_failures_are_named_and_the_server_is_not_dialled() {
    let server = good(Manner::Answer(OK)).await;
    for (answer, reason) in [
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
            "it answers `407 Proxy Authentication Required`; it does not take the user and password in HTTPS_PROXY",
        ),
        (
            "HTTP/1.1 403 Not\tyou\r\nContent-Length: 0\r\n\r\n",
            "it answers `403 Not\\tyou`; its administrator must allow this host and port",
        ),
        ("HTTP/1.1 502 \r\nContent-Length: 0\r\n\r\n", "it answers `502 Bad Gateway`"),
        ("", "the proxy did not answer within 300ms"),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n", "what the proxy answers is no HTTP: "),
    ] {
        let proxy = between(answer, None).await;
        let error =
            by_way_of(&proxy.address, &server, &server.address).post("/", Vec::new()).await.unwrap_err();
        let shown = error.to_string();
        let expected = format!(
            "the proxy {} (of the variable HTTPS_PROXY) makes no connection to {}: {reason}",
            proxy.address, server.address
        );
        assert!(shown.starts_with(&expected), "{shown}");
        assert!(!shown.contains("hush"), "{shown}");
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_dead_proxy_is_an_error_and_no_reason_to_connect_directly() {
    let server = good(Manner::Answer(OK)).await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = free.local_addr().unwrap().to_string();
    drop(free);
    let error =
        by_way_of(&dead, &server, &server.address).post("/", Vec::new()).await.unwrap_err().to_string();
    let expected = format!("the proxy {dead} (of the variable HTTPS_PROXY) makes no connection to");
    assert!(error.starts_with(&expected) && error.contains("cannot connect to the proxy"), "{error}");
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
    // Unless it is told to.
    let variables = ProxyVariables::of(|name| match name {
        "https_proxy" => Some(format!("http://{dead}")),
        "no_proxy" => Some("127.0.0.0/8".to_owned()),
        _ => None,
    });
    let proxy = variables.for_server(&server.address.parse().unwrap()).unwrap();
    client(&server).through(proxy).post("/", Vec::new()).await.unwrap();
}

#[tokio::test]
async fn the_proxy_resolves_the_servers_name() {
    let server = good(Manner::Answer(OK)).await;
    let proxy = between("HTTP/1.1 200 OK\r\n\r\n", Some(server.address.clone())).await;
    let error =
        by_way_of(&proxy.address, &server, "nowhere.invalid:443").post("/", Vec::new()).await.unwrap_err();
    assert!(matches!(error, TransportError::Trust(TrustError::Name { .. })), "{error}");
    assert!(proxy.heads.lock().unwrap()[0].starts_with("CONNECT nowhere.invalid:443 HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_name_of_the_guide_that_cannot_be_resolved_is_named_as_such() {
    let server = good(Manner::Silence).await;
    let mut client = client(&server);
    client.server = "server.example:443".parse().unwrap();
    let error = client.post("/", Vec::new()).await.unwrap_err().to_string();
    assert!(error.starts_with("the name of server.example:443 cannot be resolved: "), "{error}");
    assert!(
        error.ends_with(". It is an example's name: put your own server's address in `proxy_server`"),
        "{error}"
    );
}
