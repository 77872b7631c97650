use std::process::Stdio;
use std::time::Duration;

use boundkey_text::clean;
use rustix::process::{Pid, Signal};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

/// A reload command may take this long.
const LIMIT: Duration = Duration::from_secs(60);
/// After that it and its children may take this long to end by themselves.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// So much of what it says goes into the report.
const REPORTED: usize = 512;

/// Why a reload command did not succeed. The new files are in place all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// It cannot be started.
    #[error("the reload command `{command}` cannot be started: {reason}")]
    Start {
        /// The command.
        command: String,
        /// What the system said.
        reason: String,
    },
    /// It failed.
    #[error("the reload command `{command}` failed with {status}: {output}")]
    Failed {
        /// The command.
        command: String,
        /// Its exit status or signal.
        status: String,
        /// The start of what it wrote to standard error.
        output: String,
    },
    /// It took too long and was ended.
    #[error("the reload command `{command}` did not end within {limit:?} and was ended, with its children")]
    Timeout {
        /// The command.
        command: String,
        /// How long it was given.
        limit: Duration,
    },
}

/// Runs a reload command by `sh -c`, without the secrets of this process's environment, in a process group of its own.
///
/// After a minute the whole group is ended. So it is when the future is dropped. What a command that succeeded left running
/// on purpose (a daemon) lives on.
///
/// # Errors
/// [`ReloadError`].
pub async fn run_reload(command: &str) -> Result<(), ReloadError> {
    run_within(command, LIMIT).await
}

async fn run_within(command: &str, limit: Duration) -> Result<(), ReloadError> {
    let failed = |reason: std::io::Error| ReloadError::Start {
        command: command.to_owned(),
        reason: reason.to_string(),
    };
    let mut shell = Command::new("/bin/sh");
    for name in super::PRIVATE_VARIABLES {
        shell.env_remove(name);
    }
    let mut child = shell
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let mut group = Group::of(&child);
    let stderr = child.stderr.take();
    let mut output = Vec::new();
    let work = async {
        // A command may leave a daemon behind that keeps standard error open: its own end is what counts.
        tokio::select! {
            biased;
            () = read_head(stderr, &mut output) => child.wait().await,
            status = child.wait() => status,
        }
    };
    match tokio::time::timeout(limit, work).await {
        Err(_) => {
            group.signal(Signal::TERM);
            // Whoever does not listen is ended with the rest of the group below.
            let _ = tokio::time::timeout(LAST_WORDS, child.wait()).await;
            Err(ReloadError::Timeout { command: command.to_owned(), limit })
        }
        Ok(Err(error)) => Err(failed(error)),
        Ok(Ok(status)) => {
            group.disarm();
            if status.success() {
                return Ok(());
            }
            let output = String::from_utf8_lossy(&output);
            Err(ReloadError::Failed {
                command: command.to_owned(),
                status: status.to_string(),
                output: clean(output.trim(), REPORTED),
            })
        }
    }
}

/// The command with everything it started: killed when this is dropped, unless the command ended by itself.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // Nobody of it is left: that is what was wanted.
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }

    fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// The start of what a command says; the rest is read and dropped, so that it never waits for us. What cannot be read is
/// missing in a report, no more.
async fn read_head(from: Option<tokio::process::ChildStderr>, into: &mut Vec<u8>) {
    if let Some(mut from) = from {
        let _ = (&mut from).take(4 * REPORTED as u64).read_to_end(into).await;
        let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Whether the process whose id is in a file is still there (a zombie is not).
    fn lives(file: &Path) -> bool {
        let id = std::fs::read_to_string(file).unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", id.trim())).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
    }

    async fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
        for _ in 0..500 {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what}");
    }

    #[tokio::test]
    async fn commands_succeed_or_say_why_not() {
        run_reload("true").await.unwrap();
        assert_eq!(
            run_reload("echo no such unit >&2; exit 5").await.unwrap_err().to_string(),
            "the reload command `echo no such unit >&2; exit 5` failed with exit status: 5: no such unit"
        );
        // More than a pipe holds, and a daemon that keeps standard error open.
        run_reload("head -c 300000 /dev/zero >&2; sleep 5 & exit 0").await.unwrap();
    }

    #[tokio::test]
    async fn what_a_command_says_is_cleaned() {
        let error = run_reload("printf 'a\\033[2Jb\\nFAKE' >&2; false").await.unwrap_err();
        let ReloadError::Failed { output, .. } = error else { panic!("{error}") };
        assert_eq!(output, "a\\u{1b}[2Jb\\nFAKE");
    }

    #[tokio::test]
    async fn a_command_that_takes_too_long_is_ended_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("child");
        // The grandchild ignores the first, polite signal.
        let command = format!("(trap '' TERM; sleep 1000) & echo $! > {}; sleep 1000", file.display());
        let error = run_within(&command, Duration::from_millis(500)).await.unwrap_err().to_string();
        assert!(error.ends_with("did not end within 500ms and was ended, with its children"), "{error}");
        wait_for("the grandchild ends", || !lives(&file)).await;
    }

    #[tokio::test]
    async fn a_command_that_is_given_up_is_ended_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("child");
        let command = format!("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", file.display());
        let given_up = tokio::time::timeout(Duration::from_secs(30), async {
            tokio::select! {
                _ = run_reload(&command) => panic!("it does not end by itself"),
                () = wait_for("the child starts", || file.exists()) => {}
            }
        });
        given_up.await.unwrap();
        wait_for("the child ends", || !lives(&file)).await;
    }

    #[tokio::test]
    async fn a_daemon_that_a_command_leaves_lives_on() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("daemon");
        run_reload(&format!("sleep 30 & echo $! > {}", file.display())).await.unwrap();
        assert!(lives(&file));
        let id = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        rustix::process::kill_process(Pid::from_raw(id).unwrap(), Signal::KILL).unwrap();
    }
}
