//! Syncs and writes that fail now and then: what was answered stays, what was refused did not happen
//! for the running store, and it goes on.
//!
//! The test binary starts itself again under `fiu-run` (Debian: fiu-utils).

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

use std::path::Path;
use std::process::Command;

use boundkey_store::{Batch, CommitError, Condition, Entry, Store, StoreError, Write};
use boundkey_store_sqlite::SqliteStore;
use time::OffsetDateTime;

const NOW: OffsetDateTime = time::macros::datetime!(2030-06-01 12:00 UTC);
const PATH: &str = "BOUNDKEY_TEST_FAULTY_STORE";
const ROUNDS: u64 = 400;

fn number(found: &Option<Entry>) -> u64 {
    found.as_ref().map_or(0, |entry| std::str::from_utf8(&entry.value).unwrap().parse().unwrap())
}

async fn read(store: &SqliteStore) -> Result<Vec<Option<Entry>>, StoreError> {
    store.get_many(&["count", "twin"], NOW).await
}

/// Ends with the highest answered count in the file `answered`.
#[test]
fn child() {
    let Some(path) = std::env::var_os(PATH) else { return };
    let path = Path::new(&path);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = loop {
            if let Ok(store) = SqliteStore::open(path) {
                break store;
            }
        };
        let (mut answered, mut unknown, mut refused) = (0, 0, 0);
        for _ in 0..ROUNDS {
            let Ok(found) = read(&store).await else { continue };
            assert_eq!(number(&found[0]), answered, "what was not answered did not happen here");
            assert_eq!(number(&found[1]), answered, "nor half of it");
            let next = answered + 1;
            let batch = Batch::new()
                .require(Condition::of(&found[0], "count"))
                .write(Write::Put { key: "count".into(), value: next.to_string().into() })
                .write(Write::Put { key: format!("filler/{next}"), value: vec![7; 9000] })
                .write(Write::Put { key: "twin".into(), value: next.to_string().into() });
            match store.commit(batch, NOW).await {
                Ok(_) => answered = next,
                Err(CommitError::Unknown(_)) => unknown += 1,
                Err(CommitError::Store(_)) => refused += 1,
                Err(CommitError::Conflict { key }) => panic!("nobody else writes {key}"),
            }
        }
        println!("answered {answered}, unknown {unknown}, refused {refused}");
        assert!(answered > ROUNDS / 10 && unknown + refused > ROUNDS / 50);
        std::fs::write(path.with_extension("answered"), answered.to_string()).unwrap();
        // As if it were killed: nothing is tidied up.
        std::process::exit(0);
    });
}

fn run_with(faults: &[&str]) {
    if Command::new("fiu-run").arg("-h").output().is_err() {
        println!("SKIP: fiu-run is not installed (Debian: fiu-utils)");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bk.db");
    let mut command = Command::new("fiu-run");
    command.arg("-x");
    for fault in faults {
        command.args(["-c", fault]);
    }
    let status = command
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(PATH, &path)
        .status()
        .expect("fiu-run is installed (Debian: fiu-utils)");
    assert!(status.success(), "{faults:?}");
    let answered: u64 = std::fs::read_to_string(path.with_extension("answered")).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(&path).unwrap();
        let found = read(&store).await.unwrap();
        let stored = number(&found[0]);
        // The last one whose outcome was unknown may be found after a crash.
        assert!(stored == answered || stored == answered + 1, "{answered} answered, {stored} stored");
        assert_eq!(number(&found[1]), stored);
    });
}

#[test]
fn failing_syncs_lose_nothing_that_was_answered() {
    run_with(&[
        "enable_random name=posix/io/sync/fsync,probability=0.2",
        "enable_random name=posix/io/sync/fdatasync,probability=0.2",
    ]);
}

#[test]
fn failing_writes_lose_nothing_that_was_answered() {
    run_with(&[
        "enable_random name=posix/io/rw/pwrite,probability=0.02",
        "enable_random name=posix/io/rw/pwrite64,probability=0.02",
    ]);
}

#[test]
fn a_disk_that_fills_up_now_and_then_loses_nothing_that_was_answered() {
    // 28: no space left on device.
    run_with(&["enable_random name=posix/io/rw/pwrite,probability=0.02,failinfo=28"]);
}
