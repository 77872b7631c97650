//! The traps of shared operation, and of leaving it, one test each.

use boundkey_lifecycle::*;
use boundkey_token::RecoveryMode::{Insecure, Relaxed, Standard};
use boundkey_token::Role;

use crate::scene::*;

const REGISTERED: Outcome = Outcome::Admitted(JoinKind::Register);
const RENEWED: Outcome = Outcome::Admitted(JoinKind::Renew);
const RECOVERED: Outcome = Outcome::Admitted(JoinKind::Recover);
const CLONE: Outcome = Outcome::Denied(Code::CloneDetected);

/// Fails if 3a does not hold in `insecure`: the join would be written below the state presented, and going back to
/// `standard` would find it ahead of a forked history.
#[test]
fn insecure_does_not_admit_below_the_presented_state() {
    let (mut server, mut client) = bound(Standard, 1, 2);
    server.mode(Insecure);
    let backup = server.clone();
    server.mode(Standard);
    client.join(&mut server);
    client.join(&mut server);
    server.restore(&backup);
    assert_eq!(client.join(&mut server), RENEWED);
    assert_eq!(server.enrolment.sequence, 5);
    server.mode(Standard);
    assert_eq!(client.join(&mut server), RENEWED);
    assert!(!server.is_locked());
}

/// Fails without `shared` in 6a: all but the first would be clones.
#[test]
fn leaving_insecure_with_several_live_clients_locks_nobody() {
    for mode in [Standard, Relaxed] {
        let (mut server, mut first) = bound(Insecure, 1, 1);
        let mut others: Vec<Client> =
            (2..5).map(|n| Client { state: None, ..first.copied(n * 20_000) }).collect();
        for other in &mut others {
            assert_eq!(other.join(&mut server), RECOVERED);
        }
        assert_eq!(first.join(&mut server), RENEWED);
        server.mode(mode);
        assert_eq!(others[1].join(&mut server), RENEWED);
        for other in [&mut first].into_iter().chain(others.iter_mut().step_by(2)) {
            assert_eq!(other.join(&mut server), Outcome::Denied(Code::SharedToken));
        }
        assert!(!server.is_locked());
        assert_eq!(others[1].join(&mut server), RENEWED);
        let stays = server.enrolment.identity.clone();
        assert_eq!(stays, others[1].state.as_ref().map(|s| s.identity.clone()));
    }
}

/// Fails if a request that is not live can be adopted, or can condemn.
#[test]
fn leaving_insecure_with_a_late_duplicate_locks_nobody() {
    let (mut server, mut client) = bound(Insecure, 1, 1);
    let mut other = Client { state: None, ..client.copied(50_000) };
    let mut sent = Vec::new();
    other.complete(&mut server, &mut sent);
    other.complete(&mut server, &mut sent);
    client.complete(&mut server, &mut sent);
    // One that never arrived while the token was shared.
    other.begin();
    sent.push(other.message(None));
    server.mode(Standard);
    for late in &sent {
        assert!(!matches!(server.handle(late), Verdict::Admit(_)));
    }
    assert_eq!(client.join(&mut server), RENEWED);
    for late in &sent {
        assert!(!matches!(server.handle(late), Verdict::Admit(_)));
    }
    assert!(!server.is_locked());
    assert_eq!(client.join(&mut server), RENEWED);
}

/// A host that stayed away while its token was shared is no clone of the one that was adopted.
#[test]
fn leaving_insecure_does_not_lock_for_a_machine_that_was_away() {
    let (mut server, mut away) = bound(Standard, 1, 2);
    server.mode(Insecure);
    let mut client = Client { state: None, ..away.copied(50_000) };
    assert_eq!(client.join(&mut server), RECOVERED);
    server.mode(Standard);
    assert_eq!(away.join(&mut server), Outcome::Denied(Code::SharedToken), "while it is shared still");
    assert_eq!(client.join(&mut server), RENEWED);
    assert_eq!(away.join(&mut server), Outcome::Denied(Code::SharedToken));
    assert!(!server.is_locked());
}

/// Fails if the adopted client is remembered by its present identity alone: a bot's recovery changes it, and the
/// copy of the adopted client would pass for a fellow.
#[test]
fn a_copy_of_the_adopted_bot_is_a_clone_even_after_its_recovery() {
    let mut server = Server::new(&[Role::Bot]);
    server.spec().recovery.limit = 3;
    server.mode(Insecure);
    let mut client = Client::new(10_000, &server);
    client.join(&mut server);
    let mut copy = client.copied(50_000);
    server.mode(Standard);
    assert_eq!(client.join(&mut server), RENEWED);
    server.later(10 * DAY);
    assert_eq!(client.join(&mut server), RECOVERED);
    // So often that its marks tell nothing any more.
    for _ in 0..TRAIL_LENGTH {
        assert_eq!(client.join(&mut server), RENEWED);
    }
    assert_eq!(copy.join(&mut server), CLONE);
}

