//! Every crash point of every ceremony, one after another.

use boundkey_testkit::sim::{Ceremony, cut_everywhere};

/// The ceremonies of one machine with a key of its own; then those of a token that many share, or did.
fn parts() -> (&'static [Ceremony], &'static [Ceremony]) {
    let shared = Ceremony::ALL.iter().position(|ceremony| *ceremony == Ceremony::RegisterStatic);
    Ceremony::ALL.split_at(shared.expect("it is one of all"))
}

fn cut(ceremonies: &[Ceremony], at_least: usize) {
    let mut runs = 0;
    for &ceremony in ceremonies {
        let report = cut_everywhere(ceremony, false).unwrap_or_else(|fault| panic!("{fault}"));
        // Two saves, two messages there and back, a read and a commit: each before and after.
        assert!(report.once >= 16 && report.points.len() == 8, "{ceremony:?}: {report:?}");
        runs += report.once;
    }
    assert!(runs >= at_least, "{runs} cuts");
}

#[test]
fn a_machine_gets_in_by_itself_wherever_a_ceremony_is_cut() {
    cut(parts().0, 430);
}

#[test]
fn a_client_of_a_shared_token_gets_in_by_itself_wherever_a_ceremony_is_cut() {
    cut(parts().1, 340);
}

#[test]
fn a_machine_gets_in_by_itself_wherever_a_registration_is_cut_twice() {
    let report = cut_everywhere(Ceremony::Register, true).unwrap_or_else(|fault| panic!("{fault}"));
    assert!(report.twice > 300, "{report:?}");
}
