use std::path::Path;

use crate::{AgentState, Keystore, KeystoreError};

/// `DATA_DIR/state.json` (0600) under a locked `DATA_DIR/agent.lock`; directory 0700.
pub struct FileKeystore {
    _todo: (),
}
impl FileKeystore {
    /// Creates the directory if absent; takes the lock; refuses open permissions with the command that mends them.
    pub fn open(data_dir: &Path) -> Result<Self, KeystoreError> {
        todo!()
    }
    /// Without the lock, for `status`: reads only.
    pub fn peek(data_dir: &Path) -> Result<AgentState, KeystoreError> {
        todo!()
    }
}
impl Keystore for FileKeystore {
    fn load(&mut self) -> Result<AgentState, KeystoreError> {
        todo!()
    }
    fn save(&mut self, state: &AgentState) -> Result<(), KeystoreError> {
        todo!()
    }
}

/// Write-beside, fsync, rename, fsync of the directory; mode as given. Used for every private file of the agent.
pub fn write_atomically(path: &Path, content: &[u8], mode: u32) -> Result<(), KeystoreError> {
    todo!()
}
