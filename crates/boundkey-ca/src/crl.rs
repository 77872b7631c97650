use crate::{CaError, X509Authority};
use time::OffsetDateTime;
/// DER CRL of (serial bytes, revoked at).
pub fn revocation_list(
    authority: &X509Authority,
    number: u64,
    revoked: &[(Vec<u8>, OffsetDateTime)],
    this_update: OffsetDateTime,
    next_update: OffsetDateTime,
) -> Result<Vec<u8>, CaError> {
    todo!()
}
