//! The state in a file.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use boundkey_files::{
    FileError, Owners, look_for_directory, make_directory, make_private, open_directory, remove_leftovers,
    write_atomically,
};
use boundkey_text::clean;
use rustix::fs::{FileType, OFlags};
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
    tightened: Vec<Tightened>,
    /// Held, never read again.
    _lock: File,
}

/// What was open to others, and is not any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tightened {
    /// The file or directory.
    pub path: PathBuf,
    /// The permission bits that it had.
    pub mode: u32,
}

impl FileKeystore {
    /// Makes the directory if it is absent, takes the lock, and removes what a crash in the middle of a save
    /// left behind. What is ours and open to others is made private ([`FileKeystore::tightened`]).
    ///
    /// # Errors
    /// [`KeystoreError::Locked`] names the process that holds it; [`KeystoreError::File`] the component of the path that
    /// others could change, and the command that mends it.
    pub fn open(data_dir: &Path) -> Result<Self, KeystoreError> {
        let mut tightened = Vec::new();
        take_directory(data_dir, &mut tightened)?;
        let lock = take_lock(&data_dir.join(LOCK))?;
        let path = data_dir.join(STATE);
        remove_leftovers(data_dir)?;
        if let Some((file, _)) = open_state(&path)? {
            tighten(file.as_fd(), &path, 0o600, &mut tightened)?;
        }
        Ok(Self { path, tightened, _lock: lock })
    }

    /// What was open to others when this was opened: whoever was on the machine may have read it.
    pub fn tightened(&self) -> &[Tightened] {
        &self.tightened
    }

    /// Reads without the lock, for `status`: writes nothing, makes nothing, and changes no mode. Root may look at every
    /// user's state.
    ///
    /// # Errors
    /// As [`Keystore::load`]; [`KeystoreError::NotAllowed`] for other users.
    pub fn peek(data_dir: &Path) -> Result<AgentState, KeystoreError> {
        let refused = |error| not_allowed(data_dir, error);
        // Whoever the directory belongs to is the agent's user, as far as can be seen from here.
        let owner = match fs::metadata(data_dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(AgentState::default()),
            Err(source) => return Err(refused(FileError::io("look at", data_dir, source).into())),
            Ok(found) => found.uid(),
        };
        let owners = Owners::of(owner);
        if look_for_directory(data_dir, &owners).map_err(|error| refused(error.into()))?.is_none() {
            return Ok(AgentState::default());
        }
        let path = data_dir.join(STATE);
        match open_state(&path).map_err(refused)? {
            None => Ok(AgentState::default()),
            Some((file, found)) => {
                refuse_if_anybodys(&path, &found)?;
                read_state(&path, file, &found)
            }
        }
    }
}

impl Keystore for FileKeystore {
    fn load(&mut self) -> Result<AgentState, KeystoreError> {
        let Some((file, found)) = open_state(&self.path)? else {
            return Ok(AgentState::default());
        };
        expect_owner(&self.path, &found)?;
        // Loosened while this agent runs: it is ours, and the next save makes it anew.
        make_private(&file, &self.path, 0o600)?;
        read_state(&self.path, file, &found)
    }

    fn save(&mut self, state: &AgentState) -> Result<(), KeystoreError> {
        // Renaming would replace a link by a file: whoever made the link wanted the state elsewhere.
        match fs::symlink_metadata(&self.path) {
            Ok(found) => expect_file(&self.path, &found)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(FileError::io("look at", &self.path, source).into()),
        }
        Ok(write_atomically(&self.path, &state.to_json(), 0o600)?)
    }
}

/// The data directory: made, or taken from others if it is plainly an agent's, and reached by a way that nobody else can
/// change.
fn take_directory(path: &Path, tightened: &mut Vec<Tightened>) -> Result<(), KeystoreError> {
    let owners = Owners::of_process();
    let Some(found) = look_for_directory(path, &owners)? else {
        make_directory(path, &owners, 0o700)?;
        return Ok(());
    };
    let mode = rustix::fs::fstat(&found).map_err(|e| FileError::io("look at", path, e))?.st_mode & 0o7777;
    if mode & 0o7077 != 0
        && let Some(stranger) = stranger_in(&found, path)?
    {
        // `data_dir: /etc` is a slip of the pen: made private, it would end the machine.
        return Err(KeystoreError::NotOurs { path: path.to_owned(), mode, stranger });
    }
    tighten(found.as_fd(), path, 0o700, tightened)?;
    open_directory(path, &owners)?;
    if !tightened.is_empty() {
        // The state has an eye of its own on it; what else is there is made from it, or says what was.
        let mut left = MOST_TIGHTENED;
        tighten_below(&found, &mut left);
    }
    Ok(())
}

/// So much is tightened below a data directory: an agent leaves some dozens of files there.
const MOST_TIGHTENED: usize = 1000;

