use std::collections::BTreeSet;

use boundkey_keys::PublicKey;
use time::OffsetDateTime;

use crate::CaError;
use crate::lint::Lints;

const MAGIC: &[u8; 8] = b"SSHKRL\n\0";
const FORMAT_VERSION: u32 = 1;
const SECTION_CERTIFICATES: u8 = 1;
const CERTIFICATES_SERIAL_LIST: u8 = 0x20;
const CERTIFICATES_SERIAL_RANGE: u8 = 0x21;
/// A range costs 21 bytes and each listed serial 8: runs of this length and longer become ranges.
const RANGE_FROM: u64 = 3;

/// An OpenSSH key revocation list: the revoked certificate serials of each CA, for sshd's `RevokedKeys`.
///
/// `version` grows with every list. Serials are sorted, repeats fall together, runs become ranges; a CA without
/// serials is left out. The list is not signed (OpenSSH ignores signatures on it): it comes over an
/// authenticated channel.
///
/// # Errors
/// [`CaError::Refused`]: serial 0, which the format cannot name, or a time before 1970.
///
/// # Source
/// OpenSSH's PROTOCOL.krl.
pub fn key_revocation_list(
    version: u64,
    generated_at: OffsetDateTime,
    comment: &str,
    revoked: &[(&PublicKey, Vec<u64>)],
) -> Result<Vec<u8>, CaError> {
    let mut lints = Lints::default();
    let generated = generated_at.unix_timestamp();
    lints.require(generated >= 0, "generated_at", generated_at, "the years 1970 to 9998");
    for (index, (_, serials)) in revoked.iter().enumerate() {
        lints.require(!serials.contains(&0), format!("revoked[{index}]"), "serial 0", "serials from 1");
    }
    lints.finish()?;

    let mut out = Vec::new();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&FORMAT_VERSION.to_be_bytes());
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&generated.unsigned_abs().to_be_bytes());
    out.extend_from_slice(&0u64.to_be_bytes()); // flags: none are defined
    put_string(&mut out, b"")?; // reserved
    put_string(&mut out, comment.as_bytes())?;
    for (key, serials) in revoked {
        let serials: BTreeSet<u64> = serials.iter().copied().collect();
        if !serials.is_empty() {
            let mut section = Vec::new();
            put_string(&mut section, &key.to_ssh_blob())?;
            put_string(&mut section, b"")?; // reserved
            put_serials(&mut section, &serials)?;
            out.push(SECTION_CERTIFICATES);
            put_string(&mut out, &section)?;
        }
    }
    Ok(out)
}

fn put_serials(section: &mut Vec<u8>, serials: &BTreeSet<u64>) -> Result<(), CaError> {
    let mut list = Vec::new();
    for (first, last) in runs(serials) {
        if last - first + 1 >= RANGE_FROM {
            let mut range = first.to_be_bytes().to_vec();
            range.extend_from_slice(&last.to_be_bytes());
            section.push(CERTIFICATES_SERIAL_RANGE);
            put_string(section, &range)?;
        } else {
            for serial in first..=last {
                list.extend_from_slice(&serial.to_be_bytes());
            }
        }
    }
    if !list.is_empty() {
        section.push(CERTIFICATES_SERIAL_LIST);
        put_string(section, &list)?;
    }
    Ok(())
}

/// Consecutive numbers, as (first, last).
fn runs(serials: &BTreeSet<u64>) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for serial in serials {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *serial => *last = *serial,
            _ => runs.push((*serial, *serial)),
        }
    }
    runs
}

fn put_string(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), CaError> {
    let length = u32::try_from(bytes.len()).map_err(|_| CaError::encoding("a list of more than 4 GiB"))?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> PublicKey {
        boundkey_keys::PrivateKey::ed25519_from_seed(&[1; 32]).public_key().clone()
    }

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let list =
            key_revocation_list(7, OffsetDateTime::UNIX_EPOCH, "c", &[(&key(), vec![9, 2, 9])]).unwrap();
        let mut expected = b"SSHKRL\n\0\0\0\0\x01".to_vec();
        expected.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 7]);
        expected.extend_from_slice(&[0; 16]);
        expected.extend_from_slice(b"\0\0\0\0\0\0\0\x01c");
        // Section of 4 + 51 key bytes, 4 reserved, 1 + 4 + 16 for the list.
        expected.extend_from_slice(&[1, 0, 0, 0, 80, 0, 0, 0, 51]);
        expected.extend_from_slice(&key().to_ssh_blob());
        expected.extend_from_slice(&[0, 0, 0, 0, 0x20, 0, 0, 0, 16]);
        expected.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9]);
        assert_eq!(list, expected);
    }

    #[test]
    fn runs_fall_together_up_to_the_largest_number() {
        let serials = BTreeSet::from([1, 2, 3, 5, 7, 8, u64::MAX - 1, u64::MAX]);
        assert_eq!(runs(&serials), [(1, 3), (5, 5), (7, 8), (u64::MAX - 1, u64::MAX)]);
    }

    #[test]
    fn a_ca_without_revoked_serials_adds_no_section() {
        let empty = key_revocation_list(1, OffsetDateTime::UNIX_EPOCH, "", &[]).unwrap();
        assert_eq!(
            empty,
            key_revocation_list(1, OffsetDateTime::UNIX_EPOCH, "", &[(&key(), vec![])]).unwrap()
        );
        assert_eq!(empty.len(), 44);
    }

    #[test]
    fn serial_zero_cannot_be_revoked() {
        let error = key_revocation_list(1, OffsetDateTime::UNIX_EPOCH, "", &[(&key(), vec![0])]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "certificate refused: revoked[0]: found serial 0; allowed: serials from 1"
        );
    }
}
