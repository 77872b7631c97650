use crate::CaError;
use boundkey_keys::PublicKey;
use time::OffsetDateTime;

/// What a client checks in its leaf (also used by linters and tests).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafView {
    pub public_key: PublicKey,
    pub result_digest: Option<[u8; 32]>,
    pub roles: Vec<String>,
    pub spiffe_id: Option<String>,
    pub common_name: String,
    pub serial: Vec<u8>,
    pub not_before: OffsetDateTime,
    pub not_after: OffsetDateTime,
}
pub fn inspect_leaf(der: &[u8]) -> Result<LeafView, CaError> {
    todo!()
}
/// `sha256:` + lower-case hex of SHA-256 of a certificate's SPKI.
pub fn spki_pin(certificate_der: &[u8]) -> Result<String, CaError> {
    todo!()
}
