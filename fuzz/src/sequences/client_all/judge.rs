//! What must hold of every write of the state.

use boundkey_client::join::JoinError;
use boundkey_keystore::{AgentState, MAX_SUPERSEDED};

use super::liar::{Given, Wire};
use super::{Machine, locked};

impl Machine {
    /// Every write against the one before it and the answers that were given.
    pub(super) fn judge(&mut self, wire: &Wire<'_>, outcome: &Result<(), JoinError>) {
        wire.within_bounds();
        let mut states = std::mem::take(&mut *locked(&self.disk.written)).into_iter();
        let mut last = states.next().expect("what was there before");
        let mut joined = false;
        for next in states {
            assert!(!joined, "a join wrote something after its result");
            let attempts = [&last, &next].map(|state| state.pending.as_ref().map(|pending| pending.attempt));
            match attempts {
                [Some(ended), after] if after != Some(ended) => {
                    assert_eq!(after, None, "another attempt took its place");
                    joined = self.ended(ended, &last, &next, wire);
                }
                _ => untouched(&last, &next),
            }
            keys_are_kept(&last, &next);
            last = next;
        }
        let died = matches!(outcome, Err(JoinError::Keystore(_)));
        assert!(outcome.is_err() || joined, "joined, and nothing stored");
        assert!(outcome.is_ok() || !joined || died, "stored, and an error");
        if !died && wire.given.last().is_some_and(|given| given.good && given.result.certificates.is_some()) {
            assert!(
                joined,
                "a good result was not taken: {:?}",
                outcome.as_ref().err().map(ToString::to_string)
            );
        }
        if outcome.is_ok() {
            assert!(last.pending.is_none() && last.identity.is_some() && last.ca_bundle.is_some());
        }
    }

    /// The attempt ended: with a result of its own, which holds. True if it was certified.
    fn ended(&mut self, attempt: [u8; 16], last: &AgentState, next: &AgentState, wire: &Wire<'_>) -> bool {
        let bound = next.bound_key.as_ref().map(|key| key.public_key());
        let certified = |given: &Given| given.result.certificates.is_some();
        let is_it = |given: &&Given| {
            given.good
                && given.result.attempt.0 == attempt
                && Some(&given.result.join_state) == next.join_state.as_ref()
                && Some(&given.result.bound_key) == bound
        };
        let of_this = wire.given.iter().rev().find(is_it);
        let given = of_this.expect("an attempt ended without a result that holds");
        let pending = last.pending.as_ref().expect("an attempt");
        self.lineage.becomes(&given.result, &wire.cluster);
        if !certified(given) {
            assert_eq!(next.ca_bundle, last.ca_bundle);
            assert_eq!(identity(next), identity(last), "an identity without certificates");
            assert_eq!(next.cluster, last.cluster);
            return false;
        }
        let now = next.identity.as_ref().expect("an identity");
        assert_eq!(now.tls_key.public_key(), pending.tls_key.public_key());
        assert_eq!(now.id, given.result.identity.id());
        assert_eq!(next.ca_bundle, serde_json::to_string(&given.result.ca_bundle).ok());
        true
    }
}

/// The id and every certificate, or nothing.
fn identity(state: &AgentState) -> Vec<&[u8]> {
    let parts = state.identity.iter().flat_map(|identity| {
        let texts = [Some(&identity.id), identity.ssh_certificate.as_ref()].into_iter().flatten();
        texts.map(String::as_bytes).chain(identity.x509_chain.iter().map(Vec::as_slice))
    });
    parts.collect()
}

/// A write that ends no attempt changes nothing of what a result gives.
fn untouched(last: &AgentState, next: &AgentState) {
    assert_eq!(next.ca_bundle, last.ca_bundle);
    assert_eq!(next.cluster, last.cluster);
    assert_eq!(identity(next), identity(last));
    let pair = |state: &AgentState| {
        let key = state.bound_key.as_ref().map(|key| key.public_key().clone());
        (key, state.join_state.clone())
    };
    let (was, is) = (pair(last), pair(next));
    assert!(was.0.is_none() || is == was, "the pair changed without a result");
    if let (Some(was), Some(is)) = (&last.pending, &next.pending) {
        assert_eq!(was.tls_key.public_key(), is.tls_key.public_key());
        let new = [was, is].map(|pending| pending.new_key.as_ref().map(|key| key.public_key().clone()));
        assert!(new[0].is_none() || new[0] == new[1], "another key is offered in the same attempt");
    }
}

/// Every key of before is still there, but for one that was offered and is not the one that a result bound, and for the
/// oldest of more than are kept.
fn keys_are_kept(last: &AgentState, next: &AgentState) {
    let full = next.superseded.len() == MAX_SUPERSEDED;
    let oldest = last.superseded.last().map(|pair| pair.key.public_key().thumbprint());
    for pair in last.pairs() {
        let key = pair.key.public_key().thumbprint();
        assert!(next.holds(key) || (full && oldest == Some(key)), "a key is lost");
    }
    if let (Some(was), Some(_)) = (&last.pending, &next.pending)
        && let Some(offered) = &was.new_key
    {
        assert!(next.holds(offered.public_key().thumbprint()), "an offered key is lost");
    }
}
