use std::sync::Arc;

use time::Duration;
use tokio::task::JoinSet;

use super::{NOW, absent, at, delete, entry, put, put_until, read, read_at, seconds, try_commit, write};
use crate::{Batch, CommitError, Condition, Revision, Store, StoreError, Write};

pub(super) async fn run(make: &impl AsyncFn() -> Arc<dyn Store>) {
    what_was_written_is_read_back(&*make().await).await;
    answers_come_in_the_order_of_the_keys(&*make().await).await;
    any_key_and_any_bytes_are_kept(&*make().await).await;
    revisions_grow_by_one_with_each_writing_commit(&*make().await).await;
    a_condition_at_a_revision_holds_only_there(&*make().await).await;
    a_condition_of_absence_holds_only_without_the_key(&*make().await).await;
    the_first_condition_that_fails_names_the_conflict(&*make().await).await;
    a_conflict_writes_nothing(&*make().await).await;
    a_batch_without_writes_only_checks(&*make().await).await;
    writes_happen_in_order(&*make().await).await;
    deleting_what_is_not_there_is_no_error(&*make().await).await;
    a_value_is_gone_from_its_expiry_on(&*make().await).await;
    an_expired_value_counts_as_absent_in_conditions(&*make().await).await;
    a_later_write_takes_the_expiry_away(&*make().await).await;
    what_is_too_large_is_refused_alone(&*make().await).await;
    counters_under_compare_and_swap_lose_nothing(make().await).await;
    only_one_of_many_creates_a_key(make().await).await;
    reads_of_several_keys_never_see_half_a_commit(make().await).await;
}

async fn what_was_written_is_read_back(store: &dyn Store) {
    assert_eq!(read(store, "a").await, None);
    let first = write(store, [put("a", "1")]).await;
    assert_eq!(read(store, "a").await, Some(entry("a", "1", first)));
    let second = write(store, [put("a", "2")]).await;
    assert_eq!(read(store, "a").await, Some(entry("a", "2", second)));
    write(store, [delete("a")]).await;
    assert_eq!(read(store, "a").await, None);
}

async fn answers_come_in_the_order_of_the_keys(store: &dyn Store) {
    let revision = write(store, [put("a", "A"), put("b", "B"), put("c", "C")]).await;
    let found = store.get_many(&["c", "nothing", "a", "c"], NOW).await.expect("a read succeeds");
    let c = Some(entry("c", "C", revision));
    assert_eq!(found, [c.clone(), None, Some(entry("a", "A", revision)), c]);
    assert_eq!(store.get_many(&[], NOW).await, Ok(vec![]));
}

async fn any_key_and_any_bytes_are_kept(store: &dyn Store) {
    let all_bytes: Vec<u8> = (0..=255).collect();
    let long = "k".repeat(Batch::MAX_KEY);
    let large = vec![7; Batch::MAX_VALUE];
    let keys = ["", " ", "a'b\"c;--", "%", "_", "*?[x]", "a\0b", "nul\0", "\u{10ffff}", "ä/ß/水", &long];
    for key in keys {
        let revision = write(store, [put(key, &all_bytes)]).await;
        assert_eq!(read(store, key).await, Some(entry(key, &all_bytes, revision)), "key {key:?}");
    }
    assert_eq!(read(store, "a").await, None, "a key ends where it ends, not at a NUL");
    let revision = write(store, [put("empty", ""), put("large", &large)]).await;
    assert_eq!(read(store, "empty").await, Some(entry("empty", "", revision)));
    assert_eq!(read(store, "large").await, Some(entry("large", &large, revision)));
}

async fn revisions_grow_by_one_with_each_writing_commit(store: &dyn Store) {
    let start = store.revision().await.expect("a store knows its revision");
    for n in 1..=5 {
        let revision = write(store, [put("a", "x"), put("b", "y")]).await;
        assert_eq!(revision, Revision(start.0 + n));
        assert_eq!(store.revision().await, Ok(revision));
    }
    let revision = write(store, [delete("a")]).await;
    assert_eq!(revision, Revision(start.0 + 6), "deleting is writing");
}

