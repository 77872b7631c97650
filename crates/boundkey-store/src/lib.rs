//! A single-shot key-value store, and the typed records above it.
#![allow(missing_docs, unused_variables, clippy::todo, reason = "skeleton")]
mod changes;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod keys;
mod memory;
pub mod records;
mod store;

pub use changes::ChangeLog;
pub use memory::{MemorySnapshot, MemoryStore};
pub use store::{
    Batch, Change, CommitError, Committed, Condition, Entry, Range, Revision, Store, StoreError, Watch, Write,
};
