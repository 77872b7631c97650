use async_trait::async_trait;
use time::OffsetDateTime;

use crate::{Batch, CommitError, Committed, Entry, Range, Revision, Store, StoreError, Watch};

/// Everything in memory; futures are ready at once (so a simulation may poll them without a runtime). Snapshot and restore for tests.
pub struct MemoryStore {
    _todo: (),
}
impl MemoryStore {
    pub fn new() -> Self {
        todo!()
    }
    pub fn snapshot(&self) -> Vec<u8> {
        todo!()
    }
    pub fn restore(&self, snapshot: &[u8]) {
        todo!()
    }
}
#[async_trait]
impl Store for MemoryStore {
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
