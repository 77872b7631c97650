use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

/// A reload command may take this long.
const LIMIT: Duration = Duration::from_secs(60);
/// So much of what it says goes into the report.
const REPORTED: u64 = 512;

/// Why a reload command did not succeed. The new files are in place all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// It cannot be started.
    #[error("`{command}` cannot be started: {reason}")]
    Start {
        /// The command.
        command: String,
        /// What the system said.
        reason: String,
    },
    /// It failed.
    #[error("`{command}` failed with {status}: {output}")]
    Failed {
        /// The command.
        command: String,
        /// Its exit status or signal.
        status: String,
        /// The start of what it wrote to standard error.
        output: String,
    },
    /// It took too long and was ended.
    #[error("`{command}` did not end within {LIMIT:?} and was ended")]
    Timeout {
        /// The command.
        command: String,
    },
}

/// Runs a reload command by `sh -c`, without the secrets of this process's environment.
///
/// # Errors
/// [`ReloadError`].
pub async fn run_reload(command: &str) -> Result<(), ReloadError> {
    let failed = |reason: std::io::Error| ReloadError::Start {
        command: command.to_owned(),
        reason: reason.to_string(),
    };
    let mut child = Command::new("/bin/sh")
        .arg("-c")
        .arg(command)
        .env_remove(crate::config::SECRET_VARIABLE)
        .env_remove(crate::config::STATIC_KEY_VARIABLE)
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
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
    let outcome = tokio::time::timeout(LIMIT, work).await;
    match outcome {
        Err(_) => Err(ReloadError::Timeout { command: command.to_owned() }),
        Ok(Err(error)) => Err(failed(error)),
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(ReloadError::Failed {
            command: command.to_owned(),
            status: status.to_string(),
            output: String::from_utf8_lossy(&output).trim().to_owned(),
        }),
    }
}

/// The start of what a command says; the rest is read and dropped, so that it never waits for us. What cannot be read is
/// missing in a report, no more.
async fn read_head(from: Option<tokio::process::ChildStderr>, into: &mut Vec<u8>) {
    if let Some(mut from) = from {
        let _ = (&mut from).take(REPORTED).read_to_end(into).await;
        let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    }
}
