//! The traps of a clock that steps, one test each.

use boundkey_lifecycle::*;
use boundkey_token::RecoveryMode::Standard;

use crate::scene::*;

const RENEWED: Outcome = Outcome::Admitted(JoinKind::Renew);
const RECOVERED: Outcome = Outcome::Admitted(JoinKind::Recover);

/// Fails if a repetition gets certificates of the future: no client takes them, and the attempt, which ends with a stored
/// result only, would keep its machine out until that time.
#[test]
fn an_answer_lost_while_the_servers_clock_was_years_ahead_keeps_nobody_out_once_it_is_right() {
    let (mut server, mut client) = bound(Standard, 2, 2);
    client.begin();
    server.later(DAY * 3650);
    let lost = admitted(server.handle(&client.message(None)));
    assert_eq!(lost.kind, JoinKind::Recover, "ten years are more than the grace");
    server.earlier(DAY * 3650);
    let repeated = retried(server.handle(&client.message(None)));
    assert!(repeated.certificates.is_none(), "they are valid from ten years hence");
    client.store(&repeated.claims);
    assert_eq!(client.join(&mut server), RENEWED);
    assert!(!server.is_locked());
}

/// Fails if only the last join's certificates count: a server whose clock was behind for a while, by more than the grace,
/// would send every machine that joined meanwhile to an administrator as soon as its clock is right.
#[test]
fn a_join_under_a_clock_that_was_behind_costs_nothing_once_it_is_right() {
    let (mut server, mut client) = bound(Standard, 1, 2);
    server.earlier(DAY * 40);
    assert_eq!(client.join(&mut server), RENEWED);
    assert_eq!(client.join(&mut server), RENEWED);
    server.later(DAY * 40);
    assert_eq!(server.view().explain().next_join, "renews; no recovery is used");
    assert_eq!(client.join(&mut server), RENEWED);
}

/// Fails if the record drops the oldest certificates when it is full: a machine whose certificates are over when it gets
/// them joins again and again, and after a hundred joins within a day the good ones would be gone.
#[test]
fn a_clock_that_was_behind_for_many_joins_costs_nothing_once_it_is_right() {
    let (mut server, mut client) = bound(Standard, 1, 2);
    server.earlier(DAY * 40);
    for _ in 0..150 {
        assert_eq!(client.join(&mut server), RENEWED);
        server.later(DAY / 144);
    }
    server.later(DAY * 40);
    server.earlier(DAY / 144 * 150);
    assert_eq!(client.join(&mut server), RENEWED);
}

/// Fails if a recovery leaves on record what it revokes: that would make a renewal of the next join once the clock is right.
#[test]
fn a_clock_that_was_behind_brings_back_nothing_that_was_revoked() {
    let (mut server, mut client) = bound(Standard, 2, 2);
    server.enrolment.certificates_revoked = true;
    server.earlier(DAY * 40);
    assert_eq!(client.join(&mut server), RECOVERED);
    server.later(DAY * 40);
    assert_eq!(client.join(&mut server), Outcome::Denied(Code::RecoveryLimitReached));
}

/// Fails if any end on record counts: one join under a clock that was ahead would make renewals of all joins for years.
#[test]
fn a_join_under_a_clock_that_was_ahead_gives_no_years() {
    let (mut server, mut client) = bound(Standard, 3, 2);
    server.later(DAY * 3650);
    assert_eq!(client.join(&mut server), RECOVERED);
    server.earlier(DAY * 3650);
    assert_eq!(client.join(&mut server), RENEWED);
    server.later(DAY * 60);
    assert_eq!(client.join(&mut server), RECOVERED);
}
