use std::fmt;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{digest, hmac, pbkdf2};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::master::hkdf_sha256;

/// A registration secret: wiped on drop, never shown by `Debug`, compared in constant time.
///
/// There is no `Clone`: a copy is made by [`Secret::duplicate`], so that it is seen.
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text as it is; how long it must be is the token's business.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// 32 random bytes as 43 base64url characters: the form in which the server makes secrets.
    pub fn generated(bytes: [u8; 32]) -> Self {
        let bytes = Zeroizing::new(bytes);
        Self::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()))
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it has the generated form: exactly 43 characters, each of the base64url alphabet.
    pub fn is_generated_form(&self) -> bool {
        self.0.len() == 43 && self.0.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    }

    /// Another copy, wiped on its own.
    pub fn duplicate(&self) -> Self {
        Self(self.0.clone())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        equal_in_constant_time(self.0.as_bytes(), other.0.as_bytes())
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Rounds of PBKDF2 for a secret that a person chose.
const ROUNDS: NonZeroU32 = NonZeroU32::new(600_000).expect("not zero");

/// The key of the protocol's `secret_proof`.
///
/// Salt: the cluster's name, a zero byte, the token's name. A secret of the generated form (see
/// [`Secret::is_generated_form`]) is the HKDF-SHA-256 input as its 43 ASCII bytes; any other goes through
/// PBKDF2-HMAC-SHA-256 first (600,000 rounds, the same salt, 32 bytes), because a false server could
/// otherwise guess it offline. HKDF: the same salt, info `boundkey secret v1`, 32 bytes.
///
/// The second way takes some 100 ms: derive once and keep the key, and do not call it on an async thread.
pub fn secret_proof_key(secret: &Secret, cluster: &str, token: &str) -> Zeroizing<[u8; 32]> {
    let salt = [cluster.as_bytes(), &[0], token.as_bytes()].concat();
    let text = secret.expose().as_bytes();
    if secret.is_generated_form() {
        return hkdf_sha256(&salt, text, &[b"boundkey secret v1"]);
    }
    let mut stretched = Zeroizing::new([0; 32]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, &salt, text, stretched.as_mut_slice());
    hkdf_sha256(&salt, stretched.as_slice(), &[b"boundkey secret v1"])
}

/// HMAC-SHA-256 (RFC 2104).
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    tag.as_ref().try_into().expect("a SHA-256 tag has 32 bytes")
}

/// SHA-256 of the parts, one after the other; nothing is put between them.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    context.finish().as_ref().try_into().expect("a SHA-256 digest has 32 bytes")
}

/// Compares without telling, by the time it takes, where two texts of the same length differ.
pub fn equal_in_constant_time(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn the_generated_form_is_43_characters_of_base64url() {
        assert!(Secret::generated([0xff; 32]).is_generated_form());
        assert_eq!(Secret::generated([0; 32]).expose(), "A".repeat(43));
        for no in ["", "hunter2hunter2", &"A".repeat(42), &"A".repeat(44), &format!("{}+", "A".repeat(42))] {
            assert!(!Secret::new(no.to_owned()).is_generated_form(), "{no}");
        }
    }

    #[test]
    fn debug_shows_nothing_of_a_secret() {
        assert_eq!(format!("{:?}", Secret::new("hunter2hunter2".to_owned())), "Secret(..)");
    }

    #[test]
    fn secrets_are_equal_by_content() {
        let one = Secret::new("one".to_owned());
        assert_eq!(one, one.duplicate());
        assert_ne!(one, Secret::new("two".to_owned()));
        assert_ne!(one, Secret::new("on".to_owned()));
    }

    #[test]
    fn the_proof_key_depends_on_secret_cluster_and_token() {
        let secret = Secret::generated([1; 32]);
        let key = secret_proof_key(&secret, "example.com", "web");
        assert_eq!(*key, *secret_proof_key(&secret.duplicate(), "example.com", "web"));
        assert_ne!(*key, *secret_proof_key(&Secret::generated([2; 32]), "example.com", "web"));
        assert_ne!(*key, *secret_proof_key(&secret, "example.org", "web"));
        assert_ne!(*key, *secret_proof_key(&secret, "example.com", "db"));
        // The zero byte keeps the two names apart.
        assert_ne!(*secret_proof_key(&secret, "a", "bc"), *secret_proof_key(&secret, "ab", "c"));
    }

    #[test]
    fn the_proof_key_of_a_chosen_secret_is_stretched_first() {
        let salt = b"example.com\0web";
        let mut stretched = [0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, salt, b"correct horse", &mut stretched);
        let expected = hkdf_sha256(salt, &stretched, &[b"boundkey secret v1"]);
        let key = secret_proof_key(&Secret::new("correct horse".to_owned()), "example.com", "web");
        assert_eq!(*key, *expected);
    }

    #[test]
    fn hmac_is_that_of_rfc_4231() {
        assert_eq!(
            hex(&hmac_sha256(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn sha256_runs_over_the_joined_parts() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex(&sha256(&[b"abc"])), expected);
        assert_eq!(hex(&sha256(&[b"a", b"", b"bc"])), expected);
    }
}
