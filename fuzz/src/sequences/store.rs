use std::collections::BTreeMap;

use boundkey_store::{
    Batch, CommitError, Condition, Entry, MemorySnapshot, MemoryStore, Revision, Store as _, Write,
};
use time::{Duration, OffsetDateTime};

use super::world::poll;
use super::{Choices, say};
use crate::scene::NOW;

type Model = BTreeMap<String, (Vec<u8>, u64, Option<OffsetDateTime>)>;

/// Batches, reads and ranges against a map that anybody can understand; stepped clocks and restored snapshots too.
pub fn store_batches(data: &[u8]) {
    let mut choices = Choices::new(data);
    let store = MemoryStore::new();
    let (mut model, mut revision, mut now) = (Model::new(), 0, NOW);
    let mut snapshots: Vec<(MemorySnapshot, Model, u64)> = Vec::new();
    while choices.more() {
        match choices.below(8) {
            0..=3 => commit(&store, &mut model, &mut revision, now, &mut choices),
            4 => now += Duration::seconds(i64::from(choices.byte()) - 128),
            5 => snapshots.push((store.snapshot(), model.clone(), revision)),
            6 => {
                if let Some((snapshot, then, at)) = choices.one_of(&snapshots) {
                    store.restore(snapshot);
                    (model, revision) = (then.clone(), *at);
                }
            }
            _ => ranges(&store, &model, now, &mut choices),
        }
        agree(&store, &model, revision, now);
    }
}

/// Few keys, so that they meet; some are prefixes of others.
fn key(choices: &mut Choices<'_>) -> String {
    const NAMES: &[&str] = &["a", "a/", "a/b", "a/b/c", "a0", "b", "lock/x", "lock-of/x"];
    choices.one_of(NAMES).copied().unwrap_or("a").to_owned()
}

fn live<'m>(
    model: &'m Model,
    key: &str,
    now: OffsetDateTime,
) -> Option<&'m (Vec<u8>, u64, Option<OffsetDateTime>)> {
    model.get(key).filter(|(_, _, end)| end.is_none_or(|end| now < end))
}

fn commit(
    store: &MemoryStore,
    model: &mut Model,
    revision: &mut u64,
    now: OffsetDateTime,
    choices: &mut Choices<'_>,
) {
    let mut batch = Batch::new();
    for _ in 0..choices.below(3) {
        let key = key(choices);
        let known = live(model, &key, now).map(|(_, at, _)| *at);
        batch = batch.require(match (choices.below(4), known) {
            (0, _) => Condition::Absent { key },
            (1, _) | (_, None) => Condition::At { key, revision: Revision(u64::from(choices.byte())) },
            (_, Some(at)) => Condition::At { key, revision: Revision(at) },
        });
    }
    for _ in 0..choices.below(4) {
        let key = key(choices);
        let value = vec![choices.byte(); choices.below(4)];
        batch = batch.write(match choices.below(4) {
            0 => Write::Delete { key },
            1 => Write::PutUntil {
                key,
                value,
                expires: now + Duration::seconds(i64::from(choices.byte()) - 64),
            },
            _ => Write::Put { key, value },
        });
    }
    say(&batch);
    let failed = batch.conditions.iter().find(|condition| match condition {
        Condition::Absent { key } => live(model, key, now).is_some(),
        Condition::At { key, revision } => live(model, key, now).is_none_or(|(_, at, _)| *at != revision.0),
    });
    let expected = match failed {
        Some(condition) => Err(CommitError::Conflict { key: condition.key().to_owned() }),
        None => {
            if !batch.writes.is_empty() {
                *revision += 1;
            }
            for write in &batch.writes {
                let (key, value, end) = match write.clone() {
                    Write::Put { key, value } => (key, value, None),
                    Write::PutUntil { key, value, expires } => (key, value, Some(expires)),
                    Write::Delete { key } => {
                        model.remove(&key);
                        continue;
                    }
                };
                model.insert(key, (value, *revision, end));
            }
            Ok(*revision)
        }
    };
    assert_eq!(poll(store.commit(batch, now)).map(|committed| committed.revision.0), expected);
}

fn entry(key: &str, (value, at, _): &(Vec<u8>, u64, Option<OffsetDateTime>)) -> Entry {
    Entry { key: key.to_owned(), value: value.clone(), revision: Revision(*at) }
}

/// Page by page.
fn ranges(store: &MemoryStore, model: &Model, now: OffsetDateTime, choices: &mut Choices<'_>) {
    let prefix = if choices.flag() { key(choices) } else { String::new() };
    let limit = choices.below(4);
    let mut after: Option<String> = None;
    let mut seen = Vec::new();
    for _ in 0..=model.len() {
        let page = poll(store.range(&prefix, after.as_deref(), limit, now)).expect("a page");
        assert!(page.entries.len() <= limit.max(1));
        seen.extend(page.entries);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(after, None, "the pages have no end");
    let expected: Vec<_> = model
        .keys()
        .filter(|key| key.starts_with(&prefix))
        .filter_map(|key| Some(entry(key, live(model, key, now)?)))
        .collect();
    assert_eq!(seen, expected);
}

fn agree(store: &MemoryStore, model: &Model, revision: u64, now: OffsetDateTime) {
    assert_eq!(poll(store.revision()), Ok(Revision(revision)));
    let mut names: Vec<&str> = model.keys().map(String::as_str).collect();
    names.push("nothing");
    let expected: Vec<_> =
        names.iter().map(|key| live(model, key, now).map(|found| entry(key, found))).collect();
    assert_eq!(poll(store.get_many(&names, now)), Ok(expected));
}
