//! The OpenSSH form of a public key. The one module that knows the ssh-key crate's public key types.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ssh_key::public::{EcdsaPublicKey, KeyData};

use super::{Material, ParseKeyError, PublicKey};
use crate::Algorithm;

/// An RSA key of 8192 bits takes 1,400 characters; the rest is comment.
const MAX_LINE_BYTES: usize = 8 * 1024;

pub(super) fn parse(line: &str) -> Result<PublicKey, ParseKeyError> {
    if line.len() > MAX_LINE_BYTES {
        return Err(ParseKeyError::TooLong { bytes: line.len(), max: MAX_LINE_BYTES });
    }
    let line = line.trim();
    let algorithm = named_algorithm(line)?;
    let damaged = || ParseKeyError::Damaged { algorithm };
    let base64 = line.split_whitespace().nth(1).ok_or_else(damaged)?;
    let binary = STANDARD.decode(base64).map_err(|_| damaged())?;
    let parsed = ssh_key::PublicKey::from_bytes(&binary).map_err(|_| damaged())?;
    let key = match (algorithm, parsed.key_data()) {
        (Algorithm::Ed25519, KeyData::Ed25519(key)) => PublicKey::from_checked_ed25519(key.0),
        (Algorithm::EcdsaP256, KeyData::Ecdsa(EcdsaPublicKey::NistP256(point))) => {
            PublicKey::from_p256(point.as_bytes())
        }
        (Algorithm::EcdsaP384, KeyData::Ecdsa(EcdsaPublicKey::NistP384(point))) => {
            PublicKey::from_p384(point.as_bytes())
        }
        (Algorithm::Rsa, KeyData::Rsa(key)) => {
            let n = key.n.as_positive_bytes().ok_or(ParseKeyError::RsaModulus)?;
            let e = key.e.as_positive_bytes().ok_or(ParseKeyError::RsaExponent)?;
            PublicKey::from_rsa(n, e)
        }
        _ => Err(damaged()),
    }?;
    // One spelling for each key, so that texts can be compared.
    if blob(&key.material) == binary { Ok(key) } else { Err(damaged()) }
}

/// The algorithm by the line's first word, or what the line is instead.
fn named_algorithm(line: &str) -> Result<Algorithm, ParseKeyError> {
    if line.contains("PRIVATE KEY-----") || line.starts_with("PuTTY-User-Key-File") {
        return Err(ParseKeyError::PrivateKey);
    }
    if line.starts_with("----") {
        return Err(ParseKeyError::Pem { found: shortened(line.lines().next().unwrap_or_default()) });
    }
    if line.contains(['\n', '\r']) {
        return Err(ParseKeyError::SeveralLines);
    }
    let mut words = line.split_whitespace();
    let Some(first) = words.next() else { return Err(ParseKeyError::Empty) };
    if let Some(algorithm) = accepted(first) {
        return Ok(algorithm);
    }
    let found = shortened(first);
    if first.contains("-cert-v0") {
        return Err(ParseKeyError::Certificate { found });
    }
    if first.starts_with("sk-") {
        return Err(ParseKeyError::SecurityKey { found });
    }
    // Options may hold quoted blanks, so the type may be any later word.
    if words.any(|word| accepted(word).is_some() || word.starts_with("sk-") || word == "ssh-dss") {
        return Err(ParseKeyError::Options { found });
    }
    Err(ParseKeyError::Unsupported { found })
}

fn accepted(word: &str) -> Option<Algorithm> {
    [Algorithm::Ed25519, Algorithm::EcdsaP256, Algorithm::EcdsaP384, Algorithm::Rsa]
        .into_iter()
        .find(|algorithm| algorithm.openssh() == word)
}

/// Enough to recognise what was given, little enough to repeat no secret.
fn shortened(text: &str) -> String {
    boundkey_text::clean(text, 40)
}

/// The wire form (RFC 4253 6.6, RFC 5656 3.1, RFC 8709 4).
pub(super) fn blob(material: &Material) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    match material {
        Material::Ed25519(key) => {
            string(&mut out, b"ssh-ed25519");
            string(&mut out, key);
        }
        Material::P256(point) => {
            string(&mut out, b"ecdsa-sha2-nistp256");
            string(&mut out, b"nistp256");
            string(&mut out, point);
        }
        Material::P384(point) => {
            string(&mut out, b"ecdsa-sha2-nistp384");
            string(&mut out, b"nistp384");
            string(&mut out, point);
        }
        Material::Rsa(key) => {
            string(&mut out, b"ssh-rsa");
            positive(&mut out, &key.e);
            positive(&mut out, &key.n);
        }
    }
    out
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("no part of a key is longer than 1025 bytes");
    out.extend(length.to_be_bytes());
    out.extend(bytes);
}

/// An mpint: a zero byte keeps a number with its top bit set from being negative.
fn positive(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.first() {
        Some(0x80..) => string(out, &[&[0], bytes].concat()),
        _ => string(out, bytes),
    }
}
