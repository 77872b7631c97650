//! With a rule taken away the model finds it out: so it looks where the rules matter.

use boundkey_lifecycle::*;

use crate::log::Log;
use crate::scenario::{Budget, Scenario};

/// What is done to the records and facts so that a rule has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Sabotage {
    /// Every request passes for live.
    EverythingIsLive,
    /// Rule 4 does not know the last attempt.
    NoRetry,
    /// 3a has no trail to look at.
    NoTrail,
    /// 2(c) does not know the registration.
    NoRegistrationAttempt,
    /// State ids are random.
    RandomStateIds,
    /// An automatic lock counts as one by hand.
    NothingSupersedes,
}

impl Sabotage {
    pub(crate) fn before(
        self,
        enrolment: &mut Enrolment,
        evidence: &mut Evidence,
        locks: &mut [LockInForce],
        uid: Uid,
    ) {
        match self {
            Self::EverythingIsLive => evidence.position = Some(enrolment.position(uid)),
            Self::NoRetry => enrolment.last_attempt = None,
            Self::NoTrail => {
                if let StateEvidence::Valid(claims) = &mut evidence.join_state {
                    claims.trail = Trail::default();
                }
            }
            Self::NoRegistrationAttempt => enrolment.registration_attempt = None,
            Self::RandomStateIds => {}
            Self::NothingSupersedes => locks.iter_mut().for_each(|lock| lock.origin = LockOrigin::ByHand),
        }
    }

    pub(crate) fn after(self, enrolment: &mut Enrolment, before: &Log) {
        if self == Self::RandomStateIds {
            // Not random, but of the whole history with its times.
            let mark = crate::log::mark(&(before, &enrolment.last_joined_at, &enrolment.bound_public_key));
            if let Some(id) = &mut enrolment.last_state_id {
                id.0[8..].copy_from_slice(&mark.to_be_bytes());
            }
        }
    }
}

/// What breaks first in this scenario without the rule; and that nothing breaks with it.
fn broken(sabotage: Sabotage, scenario: Scenario) -> &'static str {
    let found = Scenario { sabotage: Some(sabotage), ..scenario.clone() }.first_broken(60_000);
    let found = found.unwrap_or_else(|| panic!("{sabotage:?} was not found out"));
    assert_eq!(scenario.first_broken(5_000), None, "the rule as it is");
    found
}

#[test]
fn without_live_requests_a_late_message_locks_its_own_sender() {
    let budget = Budget { attempts: [3, 0, 0], ..Budget::default() };
    let found = broken(Sabotage::EverythingIsLive, Scenario::new("sanity", budget));
    assert_eq!(found, "2: only a live request locks");
}

#[test]
fn without_retries_a_lost_answer_locks_its_own_client() {
    let budget = Budget { attempts: [2, 0, 0], ..Budget::default() };
    let found = broken(Sabotage::NoRetry, Scenario::new("sanity", budget));
    assert_eq!(found, "1, 2, 4: everybody comes to what the histories say");
}

#[test]
fn without_trails_a_clone_of_a_restored_server_is_overwritten() {
    let budget =
        Budget { attempts: [3, 0, 1], steals: 1, backups: 1, restores: 1, ..Budget::default() };
    let found = broken(Sabotage::NoTrail, Scenario::new("sanity", budget));
    assert_eq!(found, "1, 2, 4: everybody comes to what the histories say");
}

#[test]
fn without_the_registration_attempt_a_theft_during_registration_goes_unseen() {
    let budget = Budget { attempts: [1, 0, 1], steals: 1, ..Budget::default() };
    let found = broken(Sabotage::NoRegistrationAttempt, Scenario::new("sanity", budget));
    assert_eq!(found, "1, 2, 4: everybody comes to what the histories say");
}

#[test]
fn with_random_state_ids_a_restore_and_a_duplicate_lock_the_honest_client() {
    let budget =
        Budget { attempts: [2, 0, 0], backups: 1, restores: 1, clocks: 1, ..Budget::default() };
    let found = broken(Sabotage::RandomStateIds, Scenario::new("sanity", budget));
    assert_eq!(found, "1, 2, 4: everybody comes to what the histories say");
}

#[test]
fn without_superseding_a_lifted_lock_comes_back_with_a_backup() {
    let budget = Budget {
        attempts: [3, 0, 1],
        steals: 1,
        backups: 1,
        restores: 1,
        resyncs: 1,
        ..Budget::default()
    };
    let found = broken(Sabotage::NothingSupersedes, Scenario::new("sanity", budget));
    assert_eq!(found, "1, 2, 4: everybody comes to what the histories say");
}
