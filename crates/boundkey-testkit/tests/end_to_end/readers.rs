//! Readers that go away, do not read, or were never there: what a program says is not its job, what it prints is.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use boundkey_testkit::{Cluster, binary, wait_for};
use rustix::fs::{OFlags, fcntl_setfl};

use crate::node_token;

/// Whom a stream is given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// A pipe whose reader has gone away.
    Gone,
    /// A disk that is full.
    FullDisk,
    /// A full pipe that nobody reads.
    Stopped,
    /// Nobody: the descriptor is closed.
    Nobody,
}

const UNWILLING: [Reader; 4] = [Reader::Gone, Reader::FullDisk, Reader::Stopped, Reader::Nobody];

/// The writing end, and what must be kept until the program has ended.
fn given_to(reader: Reader) -> (Stdio, Option<std::io::PipeReader>) {
    match reader {
        Reader::FullDisk | Reader::Nobody => {
            let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
            (full.into(), None)
        }
        Reader::Gone => (std::io::pipe().unwrap().1.into(), None),
        Reader::Stopped => {
            let (reader, mut writer) = std::io::pipe().unwrap();
            fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
            while writer.write(&[b'x'; 4096]).is_ok() {}
            fcntl_setfl(&writer, OFlags::empty()).unwrap();
            (writer.into(), Some(reader))
        }
    }
}

fn command(program: &str, words: &[&str], closed: &str) -> Command {
    let mut command = match closed {
        "" => Command::new(binary(program)),
        _ => {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(format!("exec \"$0\" \"$@\" {closed}")).arg(binary(program));
            shell
        }
    };
    command.args(words).stdin(Stdio::null()).env_remove("NOTIFY_SOCKET").env("BOUNDKEY_LOG", "");
    command
}

/// A child that does not outlive its test.
struct Held(Child);

impl Held {
    fn spawn(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }
}

impl std::ops::Deref for Held {
    type Target = Child;
    fn deref(&self) -> &Child {
        &self.0
    }
}

