use std::collections::BTreeMap;

use boundkey_keys::{PublicKey, Secret};
use time::OffsetDateTime;

use crate::{CertificateNames, ResourceName, RoleSet};

/// `kind: token` v2, checked. Empty strings were read as unset; defaults are in force (limit 1, mode standard).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub name: ResourceName,
    pub labels: BTreeMap<String, String>,
    pub expires: Option<OffsetDateTime>,
    /// `metadata.revision` as the file gave it (an opaque string); never stored.
    pub revision: Option<String>,
    pub spec: TokenSpec,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSpec {
    pub roles: RoleSet,
    pub join_method: JoinMethod,
    pub bot_name: Option<ResourceName>,
    pub bound_keypair: BoundKeypairSpec,
    pub certificates: CertificateNames,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinMethod {
    BoundKeypair,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BoundKeypairSpec {
    pub onboarding: Onboarding,
    pub recovery: Recovery,
    pub rotate_after: Option<OffsetDateTime>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Onboarding {
    pub initial_public_key: Option<PublicKey>,
    pub registration_secret: Option<Secretish>,
    pub must_register_before: Option<OffsetDateTime>,
}

/// A spec's secret, clonable (it travels with the spec); Debug and serde never show it.
#[derive(Debug, PartialEq, Eq)]
pub struct Secretish(pub Secret);
impl Clone for Secretish {
    fn clone(&self) -> Self {
        Self(self.0.duplicate())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    pub limit: u32,
    pub mode: RecoveryMode,
}
impl Default for Recovery {
    fn default() -> Self {
        Self { limit: 1, mode: RecoveryMode::Standard }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecoveryMode {
    Standard,
    Relaxed,
    Insecure,
}

impl Token {
    /// kind, metadata, spec, version as JSON, keys sorted, unset dropped, defaults in force shown. The secret only if asked.
    pub fn to_json(&self, with_secrets: bool) -> serde_json::Value {
        todo!()
    }
}
