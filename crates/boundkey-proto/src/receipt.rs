//! The receipt of a provisional result: what authenticates one that has no certificates.

use boundkey_keys::{KeyFileError, PublicKey, Signer, verify_jws};
use serde::Serialize;

use crate::encoding::encode;
use crate::limits::MAX_BODY;

/// The `typ` of a receipt.
pub const RECEIPT_TYP: &str = "boundkey-receipt+jwt";

/// A compact JWS by a tls CA over the cluster and the result digest.
///
/// # Errors
///
/// [`KeyFileError`] when the key fails.
///
/// # Source
///
/// `docs/protocol.md`, "Result".
pub fn sign_receipt(signer: &dyn Signer, cluster: &str, digest: [u8; 32]) -> Result<String, KeyFileError> {
    signer.sign_jws(RECEIPT_TYP, &payload(cluster, digest))
}

/// Whether one of these keys (those of the tls CAs in a bundle that is trusted) signed a receipt for this very result.
pub fn verify_receipt(receipt: &str, trusted: &[PublicKey], cluster: &str, digest: [u8; 32]) -> bool {
    let expected = payload(cluster, digest);
    receipt.len() <= MAX_BODY
        && trusted.iter().any(|key| {
            verify_jws(receipt, RECEIPT_TYP, key).is_ok_and(|(_, payload)| payload[..] == expected[..])
        })
}

/// One form, so that the bytes can be compared.
fn payload(cluster: &str, digest: [u8; 32]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Payload<'a> {
        cluster: &'a str,
        digest: String,
    }
    serde_json::to_vec(&Payload { cluster, digest: encode(&digest) }).expect("two strings are always JSON")
}

#[cfg(test)]
mod tests {
    use boundkey_keys::PrivateKey;

    use super::*;

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::ed25519_from_seed(&[seed; 32])
    }

    #[test]
    fn a_receipt_is_of_one_result_of_one_cluster_by_one_ca() {
        let receipt = sign_receipt(&key(1), "example.com", [7; 32]).expect("signs");
        let (own, other) = (key(1).public_key().clone(), key(2).public_key().clone());
        assert!(verify_receipt(&receipt, &[other.clone(), own.clone()], "example.com", [7; 32]));
        assert!(!verify_receipt(&receipt, std::slice::from_ref(&other), "example.com", [7; 32]));
        assert!(!verify_receipt(&receipt, &[], "example.com", [7; 32]));
        let own = std::slice::from_ref(&own);
        assert!(!verify_receipt(&receipt, own, "example.org", [7; 32]));
        assert!(!verify_receipt(&receipt, own, "example.com", [8; 32]));
        assert!(!verify_receipt("", own, "example.com", [7; 32]));
        assert!(!verify_receipt(&receipt[1..], own, "example.com", [7; 32]));
    }

    #[test]
    fn a_ca_bundle_or_another_signed_thing_is_no_receipt() {
        let signed =
            key(1).sign_jws("boundkey-ca-bundle+jwt", &payload("example.com", [7; 32])).expect("signs");
        assert!(!verify_receipt(&signed, &[key(1).public_key().clone()], "example.com", [7; 32]));
    }
}
