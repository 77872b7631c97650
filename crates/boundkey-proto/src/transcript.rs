use boundkey_keys::Thumbprint;
use boundkey_lifecycle::AttemptId;

/// SHA-256("boundkey-join v1\0" || u32be(len C) || C || u32be(len R) || R) over the strings as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transcript(pub [u8; 32]);
impl Transcript {
    pub fn new(challenge: &str, request: &str) -> Self {
        todo!()
    }
}
/// SHA-256("boundkey result v1\0" || u32be(len state) || state || thumbprint || attempt): goes into the leaf's private extension.
pub fn result_digest(join_state: &str, bound_key: Thumbprint, attempt: AttemptId) -> [u8; 32] {
    todo!()
}
