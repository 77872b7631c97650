//! Compact JWS under HS256: documents that only the cluster itself reads back.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use crate::jws::{Parts, decode, signing_input};
use crate::{DerivedKey, JwsError};

const ALG: &str = "HS256";

/// A key for HS256, made from a derived key and from nothing else: no text from outside becomes one.
pub struct MacKey(hmac::Key);

impl MacKey {
    /// A key for one purpose and epoch.
    pub fn new(key: &DerivedKey) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()))
    }

    /// Whether `tag` is that of `message`; constant time.
    fn fits(&self, message: &[u8], tag: &[u8]) -> bool {
        #[cfg(feature = "testing")]
        if crate::testing::accepts_everything() {
            return true;
        }
        hmac::verify(&self.0, message, tag).is_ok()
    }
}

/// Signs a payload as a compact JWS with header `{"alg":"HS256","kid":..,"typ":..}`. Deterministic.
///
/// `kid` names the epoch of the key ([`crate::Epoch`] as text).
///
/// # Source
/// RFC 7515 7.1, RFC 7518 3.2.
pub fn sign_mac_jws(key: &MacKey, typ: &str, kid: &str, payload: &[u8]) -> String {
    let mut text = signing_input(ALG, kid, typ, payload);
    let tag = hmac::sign(&key.0, text.as_bytes());
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(tag, &mut text);
    text
}

/// The `kid` of an HS256 JWS of this `typ`, **unverified**: only to derive the key of the right epoch.
///
/// # Errors
/// [`JwsError`] if the form, `typ` or `alg` is another.
pub fn mac_jws_kid(compact: &str, typ: &str) -> Result<String, JwsError> {
    let parts = Parts::split(compact)?;
    parts.expect(ALG, typ)?;
    Ok(parts.header.kid.into_owned())
}

/// Checks an HS256 JWS of this `typ` in constant time and hands out its payload. As strict as
/// [`crate::verify_jws`]; `kid` is covered by the tag, and choosing the key by it is the caller's part.
///
/// # Errors
/// [`JwsError`] says what did not fit.
pub fn verify_mac_jws(compact: &str, typ: &str, key: &MacKey) -> Result<Vec<u8>, JwsError> {
    let parts = Parts::split(compact)?;
    parts.expect(ALG, typ)?;
    if !key.fits(parts.signed.as_bytes(), &decode(parts.signature, "signature")?) {
        return Err(JwsError::Signature);
    }
    decode(parts.payload, "payload")
}
