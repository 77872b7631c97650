use boundkey_keys::Signer;

use crate::{ChallengeView, Complete, JoinAnswer, Problem, Request};

/// Builds the payload itself ({aud, nonce, transcript, purpose}) and signs it; never signs bytes it was sent.
pub fn build_complete(
    challenge: &str,
    view: &ChallengeView,
    request: &Request,
    bound: &dyn Signer,
    new: Option<&dyn Signer>,
    secret_proof_key: Option<&[u8; 32]>,
) -> Result<Complete, ClientError> {
    todo!()
}

/// What the server said: an answer, or a refusal.
#[derive(Debug)]
pub enum Answer {
    Join(JoinAnswer),
    Refused(Problem),
}

/// Strict reading of a body, by HTTP status.
pub fn read_answer(status: u16, body: &[u8]) -> Result<Answer, ClientError> {
    todo!()
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server's answer is not understood")]
pub struct ClientError;
