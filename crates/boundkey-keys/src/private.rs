use crate::{Algorithm, PublicKey};
use zeroize::Zeroizing;

/// A private key made or loaded here: Ed25519 or ECDSA P-256. No Clone, no Debug of the content; wiped on drop.
pub struct PrivateKey {
    _todo: (),
}

impl PrivateKey {
    /// Deterministic: the caller passes the randomness in.
    pub fn ed25519_from_seed(seed: &[u8; 32]) -> Self {
        todo!()
    }
    /// A P-256 key from the system's randomness (ring allows no other source).
    pub fn generate_p256() -> Result<Self, KeyFileError> {
        todo!()
    }
    /// PKCS#8 DER (v1 or v2).
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyFileError> {
        todo!()
    }
    /// A key file: PKCS#8 PEM or unencrypted OpenSSH PEM, Ed25519 or P-256; everything else has its own error.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyFileError> {
        todo!()
    }
    pub fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        todo!()
    }
    pub fn to_pkcs8_pem(&self) -> Zeroizing<String> {
        todo!()
    }
    pub fn to_openssh_pem(&self, comment: &str) -> Zeroizing<String> {
        todo!()
    }
    pub fn algorithm(&self) -> Algorithm {
        todo!()
    }
    pub fn public_key(&self) -> &PublicKey {
        todo!()
    }
    /// Raw signature: 64 bytes, Ed25519 or ECDSA r||s (as in JWS).
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyFileError> {
        todo!()
    }
}

/// Replace by real variants: encrypted key, unsupported algorithm, not a key, public half does not fit, ...
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a usable private key")]
pub struct KeyFileError;

/// Signs JWS without giving the key away: implemented by `PrivateKey`, by the keystore's handles, later by hardware.
pub trait Signer {
    fn public_key(&self) -> &PublicKey;
    fn sign_jws(&self, typ: &str, payload: &[u8]) -> Result<String, KeyFileError>;
}
impl Signer for PrivateKey {
    fn public_key(&self) -> &PublicKey {
        PrivateKey::public_key(self)
    }
    fn sign_jws(&self, typ: &str, payload: &[u8]) -> Result<String, KeyFileError> {
        crate::sign_jws(self, typ, payload)
    }
}
