//! The admin socket: for its owner alone, replaced if its server is gone, left alone if it is alive.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use boundkey_files::{Owners, made_privately, open_directory};
use tokio::net::UnixListener;

/// Why there is no admin socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// A server answers there.
    #[error("a running server answers at {path}")]
    Alive {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is no socket stands there.
    #[error("{path} exists and is no socket; move it away, or configure another `admin_socket`")]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The path does not fit into a socket's address.
    #[error(
        "the path {path} is too long for a socket ({found} bytes, at most 107): use a shorter data directory"
    )]
    TooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        found: usize,
    },
    /// The system refuses.
    #[error("cannot listen on {path}: {cause}")]
    Failed {
        /// The socket.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
}

/// Listens on `path` with these permissions.
///
/// # Errors
/// A server is alive there, the path is no socket or too long, or the system refuses.
pub fn bind_admin_socket(path: &Path, mode: u32) -> Result<UnixListener, SocketError> {
    use std::os::unix::fs::FileTypeExt as _;
    let failed = |cause| SocketError::Failed { path: path.to_owned(), cause };
    let found = path.as_os_str().len();
    if found > 107 {
        return Err(SocketError::TooLong { path: path.to_owned(), found });
    }
    // Whoever could exchange the socket would be talked to in the server's place.
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    open_directory(above, &Owners::of_process()).map_err(|e| failed(std::io::Error::other(e.reason())))?;
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(SocketError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {
            if UnixStream::connect(path).is_ok() {
                return Err(SocketError::Alive { path: path.to_owned() });
            }
            // Nobody listens: left by a server that was killed.
            std::fs::remove_file(path).map_err(failed)?;
        }
    }
    // Its owner's alone from the first moment on: a connection that is made is never looked at again.
    let listener = made_privately(|| UnixListener::bind(path)).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
    Ok(listener)
}
