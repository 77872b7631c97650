//! What every implementation of [`Store`] must do. Each function is one rule and wants a fresh,
//! empty store; [`run`] calls them all. A broken rule panics with what was found.

mod commits;
mod ranges;
mod watches;

use std::sync::Arc;

use time::{Duration, OffsetDateTime};

use crate::{Batch, CommitError, Committed, Condition, Entry, Revision, Store, Write};

/// Every rule, each on a store of its own that `make` makes. Wants a tokio runtime with at least
/// two threads to be worth its while.
pub async fn run(make: impl AsyncFn() -> Arc<dyn Store>) {
    commits::run(&make).await;
    ranges::run(&make).await;
    watches::run(&make).await;
}

/// Some moment; no rule depends on which.
const NOW: OffsetDateTime = time::macros::datetime!(2030-06-01 12:00 UTC);

fn put(key: &str, value: impl AsRef<[u8]>) -> Write {
    Write::Put { key: key.to_owned(), value: value.as_ref().to_vec() }
}

fn put_until(key: &str, value: &str, expires: OffsetDateTime) -> Write {
    Write::PutUntil { key: key.to_owned(), value: value.into(), expires }
}

fn delete(key: &str) -> Write {
    Write::Delete { key: key.to_owned() }
}

fn at(key: &str, revision: Revision) -> Condition {
    Condition::At { key: key.to_owned(), revision }
}

fn absent(key: &str) -> Condition {
    Condition::Absent { key: key.to_owned() }
}

fn seconds(n: i64) -> OffsetDateTime {
    NOW + Duration::seconds(n)
}

async fn try_commit(
    store: &dyn Store,
    conditions: impl IntoIterator<Item = Condition>,
    writes: impl IntoIterator<Item = Write>,
) -> Result<Committed, CommitError> {
    let batch = Batch { conditions: conditions.into_iter().collect(), writes: writes.into_iter().collect() };
    store.commit(batch, NOW).await
}

async fn write(store: &dyn Store, writes: impl IntoIterator<Item = Write>) -> Revision {
    try_commit(store, [], writes).await.expect("a commit without conditions happens").revision
}

async fn read(store: &dyn Store, key: &str) -> Option<Entry> {
    read_at(store, key, NOW).await
}

async fn read_at(store: &dyn Store, key: &str, now: OffsetDateTime) -> Option<Entry> {
    let mut found = store.get_many(&[key], now).await.expect("a read succeeds");
    assert_eq!(found.len(), 1, "one answer for one key");
    found.remove(0)
}

fn entry(key: &str, value: impl AsRef<[u8]>, revision: Revision) -> Entry {
    Entry { key: key.to_owned(), value: value.as_ref().to_vec(), revision }
}
