//! A real agent on loopback.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cluster::Cluster;
use crate::process::{Ran, Running, run, wrapped};

/// A `boundkey-agent` with a config and a state directory of its own, inside its cluster's directory.
pub struct Agent {
    directory: PathBuf,
    around: Vec<String>,
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
        Self { directory, around: Vec::new() }
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
        let copy = Self { directory, around: self.around.clone() };
        let config = std::fs::read_to_string(self.config()).expect("a config");
        let config = config.replace(&path_text(&self.state_dir()), &path_text(&copy.state_dir()));
        std::fs::write(copy.config(), config).expect("a config can be written");
        copy
    }

    /// The words that stand before its command from now on: `env FAKETIME=...`.
    pub fn wrap(&mut self, words: &[String]) {
        self.around = words.to_vec();
    }

    /// Runs another of its commands on its state directory.
    pub fn command(&self, words: &[&str]) -> Ran {
        run(wrapped(&self.around, "boundkey-agent").args(words).arg("--data-dir").arg(self.state_dir()))
    }

    /// One join, to its end.
    pub fn oneshot(&self) -> Ran {
        run(&mut self.start_command(&["--oneshot"]))
    }

    /// The command that starts it.
    pub fn start_command(&self, more: &[&str]) -> Command {
        let mut command = wrapped(&self.around, "boundkey-agent");
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
