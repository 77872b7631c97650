use std::path::PathBuf;

use boundkey_files::FileError;

use crate::StateFormatError;

/// Why the state cannot be read or written. All of it is for the machine's administrator.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// A file or directory cannot be used: who may change it, what it is, or what the system said.
    #[error(transparent)]
    File(#[from] FileError),
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
    /// A directory that is not private and holds something else: it is not made private.
    #[error(
        "{path} is open to other users (mode {mode:04o}) and no data directory of an agent (it holds `{stranger}`): \
         choose an empty or a new one",
        path = path.display()
    )]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// A file in it.
        stranger: String,
    },
    /// Somebody looks at the state of another user's agent.
    #[error(
        "only root and the agent's own user may look at {path}: run this as one of them, for instance `sudo boundkey-agent \
         status`",
        path = path.display()
    )]
    NotAllowed {
        /// The data directory.
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
