use boundkey_keys::PrivateKey;

use super::*;

fn key(seed: u8) -> HeldKey {
    HeldKey::new(PrivateKey::ed25519_from_seed(&[seed; 32]))
}

fn thumbprint(seed: u8) -> Thumbprint {
    key(seed).public_key().thumbprint()
}

fn attempt(id: u8) -> PendingAttempt {
    PendingAttempt {
        attempt: [id; 16],
        started_at: OffsetDateTime::UNIX_EPOCH,
        tls_key: PrivateKey::ed25519_from_seed(&[200; 32]),
        ssh_key: Some(PrivateKey::ed25519_from_seed(&[201; 32])),
        ssh_public_key: None,
        new_key: None,
    }
}

fn result(attempt: u8, bound: u8, state: &str) -> AcceptedResult {
    AcceptedResult {
        attempt: [attempt; 16],
        join_state: state.to_owned(),
        bound_key: thumbprint(bound),
        identity: AcceptedIdentity {
            identity_kind: "host".to_owned(),
            id: "id".to_owned(),
            x509_chain: vec![vec![1]],
            ssh_certificate: None,
            obtained_at: OffsetDateTime::UNIX_EPOCH,
            not_after: OffsetDateTime::UNIX_EPOCH + time::Duration::DAY,
            renew_at: OffsetDateTime::UNIX_EPOCH + time::Duration::HOUR,
        },
        ca_bundle: None,
        ca_bundle_signer: None,
    }
}

fn provisional(attempt: u8, bound: u8, state: &str) -> ProvisionalResult {
    ProvisionalResult { attempt: [attempt; 16], join_state: state.to_owned(), bound_key: thumbprint(bound) }
}

/// A state that registered with key 1.
fn registered() -> AgentState {
    let mut state = AgentState::default();
    state.adopt_key(key(1)).unwrap();
    state.begin_attempt(attempt(1)).unwrap();
    state.accept_result(result(1, 1, "one")).unwrap();
    state
}

/// All pairs by seed and state, best first.
fn pairs(state: &AgentState) -> Vec<(u8, String)> {
    let seed = |pair: &Pair<'_>| (0..=255).find(|seed| key(*seed).public_key() == pair.key.public_key());
    state.pairs().map(|p| (seed(&p).unwrap(), p.join_state.unwrap_or("-").to_owned())).collect()
}

fn expect(state: &AgentState, expected: &[(u8, &str)]) {
    let expected: Vec<_> = expected.iter().map(|(seed, text)| (*seed, (*text).to_owned())).collect();
    assert_eq!(pairs(state), expected);
}

#[test]
fn a_key_comes_first_and_is_adopted_once() {
    let mut state = AgentState::default();
    assert_eq!(state.begin_attempt(attempt(1)), Err(TransitionError::NoKey));
    assert!(state.pending.is_none());
    state.adopt_key(key(1)).unwrap();
    assert_eq!(state.adopt_key(key(2)), Err(TransitionError::KeyPresent));
    expect(&state, &[(1, "-")]);
    assert_eq!(state.state_to_present(), None);
}

#[test]
fn an_attempt_is_not_given_up_for_another() {
    let mut state = registered();
    state.begin_attempt(attempt(2)).unwrap();
    assert_eq!(state.begin_attempt(attempt(3)), Err(TransitionError::AttemptPending { attempt: [2; 16] }));
    assert_eq!(state.pending.map(|pending| pending.attempt), Some([2; 16]));
}

