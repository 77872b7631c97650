//! What a result does to the state.

use boundkey_keys::PublicKey;
use boundkey_keystore::{AcceptedIdentity, AcceptedResult, AgentState, ProvisionalResult, TransitionError};
use boundkey_proto::{CaBundle, Identity, JoinResult, SignedBundle};
use time::OffsetDateTime;

use super::check::{self, Certified};

/// The bundle of the state does not fit the rest of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the stored CA bundle is not the one that was accepted ({0}): nothing is written or trusted by it, and the next join \
     gets it anew. If nobody changed `state.json` by hand, find out who could"
)]
pub(crate) struct StoredBundleError(String);

/// A bundle that is as it was when it was accepted.
#[derive(Debug)]
pub(crate) struct StoredBundle {
    pub(super) signed: SignedBundle,
    /// The CA key that vouched for it.
    pub(super) signer: PublicKey,
    pub(crate) bundle: CaBundle,
}

/// The state's bundle, if the key that vouched for it did sign it, it is of the state's cluster, and its CAs issued the
/// identity beside it.
///
/// Who writes the whole state can make all of that fit: against him stand the owner and mode of the file. This is against a
/// bundle that was exchanged or damaged alone, by a tool or a hand that meant well or not.
pub(crate) fn stored_bundle(state: &AgentState) -> Result<Option<StoredBundle>, StoredBundleError> {
    let Some(text) = &state.ca_bundle else { return Ok(None) };
    let unfit = |reason: &str| StoredBundleError(reason.to_owned());
    let signed: SignedBundle = serde_json::from_str(text).map_err(|_| unfit("it is not understood"))?;
    let signer = state.ca_bundle_signer.clone().ok_or_else(|| unfit("nobody vouched for it"))?;
    let bundle = signed
        .verify(std::slice::from_ref(&signer))
        .map_err(|_| unfit("its signature is not of the CA that vouched for it"))?;
    if state.cluster.as_ref().is_some_and(|cluster| *cluster != bundle.cluster) {
        return Err(unfit("it is of another cluster"));
    }
    if let Some(identity) = &state.identity {
        let anchors = if identity.identity_kind == "bot" { bundle.bot_der() } else { bundle.host_der() };
        check::is_issued_by(&identity.x509_chain, &anchors)
            .map_err(|reason| unfit(&format!("its CAs did not issue the stored certificate: {reason}")))?;
    }
    Ok(Some(StoredBundle { signed, signer, bundle }))
}

/// The same; what does not fit is as good as none.
pub(crate) fn read_bundle(state: &AgentState) -> Option<CaBundle> {
    stored_bundle(state).ok().flatten().map(|stored| stored.bundle)
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
        ca_bundle_signer: Some(certified.bundle_signer),
    })
}
