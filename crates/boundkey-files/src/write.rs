use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::FileError;

const LEFTOVER: &str = ".tmp";
/// Characters that keep two such files apart.
const RANDOM: usize = 6;

/// Replaces a file as a whole: written beside it, synced, renamed, the directory synced.
///
/// A reader sees the old content or the new one, also after a crash. `mode` holds from the first byte on. If
/// this fails before the rename, the old file is untouched and nothing is left behind; only if syncing the
/// directory fails is it open which of the two a crash would leave.
///
/// # Errors
/// [`FileError::DiskFull`], or [`FileError::Io`] with what was tried.
pub fn write_atomically(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let failed = |source: io::Error| FileError::io("write", path, source);
    let mut prefix = OsString::from(".");
    prefix.push(path.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?);
    prefix.push(".");
    // Removed when it is dropped, so on every error below.
    let mut beside = tempfile::Builder::new()
        .prefix(&prefix)
        .rand_bytes(RANDOM)
        .suffix(LEFTOVER)
        .permissions(Permissions::from_mode(mode & 0o600))
        .tempfile_in(directory)
        .map_err(failed)?;
    beside.write_all(content).map_err(failed)?;
    // Again, because the first one was narrowed by the umask.
    beside.as_file().set_permissions(Permissions::from_mode(mode)).map_err(failed)?;
    beside.as_file().sync_all().map_err(failed)?;
    beside.persist(path).map_err(|error| failed(error.error))?;
    let sync = File::open(directory).and_then(|directory| directory.sync_all());
    sync.map_err(|source| FileError::io("sync", directory, source))
}

/// Removes what [`write_atomically`] left in a directory when its process died. What a crash leaves must not pile up.
///
/// The caller holds the directory's lock: nobody else writes there.
///
/// # Errors
/// [`FileError::Io`].
pub fn remove_leftovers(directory: &Path) -> Result<(), FileError> {
    let failed = |source: io::Error| FileError::io("read", directory, source);
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_str().is_some_and(is_leftover) {
            let path = entry.path();
            fs::remove_file(&path).map_err(|source| FileError::io("remove", &path, source))?;
        }
    }
    Ok(())
}

/// `.NAME.RANDOM.tmp`.
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

#[cfg(test)]
mod tests;
