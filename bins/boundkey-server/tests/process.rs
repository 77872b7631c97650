//! The server as a process: what it makes, what it refuses, how it ends.
#![expect(clippy::print_stdout, reason = "a skipped test says so")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

const SERVER: &str = env!("CARGO_BIN_EXE_boundkey-server");

fn directory() -> TempDir {
    tempfile::Builder::new().prefix("bks-").tempdir_in("/tmp").expect("a directory")
}

fn command(data: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(SERVER);
    command.arg("start").arg("--data-dir").arg(data).args(["--listen", "127.0.0.1:0"]).args(more);
    command
        .env_remove("BOUNDKEY_LOG")
        .env_remove("BOUNDKEY_MASTER_KEY")
        .env_remove("CREDENTIALS_DIRECTORY")
        .env_remove("NOTIFY_SOCKET");
    command
}

/// Must fail with status 1; what it says on standard error.
fn refused(command: &mut Command) -> String {
    let Output { status, stderr, stdout } = command.output().expect("it runs");
    let said = String::from_utf8(stderr).expect("text");
    assert_eq!(status.code(), Some(1), "{said}");
    assert_eq!(String::from_utf8_lossy(&stdout), "", "no ready line");
    said
}

struct Server {
    child: Child,
    ready: String,
}

impl Server {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut ready = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut ready).expect("a line");
        if ready.is_empty() {
            let mut said = String::new();
            drop(child.stderr.take().expect("a pipe").read_to_string(&mut said));
            panic!("it did not become ready: {said}");
        }
        Self { child, ready }
    }

    fn address(&self) -> &str {
        self.ready.split("https://").nth(1).and_then(|rest| rest.split(' ').next()).expect("an address")
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        let id = rustix::process::Pid::from_raw(id).expect("not zero");
        rustix::process::kill_process(id, signal).expect("signalled");
    }

    /// SIGTERM; its status, and what it said on standard error.
    fn end(mut self) -> (Option<i32>, String) {
        self.signal(rustix::process::Signal::TERM);
        let status = self.child.wait().expect("it ends");
        let mut said = String::new();
        self.child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
        (status.code(), said)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn the_first_start_makes_what_only_its_owner_may_read() {
    let place = directory();
    let data = place.path().join("made/here");
    let server = Server::start(&mut command(&data, &["--cluster-name", "example.com"]));
    assert!(server.ready.starts_with("ready: https://127.0.0.1:"), "{}", server.ready);
    assert!(server.ready.contains(" cluster example.com ca pin sha256:"), "{}", server.ready);
    assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&data).unwrap() {
        let entry = entry.unwrap();
        let (name, kind) = (entry.file_name().into_string().unwrap(), entry.file_type().unwrap());
        assert!(kind.is_file() || (kind.is_socket() && name.ends_with(".sock")), "{name}: {kind:?}");
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    let (status, said) = server.end();
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("only this machine can reach"), "{said}");
    assert!(!data.join("admin.sock").exists(), "an orderly end leaves no socket");
}

#[test]
fn the_longest_name_that_is_allowed_makes_a_cluster() {
    let place = directory();
    let longest = format!("{}.example", "a".repeat(48));
    assert_eq!(longest.len(), 56);
    let server = Server::start(&mut command(&place.path().join("bk"), &["--cluster-name", &longest]));
    assert!(server.ready.contains(&format!(" cluster {longest} ")), "{}", server.ready);
    server.end();
    let longer = format!("a{longest}");
    let said = refused(&mut command(&place.path().join("other"), &["--cluster-name", &longer]));
    assert!(said.contains("allowed: up to 56 lower-case letters"), "{said}");
    assert!(!place.path().join("other").exists(), "nothing was made");
}

#[test]
fn the_name_is_remembered_and_the_pin_stays() {
    let place = directory();
    let data = place.path().join("bk");
    let first = Server::start(&mut command(&data, &["--cluster-name", "example.com"]));
    let pin = first.ready.split("ca pin ").nth(1).unwrap().to_owned();
    first.end();
    let again = Server::start(&mut command(&data, &[]));
    assert!(again.ready.contains(&pin), "{}", again.ready);
    again.end();
    let said = refused(&mut command(&data, &["--cluster-name", "other.example"]));
    assert!(said.contains("belongs to the cluster `example.com`, not to `other.example`"), "{said}");
}

