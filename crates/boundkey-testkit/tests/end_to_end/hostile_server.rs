//! A server that lies in what it says: nothing of it reaches a terminal, a log or the state as it came.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;

use boundkey_testkit::{Cluster, binary, run};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

const HOSTILE: [&str; 7] =
    ["\u{1b}]0;title\u{7}", "\u{1b}[2J", "\nFAKE LINE", "\r", "\u{202e}", "\u{2028}", "\u{200b}"];

fn long() -> String {
    HOSTILE.concat() + &"x".repeat(60_000)
}

/// Answers every request with this; its certificate is its own CA.
fn serve(status: u16, content_type: &'static str, body: Vec<u8>) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let made =
        rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.der().clone()], private)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("localhost:{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            drop(answer(StreamOwned::new(connection, socket), status, content_type, &body));
        }
    });
    (address, made.pem())
}

fn answer(
    stream: StreamOwned<ServerConnection, std::net::TcpStream>,
    status: u16,
    content_type: &str,
    body: &[u8],
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut length, mut line) = (0, String::new());
    while reader.read_line(&mut line)? > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    reader.read_exact(&mut vec![0; length])?;
    let stream = reader.get_mut();
    write!(
        stream,
        "HTTP/1.1 {status} No\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)?;
    stream.conn.send_close_notify();
    stream.flush()
}

fn assert_clean(what: &str, text: &str) {
    for raw in HOSTILE {
        assert!(!text.contains(raw), "{what} holds {raw:?}: {text:?}");
    }
    assert!(!text.contains("\\u001b") && !text.contains("\\nFAKE LINE\\r\""), "{what}: {text:?}");
    assert!(text.contains("\\u{1b}[2J"), "{what} says what came: {text:?}");
    assert!(text.len() < 30_000, "{what}: {} bytes", text.len());
}

#[test]
fn what_a_false_server_says_is_cleaned_in_log_status_and_state() {
    let (text, long) = (HOSTILE.concat(), long());
    let problem = serde_json::json!({
        "type": text, "title": text, "status": 403, "code": text, "detail": long, "correlation_id": text,
    });
    for (kind, status, content_type, body) in [
        ("problem", 403, "application/problem+json", problem.to_string()),
        ("page", 502, "text/html", long.clone()),
    ] {
        let place = tempfile::tempdir().unwrap();
        let (address, ca) = serve(status, content_type, body.into_bytes());
        let (ca_file, config) = (place.path().join("ca.pem"), place.path().join("agent.yaml"));
        let data = place.path().join("data");
        std::fs::write(&ca_file, ca).unwrap();
        std::fs::write(
            &config,
            format!(
                "agent:\n  data_dir: {}\n  join_params: {{token_name: t, bound_keypair: {{registration_secret_value: some-secret-value}}}}\n  \
                 server: {address}\n  ca_file: {}\n",
                data.display(),
                ca_file.display()
            ),
        )
        .unwrap();
        for format in ["text", "json"] {
            let mut command = Command::new(binary("boundkey-agent"));
            command
                .args(["start", "--oneshot", "--timeout", "2s", "--log-format", format, "-c"])
                .arg(&config);
            let ran = run(&mut command);
            assert_eq!(ran.code, Some(1), "{}", ran.stderr);
            assert_clean(&format!("{kind}: the {format} log"), &ran.stderr);
        }
        for format in ["text", "json"] {
            let mut command = Command::new(binary("boundkey-agent"));
            let ran = run(command.args(["status", "--format", format, "-c"]).arg(&config));
            assert_eq!(ran.code, Some(1), "{}", ran.stderr);
            let shown = if format == "json" { ran.stdout.replace("\\\\u", "\\u") } else { ran.stdout };
            assert_clean(&format!("{kind}: status in {format}"), &shown);
        }
        let state = std::fs::read_to_string(data.join("state.json")).unwrap();
        assert_clean(&format!("{kind}: state.json"), &state.replace("\\\\u", "\\u"));
    }
}

#[test]
fn an_administrator_stores_no_hidden_characters_in_a_lock() {
    let cluster = Cluster::start("hidden");
    for hidden in ['\u{1b}', '\n', '\u{202e}', '\u{200b}'] {
        let text = format!("stolen{hidden}by J.");
        let said = cluster.ctl(&["lock", "--token", "web", "--message", &text]).failure();
        assert!(said.contains("without control or invisible characters"), "{said}");
        let said = cluster.ctl(&["lock", "--host", &text]).failure();
        assert!(said.contains("spec.public_message are one line each"), "{said}");
    }
    assert!(cluster.ctl(&["get", "locks", "--format", "json"]).success().trim() == "[]");
}
