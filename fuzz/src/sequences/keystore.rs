use std::collections::BTreeSet;

use boundkey_keys::{PrivateKey, PublicKey, Thumbprint};
use boundkey_keystore::conformance::assert_same;
use boundkey_keystore::{
    AcceptedIdentity, AcceptedResult, AgentState, HeldKey, Keystore as _, MAX_SUPERSEDED, MemoryKeystore,
    PendingAttempt, ProvisionalResult,
};
use time::Duration;

use super::{Choices, say};
use crate::scene::{NOW, key};

/// Steps of the agent's state in any order, each stored or lost in a crash. No step that is refused changes anything, no
/// attempt ends but by a result, and no key is lost that a server may have bound.
pub fn keystore_transitions(data: &[u8]) {
    let mut choices = Choices::of_joins(data);
    let mut disk = MemoryKeystore::default();
    let mut state = AgentState::default();
    while choices.more() {
        step(&mut state, &mut choices);
        // The process goes on, or dies: before the state is stored, or after it.
        let dies = choices.below(4);
        if dies != 1 {
            disk.save(&state).expect("memory takes everything");
        }
        if dies == 1 || dies == 2 {
            let loaded = disk.load().expect("what was saved is loaded");
            if dies == 2 {
                assert_same(&loaded, &state);
            }
            state = loaded;
        }
    }
}

fn thumbprint(number: u8) -> Thumbprint {
    key(number).public_key().thumbprint()
}

/// Every key that a server may hold for bound.
fn held(state: &AgentState) -> BTreeSet<[u8; 32]> {
    let offered = state.pending.iter().filter_map(|pending| pending.new_key.as_ref());
    state.pairs().map(|pair| pair.key).chain(offered).map(|key| key.public_key().thumbprint().0).collect()
}

fn public(state: &AgentState) -> Option<PublicKey> {
    state.bound_key.as_ref().map(|key| key.public_key().clone())
}

fn step(state: &mut AgentState, choices: &mut Choices<'_>) {
    let (before, keys, bound) = (state.to_json(), held(state), public(state));
    let pending = state.pending.as_ref().map(|pending| pending.attempt);
    let offered = state.pending.as_ref().and_then(|pending| pending.new_key.as_ref());
    let offered = offered.map(|key| key.public_key().thumbprint().0);
    let superseded = state.superseded.len();
    let operation = choices.below(7);
    let number = 1 + choices.byte() % 24;
    let attempt = match (choices.below(8), pending) {
        (0, _) | (_, None) => [number; 16],
        (_, Some(attempt)) => attempt,
    };
    say((operation, number, attempt[0]));
    let mut ends = false;
    let refused = match operation {
        0 => state.adopt_key(HeldKey::new(key(number))).err(),
        1 => {
            state.use_static_key(HeldKey::new(key(number)));
            assert_eq!(public(state).as_ref(), Some(key(number).public_key()));
            None
        }
        2 => state.begin_attempt(new_attempt(attempt, number, choices)).err(),
        3 => state.offer_new_key(HeldKey::new(key(number))).err(),
        4 | 5 => {
            let result = accepted(attempt, choose(state, number), choices);
            let (name, text) = (result.bound_key, result.join_state.clone());
            let refused = state.accept_result(result).err();
            ends = refused.is_none();
            if ends {
                assert_eq!(public(state).map(|key| key.thumbprint()), Some(name));
                assert_eq!(state.join_state.as_deref(), Some(text.as_str()));
                assert!(state.identity.is_some());
            }
            refused
        }
        _ => {
            let join_state = format!("provisional {}", choices.byte());
            let bound_key = choose(state, number);
            let refused =
                state.accept_provisional(ProvisionalResult { attempt, join_state, bound_key }).err();
            ends = refused.is_none();
            if ends {
                assert_eq!(public(state).map(|key| key.thumbprint()), Some(bound_key));
            }
            refused
        }
    };
    say(&refused);
    if refused.is_some() {
        assert!(before == state.to_json(), "a step that was refused changed something: {refused:?}");
    }
    let now_pending = state.pending.as_ref().map(|pending| pending.attempt);
    match (pending, now_pending) {
        (Some(before), after) if !ends => {
            assert_eq!(Some(before), after, "an attempt ended without a result")
        }
        (Some(_), after) => assert_eq!(after, None),
        (None, after) => assert!(after.is_none() || operation == 2),
    }
    assert!(bound.is_none() || state.bound_key.is_some(), "the bound key is gone");
    let mut missing: BTreeSet<_> = keys.difference(&held(state)).copied().collect();
    // A result says which key is bound: the one that was offered, or none will ever bind it.
    if ends {
        missing.retain(|key| Some(*key) != offered);
    }
    // The oldest of many goes.
    let most = usize::from(superseded == MAX_SUPERSEDED || state.superseded.len() == MAX_SUPERSEDED) * 2;
    assert!(missing.len() <= most, "{} keys were lost in operation {operation}", missing.len());
    assert!(state.superseded.len() <= MAX_SUPERSEDED);
    let distinct: BTreeSet<_> =
        state.superseded.iter().map(|pair| pair.key.public_key().thumbprint().0).collect();
    assert_eq!(distinct.len(), state.superseded.len(), "a key is superseded twice");
}

/// Mostly a key that is held.
fn choose(state: &AgentState, number: u8) -> Thumbprint {
    let held: Vec<_> = held(state).into_iter().collect();
    match held.get(usize::from(number) % (held.len() + 1)) {
        Some(name) => Thumbprint(*name),
        None => thumbprint(number),
    }
}

fn new_attempt(attempt: [u8; 16], number: u8, choices: &mut Choices<'_>) -> PendingAttempt {
    let ssh_key = choices.flag().then(|| key(number.wrapping_add(100)));
    PendingAttempt {
        attempt,
        started_at: NOW,
        tls_key: key(number.wrapping_add(50)),
        ssh_public_key: ssh_key.as_ref().map(|key: &PrivateKey| key.public_key().clone()),
        ssh_key,
        new_key: choices.flag().then(|| HeldKey::new(key(1 + choices.byte() % 24))),
    }
}

fn accepted(attempt: [u8; 16], bound_key: Thumbprint, choices: &mut Choices<'_>) -> AcceptedResult {
    let number = choices.byte();
    AcceptedResult {
        attempt,
        join_state: format!("state {number}"),
        bound_key,
        identity: AcceptedIdentity {
            identity_kind: if number % 2 == 0 { "host" } else { "bot" }.to_owned(),
            id: format!("id {number}"),
            x509_chain: vec![vec![number; usize::from(number)], Vec::new()],
            ssh_certificate: (number > 100).then(|| "ssh-ed25519-cert-v01@openssh.com AAAA".to_owned()),
            obtained_at: NOW,
            not_after: NOW + Duration::DAY,
            renew_at: NOW + Duration::HOUR,
        },
        ca_bundle: (number > 50).then(|| format!("[\"{number}\"]")),
        ca_bundle_signer: None,
    }
}
