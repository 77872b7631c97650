use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use boundkey_store::{Batch, CommitError, Condition, Revision, Store, StoreError, Write, conformance};
use rusqlite::Connection;
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

use crate::{OpenError, SqliteStore};

const NOW: OffsetDateTime = time::macros::datetime!(2030-06-01 12:00 UTC);

fn put(key: &str, value: impl AsRef<[u8]>) -> Batch {
    Batch::new().write(Write::Put { key: key.to_owned(), value: value.as_ref().to_vec() })
}

async fn value(store: &SqliteStore, key: &str) -> Option<Vec<u8>> {
    store.get_many(&[key], NOW).await.unwrap().remove(0).map(|entry| entry.value)
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        dir.read_dir().unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn new_store() -> (TempDir, SqliteStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&dir.path().join("bk.db")).unwrap();
    (dir, store)
}

fn refused(path: &Path) -> OpenError {
    match SqliteStore::open(path) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_sqlite_store_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let count = AtomicUsize::new(0);
    conformance::run(async || {
        let name = format!("{}.db", count.fetch_add(1, Ordering::Relaxed));
        Arc::new(SqliteStore::open(&dir.path().join(name)).unwrap()) as Arc<dyn Store>
    })
    .await;
}

#[tokio::test]
async fn what_was_committed_is_there_after_closing_and_opening() {
    let (dir, store) = new_store();
    store.commit(put("a", "1"), NOW).await.unwrap();
    store.commit(put("b", "2"), NOW).await.unwrap();
    drop(store);
    assert_eq!(names(dir.path()), ["bk.db"], "a closed store is one file");
    let store = SqliteStore::open(&dir.path().join("bk.db")).unwrap();
    assert_eq!(value(&store, "a").await.as_deref(), Some(&b"1"[..]));
    assert_eq!(store.revision().await, Ok(Revision(2)));
    let third = store.commit(put("c", "3"), NOW).await.unwrap();
    assert_eq!(third.revision, Revision(3), "revisions go on where they were");
}

#[tokio::test]
async fn a_watch_from_before_the_store_was_opened_has_to_read_again() {
    let (dir, store) = new_store();
    store.commit(put("a", "1"), NOW).await.unwrap();
    store.commit(put("a", "2"), NOW).await.unwrap();
    drop(store);
    let store = SqliteStore::open(&dir.path().join("bk.db")).unwrap();
    let mut watch = store.watch("", Revision(1)).await.unwrap();
    assert_eq!(watch.next().await, Err(StoreError::Compacted { after: Revision(1) }));
    let mut watch = store.watch("", Revision(2)).await.unwrap();
    store.commit(put("a", "3"), NOW).await.unwrap();
    assert_eq!(watch.next().await.unwrap().len(), 1);
}

