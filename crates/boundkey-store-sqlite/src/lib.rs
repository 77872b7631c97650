//! The embedded store: SQLite in WAL mode, one writer thread with group commit.
#![allow(missing_docs, unused_variables, clippy::todo, reason = "skeleton")]
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use boundkey_store::{Batch, CommitError, Committed, Entry, Range, Revision, Store, StoreError, Watch};
use time::OffsetDateTime;

pub struct SqliteStore {
    _todo: (),
}
impl SqliteStore {
    /// Opens or creates; migrates to the present schema; refuses a newer one.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        todo!()
    }
    /// A consistent copy of the running store (SQLite's backup interface).
    pub async fn backup_to(&self, path: &Path) -> Result<(), StoreError> {
        todo!()
    }
}
#[async_trait]
impl Store for SqliteStore {
    async fn get_many(&self, keys: &[&str], now: OffsetDateTime) -> Result<Vec<Option<Entry>>, StoreError> {
        todo!()
    }
    async fn commit(&self, batch: Batch, now: OffsetDateTime) -> Result<Committed, CommitError> {
        todo!()
    }
    async fn range(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        now: OffsetDateTime,
    ) -> Result<Range, StoreError> {
        todo!()
    }
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        todo!()
    }
    async fn revision(&self) -> Result<Revision, StoreError> {
        todo!()
    }
}

/// The implementer adds variants: not a database, newer schema, read-only, full, ...
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot open {path}: {cause}")]
    Failed { path: PathBuf, cause: String },
}
