//! A real server on loopback, and agents for it.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::process::{Ran, Running, binary, run, wait_for};

/// A `boundkey-server` process with a data directory of its own, removed at the end.
pub struct Cluster {
    directory: TempDir,
    server: Option<Running>,
    address: String,
    pin: String,
}

impl Cluster {
    /// Starts a server of the cluster `example.com` and waits until it is ready.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn start(purpose: &str) -> Self {
        let directory =
            tempfile::Builder::new().prefix(&format!("bk-{purpose}-")).tempdir().expect("a directory");
        let mut cluster = Self { directory, server: None, address: String::new(), pin: String::new() };
        cluster.start_server(&[]);
        cluster
    }

    /// Starts the server again (after `stop_server` or `kill_server`), on the address it had.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn start_server(&mut self, more: &[&str]) {
        let listen = if self.address.is_empty() { "127.0.0.1:0" } else { &self.address };
        let log = self.path("server.log");
        drop(std::fs::remove_file(&log));
        let mut command = Command::new(binary("boundkey-server"));
        command.arg("start").arg("--data-dir").arg(self.data_dir()).args(["--cluster-name", "example.com"]);
        command.args(["--listen", listen]).args(more);
        let mut server = Running::start(&mut command, log);
        wait_for("the server to be ready", || {
            assert!(server.ended().is_none(), "the server ended: {}", server.printed());
            find_after(&server.printed(), "sha256:").is_some()
        });
        let printed = server.printed();
        self.address = word_with(&printed, "127.0.0.1:").expect("the ready line holds the address");
        self.pin = word_with(&printed, "sha256:").expect("the ready line holds the pin");
        self.server = Some(server);
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
        run(Command::new(binary("boundkeyctl")).arg("--data-dir").arg(self.data_dir()).args(arguments))
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
        let printed =
            self.ctl(&["get", &format!("token/{name}"), "--with-secrets", "--format", "json"]).success();
        serde_json::from_str(&printed).expect("JSON")
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

/// A `boundkey-agent` with a config and a state directory of its own, inside its cluster's directory.
pub struct Agent {
    directory: PathBuf,
}

impl Agent {
    /// Writes a config; `onboarding` is the line under `bound_keypair`.
    ///
    /// # Panics
    /// If the file system refuses.
    pub fn write(cluster: &Cluster, token: &str, onboarding: &str, more: &str) -> Self {
        let directory = cluster.path(&format!("agent-{token}"));
        std::fs::create_dir_all(&directory).expect("a directory can be made");
        let config = format!(
            "version: v3\nagent:\n  data_dir: {}\n  join_params:\n    token_name: {token}\n    method: bound_keypair\n    \
             bound_keypair:\n      {onboarding}\n  proxy_server: {}\n  ca_pins: [\"{}\"]\n{more}",
            directory.join("state").display(),
            cluster.address(),
            cluster.pin(),
        );
        std::fs::write(directory.join("boundkey.yaml"), config).expect("a config can be written");
        Self { directory }
    }

    /// The config file.
    pub fn config(&self) -> PathBuf {
        self.directory.join("boundkey.yaml")
    }

    /// Its `data_dir`.
    pub fn state_dir(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// A file of its own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A copy of the machine's state under another name, as a thief or a snapshot makes it.
    ///
    /// # Panics
    /// If the file system refuses.
    pub fn copy(&self, name: &str) -> Self {
        let directory = self.directory.with_file_name(name);
        run(Command::new("cp").arg("-a").arg(&self.directory).arg(&directory)).success();
        let copy = Self { directory };
        let config = std::fs::read_to_string(self.config()).expect("a config");
        let config = config.replace(&path_text(&self.state_dir()), &path_text(&copy.state_dir()));
        std::fs::write(copy.config(), config).expect("a config can be written");
        copy
    }

    /// One join, to its end.
    pub fn oneshot(&self) -> Ran {
        run(&mut self.start_command(&["--oneshot"]))
    }

    /// The command that starts it.
    pub fn start_command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(binary("boundkey-agent"));
        command.args(["start", "-c"]).arg(self.config()).args(more);
        command
    }

    /// Starts it as a service.
    pub fn start(&self) -> Running {
        Running::start(&mut self.start_command(&[]), self.path("agent.log"))
    }

    /// A file of `DATA_DIR/identity/`.
    pub fn identity(&self, file: &str) -> PathBuf {
        self.state_dir().join("identity").join(file)
    }
}

fn path_text(path: &Path) -> String {
    path.display().to_string()
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