#[tokio::test]
async fn every_file_is_plain_and_its_owners_alone() {
    let (dir, store) = new_store();
    store.commit(put("a", "1"), NOW).await.unwrap();
    assert_eq!(names(dir.path()), ["bk.db", "bk.db-shm", "bk.db-wal"]);
    for name in names(dir.path()) {
        let path = dir.path().join(name);
        assert!(path.symlink_metadata().unwrap().is_file(), "{}", path.display());
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[tokio::test]
async fn a_file_that_others_could_read_is_closed_to_them() {
    let (dir, store) = new_store();
    drop(store);
    let path = dir.path().join("bk.db");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    let store = SqliteStore::open(&path).unwrap();
    store.commit(put("a", "1"), NOW).await.unwrap();
    for name in names(dir.path()) {
        assert_eq!(mode(&dir.path().join(&name)), 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_copy_of_the_files_of_a_stopped_store_is_a_store() {
    let (dir, store) = new_store();
    store.commit(put("a", "1"), NOW).await.unwrap();
    // As after a crash: the files as they are, with a log that was not copied back.
    let copy = tempfile::tempdir().unwrap();
    for name in ["bk.db", "bk.db-wal"] {
        std::fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
    }
    let copied = SqliteStore::open(&copy.path().join("bk.db")).unwrap();
    assert_eq!(value(&copied, "a").await.as_deref(), Some(&b"1"[..]));
    assert_eq!(copied.revision().await, Ok(Revision(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_backup_of_a_running_store_is_one_consistent_file() {
    let (dir, store) = new_store();
    let store = Arc::new(store);
    let writer = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for n in 0..200 {
                let pair = Batch {
                    writes: ["x", "y"]
                        .map(|key| Write::Put { key: key.into(), value: n.to_string().into() })
                        .into(),
                    ..Batch::default()
                };
                store.commit(pair, NOW).await.unwrap();
            }
        })
    };
    let backup = dir.path().join("backup.db");
    std::fs::write(&backup, "an older backup").unwrap();
    let mut last = Revision(0);
    while !writer.is_finished() {
        store.backup_to(&backup).await.unwrap();
        assert_eq!(mode(&backup), 0o600);
        let alone = tempfile::tempdir().unwrap();
        let path = alone.path().join("bk.db");
        std::fs::copy(&backup, &path).unwrap();
        let restored = SqliteStore::open(&path).unwrap();
        let pair = restored.get_many(&["x", "y"], NOW).await.unwrap();
        let revision = restored.revision().await.unwrap();
        assert!(revision >= last);
        last = revision;
        match (&pair[0], &pair[1]) {
            (None, None) => assert_eq!(revision, Revision(0)),
            (Some(x), Some(y)) => {
                assert_eq!((&x.value, x.revision), (&y.value, y.revision));
                assert_eq!(revision, x.revision);
            }
            other => panic!("half a commit: {other:?}"),
        }
    }
    writer.await.unwrap();
    assert_eq!(names(dir.path()), ["backup.db", "bk.db", "bk.db-shm", "bk.db-wal"]);
}

#[tokio::test]
async fn a_backup_never_goes_over_the_store_or_anything_but_a_file() {
    let (dir, store) = new_store();
    store.commit(put("a", "1"), NOW).await.unwrap();
    for name in ["bk.db", "bk.db-wal", "bk.db-shm"] {
        let own = dir.path().join(".").join(name);
        let error = store.backup_to(&own).await.unwrap_err();
        assert!(error.to_string().ends_with("is the store itself"), "{error}");
    }
    let error = store.backup_to(dir.path()).await.unwrap_err();
    assert!(error.to_string().ends_with("is no plain file"), "{error}");
    let error = store.backup_to(&dir.path().join("nowhere/backup.db")).await.unwrap_err();
    assert!(matches!(error, StoreError::Failed(_)), "{error}");
    assert_eq!(value(&store, "a").await.as_deref(), Some(&b"1"[..]));
    assert_eq!(names(dir.path()), ["bk.db", "bk.db-shm", "bk.db-wal"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_go_on_while_thousands_of_expired_entries_are_dropped() {
    let (_dir, store) = new_store();
    for batch in 0..20 {
        let put =
            |n| Write::PutUntil { key: format!("k/{}", batch * 500 + n), value: vec![7; 300], expires: NOW };
        store.commit(Batch { conditions: vec![], writes: (0..500).map(put).collect() }, NOW).await.unwrap();
    }
    let store = Arc::new(store);
    let purge = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.purge_expired(NOW).await }
    });
    let mut meanwhile = 0;
    while !purge.is_finished() {
        store.commit(put("x", ""), NOW).await.unwrap();
        meanwhile += 1;
    }
    assert_eq!(purge.await.unwrap(), Ok(10_000));
    assert!(meanwhile >= 10, "a commit for each of most steps: {meanwhile}");
    assert_eq!(store.measure("k/", OffsetDateTime::UNIX_EPOCH).await.unwrap().entries, 0);
}

#[tokio::test]
async fn purging_drops_only_what_has_expired() {
    let (_dir, store) = new_store();
    for n in 0..10 {
        let expires = NOW + Duration::seconds(n);
        let write = Write::PutUntil { key: format!("k/{n}"), value: vec![], expires };
        store.commit(Batch::new().write(write), NOW).await.unwrap();
    }
    store.commit(put("k/kept", ""), NOW).await.unwrap();
    let revision = store.revision().await.unwrap();
    let mut watch = store.watch("", revision).await.unwrap();
    assert_eq!(store.purge_expired(NOW + Duration::seconds(4)).await, Ok(5));
    assert_eq!(store.purge_expired(NOW + Duration::seconds(4)).await, Ok(0));
    let range = store.range("k/", None, 100, NOW - Duration::days(1)).await.unwrap();
    let keys: Vec<_> = range.entries.iter().map(|e| e.key.as_str()).collect();
    assert_eq!(keys, ["k/5", "k/6", "k/7", "k/8", "k/9", "k/kept"]);
    assert_eq!(store.revision().await, Ok(revision));
    store.commit(put("x", ""), NOW).await.unwrap();
    assert_eq!(watch.next().await.unwrap()[0].key(), "x", "a watch hears nothing of it");
}

#[tokio::test]
async fn the_log_is_copied_back_when_nothing_is_written() {
    let (dir, store) = new_store();
    store.commit(put("a", vec![0; 100_000]), NOW).await.unwrap();
    let wal = dir.path().join("bk.db-wal");
    for _ in 0..600 {
        if wal.metadata().unwrap().len() == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the log is still {} bytes long", wal.metadata().unwrap().len());
}

#[tokio::test]
async fn a_group_in_which_some_conflict_commits_the_others() {
    let (_dir, store) = new_store();
    let store = Arc::new(store);
    store.commit(put("taken", ""), NOW).await.unwrap();
    // Holds the writer, so that all of them are one group.
    let (release, hold) = std::sync::mpsc::channel::<()>();
    store.writer.run(move |_| assert!(hold.recv().is_err(), "released"));
    let mut waiting = Vec::new();
    for n in 0..30 {
        let store = Arc::clone(&store);
        waiting.push(tokio::spawn(async move {
            let key = if n % 3 == 0 { "taken".to_owned() } else { format!("own/{}", n / 2) };
            store.commit(put(&key, n.to_string()).require(Condition::Absent { key: key.clone() }), NOW).await
        }));
    }
    tokio::task::yield_now().await;
    drop(release);
    let mut committed = 0;
    for (n, task) in waiting.into_iter().enumerate() {
        match task.await.unwrap() {
            Ok(_) => committed += 1,
            Err(CommitError::Conflict { key }) => assert!(key == "taken" || key == format!("own/{}", n / 2)),
            Err(other) => panic!("{other}"),
        }
    }
    // Of the 20 with a key of their own, five pairs share one.
    assert_eq!(committed, 15);
    assert_eq!(store.revision().await, Ok(Revision(16)));
    assert_eq!(store.range("own/", None, 100, NOW).await.unwrap().entries.len(), 15);
}

#[tokio::test]
async fn when_there_is_no_room_the_whole_group_is_refused_and_later_ones_succeed() {
    let (_dir, store) = new_store();
    let store = Arc::new(store);
    store.commit(put("a", "1"), NOW).await.unwrap();
    let (release, hold) = std::sync::mpsc::channel::<()>();
    store.writer.run(move |connection| {
        connection.pragma_update_and_check(None, "max_page_count", 16, |_| Ok(())).unwrap();
        assert!(hold.recv().is_err(), "released");
    });
    let mut waiting = Vec::new();
    for (key, size) in [("a", 1), ("large", 200_000), ("b", 1)] {
        let store = Arc::clone(&store);
        waiting.push(tokio::spawn(async move { store.commit(put(key, vec![0; size]), NOW).await }));
    }
    let mut watch = store.watch("", Revision(1)).await.unwrap();
    tokio::task::yield_now().await;
    drop(release);
    for task in waiting {
        match task.await.unwrap() {
            Err(CommitError::Store(StoreError::Full(cause))) => {
                assert!(cause.contains("database or disk is full"), "{cause}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(value(&store, "a").await.as_deref(), Some(&b"1"[..]));
    assert_eq!(store.revision().await, Ok(Revision(1)));
    store.writer.run(|connection| {
        connection.pragma_update_and_check(None, "max_page_count", 100_000, |_| Ok(())).unwrap();
    });
    store.commit(put("large", vec![0; 200_000]), NOW).await.unwrap();
    assert_eq!(store.revision().await, Ok(Revision(2)));
    assert_eq!(watch.next().await.unwrap()[0].key(), "large", "what failed is never reported");
}

#[tokio::test]
async fn what_another_process_wrote_is_seen_and_ends_the_watches() {
    let (dir, store) = new_store();
    store.commit(put("a", "1"), NOW).await.unwrap();
    let mut watch = store.watch("", Revision(1)).await.unwrap();
    let other = SqliteStore::open(&dir.path().join("bk.db")).unwrap();
    other.commit(put("a", "2"), NOW).await.unwrap();
    let stale = put("a", "3").require(Condition::At { key: "a".into(), revision: Revision(1) });
    assert_eq!(store.commit(stale, NOW).await, Err(CommitError::Conflict { key: "a".into() }));
    assert_eq!(watch.next().await, Err(StoreError::Compacted { after: Revision(1) }));
    assert_eq!(store.revision().await, Ok(Revision(2)));
}

#[test]
fn a_directory_that_does_not_exist_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nowhere/bk.db");
    assert_eq!(refused(&path), OpenError::NoDirectory { path });
}

#[test]
fn what_is_no_plain_file_is_refused() {
    let (dir, store) = new_store();
    drop(store);
    let found = |found| move |path| OpenError::NotAFile { path, found };
    let sub = dir.path().join("sub");
    std::fs::create_dir(&sub).unwrap();
    assert_eq!(refused(&sub), found("a directory")(sub.canonicalize().unwrap()));
    let link = dir.path().join("link.db");
    symlink(dir.path().join("bk.db"), &link).unwrap();
    assert_eq!(refused(&link), found("a symbolic link")(dir.path().canonicalize().unwrap().join("link.db")));
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    assert!(refused(&dir.path().join("socket")).to_string().contains("a device, a pipe or a socket"));
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap().join("bk.db");
    let noise: Vec<u8> = (0..10_000_u32).map(|n| (n * 7919 % 251) as u8).collect();
    let mut header_alone = b"SQLite format 3\0".to_vec();
    header_alone.resize(8192, 0xff);
    for content in [&b"x"[..], b"SQLite format 2\0", b"kind: token\n", &noise, &header_alone] {
        std::fs::write(&path, content).unwrap();
        assert_eq!(refused(&path), OpenError::NotADatabase { path: path.clone() });
        assert_eq!(std::fs::read(&path).unwrap(), content);
        assert_eq!(names(dir.path()), ["bk.db"]);
    }
}

#[test]
fn an_empty_file_becomes_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bk.db");
    std::fs::write(&path, "").unwrap();
    drop(SqliteStore::open(&path).unwrap());
    drop(SqliteStore::open(&path).unwrap());
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn a_database_of_another_program_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap().join("bk.db");
    for (statements, application_id) in [
        ("CREATE TABLE record (key TEXT)", 0),
        ("PRAGMA application_id = 0x42", 0x42),
        ("PRAGMA application_id = 0x42; CREATE TABLE t (x)", 0x42),
    ] {
        let _ = std::fs::remove_file(&path);
        Connection::open(&path).unwrap().execute_batch(statements).unwrap();
        let before = std::fs::read(&path).unwrap();
        assert_eq!(refused(&path), OpenError::Foreign { path: path.clone(), application_id });
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert_eq!(names(dir.path()), ["bk.db"]);
    }
}

#[test]
fn a_newer_schema_is_refused_and_left_as_it_is() {
    let (dir, store) = new_store();
    drop(store);
    let path = dir.path().canonicalize().unwrap().join("bk.db");
    Connection::open(&path)
        .unwrap()
        .execute("INSERT INTO migration (version, description) VALUES (99, 'from the future')", [])
        .unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = refused(&path);
    assert_eq!(error, OpenError::Newer { path: path.clone(), found: 99, known: crate::schema::VERSION });
    assert!(error.to_string().contains("version 99"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_database_that_another_process_is_changing_says_locked() {
    let (dir, store) = new_store();
    drop(store);
    let path = dir.path().canonicalize().unwrap().join("bk.db");
    let other = Connection::open(&path).unwrap();
    other.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; DELETE FROM record").unwrap();
    match refused(&path) {
        OpenError::Locked { .. } => {}
        error => panic!("{error}"),
    }
}

#[test]
fn a_torn_database_says_damaged() {
    let (dir, store) = new_store();
    drop(store);
    let path = dir.path().join("bk.db");
    let mut content = std::fs::read(&path).unwrap();
    assert!(content.len() > 8192);
    content[100..4096].fill(0xa5);
    std::fs::write(&path, &content).unwrap();
    match refused(&path) {
        OpenError::Damaged { .. } => {}
        error => panic!("{error}"),
    }
}
