//! The private key of a CA, and the two forms in which its signatures leave.

use boundkey_keys::{Algorithm, KeyFileError, PrivateKey, PublicKey, Signer};
use rcgen::{PublicKeyData, SignatureAlgorithm, SigningKey};
use zeroize::Zeroizing;

use crate::CaError;

/// The private key of a CA: ECDSA P-256 or Ed25519.
///
/// It leaves this type as PKCS#8 only, to be sealed. Signing happens on `ring`, for X.509, OpenSSH and JWS alike.
pub struct AuthorityKey {
    key: PrivateKey,
    bits: SubjectKey,
}

impl AuthorityKey {
    /// A new P-256 key from the system's randomness: the fastest CA key here.
    ///
    /// # Errors
    /// The system gave no randomness.
    pub fn generate_p256() -> Result<Self, CaError> {
        Self::from_private(PrivateKey::generate_p256()?)
    }

    /// An Ed25519 key from 32 random bytes that the caller supplies.
    ///
    /// # Errors
    /// None for a sound `boundkey-keys`; the type leaves room for hardware.
    pub fn ed25519_from_seed(seed: &[u8; 32]) -> Result<Self, CaError> {
        Self::from_private(PrivateKey::ed25519_from_seed(seed))
    }

    /// A key from PKCS#8 DER, as [`AuthorityKey::to_pkcs8`] wrote it.
    ///
    /// # Errors
    /// [`CaError::Key`]: not PKCS#8, or neither P-256 nor Ed25519.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, CaError> {
        Self::from_private(PrivateKey::from_pkcs8_der(der)?)
    }

    fn from_private(key: PrivateKey) -> Result<Self, CaError> {
        let bits = SubjectKey::new(key.public_key())
            .ok_or_else(|| CaError::encoding("the CA's public key has no X.509 form"))?;
        Ok(Self { key, bits })
    }

    /// PKCS#8 DER: to be sealed by the caller at once, wiped when dropped.
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        self.key.to_pkcs8_der()
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        self.key.public_key()
    }

    /// 64 bytes: Ed25519, or ECDSA r and s.
    fn sign_raw(&self, message: &[u8]) -> Result<[u8; 64], KeyFileError> {
        let signature = self.key.sign(message)?;
        Ok(signature.try_into().expect("both algorithms here sign with 64 bytes"))
    }

    /// An ECDSA-Sig-Value for P-256, the plain signature for Ed25519.
    pub(crate) fn sign_x509(&self, message: &[u8]) -> Result<Vec<u8>, KeyFileError> {
        let raw = self.sign_raw(message)?;
        Ok(match self.key.algorithm() {
            Algorithm::EcdsaP256 => ecdsa_der(&raw),
            _ => raw.to_vec(),
        })
    }

    /// Two mpints for P-256, the plain signature for Ed25519.
    pub(crate) fn sign_ssh(&self, message: &[u8]) -> Result<Vec<u8>, KeyFileError> {
        let raw = self.sign_raw(message)?;
        Ok(match self.key.algorithm() {
            Algorithm::EcdsaP256 => ecdsa_mpints(&raw),
            _ => raw.to_vec(),
        })
    }
}

impl Signer for AuthorityKey {
    fn public_key(&self) -> &PublicKey {
        self.key.public_key()
    }

    fn sign_jws(&self, typ: &str, payload: &[u8]) -> Result<String, KeyFileError> {
        self.key.sign_jws(typ, payload)
    }
}

impl PublicKeyData for AuthorityKey {
    fn der_bytes(&self) -> &[u8] {
        self.bits.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.bits.algorithm()
    }
}

impl SigningKey for AuthorityKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.sign_x509(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

/// A public key as a certificate holds it: algorithm and key bits.
pub(crate) struct SubjectKey {
    algorithm: &'static SignatureAlgorithm,
    bits: Vec<u8>,
}

impl SubjectKey {
    /// None for RSA: such keys are never certified for TLS here.
    pub(crate) fn new(key: &PublicKey) -> Option<Self> {
        // Ed25519: 32 bytes; ECDSA: the uncompressed point.
        let (algorithm, length) = match key.algorithm() {
            Algorithm::Ed25519 => (&rcgen::PKCS_ED25519, 32),
            Algorithm::EcdsaP256 => (&rcgen::PKCS_ECDSA_P256_SHA256, 65),
            Algorithm::EcdsaP384 => (&rcgen::PKCS_ECDSA_P384_SHA384, 97),
            Algorithm::Rsa => return None,
        };
        let spki = key.to_spki_der()?;
        let bits = spki.get(spki.len().checked_sub(length)?..)?.to_vec();
        Some(Self { algorithm, bits })
    }
}

impl PublicKeyData for SubjectKey {
    fn der_bytes(&self) -> &[u8] {
        &self.bits
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

/// The shortest two's complement form of a positive number: what both a DER INTEGER and an SSH mpint hold.
fn positive_integer(big_endian: &[u8]) -> Vec<u8> {
    let first = big_endian.iter().position(|byte| *byte != 0).unwrap_or(big_endian.len());
    let digits = &big_endian[first..];
    let mut out = Vec::with_capacity(digits.len() + 1);
    if digits.first().is_none_or(|byte| *byte >= 0x80) {
        out.push(0);
    }
    out.extend_from_slice(digits);
    out
}

fn ecdsa_der(raw: &[u8; 64]) -> Vec<u8> {
    let mut body = Vec::with_capacity(70);
    for half in raw.chunks(32) {
        let integer = positive_integer(half);
        // At most 33 bytes each, so one length byte is enough here and below.
        body.extend_from_slice(&[0x02, integer.len() as u8]);
        body.extend_from_slice(&integer);
    }
    let mut out = vec![0x30, body.len() as u8];
    out.extend_from_slice(&body);
    out
}

fn ecdsa_mpints(raw: &[u8; 64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(74);
    for half in raw.chunks(32) {
        let integer = positive_integer(half);
        out.extend_from_slice(&(integer.len() as u32).to_be_bytes());
        out.extend_from_slice(&integer);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_minimal_and_positive() {
        assert_eq!(positive_integer(&[0, 0, 0x7f]), [0x7f]);
        assert_eq!(positive_integer(&[0, 0x80, 1]), [0, 0x80, 1]);
        assert_eq!(positive_integer(&[0, 0]), [0]);
    }

    #[test]
    fn a_signature_with_a_small_and_a_large_half_has_both_forms() {
        let mut raw = [0u8; 64];
        raw[31] = 5;
        raw[32..].fill(0xff);
        let der = ecdsa_der(&raw);
        assert_eq!(der[..7], [0x30, 38, 2, 1, 5, 2, 33]);
        assert_eq!(der[7..9], [0, 0xff]);
        let ssh = ecdsa_mpints(&raw);
        assert_eq!(ssh[..10], [0, 0, 0, 1, 5, 0, 0, 0, 33, 0]);
        assert_eq!(ssh.len(), 4 + 1 + 4 + 33);
    }
}
