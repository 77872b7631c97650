use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::{NOW, absent, delete, entry, put, try_commit, write};
use crate::{Change, Revision, Store, StoreError, Watch};

pub(super) async fn run(make: &impl AsyncFn() -> Arc<dyn Store>) {
    a_watch_reports_what_was_committed_after_its_revision(&*make().await).await;
    a_watch_sees_deletes(&*make().await).await;
    a_watch_keeps_to_its_prefix(&*make().await).await;
    a_watch_waits_and_sees_later_commits(make().await).await;
    a_commit_that_was_answered_is_reported_without_waiting(&*make().await).await;
    a_dropped_wait_loses_nothing(&*make().await).await;
    a_conflict_is_not_reported(&*make().await).await;
    a_revision_that_has_not_been_is_refused(&*make().await).await;
    a_watch_never_skips_while_many_write(make().await).await;
}

async fn next(watch: &mut Box<dyn Watch>) -> Vec<Change> {
    let changes = watch.next().await.expect("a watch reports");
    assert!(!changes.is_empty(), "a report holds at least one change");
    changes
}

/// Reads until `count` changes have come.
async fn collect(watch: &mut Box<dyn Watch>, count: usize) -> Vec<Change> {
    let mut changes = Vec::new();
    while changes.len() < count {
        changes.extend(next(watch).await);
    }
    changes
}

fn deleted(key: &str, revision: Revision) -> Change {
    Change::Deleted { key: key.to_owned(), revision }
}

async fn watch(store: &dyn Store, prefix: &str, after: Revision) -> Box<dyn Watch> {
    store.watch(prefix, after).await.expect("a watch is made")
}

async fn a_watch_reports_what_was_committed_after_its_revision(store: &dyn Store) {
    let first = write(store, [put("a", "1")]).await;
    let second = write(store, [put("b", "2"), put("a", "2")]).await;
    let third = write(store, [put("c", "3")]).await;
    let mut after_first = watch(store, "", first).await;
    let mut changes = collect(&mut after_first, 3).await;
    assert!(changes.is_sorted_by_key(Change::revision), "{changes:?}");
    changes.sort_by(|x, y| (x.revision(), x.key()).cmp(&(y.revision(), y.key())));
    assert_eq!(
        changes,
        [
            Change::Put(entry("a", "2", second)),
            Change::Put(entry("b", "2", second)),
            Change::Put(entry("c", "3", third)),
        ]
    );
}

async fn a_watch_sees_deletes(store: &dyn Store) {
    let first = write(store, [put("a", "1")]).await;
    let mut watch = watch(store, "a", first).await;
    let second = write(store, [delete("a")]).await;
    assert_eq!(collect(&mut watch, 1).await, [deleted("a", second)]);
    let third = write(store, [put("a", "2")]).await;
    assert_eq!(collect(&mut watch, 1).await, [Change::Put(entry("a", "2", third))]);
}

async fn a_watch_keeps_to_its_prefix(store: &dyn Store) {
    let start = store.revision().await.expect("a store knows its revision");
    let mut watch = watch(store, "lock_/", start).await;
    write(store, [put("lock", ""), put("lock/1", ""), put("lockx/1", ""), put("LOCK_/1", ""), delete("x")])
        .await;
    let revision = write(store, [put("lock_/1", "yes"), put("m", "")]).await;
    assert_eq!(collect(&mut watch, 1).await, [Change::Put(entry("lock_/1", "yes", revision))]);
}

async fn a_watch_waits_and_sees_later_commits(store: Arc<dyn Store>) {
    let start = store.revision().await.expect("a store knows its revision");
    let mut watch = watch(&*store, "k", start).await;
    let waiting = tokio::spawn(async move { collect(&mut watch, 3).await });
    tokio::task::yield_now().await;
    let mut wanted = Vec::new();
    for n in 0..3 {
        let revision = write(&*store, [put("k", n.to_string())]).await;
        wanted.push(Change::Put(entry("k", n.to_string(), revision)));
        tokio::task::yield_now().await;
    }
    assert_eq!(waiting.await.expect("the watcher ends well"), wanted);
}