#[test]
fn a_second_server_on_the_directory_or_on_the_port_is_refused() {
    let place = directory();
    let data = place.path().join("bk");
    let server = Server::start(&mut command(&data, &["--cluster-name", "example.com"]));
    let said = refused(&mut command(&data, &[]));
    assert!(said.contains(&format!("(process {})", server.child.id())), "{said}");
    let other = place.path().join("other");
    let said = refused(
        Command::new(SERVER)
            .args(["start", "--cluster-name", "example.com", "--listen"])
            .arg(server.address())
            .arg("--data-dir")
            .arg(&other),
    );
    assert!(said.contains("the address is in use"), "{said}");
    assert!(!other.join("master.key").exists() && !other.join("store.sqlite").exists(), "nothing was made");
}

#[test]
fn after_kill_9_it_starts_again_on_the_same_directory() {
    let place = directory();
    let data = place.path().join("bk");
    let mut server = Server::start(&mut command(&data, &["--cluster-name", "example.com"]));
    let ready = server.ready.clone();
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    assert!(data.join("admin.sock").exists(), "left behind");
    let again = Server::start(&mut command(&data, &[]));
    assert_eq!(again.ready.split("cluster ").nth(1), ready.split("cluster ").nth(1));
    assert_eq!(again.end().0, Some(0));
}

#[test]
fn a_lost_master_key_is_missed_and_none_is_made_in_its_place() {
    let place = directory();
    let data = place.path().join("bk");
    Server::start(&mut command(&data, &["--cluster-name", "example.com"])).end();
    let key = data.join("master.key");
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    let said = refused(&mut command(&data, &[]));
    assert!(said.contains("master.key is missing") && said.contains("put back"), "{said}");
    assert!(!key.exists());

    let mut with_variable = command(&data, &[]);
    with_variable.env("BOUNDKEY_MASTER_KEY", String::from_utf8(kept.clone()).unwrap());
    Server::start(&mut with_variable).end();
    fs::write(data.join("master.key"), &kept).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let said = refused(&mut with_variable);
    assert!(said.contains("two master keys"), "{said}");

    let foreign = r#"{"version":1,"keys":[{"id":1,"key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}],"epoch":0,"retired_below":0}"#;
    fs::write(&key, foreign).unwrap();
    let said = refused(&mut command(&data, &[]));
    assert!(said.contains("the master key does not fit this store"), "{said}");
    fs::write(&key, &kept[..kept.len() / 2]).unwrap();
    let said = refused(&mut command(&data, &[]));
    assert!(said.contains("master.key holds no usable master key"), "{said}");
    fs::write(&key, &kept).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o666)).unwrap();
    let said = refused(&mut command(&data, &[]));
    assert!(said.contains("can be changed by other users") && said.contains("chmod go-w"), "{said}");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}

#[test]
fn what_a_platform_opened_to_a_group_is_taken_back_and_the_server_starts() {
    let place = directory();
    let data = place.path().join("bk");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o777)).unwrap();
    Server::start(&mut command(&data, &["--cluster-name", "example.com"])).end();
    assert_eq!(mode(&data), 0o755);
    let key = data.join("master.key");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o2770)).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o660)).unwrap();
    Server::start(&mut command(&data, &[])).end();
    assert_eq!([mode(&data), mode(&key)], [0o750, 0o600]);
}

#[test]
fn what_others_could_exchange_is_refused_and_nothing_is_made() {
    let place = directory();
    let above = place.path().join("above");
    let data = above.join("bk");
    fs::create_dir(&above).unwrap();
    fs::set_permissions(&above, fs::Permissions::from_mode(0o777)).unwrap();
    let said = refused(&mut command(&data, &["--cluster-name", "example.com"]));
    assert!(
        said.contains(&format!("the directory {} can be changed by other users", above.display())),
        "{said}"
    );
    assert!(!data.exists());
    fs::set_permissions(&above, fs::Permissions::from_mode(0o755)).unwrap();
    let settings = place.path().join("server.yaml");
    fs::write(&settings, "cluster_name: example.com\n").unwrap();
    fs::set_permissions(&settings, fs::Permissions::from_mode(0o666)).unwrap();
    let said = refused(&mut command(&data, &["-c", settings.to_str().unwrap()]));
    assert!(
        said.contains(&format!("the file {} can be changed by other users", settings.display())),
        "{said}"
    );
    let said = refused(&mut command(
        &data,
        &["--cluster-name", "example.com", "--apply", settings.to_str().unwrap()],
    ));
    assert!(
        said.contains(&format!("the file {} can be changed by other users", settings.display())),
        "{said}"
    );
    assert!(!data.exists());
}

