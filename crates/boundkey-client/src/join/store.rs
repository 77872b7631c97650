//! What a result does to the state.

use boundkey_keystore::{AcceptedIdentity, AcceptedResult, AgentState, ProvisionalResult, TransitionError};
use boundkey_proto::{CaBundle, Identity, JoinResult, Problem, SignedBundle};
use time::OffsetDateTime;

use super::check::Certified;

/// The bundle as stored: it was verified before.
pub(crate) fn read_bundle(text: &str) -> Option<CaBundle> {
    read_signed_bundle(text).map(|(_, bundle)| bundle)
}

/// The same, with its signatures.
pub(super) fn read_signed_bundle(text: &str) -> Option<(SignedBundle, CaBundle)> {
    let signed = serde_json::from_str::<SignedBundle>(text).ok()?;
    let bundle = signed.peek().ok()?;
    Some((signed, bundle))
}

/// Back to the last pair that certificates vouched for, if the refusal shows that the server cannot read what came after
/// it. (If it could, the older state would look like a clone's.)
pub(super) fn return_to_authenticated(state: &mut AgentState, refusal: &Problem) -> bool {
    let Some(kept) = &state.authenticated else { return false };
    let other_key = state.bound_key.as_ref().is_some_and(|key| key.public_key() != kept.key.public_key());
    let unreadable = refusal.code == "join_state_invalid" || (refusal.code == "denied" && other_key);
    unreadable && state.revert_provisional()
}

/// A result without certificates: nothing but the connection vouches for it.
pub(super) fn accept_provisional(state: &mut AgentState, result: &JoinResult) -> Result<(), TransitionError> {
    state.accept_provisional(ProvisionalResult {
        attempt: result.attempt.0,
        join_state: result.join_state.clone(),
        bound_key: result.bound_key.thumbprint(),
    })
}

/// An authenticated result: it ends the attempt.
pub(super) fn accept_result(
    state: &mut AgentState,
    result: &JoinResult,
    certified: Certified,
    now: OffsetDateTime,
    renew_at: OffsetDateTime,
) -> Result<(), TransitionError> {
    let identity_kind = match &result.identity {
        Identity::Host(_) => "host",
        Identity::BotInstance(_) => "bot",
    };
    state.accept_result(AcceptedResult {
        attempt: result.attempt.0,
        join_state: result.join_state.clone(),
        bound_key: result.bound_key.thumbprint(),
        identity: AcceptedIdentity {
            identity_kind: identity_kind.to_owned(),
            id: result.identity.id().to_owned(),
            x509_chain: certified.x509_chain,
            ssh_certificate: certified.ssh,
            obtained_at: now,
            not_after: certified.not_after,
            renew_at,
        },
        ca_bundle: serde_json::to_string(&result.ca_bundle).ok(),
    })
}