#[test]
fn a_result_stores_everything_and_ends_the_attempt() {
    let mut state = registered();
    state.last_error = Some("no connection".to_owned());
    state.last_error_at = Some(OffsetDateTime::UNIX_EPOCH);
    state.ca_bundle = Some("old".to_owned());
    state.begin_attempt(attempt(2)).unwrap();
    let signer = Some(PrivateKey::ed25519_from_seed(&[99; 32]).public_key().clone());
    let ca_bundle = Some("new".to_owned());
    state
        .accept_result(AcceptedResult { ca_bundle, ca_bundle_signer: signer.clone(), ..result(2, 1, "two") })
        .unwrap();
    assert_eq!(state.ca_bundle_signer, signer);
    expect(&state, &[(1, "two")]);
    assert_eq!(state.state_to_present(), Some("two"));
    assert!(state.pending.is_none() && state.last_error.is_none() && state.last_error_at.is_none());
    assert_eq!(state.ca_bundle.as_deref(), Some("new"));
    let identity = state.identity.as_ref().unwrap();
    let seed = |n: u8| PrivateKey::ed25519_from_seed(&[n; 32]).public_key().clone();
    assert_eq!(*identity.tls_key.public_key(), seed(200), "the attempt's own TLS key");
    assert_eq!(identity.ssh_key.as_ref().map(|key| key.public_key().clone()), Some(seed(201)));
    assert_eq!(identity.not_after, OffsetDateTime::UNIX_EPOCH + time::Duration::DAY);
    state.begin_attempt(attempt(3)).unwrap();
    state.accept_result(result(3, 1, "three")).unwrap();
    assert_eq!(state.ca_bundle.as_deref(), Some("new"), "no new bundle keeps the old one");
    assert_eq!(state.ca_bundle_signer, signer);
}

#[test]
fn results_for_others_change_nothing() {
    let mut state = registered();
    assert_eq!(state.accept_result(result(2, 1, "x")), Err(TransitionError::NoAttempt));
    assert_eq!(state.accept_provisional(provisional(2, 1, "x")), Err(TransitionError::NoAttempt));
    state.begin_attempt(attempt(2)).unwrap();
    let before = state.to_json();
    let other = TransitionError::OtherAttempt { found: [1; 16], expected: [2; 16] };
    assert_eq!(state.accept_result(result(1, 1, "x")), Err(other.clone()));
    assert_eq!(state.accept_provisional(provisional(1, 1, "x")), Err(other));
    let foreign = TransitionError::KeyNotHeld { found: thumbprint(9) };
    assert_eq!(state.accept_result(result(2, 9, "x")), Err(foreign.clone()));
    assert_eq!(state.accept_provisional(provisional(2, 9, "x")), Err(foreign));
    // The keys to be certified are no bound keys.
    let tls = TransitionError::KeyNotHeld { found: thumbprint(200) };
    assert_eq!(state.accept_result(result(2, 200, "x")), Err(tls));
    assert!(before == state.to_json());
}

#[test]
fn a_rotation_supersedes_the_old_key_with_its_state() {
    let mut state = registered();
    state.begin_attempt(attempt(2)).unwrap();
    state.offer_new_key(key(2)).unwrap();
    assert!(state.holds(thumbprint(2)) && state.holds(thumbprint(1)) && !state.holds(thumbprint(3)));
    expect(&state, &[(1, "one")]);
    state.accept_result(result(2, 2, "two")).unwrap();
    expect(&state, &[(2, "two"), (1, "one")]);
}

#[test]
fn an_offered_key_is_offered_again_and_never_replaced() {
    let mut state = registered();
    assert_eq!(state.offer_new_key(key(2)), Err(TransitionError::NoAttempt));
    state.begin_attempt(attempt(2)).unwrap();
    assert_eq!(state.offer_new_key(key(1)), Err(TransitionError::NotNew));
    state.offer_new_key(key(2)).unwrap();
    assert_eq!(state.offer_new_key(key(3)), Err(TransitionError::KeyOffered));
    let offered = state.pending.as_ref().and_then(|pending| pending.new_key.as_ref()).unwrap();
    assert_eq!(offered.public_key(), key(2).public_key());
}

#[test]
fn an_offered_key_that_was_not_taken_is_dropped() {
    let mut state = registered();
    state.begin_attempt(PendingAttempt { new_key: Some(key(2)), ..attempt(2) }).unwrap();
    state.accept_result(result(2, 1, "two")).unwrap();
    expect(&state, &[(1, "two")]);
    assert!(!state.holds(thumbprint(2)));
}

