//! The agent's state: its keys, the pending attempt, the join state and the current identity, in one place
//! that is replaced as a whole.
//!
//! ```text
//!   AgentState --save--> Keystore ... FileKeystore: DATA_DIR/state.json (0600) under DATA_DIR/agent.lock
//!       ^                   |         MemoryKeystore: the same bytes in memory
//!       +-------load--------+
//! ```
//!
//! An attempt is written before anything is sent, and ends only with a stored result. [`AgentState`] has one
//! method for each step, and refuses the others:
//!
//! | step | method |
//! |---|---|
//! | a key of its own, if there is none | [`AgentState::adopt_key`] |
//! | a key from a file outside | [`AgentState::use_static_key`] |
//! | make an attempt | [`AgentState::begin_attempt`] |
//! | the server asks for a rotation | [`AgentState::offer_new_key`] |
//! | a result with certificates | [`AgentState::accept_result`] |
//! | a result without (its certificates have expired) | [`AgentState::accept_provisional`] |
//!
//! What it does **not** do: it sends nothing, checks no certificate, reads no clock, and never writes a
//! registration secret. It does not encrypt: the file's permissions and the disk's encryption guard it.
//! Whoever copies the state is a second holder of the key, which the server notices (`docs/lifecycle.md`).
//!
//! The file, field by field, and what to do when it is damaged: `docs/agent-state.md`.
//!
//! ```
//! use boundkey_keys::PrivateKey;
//! use boundkey_keystore::{AgentState, HeldKey, Keystore, MemoryKeystore, PendingAttempt};
//!
//! let mut store = MemoryKeystore::default();
//! let mut state = store.load()?;
//! state.adopt_key(HeldKey::new(PrivateKey::ed25519_from_seed(&[1; 32])))?;
//! state.begin_attempt(PendingAttempt {
//!     attempt: [9; 16],
//!     started_at: time::OffsetDateTime::UNIX_EPOCH,
//!     tls_key: PrivateKey::ed25519_from_seed(&[2; 32]),
//!     ssh_key: None,
//!     ssh_public_key: None,
//!     new_key: None,
//! })?;
//! store.save(&state)?; // before anything is sent
//! assert_eq!(store.load()?.pending.map(|pending| pending.attempt), Some([9; 16]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod encoding;
mod error;
mod file;
mod memory;
mod state;
mod transition;

pub use boundkey_files::FileError;
pub use encoding::StateFormatError;
pub use error::KeystoreError;
pub use file::{FileKeystore, Tightened};
pub use memory::MemoryKeystore;
pub use state::{AgentState, HeldKey, IdentityRecord, MAX_SUPERSEDED, Pair, PendingAttempt, Superseded};
pub use transition::{AcceptedIdentity, AcceptedResult, ProvisionalResult, TransitionError};

/// Where the state lives.
///
/// A wrong implementation costs: a `save` that is not durable when it returns makes the agent forget an
/// attempt or a join state that the server remembers, which looks like a clone and locks the token; a `save`
/// that fails half-way loses the bound key and needs an administrator; a `load` of an older state is a
/// reverted snapshot.
pub trait Keystore: Send {
    /// The state that was saved last, or the default one if none ever was.
    ///
    /// # Errors
    /// [`KeystoreError`]. A damaged state is an error, never a fresh start.
    fn load(&mut self) -> Result<AgentState, KeystoreError>;

    /// Replaces the state. It is durable when this returns; if it fails, the old one is still there.
    ///
    /// # Errors
    /// [`KeystoreError`].
    fn save(&mut self, state: &AgentState) -> Result<(), KeystoreError>;
}
