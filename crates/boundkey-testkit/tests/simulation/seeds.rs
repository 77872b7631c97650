//! Worlds from fixed seeds.

use boundkey_testkit::sim::{Replay, Report, Scenario};

#[test]
fn no_machine_needs_a_human_and_no_clone_stays_in_in_worlds_of_fixed_seeds() {
    let mut sum = Report::default();
    for seed in 1..=6 {
        match Scenario::small(seed).run(Replay::default()) {
            Ok((report, _)) => sum.add(&report),
            Err(failure) => {
                panic!("seed {seed}, after step {}: {}\n{}", failure.step, failure.fault, failure.scenario)
            }
        }
    }
    // What was not simulated proves nothing.
    assert!(sum.joins > 1000 && sum.locks > 3 && sum.machines > 10, "{}", sum.table());
    for kind in ["registered", "renewed", "recovered", "rollback_healed", "rotated"] {
        assert!(sum.kinds.contains_key(kind), "no join was ever `{kind}`\n{}", sum.table());
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_to_the_byte() {
    let traced = || {
        let how = Replay { traced: true, sabotage: None };
        let (_, lines) = Scenario::small(5).run(how).unwrap_or_else(|failure| panic!("{}", failure.fault));
        lines.join("\n")
    };
    let first = traced();
    assert!(first.lines().count() > 500, "{} lines", first.lines().count());
    assert!(first == traced(), "two runs of one seed differ");
}

#[test]
fn a_scenario_reads_back_as_it_was_printed() {
    let scenario = Scenario::small(77);
    assert_eq!(scenario.to_string().parse(), Ok(scenario));
}
