use boundkey_keys::MasterKey;
use boundkey_lifecycle::{Evidence, Hash32, Position, Proven, SecretEvidence, StateEvidence};
use time::OffsetDateTime;

use crate::{Request, Transcript};

/// A complete request whose challenge, proofs and join state were checked.
#[derive(Debug)]
pub struct Received {
    pub request: Request,
    pub transcript: Transcript,
    pub proven: Proven,
    pub join_state: StateEvidence,
    pub position: Option<Position>,
    pub secret_proof: Option<[u8; 32]>,
    /// Digest of keys, names, roles and ttl to be certified.
    pub certified: Hash32,
}
impl Received {
    /// Constant time; false if no secret proof was presented.
    pub fn secret_matches(&self, proof_key: &[u8; 32]) -> bool {
        todo!()
    }
    pub fn evidence(&self, secret: SecretEvidence) -> Evidence {
        todo!()
    }
}

/// Hash first, check the challenge's tag and life, decode R once and strictly, check the proofs. Bad proofs are no error: they prove nothing
/// (`proven.current` is None), so that everything unproven looks the same. A malformed message is an error.
pub fn receive_complete(
    body: &[u8],
    cluster: &str,
    master: &MasterKey,
    now: OffsetDateTime,
) -> Result<Received, ProtoError> {
    todo!()
}

/// Each has a stable `code()` for a problem: malformed_request, challenge_invalid, challenge_expired, unsupported_version, ...
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed")]
pub struct ProtoError;
impl ProtoError {
    pub fn code(&self) -> &'static str {
        todo!()
    }
}
