use std::collections::BTreeMap;

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use time::OffsetDateTime;

use crate::lint::{Lints, Window, hex, is_encodable, utc};
use crate::{CaError, X509Authority};

/// A DER CRL of `authority`: `revoked` holds (serial, big-endian; revoked at).
///
/// `number` grows with every list. Entries are sorted by serial, a serial named twice counts from its earlier
/// time. Times are cut to seconds.
///
/// # Errors
/// [`CaError::Refused`]: a serial that is zero, empty or longer than 20 bytes, a reversed window.
///
/// # Source
/// RFC 5280 section 5.
pub fn revocation_list(
    authority: &X509Authority,
    number: u64,
    revoked: &[(Vec<u8>, OffsetDateTime)],
    this_update: OffsetDateTime,
    next_update: OffsetDateTime,
) -> Result<Vec<u8>, CaError> {
    let window = Window::new(this_update, next_update);
    let mut lints = Lints::default();
    window.lint(&mut lints);
    let mut entries = BTreeMap::new();
    for (index, (serial, at)) in revoked.iter().enumerate() {
        let digits = serial.iter().position(|byte| *byte != 0).map_or(&[][..], |first| &serial[first..]);
        let positive = match digits {
            [] => false,
            [first, ..] => digits.len() + usize::from(*first >= 0x80) <= 20,
        };
        lints.require(
            positive,
            format!("revoked[{index}].serial"),
            hex(serial),
            "a positive number of 20 bytes",
        );
        let at = at.unix_timestamp();
        lints.require(is_encodable(at), format!("revoked[{index}].time"), at, "the years 1970 to 9998");
        // By length first: shorter numbers are smaller.
        let earliest = entries.entry((digits.len(), digits)).or_insert(at);
        *earliest = at.min(*earliest);
    }
    lints.finish()?;
    let params = CertificateRevocationListParams {
        this_update: utc(window.not_before),
        next_update: utc(window.not_after),
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: entries
            .into_iter()
            .map(|((_, serial), at)| RevokedCertParams {
                serial_number: SerialNumber::from_slice(serial),
                revocation_time: utc(at),
                reason_code: None,
                invalidity_date: None,
            })
            .collect(),
        key_identifier_method: KeyIdMethod::PreSpecified(authority.key_id().to_vec()),
    };
    let list = params.signed_by(&authority.issuer()).map_err(CaError::encoding)?;
    Ok(list.der().to_vec())
}