#[test]
fn hangup_keeps_it_running_with_or_without_a_readable_configuration() {
    let place = directory();
    let data = place.path().join("bk");
    let config = place.path().join("server.yaml");
    fs::write(&config, "cluster_name: example.com\nlog: {level: info}\n").unwrap();
    let flag = config.to_str().unwrap();
    let server = Server::start(&mut command(&data, &["-c", flag]));
    server.signal(rustix::process::Signal::HUP);
    fs::write(&config, "cluster_name: example.com\nlog: {level: loud}\n").unwrap();
    server.signal(rustix::process::Signal::HUP);
    assert!(std::net::TcpStream::connect(server.address()).is_ok(), "it lives on");
    let (status, said) = server.end();
    assert_eq!(status, Some(0), "{said}");
}

#[test]
fn resources_are_applied_at_start_before_it_is_ready() {
    let place = directory();
    let data = place.path().join("bk");
    let file = place.path().join("bots.yaml");
    fs::write(&file, "kind: bot\nversion: v1\nmetadata: {name: ci}\nspec: {}\n").unwrap();
    let apply = ["--cluster-name", "example.com", "--apply", file.to_str().unwrap()];
    for _ in 0..2 {
        let (status, said) = Server::start(&mut command(&data, &apply)).end();
        assert_eq!(status, Some(0), "{said}");
    }
}

#[test]
fn flags_win_over_the_variable_and_that_over_the_configuration_and_json_lines_are_flat() {
    let place = directory();
    let data = place.path().join("bk");
    let config = place.path().join("server.yaml");
    fs::write(&config, "cluster_name: example.com\nlog: {level: error}\n").unwrap();
    let flag = config.to_str().unwrap();
    // It starts with the warning that only this machine can reach it.
    for (variable, flags, warned) in [
        ("", &[][..], false),
        ("warn", &[], true),
        ("error", &["--log-level", "warn"], true),
        ("warn", &["--log-level", "off"], false),
        ("verbose", &[], true),
        ("error", &["--log-level", "info", "--log-format", "json"], true),
    ] {
        let words = [&["-c", flag], flags].concat();
        let (status, said) = Server::start(command(&data, &words).env("BOUNDKEY_LOG", variable)).end();
        assert_eq!(status, Some(0), "{said}");
        assert_eq!(said.contains("only this machine can reach"), warned, "{variable} {flags:?}: {said}");
        if variable == "verbose" {
            assert!(said.contains("log level: found `verbose`; allowed: off, error, warn,"), "{said}");
        }
        if flags.contains(&"json") {
            for line in said.lines() {
                let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
                assert!(line["timestamp"].is_string() && line["fields"].is_null(), "{line}");
                assert!(line["level"].is_string() && line["message"].is_string(), "{line}");
            }
        }
    }
}

#[test]
fn an_empty_master_key_variable_is_one_that_is_not_set() {
    let place = directory();
    let data = place.path().join("bk");
    let mut command = command(&data, &["--cluster-name", "example.com"]);
    command.env("BOUNDKEY_MASTER_KEY", "").env("CREDENTIALS_DIRECTORY", "");
    assert_eq!(Server::start(&mut command).end().0, Some(0));
    assert!(data.join("master.key").exists());
}