/// Fails if leaving `insecure` keeps what the other clients were issued.
#[test]
fn leaving_insecure_revokes_what_the_other_clients_hold() {
    let (mut server, first) = bound(Insecure, 1, 1);
    let of_first = server.enrolment.issued.clone();
    let mut second = Client { state: None, ..first.copied(50_000) };
    second.join(&mut server);
    let of_second: Vec<_> = server.instances.values().flat_map(|record| record.issued.clone()).collect();
    server.mode(Standard);
    second.begin();
    let message = second.message(None).live(&server);
    let admission = admitted(server.handle(&message));
    assert!(admission.revoke_other_instances);
    assert_eq!(admission.revoke, of_first);
    assert_eq!(server.enrolment.issued[..1], of_second, "its own stay on record");
    assert_eq!(server.enrolment.issued.len(), 2);
    let adoption = server.enrolment.adoption.clone().expect("it was adopted");
    assert_eq!((Some(adoption.instance), adoption.sequence), (server.enrolment.identity.clone(), 2));
}

/// Fails if 2(c) condemns whoever registered while the token was shared: he is a fellow client, not a clone. Found by the
/// model.
#[test]
fn leaving_insecure_does_not_lock_for_a_registration_whose_answer_was_lost() {
    let mut server = Server::preregistered(5);
    server.mode(Insecure);
    let client = |base, server: &Server| Client { key: 5, secret: None, ..Client::new(base, server) };
    let (mut first, mut second) = (client(10_000, &server), client(50_000, &server));
    answer_lost(&mut first, &mut server);
    assert_eq!(second.join(&mut server), RECOVERED);
    server.mode(Standard);
    assert_eq!(second.join(&mut server), RENEWED);
    assert_eq!(first.join(&mut server), Outcome::Denied(Code::SharedToken));
    assert!(!server.is_locked());
    assert_eq!(second.join(&mut server), RENEWED);
}

/// Fails if a late duplicate with a shared state may take a sequence of a server that was restored to another mode: its
/// sender had its answer in shared operation, and would find itself overtaken by itself. Found by the model.
#[test]
fn a_restore_to_another_mode_and_late_duplicates_lock_nobody() {
    let mut server = Server::host(Standard, 1);
    let backup = server.clone();
    server.mode(Insecure);
    let mut client = Client::new(10_000, &server);
    let mut sent = Vec::new();
    assert_eq!(client.complete(&mut server, &mut sent), REGISTERED);
    assert_eq!(client.complete(&mut server, &mut sent), RENEWED);
    server.restore(&backup);
    let found: Vec<String> = sent.iter().map(|late| word(&server.handle(late))).collect();
    assert_eq!(found, ["admit register", "confirm shared"]);
    assert_eq!(client.join(&mut server), RENEWED);
    assert_eq!(client.join(&mut server), RENEWED);
    assert!(!server.is_locked());
}

/// Fails if 6a takes a numbered current state for one of many: the attempt would end without a sequence of its own, and
/// its late duplicate, after another restore, would overtake its sender. Found by the model.
#[test]
fn a_numbered_state_in_a_lineage_that_a_restore_made_shared_takes_a_sequence() {
    let mut server = Server::host(Standard, 1);
    let backup = server.clone();
    let mut client = Client::new(10_000, &server);
    let mut sent = Vec::new();
    assert_eq!(client.complete(&mut server, &mut sent), REGISTERED);
    server.restore(&backup);
    server.mode(Insecure);
    admitted(server.handle(&sent[0]));
    assert_eq!(client.complete(&mut server, &mut sent), RENEWED);
    assert_eq!(server.enrolment.sequence, 2);
    server.restore(&backup);
    admitted(server.handle(&sent[1]));
    assert_eq!(client.join(&mut server), RENEWED);
    assert!(!server.is_locked());
}

/// Fails if a revocation of all that many clients hold stands against what one of them was given since: its record is gone
/// a day after its certificates, and its next join, once the token is its own, would be a recovery too many.
#[test]
fn what_a_client_of_many_was_given_after_a_revocation_is_not_revoked() {
    for given_before in [false, true] {
        let (mut server, mut first) = bound(Insecure, 1, 1);
        let mut other = Client { state: None, ..first.copied(20_000) };
        assert_eq!(other.join(&mut server), RECOVERED);
        if !given_before {
            server.verb(Verb::Revoke);
            server.instances.clear();
            server.later(DAY / 24);
            assert!(matches!(first.join(&mut server), Outcome::Admitted(_)));
        } else {
            assert!(matches!(first.join(&mut server), Outcome::Admitted(_)));
            server.later(DAY / 24);
            server.verb(Verb::Revoke);
        }
        // Swept: its certificates have been over for more than a day.
        server.later(DAY * 3);
        server.instances.clear();
        server.mode(Standard);
        let expected = if given_before { Outcome::Denied(Code::RecoveryLimitReached) } else { RENEWED };
        assert_eq!(first.join(&mut server), expected);
    }
}