async fn a_condition_at_a_revision_holds_only_there(store: &dyn Store) {
    let first = write(store, [put("a", "1")]).await;
    let second = try_commit(store, [at("a", first)], [put("a", "2")]).await.expect("a is at its revision");
    for stale in [first, Revision(0), Revision(second.revision.0 + 1), Revision(u64::MAX)] {
        assert_eq!(
            try_commit(store, [at("a", stale)], [put("a", "3")]).await,
            Err(CommitError::Conflict { key: "a".into() }),
            "{stale:?}"
        );
    }
    assert_eq!(
        try_commit(store, [at("nothing", first)], [put("a", "3")]).await,
        Err(CommitError::Conflict { key: "nothing".into() })
    );
    // A key that was deleted and made again is not what was read.
    write(store, [delete("a")]).await;
    write(store, [put("a", "2")]).await;
    assert_eq!(
        try_commit(store, [at("a", second.revision)], [put("a", "3")]).await,
        Err(CommitError::Conflict { key: "a".into() })
    );
    let found = read(store, "a").await;
    try_commit(store, [Condition::of(&found, "a")], [put("a", "4")]).await.expect("as it was read");
}

async fn a_condition_of_absence_holds_only_without_the_key(store: &dyn Store) {
    try_commit(store, [absent("a")], [put("a", "1")]).await.expect("there is no a");
    assert_eq!(
        try_commit(store, [absent("a")], [put("a", "2")]).await,
        Err(CommitError::Conflict { key: "a".into() })
    );
    write(store, [delete("a")]).await;
    let found = read(store, "a").await;
    try_commit(store, [Condition::of(&found, "a")], [put("a", "3")]).await.expect("a is gone again");
}

async fn the_first_condition_that_fails_names_the_conflict(store: &dyn Store) {
    let revision = write(store, [put("b", ""), put("a", "")]).await;
    let conflict = |key: &str| Err(CommitError::Conflict { key: key.to_owned() });
    let all_wrong = [absent("b"), absent("a"), at("c", revision)];
    assert_eq!(try_commit(store, all_wrong, [put("x", "")]).await, conflict("b"));
    let later_wrong = [at("b", revision), at("c", revision), absent("a")];
    assert_eq!(try_commit(store, later_wrong, [put("x", "")]).await, conflict("c"));
    let last_wrong = [at("b", revision), absent("c"), absent("a")];
    assert_eq!(try_commit(store, last_wrong, [put("x", "")]).await, conflict("a"));
}

async fn a_conflict_writes_nothing(store: &dyn Store) {
    let revision = write(store, [put("a", "1"), put("b", "1")]).await;
    let writes = || [put("a", "2"), put("new", "2"), delete("b")];
    assert_eq!(
        try_commit(store, [at("a", revision), absent("b")], writes()).await,
        Err(CommitError::Conflict { key: "b".into() })
    );
    assert_eq!(read(store, "a").await, Some(entry("a", "1", revision)));
    assert_eq!(read(store, "b").await, Some(entry("b", "1", revision)));
    assert_eq!(read(store, "new").await, None);
    assert_eq!(store.revision().await, Ok(revision));
}

async fn a_batch_without_writes_only_checks(store: &dyn Store) {
    let revision = write(store, [put("a", "1")]).await;
    let checked = try_commit(store, [at("a", revision), absent("b")], []).await.expect("both hold");
    assert_eq!(checked.revision, revision);
    assert_eq!(try_commit(store, [absent("a")], []).await, Err(CommitError::Conflict { key: "a".into() }));
    assert_eq!(store.revision().await, Ok(revision));
}

async fn writes_happen_in_order(store: &dyn Store) {
    let revision =
        write(store, [put("a", "1"), put("a", "2"), put("b", "1"), delete("b"), delete("c"), put("c", "1")])
            .await;
    assert_eq!(read(store, "a").await, Some(entry("a", "2", revision)));
    assert_eq!(read(store, "b").await, None);
    assert_eq!(read(store, "c").await, Some(entry("c", "1", revision)));
}

