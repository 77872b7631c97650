use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{FileType, Mode};

use crate::FileError;
use crate::error::FILE;

/// Takes from others what is ours: of the mode no more than `allowed` is left, and if nothing of that is the group's, the
/// group becomes our own. Returns the mode that it had, if it was looser.
///
/// A platform that opens a volume to a group at each start (Kubernetes' `fsGroup`) asks for no human. What is not ours stays
/// as it is: root's directory, which the way to it let pass, or a file that only root looks at.
///
/// # Errors
/// A file that everybody may write is not made private: nobody knows any more who wrote it. A directory is, for what is in it
/// shows by its own owner whether it was exchanged; one with the sticky bit (`/tmp`) is everybody's on purpose.
pub fn make_private(open: impl AsFd, path: &Path, allowed: u32) -> Result<Option<u32>, FileError> {
    let stat = rustix::fs::fstat(&open).map_err(|e| FileError::io("look at", path, e))?;
    let mode = stat.st_mode & 0o7777;
    if mode & !allowed & 0o7077 == 0 || stat.st_uid != rustix::process::geteuid().as_raw() {
        return Ok(None);
    }
    let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if directory && mode & 0o1000 != 0 {
        return Err(FileError::Everybodys { path: path.to_owned(), mode });
    }
    if !directory && mode & 0o002 != 0 {
        return Err(FileError::Writable { what: FILE, path: path.to_owned(), owner: stat.st_uid, mode });
    }
    let narrow = Mode::from_raw_mode(mode & allowed);
    rustix::fs::fchmod(&open, narrow).map_err(|e| FileError::io("chmod", path, e))?;
    if allowed & 0o070 == 0 {
        // Without bits of its own the group has no say any more; a file system that keeps its groups may keep this one.
        let _ = rustix::fs::fchown(&open, None, Some(rustix::process::getegid()));
    }
    Ok(Some(mode))
}

/// Runs `make`; what it makes is for its owner alone from the first moment on, also what takes no mode of its own (a socket).
/// Other threads' files come out narrower meanwhile, never wider.
pub fn made_privately<T>(make: impl FnOnce() -> T) -> T {
    let before = rustix::process::umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
    let made = make();
    rustix::process::umask(before);
    made
}
