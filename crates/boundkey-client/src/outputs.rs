//! Copies of the identity for other programs: what goes into them, and how they are replaced.
//!
//! | output | files (on a file system without links the private key is written last) |
//! |---|---|
//! | `tls` | `cert.pem` (the leaf), `chain.pem` (leaf and its CA), `ca.pem` (CAs of hosts and bots), `key.pem` |
//! | `openssh_host` | `HOSTKEY-cert.pub`, `user_ca.pub`, `known_hosts`, `revoked_keys`, `sshd.conf`, and the host key if it was made here |
//! | `openssh_user` | `id_ed25519-cert.pub`, `id_ed25519.pub`, `known_hosts`, `id_ed25519` |

mod access;
mod attributes;
mod directory;
mod files;
mod parent;
mod reload;
#[cfg(test)]
mod tests;
mod version;

pub use access::AccessError;
pub use access::Wanted;
pub use directory::{Digests, Outcome, Replaced};
pub(crate) use directory::{check_place, digest_of};
pub use files::{HOST_KEY_NAME, Material};
pub use reload::{ReloadError, run_reload};

use std::path::{Path, PathBuf};

use boundkey_files::FileError;

use crate::config::{FileAccess, OutputConfig, OutputKind};

/// Why an output could not be written. The identity itself is safe in the data directory.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The system refused.
    #[error("cannot {action} {}", .path.display())]
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
    /// The way to it can be changed by others, or the system refused.
    #[error(transparent)]
    Way(#[from] FileError),
    /// It lies in a directory of a user whom the configuration does not name.
    #[error(
        "the directory {} belongs to user {owner} (mode {mode:04o}), who could change what is used here; allowed: root, or \
         the output's own user. If the output is for that user, say so: `owner: {owner}` in `outputs`",
        .path.display()
    )]
    NoOwner {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Its permission bits.
        mode: u32,
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

/// What children of the agent are not told: its secrets, and how to speak for it.
const PRIVATE_VARIABLES: [&str; 3] =
    [crate::config::SECRET_VARIABLE, crate::config::STATIC_KEY_VARIABLE, "NOTIFY_SOCKET"];

/// The numbers of owner and group. A name that the local files do not know is asked of the directory service, for 5 s at
/// most.
///
/// # Errors
/// [`AccessError`].
pub fn resolve_access(access: &FileAccess) -> Result<Wanted, AccessError> {
    access::resolve(access)
}

/// Brings an output up to date. `wanted`: what its configuration says of the files; `known`: what was written there last.
///
/// Owner, mode, ACL and other attributes that an administrator put on the files stay, as far as the configuration says
/// nothing of them.
///
/// # Errors
/// [`OutputError`]; what stood there before still stands, as a whole where the file system has links.
pub fn write_output(
    output: &OutputConfig,
    wanted: &Wanted,
    material: &Material<'_>,
    known: &Digests,
) -> Result<Outcome, OutputError> {
    let files = match &output.kind {
        OutputKind::Tls { .. } => material.tls(),
        OutputKind::OpensshHost { host_key } => {
            material.openssh_host(host_key.as_deref(), &output.path, &output.hosts)?
        }
        OutputKind::OpensshUser => material.openssh_user(&output.hosts)?,
    };
    directory::replace(&output.path, &files, wanted, known)
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
) -> Result<Outcome, OutputError> {
    let path = identity_dir(data_dir);
    // Programs elsewhere read what names its files in it.
    let place = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
    let files = material.identity(host_key, &place)?;
    let wanted = Wanted { mode: Some(0o600), ..Wanted::default() };
    directory::replace(&path, &files, &wanted, &Digests::new())
}