async fn deleting_what_is_not_there_is_no_error(store: &dyn Store) {
    let before = store.revision().await.expect("a store knows its revision");
    assert_eq!(write(store, [delete("nothing")]).await, Revision(before.0 + 1));
    assert_eq!(read(store, "nothing").await, None);
}

async fn a_value_is_gone_from_its_expiry_on(store: &dyn Store) {
    let revision = write(store, [put_until("a", "1", seconds(10)), put("b", "1")]).await;
    let microsecond = Duration::microseconds(1);
    let live = Some(entry("a", "1", revision));
    assert_eq!(read_at(store, "a", seconds(0)).await, live);
    assert_eq!(read_at(store, "a", seconds(10) - microsecond).await, live);
    assert_eq!(read_at(store, "a", seconds(10)).await, None);
    assert_eq!(read_at(store, "a", seconds(11)).await, None);
    assert_eq!(read_at(store, "b", seconds(11)).await, Some(entry("b", "1", revision)));
    let keys = async |now| {
        let range = store.range("", None, 10, now).await.expect("a range is read");
        range.entries.into_iter().map(|e| e.key).collect::<Vec<_>>()
    };
    assert_eq!(keys(seconds(9)).await, ["a", "b"]);
    assert_eq!(keys(seconds(10)).await, ["b"]);
    // Before 1970 and far ahead are times too.
    write(store, [put_until("old", "", time::macros::datetime!(1960-01-01 0:00 UTC))]).await;
    write(store, [put_until("far", "", time::macros::datetime!(9999-12-31 23:59:59.999999999 UTC))]).await;
    assert_eq!(read(store, "old").await, None);
    assert!(read(store, "far").await.is_some());
}

async fn an_expired_value_counts_as_absent_in_conditions(store: &dyn Store) {
    let revision = write(store, [put_until("a", "1", seconds(10))]).await;
    let commit =
        |condition, now| store.commit(Batch { conditions: vec![condition], writes: vec![put("b", "")] }, now);
    let conflict = Err(CommitError::Conflict { key: "a".into() });
    assert_eq!(commit(absent("a"), seconds(9)).await, conflict);
    commit(at("a", revision), seconds(9)).await.expect("still there");
    assert_eq!(commit(at("a", revision), seconds(10)).await, conflict);
    commit(absent("a"), seconds(10)).await.expect("gone");
    let again = Batch { conditions: vec![absent("a")], writes: vec![put("a", "2")] };
    let second = store.commit(again, seconds(10)).await.expect("gone, so it can be made anew");
    assert_eq!(read_at(store, "a", seconds(10)).await, Some(entry("a", "2", second.revision)));
}

async fn a_later_write_takes_the_expiry_away(store: &dyn Store) {
    write(store, [put_until("a", "1", seconds(10)), put_until("b", "1", seconds(10))]).await;
    let revision = write(store, [put("a", "2"), put_until("b", "2", seconds(20))]).await;
    assert_eq!(read_at(store, "a", seconds(100)).await, Some(entry("a", "2", revision)));
    assert_eq!(read_at(store, "b", seconds(19)).await, Some(entry("b", "2", revision)));
    assert_eq!(read_at(store, "b", seconds(20)).await, None);
}

async fn what_is_too_large_is_refused_alone(store: &dyn Store) {
    let long = "k".repeat(Batch::MAX_KEY + 1);
    let large = vec![0; Batch::MAX_VALUE + 1];
    assert_eq!(
        try_commit(store, [], [put("a", ""), put(&long, "")]).await,
        Err(CommitError::Store(StoreError::TooLarge {
            what: "key",
            size: Batch::MAX_KEY + 1,
            limit: Batch::MAX_KEY
        }))
    );
    assert_eq!(
        try_commit(store, [], [put("a", ""), put("b", &large)]).await,
        Err(CommitError::Store(StoreError::TooLarge {
            what: "value",
            size: Batch::MAX_VALUE + 1,
            limit: Batch::MAX_VALUE
        }))
    );
    assert_eq!(read(store, "a").await, None);
}

