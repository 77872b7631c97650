//! What a join state says.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use boundkey_keys::Thumbprint;
use time::OffsetDateTime;

use crate::{Adoption, Identity, StateId, Trail, Uid};

/// 32 bytes, mostly a SHA-256. Text and serde: 43 base64url characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash32(pub [u8; 32]);

impl Hash32 {
    /// Its first 8 bytes, as a [`Trail`] keeps them.
    #[must_use]
    pub fn short(self) -> [u8; 8] {
        let mut out = [0; 8];
        out.copy_from_slice(&self.0[..8]);
        out
    }
}

impl serde::Serialize for Hash32 {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Hash32 {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl std::fmt::Display for Hash32 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl std::str::FromStr for Hash32 {
    type Err = crate::IdError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        crate::ids::decode_exactly(s)
            .map(Self)
            .ok_or(crate::IdError { expected: "43 characters of base64url (32 bytes)" })
    }
}

/// What a valid join state says: the server's own memory of the lineage, held by the client. Its wire form
/// (and the MAC that makes it valid) is `boundkey-proto`'s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateClaims {
    /// The token's uid: with `generation` it names the lineage.
    pub uid: Uid,
    /// How often the token was reset.
    pub generation: u32,
    /// Joins admitted in this generation, this one included. Shared joins repeat it.
    pub sequence: u64,
    /// The id of the join that made this state.
    pub state_id: StateId,
    /// The last ids, `state_id` included.
    pub trail: Trail,
    /// Issued in shared (`insecure`) operation: one of many clients.
    pub shared: bool,
    /// SHA-256(attempt id || key thumbprint) of the registration.
    pub registration_attempt: Option<Hash32>,
    /// Recoveries used, registration included.
    pub recovery_count: u32,
    /// The bound key after the join.
    pub key: Thumbprint,
    /// Who the certificates of the join named.
    pub identity: Identity,
    /// When they expire.
    pub certificates_expire_at: OffsetDateTime,
    /// When the join was admitted.
    pub issued_at: OffsetDateTime,
    /// Since when the bound key is bound, so that a healed enrolment asks for no rotation that was done.
    /// None: a preregistered key that was never rotated.
    pub key_since: Option<OffsetDateTime>,
    /// Which client of shared times this lineage was narrowed to, on the way to this state: a server that was restored
    /// to before that knows by it whom it has before it.
    pub adoption: Option<Adoption>,
    /// Where this client has been that the trail does not tell of: the marks of its own last joins, since it was one
    /// of many or came from another history. Empty for all others.
    pub passed: Trail,
}

impl StateClaims {
    /// The client that holds this state, by the name that it had in shared times: a bot that was adopted may have
    /// become another instance since.
    #[must_use]
    pub fn client(&self) -> &Identity {
        match &self.adoption {
            Some(adoption) if !self.shared => &adoption.instance,
            _ => &self.identity,
        }
    }
}
