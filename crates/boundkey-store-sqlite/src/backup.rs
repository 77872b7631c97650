//! A copy of the running store.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use boundkey_store::StoreError;
use tokio::sync::oneshot;

use crate::{cause, open};

/// On a thread and a connection of its own, so that it holds up neither commits nor reads.
pub(crate) async fn run(from: PathBuf, to: PathBuf) -> Result<(), StoreError> {
    let (answer, answered) = oneshot::channel();
    std::thread::Builder::new()
        .name("store-backup".to_owned())
        .spawn(move || {
            // Whoever asked may have gone; the copy is complete all the same.
            let _ = answer.send(copy(&from, &to));
        })
        .map_err(|error| cause::file_error("cannot start the backup", &error))?;
    answered.await.unwrap_or_else(|_| Err(StoreError::Failed("the backup has ended by a panic".to_owned())))
}

/// Written beside its place, synced, then renamed: under the name there is never half a copy.
fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    let failed = |error| cause::file_error(&format!("cannot write {}", to.display()), &error);
    let to = std::path::absolute(to).map_err(failed)?;
    let name = to.file_name().ok_or_else(|| StoreError::Failed(format!("{} is no file", to.display())))?;
    let directory = to.parent().unwrap_or(Path::new("/")).canonicalize().map_err(failed)?;
    let to = directory.join(name);
    refuse_itself(from, &to)?;
    if to.symlink_metadata().is_ok_and(|found| !found.is_file()) {
        return Err(StoreError::Failed(format!("{} is no plain file", to.display())));
    }
    let unfinished = Unfinished::create(&directory, name).map_err(failed)?;
    let connection = open::connect(from).map_err(|error| cause::store_error(&error))?;
    let beside = unfinished
        .path
        .to_str()
        .ok_or_else(|| StoreError::Failed("the name of a backup has to be UTF-8".to_owned()))?;
    // Reads one snapshot, and leaves out what was deleted. Fails on a damaged source.
    connection.execute("VACUUM INTO ?1", [beside]).map_err(|error| cause::store_error(&error))?;
    let synced = File::open(&unfinished.path).and_then(|file| file.sync_all());
    synced.and_then(|()| std::fs::rename(&unfinished.path, &to)).map_err(failed)?;
    File::open(&directory).and_then(|directory| directory.sync_all()).map_err(failed)
}

fn refuse_itself(from: &Path, to: &Path) -> Result<(), StoreError> {
    for suffix in ["", "-wal", "-shm"] {
        let mut own = from.as_os_str().to_owned();
        own.push(suffix);
        if own == to.as_os_str() {
            return Err(StoreError::Failed(format!("{} is the store itself", to.display())));
        }
    }
    Ok(())
}

/// A file that goes when it was not renamed.
struct Unfinished {
    path: PathBuf,
}

impl Unfinished {
    /// SQLite fills an empty file that is there, and keeps its mode.
    fn create(directory: &Path, name: &std::ffi::OsStr) -> std::io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut beside = std::ffi::OsString::from(".");
        beside.push(name);
        beside.push(format!(".{}-{}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        let path = directory.join(beside);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let unfinished = Self { path };
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        Ok(unfinished)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Gone already once it was renamed; what cannot be removed is only in the way.
        let _ = std::fs::remove_file(&self.path);
    }
}
