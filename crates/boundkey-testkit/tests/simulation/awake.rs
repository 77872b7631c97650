//! A judge that never objects proves nothing: rules are broken on purpose, and he has to say so.

use boundkey_testkit::sim::{Failure, Replay, Sabotage, Scenario, shrink};

/// A thief copies the state of one of the machines ten minutes after the start and lives on with it.
const THEFT: &str = "small 2\n600000000 steal 0 12\n200000000000 wait 0 0\n";
/// The first of several machines with one static key is locked, it alone.
const ONE_OF_MANY: &str = "small 25\n600000000 lock_identity 0 1\n20000000000 wait 0 0\n";
/// All of several machines with one static key are revoked.
const MANY_REVOKED: &str = "small 25\n600000000 revoke 0 0\n20000000 wait 0 0\n";
/// A bad network from the start.
const BAD_NETWORK: &str = "small 1\n2260602 network 0 3\n40000000000 wait 0 0\n";

fn sabotaged(sabotage: Sabotage) -> Replay {
    Replay { traced: false, sabotage: Some(sabotage) }
}

/// The broken rule is noticed, and nothing else is wrong there.
fn caught(sabotage: Sabotage, scenario: &str) -> Box<Failure> {
    let scenario: Scenario = scenario.parse().expect("a scenario");
    if let Err(failure) = scenario.run(Replay::default()) {
        panic!("without any sabotage: {}", failure.fault);
    }
    match scenario.run(sabotaged(sabotage)) {
        Ok((report, _)) => panic!("{sabotage:?} went unnoticed\n{}", report.table()),
        Err(failure) => failure,
    }
}

#[test]
fn locks_that_are_not_kept_are_noticed() {
    let failure = caught(Sabotage::StoreDropsLocks, THEFT);
    assert!(failure.fault.contains("nothing locked"), "{}", failure.fault);
}

#[test]
fn locks_that_are_not_read_are_noticed() {
    caught(Sabotage::StoreHidesLocks, THEFT);
}

#[test]
fn a_lock_on_one_of_many_clients_that_is_not_read_is_noticed() {
    let failure = caught(Sabotage::StoreHidesLocks, ONE_OF_MANY);
    assert!(failure.fault.contains("admitted past lock hand-identity-t0"), "{}", failure.fault);
}

#[test]
fn marks_of_what_was_revoked_together_that_are_not_read_are_noticed() {
    let failure = caught(Sabotage::StoreHidesMarks, MANY_REVOKED);
    assert!(failure.fault.contains("keeps certificate"), "{}", failure.fault);
}

#[test]
fn certificates_of_many_that_come_onto_no_list_are_noticed() {
    let failure = caught(Sabotage::StoreLosesRevocations, MANY_REVOKED);
    assert!(failure.fault.contains("is on no list"), "{}", failure.fault);
}

#[test]
fn commits_without_conditions_are_noticed() {
    let failure = caught(Sabotage::StoreIgnoresConditions, BAD_NETWORK);
    assert!(failure.fault.contains("not one step"), "{}", failure.fault);
}

#[test]
fn a_missing_audit_event_is_noticed() {
    let failure = caught(Sabotage::StoreLosesEvents, "small 2\n");
    assert!(failure.fault.contains("audit event"), "{}", failure.fault);
}

#[test]
fn a_counted_refusal_that_no_row_tells_of_is_noticed() {
    let failure = caught(Sabotage::StoreLosesCountedRows, THEFT);
    assert!(failure.fault.contains("refused and never told of it"), "{}", failure.fault);
}

#[test]
fn an_agent_that_forgets_its_attempt_is_noticed_and_the_scenario_shrinks_to_a_few_steps() {
    let how = sabotaged(Sabotage::ClientForgetsItsAttempt);
    let failure = Scenario::small(1).run(how).expect_err("a lost answer condemns such an agent");
    assert_eq!(failure.scenario.steps.len(), 113);
    let short = shrink(&failure, how, 200);
    assert!(short.scenario.steps.len() <= 4, "{}", short.scenario);
    let again = short.scenario.run(how).expect_err("it fails again from its steps alone");
    assert_eq!(again.fault, short.fault);
    assert!(short.scenario.run(Replay::default()).is_ok(), "nothing but the broken rule is the cause");
}

#[test]
fn a_big_world_shrinks_to_a_few_machines() {
    let how = sabotaged(Sabotage::StoreIgnoresConditions);
    let big: Scenario = BAD_NETWORK.replace("small 1", "big 1 60").parse().expect("a scenario");
    let failure = big.run(how).expect_err("somebody's message is doubled");
    let short = shrink(&failure, how, 100);
    assert!(short.scenario.tokens < Some(60), "{}", short.scenario);
    assert_eq!(short.scenario.run(how).expect_err("it fails again").fault, short.fault);
}

#[test]
fn the_head_of_a_scenario_says_how_big_it_is() {
    for head in ["small 7", "big 7", "big 7 12"] {
        let scenario: Scenario = head.parse().expect("a scenario without steps");
        assert_eq!(scenario.to_string(), format!("{head}\n"));
    }
    for (head, fault) in [
        ("huge 7", "`huge 7` is not `small SEED`, `big SEED` or `big SEED TOKENS`"),
        ("big 7 0", "`big 7 0`: a world has a token at least"),
    ] {
        assert_eq!(head.parse::<Scenario>(), Err(fault.to_owned()));
    }
}
