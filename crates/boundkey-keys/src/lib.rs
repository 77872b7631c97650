//! Public keys, their thumbprints, the signatures made with them, and the cluster's master key.
#![allow(missing_docs, unused_variables, clippy::todo, reason = "skeleton")]
mod jws;
mod master;
mod private;
mod public;
mod secret;

pub use jws::{JwsError, MacKey, ProvenKey, mac_jws_kid, sign_jws, sign_mac_jws, verify_jws, verify_mac_jws};
pub use master::{DerivedKey, Epoch, MasterKey, MasterKeyError, OpenError, Purpose};
pub use private::{KeyFileError, PrivateKey, Signer};
pub use public::{Algorithm, ParseKeyError, PublicKey, Thumbprint};
pub use secret::{Secret, hmac_sha256, secret_proof_key, sha256};

/// Where random bytes come from. Implemented at the edges (service, client, tests); never in a pure crate.
pub trait Entropy: Send + Sync {
    fn fill(&self, out: &mut [u8]);
}
