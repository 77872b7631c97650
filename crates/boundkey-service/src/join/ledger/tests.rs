use std::net::IpAddr;

use proptest::prelude::*;
use time::macros::datetime;

use super::*;

const START: OffsetDateTime = datetime!(2026-05-01 12:00 UTC);
const HOUR: Duration = Duration::hours(1);

fn refused(by: By, token: usize, code: &'static str, network: u32, at: OffsetDateTime) -> Refused {
    let [_, a, b, c] = network.to_be_bytes();
    Refused {
        by,
        whose: Whose::Token(format!("t-{token}")),
        code,
        network: Network::of(Some(IpAddr::from([a, b, c, 1]))),
        seen: Seen { correlation: format!("{network:08x}"), at },
        notes: Vec::new(),
    }
}

/// As the service does it: an event of its own, or counted.
fn known(ledger: &mut Ledger, token: usize, code: &'static str, at: OffsetDateTime) -> bool {
    let own = ledger.takes_own(&format!("t-{token}"), code, at);
    if !own {
        ledger.count(refused(By::Known, token, code, 7, at));
    }
    own
}

/// The most of these within an hour.
fn most_an_hour(times: &[OffsetDateTime]) -> usize {
    let within =
        |from: &OffsetDateTime| times.iter().filter(|at| (*from..*from + HOUR).contains(*at)).count();
    times.iter().map(within).max().unwrap_or(0)
}

#[test]
fn a_thief_under_a_lock_costs_a_dozen_rows_in_the_first_hour_and_three_in_each_other() {
    let mut ledger = Ledger::new(10);
    let (mut events, mut rows, mut counted) = (Vec::new(), Vec::new(), 0);
    for second in 0..6 * 3600 {
        let at = START + Duration::seconds(second);
        for _ in 0..3 {
            if known(&mut ledger, 1, "denied_locked", at) {
                events.push(at);
            }
        }
        for row in ledger.due(at) {
            counted += row.tally.count;
            rows.push(at);
        }
    }
    let of_hour = |hour: i32| {
        let range = START + HOUR * hour..START + HOUR * (hour + 1);
        events.iter().chain(&rows).filter(|at| range.contains(*at)).count()
    };
    assert_eq!((0..6).map(of_hour).collect::<Vec<_>>(), [10, 3, 3, 3, 3, 3]);
    counted += ledger.rest(START + HOUR * 6).iter().map(|row| row.tally.count).sum::<u64>();
    assert_eq!(counted + events.len() as u64, 6 * 3600 * 3);
}

#[test]
fn an_agent_that_is_refused_twice_an_hour_has_an_event_each_time() {
    let mut ledger = Ledger::new(10);
    for half_hour in 0..100 {
        assert!(known(&mut ledger, 1, "denied_locked", START + Duration::minutes(30) * half_hour));
    }
    assert!(ledger.due(START + HOUR * 50).is_empty());
}

#[test]
fn an_event_that_was_not_written_is_given_back() {
    let mut ledger = Ledger::new(10);
    for _ in 0..20 {
        assert!(ledger.takes_own("t-1", "denied_locked", START));
        ledger.give_back("t-1", "denied_locked");
    }
    let own = (0..20).filter(|_| known(&mut ledger, 1, "denied_locked", START)).count();
    assert_eq!(own, 3);
}

#[test]
fn what_the_budget_has_no_room_for_is_one_row_for_everybody() {
    let mut ledger = Ledger::new(10_000);
    for token in 0..1000 {
        for network in 0..3 {
            ledger.count(refused(By::Strangers, token, "denied_wrong_key", network, START));
        }
    }
    let rows = ledger.due(START);
    assert_eq!(rows.len(), 151);
    let everybody = rows.last().unwrap();
    assert_eq!((&everybody.whose, everybody.tally.count), (&Whose::Everybody, 2550));
    let text = everybody.tally.to_string();
    let tokens: u64 = text.rsplit("for about ").next().unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((800..900).contains(&tokens), "{text}");
    assert!(
        text.starts_with("2550 times from 0.0.0.0/24 (850), 0.0.1.0/24 (850), 0.0.2.0/24 (850)"),
        "{text}"
    );
    // A holder of something is in no budget.
    assert!(known(&mut ledger, 1, "denied_locked", START));
}

#[test]
fn a_network_is_what_one_customer_has() {
    let of = |text: &str| Network::of(Some(text.parse().unwrap())).to_string();
    assert_eq!(of("192.0.2.77"), "192.0.2.0/24");
    assert_eq!(of("::ffff:192.0.2.77"), "192.0.2.0/24");
    assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1::/48");
    assert_eq!(Network::of(None).to_string(), "local");
}

#[test]
fn a_full_table_counts_for_everybody() {
    let mut ledger = Ledger::new(5);
    for token in 0..100 {
        ledger.count(refused(By::Strangers, token, "denied_wrong_key", 1, START));
        ledger.count(refused(By::Known, token, "denied_locked", 1, START));
        assert_eq!(known(&mut ledger, token, "denied_locked", START), token < 5);
    }
    assert!(ledger.accounts.len() <= 12, "{}", ledger.accounts.len());
    let rows = ledger.rest(START);
    assert_eq!(rows.iter().map(|row| row.tally.count).sum::<u64>(), 295);
    assert_eq!(rows.len(), 12);
}

