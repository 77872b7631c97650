use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::{
    Batch, Change, ChangeLog, CommitError, Committed, Condition, Entry, Measure, Range, Revision, Store,
    StoreError, Watch, Write,
};

/// Everything in memory, for tests and simulations.
///
/// Every future but that of a [`Watch`] is ready at once, so that a simulation may poll it without
/// a runtime. Nothing that has expired is ever dropped: a clock that goes back finds it again.
pub struct MemoryStore {
    content: Mutex<Content>,
    log: Arc<ChangeLog>,
}

/// The whole content of a [`MemoryStore`] at one moment, its revision included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemorySnapshot(Content);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Content {
    revision: Revision,
    entries: BTreeMap<String, Stored>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Stored {
    value: Vec<u8>,
    revision: Revision,
    /// Microseconds since 1970.
    expires: Option<i128>,
}

impl MemoryStore {
    /// An empty store at revision 0.
    pub fn new() -> Self {
        let log = ChangeLog::new(Revision(0), ChangeLog::DEFAULT_BYTES);
        Self { content: Mutex::new(Content::default()), log }
    }

    /// A backup, as it were.
    pub fn snapshot(&self) -> MemorySnapshot {
        MemorySnapshot(self.lock().clone())
    }

    /// Goes back (or forth) to a snapshot, its revision included. Watches under way end with
    /// [`StoreError::Compacted`], as they would with a server restarted from a backup.
    pub fn restore(&self, snapshot: &MemorySnapshot) {
        let mut content = self.lock();
        *content = snapshot.0.clone();
        self.log.reset(content.revision);
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Content {
    fn live(&self, key: &str, now: i128) -> Option<&Stored> {
        self.entries.get(key).filter(|stored| stored.is_live(now))
    }

    fn under(&self, prefix: &str) -> impl Iterator<Item = (&String, &Stored)> {
        let from = self.entries.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        from.take_while(move |(key, _)| key.starts_with(prefix))
    }

    fn holds(&self, condition: &Condition, now: i128) -> bool {
        match condition {
            Condition::At { key, revision } => {
                self.live(key, now).is_some_and(|stored| stored.revision == *revision)
            }
            Condition::Absent { key } => self.live(key, now).is_none(),
        }
    }

    fn apply(&mut self, write: Write, changes: &mut Vec<Change>) {
        let revision = self.revision;
        let (key, value, expires) = match write {
            Write::Put { key, value } => (key, value, None),
            Write::PutUntil { key, value, expires } => (key, value, Some(micros(expires))),
            Write::Delete { key } => {
                if self.entries.remove(&key).is_some() {
                    changes.push(Change::Deleted { key, revision });
                }
                return;
            }
        };
        changes.push(Change::Put(Entry { key: key.clone(), value: value.clone(), revision }));
        self.entries.insert(key, Stored { value, revision, expires });
    }
}

impl Stored {
    fn is_live(&self, now: i128) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    fn entry(&self, key: &str) -> Entry {
        Entry { key: key.to_owned(), value: self.value.clone(), revision: self.revision }
    }
}

fn micros(at: OffsetDateTime) -> i128 {
    at.unix_timestamp_nanos().div_euclid(1000)
}

#[async_trait]
impl Store for MemoryStore {
    async fn get_many(&self, keys: &[&str], now: OffsetDateTime) -> Result<Vec<Option<Entry>>, StoreError> {
        let content = self.lock();
        let now = micros(now);
        Ok(keys.iter().map(|key| content.live(key, now).map(|stored| stored.entry(key))).collect())
    }

    async fn commit(&self, batch: Batch, now: OffsetDateTime) -> Result<Committed, CommitError> {
        batch.check_sizes()?;
        let mut content = self.lock();
        let now = micros(now);
        if let Some(failed) = batch.conditions.iter().find(|condition| !content.holds(condition, now)) {
            return Err(CommitError::Conflict { key: failed.key().to_owned() });
        }
        if !batch.writes.is_empty() {
            content.revision.0 += 1;
            let mut changes = Vec::with_capacity(batch.writes.len());
            for write in batch.writes {
                content.apply(write, &mut changes);
            }
            self.log.append(content.revision, changes);
        }
        Ok(Committed { revision: content.revision })
    }

    async fn range(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        now: OffsetDateTime,
    ) -> Result<Range, StoreError> {
        let content = self.lock();
        let now = micros(now);
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut live = content
            .entries
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(_, stored)| stored.is_live(now));
        let entries: Vec<Entry> =
            live.by_ref().take(limit.max(1)).map(|(key, stored)| stored.entry(key)).collect();
        let next = live.next().and_then(|_| entries.last().map(|last| last.key.clone()));
        Ok(Range { entries, next })
    }

    async fn measure(&self, prefix: &str, now: OffsetDateTime) -> Result<Measure, StoreError> {
        let (mut measure, now) = (Measure::default(), micros(now));
        for (key, stored) in self.lock().under(prefix).filter(|(_, stored)| stored.is_live(now)) {
            measure.entries += 1;
            measure.bytes += (key.len() + stored.value.len()) as u64;
        }
        Ok(measure)
    }

    async fn drop_first(&self, prefix: &str, before: &str, at_most: usize) -> Result<usize, StoreError> {
        let mut content = self.lock();
        let first = content.under(prefix).map(|(key, _)| key).take_while(|key| key.as_str() < before);
        let first: Vec<String> = first.take(at_most.max(1)).cloned().collect();
        for key in &first {
            content.entries.remove(key);
        }
        Ok(first.len())
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        Ok(self.log.watch(prefix, after))
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        Ok(self.lock().revision)
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        self.log.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn the_memory_store_conforms() {
        conformance::run(async || Arc::new(MemoryStore::new()) as Arc<dyn Store>).await;
    }

    const NOW: OffsetDateTime = time::macros::datetime!(2030-06-01 12:00 UTC);

    fn put(key: &str) -> Batch {
        Batch::new().write(Write::Put { key: key.to_owned(), value: vec![] })
    }

    #[tokio::test]
    async fn a_restore_brings_back_content_and_revision() {
        let store = MemoryStore::new();
        store.commit(put("a"), NOW).await.unwrap();
        let backup = store.snapshot();
        let mut watch = store.watch("", Revision(1)).await.unwrap();
        store.commit(put("b"), NOW).await.unwrap();
        store.restore(&backup);
        assert_eq!(store.revision().await, Ok(Revision(1)));
        assert_eq!(store.get_many(&["b"], NOW).await, Ok(vec![None]));
        assert_eq!(watch.next().await, Err(StoreError::Compacted { after: Revision(1) }));
        assert_eq!(store.snapshot(), backup);
    }

    #[test]
    fn everything_but_a_watch_is_ready_at_the_first_poll() {
        fn ready<T>(future: impl Future<Output = T>) -> T {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            match std::pin::pin!(future).poll(&mut context) {
                std::task::Poll::Ready(value) => value,
                std::task::Poll::Pending => panic!("not ready"),
            }
        }
        let store = MemoryStore::new();
        ready(store.commit(put("a"), NOW)).unwrap();
        assert_eq!(ready(store.revision()), Ok(Revision(1)));
        assert!(ready(store.get_many(&["a"], NOW)).unwrap()[0].is_some());
        assert_eq!(ready(store.range("", None, 1, NOW)).unwrap().entries.len(), 1);
        let mut watch = ready(store.watch("", Revision(0))).unwrap();
        assert_eq!(ready(watch.next()).unwrap().len(), 1);
    }
}