/// Fails if an adoption drops what the lineage's record has of the adopted client itself: under a clock that is behind it
/// is given certificates that end long ago, and the good ones have to stay on record.
#[test]
fn an_adoption_keeps_the_adopted_clients_own_certificates_on_record() {
    for fellow in [false, true] {
        let (mut server, mut client) = bound(Insecure, 1, 1);
        let mut other = Client { state: None, ..client.copied(20_000) };
        if fellow {
            assert_eq!(other.join(&mut server), RECOVERED);
        }
        server.earlier(DAY * 50);
        server.mode(Standard);
        let adopted = if fellow { &mut other } else { &mut client };
        assert!(matches!(adopted.join(&mut server), Outcome::Admitted(_)));
        server.later(DAY * 50);
        assert_eq!(adopted.join(&mut server), RENEWED, "fellow: {fellow}");
        assert_eq!(server.enrolment.recovery_count, 1);
    }
}

/// Fails if the state that one of many clients holds is taken for the present one of another, who registered alone with
/// the same attempt in a later history: the first would be let in as the other, who then looks like its clone.
#[test]
fn a_fellows_state_is_not_the_state_of_the_one_who_registered_alone() {
    let mut server = Server::host(Standard, 1);
    server.mode(Insecure);
    let backup = server.clone();
    let mut first = Client::new(10_000, &server);
    let mut second = first.copied(20_000);
    first.begin();
    let unheard = first.message(None);
    admitted(server.handle(&unheard));
    second.begin();
    second.state = None;
    let outcome = second.join(&mut server);
    assert!(matches!(outcome, Outcome::Admitted(_)), "{outcome:?}");
    server.restore(&backup);
    server.mode(Standard);
    assert_eq!(first.join(&mut server), REGISTERED);
    assert_eq!(second.join(&mut server), Outcome::Denied(Code::SharedToken));
    assert!(!server.is_locked());
    assert_eq!(first.join(&mut server), RENEWED);
}

/// Fails if a grant is for whoever has the key: the clients that were not adopted have it too, and the one that was would
/// look like the clone of whoever came first.
#[test]
fn a_resync_after_shared_times_is_for_the_client_that_was_adopted() {
    let (mut server, mut adopted) = bound(Insecure, 1, 1);
    let mut fellow = Client { state: None, ..adopted.copied(20_000) };
    assert_eq!(fellow.join(&mut server), RECOVERED);
    server.mode(Standard);
    assert!(matches!(adopted.join(&mut server), Outcome::Admitted(_)));
    server.resync();
    assert_eq!(fellow.join(&mut server), Outcome::Denied(Code::SharedToken));
    assert!(!server.is_locked());
    assert!(server.enrolment.resync_until.is_some(), "the grant is still open");
    assert_eq!(adopted.join(&mut server), RENEWED);
    assert!(!server.is_locked());
    // It has lost its state: the grant is for it all the same.
    server.resync();
    let mut lost = Client { state: None, secret: None, ..adopted };
    assert!(matches!(lost.join(&mut server), Outcome::Admitted(_)));
}

/// One machine's revocation needs no time: its next join clears it. Of many clients the first one's time stays.
#[test]
fn a_revocation_of_many_keeps_its_first_time_and_one_of_a_single_machine_has_none() {
    let (mut alone, _) = bound(Standard, 1, 2);
    alone.verb(Verb::Revoke);
    assert_eq!((alone.enrolment.certificates_revoked, alone.enrolment.shared_revoked_at), (true, None));
    let (mut server, mut first) = bound(Insecure, 1, 1);
    assert!(server.enrolment.shared);
    server.verb(Verb::Revoke);
    let at = server.enrolment.shared_revoked_at;
    assert_eq!(at, Some(server.now));
    server.later(DAY);
    assert!(server.verb(Verb::Revoke).next.is_none(), "nothing was left to do");
    assert_eq!(server.enrolment.shared_revoked_at, at);
    // It ends with the sharing.
    server.enrolment.recovery_count = 0;
    server.mode(Standard);
    assert!(matches!(first.join(&mut server), Outcome::Admitted(_)));
    assert_eq!(server.enrolment.shared_revoked_at, None);
}
