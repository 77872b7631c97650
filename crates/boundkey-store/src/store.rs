use async_trait::async_trait;
use time::OffsetDateTime;

/// Grows by one with every commit that writes; a record's revision is that of the commit that wrote it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize,
)]
pub struct Revision(pub u64);

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One stored value, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is stored; see [`keys`](crate::keys).
    pub key: String,
    /// An encoded [`Record`](crate::records::Record).
    pub value: Vec<u8>,
    /// The commit that wrote it.
    pub revision: Revision,
}

/// What must hold for a commit to happen. An expired entry counts as absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The key was last written by this very commit.
    At {
        /// The key that was read.
        key: String,
        /// Its revision then.
        revision: Revision,
    },
    /// There is nothing under the key.
    Absent {
        /// The key that was read, and not found.
        key: String,
    },
}

impl Condition {
    /// "As I read it": the revision that `found` has, or absence.
    pub fn of(found: &Option<Entry>, key: impl Into<String>) -> Self {
        match found {
            Some(entry) => Self::At { key: key.into(), revision: entry.revision },
            None => Self::Absent { key: key.into() },
        }
    }

    /// The key that the condition is about.
    pub fn key(&self) -> &str {
        match self {
            Self::At { key, .. } | Self::Absent { key } => key,
        }
    }
}

/// One change that a commit makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets the value, and takes away an expiry that the key had.
    Put {
        /// Where.
        key: String,
        /// What.
        value: Vec<u8>,
    },
    /// Sets the value until a time: from `expires` on the key is absent. Kept to the microsecond.
    PutUntil {
        /// Where.
        key: String,
        /// What.
        value: Vec<u8>,
        /// The first instant at which it is gone.
        expires: OffsetDateTime,
    },
    /// Removes the key. It is no error if there is none.
    Delete {
        /// Which.
        key: String,
    },
}

impl Write {
    /// The key that is written.
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::PutUntil { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// Conditions are checked in order, then all writes happen in order, or none of them.
///
/// Without writes it only checks: nothing is stored, and the revision stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// The first that does not hold is the conflict that is reported.
    pub conditions: Vec<Condition>,
    /// Of two writes to one key the later wins.
    pub writes: Vec<Write>,
}

impl Batch {
    /// The longest key, in bytes.
    pub const MAX_KEY: usize = 1024;
    /// The largest value, in bytes.
    pub const MAX_VALUE: usize = 1024 * 1024;

    /// A batch that changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition.
    #[must_use]
    pub fn require(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }

    /// Adds a write.
    #[must_use]
    pub fn write(mut self, write: Write) -> Self {
        self.writes.push(write);
        self
    }

    /// Refuses what some store could not hold. Every implementation calls it first, so that one
    /// batch never fails others which share its transaction.
    ///
    /// # Errors
    ///
    /// [`StoreError::TooLarge`] for a key over [`Self::MAX_KEY`] or a value over [`Self::MAX_VALUE`].
    pub fn check_sizes(&self) -> Result<(), StoreError> {
        for write in &self.writes {
            let size = write.key().len();
            if size > Self::MAX_KEY {
                return Err(StoreError::TooLarge { what: "key", size, limit: Self::MAX_KEY });
            }
            if let Write::Put { value, .. } | Write::PutUntil { value, .. } = write
                && value.len() > Self::MAX_VALUE
            {
                return Err(StoreError::TooLarge {
                    what: "value",
                    size: value.len(),
                    limit: Self::MAX_VALUE,
                });
            }
        }
        Ok(())
    }
}

/// A commit that happened and is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// What every key it wrote now has as its revision.
    pub revision: Revision,
}

/// Why a commit was not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// A condition does not hold: read again, decide again. Nothing was written.
    #[error("the record {key} has changed meanwhile")]
    Conflict {
        /// The key of the first condition that does not hold.
        key: String,
    },
    /// It may or may not have happened, now or when the store is next opened: the connection was
    /// lost, or the disk failed while it synced. The attempt id makes trying again harmless.
    #[error("the outcome of the commit is unknown: {0}")]
    Unknown(String),
    /// It did not happen.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why the store could not do it. The text names the cause in the store's own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// For the administrator: make room. The store goes on by itself then.
    #[error("there is no space left for the store: {0}")]
    Full(String),
    /// For the administrator: the place has become read-only, or its owner has changed.
    #[error("the store cannot be written: {0}")]
    ReadOnly(String),
    /// For the administrator: restore a backup.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The machine failed, or the server that stores; trying again may help.
    #[error("the store failed: {0}")]
    Failed(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// A watch asked for changes that are no longer kept, or that a restore has undone: read the
    /// range again and watch from there.
    #[error("the changes after revision {after} are not kept: the range has to be read again")]
    Compacted {
        /// The revision after which changes were wanted.
        after: Revision,
    },
    /// A bug of the caller: nothing that is stored here is that large.
    #[error("a {what} of {size} bytes is too large: at most {limit}")]
    TooLarge {
        /// Key or value.
        what: &'static str,
        /// Bytes found.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
}

/// One page of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// In the order of their keys.
    pub entries: Vec<Entry>,
    /// The `after` of the next page; `None` at the end.
    pub next: Option<String>,
}