async fn a_dropped_wait_loses_nothing(store: &dyn Store) {
    let start = store.revision().await.expect("a store knows its revision");
    let mut watch = watch(store, "", start).await;
    for _ in 0..3 {
        let mut wait = watch.next();
        let polled = wait.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Pending), "nothing was committed");
    }
    let revision = write(store, [put("a", "1")]).await;
    assert_eq!(collect(&mut watch, 1).await, [Change::Put(entry("a", "1", revision))]);
}

/// Whoever keeps something that follows from a range looks here before it is used.
async fn a_commit_that_was_answered_is_reported_without_waiting(store: &dyn Store) {
    let start = store.revision().await.expect("a store knows its revision");
    let mut watch = watch(store, "a", start).await;
    for _ in 0..100 {
        let revision = write(store, [put("a", "1")]).await;
        let Poll::Ready(changes) = watch.next().as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("revision {revision:?} was answered and is not reported yet");
        };
        assert_eq!(changes.expect("a watch reports"), [Change::Put(entry("a", "1", revision))]);
    }
}

async fn a_conflict_is_not_reported(store: &dyn Store) {
    let start = write(store, [put("a", "1")]).await;
    let mut watch = watch(store, "", start).await;
    try_commit(store, [absent("a")], [put("a", "wrong"), put("b", "wrong")]).await.expect_err("a conflict");
    let revision = write(store, [put("b", "right")]).await;
    assert_eq!(collect(&mut watch, 1).await, [Change::Put(entry("b", "right", revision))]);
}

async fn a_revision_that_has_not_been_is_refused(store: &dyn Store) {
    let revision = write(store, [put("a", "1")]).await;
    let after = Revision(revision.0 + 1000);
    let mut watch = watch(store, "", after).await;
    assert_eq!(watch.next().await, Err(StoreError::Compacted { after }));
}

/// Follows a range the way the service does while others write and delete: what the watch says is
/// in the end what is stored, and no revision is missing on the way.
async fn a_watch_never_skips_while_many_write(store: Arc<dyn Store>) {
    const WRITERS: usize = 8;
    const EACH: usize = 25;
    write(&*store, [put("w/before", "")]).await;
    let start = store.revision().await.expect("a store knows its revision");
    let range = store.range("w/", None, 1000, NOW).await.expect("a range is read");
    let mut seen: BTreeMap<String, Revision> =
        range.entries.into_iter().map(|e| (e.key, e.revision)).collect();
    let mut watch = watch(&*store, "w/", start).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            for n in 0..EACH {
                let key = format!("w/{}", (writer + n) % 5);
                let change = if n % 4 == 3 { delete(&key) } else { put(&key, n.to_string()) };
                // The own key of each commit makes every revision visible.
                write(&*store, [put(&format!("w/{writer}-{n}"), ""), change]).await;
            }
        });
    }
    let mut revisions = Vec::new();
    let last = Revision(start.0 + (WRITERS * EACH) as u64);
    while revisions.last() != Some(&last) {
        for change in next(&mut watch).await {
            revisions.push(change.revision());
            match change {
                Change::Put(entry) => seen.insert(entry.key, entry.revision),
                Change::Deleted { key, .. } => seen.remove(&key),
            };
        }
    }
    writers.join_all().await;
    assert!(revisions.is_sorted(), "changes come in the order of their commits");
    revisions.dedup();
    assert_eq!(revisions, (start.0 + 1..=last.0).map(Revision).collect::<Vec<_>>(), "none is missing");
    let range = store.range("w/", None, 1000, NOW).await.expect("a range is read");
    let stored: BTreeMap<_, _> = range.entries.into_iter().map(|e| (e.key, e.revision)).collect();
    assert_eq!(seen, stored, "what was reported adds up to what is stored");
}
