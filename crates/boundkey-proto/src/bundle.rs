use boundkey_keys::{PublicKey, Signer};
use serde::{Deserialize, Serialize};

/// The cluster's CAs. X.509: base64 DER of the certificates; SSH: OpenSSH public keys. Several of a kind while one is rotated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaBundle {
    pub cluster: String,
    /// Grows with every change.
    pub version: u64,
    pub tls: Vec<String>,
    pub host: Vec<String>,
    pub bot: Vec<String>,
    pub ssh_host: Vec<PublicKey>,
    pub ssh_user: Vec<PublicKey>,
    /// OpenSSH revoked keys file content is served apart (`/v1/krl`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A bundle as JWS (`typ: boundkey-ca-bundle+jwt`), one for each tls CA key in force; each over the same payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SignedBundle(pub Vec<String>);

impl SignedBundle {
    pub fn sign(bundle: &CaBundle, signers: &[&dyn Signer]) -> Result<Self, BundleError> {
        todo!()
    }
    /// By any of these keys (of the tls CAs that the agent already trusts).
    pub fn verify(&self, trusted: &[PublicKey]) -> Result<CaBundle, BundleError> {
        todo!()
    }
    /// Unverified content: only to learn the cluster's CAs over an already authenticated first contact.
    pub fn peek(&self) -> Result<CaBundle, BundleError> {
        todo!()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the CA bundle is not signed by a CA that is trusted")]
pub struct BundleError;
