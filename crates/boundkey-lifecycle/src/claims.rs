use boundkey_keys::Thumbprint;
use time::OffsetDateTime;

use crate::{Identity, StateId, Trail, Uid};

/// 32 bytes. serde: base64url.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash32(pub [u8; 32]);
impl serde::Serialize for Hash32 {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        todo!()
    }
}
impl<'de> serde::Deserialize<'de> for Hash32 {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        todo!()
    }
}

/// What a valid join state says: the server's own memory of the lineage. Its wire form (and MAC) is boundkey-proto's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateClaims {
    pub uid: Uid,
    pub generation: u32,
    pub sequence: u64,
    pub state_id: StateId,
    pub trail: Trail,
    pub shared: bool,
    pub registration_attempt: Option<Hash32>,
    pub recovery_count: u32,
    pub key: Thumbprint,
    pub identity: Identity,
    pub certificates_expire_at: OffsetDateTime,
    /// When the join was admitted.
    pub issued_at: OffsetDateTime,
    /// `last_rotated_at` / `key_bound_at`, so that a healed enrolment asks for no rotation that was done.
    pub key_since: OffsetDateTime,
}