/// What is ours below a directory that is closed to others by now, so that it is private also when it is copied away. What
/// cannot be tightened is made anew from the state.
fn tighten_below(directory: &OwnedFd, left: &mut usize) {
    let Ok(entries) = rustix::fs::Dir::read_from(directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if *left == 0
            || name.to_bytes() == b"."
            || name.to_bytes() == b".."
            || name.to_bytes() == STATE.as_bytes()
        {
            continue;
        }
        *left -= 1;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(open) = rustix::fs::openat(directory, name, flags, rustix::fs::Mode::empty()) else {
            continue;
        };
        let kind = rustix::fs::fstat(&open).map(|stat| FileType::from_raw_mode(stat.st_mode));
        let shown = Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()));
        match kind {
            Ok(FileType::Directory) => {
                let _ = make_private(&open, shown, 0o700);
                tighten_below(&open, left);
            }
            Ok(FileType::RegularFile) => {
                let _ = make_private(&open, shown, 0o600);
            }
            _ => {}
        }
    }
}

/// A file that no agent left there, in a directory that no agent used yet.
fn stranger_in(directory: &OwnedFd, path: &Path) -> Result<Option<String>, FileError> {
    let failed = |e: rustix::io::Errno| FileError::io("read", path, e);
    let mut stranger = None;
    for entry in rustix::fs::Dir::read_from(directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if name == STATE || name == LOCK {
            return Ok(None);
        }
        if !name.starts_with('.') && name != "lost+found" {
            stranger.get_or_insert(clean(&name, 255));
        }
    }
    Ok(stranger)
}

fn tighten(
    open: std::os::fd::BorrowedFd<'_>,
    path: &Path,
    allowed: u32,
    tightened: &mut Vec<Tightened>,
) -> Result<(), FileError> {
    if let Some(mode) = make_private(open, path, allowed)? {
        tightened.push(Tightened { path: path.to_owned(), mode });
    }
    Ok(())
}

fn take_lock(path: &Path) -> Result<File, KeystoreError> {
    let failed = |source| KeystoreError::from(FileError::io("lock", path, source));
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

/// None if there is none.
fn open_state(path: &Path) -> Result<Option<(File, fs::Metadata)>, KeystoreError> {
    let file = match open_no_follow(path, OpenOptions::new().read(true)) {
        Err(KeystoreError::File(error)) if error.is_absent() => return Ok(None),
        other => other?,
    };
    let found = file.metadata().map_err(|source| FileError::io("read", path, source))?;
    expect_file(path, &found)?;
    Ok(Some((file, found)))
}

fn read_state(path: &Path, mut file: File, found: &fs::Metadata) -> Result<AgentState, KeystoreError> {
    let size = usize::try_from(found.len()).unwrap_or(usize::MAX).min(MAX_BYTES);
    // Room for everything at once: a growing buffer would leave unwiped copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(size + 2));
    let read = (&mut file).take(size as u64 + 1).read_to_end(&mut text);
    read.map_err(|source| FileError::io("read", path, source))?;
    AgentState::from_json(&text).map_err(|source| KeystoreError::Format { path: path.to_owned(), source })
}

/// Never through a symbolic link, and never waiting for the other end of a pipe.
fn open_no_follow(path: &Path, options: &mut OpenOptions) -> Result<File, KeystoreError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).expect("open flags fit the type of open's argument");
    options.custom_flags(flags).open(path).map_err(|source| match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => wrong_kind(path, &found),
        _ => FileError::io("open", path, source).into(),
    })
}

fn expect_file(path: &Path, found: &fs::Metadata) -> Result<(), KeystoreError> {
    if found.is_file() { Ok(()) } else { Err(wrong_kind(path, found)) }
}

/// A state that another user wrote is his, whatever it says: root is no exception.
fn expect_owner(path: &Path, found: &fs::Metadata) -> Result<(), KeystoreError> {
    let (owner, user) = (found.uid(), rustix::process::geteuid().as_raw());
    if owner == user {
        return Ok(());
    }
    let (allowed, mode) = (format!("user {user}"), found.mode() & 0o7777);
    Err(FileError::Owner { what: "the file", path: path.to_owned(), owner, mode, allowed, to: user }.into())
}

/// The agent would not start on it, and what it says may be anybody's.
fn refuse_if_anybodys(path: &Path, found: &fs::Metadata) -> Result<(), KeystoreError> {
    match found.mode() & 0o7777 {
        mode if mode & 0o002 != 0 => {
            Err(FileError::Writable { what: "the file", path: path.to_owned(), owner: found.uid(), mode }
                .into())
        }
        _ => Ok(()),
    }
}

fn not_allowed(data_dir: &Path, error: KeystoreError) -> KeystoreError {
    match error {
        KeystoreError::File(FileError::Io { source, .. })
            if source.kind() == io::ErrorKind::PermissionDenied =>
        {
            KeystoreError::NotAllowed { path: data_dir.to_owned() }
        }
        other => other,
    }
}

fn wrong_kind(path: &Path, found: &fs::Metadata) -> KeystoreError {
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
    FileError::Kind { path: path.to_owned(), found, expected: "plain file" }.into()
}

#[cfg(test)]
mod tests;
