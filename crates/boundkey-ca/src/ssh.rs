use boundkey_keys::PublicKey;
use time::OffsetDateTime;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SshProfile {
    Host,
    User,
}

#[derive(Debug, Clone)]
pub struct SshRequest<'a> {
    pub profile: SshProfile,
    pub public_key: &'a PublicKey,
    /// e.g. `token=example-token instance=ID roles=Node`.
    pub key_id: &'a str,
    /// Never empty, never a wildcard.
    pub principals: &'a [String],
    pub serial: u64,
    /// Makes the to-be-signed bytes deterministic: derived by the caller.
    pub nonce: [u8; 16],
    pub not_before: OffsetDateTime,
    pub not_after: OffsetDateTime,
}
