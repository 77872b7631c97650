//! What the server stores, and how any store has to behave: a single-shot key-value [`Store`], the
//! typed [`records`] above it, a [`MemoryStore`], and the suite (`conformance`, a feature) that
//! every implementation runs.
//!
//! ```text
//!  records    Token, Enrolment, Lock, Event, ...   one versioned JSON encoding each
//!  keys       "token/NAME", "lock-of/host/ID"      the one place that spells them
//!  Store      get_many   one consistent read, each value with the revision that wrote it
//!             commit     all conditions hold, or nothing is written; durable when it returns
//!             range      pages of a prefix
//!             watch      changes of a prefix: may be late, never skips
//! ```
//!
//! There are no interactive transactions: whoever decides reads, decides, and commits under the
//! condition that what was read is still so ([`Condition::of`]). On a conflict the whole decision is
//! taken again. So a commit is one message, many of them can share one sync (SQLite), and each is
//! one transaction elsewhere (etcd, PostgreSQL).
//!
//! What it does NOT do: it opens no file and no connection (`boundkey-store-sqlite` does), reads no
//! clock (each call brings its `now`), and takes no decision. The chapter is `docs/storage.md`.
//!
//! ```
//! use boundkey_store::records::ClusterRecord;
//! use boundkey_store::{Batch, CommitError, Condition, MemoryStore, Store, Write, keys};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = MemoryStore::new();
//! let now = time::macros::datetime!(2030-06-01 12:00 UTC);
//! let record = ClusterRecord {
//!     cluster: "example.com".into(),
//!     master_fingerprint: "f1".into(),
//!     created_at: now,
//! };
//!
//! let found = store.get_many(&[keys::CLUSTER], now).await?.remove(0);
//! let first_start = Batch::new()
//!     .require(Condition::of(&found, keys::CLUSTER))
//!     .write(Write::record(keys::CLUSTER, &record));
//! store.commit(first_start.clone(), now).await?;
//!
//! // Somebody who had read the same and decided the same comes too late.
//! let late = store.commit(first_start, now).await;
//! assert_eq!(late, Err(CommitError::Conflict { key: keys::CLUSTER.into() }));
//!
//! let found = store.get_many(&[keys::CLUSTER], now).await?.remove(0).expect("it was committed");
//! assert_eq!(found.decode::<ClusterRecord>()?, record);
//! # Ok(())
//! # }
//! ```

mod changes;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod keys;
mod memory;
pub mod records;
mod steady;
mod store;

pub use changes::ChangeLog;
pub use memory::{MemorySnapshot, MemoryStore};
pub use steady::Steady;
pub use store::{
    Batch, Change, CommitError, Committed, Condition, Entry, Measure, Range, Revision, Store, StoreError,
    Watch, Write,
};
