use std::sync::Arc;

use super::{NOW, delete, entry, put, put_until, seconds, write};
use crate::{Change, Measure, Store};

pub(super) async fn run(make: &impl AsyncFn() -> Arc<dyn Store>) {
    a_range_is_in_bytewise_order(&*make().await).await;
    a_prefix_is_taken_literally(&*make().await).await;
    a_prefix_may_end_in_the_last_characters_there_are(&*make().await).await;
    pages_join_without_gap_or_repeat(&*make().await).await;
    the_last_page_says_so(&*make().await).await;
    after_may_be_any_key(&*make().await).await;
    expired_entries_do_not_fill_pages(&*make().await).await;
    a_measure_counts_what_lies_under_a_prefix(&*make().await).await;
    the_first_keys_are_dropped_without_a_trace(&*make().await).await;
}

async fn fill(store: &dyn Store, keys: &[&str]) {
    write(store, keys.iter().map(|key| put(key, format!("value of {key}")))).await;
}

async fn page(
    store: &dyn Store,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> (Vec<String>, Option<String>) {
    let range = store.range(prefix, after, limit, NOW).await.expect("a range is read");
    for entry in &range.entries {
        assert_eq!(entry.value, format!("value of {}", entry.key).as_bytes());
    }
    (range.entries.into_iter().map(|e| e.key).collect(), range.next)
}

async fn keys(store: &dyn Store, prefix: &str) -> Vec<String> {
    let (keys, next) = page(store, prefix, None, 1000).await;
    assert_eq!(next, None);
    keys
}

async fn a_range_is_in_bytewise_order(store: &dyn Store) {
    // U+FFFD sorts before U+10000 bytewise (in UTF-16 it would not), capitals before small letters.
    let ordered = ["", "A", "B", "a", "a-", "a.", "a/", "aa", "b", "\u{e4}", "\u{fffd}", "\u{10000}"];
    let mut shuffled = ordered;
    shuffled.reverse();
    shuffled.swap(1, 6);
    fill(store, &shuffled).await;
    assert_eq!(keys(store, "").await, ordered);
}

async fn a_prefix_is_taken_literally(store: &dyn Store) {
    fill(store, &["a", "a_b/1", "a_b/2", "axb/1", "a%b/1", "aaab/1", "A_B/1", "a*b/1", "a[b]/1", "a'b/1"])
        .await;
    assert_eq!(keys(store, "a_b/").await, ["a_b/1", "a_b/2"]);
    assert_eq!(keys(store, "a%b/").await, ["a%b/1"]);
    assert_eq!(keys(store, "a*").await, ["a*b/1"]);
    assert_eq!(keys(store, "a[").await, ["a[b]/1"]);
    assert_eq!(keys(store, "a'").await, ["a'b/1"]);
    assert_eq!(keys(store, "A").await, ["A_B/1"]);
    assert_eq!(keys(store, "axb/1").await, ["axb/1"], "a whole key is a prefix of itself");
    assert_eq!(keys(store, "axb/12").await, [""; 0]);
    assert_eq!(keys(store, "zzz").await, [""; 0]);
}

async fn a_prefix_may_end_in_the_last_characters_there_are(store: &dyn Store) {
    let last = "\u{10ffff}";
    let before_surrogates = "\u{d7ff}";
    let all = [
        "a\u{7f}",
        "a\u{7f}1",
        "a\u{ff}",
        "a\u{ff}1",
        "a\u{100}",
        "a\u{d7ff}",
        "a\u{d7ff}1",
        "a\u{e000}",
        "a\u{10ffff}",
        "a\u{10ffff}1",
        "a\u{10ffff}\u{10ffff}",
        "b",
        "\u{10ffff}",
        "\u{10ffff}\u{10ffff}1",
    ];
    fill(store, &all).await;
    assert_eq!(keys(store, "a\u{7f}").await, ["a\u{7f}", "a\u{7f}1"]);
    assert_eq!(keys(store, "a\u{ff}").await, ["a\u{ff}", "a\u{ff}1"]);
    assert_eq!(keys(store, &format!("a{before_surrogates}")).await, ["a\u{d7ff}", "a\u{d7ff}1"]);
    assert_eq!(
        keys(store, &format!("a{last}")).await,
        ["a\u{10ffff}", "a\u{10ffff}1", "a\u{10ffff}\u{10ffff}"]
    );
    assert_eq!(keys(store, &format!("a{last}{last}")).await, ["a\u{10ffff}\u{10ffff}"]);
    assert_eq!(keys(store, last).await, ["\u{10ffff}", "\u{10ffff}\u{10ffff}1"]);
    assert_eq!(keys(store, &format!("{last}{last}")).await, ["\u{10ffff}\u{10ffff}1"]);
    assert_eq!(keys(store, "").await, all);
}

async fn pages_join_without_gap_or_repeat(store: &dyn Store) {
    let wanted: Vec<String> = (0..25).map(|n| format!("p/{n:02}")).collect();
    fill(store, &wanted.iter().map(String::as_str).collect::<Vec<_>>()).await;
    fill(store, &["o/99", "p", "p.", "p0", "q/00"]).await;
    for limit in [1, 2, 7, 24, 25, 26, usize::MAX] {
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let (keys, next) = page(store, "p/", after.as_deref(), limit).await;
            assert!(!keys.is_empty() && keys.len() <= limit, "limit {limit}: {keys:?}");
            seen.extend(keys);
            if next.is_none() {
                break;
            }
            assert_eq!(next.as_ref(), seen.last(), "next is the last key of its page");
            after = next;
        }
        assert_eq!(seen, wanted, "limit {limit}");
    }
}

