//! With a rule taken away the model finds it out: so it looks where the rules matter.

use boundkey_lifecycle::*;
use boundkey_token::RecoveryMode;

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
    /// Rule 7 asks the last join alone.
    OnlyTheLastCertificates,
    /// Nobody knows who was adopted.
    NoAdoption,
    /// Nor does a state tell.
    NoAdoptionInStates,
    /// States tell nothing of where their holder has been.
    NoMarks,
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
            Self::OnlyTheLastCertificates => enrolment.issued.clear(),
            Self::NoAdoption => enrolment.adoption = None,
            Self::NoAdoptionInStates | Self::NoMarks => {
                if let StateEvidence::Valid(claims) = &mut evidence.join_state {
                    match self {
                        Self::NoMarks => claims.passed = Trail::default(),
                        _ => claims.adoption = None,
                    }
                }
            }
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

/// Without the rule this property breaks, and with it none does.
fn finds_out(sabotage: Sabotage, property: &str, scenario: Scenario) {
    let found = Scenario { sabotage: Some(sabotage), ..scenario.clone() }.first_broken(60_000);
    assert!(found.contains(&property), "{sabotage:?}: {found:?}");
    assert_eq!(scenario.first_broken(2_000), Vec::<&str>::new(), "the rule as it is");
}

const HISTORIES: &str = "1, 2, 4: everybody comes to what the histories say";

fn world(budget: Budget) -> Scenario {
    Scenario::new("sanity", budget)
}

#[test]
fn without_live_requests_a_late_message_locks_its_own_sender() {
    let budget = Budget { attempts: [3, 0, 0], ..Budget::default() };
    finds_out(Sabotage::EverythingIsLive, "2: only a live request locks", world(budget));
}

#[test]
fn without_retries_a_lost_answer_locks_its_own_client() {
    let budget = Budget { attempts: [2, 0, 0], ..Budget::default() };
    finds_out(Sabotage::NoRetry, HISTORIES, world(budget));
}

#[test]
fn without_trails_a_clone_of_a_restored_server_is_overwritten() {
    let budget = Budget { attempts: [3, 0, 1], steals: 1, backups: 1, restores: 1, ..Budget::default() };
    finds_out(Sabotage::NoTrail, HISTORIES, Scenario { is_orderly: true, ..world(budget) });
}

#[test]
fn without_the_registration_attempt_a_theft_during_registration_goes_unseen() {
    let budget = Budget { attempts: [1, 0, 1], steals: 1, ..Budget::default() };
    finds_out(Sabotage::NoRegistrationAttempt, HISTORIES, world(budget));
}

#[test]
fn with_random_state_ids_a_restore_and_a_duplicate_lock_the_honest_client() {
    let budget = Budget { attempts: [2, 0, 0], backups: 1, restores: 1, clocks: 1, ..Budget::default() };
    finds_out(Sabotage::RandomStateIds, HISTORIES, world(budget));
}

#[test]
fn without_superseding_a_lifted_lock_comes_back_with_a_backup() {
    let budget =
        Budget { attempts: [3, 0, 1], steals: 1, backups: 1, restores: 1, resyncs: 1, ..Budget::default() };
    finds_out(Sabotage::NothingSupersedes, HISTORIES, Scenario { is_orderly: true, ..world(budget) });
}

#[test]
fn without_earlier_certificates_a_clock_that_was_behind_costs_a_recovery() {
    let budget = Budget { attempts: [3, 0, 0], clocks: 3, ..Budget::default() };
    let scenario = Scenario { is_orderly: true, limit: 1, ..world(budget) };
    finds_out(Sabotage::OnlyTheLastCertificates, HISTORIES, scenario);
}

#[test]
fn without_adoptions_a_fellow_client_locks_the_one_that_stayed() {
    let budget = Budget { attempts: [1, 2, 0], modes: 1, ..Budget::default() };
    let modes = &[RecoveryMode::Standard];
    let scenario = Scenario { mode: RecoveryMode::Insecure, clients: 2, modes, ..world(budget) };
    finds_out(
        Sabotage::NoAdoption,
        HISTORIES,
        Scenario { initial_key: Some(0), is_static: true, ..scenario },
    );
}

fn of_two_in_order(budget: Budget) -> Scenario {
    let scenario = Scenario { clients: 2, is_orderly: true, is_static: true, ..world(budget) };
    let modes = &[RecoveryMode::Standard];
    Scenario { mode: RecoveryMode::Insecure, initial_key: Some(0), modes, ..scenario }
}

#[test]
fn without_adoptions_in_states_two_that_were_adopted_lock_each_other() {
    let budget = Budget { attempts: [2, 2, 0], modes: 2, backups: 1, restores: 1, ..Budget::default() };
    finds_out(Sabotage::NoAdoptionInStates, HISTORIES, of_two_in_order(budget));
}

#[test]
fn without_marks_who_was_alone_in_another_history_is_its_own_clone() {
    let budget = Budget { attempts: [2, 1, 0], modes: 1, backups: 2, restores: 2, ..Budget::default() };
    finds_out(Sabotage::NoMarks, HISTORIES, of_two_in_order(budget));
}
