//! What RFC 9112 wants refused, on a real socket.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::serve::{Served, long_lived};

#[tokio::test]
async fn requests_whose_frame_is_in_doubt_are_refused_and_the_connection_ends() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let served = Served::start(long_lived(), Some(&path)).await;
    let begin = "POST /v1/join/begin HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let json = "{ }";
    let length = json.len();
    // What is sent, and whether the answer is a problem of ours (else the parser's bare one).
    let refused = [
        ("no Host", "GET /healthz HTTP/1.1\r\n\r\n".to_owned(), true),
        ("two Hosts", "GET /healthz HTTP/1.1\r\nhost: x\r\nhost: x\r\n\r\n".to_owned(), true),
        ("two Hosts of 1.0", "GET /healthz HTTP/1.0\r\nhost: x\r\nhost: y\r\n\r\n".to_owned(), true),
        ("Host with a user", "GET /healthz HTTP/1.1\r\nhost: a@b\r\n\r\n".to_owned(), true),
        ("Host with a path", "GET /healthz HTTP/1.1\r\nhost: a/b\r\n\r\n".to_owned(), true),
        ("Host with a blank", "GET /healthz HTTP/1.1\r\nhost: a b\r\n\r\n".to_owned(), true),
        ("Host with a list", "GET /healthz HTTP/1.1\r\nhost: a, b\r\n\r\n".to_owned(), true),
        ("Host with a port that is none", "GET /healthz HTTP/1.1\r\nhost: a:b\r\n\r\n".to_owned(), true),
        (
            "length, then chunks",
            format!("{begin}content-length: {length}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
            true,
        ),
        (
            "chunks, then length",
            format!("{begin}transfer-encoding: chunked\r\ncontent-length: {length}\r\n\r\n0\r\n\r\n"),
            true,
        ),
        ("chunks", format!("{begin}transfer-encoding: chunked\r\n\r\n0\r\n\r\n"), true),
        ("another coding", format!("{begin}transfer-encoding: gzip\r\n\r\n"), false),
        ("another coding before", format!("{begin}transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), true),
        ("chunked twice", format!("{begin}transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n"), true),
        ("an unknown coding", format!("{begin}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n"), false),
        (
            "chunks of 1.0",
            format!("{}transfer-encoding: chunked\r\n\r\n0\r\n\r\n", begin.replace("1.1", "1.0")),
            false,
        ),
        ("two lengths", format!("{begin}content-length: 5\r\ncontent-length: 6\r\n\r\n{json}"), false),
        ("a list of lengths", format!("{begin}content-length: {length}, {length}\r\n\r\n{json}"), false),
        ("a negative length", format!("{begin}content-length: -1\r\n\r\n{json}"), false),
        ("a length with a sign", format!("{begin}content-length: +{length}\r\n\r\n{json}"), false),
        ("a length in hex", format!("{begin}content-length: 0x10\r\n\r\n{json}"), false),
        ("an empty length", format!("{begin}content-length: \r\n\r\n{json}"), false),
        ("a folded line", "GET /healthz HTTP/1.1\r\nhost: x\r\na: b\r\n c\r\n\r\n".to_owned(), false),
        ("a blank before the colon", "GET /healthz HTTP/1.1\r\nhost: x\r\na : b\r\n\r\n".to_owned(), false),
        ("a bare CR", "GET /healthz HTTP/1.1\r\nhost: x\r\na: b\rc: d\r\n\r\n".to_owned(), false),
        ("a NUL", "GET /healthz HTTP/1.1\r\nhost: x\r\na: b\0\r\n\r\n".to_owned(), false),
        ("a blank first line", "GET  /healthz HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(), false),
        ("HTTP/1.2", "GET /healthz HTTP/1.2\r\nhost: x\r\n\r\n".to_owned(), false),
    ];
    let mut wrong = Vec::new();
    for (what, sent, ours) in &refused {
        let text = exchange(&path, &format!("{sent}GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        let problem = text.contains("application/problem+json") && text.contains("\"malformed_request\"");
        let once = text.matches("\r\n\r\n").count() == 1;
        let closes = text.to_ascii_lowercase().contains("connection: close");
        if !(text.starts_with("HTTP/1.")
            && text[8..].starts_with(" 400 ")
            && once
            && closes
            && problem == *ours)
        {
            wrong.push(format!("{what}: {text}"));
        }
    }
    let text = exchange(&path, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(text, "", "HTTP/2 is spoken where the handshake said so, and nowhere else");
    let taken = [
        ("an ordinary one", "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned()),
        ("an empty Host", "GET /healthz HTTP/1.1\r\nhost:\r\nconnection: close\r\n\r\n".to_owned()),
        ("HTTP/1.0 without Host", "GET /healthz HTTP/1.0\r\n\r\n".to_owned()),
        (
            "a Host of IPv6",
            "GET /healthz HTTP/1.1\r\nhost: [::1]:443\r\nconnection: close\r\n\r\n".to_owned(),
        ),
        (
            "absolute form",
            "GET http://other/healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(),
        ),
        ("a body", format!("{begin}content-length: {length}\r\nconnection: close\r\n\r\n{json}")),
    ];
    for (what, sent) in &taken {
        let text = exchange(&path, sent).await;
        if !(text.starts_with("HTTP/1.1 200 ") || text.starts_with("HTTP/1.0 200 ")) {
            wrong.push(format!("{what}: {text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    served.end().await;
}

async fn exchange(path: &std::path::Path, sent: &str) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    drop(tokio::time::timeout(std::time::Duration::from_secs(10), stream.read_to_end(&mut text)).await);
    String::from_utf8_lossy(&text).into_owned()
}
