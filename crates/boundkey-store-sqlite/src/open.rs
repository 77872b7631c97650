//! Opening the file: whose it is, whether it can be written, and by which rules SQLite handles it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;

use crate::cause;
use crate::schema::{self, Found};

/// How long a connection waits for another one's lock before it gives up. Our own connections
/// never make each other wait so long; an administrator's `sqlite3` may.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// Why a store could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// For the administrator: create the directory.
    #[error("cannot create {path}: its directory does not exist")]
    NoDirectory {
        /// The file.
        path: PathBuf,
    },
    /// For the administrator: something else is in the way.
    #[error("{path} is {found}; a store is a plain file (put a link at the directory instead)")]
    NotAFile {
        /// The file.
        path: PathBuf,
        /// Directory, symbolic link, ...
        found: &'static str,
    },
    /// For the administrator: another path, or a backup.
    #[error("{path} is not a database")]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// For the administrator: another path.
    #[error(
        "{path} is a SQLite database of another program (application id {application_id:#x}); it was left as it is"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it says it is.
        application_id: i64,
    },
    /// For the administrator: start the newer server, or restore a backup made before it ran.
    #[error(
        "{path} was written by a newer server: its schema has version {found}, this server knows {known}"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The schema's version.
        found: u32,
        /// The newest that can be used here.
        known: u32,
    },
    /// For the administrator: mount it for writing.
    #[error("{path} cannot be written: its file system is read-only")]
    ReadOnly {
        /// The file, or its directory.
        path: PathBuf,
    },
    /// For the administrator: owner or mode.
    #[error("{path} cannot be {needed} by this user; change its owner, or start the server as that user")]
    Denied {
        /// The file, or its directory.
        path: PathBuf,
        /// Read, written.
        needed: &'static str,
    },
    /// For the administrator: make room.
    #[error("there is no space left to open {path}: {cause}")]
    Full {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        cause: String,
    },
    /// For the administrator: end the other process.
    #[error("{path} is locked by another process: {cause}")]
    Locked {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        cause: String,
    },
    /// For the administrator: restore a backup.
    #[error("{path} is damaged: {cause}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        cause: String,
    },
    /// Anything else that the machine said.
    #[error("cannot open {path}: {cause}")]
    Failed {
        /// The file.
        path: PathBuf,
        /// SQLite's words, or the system's.
        cause: String,
    },
}

/// The connection that writes, and the path as every other connection has to use it.
pub(crate) fn open(path: &Path) -> Result<(Connection, PathBuf), OpenError> {
    let path = absolute(path)?;
    prepare_file(&path)?;
    let failed = |error| explain(&path, &error);
    let mut connection = connect(&path).map_err(failed)?;
    // Looks before anything is written: a foreign or a newer file stays as it is.
    let from = match schema::inspect(&connection).map_err(failed)? {
        Found::Empty => 0,
        Found::Store(version) if version <= schema::VERSION => version,
        Found::Store(found) => return Err(OpenError::Newer { path, found, known: schema::VERSION }),
        Found::Foreign(application_id) => return Err(OpenError::Foreign { path, application_id }),
    };
    let mode: String =
        connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(failed)?;
    if mode != "wal" {
        let cause =
            format!("its file system lacks what a write-ahead log needs (journal mode stayed {mode})");
        return Err(OpenError::Failed { path, cause });
    }
    configure_writer(&connection).map_err(failed)?;
    schema::migrate(&mut connection, from).map_err(failed)?;
    Ok((connection, path))
}

/// A connection with the rules that all of them follow.
pub(crate) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    Ok(connection)
}

fn configure_writer(connection: &Connection) -> rusqlite::Result<()> {
    // Each commit is synced before it is answered. (fullfsync matters on macOS alone.)
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "fullfsync", true)?;
    // Sealed secrets that were deleted leave no trace where that costs nothing.
    connection.pragma_update(None, "secure_delete", "FAST")?;
    // The writer copies the log back when it is idle; this is for a server that never is.
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 8000, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", 64 * 1024 * 1024, |_| Ok(()))
}

