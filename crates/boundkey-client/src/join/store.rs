//! What a result does to the state.

use boundkey_keystore::{AcceptedIdentity, AcceptedResult, AgentState, ProvisionalResult, TransitionError};
use boundkey_proto::{CaBundle, Identity, JoinResult, SignedBundle};
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

/// A result without certificates, which its receipt vouches for.
pub(super) fn accept_provisional(state: &mut AgentState, result: &JoinResult) -> Result<(), TransitionError> {
    state.accept_provisional(ProvisionalResult {
        attempt: result.attempt.0,
        join_state: result.join_state.clone(),
        bound_key: result.bound_key.thumbprint(),
    })
}

/// A result with certificates: it ends the attempt.
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
