//! Herds, small enough for every test run; `cargo xtask herd` has the large ones.

use std::time::Duration;

use boundkey_testkit::herd::{Costs, Herd, Late, Scene, run};

/// Everybody within ten seconds, and all certificates expired: the worst there is.
fn at_once(machines: usize) -> Herd {
    Herd { scene: Scene::PowerCut(Duration::ZERO), ..Herd::new(11, machines) }
}

/// Whoever is turned away before most of the others came is told too little.
fn late(at_first: usize, herd: Herd) -> Herd {
    Herd { late: Late::at_first(at_first), ..herd }
}

#[test]
fn after_an_outage_all_are_served_and_joins_are_real() {
    let report = run(&Herd { real: 40, ..Herd::new(1, 4000) });
    assert!(report.is_good(), "{report}");
    assert_eq!(report.real_joins, 40);
    assert!(report.last_served < Duration::from_secs(310), "{report}");
}

#[test]
fn machines_that_come_all_at_once_are_told_when_and_served_by_then() {
    let report = run(&late(100, at_once(8000)));
    assert!(report.turned_away > 1000, "{report}");
    assert!(report.announced.is_some() && report.is_good(), "{report}");
    assert!(report.most_times <= 4, "{report}");
}

#[test]
fn a_slow_store_makes_it_longer_and_the_announcement_holds() {
    let costs = Costs { store: Duration::from_millis(10), ..Costs::default() };
    let report = run(&late(20, Herd { costs, ..at_once(6000) }));
    assert!(report.announced.is_some() && report.is_good(), "{report}");
    // A hundred a second would take a minute.
    assert!(report.last_served < Duration::from_secs(150), "{report}");
}

#[test]
fn one_hostile_network_delays_nobody_by_much() {
    let alone = run(&at_once(6000));
    let beset = run(&late(30, Herd { hostile: 1500, ..at_once(6000) }));
    assert!(beset.is_good(), "{beset}");
    assert!(beset.last_served < alone.last_served * 2, "{alone}\n{beset}");
}

#[test]
fn valid_certificates_spread_a_power_cut_without_anybody_being_turned_away() {
    let herd = Herd { scene: Scene::PowerCut(Duration::from_secs(8 * 3600)), ..Herd::new(3, 8000) };
    let report = run(&herd);
    assert!(report.is_good() && report.turned_away == 0, "{report}");
}

#[test]
fn one_seed_gives_one_run() {
    let mut herd = Herd { hostile: 1500, ..at_once(6000) };
    // So few rows for wrong proofs that others share the hostile network's, and not by chance.
    herd.limits.table = 24;
    assert_eq!(run(&herd), run(&herd));
    assert_ne!(run(&herd), run(&Herd { seed: 12, ..herd }));
}

#[test]
fn small_limits_hold_their_memory_bound() {
    let mut herd = at_once(3000);
    herd.limits.connections = 200;
    herd.limits.message_bytes = 1 << 20;
    herd.limits.waiting_joins = 50;
    let report = run(&herd);
    assert!(report.served == report.machines && report.most_connections <= 200, "{report}");
    assert!(report.most_memory <= report.memory_bound && report.memory_bound == (200 << 16) + (1 << 20));
}

#[test]
fn a_report_is_good_only_while_no_more_are_late_than_is_declared() {
    let report = run(&late(100, at_once(10_000)));
    assert!(report.is_good() && report.late > 100 && report.late_at_last == 0, "{report}");
    let mut strict = report.clone();
    strict.may_be_late = Late::at_first(10);
    assert!(!strict.is_good(), "one in a hundred is less than {}", report.late);
    let mut broken = report.clone();
    broken.late_at_last = 1;
    assert!(!broken.is_good(), "nobody is late against what was said last");
}

#[test]
fn an_announcement_that_is_broken_or_far_too_late_is_not_good() {
    let report = run(&at_once(6000));
    let all = report.announced.expect("some were turned away");
    assert!(report.is_good(), "{report}");
    for announced in [report.last_told - Duration::from_millis(1), all * 3 + Duration::from_secs(15)] {
        let mut other = report.clone();
        other.announced = Some(announced);
        assert!(!other.is_good(), "{announced:?} of {all:?}");
    }
}
