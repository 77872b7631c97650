//! Each way to be slow, and when it ends; and what slow peers cost the others.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::get;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::{Instant, sleep, timeout};

use super::serve::{ASK, Served, answer, long_lived};
use crate::{Limits, ServiceConfig};

/// More than the system keeps of an answer for a peer that does not read.
const LARGE: &[u8] = &[b'x'; 24 << 20];
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Preface and settings; with a window of `window` bytes for each answer.
fn hello2(window: u32) -> Vec<u8> {
    let mut setting = vec![0, 4];
    setting.extend(window.to_be_bytes());
    [PREFACE.to_vec(), frame(4, 0, 0, &setting)].concat()
}

/// `GET /large`, its head whole or torn.
fn get_large(end: bool) -> Vec<u8> {
    let head = [&[0x82, 0x87, 0x44, 6][..], b"/large", &[0x41, 1], b"x"].concat();
    frame(1, if end { 0b101 } else { 0b001 }, 1, &head)
}

#[derive(Debug, Clone, Copy)]
enum How {
    /// Without TLS, these bytes.
    Plain(&'static [u8]),
    /// Over TLS, with these protocols offered.
    Http1,
    Http2,
}

/// A way to be slow.
struct Row {
    what: &'static str,
    how: How,
    /// What is said at first, and then again and again.
    says: Vec<u8>,
    drips: Vec<u8>,
    reads: bool,
    /// What the answer holds, if there is one.
    answer: &'static str,
    ends: fn(&Limits) -> Duration,
    /// By default.
    seconds: u64,
}

/// For the farewell that a peer may take.
const GRACE: Duration = Duration::from_secs(1);

fn silence(limits: &Limits) -> Duration {
    limits.read_timeout + GRACE
}

fn rows() -> Vec<Row> {
    let row = |what, how, says: &[u8], ends: fn(&Limits) -> Duration, seconds| Row {
        what,
        how,
        says: says.to_vec(),
        drips: Vec::new(),
        reads: true,
        answer: "",
        ends,
        seconds,
    };
    let handshake = |limits: &Limits| limits.handshake_timeout;
    let read = |limits: &Limits| limits.read_timeout;
    let begin = b"POST /v1/join/begin HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n{";
    vec![
        row("TCP and nothing", How::Plain(b""), b"", handshake, 10),
        row(
            "half a ClientHello",
            How::Plain(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
            b"",
            handshake,
            10,
        ),
        row("TLS and nothing", How::Http1, b"", read, 15),
        row("TLS for HTTP/2 and nothing", How::Http2, b"", silence, 16),
        row("`P`", How::Http1, b"P", silence, 16),
        row("half a preface", How::Http2, &PREFACE[..16], silence, 16),
        row("half a head", How::Http1, b"GET /healthz HTTP/1.1\r\nho", silence, 16),
        Row {
            drips: b"a: b\r\n".to_vec(),
            ..row("a head, drop by drop", How::Http1, b"GET /healthz HTTP/1.1\r\n", silence, 16)
        },
        Row { answer: "HTTP/1.1 408 ", ..row("half a body", How::Http1, begin, read, 15) },
        Row {
            drips: b" ".to_vec(),
            answer: "HTTP/1.1 408 ",
            ..row("a body, drop by drop", How::Http1, begin, read, 15)
        },
        Row {
            answer: "\r\n\r\nok\n",
            ..row("idle, kept alive", How::Http1, b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n", read, 15)
        },
        row("HTTP/2 idle, no settings or PING answered", How::Http2, &hello2(65_535), silence, 16),
        row("half a head of HTTP/2", How::Http2, &[hello2(65_535), get_large(false)].concat(), silence, 16),
        Row {
            reads: false,
            ..row("an answer never read", How::Http1, b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n", read, 15)
        },
        row(
            "an answer of HTTP/2 with no window",
            How::Http2,
            &[hello2(0), get_large(true)].concat(),
            read,
            15,
        ),
        Row {
            drips: frame(8, 0, 1, &200_u32.to_be_bytes()),
            ..row(
                "an answer of HTTP/2, drop by drop",
                How::Http2,
                &[hello2(1), get_large(true)].concat(),
                read,
                15,
            )
        },
        Row {
            drips: [7_u8; 8].iter().flat_map(|_| frame(6, 0, 0, &[0; 8])).collect(),
            ..row("PING, and no request", How::Http2, &hello2(65_535), silence, 16)
        },
    ]
}

/// Scaled down, so that a table takes seconds.
fn brisk() -> ServiceConfig {
    let mut config = long_lived();
    config.limits.handshake_timeout = Duration::from_secs(1);
    config.limits.read_timeout = Duration::from_secs(2);
    config
}

fn with_large() -> Router {
    Router::new().route("/large", get(|| async { Bytes::from_static(LARGE) }))
}

trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Socket for T {}

/// How long it took until the server ended it, and what came back.
async fn outlast(served: &Served, row: &Row) -> (Duration, String) {
    let start = Instant::now();
    let stream = TcpStream::connect(served.address).await.unwrap();
    let mut stream: Box<dyn Socket> = match row.how {
        How::Plain(bytes) => {
            let mut stream = stream;
            stream.write_all(bytes).await.unwrap();
            Box::new(stream)
        }
        How::Http1 => Box::new(served.shake(stream, "localhost", &[b"http/1.1"]).await.unwrap()),
        How::Http2 => Box::new(served.shake(stream, "localhost", &[b"h2"]).await.unwrap()),
    };
    stream.write_all(&row.says).await.unwrap();
    stream.flush().await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut text = Vec::new();
    let says = async {
        // Until the other side is gone.
        loop {
            sleep(Duration::from_millis(200)).await;
            // An empty TLS record would be none: what is not to be said is not said, and the end is seen by reading.
            if !row.drips.is_empty()
                && (writer.write_all(&row.drips).await.is_err() || writer.flush().await.is_err())
            {
                return;
            }
        }
    };
    if row.reads {
        let reads = async { drop(reader.read_to_end(&mut text).await) };
        tokio::select! { () = reads => {}, () = says => {} }
    } else {
        // Not a byte is taken until the server must have given up.
        let due = (row.ends)(&served.service.config().limits);
        sleep(due + GRACE * 3).await;
        drop(reader.read_to_end(&mut text).await);
        assert!(text.len() < LARGE.len(), "{}: it was sent all the same", row.what);
        return (due, String::new());
    }
    (start.elapsed(), String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test]
async fn each_way_to_be_slow_ends_after_its_seconds() {
    let served = Served::start_with(brisk(), None, with_large()).await;
    let limits = served.service.config().limits;
    let (rows, served) = (rows(), &served);
    let all = rows.iter().map(|row| async move {
        let outcome = timeout(Duration::from_secs(30), outlast(served, row)).await;
        let (took, text) = outcome.unwrap_or_else(|_| panic!("{}: never", row.what));
        (row, took, text)
    });
    for (row, took, text) in join_all(all).await {
        let due = (row.ends)(&limits);
        println!("{:<45} {took:?}, due {due:?}, by default {} s", row.what, row.seconds);
        assert!(took + Duration::from_millis(100) >= due, "{}: after {took:?}, not {due:?}", row.what);
        assert!(took <= due + Duration::from_secs(12), "{}: after {took:?}, not {due:?}", row.what);
        assert!(text.contains(row.answer), "{}: {text}", row.what);
        assert_eq!((row.ends)(&Limits::default()), Duration::from_secs(row.seconds), "{}", row.what);
    }
}

/// Together, on one task.
async fn join_all<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = all.map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|cx| {
        let mut ready = true;
        for (one, outcome) in &mut all {
            if outcome.is_none() {
                match one.as_mut().poll(cx) {
                    std::task::Poll::Ready(done) => *outcome = Some(done),
                    std::task::Poll::Pending => ready = false,
                }
            }
        }
        if ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    all.into_iter().filter_map(|(_, outcome)| outcome).collect()
}

#[tokio::test]
async fn an_answer_that_is_read_slowly_but_steadily_arrives_whole() {
    let served = Served::start_with(brisk(), None, with_large()).await;
    let mut stream = served.connect("localhost").await.unwrap();
    stream.write_all(b"GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let (mut buffer, mut whole) = (vec![0; 1 << 20], 0);
    loop {
        // Six seconds: three times what silence may take.
        sleep(Duration::from_millis(250)).await;
        let mut piece = 0;
        while piece < buffer.len() {
            match stream.read(&mut buffer[piece..]).await {
                Ok(0) | Err(_) => break,
                Ok(bytes) => piece += bytes,
            }
        }
        whole += piece;
        if piece < buffer.len() {
            break;
        }
    }
    assert!(whole > LARGE.len(), "{whole}");
    served.end().await;
}

#[tokio::test]
async fn an_old_connection_is_told_to_close_and_its_peer_comes_again() {
    let mut config = brisk();
    config.limits.connection_age = Duration::from_secs(1);
    let served = Served::start(config, None).await;
    let mut stream = served.connect("localhost").await.unwrap();
    let start = Instant::now();
    let mut last = String::new();
    let mut buffer = [0; 4096];
    while !last.contains("connection: close") {
        assert!(start.elapsed() < Duration::from_secs(20), "never: {last}");
        sleep(Duration::from_millis(100)).await;
        if stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.is_err() {
            break;
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(bytes) => last = String::from_utf8_lossy(&buffer[..bytes]).into_owned(),
        }
    }
    assert!(start.elapsed() >= Duration::from_millis(900));
    assert!(answer(served.connect("localhost").await.unwrap()).await.ends_with("ok\n"));
    served.end().await;
}

/// From another network of loopback.
async fn from(network: [u8; 2], to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::new(127, network[0], network[1], 1), 0).into())?;
    socket.connect(to).await
}

#[tokio::test]
async fn silent_connections_from_everywhere_keep_nobody_out() {
    let mut config = long_lived();
    config.limits.connections = 24;
    // Nothing ends by itself in this test.
    config.limits.handshake_timeout = Duration::from_secs(300);
    config.limits.read_timeout = Duration::from_secs(300);
    let served = Served::start(config, None).await;
    let mut silent = Vec::new();
    for round in 0..5 {
        // More than there are places, half of them after a handshake.
        for number in 0..30 {
            let stream = from([1 + round, number], served.address).await.unwrap();
            if number % 2 == 0 {
                let shaken = timeout(Duration::from_secs(20), served.shake(stream, "localhost", &[]));
                silent.push(shaken.await.expect("it gets in").ok());
            } else {
                silent.push(None);
                std::mem::forget(stream.into_std().unwrap());
            }
        }
        let asked = timeout(Duration::from_secs(30), async {
            let stream = from([200, round], served.address).await.unwrap();
            answer(served.shake(stream, "localhost", &[]).await.unwrap()).await
        });
        assert!(asked.await.expect("in time").ends_with("ok\n"));
    }
    served.end().await;
}

#[tokio::test]
async fn idle_clients_of_the_admin_socket_lock_no_administrator_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let mut config = long_lived();
    config.limits.read_timeout = Duration::from_secs(300);
    let served = Served::start(config, Some(&path)).await;
    let mut idle = Vec::new();
    for _ in 0..100 {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        // Beyond the user's share it is sent away.
        drop(stream.write_all(b"GET /healthz HTTP/1.1\r\n").await);
        idle.push(stream);
    }
    // In their first moment they keep their places.
    sleep(GRACE * 2).await;
    let asked = timeout(Duration::from_secs(30), async {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        let ask = String::from_utf8_lossy(ASK).replace("/healthz", "/v1/status");
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut text = Vec::new();
        drop(stream.read_to_end(&mut text).await);
        String::from_utf8_lossy(&text).into_owned()
    });
    let text = asked.await.expect("in time");
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    drop(idle);
    served.end().await;
}

/// Long before silence would end it, and whether or not its answers are read.
#[tokio::test]
async fn control_frames_without_end_end_the_connection() {
    let served = Served::start(long_lived(), None).await;
    let settings = frame(4, 0, 0, &[0, 4, 0, 0, 255, 255]);
    for flood in [frame(6, 0, 0, &[0; 8]), settings, frame(8, 0, 0, &1_u32.to_be_bytes())] {
        let stream = TcpStream::connect(served.address).await.unwrap();
        let mut stream = served.shake(stream, "localhost", &[b"h2"]).await.unwrap();
        stream.write_all(&hello2(65_535)).await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(stream);
        let flood: Vec<u8> = flood.iter().copied().cycle().take(flood.len() * 500).collect();
        let mut sent = 0;
        let writes = async {
            while writer.write_all(&flood).await.is_ok() && writer.flush().await.is_ok() && sent < 64 << 20 {
                sent += flood.len();
            }
        };
        let reads = async { drop(reader.read_to_end(&mut Vec::new()).await) };
        let start = Instant::now();
        timeout(served.service.config().limits.read_timeout, async { tokio::join!(writes, reads) })
            .await
            .expect("it ends before silence would end it");
        assert!(sent < 64 << 20, "{sent} bytes were taken in {:?}", start.elapsed());
    }
    served.end().await;
}
