use async_trait::async_trait;
use time::OffsetDateTime;

/// Grows with every commit of the store; a record's revision is that of the commit that wrote it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize,
)]
pub struct Revision(pub u64);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub value: Vec<u8>,
    pub revision: Revision,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    At { key: String, revision: Revision },
    Absent { key: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    Put { key: String, value: Vec<u8> },
    PutUntil { key: String, value: Vec<u8>, expires: OffsetDateTime },
    Delete { key: String },
}

/// Conditions are checked in order, then all writes happen, or none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    pub conditions: Vec<Condition>,
    pub writes: Vec<Write>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    pub revision: Revision,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    #[error("the record {key} has changed meanwhile")]
    Conflict { key: String },
    /// The connection was lost: it may or may not have happened; solved by the attempt id.
    #[error("the outcome of the commit is unknown: {0}")]
    Unknown(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store failed: {0}")]
pub struct StoreError(pub String);

/// `after`: the last key of the page before (exclusive). `next`: the `after` of the next page, None at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    pub entries: Vec<Entry>,
    pub next: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Put(Entry),
    Deleted { key: String, revision: Revision },
}

/// Changes under a prefix; may report late, never skips. `next` waits.
#[async_trait]
pub trait Watch: Send {
    /// The next changes, at least one; Err(Compacted) if the asked revision is too old: read the range anew.
    async fn next(&mut self) -> Result<Vec<Change>, StoreError>;
}

/// Keys are ordered bytewise. Expired entries are absent (judged by `now` as given to the call).
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// One consistent read; the answer is in the order of `keys`.
    async fn get_many(&self, keys: &[&str], now: OffsetDateTime) -> Result<Vec<Option<Entry>>, StoreError>;
    /// Durable when it returns.
    async fn commit(&self, batch: Batch, now: OffsetDateTime) -> Result<Committed, CommitError>;
    async fn range(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        now: OffsetDateTime,
    ) -> Result<Range, StoreError>;
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>, StoreError>;
    /// The revision of the last commit.
    async fn revision(&self) -> Result<Revision, StoreError>;
}
