//! The state in a file.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::encoding::MAX_BYTES;
use crate::{AgentState, Keystore, KeystoreError};

const STATE: &str = "state.json";
const LOCK: &str = "agent.lock";

/// `DATA_DIR/state.json` (0600) under a locked `DATA_DIR/agent.lock`; the directory is 0700.
///
/// The lock is the kernel's: it ends with the process, however that ends, so a lock file that was left behind
/// locks nothing.
#[derive(Debug)]
pub struct FileKeystore {
    path: PathBuf,
    /// Held, never read again.
    _lock: File,
}

impl FileKeystore {
    /// Makes the directory if it is absent, takes the lock, and removes what a crash in the middle of a save
    /// left behind.
    ///
    /// # Errors
    /// [`KeystoreError::Locked`] names the process that holds it; [`KeystoreError::TooOpen`] and
    /// [`KeystoreError::OtherOwner`] name the command that mends it.
    pub fn open(data_dir: &Path) -> Result<Self, KeystoreError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(data_dir);
        match made {
            // A file of that name: the check below says so.
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                return Err(KeystoreError::io("make the directory", data_dir, source));
            }
            _ => check_directory(data_dir)?,
        }
        let lock = take_lock(&data_dir.join(LOCK))?;
        let path = data_dir.join(STATE);
        remove_leftovers(data_dir)?;
        Ok(Self { path, _lock: lock })
    }

    /// Reads without the lock, for `status`: writes nothing and makes nothing.
    ///
    /// # Errors
    /// As [`Keystore::load`].
    pub fn peek(data_dir: &Path) -> Result<AgentState, KeystoreError> {
        match fs::metadata(data_dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(AgentState::default()),
            _ => {
                check_directory(data_dir)?;
                read_state(&data_dir.join(STATE))
            }
        }
    }
}

impl Keystore for FileKeystore {
    fn load(&mut self) -> Result<AgentState, KeystoreError> {
        read_state(&self.path)
    }

    fn save(&mut self, state: &AgentState) -> Result<(), KeystoreError> {
        // Renaming would replace a link by a file: whoever made the link wanted the state elsewhere.
        match fs::symlink_metadata(&self.path) {
            Ok(found) => expect_file(&self.path, &found)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(KeystoreError::io("look at", &self.path, source)),
        }
        write_atomically(&self.path, &state.to_json(), 0o600)
    }
}

/// Replaces a file as a whole: written beside it, synced, renamed, the directory synced.
///
/// A reader sees the old content or the new one, also after a crash. `mode` holds from the first byte on. If
/// this fails before the rename, the old file is untouched and nothing is left behind; only if syncing the
/// directory fails is it open which of the two a crash would leave.
///
/// # Errors
/// [`KeystoreError::DiskFull`], or [`KeystoreError::Io`] with what was tried.
pub fn write_atomically(path: &Path, content: &[u8], mode: u32) -> Result<(), KeystoreError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let failed = |source| KeystoreError::io("write", path, source);
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(path.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?);
    prefix.push(".");
    // Removed when it is dropped, so on every error below.
    let mut beside = tempfile::Builder::new()
        .prefix(&prefix)
        .rand_bytes(RANDOM)
        .suffix(LEFTOVER)
        .permissions(fs::Permissions::from_mode(mode & 0o600))
        .tempfile_in(directory)
        .map_err(failed)?;
    beside.write_all(content).map_err(failed)?;
    // Again, because the first one was narrowed by the umask.
    beside.as_file().set_permissions(fs::Permissions::from_mode(mode)).map_err(failed)?;
    beside.as_file().sync_all().map_err(failed)?;
    beside.persist(path).map_err(|error| failed(error.error))?;
    let sync = File::open(directory).and_then(|directory| directory.sync_all());
    sync.map_err(|source| KeystoreError::io("sync", directory, source))
}

const LEFTOVER: &str = ".tmp";
/// Characters that keep two such files apart.
const RANDOM: usize = 6;

/// Under the lock nobody else writes here, so every such file is of a process that died, whichever file it was about to
/// replace: the state, or the notes beside it. What a crash leaves must not pile up.
fn remove_leftovers(directory: &Path) -> Result<(), KeystoreError> {
    let failed = |source| KeystoreError::io("read", directory, source);
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_str().is_some_and(is_leftover) {
            let path = entry.path();
            fs::remove_file(&path).map_err(|source| KeystoreError::io("remove", &path, source))?;
        }
    }
    Ok(())
}