/// SQLite resolves a relative path for each connection anew: a later `chdir` would part them.
fn absolute(path: &Path) -> Result<PathBuf, OpenError> {
    let failed =
        |cause: std::io::Error| OpenError::Failed { path: path.to_owned(), cause: cause.to_string() };
    let name = path
        .file_name()
        .ok_or_else(|| OpenError::NotAFile { path: path.to_owned(), found: "a directory" })?;
    let absolute = std::path::absolute(path).map_err(failed)?;
    let directory = absolute.parent().unwrap_or(Path::new("/"));
    match directory.canonicalize() {
        Ok(directory) => Ok(directory.join(name)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(OpenError::NoDirectory { path: path.to_owned() })
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Err(OpenError::Denied { path: directory.to_owned(), needed: "entered" })
        }
        Err(error) => Err(failed(error)),
    }
}

/// Makes sure that there is a plain file that only its owner reads, and that it can be written.
fn prepare_file(path: &Path) -> Result<(), OpenError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    check_access(directory, Access::WRITE_OK | Access::EXEC_OK, "written")?;
    match path.symlink_metadata() {
        Ok(metadata) => {
            let found = metadata.file_type();
            if found.is_symlink() || found.is_dir() || !found.is_file() {
                let found = match (found.is_symlink(), found.is_dir()) {
                    (true, _) => "a symbolic link",
                    (_, true) => "a directory",
                    _ => "a device, a pipe or a socket",
                };
                return Err(OpenError::NotAFile { path: path.to_owned(), found });
            }
            check_access(path, Access::READ_OK, "read")?;
            check_access(path, Access::WRITE_OK, "written")?;
            check_header(path)?;
            keep_to_owner(path, metadata.permissions().mode())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => create(path, directory),
        Err(error) => Err(system(path, &error)),
    }
}

/// SQLite calls a short file that is no database empty, and would overwrite it.
fn check_header(path: &Path) -> Result<(), OpenError> {
    const MAGIC: &[u8; 16] = b"SQLite format 3\0";
    let mut start = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut start))
        .map_err(|error| system(path, &error))?;
    // An empty one was made by a start that did not get further.
    if start.is_empty() || start == MAGIC {
        Ok(())
    } else {
        Err(OpenError::NotADatabase { path: path.to_owned() })
    }
}

/// SQLite gives `-wal` and `-shm` the mode of the database, so it is right from the first byte on.
fn create(path: &Path, directory: &Path) -> Result<(), OpenError> {
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    created
        .and_then(|file| {
            file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
            file.sync_all()
        })
        .and_then(|()| File::open(directory)?.sync_all())
        .map_err(|error| system(path, &error))
}

fn keep_to_owner(path: &Path, mode: u32) -> Result<(), OpenError> {
    if mode & 0o077 == 0 {
        return Ok(());
    }
    tracing::warn!(path = %path.display(), mode = %format_args!("{:04o}", mode & 0o7777), "the store could be read by others; its mode is now 0600");
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::set_permissions(&name, std::fs::Permissions::from_mode(0o600)) {
            Err(error) if suffix.is_empty() || error.kind() != ErrorKind::NotFound => {
                return Err(system(path, &error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_access(path: &Path, access: Access, needed: &'static str) -> Result<(), OpenError> {
    match accessat(CWD, path, access, AtFlags::EACCESS) {
        Ok(()) => Ok(()),
        Err(Errno::ROFS) => Err(OpenError::ReadOnly { path: path.to_owned() }),
        Err(Errno::ACCESS | Errno::PERM) => Err(OpenError::Denied { path: path.to_owned(), needed }),
        Err(error) => Err(system(path, &error.into())),
    }
}

fn system(path: &Path, error: &std::io::Error) -> OpenError {
    let path = path.to_owned();
    match error.kind() {
        ErrorKind::NotFound => OpenError::NoDirectory { path },
        ErrorKind::ReadOnlyFilesystem => OpenError::ReadOnly { path },
        ErrorKind::PermissionDenied => OpenError::Denied { path, needed: "written" },
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            OpenError::Full { path, cause: error.to_string() }
        }
        _ => OpenError::Failed { path, cause: error.to_string() },
    }
}

/// What SQLite said while the file was opened.
pub(crate) fn explain(path: &Path, error: &rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    let cause = cause::text(error);
    if cause::is_full(error) {
        return OpenError::Full { path, cause };
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::NotADatabase { path },
        Some(ErrorCode::DatabaseCorrupt) => OpenError::Damaged { path, cause },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Locked { path, cause },
        Some(ErrorCode::ReadOnly) => OpenError::ReadOnly { path },
        _ => OpenError::Failed { path, cause },
    }
}