#[test]
fn what_could_not_be_written_comes_again_and_is_not_lost() {
    let mut ledger = Ledger::new(10);
    ledger.count(refused(By::Strangers, 1, "denied_wrong_key", 1, START));
    let rows = ledger.due(START);
    ledger.put_back(rows);
    ledger.count(refused(By::Strangers, 1, "denied_wrong_key", 2, START + Duration::SECOND));
    assert!(ledger.due(START + Duration::SECOND).is_empty());
    let rows = ledger.due(START + Duration::MINUTE);
    assert_eq!((rows[0].tally.count, rows[0].tally.first.at), (2, START));
    assert_eq!(rows[0].tally.to_string(), "2 times from 0.0.1.0/24 (1), 0.0.2.0/24 (1)");
}

#[test]
fn what_is_over_is_forgotten() {
    let mut ledger = Ledger::new(10);
    ledger.count(refused(By::Strangers, 1, "denied_wrong_key", 1, START));
    known(&mut ledger, 1, "denied_locked", START);
    ledger.due(START);
    assert_eq!(ledger.accounts.len(), 2);
    ledger.due(START + HOUR * 2);
    assert_eq!((ledger.accounts.len(), ledger.strangers), (0, 0));
}

#[test]
fn a_clock_that_was_set_back_keeps_nothing_waiting() {
    let mut ledger = Ledger::new(10);
    for _ in 0..3 {
        known(&mut ledger, 1, "denied_locked", START + HOUR * 100);
    }
    ledger.count(refused(By::Strangers, 1, "denied_wrong_key", 1, START + HOUR * 100));
    assert_eq!(ledger.due(START + HOUR * 100).len(), 1);
    ledger.count(refused(By::Strangers, 1, "denied_wrong_key", 1, START));
    assert_eq!(ledger.due(START).len(), 1);
    assert!(known(&mut ledger, 1, "denied_locked", START));
}

/// Somebody comes, or the rows are looked after.
#[derive(Debug, Clone)]
enum Step {
    Known { token: usize, code: usize, times: u32 },
    Strangers { tokens: usize, code: usize, networks: u32 },
    Flush { fails: bool },
    Wait { seconds: i64 },
}

const CODES: [&str; 3] = ["denied_locked", "denied_wrong_key", "secret_replayed"];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3_usize, 0..3_usize, 1..50_u32).prop_map(|(token, code, times)| Step::Known {
            token,
            code,
            times
        }),
        (1..400_usize, 0..3_usize, 1..8_u32).prop_map(|(tokens, code, networks)| Step::Strangers {
            tokens,
            code,
            networks
        }),
        prop::bool::weighted(0.1).prop_map(|fails| Step::Flush { fails }),
        (0..5_i64).prop_map(|seconds| Step::Wait { seconds }),
        (0..4000_i64).prop_map(|seconds| Step::Wait { seconds }),
        Just(Step::Wait { seconds: 60 }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever anybody does: the rows of an hour are as few as promised, and no refusal is lost.
    #[test]
    fn no_sequence_of_refusals_makes_more_rows_than_stated_and_none_is_lost(
        steps in prop::collection::vec(step(), 1..100),
        most in prop_oneof![Just(4_usize), Just(100), Just(10_000)],
    ) {
        let (mut ledger, mut now) = (Ledger::new(most), START);
        let (mut happened, mut told) = (0_u64, 0_u64);
        let mut strangers = Vec::new();
        let mut of_known: BTreeMap<(Whose, &str), Vec<OffsetDateTime>> = BTreeMap::new();
        for step in steps.into_iter().chain([Step::Flush { fails: false }]) {
            match step {
                Step::Wait { seconds } => now += Duration::seconds(seconds),
                Step::Known { token, code, times } => for _ in 0..times {
                    happened += 1;
                    if known(&mut ledger, token, CODES[code], now) {
                        told += 1;
                        of_known.entry((Whose::Token(format!("t-{token}")), CODES[code])).or_default().push(now);
                    }
                },
                Step::Strangers { tokens, code, networks } => for token in 0..tokens {
                    for network in 0..networks {
                        happened += 1;
                        ledger.count(refused(By::Strangers, token, CODES[code], network, now));
                    }
                },
                Step::Flush { fails } => {
                    let rows = ledger.due(now);
                    if fails {
                        ledger.put_back(rows);
                        continue;
                    }
                    for row in rows {
                        told += row.tally.count;
                        prop_assert!(row.tally.first.at <= row.tally.last.at);
                        match row.by {
                            By::Strangers => strangers.push(now),
                            By::Known => of_known.entry((row.whose, row.code)).or_default().push(now),
                        }
                    }
                }
            }
            prop_assert!(ledger.accounts.len() <= 2 * most + CODES.len());
        }
        prop_assert!(most_an_hour(&strangers) <= 1200, "{}", most_an_hour(&strangers));
        for (subject, times) in of_known {
            prop_assert!(most_an_hour(&times) <= 12, "{subject:?}: {}", most_an_hour(&times));
        }
        told += ledger.rest(now).iter().map(|row| row.tally.count).sum::<u64>();
        prop_assert_eq!(told, happened);
        prop_assert!(ledger.rest(now).is_empty());
    }
}
