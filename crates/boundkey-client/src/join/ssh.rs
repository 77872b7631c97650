//! The OpenSSH certificate of a result.

use boundkey_keys::PublicKey;
use boundkey_proto::Identity;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};
use ssh_key::certificate::CertType;
use ssh_key::public::{EcdsaPublicKey, KeyData};
use ssh_key::{Certificate, EcdsaCurve};

use super::ResultError;

/// The certificate, if it is of this key, of the right type, and signed by a CA of the bundle.
pub(super) fn check(
    line: &str,
    key: &PublicKey,
    cas: &[PublicKey],
    identity: &Identity,
) -> Result<String, ResultError> {
    let bad = |reason: &str| ResultError::Ssh(reason.to_owned());
    if line.trim_end().contains(['\n', '\r']) {
        return Err(bad("it has more than one line"));
    }
    let certificate = Certificate::from_openssh(line.trim_end())
        .map_err(|e| ResultError::Ssh(boundkey_text::clean(&e.to_string(), 200)))?;
    if as_key(certificate.public_key()).as_ref() != Some(key) {
        return Err(ResultError::OtherKey { what: "OpenSSH" });
    }
    let expected = match identity {
        Identity::Host(_) => CertType::Host,
        Identity::BotInstance(_) => CertType::User,
    };
    if certificate.cert_type() != expected {
        return Err(bad("it is of the wrong type (host or user)"));
    }
    if certificate.valid_principals().is_empty() {
        return Err(bad("it names no principal: it would be good for everyone"));
    }
    let ca = as_key(certificate.signature_key()).filter(|ca| cas.contains(ca));
    if ca.is_none() {
        return Err(bad("it is not signed by a CA of the bundle"));
    }
    if !signature_fits(&certificate) {
        return Err(bad("its signature is wrong"));
    }
    Ok(line.trim_end().to_owned())
}

fn as_key(data: &KeyData) -> Option<PublicKey> {
    let line = ssh_key::PublicKey::from(data.clone()).to_openssh().ok()?;
    PublicKey::from_openssh(&line).ok()
}

/// The signature is the last string of the certificate; everything before it is signed.
fn signature_fits(certificate: &Certificate) -> bool {
    let signature = certificate.signature();
    let algorithm = signature.algorithm();
    let trailer = 4 + (4 + algorithm.as_str().len()) + (4 + signature.as_bytes().len());
    let Ok(bytes) = certificate.to_bytes() else { return false };
    let Some(signed) = bytes.len().checked_sub(trailer).and_then(|end| bytes.get(..end)) else {
        return false;
    };
    match (certificate.signature_key(), algorithm) {
        (KeyData::Ed25519(key), ssh_key::Algorithm::Ed25519) => {
            UnparsedPublicKey::new(&ED25519, &key.0).verify(signed, signature.as_bytes()).is_ok()
        }
        (
            KeyData::Ecdsa(EcdsaPublicKey::NistP256(point)),
            ssh_key::Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
        ) => fixed_p256(signature.as_bytes()).is_some_and(|fixed| {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point.as_bytes()).verify(signed, &fixed).is_ok()
        }),
        _ => false,
    }
}

/// Two mpints as 32 bytes each.
fn fixed_p256(mut blob: &[u8]) -> Option<[u8; 64]> {
    let mut fixed = [0; 64];
    for half in fixed.chunks_exact_mut(32) {
        let (length, rest) = blob.split_first_chunk::<4>()?;
        let (number, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        half.get_mut(32_usize.checked_sub(number.len())?..)?.copy_from_slice(number);
        blob = rest;
    }
    blob.is_empty().then_some(fixed)
}
