//! A real server on loopback, and agents for it.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::agent::Agent;
use crate::process::{Ran, Running, run, wait_for, wrapped};

/// A `boundkey-server` process with a data directory of its own, removed at the end.
pub struct Cluster {
    directory: TempDir,
    server: Option<Running>,
    address: String,
    pin: String,
    around_server: Vec<String>,
    around_ctl: Vec<String>,
}

impl Cluster {
    /// Starts a server of the cluster `example.com` and waits until it is ready.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn start(purpose: &str) -> Self {
        let mut cluster = Self::prepare(purpose);
        cluster.start_server(&[]);
        cluster
    }

    /// A directory for a server that is started later.
    ///
    /// # Panics
    /// If the file system refuses.
    pub fn prepare(purpose: &str) -> Self {
        let directory =
            tempfile::Builder::new().prefix(&format!("bk-{purpose}-")).tempdir().expect("a directory");
        Self {
            directory,
            server: None,
            address: String::new(),
            pin: String::new(),
            around_server: Vec::new(),
            around_ctl: Vec::new(),
        }
    }

    /// The words that stand before the server's command from the next start on: `env FAKETIME=...`.
    pub fn wrap_server(&mut self, words: &[String]) {
        self.around_server = words.to_vec();
    }

    /// The words that stand before `boundkeyctl` from now on: `nsenter ...`.
    pub fn wrap_ctl(&mut self, words: &[String]) {
        self.around_ctl = words.to_vec();
    }

    /// Starts the server again (after `stop_server` or `kill_server`), on the address it had.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn start_server(&mut self, more: &[&str]) {
        self.launch_server(more);
        self.await_server();
    }

    /// Starts it and does not wait.
    ///
    /// # Panics
    /// If there is no such program.
    pub fn launch_server(&mut self, more: &[&str]) {
        let log = self.path("server.log");
        drop(std::fs::remove_file(&log));
        self.server = Some(Running::start(&mut self.server_command(more), log));
    }

    /// The command that starts it.
    pub fn server_command(&self, more: &[&str]) -> Command {
        let listen = if self.address.is_empty() { "127.0.0.1:0" } else { &self.address };
        let mut command = wrapped(&self.around_server, "boundkey-server");
        command.arg("start").arg("--data-dir").arg(self.data_dir()).args(["--cluster-name", "example.com"]);
        command.args(["--listen", listen]).args(more);
        command
    }

    /// Waits until a server that was launched is ready.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn await_server(&mut self) {
        let server = self.server.as_mut().expect("the server runs");
        wait_for("the server to be ready", || {
            assert!(server.ended().is_none(), "the server ended: {}", server.printed());
            find_after(&server.printed(), "sha256:").is_some()
        });
        let printed = server.printed();
        self.address = word_with(&printed, "127.0.0.1:").expect("the ready line holds the address");
        self.pin = word_with(&printed, "sha256:").expect("the ready line holds the pin");
    }

    /// SIGTERM to the server; it must end with status 0.
    ///
    /// # Panics
    /// If it does not.
    pub fn stop_server(&mut self) {
        if let Some(mut server) = self.server.take() {
            let status = server.stop();
            assert!(status.success(), "{status}: {}", server.printed());
        }
    }

    /// kill -9.
    pub fn kill_server(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill();
        }
    }

    /// The server process.
    ///
    /// # Panics
    /// If it was stopped.
    pub fn server(&mut self) -> &mut Running {
        self.server.as_mut().expect("the server runs")
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The CA pin of the ready line.
    pub fn pin(&self) -> &str {
        &self.pin
    }

    /// The server's data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.path("server")
    }

    /// A file beside the data directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs `boundkeyctl` against this server.
    pub fn ctl(&self, arguments: &[&str]) -> Ran {
        self.administrator().ctl(arguments)
    }

    /// Somebody who administers it from another thread.
    pub fn administrator(&self) -> Administrator {
        Administrator { around: self.around_ctl.clone(), data_dir: self.data_dir() }
    }

    /// Creates resources; they must be accepted.
    ///
    /// # Panics
    /// If they are not.
    pub fn create(&self, resources: &str) {
        let file = self.path("resources.yaml");
        std::fs::write(&file, resources).expect("a file can be written");
        self.ctl(&["create", &file.display().to_string()]).success();
    }

    /// A token with its status, secrets included.
    ///
    /// # Panics
    /// If there is none.
    pub fn token(&self, name: &str) -> serde_json::Value {
        self.administrator().token(name)
    }

    /// What the audit log says of a token, oldest first.
    ///
    /// # Panics
    /// If the server does not answer.
    pub fn events(&self, token: &str) -> Vec<serde_json::Value> {
        let printed = self.ctl(&["events", "ls", "--token", token, "--format", "json"]).success();
        serde_json::from_str(&printed).expect("JSON")
    }

    /// Copies the stopped server's data directory, as a backup.
    ///
    /// # Panics
    /// If the server runs.
    pub fn save_data(&self, name: &str) -> PathBuf {
        assert!(self.server.is_none(), "a running server's directory is not copied");
        let to = self.path(name);
        copy_directory(&self.data_dir(), &to);
        to
    }

    /// Puts a copy in the place of the stopped server's data directory.
    ///
    /// # Panics
    /// If the server runs.
    pub fn restore_data(&self, from: &Path) {
        assert!(self.server.is_none(), "a running server's directory is not replaced");
        copy_directory(from, &self.data_dir());
    }

    /// An agent for a token of hosts with role Node, by the generated registration secret.
    ///
    /// # Panics
    /// If the token has no unused generated secret.
    pub fn agent(&self, token: &str) -> Agent {
        self.agent_with(token, "ssh_service: {enabled: true}\n")
    }

    /// An agent with more of a config: services, outputs, certificates.
    ///
    /// # Panics
    /// As [`Cluster::agent`].
    pub fn agent_with(&self, token: &str, more: &str) -> Agent {
        let status = self.token(token);
        let secret =
            status["status"]["bound_keypair"]["registration_secret"].as_str().expect("an unused secret");
        Agent::write(self, token, &format!("registration_secret_value: {secret}"), more)
    }
}

/// Who runs `boundkeyctl`.
#[derive(Debug, Clone)]
pub struct Administrator {
    around: Vec<String>,
    data_dir: PathBuf,
}

impl Administrator {
    /// Runs `boundkeyctl`.
    pub fn ctl(&self, arguments: &[&str]) -> Ran {
        let mut command = wrapped(&self.around, "boundkeyctl");
        run(command.arg("--data-dir").arg(&self.data_dir).args(arguments))
    }

    /// A token with its status, secrets included.
    ///
    /// # Panics
    /// If there is none.
    pub fn token(&self, name: &str) -> serde_json::Value {
        let printed =
            self.ctl(&["get", &format!("token/{name}"), "--with-secrets", "--format", "json"]).success();
        serde_json::from_str(&printed).expect("JSON")
    }
}

fn copy_directory(from: &Path, to: &Path) {
    if to.exists() {
        std::fs::remove_dir_all(to).expect("a directory can be removed");
    }
    run(Command::new("cp").arg("-a").arg(from).arg(to)).success();
}

fn find_after<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.find(start).map(|at| &text[at..]).filter(|rest| rest.contains('\n'))
}

/// The word that begins with `start`, up to white space or punctuation that ends one.
fn word_with(text: &str, start: &str) -> Option<String> {
    let rest = find_after(text, start)?;
    let end =
        rest.find(|c: char| c.is_whitespace() || matches!(c, ',' | '"' | ')' | ';')).unwrap_or(rest.len());
    Some(rest[..end].to_owned())
}
