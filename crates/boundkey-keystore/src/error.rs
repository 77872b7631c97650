use std::io;
use std::path::PathBuf;

use crate::StateFormatError;

/// Why the state cannot be read or written. All of it is for the machine's administrator.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// Anything the system said that has no variant of its own.
    #[error("cannot {action} {path}", path = path.display())]
    Io {
        /// What was tried: `read`, `write`, ...
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another agent runs on this directory.
    #[error(
        "{path} is locked by another agent{holder}: stop it, or give this one its own data_dir",
        path = path.display(),
        holder = pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The holder, if it wrote its id.
        pid: Option<u32>,
    },
    /// Others may read or write a private file.
    #[error(
        "{path} is open to other users (mode {mode:04o}): run `chmod {wanted:o} {path}`, and if others were on this machine replace the key (`boundkeyctl bound-keypair rotate`)",
        path = path.display()
    )]
    TooOpen {
        /// The file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What they must be at most.
        wanted: u32,
    },
    /// The file or directory is another user's.
    #[error(
        "{path} belongs to user {owner}, and this process runs as user {user}: start it as {owner}, or run `chown {user} {path}`",
        path = path.display()
    )]
    OtherOwner {
        /// The file or directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// A link, a directory or a device where a plain file belongs.
    #[error("{path} is {found}, expected a {expected}: move it away", path = path.display())]
    WrongKind {
        /// What was looked at.
        path: PathBuf,
        /// What it is.
        found: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// No room. The old state is still there.
    #[error("no room to write {path}: free some space on that disk; the old content is untouched", path = path.display())]
    DiskFull {
        /// What was to be written.
        path: PathBuf,
    },
    /// The state is there but cannot be understood.
    #[error("{path} cannot be used", path = path.display())]
    Format {
        /// The state file.
        path: PathBuf,
        /// What is wrong with it.
        source: StateFormatError,
    },
}

impl KeystoreError {
    pub(crate) fn io(action: &'static str, path: &std::path::Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::Io { action, path, source },
        }
    }
}