/// `.NAME.RANDOM.tmp`, as [`write_atomically`] names what it writes.
fn is_leftover(name: &str) -> bool {
    let Some(between) = name.strip_prefix('.').and_then(|name| name.strip_suffix(LEFTOVER)) else {
        return false;
    };
    match between.rsplit_once('.') {
        Some((of, random)) => {
            !of.is_empty()
                && random.len() == RANDOM
                && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
        }
        None => false,
    }
}

fn take_lock(path: &Path) -> Result<File, KeystoreError> {
    let failed = |source| KeystoreError::io("lock", path, source);
    let mut lock = open_no_follow(path, OpenOptions::new().read(true).write(true).create(true).mode(0o600))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(KeystoreError::Locked { path: path.to_owned(), pid: holder(&mut lock) });
        }
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    // Only for the message to the next one; a full disk does not stop an agent that could still renew.
    let written = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
    match written {
        Err(error) if error.kind() != io::ErrorKind::StorageFull => Err(failed(error)),
        _ => Ok(lock),
    }
}

fn holder(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.rewind().ok()?;
    lock.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn read_state(path: &Path) -> Result<AgentState, KeystoreError> {
    let mut file = match open_no_follow(path, OpenOptions::new().read(true)) {
        Err(KeystoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(AgentState::default());
        }
        other => other?,
    };
    let failed = |source| KeystoreError::io("read", path, source);
    let found = file.metadata().map_err(failed)?;
    expect_file(path, &found)?;
    check_private(path, &found, 0o600)?;
    let size = usize::try_from(found.len()).unwrap_or(usize::MAX).min(MAX_BYTES);
    // Room for everything at once: a growing buffer would leave unwiped copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(size + 2));
    (&mut file).take(size as u64 + 1).read_to_end(&mut text).map_err(failed)?;
    AgentState::from_json(&text).map_err(|source| KeystoreError::Format { path: path.to_owned(), source })
}

/// Never through a symbolic link, and never waiting for the other end of a pipe.
fn open_no_follow(path: &Path, options: &mut OpenOptions) -> Result<File, KeystoreError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).expect("open flags fit the type of open's argument");
    options.custom_flags(flags).open(path).map_err(|source| match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => wrong_kind(path, &found, "plain file"),
        _ => KeystoreError::io("open", path, source),
    })
}

fn check_directory(path: &Path) -> Result<(), KeystoreError> {
    let found = fs::metadata(path).map_err(|source| KeystoreError::io("look at", path, source))?;
    if !found.is_dir() {
        return Err(wrong_kind(path, &found, "directory"));
    }
    check_private(path, &found, 0o700)
}

fn expect_file(path: &Path, found: &fs::Metadata) -> Result<(), KeystoreError> {
    if found.is_file() { Ok(()) } else { Err(wrong_kind(path, found, "plain file")) }
}

fn check_private(path: &Path, found: &fs::Metadata, wanted: u32) -> Result<(), KeystoreError> {
    owned_by(path, found, rustix::process::geteuid().as_raw())?;
    match found.mode() & 0o7777 {
        mode if mode & 0o077 != 0 => Err(KeystoreError::TooOpen { path: path.to_owned(), mode, wanted }),
        _ => Ok(()),
    }
}

fn owned_by(path: &Path, found: &fs::Metadata, user: u32) -> Result<(), KeystoreError> {
    let owner = found.uid();
    // Root may read everybody's files: `status` run by root on an agent of another user is no fault.
    if owner == user || user == 0 {
        return Ok(());
    }
    Err(KeystoreError::OtherOwner { path: path.to_owned(), owner, user })
}

fn wrong_kind(path: &Path, found: &fs::Metadata, expected: &'static str) -> KeystoreError {
    let kind = found.file_type();
    let found = if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_file() {
        "a file"
    } else {
        "a device, pipe or socket"
    };
    KeystoreError::WrongKind { path: path.to_owned(), found, expected }
}

#[cfg(test)]
mod tests;
