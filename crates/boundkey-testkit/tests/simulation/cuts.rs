//! Every crash point of every ceremony, one after another.

use boundkey_testkit::sim::{Ceremony, cut_everywhere};

#[test]
fn a_machine_gets_in_by_itself_wherever_a_ceremony_is_cut() {
    let mut runs = 0;
    for ceremony in Ceremony::ALL {
        let report = cut_everywhere(ceremony, false).unwrap_or_else(|fault| panic!("{fault}"));
        println!("{ceremony:?}: {} points {:?}", report.once, report.points);
        // Two saves, two messages there and back, a read and a commit: each before and after.
        assert!(report.once >= 16 && report.points.len() == 8, "{ceremony:?}: {report:?}");
        runs += report.once;
    }
    assert!(runs >= 180, "{runs} cuts");
}

#[test]
fn a_machine_gets_in_by_itself_wherever_a_registration_is_cut_twice() {
    let report = cut_everywhere(Ceremony::Register, true).unwrap_or_else(|fault| panic!("{fault}"));
    assert!(report.twice > 300, "{report:?}");
}
