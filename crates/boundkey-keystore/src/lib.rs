//! The agent's state: keys, pending attempt, join state; file and memory.
#![allow(missing_docs, unused_variables, clippy::todo, reason = "skeleton")]
#[cfg(feature = "conformance")]
pub mod conformance;
mod file;
mod memory;
mod state;

pub use file::{FileKeystore, write_atomically};
pub use memory::MemoryKeystore;
pub use state::{AgentState, HeldKey, IdentityRecord, PendingAttempt, StateFormatError, Superseded};

use std::path::PathBuf;

/// Where the state lives. `save` is durable (or fails and leaves the old state) when it returns.
pub trait Keystore: Send {
    fn load(&mut self) -> Result<AgentState, KeystoreError>;
    fn save(&mut self, state: &AgentState) -> Result<(), KeystoreError>;
}

/// Real variants are the implementer's: locked by another agent (pid), permissions too open (how to mend), unreadable, truncated (what to do), disk full, ...
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    #[error("cannot use {path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
}