async fn the_last_page_says_so(store: &dyn Store) {
    assert_eq!(page(store, "", None, 10).await, (vec![], None));
    fill(store, &["k/1", "k/2", "l/1"]).await;
    assert_eq!(page(store, "k/", None, 2).await, (vec!["k/1".into(), "k/2".into()], None));
    assert_eq!(page(store, "k/", None, 1).await, (vec!["k/1".into()], Some("k/1".into())));
    assert_eq!(page(store, "k/", Some("k/1"), 1).await, (vec!["k/2".into()], None));
    assert_eq!(page(store, "k/", None, 0).await, page(store, "k/", None, 1).await, "a limit of 0 reads as 1");
}

async fn after_may_be_any_key(store: &dyn Store) {
    fill(store, &["k/1", "k/2", "k/3"]).await;
    let after = async |after: &str| page(store, "k/", Some(after), 10).await.0;
    assert_eq!(after("").await, ["k/1", "k/2", "k/3"]);
    assert_eq!(after("a").await, ["k/1", "k/2", "k/3"], "before the prefix");
    assert_eq!(after("k/").await, ["k/1", "k/2", "k/3"], "the prefix itself");
    assert_eq!(after("k/1").await, ["k/2", "k/3"]);
    assert_eq!(after("k/1x").await, ["k/2", "k/3"], "a key that does not exist");
    assert_eq!(after("k/3").await, [""; 0]);
    assert_eq!(after("z").await, [""; 0], "behind the prefix");
    // A page goes on where it stopped although that key was deleted meanwhile.
    write(store, [delete("k/1")]).await;
    assert_eq!(after("k/1").await, ["k/2", "k/3"]);
}

async fn expired_entries_do_not_fill_pages(store: &dyn Store) {
    for n in 0..20 {
        write(store, [put_until(&format!("k/{n:02}"), "", seconds(if n % 5 == 0 { 100 } else { 1 }))]).await;
    }
    let range = store.range("k/", None, 3, seconds(2)).await.expect("a range is read");
    let keys: Vec<_> = range.entries.iter().map(|e| e.key.as_str()).collect();
    assert_eq!(keys, ["k/00", "k/05", "k/10"]);
    assert_eq!(range.next.as_deref(), Some("k/10"));
    let range = store.range("k/", Some("k/10"), 3, seconds(2)).await.expect("a range is read");
    assert_eq!(range.entries.len(), 1);
    assert_eq!(range.next, None, "what follows has expired");
}

async fn a_measure_counts_what_lies_under_a_prefix(store: &dyn Store) {
    let measure = async |prefix: &str| store.measure(prefix, NOW).await.expect("a range is measured");
    assert_eq!(measure("k/").await, Measure::default());
    write(store, [put("k/1", "12345"), put("k/22", ""), put("k0", "other"), put("j", "other")]).await;
    assert_eq!(measure("k/").await, Measure { entries: 2, bytes: 12 });
    write(store, [put_until("k/3", "x", seconds(-100))]).await;
    assert_eq!(measure("k/").await, Measure { entries: 2, bytes: 12 }, "what has expired is not there");
    write(store, [put_until("k/3", "x", seconds(100))]).await;
    assert_eq!(measure("k/").await, Measure { entries: 3, bytes: 16 });
    assert_eq!(measure("").await.entries, 5);
    // More than a store reads at a time.
    for page in 0..30 {
        write(store, (0..1000).map(|n| put(&format!("m/{page:02}{n:03}"), "v"))).await;
    }
    assert_eq!(measure("m/").await, Measure { entries: 30_000, bytes: 8 * 30_000 });
}

async fn the_first_keys_are_dropped_without_a_trace(store: &dyn Store) {
    fill(store, &["k/1", "k/2", "k/3", "k/4", "k", "k0", "j/1", "l/1"]).await;
    let revision = store.revision().await.expect("a revision");
    let mut watch = store.watch("", revision).await.expect("a watch");
    let drop_first = async |before: &str, at_most| {
        store.drop_first("k/", before, at_most).await.expect("keys are dropped")
    };
    assert_eq!(drop_first("k/", 10).await, 0, "nothing under the prefix is less");
    assert_eq!(drop_first("a", 10).await, 0);
    assert_eq!(drop_first("k/4", 2).await, 2, "the first ones first");
    assert_eq!(keys(store, "k/").await, ["k/3", "k/4"]);
    assert_eq!(drop_first("k/4", 10).await, 1, "not the bound itself");
    assert_eq!(
        drop_first("z", 0).await,
        1,
        "0 reads as 1, and a bound behind the prefix is the prefix's end"
    );
    assert_eq!(drop_first("z", 10).await, 0);
    assert_eq!(keys(store, "").await, ["j/1", "k", "k0", "l/1"], "nothing else");
    assert_eq!(store.revision().await, Ok(revision), "no commit");
    let next = write(store, [put("k/1", "again")]).await;
    assert_eq!(
        watch.next().await,
        Ok(vec![Change::Put(entry("k/1", "again", next))]),
        "nothing reported before"
    );
}
