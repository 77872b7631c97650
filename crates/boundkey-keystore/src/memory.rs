use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::{AgentState, Keystore, KeystoreError};

/// Keeps the encoded state in memory: for static keys, tests and simulation. Wiped on drop.
#[derive(Default)]
pub struct MemoryKeystore {
    bytes: Option<Zeroizing<Vec<u8>>>,
}

impl MemoryKeystore {
    /// A copy as it is now: what a disk image or a cloned machine would be.
    pub fn snapshot(&self) -> Self {
        Self { bytes: self.bytes.clone() }
    }
}

impl Keystore for MemoryKeystore {
    fn load(&mut self) -> Result<AgentState, KeystoreError> {
        match &self.bytes {
            None => Ok(AgentState::default()),
            Some(bytes) => AgentState::from_json(bytes)
                .map_err(|source| KeystoreError::Format { path: PathBuf::from("(memory)"), source }),
        }
    }

    fn save(&mut self, state: &AgentState) -> Result<(), KeystoreError> {
        self.bytes = Some(state.to_json());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_keystore_conforms() {
        crate::conformance::run(|| Box::new(MemoryKeystore::default()));
    }

    #[test]
    fn a_snapshot_does_not_follow_its_original() {
        let mut store = MemoryKeystore::default();
        store.save(&AgentState { token: Some("one".to_owned()), ..AgentState::default() }).unwrap();
        let mut snapshot = store.snapshot();
        store.save(&AgentState { token: Some("two".to_owned()), ..AgentState::default() }).unwrap();
        assert_eq!(snapshot.load().unwrap().token.as_deref(), Some("one"));
    }
}
