//! Public keys, their thumbprints, the signatures made with them, and the cluster's master key.
//!
//! The lowest crate of the house: everything cryptographic goes through here (and through the CA crate,
//! which signs certificates). It reads no file, no clock and no randomness, with one exception that *ring*
//! leaves no choice about: making a P-256 key and signing with it take the system's randomness.
//!
//! | outside | checked here | to |
//! |---|---|---|
//! | an `authorized_keys` line | type, size, curve, weak keys | [`PublicKey`] |
//! | PKCS#8 or OpenSSH private key file | algorithm, encryption, both halves fit | [`PrivateKey`] |
//! | a compact JWS and the key it must be of | header, `typ`, `alg`, `kid`, signature | [`ProvenKey`] and the payload |
//! | a compact JWS under HS256 and its [`MacKey`] | header, `typ`, tag | the payload |
//! | `master.key` | version, ids, sizes | [`MasterKey`] |
//!
//! What it does **not** do: it does not know what a payload means (the protocol crate does), it validates no
//! certificate, it keeps nothing on disk, and it decrypts no key file that has a passphrase.
//!
//! The exact bytes are written down in `docs/protocol.md`, chapters *Proofs*, *Proof of the registration
//! secret* and *The cluster's own keys*.
//!
//! ```
//! use boundkey_keys::{PrivateKey, sign_jws, verify_jws};
//!
//! let key = PrivateKey::ed25519_from_seed(&[7; 32]);
//! let text = sign_jws(&key, "example+jwt", b"{}")?;
//! let (proven, payload) = verify_jws(&text, "example+jwt", key.public_key())?;
//! assert_eq!(proven.public_key(), key.public_key());
//! assert_eq!(payload, b"{}");
//! // Another `typ` is another purpose: the same signature proves nothing there.
//! assert!(verify_jws(&text, "other+jwt", key.public_key()).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod der;
mod jws;
mod mac;
mod master;
mod pem;
mod pkcs8;
mod private;
mod public;
mod secret;
#[cfg(feature = "testing")]
pub mod testing;
mod thumbprint;
mod written;

pub use jws::{JwsError, MAX_JWS_BYTES, ProvenKey, sign_jws, verify_jws};
pub use mac::{MacKey, mac_jws_kid, sign_mac_jws, verify_mac_jws};
pub use master::{DerivedKey, Epoch, MasterKey, MasterKeyError, OpenError, Purpose};
pub use private::{KeyFileError, PrivateKey, Signer};
pub use public::{Algorithm, ParseKeyError, PublicKey};
pub use secret::{Secret, equal_in_constant_time, hmac_sha256, secret_proof_key, sha256};
pub use thumbprint::Thumbprint;
pub use written::{NoSecret, tidy};

/// Where random bytes come from. Implemented at the edges (service, client, tests); never in a pure crate.
///
/// A weak implementation costs everything: keys, attempt ids and nonces come from it.
pub trait Entropy: Send + Sync {
    /// Fills the whole of `out` with bytes nobody can predict.
    fn fill(&self, out: &mut [u8]);
}