impl std::ops::DerefMut for Held {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn ended(child: &mut Child, what: &str) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if started.elapsed() > Duration::from_secs(30) {
            child.kill().unwrap();
            panic!("{what}: it hangs");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Status and standard output with somebody who reads all.
fn ordinary(program: &str, words: &[&str]) -> (ExitStatus, String) {
    let output = command(program, words, "").output().unwrap();
    (output.status, String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Every program, with what it is told: lines that it may repeat, and whose status is the same each time.
fn commands(place: &str) -> Vec<(&'static str, Vec<String>)> {
    let lines = [
        (
            "boundkeyctl",
            "--help\n--version\nnonsense\ntokens ls\ntokens ls --format json\nget tokens\nget token/none\n\
          get noon\nstatus\nnodes ls\nevents ls\nlock --token nobody --ttl 1s\nlock\ncreate /nonexistent\nrm token/none\n\
          bots add not*a*name\nbots rm none\nbound-keypair explain web\nbound-keypair revoke none\nedit token/none\n\
          enroll web --roles Node\nenroll a b --roles Nod\nca export --type host\ncrl\nkrl\nca export\ncompletions fish\nman\n\
          man /dev/null/here\n--data-dir /nonexistent tokens ls",
        ),
        (
            "boundkey-agent",
            "\n--help\n--version\nstart --help\nnonsense\nstart -c /nonexistent\n\
          start -c @/dead.yaml --oneshot --timeout 1s --log-level trace\nstart -c @/dead.yaml --oneshot --timeout 1s --log-format json\n\
          status --data-dir @/none\nstatus --data-dir @/none --format yaml --log-level loud\nrenew --data-dir @/none\n\
          forget --data-dir @/none\nkeypair create --static\nkeypair create --storage @/key\nconfigure --server s:1 --token t\n\
          configure --server s:1 --token t --role king\ninstall systemd\ncompletions bash\nman\nman @/pages",
        ),
        (
            "boundkey-server",
            "\n--help\n--version\nnonsense\nconfigure\ncheck-config -c /nonexistent\n\
          start -c /nonexistent\nstart --data-dir @/new --listen 127.0.0.1:0\nbackup --data-dir @/none x\n\
          restore --data-dir @/none x\ncompletions zsh\nman\nman @/pages --log-level loud",
        ),
    ];
    let mut commands = Vec::new();
    for (program, lines) in lines {
        for line in lines.lines() {
            let words: Vec<String> = line.split_whitespace().map(|word| word.replace('@', place)).collect();
            commands.push((program, words));
        }
    }
    commands
}

fn with_server(cluster: &Cluster, program: &str, words: &[String]) -> Vec<String> {
    let server = ["--data-dir".to_owned(), cluster.data_dir().display().to_string()];
    match program == "boundkeyctl" && !words.contains(&server[0]) {
        true => server.into_iter().chain(words.iter().cloned()).collect(),
        false => words.to_vec(),
    }
}

/// A place of its own for what the commands make, with the config of an agent whose server is not there.
fn place(cluster: &Cluster, name: &str) -> String {
    let place = cluster.path(name);
    std::fs::create_dir(&place).unwrap();
    let dead = format!(
        "agent:\n  data_dir: {}/dead\n  join_params: {{token_name: t}}\n  server: 127.0.0.1:1\n",
        place.display()
    );
    std::fs::write(place.join("dead.yaml"), dead).unwrap();
    place.display().to_string()
}

fn scene(purpose: &str) -> Cluster {
    let cluster = Cluster::start(purpose);
    cluster.create(&node_token("web"));
    cluster
}

#[test]
fn no_command_changes_its_status_because_standard_error_takes_nothing() {
    let cluster = scene("stderr");
    std::thread::scope(|scope| {
        for reader in UNWILLING {
            let cluster = &cluster;
            scope.spawn(move || {
                for (program, words) in commands(&place(cluster, &format!("{reader:?}"))) {
                    as_ever(program, &with_server(cluster, program, &words), reader);
                }
            });
        }
    });
}

fn as_ever(program: &str, words: &[String], reader: Reader) {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (expected, printed) = ordinary(program, &words);
    let what = format!("{program} {words:?}, standard error: {reader:?}");
    let (stderr, _kept) = given_to(reader);
    let closed = if reader == Reader::Nobody { "2>&-" } else { "" };
    let mut child = Held::spawn(command(program, &words, closed).stdout(Stdio::piped()).stderr(stderr));
    let mut stdout = child.stdout.take().unwrap();
    let reading = std::thread::spawn(move || {
        let mut out = Vec::new();
        stdout.read_to_end(&mut out).map(|_| String::from_utf8_lossy(&out).into_owned())
    });
    let status = ended(&mut child, &what);
    let out = reading.join().unwrap().unwrap();
    assert_eq!(status.code(), expected.code(), "{what}: {out}");
    assert_eq!(out.is_empty(), printed.is_empty(), "{what}: {out}");
}

#[test]
fn a_result_that_is_lost_is_a_failure_and_one_that_nobody_wants_is_none() {
    let cluster = scene("stdout");
    for (program, words) in commands(&place(&cluster, "place")) {
        let words = with_server(&cluster, program, &words);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (expected, printed) = ordinary(program, &words);
        for reader in [Reader::Gone, Reader::FullDisk, Reader::Nobody] {
            let what = format!("{program} {words:?}, standard output: {reader:?}");
            let closed = if reader == Reader::Nobody { ">&-" } else { "" };
            let output = command(program, &words, closed).stdout(given_to(reader).0).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!said.contains("panicked"), "{what}: {said}");
            if reader == Reader::FullDisk && !printed.is_empty() {
                assert_eq!(output.status.code(), Some(1), "{what}: {said}");
                let cause = format!("{program}: cannot print: No space left on device (os error 28)\n");
                assert!(said.ends_with(&cause), "{what}: {said}");
            } else {
                assert_eq!(output.status.code(), expected.code(), "{what}: {said}");
                assert!(!said.contains("cannot print"), "{what}: {said}");
            }
        }
    }
}

#[test]
fn an_agent_outlives_the_readers_of_its_log() {
    let cluster = Cluster::prepare("agent-log");
    let config = place(&cluster, "place") + "/dead.yaml";
    for reader in UNWILLING {
        for format in ["text", "json"] {
            let place = cluster.path(&format!("{reader:?}-{format}"));
            std::fs::create_dir(&place).unwrap();
            let notes = cluster.path("place").join("dead/status.json");
            drop(std::fs::remove_file(&notes));
            let what = format!("{reader:?}, {format}");
            let words = ["start", "-c", &config, "--log-format", format, "--log-level", "trace"];
            let closed = if reader == Reader::Nobody { "2>&-" } else { "" };
            let (stderr, _kept) = given_to(reader);
            let mut child = Held::spawn(command("boundkey-agent", &words, closed).stderr(stderr));
            let tried = |child: &mut Child| {
                assert!(child.try_wait().unwrap().is_none(), "{what}: it ended");
                std::fs::read_to_string(&notes).unwrap_or_default()
            };
            wait_for("the agent to try", || tried(&mut child).contains("next_try_at"));
            for _ in 0..3 {
                let before = tried(&mut child);
                signal(&child, "USR1");
                wait_for("the agent to try again", || tried(&mut child) != before);
            }
            signal(&child, "TERM");
            assert_eq!(ended(&mut child, &what).code(), Some(0), "{what}");
        }
    }
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status().unwrap();
    assert!(status.success());
}

#[test]
fn a_server_serves_whether_or_not_anybody_reads_what_it_says() {
    let cluster = Cluster::prepare("server-log");
    for reader in UNWILLING {
        let socket = cluster.data_dir().join("admin.sock");
        assert!(!socket.exists());
        let mut command = cluster.server_command(&["--log-level", "trace", "--log-format", "json"]);
        let (stdout, _kept_out) = given_to(reader);
        let (stderr, _kept_err) = given_to(reader);
        if reader == Reader::Nobody {
            let words: Vec<String> =
                command.get_args().map(|word| word.to_str().unwrap().to_owned()).collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            command = self::command("boundkey-server", &words, ">&- 2>&-");
        }
        let mut child = Held::spawn(command.stdin(Stdio::null()).stdout(stdout).stderr(stderr));
        wait_for("the admin socket", || {
            assert!(child.try_wait().unwrap().is_none(), "{reader:?}: it ended");
            socket.exists()
        });
        for _ in 0..5 {
            cluster.ctl(&["tokens", "ls"]).success();
        }
        signal(&child, "TERM");
        assert_eq!(ended(&mut child, &format!("{reader:?}")).code(), Some(0), "{reader:?}");
    }
}

#[test]
fn lines_that_were_lost_are_counted_in_the_log_once_it_is_read_again() {
    let cluster = Cluster::prepare("lost-lines");
    let mut command = cluster.server_command(&["--log-level", "trace", "--log-format", "json"]);
    let (reader, writer) = std::io::pipe().unwrap();
    let mut child = Held::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer));
    drop(command);
    wait_for("the admin socket", || cluster.data_dir().join("admin.sock").exists());
    // More than the pipe (64 KiB) and the queue (1 MiB) hold.
    for _ in 0..10_000 {
        let mut socket =
            std::os::unix::net::UnixStream::connect(cluster.data_dir().join("admin.sock")).unwrap();
        socket.write_all(b"GET /v1/status HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
    let (sender, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(reader).lines().map_while(Result::ok) {
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
            let text = line["message"].as_str().unwrap_or_default();
            if text.starts_with("log lines were lost") {
                sender.send(line["lines"].as_u64()).unwrap_or_default();
            }
        }
    });
    let lost = told.recv_timeout(Duration::from_secs(20)).expect("a line says what was lost");
    assert!(lost.is_some_and(|lost| lost > 0), "{lost:?}");
    signal(&child, "TERM");
    assert_eq!(ended(&mut child, "the server").code(), Some(0));
}

#[test]
fn too_few_descriptors_are_named_and_nothing_panics() {
    let cluster = Cluster::prepare("descriptors");
    let config = cluster.path("dead.yaml");
    let state = cluster.path("state").display().to_string();
    std::fs::write(
        &config,
        format!("agent:\n  data_dir: {state}\n  join_params: {{token_name: t}}\n  server: 127.0.0.1:1\n"),
    )
    .unwrap();
    let config = config.display().to_string();
    let data = cluster.data_dir().display().to_string();
    let server = ["start", "--data-dir", &data, "--listen", "127.0.0.1:0", "--cluster-name", "example.com"];
    for (program, words) in [
        ("boundkey-server", &server[..]),
        ("boundkey-agent", &["start", "-c", &config]),
        ("boundkey-agent", &["start", "-c", &config, "--oneshot"]),
        ("boundkeyctl", &["tokens", "ls"]),
    ] {
        for limit in [8, 10, 12, 16] {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(format!("ulimit -n {limit}; exec \"$0\" \"$@\"")).arg(binary(program));
            let output = shell.args(words).stdin(Stdio::null()).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{program}, {limit}: {said}");
            assert!(said.contains("more open files can be had, ") && said.contains("ulimit -n"), "{said}");
        }
    }
    assert!(!cluster.data_dir().exists() && !std::path::Path::new(&state).exists(), "nothing was made");
}

#[test]
fn a_log_file_that_may_not_grow_ends_neither_server_nor_agent() {
    let cluster = Cluster::prepare("file-limit");
    let config = place(&cluster, "place") + "/dead.yaml";
    let data = cluster.data_dir().display().to_string();
    let server = ["start", "--data-dir", &data, "--listen", "127.0.0.1:0", "--cluster-name", "example.com"];
    let log = cluster.path("log");
    // Longer than the limit, whichever blocks the shell counts in.
    std::fs::File::create(&log).unwrap().set_len(64 * 1024 * 1024).unwrap();
    for (program, words, made) in [
        ("boundkey-server", &server[..], cluster.data_dir().join("admin.sock")),
        ("boundkey-agent", &["start", "-c", &config], cluster.path("place").join("dead/status.json")),
    ] {
        let append = || std::fs::OpenOptions::new().append(true).open(&log).unwrap();
        let mut shell = Command::new("sh");
        shell.arg("-c").arg("ulimit -f 20000; exec \"$0\" \"$@\"").arg(binary(program)).args(words);
        shell.stdin(Stdio::null()).stdout(append()).stderr(append());
        let mut child = Held::spawn(&mut shell);
        wait_for(program, || {
            assert!(child.try_wait().unwrap().is_none(), "{program} ended");
            made.exists()
        });
        signal(&child, "HUP");
        signal(&child, "TERM");
        assert_eq!(ended(&mut child, program).code(), Some(0), "{program}");
    }
    assert_eq!(std::fs::metadata(&log).unwrap().len(), 64 * 1024 * 1024);
}
