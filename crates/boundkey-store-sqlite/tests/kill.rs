//! `kill -9` at any moment keeps every commit that was answered, and no half of any other.
//!
//! The test binary starts itself again as the process that is killed.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use boundkey_store::{Batch, CommitError, Condition, Store, Write};
use boundkey_store_sqlite::SqliteStore;
use time::OffsetDateTime;

const NOW: OffsetDateTime = time::macros::datetime!(2030-06-01 12:00 UTC);
const PATH: &str = "BOUNDKEY_TEST_KILLED_STORE";
const COMMITTERS: usize = 8;
const CYCLES: usize = 12;

fn own_key(committer: usize) -> String {
    format!("own/{committer}")
}

fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

/// Counts up under compare-and-swap, with a large record and a twin in the same commit, and prints
/// each answered count.
async fn count_up(store: Arc<SqliteStore>, committer: usize) {
    let own = own_key(committer);
    let twin = format!("twin/{committer}");
    loop {
        let found = store.get_many(&[own.as_str()], NOW).await.unwrap().remove(0);
        let next = found.as_ref().map_or(0, |entry| number(&entry.value)) + 1;
        let batch = Batch::new()
            .require(Condition::of(&found, own.as_str()))
            .write(Write::Put { key: own.clone(), value: next.to_string().into() })
            .write(Write::Put { key: format!("filler/{committer}"), value: vec![next as u8; 20_000] })
            .write(Write::Put { key: twin.clone(), value: next.to_string().into() });
        match store.commit(batch, NOW).await {
            Ok(_) => {
                let mut out = std::io::stdout().lock();
                writeln!(out, "\nanswered {committer} {next}").and_then(|()| out.flush()).unwrap();
            }
            Err(CommitError::Conflict { key }) => panic!("nobody else writes {key}"),
            Err(error) => panic!("{error}"),
        }
    }
}

/// The process that is killed; does nothing when the tests are run as usual.
#[test]
fn child() {
    let Some(path) = std::env::var_os(PATH) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let store = Arc::new(SqliteStore::open(Path::new(&path)).unwrap());
        let mut tasks = tokio::task::JoinSet::new();
        for committer in 0..COMMITTERS {
            tasks.spawn(count_up(Arc::clone(&store), committer));
        }
        tasks.join_all().await;
    });
}

#[tokio::test]
async fn a_killed_store_has_kept_every_answered_commit_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bk.db");
    let mut answered = BTreeMap::<usize, u64>::new();
    for cycle in 0..CYCLES {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(PATH, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // A different moment each time: while it opens what the last kill left, and ever later.
        let mut wanted = [0, 1, 7, 40, 150, 333][cycle % 6];
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        if cycle % 6 == 0 {
            // Not even opened yet, or just about to.
            child.kill().unwrap();
        }
        for line in lines.by_ref() {
            note(&mut answered, &line.unwrap());
            wanted -= 1;
            if wanted <= 0 {
                break;
            }
        }
        child.kill().unwrap();
        for line in lines {
            note(&mut answered, &line.unwrap());
        }
        child.wait().unwrap();
        if !path.exists() {
            continue;
        }
        let store = SqliteStore::open(&path).unwrap();
        for committer in 0..COMMITTERS {
            let twin = format!("twin/{committer}");
            let found = store.get_many(&[&own_key(committer), &twin], NOW).await.unwrap();
            let stored = found[0].as_ref().map_or(0, |entry| number(&entry.value));
            let told = answered.get(&committer).copied().unwrap_or(0);
            // The one that was under way may have happened without its answer.
            assert!(stored == told || stored == told + 1, "cycle {cycle}: {told} answered, {stored} stored");
            assert_eq!(
                found[0].as_ref().map(|e| (&e.value, e.revision)),
                found[1].as_ref().map(|e| (&e.value, e.revision))
            );
            answered.insert(committer, stored);
        }
    }
    assert!(answered.values().sum::<u64>() > 500, "hardly anything was committed: {answered:?}");
}

fn note(answered: &mut BTreeMap<usize, u64>, line: &str) {
    // The last line may have been cut short: then it has no number, or a shorter one.
    let mut words = line.split(' ');
    if words.next() == Some("answered")
        && let (Some(committer), Some(count)) = (words.next(), words.next())
        && let (Ok(committer), Ok(count)) = (committer.parse(), count.parse::<u64>())
    {
        let highest = answered.entry(committer).or_insert(0);
        *highest = count.max(*highest);
    }
}
