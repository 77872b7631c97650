use boundkey_keys::PublicKey;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{AttemptId, Identity, MachineFacts, Position, StateClaims, StateId, Trail, Uid};

/// Bytes sealed under the master key; opaque here. serde: base64url.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sealed(#[serde(with = "crate::enrolment::base64_bytes")] pub Vec<u8>);

/// What is known of the registration secret. Sealing and proving are the service's work.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SecretRecord {
    /// The generated secret, sealed, until it is used.
    pub generated: Option<Sealed>,
    /// The proof key of the secret in force, or of the one that was used, sealed.
    pub proof_key: Option<Sealed>,
    /// The secret in force was used (or a heal showed that it must have been).
    pub used: bool,
    /// `reset` voided the secret and the initial key of the spec; a new generated secret is in force.
    pub spec_void: bool,
    /// The initial key that `reset` unbound: it never registers again.
    pub void_key: Option<PublicKey>,
}

/// What the server remembers of the one lineage behind a token. `Default` = never joined.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Enrolment {
    pub generation: u32,
    pub secret: SecretRecord,
    pub bound_public_key: Option<PublicKey>,
    pub identity: Option<Identity>,
    pub sequence: u64,
    pub recovery_count: u32,
    pub granted_limit: u32,
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub rotate_requested_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub certificates_expire_at: Option<OffsetDateTime>,
    /// The certificates of `certificates_expire_at` were revoked: the next join is a recovery.
    pub certificates_revoked: bool,
    /// Unexpired certificates of this lineage.
    pub issued: Vec<IssuedCertificate>,
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub last_joined_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub last_recovered_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub last_rotated_at: Option<OffsetDateTime>,
    /// When the bound key was first bound (made fresh at registration by secret, so no rotation older than this is due).
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub key_bound_at: Option<OffsetDateTime>,
    pub last_attempt: Option<LastAttempt>,
    /// SHA-256(attempt id || key thumbprint) of the registration.
    pub registration_attempt: Option<StateHash>,
    pub last_state_id: Option<StateId>,
    pub trail: Trail,
    pub shared: bool,
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub resync_until: Option<OffsetDateTime>,
    pub facts: MachineFacts,
}

/// 32 bytes; serde base64url.
pub type StateHash = crate::claims::Hash32;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastAttempt {
    /// SHA-256 of the attempt id.
    pub attempt: StateHash,
    /// The state that the admitted request presented.
    pub presented: Option<StateId>,
    pub identity: Identity,
    #[serde(with = "time::serde::rfc3339")]
    pub issued_at: OffsetDateTime,
    /// Digest of what was certified (keys, names, roles, ttl): a retry for other keys gets no certificates.
    pub certified: StateHash,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaKind {
    Tls,
    Host,
    Bot,
    SshHost,
    SshUser,
}

/// One certificate that was issued: enough to revoke it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedCertificate {
    pub ca: CaKind,
    /// Hex; X.509 serial (20 bytes at most) or SSH serial (u64).
    pub serial: String,
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
}

/// One of the many clients of a shared (`insecure`) lineage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceRecord {
    pub identity: Identity,
    pub last_attempt: LastAttempt,
    #[serde(with = "time::serde::rfc3339")]
    pub certificates_expire_at: OffsetDateTime,
    pub revoked: bool,
    pub issued: Vec<IssuedCertificate>,
    #[serde(with = "time::serde::rfc3339")]
    pub last_joined_at: OffsetDateTime,
    pub facts: MachineFacts,
}

impl Enrolment {
    pub fn position(&self, uid: Uid) -> Position {
        Position::derive(uid, self.generation, self.sequence, self.last_state_id)
    }
    pub fn is_bound(&self) -> bool {
        self.bound_public_key.is_some()
    }
    /// The join state of the present position: deterministic, so that a retry repeats it byte for byte.
    pub fn claims(&self, uid: Uid) -> Option<StateClaims> {
        todo!()
    }
    pub fn attempt_hash(attempt: AttemptId) -> StateHash {
        todo!()
    }
}

pub(crate) mod base64_bytes {
    pub(crate) fn serialize<S: serde::Serializer>(v: &[u8], s: S) -> Result<S::Ok, S::Error> {
        todo!()
    }
    pub(crate) fn deserialize<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        todo!()
    }
}
