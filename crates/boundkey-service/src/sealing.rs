//! What is sealed in the store under the master key, and under which associated data.

use boundkey_keys::{OpenError, Secret};
use boundkey_lifecycle::Sealed;
use boundkey_store::keys;
use zeroize::Zeroizing;

use crate::Service;

/// A place in the store that holds sealed bytes. What is sealed for one place opens in no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot<'a> {
    /// `TokenRecord::sealed_secret` of the token of this name: the spec's registration secret.
    TokenSecret(&'a str),
    /// `SecretRecord::generated` in the enrolment of the token of this name.
    GeneratedSecret(&'a str),
    /// `SecretRecord::proof_key` in the enrolment of the token of this name.
    ProofKey(&'a str),
    /// `AuthorityRecord::sealed_key` of the CA of this kind.
    AuthorityKey(&'a str),
}

impl Slot<'_> {
    /// The associated data: the record's key, and the field where a record has several.
    fn associated_data(&self) -> String {
        match self {
            Self::TokenSecret(name) => format!("{}#registration_secret", keys::token(name)),
            Self::GeneratedSecret(name) => format!("{}#generated_secret", keys::enrolment(name)),
            Self::ProofKey(name) => format!("{}#proof_key", keys::enrolment(name)),
            Self::AuthorityKey(kind) => keys::authority(kind),
        }
    }
}

impl Service {
    /// Seals bytes for a place in the store.
    pub fn seal(&self, slot: Slot<'_>, plain: &[u8]) -> Sealed {
        let mut nonce = [0; 12];
        self.entropy().fill(&mut nonce);
        Sealed(self.master().seal(slot.associated_data().as_bytes(), nonce, plain))
    }

    /// Opens what `seal` made for the same place.
    ///
    /// # Errors
    /// Made with another master key or a retired one, for another place, or damaged.
    pub fn open(&self, slot: Slot<'_>, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        self.master().open(slot.associated_data().as_bytes(), &sealed.0)
    }

    /// Seals a registration secret.
    pub fn seal_secret(&self, slot: Slot<'_>, secret: &Secret) -> Sealed {
        self.seal(slot, secret.expose().as_bytes())
    }

    /// Opens a registration secret.
    ///
    /// # Errors
    /// As `open`; and what is not UTF-8 was no secret.
    pub fn open_secret(&self, slot: Slot<'_>, sealed: &Sealed) -> Result<Secret, UnsealError> {
        let plain = self.open(slot, sealed)?;
        let text = std::str::from_utf8(&plain).map_err(|_| UnsealError::NotASecret)?;
        Ok(Secret::new(text.to_owned()))
    }

    /// A new registration secret: 32 random bytes in the generated form.
    pub fn generate_secret(&self) -> Secret {
        let mut bytes = Zeroizing::new([0; 32]);
        self.entropy().fill(bytes.as_mut());
        Secret::generated(*bytes)
    }

    /// The proof key of a token's secret, derived (slowly, for secrets that people made) and sealed for the
    /// enrolment. To be kept whenever a secret comes into force, so that a join never has to derive it.
    pub async fn sealed_proof_key(&self, token: &str, secret: &Secret) -> Sealed {
        let key = self.stretch().proof_key(secret.duplicate(), self.cluster(), token).await;
        self.seal(Slot::ProofKey(token), key.as_ref())
    }
}

/// Why sealed bytes do not yield a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnsealError {
    /// Made with another master key or a retired one, for another place, or damaged.
    #[error("a sealed record does not open")]
    Open(#[from] OpenError),
    /// What was sealed is not of the expected form.
    #[error("a sealed record opens, and is no secret")]
    NotASecret,
}
