use boundkey_keys::{Thumbprint, sha256};
use boundkey_lifecycle::AttemptId;

const TRANSCRIPT_LABEL: &[u8] = b"boundkey-join v1\0";
const RESULT_LABEL: &[u8] = b"boundkey result v1\0";

/// What a join is about: everything its answer depends on, in 32 bytes.
///
/// `SHA-256("boundkey-join v1\0" || u32be(len C) || C || u32be(len R) || R)`, where C is the challenge and R the
/// request, both as the strings that were sent. The lengths make the framing injective: no other pair of strings has
/// the same input.
///
/// # Source
///
/// `docs/protocol.md`, "Transcript".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transcript(pub [u8; 32]);

impl Transcript {
    /// The transcript of a challenge and a request, as sent.
    pub fn new(challenge: &str, request: &str) -> Self {
        Self(sha256(&[
            TRANSCRIPT_LABEL,
            &length(challenge),
            challenge.as_bytes(),
            &length(request),
            request.as_bytes(),
        ]))
    }
}

/// What the leaf's private extension holds: `SHA-256("boundkey result v1\0" || u32be(len S) || S || thumbprint ||
/// attempt)` over the join state S as sent, the bound key's thumbprint (32 bytes) and the attempt id (16 bytes).
///
/// So the certificate's own signature authenticates the whole result.
///
/// # Source
///
/// `docs/protocol.md`, "Result".
pub fn result_digest(join_state: &str, bound_key: Thumbprint, attempt: AttemptId) -> [u8; 32] {
    sha256(&[RESULT_LABEL, &length(join_state), join_state.as_bytes(), &bound_key.0, &attempt.0])
}

/// Bodies are at most 64 KiB, so the length of a string that was sent always fits; a longer one (no peer can send
/// it) has the greatest length, and the hash of its bytes still differs.
fn length(text: &str) -> [u8; 4] {
    u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes()
}
