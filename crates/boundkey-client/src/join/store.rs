//! What a result does to the state.

use boundkey_keys::PrivateKey;
use boundkey_keystore::{AgentState, HeldKey, IdentityRecord, Superseded};
use boundkey_proto::{CaBundle, Identity, JoinResult, SignedBundle};
use time::OffsetDateTime;

use super::check::Certified;

/// Superseded pairs that are kept.
const KEPT: usize = 10;

/// The bundle as stored: it was verified before.
pub(super) fn read_bundle(text: &str) -> Option<CaBundle> {
    serde_json::from_str::<SignedBundle>(text).ok()?.peek().ok()
}

/// A static key is the bound key; the pair that it replaces is kept, and one that was kept for it comes back.
pub(super) fn adopt_static_key(state: &mut AgentState, key: PrivateKey) {
    let same = |held: &HeldKey| held.public_key() == key.public_key();
    if state.bound_key.as_ref().is_some_and(same) {
        return;
    }
    let kept = state.superseded.iter().position(|pair| same(&pair.key)).map(|at| state.superseded.remove(at));
    supersede(state);
    state.join_state = kept.and_then(|pair| pair.join_state);
    state.bound_key = Some(HeldKey::new(key));
}

/// Back to the last pair that certificates vouched for; false if the present one is it.
pub(super) fn return_to_authenticated(state: &mut AgentState) -> bool {
    let Some(pair) = state.authenticated.take() else { return false };
    supersede(state);
    state.bound_key = Some(pair.key);
    state.join_state = pair.join_state;
    true
}

/// A result without certificates: nothing but the connection vouches for it.
pub(super) fn accept_provisional(state: &mut AgentState, result: &JoinResult) {
    let Some(bound) = take_bound(state, result) else { return };
    let old = state.bound_key.take().map(|key| Superseded { key, join_state: state.join_state.take() });
    match old {
        Some(old) if state.authenticated.is_none() => state.authenticated = Some(old),
        Some(old) => push(state, old),
        None => {}
    }
    state.bound_key = Some(bound);
    state.join_state = Some(result.join_state.clone());
    state.pending = None;
}

/// An authenticated result: it ends the attempt.
pub(super) fn accept_result(
    state: &mut AgentState,
    result: &JoinResult,
    certified: Certified,
    now: OffsetDateTime,
    renew_at: OffsetDateTime,
) -> Result<(), super::JoinError> {
    let bound = take_bound(state, result).ok_or(super::JoinError::NoAttempt)?;
    let pending = state.pending.take().ok_or(super::JoinError::NoAttempt)?;
    if let Some(pair) = state.authenticated.take() {
        push(state, pair);
    }
    supersede(state);
    state.bound_key = Some(bound);
    state.join_state = Some(result.join_state.clone());
    state.ca_bundle = serde_json::to_string(&result.ca_bundle).ok();
    let identity_kind = match &result.identity {
        Identity::Host(_) => "host",
        Identity::BotInstance(_) => "bot_instance",
    };
    state.identity = Some(IdentityRecord {
        identity_kind: identity_kind.to_owned(),
        id: result.identity.id().to_owned(),
        tls_key: pending.tls_key,
        ssh_key: pending.ssh_key,
        x509_chain: certified.x509_chain,
        ssh_certificate: certified.ssh,
        obtained_at: now,
        not_after: certified.not_after,
        renew_at,
    });
    state.last_error = None;
    state.last_error_at = None;
    Ok(())
}

/// The key that the result names: a duplicate of the held one, or the new one.
fn take_bound(state: &mut AgentState, result: &JoinResult) -> Option<HeldKey> {
    let is_it = |key: &&HeldKey| key.public_key().thumbprint() == result.bound_key.thumbprint();
    let new = state.pending.as_ref().and_then(|pending| pending.new_key.as_ref());
    new.filter(is_it).or(state.bound_key.as_ref().filter(is_it)).map(HeldKey::duplicate)
}

fn supersede(state: &mut AgentState) {
    if let Some(key) = state.bound_key.take() {
        let join_state = state.join_state.take();
        push(state, Superseded { key, join_state });
    }
}

fn push(state: &mut AgentState, pair: Superseded) {
    state.superseded.insert(0, pair);
    state.superseded.truncate(KEPT);
}