const COMMITTERS: usize = 16;
const ROUNDS: usize = 10;

fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).expect("a number was stored")
}

/// Each adds to its own counter and to a shared one, by compare-and-swap on both.
async fn counters_under_compare_and_swap_lose_nothing(store: Arc<dyn Store>) {
    let mut tasks = JoinSet::new();
    for committer in 0..COMMITTERS {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let own = format!("own/{committer}");
            let mut revisions = Vec::new();
            while revisions.len() < ROUNDS {
                let found = store.get_many(&["shared", &own], NOW).await.expect("a read succeeds");
                let next = |e: &Option<crate::Entry>| e.as_ref().map_or(0, |e| number(&e.value)) + 1;
                assert_eq!(next(&found[1]), revisions.len() as u64 + 1, "{own} counts what was confirmed");
                let batch = Batch::new()
                    .require(Condition::of(&found[0], "shared"))
                    .require(Condition::of(&found[1], own.as_str()))
                    .write(put("shared", next(&found[0]).to_string()))
                    .write(put(&own, next(&found[1]).to_string()));
                match store.commit(batch, NOW).await {
                    Ok(committed) => revisions.push(committed.revision),
                    Err(CommitError::Conflict { key }) => {
                        assert_eq!(key, "shared", "nobody else writes {own}")
                    }
                    Err(other) => panic!("a commit failed: {other}"),
                }
            }
            revisions
        });
    }
    let mut revisions = tasks.join_all().await.concat();
    let total = COMMITTERS * ROUNDS;
    revisions.sort();
    revisions.dedup();
    assert_eq!(revisions.len(), total, "no two commits share a revision");
    let shared = read(&*store, "shared").await.expect("it was written");
    assert_eq!(number(&shared.value), total as u64, "no update was lost");
    assert_eq!(Some(&shared.revision), revisions.last());
}

async fn only_one_of_many_creates_a_key(store: Arc<dyn Store>) {
    for round in 0..8 {
        let key = format!("secret/{round}");
        let mut tasks = JoinSet::new();
        for committer in 0..COMMITTERS {
            let (store, key) = (Arc::clone(&store), key.clone());
            tasks.spawn(async move {
                let batch =
                    Batch { conditions: vec![absent(&key)], writes: vec![put(&key, committer.to_string())] };
                store.commit(batch, NOW).await.map(|_| committer)
            });
        }
        let answers = tasks.join_all().await;
        let winners: Vec<_> = answers.iter().filter_map(|a| a.as_ref().ok()).collect();
        assert_eq!(winners.len(), 1, "one creates, the others conflict: {answers:?}");
        let found = read(&*store, &key).await.expect("it was created");
        assert_eq!(number(&found.value), *winners[0] as u64);
    }
}

async fn reads_of_several_keys_never_see_half_a_commit(store: Arc<dyn Store>) {
    let writer = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for n in 0..100 {
                let value = n.to_string();
                let writes: Vec<Write> = ["x/a", "x/b", "x/c"].map(|key| put(key, &value)).into();
                write(&*store, writes).await;
            }
        })
    };
    while !writer.is_finished() {
        let found = store.get_many(&["x/a", "x/b", "x/c"], NOW).await.expect("a read succeeds");
        let revisions: Vec<_> = found.iter().map(|e| e.as_ref().map(|e| e.revision)).collect();
        assert!(revisions.windows(2).all(|pair| pair[0] == pair[1]), "half a commit: {revisions:?}");
        let range = store.range("x/", None, 10, NOW).await.expect("a range is read");
        let revisions: Vec<_> = range.entries.iter().map(|e| e.revision).collect();
        assert!(revisions.windows(2).all(|pair| pair[0] == pair[1]), "half a commit: {revisions:?}");
        tokio::task::yield_now().await;
    }
    writer.await.expect("the writer ends well");
}
