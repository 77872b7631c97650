//! Compact JWS in the one narrow form that the protocol uses.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::{KeyFileError, PrivateKey, PublicKey, Thumbprint};

/// The longest compact JWS that is read, in bytes. Longer texts are refused before they are decoded.
pub const MAX_JWS_BYTES: usize = 64 * 1024;

/// The longest header in base64url; the longest one made here has 130 characters.
const MAX_HEADER_BYTES: usize = 512;

/// Proof that a signature by this key was checked.
///
/// Only [`verify_jws`] makes one (and `ProvenKey::assumed` under the `testing` feature, for models and
/// fuzzing), so code that asks for a `ProvenKey` cannot be reached without the check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenKey {
    key: PublicKey,
}

impl ProvenKey {
    /// The key that signed.
    pub fn public_key(&self) -> &PublicKey {
        &self.key
    }

    /// Its thumbprint.
    pub fn thumbprint(&self) -> Thumbprint {
        self.key.thumbprint()
    }

    /// For models and fuzzing only: a proof without a signature.
    #[cfg(feature = "testing")]
    pub fn assumed(key: PublicKey) -> Self {
        Self { key }
    }
}

/// Signs a payload as a compact JWS with header `{"alg":..,"kid":..,"typ":..}`.
///
/// `alg` is that of the key (`EdDSA` or `ES256`), `kid` its RFC 7638 thumbprint. Ed25519 signatures are
/// deterministic, P-256 ones are not.
///
/// # Errors
/// [`KeyFileError::Signing`] if the system gives no randomness for a P-256 signature.
///
/// # Source
/// RFC 7515 7.1, RFC 7518 3.4, RFC 8037 3.1.
pub fn sign_jws(key: &PrivateKey, typ: &str, payload: &[u8]) -> Result<String, KeyFileError> {
    let kid = key.public_key().thumbprint().to_string();
    let mut text = signing_input(key.algorithm().jws(), &kid, typ, payload);
    let signature = key.sign(text.as_bytes())?;
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut text);
    Ok(text)
}

/// Checks a compact JWS against the one key it may be of; hands out the proof and the payload.
///
/// The header must be a JSON object of exactly `alg`, `kid` and `typ`: `typ` as expected, `alg` that of the
/// key (so never `none` nor an HMAC algorithm), `kid` the key's thumbprint. It selects nothing: the key is
/// the caller's. All three parts are unpadded base64url in its one canonical spelling.
///
/// # Errors
/// [`JwsError`] says what did not fit. A peer that has proven nothing should be told less than that.
pub fn verify_jws(compact: &str, typ: &str, key: &PublicKey) -> Result<(ProvenKey, Vec<u8>), JwsError> {
    let parts = Parts::split(compact)?;
    parts.expect(key.algorithm().jws(), typ)?;
    if parts.header.kid != key.thumbprint().to_string() {
        return Err(JwsError::OtherKey { found: shortened(&parts.header.kid) });
    }
    // RSA signatures are as long as the modulus: 1024 bytes for 8192 bits.
    if parts.signature.len() > 1366 {
        return Err(JwsError::Signature);
    }
    if !key.verifies(parts.signed.as_bytes(), &decode(parts.signature, "signature")?) {
        return Err(JwsError::Signature);
    }
    Ok((ProvenKey { key: key.clone() }, decode(parts.payload, "payload")?))
}

/// The three parts of a compact JWS, header read, nothing verified.
pub(crate) struct Parts<'a> {
    pub(crate) header: Header<'a>,
    /// Header, dot and payload as they were sent: what is signed.
    pub(crate) signed: &'a str,
    pub(crate) payload: &'a str,
    pub(crate) signature: &'a str,
}

impl<'a> Parts<'a> {
    pub(crate) fn split(compact: &'a str) -> Result<Self, JwsError> {
        if compact.len() > MAX_JWS_BYTES {
            return Err(JwsError::TooLong { bytes: compact.len() });
        }
        let (signed, signature) = compact.rsplit_once('.').ok_or(JwsError::Parts)?;
        let (header, payload) = signed.split_once('.').ok_or(JwsError::Parts)?;
        if payload.contains('.') {
            return Err(JwsError::Parts);
        }
        if header.len() > MAX_HEADER_BYTES {
            return Err(JwsError::TooLong { bytes: header.len() });
        }
        let header = Header::read(&decode(header, "header")?)?;
        Ok(Self { header, signed, payload, signature })
    }

    pub(crate) fn expect(&self, alg: &'static str, typ: &str) -> Result<(), JwsError> {
        if self.header.typ != typ {
            return Err(JwsError::Typ { found: shortened(&self.header.typ), expected: typ.to_owned() });
        }
        if self.header.alg != alg {
            return Err(JwsError::Alg { found: shortened(&self.header.alg), expected: alg });
        }
        Ok(())
    }
}

/// Exactly these members; serde refuses unknown and repeated ones.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header<'a> {
    pub(crate) alg: Cow<'a, str>,
    pub(crate) kid: Cow<'a, str>,
    pub(crate) typ: Cow<'a, str>,
}

impl Header<'_> {
    fn read(json: &[u8]) -> Result<Header<'static>, JwsError> {
        // serde would also read a struct from an array of its values.
        if json.first() != Some(&b'{') {
            return Err(JwsError::Header);
        }
        serde_json::from_slice(json).map_err(|_| JwsError::Header)
    }
}

/// Header and payload in base64url, joined by a dot.
pub(crate) fn signing_input(alg: &str, kid: &str, typ: &str, payload: &[u8]) -> String {
    let header = Header { alg: alg.into(), kid: kid.into(), typ: typ.into() };
    let header = serde_json::to_string(&header).expect("three strings are always JSON");
    let mut text = String::with_capacity((header.len() + payload.len()) * 4 / 3 + 100);
    URL_SAFE_NO_PAD.encode_string(header, &mut text);
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(payload, &mut text);
    text
}

/// Strict: no padding, no other alphabet, no stray bits in the last character.
pub(crate) fn decode(text: &str, part: &'static str) -> Result<Vec<u8>, JwsError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| JwsError::Base64 { part })
}

fn shortened(text: &str) -> String {
    boundkey_text::clean(text, 64)
}

/// Why a text is not the expected JWS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// Longer than anything the protocol makes.
    #[error("{bytes} bytes are too long for a signed message or its header")]
    TooLong {
        /// What was found.
        bytes: usize,
    },
    /// Not header, payload and signature.
    #[error("a compact JWS has three parts with a dot between them")]
    Parts,
    /// Padding, another alphabet, or bits that belong to no byte.
    #[error("the {part} is not canonical unpadded base64url")]
    Base64 {
        /// Which of the three parts.
        part: &'static str,
    },
    /// Another member, a missing or a repeated one, or no JSON object.
    #[error("the header is not a JSON object of exactly alg, kid and typ")]
    Header,
    /// Signed for another purpose.
    #[error("typ is {found:?}, expected {expected:?}")]
    Typ {
        /// What the header says, shortened.
        found: String,
        /// The purpose asked for.
        expected: String,
    },
    /// An algorithm that does not fit the key, `none` included.
    #[error("alg is {found:?}, expected {expected:?} by the key")]
    Alg {
        /// What the header says, shortened.
        found: String,
        /// The only one for this key.
        expected: &'static str,
    },
    /// Signed by another key, by its own word.
    #[error("kid is {found:?}, which is not the thumbprint of the expected key")]
    OtherKey {
        /// What the header says, shortened.
        found: String,
    },
    /// Not made by the key, or changed since.
    #[error("the signature does not verify")]
    Signature,
}

#[cfg(test)]
mod tests;
