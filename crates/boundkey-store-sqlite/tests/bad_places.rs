//! Places that do not hold a store: read-only, full, somebody else's.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use boundkey_store::{Batch, CommitError, Store, StoreError, Write};
use boundkey_store_sqlite::{OpenError, SqliteStore};
use time::OffsetDateTime;

const NOW: OffsetDateTime = time::macros::datetime!(2030-06-01 12:00 UTC);

fn put(key: &str, size: usize) -> Batch {
    Batch::new().write(Write::Put { key: key.to_owned(), value: vec![7; size] })
}

/// A file system of one mebibyte, unmounted in the end.
struct Tmpfs {
    dir: tempfile::TempDir,
}

impl Tmpfs {
    /// `None`, after saying why, where nothing may be mounted.
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(dir.path()).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self { dir }),
            Ok(output) => {
                println!("SKIP: cannot mount a tmpfs: {}", String::from_utf8_lossy(&output.stderr).trim());
                None
            }
            Err(error) => {
                println!("SKIP: cannot run mount: {error}");
                None
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    fn remount(&self, options: &str) {
        let status =
            Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(self.dir.path()).status();
        assert!(status.unwrap().success(), "remount {options}");
    }
}

/// A file that is only removed may hold its room for some milliseconds more; one that is cut gives it back at once.
fn give_back(ballast: &Path) {
    std::fs::File::options().write(true).open(ballast).unwrap().set_len(0).unwrap();
    std::fs::remove_file(ballast).unwrap();
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a store may still be open when a test fails.
        let unmounted = Command::new("umount").arg("-l").arg(self.dir.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

fn refused(path: &Path) -> OpenError {
    match SqliteStore::open(path) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_full_disk_refuses_commits_and_goes_on_when_there_is_room() {
    let Some(disk) = Tmpfs::mount() else { return };
    let store = SqliteStore::open(&disk.path("bk.db")).unwrap();
    store.commit(put("first", 100), NOW).await.unwrap();
    let ballast = disk.path("ballast");
    // Fills what is left, but for some pages.
    let mut size = 1024 * 1024;
    while std::fs::write(&ballast, vec![0; size]).is_err() {
        size -= 4096;
    }
    std::fs::write(&ballast, vec![0; size.saturating_sub(8 * 4096)]).unwrap();
    let before = store.revision().await.unwrap();
    let mut full = None;
    let mut committed = before.0;
    for n in 0..1000 {
        match store.commit(put(&format!("k/{n:04}"), 3000), NOW).await {
            Ok(done) => committed = done.revision.0,
            Err(error) => {
                full = Some(error);
                break;
            }
        }
    }
    match full {
        Some(CommitError::Store(StoreError::Full(cause))) => assert!(cause.contains("full"), "{cause}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.revision().await.unwrap().0, committed, "what was refused did not happen");
    let stored = store.range("k/", None, 1000, NOW).await.unwrap().entries.len() as u64;
    assert_eq!(before.0 + stored, committed, "what was committed can still be read");
    // A backup has no room either; it leaves nothing behind.
    let backup = disk.path("backup.db");
    match store.backup_to(&backup).await {
        Err(StoreError::Full(_)) => {}
        other => panic!("{other:?}"),
    }
    assert!(!backup.exists());
    give_back(&ballast);
    let done = store.commit(put("after", 3000), NOW).await.unwrap();
    assert_eq!(done.revision.0, committed + 1);
    drop(store);
    let store = SqliteStore::open(&disk.path("bk.db")).unwrap();
    assert_eq!(store.revision().await.unwrap().0, committed + 1);
}

#[test]
fn there_is_no_room_for_a_new_store_on_a_full_disk() {
    let Some(disk) = Tmpfs::mount() else { return };
    let ballast = disk.path("ballast");
    let mut size = 1024 * 1024;
    while std::fs::write(&ballast, vec![0; size]).is_err() {
        size -= 4096;
    }
    match refused(&disk.path("bk.db")) {
        OpenError::Full { .. } => {}
        other => panic!("{other}"),
    }
    give_back(&ballast);
    SqliteStore::open(&disk.path("bk.db")).expect("what the failed try left is no obstacle");
}

#[tokio::test]
async fn a_read_only_file_system_is_named() {
    let Some(disk) = Tmpfs::mount() else { return };
    let path = disk.path("bk.db");
    let store = SqliteStore::open(&path).unwrap();
    store.commit(put("a", 1), NOW).await.unwrap();
    drop(store);
    disk.remount("ro");
    let directory = path.parent().unwrap().to_owned();
    assert_eq!(refused(&path), OpenError::ReadOnly { path: directory.clone() });
    assert_eq!(refused(&disk.path("new.db")), OpenError::ReadOnly { path: directory });
    disk.remount("rw");
    SqliteStore::open(&path).unwrap();
}

const WITHOUT_PRIVILEGE: &str = "BOUNDKEY_TEST_WITHOUT_PRIVILEGE";

/// Root may write everywhere: it starts this test again without that privilege.
#[test]
fn what_this_user_may_not_write_is_named() {
    let probe = tempfile::NamedTempFile::new().unwrap();
    std::fs::set_permissions(probe.path(), PermissionsExt::from_mode(0o000)).unwrap();
    if std::fs::File::open(probe.path()).is_err() {
        return denied_places();
    }
    assert!(std::env::var_os(WITHOUT_PRIVILEGE).is_none(), "setpriv left the privilege");
    let again = Command::new("setpriv")
        .args(["--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "what_this_user_may_not_write_is_named", "--nocapture"])
        .env(WITHOUT_PRIVILEGE, "1")
        .output();
    match again {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => println!("SKIP: root may write everywhere, and setpriv cannot be run: {error}"),
    }
}

fn denied_places() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().canonicalize().unwrap();
    let path = directory.join("bk.db");
    drop(SqliteStore::open(&path).unwrap());
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    mode(&path, 0o400);
    assert_eq!(refused(&path), OpenError::Denied { path: path.clone(), needed: "written" });
    mode(&path, 0o000);
    assert_eq!(refused(&path), OpenError::Denied { path: path.clone(), needed: "read" });
    mode(&directory, 0o500);
    assert_eq!(refused(&path), OpenError::Denied { path: directory.clone(), needed: "written" });
    mode(&directory, 0o600);
    assert_eq!(refused(&path), OpenError::Denied { path: directory.clone(), needed: "written" });
    mode(&directory, 0o700);
    mode(&path, 0o600);
    SqliteStore::open(&path).unwrap();
}
