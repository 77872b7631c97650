//! The embedded store: one SQLite file in WAL mode, written by one thread that lets many commits
//! share one sync.
//!
//! ```text
//!  commit ──┐                       ┌── BEGIN IMMEDIATE
//!  commit ──┼──▶ queue ──▶ writer ──┤   each batch: conditions, then writes
//!  commit ──┘                       └── COMMIT: one sync ──▶ every caller is answered
//!
//!  get_many, range ──▶ a few connections that only read: they wait for no writer
//!  watch           ──▶ the latest changes, in memory
//! ```
//!
//! What it does NOT do: it knows nothing of what it stores (records are `boundkey-store`'s), it
//! reads no clock (each call brings its `now`), and it does not keep a second server off the file:
//! that is the server's lock on its data directory.
//!
//! Beside the file `NAME` there may be `NAME-wal` and `NAME-shm`, plain files of mode 0600 like
//! `NAME`. When the server is stopped, even by a crash, copying them together is a backup;
//! while it runs, [`SqliteStore::backup_to`] makes one. The chapter is `docs/storage.md`.
//!
//! ```
//! use boundkey_store::{Batch, Condition, Store, Write};
//! use boundkey_store_sqlite::SqliteStore;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let store = SqliteStore::open(&dir.path().join("boundkey.db"))?;
//! let now = time::macros::datetime!(2030-06-01 12:00 UTC);
//! let batch = Batch::new()
//!     .require(Condition::Absent { key: "greeting".into() })
//!     .write(Write::Put { key: "greeting".into(), value: b"hello".to_vec() });
//! let committed = store.commit(batch, now).await?;
//! let found = store.get_many(&["greeting"], now).await?.remove(0).expect("it was just written");
//! assert_eq!((found.value.as_slice(), found.revision), (&b"hello"[..], committed.revision));
//! # Ok(())
//! # }
//! ```

mod backup;
mod broom;
mod cause;
mod open;
mod readers;
mod schema;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use boundkey_store::{
    Batch, ChangeLog, CommitError, Committed, Entry, Measure, Range, Revision, Store, StoreError, Watch,
};
use time::OffsetDateTime;

pub use open::OpenError;

use readers::Readers;
use writer::Writer;

/// A store in one SQLite file.
///
/// Dropping it waits for the commits that are under way, and leaves the file by itself, without
/// `-wal` and `-shm`.
pub struct SqliteStore {
    // In the order in which they are dropped: what is queued is written before the last reader goes.
    writer: Writer,
    readers: Readers,
    log: Arc<ChangeLog>,
    path: PathBuf,
}

impl SqliteStore {
    /// Opens or creates (mode 0600, in a directory that exists); migrates to the present schema;
    /// refuses a newer one, and any file that is not a store.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: each says what was found and what to do.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let (connection, path) = open::open(path)?;
        let failed = |error| open::explain(&path, &error);
        let last = schema::revision(&connection).map_err(failed)?;
        let log = ChangeLog::new(last, ChangeLog::DEFAULT_BYTES);
        let readers = Readers::open(&path).map_err(failed)?;
        let writer = Writer::start(connection, Arc::clone(&log))
            .map_err(|error| OpenError::Failed { path: path.clone(), cause: error.to_string() })?;
        Ok(Self { writer, readers, log, path })
    }

    /// A consistent copy of the running store in one plain file of mode 0600: complete and synced
    /// when this returns, absent (or what it was before) if it fails. Replaces a file that is there.
    ///
    /// # Errors
    ///
    /// [`StoreError`], also for a `path` that is the store itself or no plain file.
    pub async fn backup_to(&self, path: &Path) -> Result<(), StoreError> {
        backup::run(self.path.clone(), path.to_owned()).await
    }

    /// Drops what has expired by `now`, to win back its room; nothing else changes, not even the
    /// revision. In steps: commits go on between them. The writer does so by itself, a day late so
    /// that a clock that was wrong for a while costs nothing. Returns how many entries went.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it could not be written.
    pub async fn purge_expired(&self, now: OffsetDateTime) -> Result<usize, StoreError> {
        self.writer.purge(now).await
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn get_many(&self, keys: &[&str], now: OffsetDateTime) -> Result<Vec<Option<Entry>>, StoreError> {
        self.readers.get_many(keys, now)
    }

    async fn commit(&self, batch: Batch, now: OffsetDateTime) -> Result<Committed, CommitError> {
        batch.check_sizes()?;
        self.writer.commit(batch, now).await
    }

    async fn range(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        now: OffsetDateTime,
    ) -> Result<Range, StoreError> {
        self.readers.range(prefix, after, limit, now)
    }

    async fn measure(&self, prefix: &str, now: OffsetDateTime) -> Result<Measure, StoreError> {
        let (mut measure, mut after) = (Measure::default(), None);
        loop {
            let (step, last) = self.readers.measure(prefix, after.as_deref(), now)?;
            measure.entries += step.entries;
            measure.bytes += step.bytes;
            if last.is_none() {
                return Ok(measure);
            }
            after = last;
            // Whoever else waits for this thread has its turn.
            tokio::task::yield_now().await;
        }
    }

    async fn drop_first(&self, prefix: &str, before: &str, at_most: usize) -> Result<usize, StoreError> {
        self.writer.drop_first(prefix, before, at_most).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        Ok(self.log.watch(prefix, after))
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        Ok(self.log.revision())
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.writer.stop();
        self.log.close();
    }
}

/// As times are stored: microseconds since 1970.
fn micros(at: OffsetDateTime) -> i64 {
    let micros = at.unix_timestamp_nanos().div_euclid(1000);
    i64::try_from(micros).unwrap_or(if micros < 0 { i64::MIN } else { i64::MAX })
}
