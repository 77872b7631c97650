use boundkey_keys::MasterKey;
use boundkey_lifecycle::Position;
use time::OffsetDateTime;

/// A challenge valid 60 s: HS256 JWS, `typ: boundkey-challenge+jwt`; stateless. Times in whole seconds.
pub fn issue_challenge(
    cluster: &str,
    master: &MasterKey,
    nonce: [u8; 32],
    position: Option<Position>,
    now: OffsetDateTime,
) -> String {
    todo!()
}

/// What a client reads from a challenge (it cannot check the tag).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChallengeView {
    pub cluster: String,
    pub nonce: [u8; 32],
    pub issued_at: OffsetDateTime,
    pub expires_at: OffsetDateTime,
    pub position: Option<Position>,
}

/// `cluster`: the name the client expects; None at a first contact that names none.
pub fn read_challenge(text: &str, cluster: Option<&str>) -> Result<ChallengeView, ChallengeError> {
    todo!()
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a challenge of this cluster")]
pub struct ChallengeError;
