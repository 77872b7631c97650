use zeroize::Zeroizing;

/// What a derived key is for; each has its own HKDF label (written down in docs/protocol.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    Seal,
    JoinState,
    Challenge,
    InstanceId,
    Serials,
    SecretFingerprint,
    SourceHash,
}

/// Names the key material a value was made with: master key id and epoch; shown as `ID.EPOCH` (the `kid`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch {
    pub master: u32,
    pub epoch: u32,
}
impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        todo!()
    }
}
impl std::str::FromStr for Epoch {
    type Err = MasterKeyError;
    fn from_str(s: &str) -> Result<Self, MasterKeyError> {
        todo!()
    }
}

/// 32 bytes from HKDF-SHA-256, wiped on drop, no Debug.
pub struct DerivedKey(Zeroizing<[u8; 32]>);
impl DerivedKey {
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A keyring of master keys, the first current; older ones still open and verify.
/// File form: JSON `{"version":1,"keys":[{"id":1,"key":"<base64url of 32 bytes>"}],"epoch":0,"retired_below":0}`.
pub struct MasterKey {
    _todo: (),
}

impl MasterKey {
    pub fn new(id: u32, key: [u8; 32]) -> Self {
        todo!()
    }
    pub fn from_json(text: &[u8]) -> Result<Self, MasterKeyError> {
        todo!()
    }
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        todo!()
    }
    /// What new values are made with.
    pub fn current(&self) -> Epoch {
        todo!()
    }
    /// None: unknown master id, or an epoch below `retired_below`. Any later epoch is derived, known before or not.
    pub fn derive(&self, purpose: Purpose, epoch: Epoch) -> Option<DerivedKey> {
        todo!()
    }
    /// AES-256-GCM under a `Seal` key of the current epoch; the result names its epoch. `aad`: the record's key.
    pub fn seal(&self, aad: &[u8], nonce: [u8; 12], plain: &[u8]) -> Vec<u8> {
        todo!()
    }
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        todo!()
    }
    /// A public fingerprint by which a store knows the master key it was made with (reveals nothing about it).
    pub fn fingerprint(&self) -> String {
        todo!()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a master key file")]
pub struct MasterKeyError;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot be opened with this master key")]
pub struct OpenError;
