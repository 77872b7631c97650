use boundkey_keys::{DerivedKey, hmac_sha256};

const LABEL: &[u8] = b"boundkey serials v1\0";

/// The serials (and SSH nonce) of one join: a retry yields the same, two joins never share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serials {
    /// X.509 serial: 20 bytes, big-endian, positive, the first byte never 0.
    pub x509: [u8; 20],
    /// OpenSSH serial: never 0, which revocation lists cannot name.
    pub ssh: u64,
    /// The nonce of the OpenSSH certificate.
    pub ssh_nonce: [u8; 16],
}

/// Derives the serials of one join from what makes that join unlike any other.
///
/// HMAC-SHA-256 under the key for [`boundkey_keys::Purpose::Serials`], over `boundkey serials v1`, a zero byte,
/// what is derived (`x509` or `ssh`), a zero byte, then uid, generation (u32), length of `instance` (u32) and
/// `instance`, sequence (u64), attempt, issued at in microseconds since 1970 (i128); all numbers big-endian.
///
/// 158 bits of an X.509 serial come from the HMAC: two joins share one with negligible probability, and no
/// outsider predicts one.
pub fn derive_serials(
    key: &DerivedKey,
    uid: &[u8; 16],
    generation: u32,
    instance: &str,
    sequence: u64,
    attempt: &[u8; 16],
    issued_at_micros: i128,
) -> Serials {
    let derive = |what: &[u8]| -> [u8; 32] {
        let mut message = Vec::with_capacity(128 + instance.len());
        message.extend_from_slice(LABEL);
        message.extend_from_slice(what);
        message.push(0);
        message.extend_from_slice(uid);
        message.extend_from_slice(&generation.to_be_bytes());
        // A longer instance id than 4 GiB does not exist; the length only separates the fields.
        message.extend_from_slice(&(instance.len() as u32).to_be_bytes());
        message.extend_from_slice(instance.as_bytes());
        message.extend_from_slice(&sequence.to_be_bytes());
        message.extend_from_slice(attempt);
        message.extend_from_slice(&issued_at_micros.to_be_bytes());
        hmac_sha256(key.as_bytes(), &message)
    };

    let mut x509 = [0; 20];
    x509.copy_from_slice(&derive(b"x509")[..20]);
    x509[0] = 1 + x509[0] % 0x7f;

    let ssh = derive(b"ssh");
    let mut number = [0; 8];
    number.copy_from_slice(&ssh[..8]);
    let mut ssh_nonce = [0; 16];
    ssh_nonce.copy_from_slice(&ssh[8..24]);
    Serials { x509, ssh: u64::from_be_bytes(number).max(1), ssh_nonce }
}

#[cfg(test)]
mod tests {
    use boundkey_keys::{MasterKey, Purpose};

    use super::*;

    fn key(byte: u8) -> DerivedKey {
        let master = MasterKey::new(1, [byte; 32]);
        master.derive(Purpose::Serials, master.current()).expect("the current epoch derives")
    }

    #[test]
    fn the_same_join_gets_the_same_serials() {
        let one = derive_serials(&key(1), &[1; 16], 2, "i", 3, &[4; 16], 5);
        assert_eq!(one, derive_serials(&key(1), &[1; 16], 2, "i", 3, &[4; 16], 5));
    }

    #[test]
    fn every_part_of_the_join_changes_all_of_them() {
        let base = derive_serials(&key(1), &[1; 16], 2, "i", 3, &[4; 16], 5);
        let others = [
            derive_serials(&key(2), &[1; 16], 2, "i", 3, &[4; 16], 5),
            derive_serials(&key(1), &[9; 16], 2, "i", 3, &[4; 16], 5),
            derive_serials(&key(1), &[1; 16], 9, "i", 3, &[4; 16], 5),
            derive_serials(&key(1), &[1; 16], 2, "j", 3, &[4; 16], 5),
            derive_serials(&key(1), &[1; 16], 2, "i", 9, &[4; 16], 5),
            derive_serials(&key(1), &[1; 16], 2, "i", 3, &[9; 16], 5),
            derive_serials(&key(1), &[1; 16], 2, "i", 3, &[4; 16], 9),
        ];
        for other in others {
            assert_ne!(other.x509, base.x509);
            assert_ne!(other.ssh, base.ssh);
            assert_ne!(other.ssh_nonce, base.ssh_nonce);
        }
    }

    #[test]
    fn x509_serials_are_positive_and_of_full_length() {
        for sequence in 0..2000 {
            let serials = derive_serials(&key(1), &[1; 16], 1, "", sequence, &[4; 16], 5);
            assert!((0x01..=0x7f).contains(&serials.x509[0]), "{:02x}", serials.x509[0]);
            assert_ne!(serials.ssh, 0);
        }
    }
}
