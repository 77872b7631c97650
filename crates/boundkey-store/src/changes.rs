use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::{Change, Revision, StoreError, Watch};

/// The latest changes, kept in memory for watches: for stores that are written by one process.
///
/// Bounded: a watch that falls too far behind is told so ([`StoreError::Compacted`]) instead of
/// missing something.
pub struct ChangeLog {
    kept: Mutex<Kept>,
    news: Notify,
    max_bytes: usize,
}

struct Kept {
    changes: VecDeque<Change>,
    bytes: usize,
    /// Every change later than this is in `changes`.
    complete_after: Revision,
    last: Revision,
    /// Counts resets: a watch of an earlier one has lost its place.
    era: u64,
    closed: bool,
}

impl ChangeLog {
    /// How many bytes of changes are kept by default.
    pub const DEFAULT_BYTES: usize = 8 * 1024 * 1024;

    /// An empty log of a store whose last commit is `last`.
    pub fn new(last: Revision, max_bytes: usize) -> Arc<Self> {
        let kept =
            Kept { changes: VecDeque::new(), bytes: 0, complete_after: last, last, era: 0, closed: false };
        Arc::new(Self { kept: Mutex::new(kept), news: Notify::new(), max_bytes })
    }

    /// The revision of the last commit that was appended.
    pub fn revision(&self) -> Revision {
        self.lock().last
    }

    /// Appends what commits up to `last` changed, in their order. Call it after the commit is
    /// durable, and in the order of the commits.
    pub fn append(&self, last: Revision, changes: impl IntoIterator<Item = Change>) {
        let mut kept = self.lock();
        for change in changes {
            kept.bytes += size(&change);
            kept.changes.push_back(change);
        }
        while kept.bytes > self.max_bytes
            && let Some(oldest) = kept.changes.pop_front()
        {
            kept.bytes -= size(&oldest);
            kept.complete_after = oldest.revision();
        }
        kept.last = last;
        drop(kept);
        self.news.notify_waiters();
    }

    /// Starts anew at `last`, after a restore or when somebody else has written: every watch that
    /// is under way ends with [`StoreError::Compacted`].
    pub fn reset(&self, last: Revision) {
        let mut kept = self.lock();
        kept.changes.clear();
        kept.bytes = 0;
        kept.complete_after = last;
        kept.last = last;
        kept.era += 1;
        drop(kept);
        self.news.notify_waiters();
    }

    /// Ends every watch, once it has reported what is here.
    pub fn close(&self) {
        self.lock().closed = true;
        self.news.notify_waiters();
    }

    /// A watch on `prefix` from `after` (exclusive) on.
    pub fn watch(self: &Arc<Self>, prefix: &str, after: Revision) -> Box<dyn Watch> {
        let era = self.lock().era;
        Box::new(LogWatch { log: Arc::clone(self), prefix: prefix.to_owned(), after, era })
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size(change: &Change) -> usize {
    let value = match change {
        Change::Put(entry) => entry.value.len(),
        Change::Deleted { .. } => 0,
    };
    std::mem::size_of::<Change>() + change.key().len() + value
}

struct LogWatch {
    log: Arc<ChangeLog>,
    prefix: String,
    after: Revision,
    era: u64,
}

impl LogWatch {
    /// What has come since, or an empty list.
    fn poll(&mut self) -> Result<Vec<Change>, StoreError> {
        let kept = self.log.lock();
        if kept.era != self.era || self.after < kept.complete_after || self.after > kept.last {
            return Err(StoreError::Compacted { after: self.after });
        }
        let start = kept.changes.partition_point(|change| change.revision() <= self.after);
        let news: Vec<Change> =
            kept.changes.range(start..).filter(|c| c.key().starts_with(&self.prefix)).cloned().collect();
        self.after = kept.last;
        if news.is_empty() && kept.closed {
            return Err(StoreError::Closed);
        }
        Ok(news)
    }
}

#[async_trait]
impl Watch for LogWatch {
    async fn next(&mut self) -> Result<Vec<Change>, StoreError> {
        let log = Arc::clone(&self.log);
        loop {
            // Enlisted before looking, so that nothing falls between the look and the wait.
            let mut news = std::pin::pin!(log.news.notified());
            news.as_mut().enable();
            let changes = self.poll()?;
            if !changes.is_empty() {
                return Ok(changes);
            }
            news.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deleted(key: &str, revision: u64) -> Change {
        Change::Deleted { key: key.to_owned(), revision: Revision(revision) }
    }

    #[tokio::test]
    async fn a_watch_that_fell_behind_is_told_so_and_one_that_kept_up_is_not() {
        let log = ChangeLog::new(Revision(0), 3 * size(&deleted("k", 1)));
        let mut slow = log.watch("", Revision(0));
        for revision in 1..=4 {
            log.append(Revision(revision), [deleted("k", revision)]);
        }
        assert_eq!(slow.next().await, Err(StoreError::Compacted { after: Revision(0) }));
        let mut quick = log.watch("", Revision(1));
        assert_eq!(quick.next().await, Ok(vec![deleted("k", 2), deleted("k", 3), deleted("k", 4)]));
    }

    #[tokio::test]
    async fn half_of_a_commit_is_never_reported() {
        let log = ChangeLog::new(Revision(0), 2 * size(&deleted("k", 1)));
        log.append(Revision(1), [deleted("a", 1), deleted("b", 1), deleted("c", 1)]);
        assert_eq!(
            log.watch("", Revision(0)).next().await,
            Err(StoreError::Compacted { after: Revision(0) })
        );
    }

    #[tokio::test]
    async fn a_revision_of_an_undone_future_is_compacted() {
        let log = ChangeLog::new(Revision(50), ChangeLog::DEFAULT_BYTES);
        let mut ahead = log.watch("", Revision(60));
        assert_eq!(ahead.next().await, Err(StoreError::Compacted { after: Revision(60) }));
        let mut before_reset = log.watch("", Revision(50));
        log.reset(Revision(50));
        assert_eq!(before_reset.next().await, Err(StoreError::Compacted { after: Revision(50) }));
    }

    #[tokio::test]
    async fn closing_ends_a_watch_after_its_last_report() {
        let log = ChangeLog::new(Revision(0), ChangeLog::DEFAULT_BYTES);
        let mut watch = log.watch("k", Revision(0));
        log.append(Revision(1), [deleted("k", 1)]);
        log.close();
        assert_eq!(watch.next().await, Ok(vec![deleted("k", 1)]));
        assert_eq!(watch.next().await, Err(StoreError::Closed));
    }
}