#[test]
fn a_key_of_the_past_is_never_offered_as_new() {
    let mut state = registered();
    state.begin_attempt(PendingAttempt { new_key: Some(key(2)), ..attempt(2) }).unwrap();
    state.accept_result(result(2, 2, "two")).unwrap();
    let again = PendingAttempt { new_key: Some(key(1)), ..attempt(3) };
    assert_eq!(state.begin_attempt(again), Err(TransitionError::NotNew));
    assert!(state.pending.is_none());
}

#[test]
fn the_last_ten_superseded_pairs_are_kept_newest_first() {
    let mut state = registered();
    for n in 2..=15 {
        state.begin_attempt(PendingAttempt { new_key: Some(key(n)), ..attempt(n) }).unwrap();
        state.accept_result(result(n, n, &format!("state {n}"))).unwrap();
    }
    let expected: Vec<_> = (5..=15).rev().map(|n| (n, format!("state {n}"))).collect();
    assert_eq!(pairs(&state), expected);
    assert_eq!(state.superseded.len(), MAX_SUPERSEDED);
    // And they survive the file.
    assert_eq!(pairs(&AgentState::from_json(&state.to_json()).unwrap()), expected);
}

#[test]
fn renewals_do_not_push_older_keys_out() {
    let mut state = registered();
    state.begin_attempt(PendingAttempt { new_key: Some(key(2)), ..attempt(2) }).unwrap();
    state.accept_result(result(2, 2, "two")).unwrap();
    for n in 3..40 {
        state.begin_attempt(attempt(n)).unwrap();
        state.accept_result(result(n, 2, &format!("state {n}"))).unwrap();
    }
    expect(&state, &[(2, "state 39"), (1, "one")]);
}

/// A restored server may name an older key; what was current is superseded in its turn.
#[test]
fn a_result_may_name_a_superseded_key() {
    let mut state = registered();
    state.begin_attempt(PendingAttempt { new_key: Some(key(2)), ..attempt(2) }).unwrap();
    state.accept_result(result(2, 2, "two")).unwrap();
    state.begin_attempt(attempt(3)).unwrap();
    state.accept_result(result(3, 1, "back")).unwrap();
    expect(&state, &[(1, "back"), (2, "two")]);
}

#[test]
fn a_provisional_result_changes_the_pair_and_keeps_the_identity() {
    let mut state = registered();
    state.begin_attempt(attempt(2)).unwrap();
    state.offer_new_key(key(2)).unwrap();
    state.accept_provisional(provisional(2, 2, "two")).unwrap();
    assert!(state.pending.is_none());
    assert!(state.identity.is_some(), "the certificates are those of before");
    expect(&state, &[(2, "two"), (1, "one")]);
    state.begin_attempt(PendingAttempt { new_key: Some(key(3)), ..attempt(3) }).unwrap();
    state.accept_provisional(provisional(3, 2, "three")).unwrap();
    expect(&state, &[(2, "three"), (1, "one")]);
    assert!(!state.holds(thumbprint(3)), "its receipt says that it was not taken");
}

#[test]
fn a_first_result_may_be_provisional() {
    let mut state = AgentState::default();
    state.adopt_key(key(1)).unwrap();
    state.begin_attempt(attempt(1)).unwrap();
    state.accept_provisional(provisional(1, 1, "one")).unwrap();
    expect(&state, &[(1, "one")]);
    assert!(state.identity.is_none());
}

#[test]
fn a_static_key_replaces_the_stored_one_and_finds_its_state_again() {
    let mut state = registered();
    assert!(!state.use_static_key(key(1)), "the same key changes nothing");
    expect(&state, &[(1, "one")]);
    assert!(state.use_static_key(key(7)));
    expect(&state, &[(7, "-"), (1, "one")]);
    state.begin_attempt(attempt(2)).unwrap();
    state.accept_result(result(2, 7, "seven")).unwrap();
    assert!(state.use_static_key(key(1)));
    expect(&state, &[(1, "one"), (7, "seven")]);
    assert!(state.use_static_key(key(7)));
    expect(&state, &[(7, "seven"), (1, "one")]);
}

