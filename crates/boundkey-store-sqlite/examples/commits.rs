//! Durable commits a second: one by one, and 64 at once. Prints figures; judges nothing.
//!
//! `cargo run --release -p boundkey-store-sqlite --example commits [DIRECTORY]`

#![expect(clippy::print_stdout, reason = "to print is what it is for")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use boundkey_store::{Batch, Condition, Store, Write};
use boundkey_store_sqlite::SqliteStore;
use time::OffsetDateTime;

const NOW: OffsetDateTime = time::macros::datetime!(2030-06-01 12:00 UTC);
const FOR: Duration = Duration::from_secs(3);

/// Compare-and-swaps of 512 bytes on an own key, and one event of 300 bytes, until the time is up.
async fn commit_on(store: Arc<dyn Store>, key: String) -> Vec<Duration> {
    let mut took = Vec::new();
    let start = Instant::now();
    while start.elapsed() < FOR {
        let found = store.get_many(&[key.as_str()], NOW).await.expect("a read succeeds").remove(0);
        let batch = Batch::new()
            .require(Condition::of(&found, key.as_str()))
            .write(Write::Put { key: key.clone(), value: vec![7; 512] })
            .write(Write::Put { key: format!("event/{key}/{:08}", took.len()), value: vec![7; 300] });
        let asked = Instant::now();
        store.commit(batch, NOW).await.expect("nobody else writes the key");
        took.push(asked.elapsed());
    }
    took
}

fn report(name: &str, mut took: Vec<Duration>) {
    took.sort();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    println!(
        "{name:<16} {:>8.0} commits/s   p50 {:>9.1?}   p99 {:>9.1?}   longest {:>9.1?}",
        took.len() as f64 / FOR.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let base = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(base)?;
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&dir.path().join("bk.db"))?);
    report("one by one", commit_on(Arc::clone(&store), "single".to_owned()).await);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..64 {
        tasks.spawn(commit_on(Arc::clone(&store), format!("many/{n}")));
    }
    report("64 at once", tasks.join_all().await.concat());
    let keys = ["single", "many/1", "many/2", "nothing"];
    let start = Instant::now();
    let mut reads = 0_u32;
    while start.elapsed() < FOR / 3 {
        store.get_many(&keys, NOW).await?;
        reads += 1;
    }
    println!("{:<16} {:>8.1?} for each of four keys", "read", start.elapsed() / reads / 4);
    Ok(())
}
