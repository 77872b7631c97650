//! Copies of the identity for other programs: what goes into them, and how they are replaced.
//!
//! | output | files (the private key is written last) |
//! |---|---|
//! | `tls` | `cert.pem` (the leaf), `chain.pem` (leaf and its CA), `ca.pem` (CAs of hosts and bots), `key.pem` |
//! | `openssh_host` | `HOSTKEY-cert.pub`, `user_ca.pub`, `revoked_keys`, `sshd.conf`, and the host key if it was made here |
//! | `openssh_user` | `id_ed25519-cert.pub`, `id_ed25519.pub`, `known_hosts`, `id_ed25519` |

mod access;
mod directory;
mod files;
mod parent;
mod reload;
#[cfg(test)]
mod tests;

pub use access::AccessError;
pub use directory::{FileByFile, Replaced};
pub use files::{HOST_KEY_NAME, Material};
pub use reload::{ReloadError, run_reload};

use std::path::{Path, PathBuf};

use crate::config::{FileAccess, OutputConfig, OutputKind};

/// Why an output could not be written. The identity itself is safe in the data directory.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The system refused.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The path is a symbolic link: whoever owns the link could turn it elsewhere.
    #[error("{} is a symbolic link: name the directory itself in `outputs`", .0.display())]
    SymbolicLink(PathBuf),
    /// The path leads through a link that somebody else can turn elsewhere.
    #[error(
        "{} is a symbolic link of user {owner}, who could turn it elsewhere: name the directory that is meant in `outputs`",
        .link.display()
    )]
    ForeignLink {
        /// The link.
        link: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// The path is there and no directory.
    #[error("{} is no directory: outputs are directories", .0.display())]
    NotADirectory(PathBuf),
    /// Owner or group.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// What was received does not have what the output needs.
    #[error("the identity has no OpenSSH certificate: the cluster issued none for this token")]
    NoSshCertificate,
}

/// What was done to one output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It held exactly this already.
    Unchanged,
    /// It was replaced.
    Replaced(Replaced),
}

/// Brings an output up to date.
///
/// # Errors
/// [`OutputError`]; what stood there before still stands, as a whole unless it is a mount point.
pub fn write_output(output: &OutputConfig, material: &Material<'_>) -> Result<Written, OutputError> {
    let files = match &output.kind {
        OutputKind::Tls { .. } => material.tls(),
        OutputKind::OpensshHost { host_key } => material.openssh_host(host_key.as_deref(), &output.path)?,
        OutputKind::OpensshUser => material.openssh_user()?,
    };
    directory::replace(&output.path, &files, &output.access)
}

/// Where the identity is, below the data directory.
pub fn identity_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("identity")
}

/// Brings `DATA_DIR/identity` up to date: everything that was received, for the agent's user only.
///
/// # Errors
/// As [`write_output`].
pub fn write_identity(
    data_dir: &Path,
    material: &Material<'_>,
    host_key: Option<&Path>,
) -> Result<Written, OutputError> {
    let path = identity_dir(data_dir);
    let files = material.identity(host_key, &path)?;
    directory::replace(&path, &files, &FileAccess::default())
}