#[test]
fn a_static_key_in_an_empty_state_is_the_first_key() {
    let mut state = AgentState::default();
    assert!(state.use_static_key(key(7)));
    expect(&state, &[(7, "-")]);
}

#[test]
fn a_right_static_key_after_a_wrong_one_goes_on_with_the_attempt() {
    let mut state = AgentState::default();
    state.use_static_key(key(8));
    state.begin_attempt(attempt(1)).unwrap();
    assert!(state.use_static_key(key(7)));
    state.accept_result(result(1, 7, "seven")).unwrap();
    expect(&state, &[(7, "seven"), (8, "-")]);
}

mod any_sequence {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Begin { offer: bool },
        Offer,
        Accept { named: usize },
        Provisional { named: usize },
        Reload,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => any::<bool>().prop_map(|offer| Step::Begin { offer }),
            2 => Just(Step::Offer),
            4 => (0usize..14).prop_map(|named| Step::Accept { named }),
            3 => (0usize..14).prop_map(|named| Step::Provisional { named }),
            1 => Just(Step::Reload),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever happens: a bound key stays, the named key is the bound one with its state, the pair before it is
        /// kept, nothing is held twice, and no more than ten are superseded.
        #[test]
        fn keeps_the_keys_that_may_be_bound(steps in prop::collection::vec(step(), 1..60)) {
            let mut state = registered();
            let (mut next_key, mut next_attempt) = (10, 10);
            for step in steps {
                match step {
                    Step::Begin { offer } if state.pending.is_none() => {
                        next_attempt += 1;
                        next_key += u8::from(offer);
                        let new_key = offer.then(|| key(next_key));
                        state.begin_attempt(PendingAttempt { new_key, ..attempt(next_attempt) }).unwrap();
                    }
                    Step::Begin { .. } => prop_assert!(state.begin_attempt(attempt(0)).is_err()),
                    Step::Offer => {
                        next_key += 1;
                        let may = state.pending.as_ref().is_some_and(|pending| pending.new_key.is_none());
                        prop_assert_eq!(state.offer_new_key(key(next_key)).is_ok(), may);
                    }
                    Step::Accept { named } | Step::Provisional { named } => {
                        let offered = state.pending.iter().filter_map(|pending| pending.new_key.as_ref());
                        let held: Vec<_> = offered
                            .chain(state.pairs().map(|pair| pair.key))
                            .map(|key| key.public_key().thumbprint())
                            .collect();
                        let bound_key = held[named % held.len()];
                        let text = format!("state of {next_attempt}");
                        let pending = state.pending.is_some();
                        let before = state.current().map(|pair| pair.key.public_key().thumbprint());
                        if matches!(step, Step::Accept { .. }) {
                            let result = AcceptedResult { bound_key, ..result(next_attempt, 1, &text) };
                            prop_assert_eq!(state.accept_result(result).is_ok(), pending);
                        } else {
                            let result = ProvisionalResult { bound_key, ..provisional(next_attempt, 1, &text) };
                            prop_assert_eq!(state.accept_provisional(result).is_ok(), pending);
                        }
                        if pending {
                            prop_assert!(state.pending.is_none());
                            let current = state.current().unwrap();
                            prop_assert_eq!(current.key.public_key().thumbprint(), bound_key);
                            prop_assert_eq!(current.join_state, Some(text.as_str()));
                            prop_assert!(before.is_none_or(|key| state.holds(key)));
                        }
                    }
                    Step::Reload => state = AgentState::from_json(&state.to_json()).unwrap(),
                }
                prop_assert!(state.bound_key.is_some());
                prop_assert!(state.superseded.len() <= MAX_SUPERSEDED);
                let mut once: Vec<_> = state.superseded.iter().map(|pair| pair.key.public_key().thumbprint()).collect();
                once.extend(state.bound_key.iter().map(|key| key.public_key().thumbprint()));
                let all = once.len();
                once.sort();
                once.dedup();
                prop_assert_eq!(once.len(), all, "each key is held once");
            }
        }
    }
}