#[test]
fn a_master_key_is_read_with_a_bound_from_a_plain_file_that_nobody_else_changes() {
    let place = directory();
    let (given, data) = (place.path().join("given"), place.path().join("bk"));
    let key = given.join("master.key");
    fs::create_dir(&given).unwrap();
    let said = |at: &Path| {
        let mut command = command(&data, &["--cluster-name", "example.com"]);
        refused(command.env("CREDENTIALS_DIRECTORY", at))
    };
    fs::write(&key, vec![b' '; 65 * 1024]).unwrap();
    let text = said(&given);
    assert!(text.contains("master.key holds no master key: it has more than 65536 bytes"), "{text}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o666)).unwrap();
    let text = said(&given);
    assert!(text.contains("master.key can be changed by other users"), "{text}");
    for dir in [&given, &data] {
        let _ = fs::remove_file(dir.join("master.key"));
        let made = Command::new("mkfifo").arg(dir.join("master.key")).status().expect("mkfifo");
        assert!(made.success());
        let text = said(if *dir == given { &given } else { place.path() });
        assert!(text.contains("master.key is a device, pipe or socket, expected a plain file"), "{text}");
    }
}

#[test]
fn every_command_has_a_man_page() {
    let place = directory();
    let pages = place.path().join("man1");
    let output = Command::new(SERVER).arg("man").arg(&pages).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let top = fs::read_to_string(pages.join("boundkey-server.1")).expect("the first page");
    for name in ["start", "configure", "check-config", "backup", "restore", "completions", "man"] {
        assert!(pages.join(format!("boundkey-server-{name}.1")).is_file(), "{name}");
        let named = format!("boundkey\\-server\\-{}(1)", name.replace('-', "\\-"));
        assert!(top.contains(&named), "{name}: {top}");
    }
    assert_eq!(top.matches("(1)").count(), 7, "{top}");
}

/// Runs the server inside a mount namespace of its own, where `mount` prepares the data directory.
fn in_namespace(data: &Path, mount: &str) -> Option<String> {
    let script = format!(
        "mount -t tmpfs {mount} tmpfs {0} && exec {SERVER} start --data-dir {0} --cluster-name example.com --listen 127.0.0.1:0",
        data.display()
    );
    let output = Command::new("unshare").args(["-m", "sh", "-c", &script]).output().ok()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !said.starts_with("boundkey-server:") {
        println!("SKIP: no mount namespace can be made here: {said}");
        return None;
    }
    assert_eq!(output.status.code(), Some(1), "{said}");
    Some(said)
}

fn mounted() -> (TempDir, PathBuf) {
    let place = directory();
    let data = place.path().join("bk");
    fs::create_dir(&data).expect("made");
    (place, data)
}

#[test]
fn a_read_only_directory_is_named() {
    let (_place, data) = mounted();
    let Some(said) = in_namespace(&data, "-o ro,mode=700") else { return };
    assert!(said.contains("cannot write into the data directory") && said.contains("Read-only"), "{said}");
}

#[test]
fn a_full_disk_is_named() {
    let (_place, data) = mounted();
    let Some(said) = in_namespace(&data, "-o size=8k,mode=700") else { return };
    assert!(said.contains("full") || said.contains("No space left"), "{said}");
}

/// Under `ulimit` with these words.
fn limited(ulimit: &str, data: &Path) -> Command {
    let plain = command(data, &["--cluster-name", "example.com"]);
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{ulimit} && exec \"$0\" \"$@\"")).arg(SERVER).args(plain.get_args());
    command.env_remove("BOUNDKEY_LOG").env_remove("NOTIFY_SOCKET");
    command
}

/// A number behind a name of /proc/PID/limits: soft, then hard.
fn limits_of(server: &Server, name: &str) -> Vec<String> {
    let table = fs::read_to_string(format!("/proc/{}/limits", server.child.id())).expect("limits");
    let line = table.lines().find_map(|line| line.strip_prefix(name)).expect("the limit");
    line.split_whitespace().take(2).map(str::to_owned).collect()
}

#[test]
fn a_server_takes_the_descriptors_it_may_have_and_no_more_connections_than_those() {
    let place = directory();
    let server = Server::start(&mut limited("ulimit -Sn 250 && ulimit -Hn 600", &place.path().join("few")));
    assert_eq!(limits_of(&server, "Max open files"), ["600", "600"], "the soft limit is raised");
    let (_, said) = server.end();
    let told =
        "limits.connections is 10000, and this process may have 600 open files: 456 connections are taken";
    assert!(said.contains(told), "{said}");

    let said = refused(&mut limited("ulimit -Sn 100 && ulimit -Hn 100", &place.path().join("fewer")));
    assert!(said.contains("open files") || said.contains("descriptors"), "{said}");
    assert!(!place.path().join("fewer").exists(), "nothing is made");
}

#[test]
fn what_a_server_has_in_memory_goes_into_no_dump() {
    let place = directory();
    let server = Server::start(&mut limited("ulimit -Sc unlimited", &place.path().join("bk")));
    assert_eq!(limits_of(&server, "Max core file size")[0], "0");
    // The kernel gives what belongs to a process that cannot be dumped to root: of another user's it can be seen.
    let user = 65_534;
    if !rustix::process::geteuid().is_root() {
        println!("SKIP: only root starts a process of another user");
        return;
    }
    std::os::unix::fs::chown(place.path(), Some(user), Some(user)).expect("its directory");
    let mut command = command(&place.path().join("other"), &["--cluster-name", "example.com"]);
    std::os::unix::process::CommandExt::uid(&mut command, user);
    std::os::unix::process::CommandExt::gid(&mut command, user);
    let server = Server::start(&mut command);
    let owner = fs::metadata(format!("/proc/{}/mem", server.child.id())).expect("a process");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&owner), 0, "not its user's, who could read it");
}
