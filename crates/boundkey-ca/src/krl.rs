use crate::CaError;
use boundkey_keys::PublicKey;
use time::OffsetDateTime;
/// OpenSSH KRL (PROTOCOL.krl): revoked certificate serials for each CA.
pub fn key_revocation_list(
    version: u64,
    generated_at: OffsetDateTime,
    comment: &str,
    revoked: &[(&PublicKey, Vec<u64>)],
) -> Result<Vec<u8>, CaError> {
    todo!()
}
