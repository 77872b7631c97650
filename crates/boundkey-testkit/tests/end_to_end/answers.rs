//! Large answers: what slow readers of them cost, and listings that neither side keeps whole.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use boundkey_keys::PrivateKey;
use boundkey_lifecycle::{Enrolment, Identity, Uid};
use boundkey_store::records::{EnrolmentRecord, RevokedRecord, TokenRecord};
use boundkey_store::{Batch, Store as _, Write, keys};
use boundkey_store_sqlite::SqliteStore;
use boundkey_testkit::{Cluster, binary, resident, wait_for};
use boundkey_token::Resource;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use time::OffsetDateTime;

/// A server whose store holds these rows.
fn cluster_with(purpose: &str, rows: impl Iterator<Item = Write>, options: &[&str]) -> Cluster {
    let mut cluster = Cluster::start(purpose);
    cluster.stop_server();
    let store = SqliteStore::open(&cluster.data_dir().join("store.sqlite")).expect("the server's store");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut rows = rows.peekable();
    while rows.peek().is_some() {
        let batch = Batch { conditions: Vec::new(), writes: rows.by_ref().take(5000).collect() };
        runtime.block_on(store.commit(batch, now())).expect("a commit");
    }
    drop(store);
    cluster.start_server(options);
    cluster
}

fn now() -> OffsetDateTime {
    boundkey_client::Clock::now(&boundkey_client::SystemClock)
}

/// Bound tokens `m-00000`, `m-00001`, ...
fn tokens(count: usize) -> impl Iterator<Item = Write> {
    let resources = boundkey_service::read_resources(crate::node_token("m").as_bytes()).expect("a token");
    let Some(Resource::Token(token)) = resources.into_iter().next() else { panic!("a token") };
    let key = PrivateKey::ed25519_from_seed(&[1; 32]).public_key().clone();
    let at = now();
    (0..count).flat_map(move |number| {
        let mut token = token.clone();
        token.name = format!("m-{number:05}").parse().expect("a name");
        let uid = Uid((number as u128).to_be_bytes());
        let enrolment = Enrolment {
            bound_public_key: Some(key.clone()),
            identity: Some(Identity::Host(format!("host-{number}"))),
            sequence: 1,
            recovery_count: 1,
            certificates_expire_at: Some(at + time::Duration::days(1)),
            last_joined_at: Some(at),
            ..Enrolment::default()
        };
        [
            Write::record(keys::enrolment(token.name.as_str()), &EnrolmentRecord { uid, enrolment }),
            Write::record(
                keys::token(token.name.as_str()),
                &TokenRecord { uid, created_at: at, token, sealed_secret: None },
            ),
        ]
    })
}

/// Revoked certificates of hosts.
fn revoked(count: usize) -> impl Iterator<Item = Write> {
    let (at, expires) = (now(), now() + time::Duration::days(2));
    (0..count).map(move |number| {
        let serial = format!("7f{number:038x}");
        let record = RevokedRecord { revoked_at: at, expires_at: expires };
        Write::record_until(keys::revoked("host", expires.unix_timestamp(), &serial), &record, expires)
    })
}

/// Trusts the server's CA.
fn tls(cluster: &Cluster) -> Arc<ClientConfig> {
    let ca = cluster.ctl(&["ca", "export", "--type", "tls"]).success();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).expect("a certificate")).expect("a CA");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Arc::new(config.expect("TLS").with_root_certificates(roots).with_no_client_auth())
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

fn connect(cluster: &Cluster, config: &Arc<ClientConfig>) -> Tls {
    let stream = TcpStream::connect(cluster.address()).expect("the server accepts");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out can be set");
    let name = ServerName::try_from("127.0.0.1").expect("an address");
    let connection = ClientConnection::new(Arc::clone(config), name).expect("a connection");
    let mut tls = StreamOwned::new(connection, stream);
    tls.write_all(b"GET /v1/crl HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .expect("a request is sent");
    tls
}

#[test]
fn slow_readers_of_a_large_list_cost_the_server_one_list() {
    const READERS: usize = 60;
    // 5 MB of PEM, of which the kernel's buffers take 3: to keep one for each reader would be 300 MB.
    let mut cluster = cluster_with("lists", revoked(100_000), &[]);
    let config = tls(&cluster);
    let mut whole = Vec::new();
    connect(&cluster, &config).read_to_end(&mut whole).expect("the whole list");
    assert!(whole.starts_with(b"HTTP/1.1 200 OK") && whole.len() > 5_000_000, "{} bytes", whole.len());

    let pid = cluster.server().id();
    let before = resident(pid);
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut reader = connect(&cluster, &config);
        let mut first = [0; 1];
        reader.read_exact(&mut first).expect("the answer begins");
        readers.push(reader);
    }
    let grown = resident(pid).saturating_sub(before);
    println!(
        "{READERS} readers of {} KiB: {} KiB, {} each",
        whole.len() >> 10,
        grown >> 10,
        (grown >> 10) / READERS
    );
    assert!(grown < READERS * (192 << 10), "{grown} bytes for {READERS} readers");
    // They were not forgotten.
    let mut rest = Vec::new();
    readers.remove(0).read_to_end(&mut rest).expect("the rest of the list");
    assert_eq!(rest.len() + 1, whole.len());
}

