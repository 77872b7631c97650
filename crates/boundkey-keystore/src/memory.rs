use crate::{AgentState, Keystore, KeystoreError};

/// Keeps the encoded state in memory: for tests, static keys and simulation.
#[derive(Default)]
pub struct MemoryKeystore {
    bytes: Option<Vec<u8>>,
}
impl Keystore for MemoryKeystore {
    fn load(&mut self) -> Result<AgentState, KeystoreError> {
        todo!()
    }
    fn save(&mut self, state: &AgentState) -> Result<(), KeystoreError> {
        todo!()
    }
}
