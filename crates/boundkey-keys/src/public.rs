use std::fmt;
use std::str::FromStr;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Ed25519,
    EcdsaP256,
    EcdsaP384,
    Rsa,
}

/// A checked public key: Ed25519, ECDSA P-256 or P-384, or RSA of 2048 to 8192 bits.
/// serde: the OpenSSH form without comment. The thumbprint is computed once, at construction.
#[derive(Clone)]
pub struct PublicKey {
    _todo: (),
}

impl PublicKey {
    /// An `authorized_keys` line (type, base64, optional comment; options are refused).
    pub fn from_openssh(line: &str) -> Result<Self, ParseKeyError> {
        todo!()
    }
    /// `type base64`, no comment.
    pub fn to_openssh(&self) -> String {
        todo!()
    }
    /// SubjectPublicKeyInfo DER; Ed25519 and ECDSA only (RSA keys are only ever verified with).
    pub fn from_spki_der(der: &[u8]) -> Result<Self, ParseKeyError> {
        todo!()
    }
    /// None for RSA.
    pub fn to_spki_der(&self) -> Option<Vec<u8>> {
        todo!()
    }
    pub fn from_ed25519(raw: [u8; 32]) -> Self {
        todo!()
    }
    pub fn algorithm(&self) -> Algorithm {
        todo!()
    }
    /// RFC 7638 SHA-256 thumbprint.
    pub fn thumbprint(&self) -> Thumbprint {
        todo!()
    }
}
impl PartialEq for PublicKey {
    fn eq(&self, o: &Self) -> bool {
        todo!()
    }
}
impl Eq for PublicKey {}
impl std::hash::Hash for PublicKey {
    fn hash<H: std::hash::Hasher>(&self, h: &mut H) {
        todo!()
    }
}
impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
impl FromStr for PublicKey {
    type Err = ParseKeyError;
    fn from_str(s: &str) -> Result<Self, ParseKeyError> {
        Self::from_openssh(s)
    }
}
impl serde::Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        todo!()
    }
}
impl<'de> serde::Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        todo!()
    }
}

/// RFC 7638 SHA-256 thumbprint; shown as unpadded base64url. serde: that string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Thumbprint(pub [u8; 32]);
impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}
impl FromStr for Thumbprint {
    type Err = ParseKeyError;
    fn from_str(s: &str) -> Result<Self, ParseKeyError> {
        todo!()
    }
}
impl serde::Serialize for Thumbprint {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        todo!()
    }
}
impl<'de> serde::Deserialize<'de> for Thumbprint {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        todo!()
    }
}

/// Replace by real variants (what was found, what is allowed).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a usable public key")]
pub struct ParseKeyError;