#[test]
fn a_reader_of_a_list_that_was_replaced_gets_no_list_that_looks_whole() {
    let directory = tempfile::tempdir().expect("a directory");
    let limits = directory.path().join("server.yaml");
    // Room for the present lists, and those before them, alone.
    std::fs::write(&limits, "limits:\n  message_memory_mib: 1\n").expect("a config can be written");
    let cluster = cluster_with("replaced", revoked(80_000), &["-c", &limits.display().to_string()]);
    let config = tls(&cluster);
    let mut reader = connect(&cluster, &config);
    reader.read_exact(&mut [0; 1]).expect("the answer begins");
    let mut whole = Vec::new();
    connect(&cluster, &config).read_to_end(&mut whole).expect("the whole list");

    for name in ["web", "db"] {
        cluster.create(&crate::node_token(name));
        cluster.agent(name).oneshot().success();
        cluster.ctl(&["lock", "--token", name, "--revoke", "--yes"]).success();
        let mut changed = Vec::new();
        connect(&cluster, &config).read_to_end(&mut changed).expect("the whole list");
        assert!(changed.len() > whole.len(), "{} and {} bytes", whole.len(), changed.len());
    }

    let mut rest = Vec::new();
    let ended = reader.read_to_end(&mut rest);
    assert!(rest.len() + 1 < whole.len(), "{} bytes: the old list was kept", rest.len());
    assert!(ended.is_err(), "the connection ended as if all were well");
}

/// A `boundkeyctl` whose output is read as this test likes.
struct Listing {
    child: Child,
    output: ChildStdout,
}

impl Listing {
    fn start(cluster: &Cluster, arguments: &[&str]) -> Self {
        let mut command = Command::new(binary("boundkeyctl"));
        command.arg("--data-dir").arg(cluster.data_dir()).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("boundkeyctl starts");
        let output = child.stdout.take().expect("piped");
        Self { child, output }
    }

    /// The most memory it had, if it is still there.
    fn resident(&self) -> Option<usize> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        status.contains("VmHWM:").then(|| resident(self.child.id()))
    }

    fn end(mut self) -> (Option<i32>, String) {
        drop(self.output);
        let mut said = String::new();
        self.child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
        (self.child.wait().expect("it ends").code(), said)
    }
}

#[test]
fn a_listing_of_many_tokens_is_whole_and_neither_side_keeps_it_whole() {
    const TOKENS: usize = 20_000;
    let mut cluster = cluster_with("listing", tokens(TOKENS), &[]);
    let server = cluster.server().id();
    let before = resident(server);
    for arguments in [&["tokens", "ls", "--format", "json"][..], &["get", "tokens", "--format", "json"]] {
        let mut listing = Listing::start(&cluster, arguments);
        let (mut printed, mut most, mut piece) = (Vec::new(), 0, vec![0; 1 << 16]);
        loop {
            let read = listing.output.read(&mut piece).expect("a pipe can be read");
            printed.extend_from_slice(&piece[..read]);
            most = listing.resident().unwrap_or(most);
            if read == 0 {
                break;
            }
        }
        assert_eq!(listing.end(), (Some(0), String::new()));
        let items: Vec<serde_json::Value> = serde_json::from_slice(&printed).expect("one JSON array");
        let again = serde_json::to_string_pretty(&items).expect("JSON") + "\n";
        assert_eq!(again.len(), printed.len(), "printed as a whole is");
        let name = |item: &serde_json::Value| {
            item["name"].as_str().or(item["metadata"]["name"].as_str()).expect("a name").to_owned()
        };
        assert!(items.iter().map(name).eq((0..TOKENS).map(|number| format!("m-{number:05}"))));
        println!("{arguments:?}: {} KiB printed, {} KiB resident", printed.len() >> 10, most >> 10);
        assert!(most > 0 && most < 48 << 20, "{arguments:?}: {most} bytes");
    }
    let grown = resident(server).saturating_sub(before);
    println!("the server: {} KiB more", grown >> 10);
    assert!(grown < 48 << 20, "the server: {grown} bytes");
    let table = cluster.ctl(&["tokens", "ls"]).success();
    assert_eq!(table.lines().count(), TOKENS + 2, "header, rows, summary");
    assert_eq!(table.lines().filter(|line| line.starts_with("NAME")).count(), 1);
    let summary = table.lines().last().unwrap_or_default();
    assert_eq!(summary, "20000 of 20000 tokens: 20000 bound");
    let none = cluster.ctl(&["nodes", "ls", "--state", "locked"]).success();
    assert!(none.ends_with("0 of 20000 nodes\n"), "{none}");
}

#[test]
fn a_listing_ends_well_when_nobody_reads_on_and_badly_when_the_server_goes() {
    let mut cluster = cluster_with("broken", tokens(10_000), &[]);
    let mut head = Listing::start(&cluster, &["tokens", "ls"]);
    head.output.read_exact(&mut [0; 100]).expect("the first rows");
    assert_eq!(head.end(), (Some(0), String::new()));

    let mut cut = Listing::start(&cluster, &["tokens", "ls", "--format", "json"]);
    let mut printed = vec![0; 100];
    cut.output.read_exact(&mut printed).expect("the first rows");
    let pid = cluster.server().id();
    cluster.kill_server();
    wait_for("the server to be gone", || !std::path::Path::new(&format!("/proc/{pid}")).exists());
    cut.output.read_to_end(&mut printed).expect("a pipe can be read");
    let (code, said) = cut.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the server gave no whole answer") || said.contains("no server answers"), "{said}");
    assert!(serde_json::from_slice::<serde_json::Value>(&printed).is_err(), "a part passes for the whole");
}