/// How much lies under a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Measure {
    /// Keys.
    pub entries: u64,
    /// Bytes of keys and values; a store takes somewhat more.
    pub bytes: u64,
}

/// What a watch reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The key was written.
    Put(Entry),
    /// The key was deleted. (That it expired is not reported: its time was known.)
    Deleted {
        /// The key that is gone.
        key: String,
        /// The commit that deleted it.
        revision: Revision,
    },
}

impl Change {
    /// The key that changed.
    pub fn key(&self) -> &str {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Deleted { key, .. } => key,
        }
    }

    /// The commit that changed it.
    pub fn revision(&self) -> Revision {
        match self {
            Self::Put(entry) => entry.revision,
            Self::Deleted { revision, .. } => *revision,
        }
    }
}

/// Changes under a prefix in the order of their commits; may report late, never skips. What this process has committed
/// is reported without waiting from the moment its commit returns.
#[async_trait]
pub trait Watch: Send {
    /// Waits for the next changes: at least one. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError::Compacted`] if changes are missing from here on: the watch is over.
    /// [`StoreError::Closed`] once the store is.
    async fn next(&mut self) -> Result<Vec<Change>, StoreError>;
}

/// A single-shot key-value store. Keys are ordered bytewise. Expired entries are absent, as judged
/// by the `now` of each call: a store reads no clock to answer.
///
/// What a wrong answer of an implementation costs: a commit that ignores a condition lets two
/// clients spend one recovery, or lets a locked one in; a commit that is confirmed but not durable
/// locks its client out for good; a watch that skips leaves a revoked certificate off the list.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// One consistent read of several keys; the answer is in the order of `keys`.
    ///
    /// # Errors
    ///
    /// [`StoreError`], never for a key that is absent.
    async fn get_many(&self, keys: &[&str], now: OffsetDateTime) -> Result<Vec<Option<Entry>>, StoreError>;

    /// Checks and writes as one; durable when it returns. A future that is dropped after it was
    /// polled may still commit.
    ///
    /// # Errors
    ///
    /// [`CommitError`]: a conflict, an unknown outcome, or a failure that changed nothing.
    async fn commit(&self, batch: Batch, now: OffsetDateTime) -> Result<Committed, CommitError>;

    /// One page of the keys that start with `prefix`, each page consistent by itself.
    /// `after`: the last key of the page before (exclusive). `limit`: at least 1 (0 reads as 1).
    ///
    /// # Errors
    ///
    /// [`StoreError`], never for an empty range.
    async fn range(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        now: OffsetDateTime,
    ) -> Result<Range, StoreError>;

    /// How much lies under `prefix` at `now`. Reads in steps: commits and other reads go on meanwhile, and what they
    /// change may be counted or not.
    ///
    /// # Errors
    ///
    /// [`StoreError`], never for an empty range.
    async fn measure(&self, prefix: &str, now: OffsetDateTime) -> Result<Measure, StoreError>;

    /// Drops the first keys under `prefix` that are less than `before`, `at_most` of them (at least 1; 0 reads as 1), for
    /// good. For what has outlived its keep: no condition, no revision, no report to watches. Returns how many went.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if they could not be dropped; never for an empty range.
    async fn drop_first(&self, prefix: &str, before: &str, at_most: usize) -> Result<usize, StoreError>;

    /// Watches the keys that start with `prefix`, for commits later than `after`.
    ///
    /// To follow a range without a gap: [`Self::revision`] first, then the range, then the watch
    /// from that revision (what the range has already shown may be reported again).
    ///
    /// # Errors
    ///
    /// [`StoreError`]; that `after` is too old (or of a future which a restore has undone) is said by
    /// [`Watch::next`].
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>, StoreError>;

    /// The revision of the last commit; never ahead of what a later read sees.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it cannot be told.
    async fn revision(&self) -> Result<Revision, StoreError>;
}
