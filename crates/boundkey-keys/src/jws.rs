use crate::{DerivedKey, PrivateKey, PublicKey, Thumbprint};

/// Proof that a signature by this key was checked. Only `verify_jws` makes one
/// (and `ProvenKey::assumed` under the `testing` feature, for models and fuzzing).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenKey {
    key: PublicKey,
}
impl ProvenKey {
    pub fn public_key(&self) -> &PublicKey {
        &self.key
    }
    pub fn thumbprint(&self) -> Thumbprint {
        self.key.thumbprint()
    }
    #[cfg(feature = "testing")]
    pub fn assumed(key: PublicKey) -> Self {
        Self { key }
    }
}

/// Compact JWS; header exactly {"alg","kid","typ"} (see docs/protocol.md).
pub fn sign_jws(key: &PrivateKey, typ: &str, payload: &[u8]) -> Result<String, crate::KeyFileError> {
    todo!()
}
/// Strict: `typ` equal, `alg` fits the key, `kid` equals its thumbprint, no other header member, canonical base64url, bounded size.
pub fn verify_jws(compact: &str, typ: &str, key: &PublicKey) -> Result<(ProvenKey, Vec<u8>), JwsError> {
    todo!()
}

/// A key for HS256; made from a derived key.
pub struct MacKey {
    _todo: (),
}
impl MacKey {
    pub fn new(key: &DerivedKey) -> Self {
        todo!()
    }
}
pub fn sign_mac_jws(key: &MacKey, typ: &str, kid: &str, payload: &[u8]) -> String {
    todo!()
}
/// The `kid` of an HS256 JWS of this `typ`, unverified: to derive the right epoch's key.
pub fn mac_jws_kid(compact: &str, typ: &str) -> Result<String, JwsError> {
    todo!()
}
pub fn verify_mac_jws(compact: &str, typ: &str, key: &MacKey) -> Result<Vec<u8>, JwsError> {
    todo!()
}

/// Replace by real variants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid signature")]
pub struct JwsError;
