//! Proofs of possession: a JWS whose payload says for which cluster, challenge, message and purpose it was made.

use std::borrow::Cow;

use boundkey_keys::{KeyFileError, ProvenKey, PublicKey, Signer, verify_jws};
use serde::{Deserialize, Serialize};

use crate::Transcript;
use crate::encoding::{encode, read_object};

/// The `typ` of a proof.
pub const PROOF_TYP: &str = "boundkey-join+jwt";

/// What a proof is made for; a proof of one purpose never passes for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProofPurpose {
    BoundKey,
    NewKey,
}

impl ProofPurpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::BoundKey => "bound_key",
            Self::NewKey => "new_key",
        }
    }
}

/// Exactly these members; serialised in this order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload<'a> {
    #[serde(borrow)]
    aud: Cow<'a, str>,
    #[serde(borrow)]
    nonce: Cow<'a, str>,
    #[serde(borrow)]
    transcript: Cow<'a, str>,
    #[serde(borrow)]
    purpose: Cow<'a, str>,
}

/// What the proofs of one message have in common.
pub(crate) struct ProofContext<'a> {
    cluster: &'a str,
    nonce: String,
    transcript: String,
}

impl<'a> ProofContext<'a> {
    pub(crate) fn new(cluster: &'a str, nonce: &[u8; 32], transcript: &Transcript) -> Self {
        Self { cluster, nonce: encode(nonce), transcript: encode(&transcript.0) }
    }

    pub(crate) fn sign(&self, signer: &dyn Signer, purpose: ProofPurpose) -> Result<String, KeyFileError> {
        let payload = Payload {
            aud: self.cluster.into(),
            nonce: self.nonce.as_str().into(),
            transcript: self.transcript.as_str().into(),
            purpose: purpose.as_str().into(),
        };
        let payload = serde_json::to_vec(&payload).expect("a struct of strings is always JSON");
        signer.sign_jws(PROOF_TYP, &payload)
    }

    /// None: it proves nothing (and nobody is told why).
    pub(crate) fn check(&self, compact: &str, key: &PublicKey, purpose: ProofPurpose) -> Option<ProvenKey> {
        let (proven, payload) = verify_jws(compact, PROOF_TYP, key).ok()?;
        let payload: Payload<'_> = read_object(&payload).ok()?;
        (payload.aud == self.cluster
            && payload.nonce == self.nonce
            && payload.transcript == self.transcript
            && payload.purpose == purpose.as_str())
        .then_some(proven)
    }
}
