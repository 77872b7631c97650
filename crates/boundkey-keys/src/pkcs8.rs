//! PKCS#8 (RFC 5208) and OneAsymmetricKey (RFC 5958): reading both, writing the first, which everybody reads.

use zeroize::Zeroizing;

use crate::KeyFileError;
use crate::der::{BIT_STRING, INTEGER, OCTET_STRING, OID, Reader, SEQUENCE, only};

const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

/// What a structure held. The numbers are not checked yet.
pub(crate) enum Contents {
    Ed25519 {
        seed: Zeroizing<[u8; 32]>,
        public: Option<[u8; 32]>,
    },
    /// `public`: an uncompressed point, if there is one.
    P256 {
        scalar: Zeroizing<[u8; 32]>,
        public: Option<Vec<u8>>,
    },
}

pub(crate) fn read(der: &[u8]) -> Result<Contents, KeyFileError> {
    let mut body = Reader::new(only(der, SEQUENCE).ok_or(KeyFileError::Damaged)?);
    if body.peek() == Some(SEQUENCE) {
        return Err(KeyFileError::Encrypted { form: "PKCS#8" });
    }
    let version = body.read(INTEGER).ok_or(KeyFileError::Damaged)?;
    if body.peek() == Some(OCTET_STRING) && version == [1] {
        return Err(KeyFileError::OlderForm { label: "EC PRIVATE KEY".to_owned() });
    }
    if body.peek() == Some(INTEGER) {
        return Err(KeyFileError::Unsupported { found: "RSA or DSA".to_owned() });
    }
    let mut algorithm = Reader::new(body.read(SEQUENCE).ok_or(KeyFileError::Damaged)?);
    let oid = algorithm.read(OID).ok_or(KeyFileError::Damaged)?;
    let private = body.read(OCTET_STRING).ok_or(KeyFileError::Damaged)?;
    let public = trailer(body, version)?;
    if oid == ED25519 {
        return ed25519(algorithm, private, public);
    }
    if oid != EC {
        return Err(KeyFileError::Unsupported { found: name(oid) });
    }
    let curve = algorithm.read(OID).ok_or(KeyFileError::Damaged)?;
    if curve != P256 || !algorithm.is_empty() {
        return Err(KeyFileError::Unsupported { found: name(curve) });
    }
    p256(private, public)
}

/// Attributes (ignored) and, from version 2 on, the public key.
fn trailer<'a>(mut body: Reader<'a>, version: &[u8]) -> Result<Option<&'a [u8]>, KeyFileError> {
    if body.peek() == Some(0xa0) {
        body.read(0xa0).ok_or(KeyFileError::Damaged)?;
    }
    let public = match body.peek() {
        None => None,
        // As RFC 5958 has it, an implicit tag; and the explicit one of some older writers.
        Some(0x81) => body.read(0x81),
        Some(0xa1) => body.read(0xa1).and_then(|inner| only(inner, BIT_STRING)),
        Some(_) => return Err(KeyFileError::Damaged),
    };
    match (version, public, body.is_empty()) {
        ([0], None, true) => Ok(None),
        // No unused bits in its last byte.
        ([1], Some([0, key @ ..]), true) => Ok(Some(key)),
        ([1], None, true) => Ok(None),
        _ => Err(KeyFileError::Damaged),
    }
}

fn ed25519(parameters: Reader<'_>, private: &[u8], public: Option<&[u8]>) -> Result<Contents, KeyFileError> {
    let seed = only(private, OCTET_STRING).ok_or(KeyFileError::Damaged)?;
    if !parameters.is_empty() {
        return Err(KeyFileError::Damaged);
    }
    let public = public.map(|key| key.try_into().map_err(|_| KeyFileError::Damaged)).transpose()?;
    Ok(Contents::Ed25519 { seed: fixed(seed)?, public })
}

/// ECPrivateKey (RFC 5915).
fn p256(private: &[u8], outer_public: Option<&[u8]>) -> Result<Contents, KeyFileError> {
    let mut body = Reader::new(only(private, SEQUENCE).ok_or(KeyFileError::Damaged)?);
    if body.read(INTEGER) != Some(&[1]) {
        return Err(KeyFileError::Damaged);
    }
    let scalar = fixed(body.read(OCTET_STRING).ok_or(KeyFileError::Damaged)?)?;
    if body.peek() == Some(0xa0) {
        let curve = body.read(0xa0).and_then(|inner| only(inner, OID));
        if curve != Some(P256) {
            return Err(KeyFileError::Damaged);
        }
    }
    let inner_public = match body.peek() {
        Some(0xa1) => match body.read(0xa1).and_then(|inner| only(inner, BIT_STRING)) {
            Some([0, point @ ..]) => Some(point),
            _ => return Err(KeyFileError::Damaged),
        },
        _ => None,
    };
    if !body.is_empty() || (inner_public.is_some() && outer_public.is_some() && inner_public != outer_public)
    {
        return Err(KeyFileError::Damaged);
    }
    Ok(Contents::P256 { scalar, public: inner_public.or(outer_public).map(<[u8]>::to_vec) })
}

fn fixed(bytes: &[u8]) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
    let mut out = Zeroizing::new([0; 32]);
    if bytes.len() != out.len() {
        return Err(KeyFileError::Damaged);
    }
    out.copy_from_slice(bytes);
    Ok(out)
}

fn name(oid: &[u8]) -> String {
    match oid {
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01] => "RSA",
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a] => "RSA-PSS",
        [0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01] => "DSA",
        [0x2b, 0x81, 0x04, 0x00, 0x22] => "ECDSA P-384",
        [0x2b, 0x81, 0x04, 0x00, 0x23] => "ECDSA P-521",
        [0x2b, 0x81, 0x04, 0x00, 0x0a] => "ECDSA secp256k1",
        [0x2b, 0x65, 0x6e] => "X25519",
        [0x2b, 0x65, 0x6f] => "X448",
        [0x2b, 0x65, 0x71] => "Ed448",
        _ => "of an unknown algorithm",
    }
    .to_owned()
}

/// PKCS#8 version 1: OpenSSL before 3.2 reads no other form of an Ed25519 key.
pub(crate) fn encode_ed25519(seed: &[u8; 32]) -> Zeroizing<Vec<u8>> {
    const HEAD: [u8; 16] =
        [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    let mut out = Zeroizing::new(Vec::with_capacity(HEAD.len() + 32));
    out.extend(HEAD);
    out.extend(seed);
    out
}

/// PKCS#8 version 1 with an ECPrivateKey that holds the public point, as OpenSSL writes it.
pub(crate) fn encode_p256(scalar: &[u8; 32], point: &[u8; 65]) -> Zeroizing<Vec<u8>> {
    const HEAD: [u8; 36] = [
        0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
        0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x6d, 0x30, 0x6b, 0x02, 0x01, 0x01,
        0x04, 0x20,
    ];
    const MIDDLE: [u8; 5] = [0xa1, 0x44, 0x03, 0x42, 0x00];
    let mut out = Zeroizing::new(Vec::with_capacity(HEAD.len() + 32 + MIDDLE.len() + 65));
    out.extend(HEAD);
    out.extend(scalar);
    out.extend(MIDDLE);
    out.extend(point);
    out
}
