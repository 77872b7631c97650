//! The traps of several clients, or several ways in, where a restore gives the store another history: one test each.

use boundkey_lifecycle::*;
use boundkey_token::RecoveryMode::{Insecure, Standard};
use boundkey_token::Role;

use crate::scene::*;

const REGISTERED: Outcome = Outcome::Admitted(JoinKind::Register);
const RENEWED: Outcome = Outcome::Admitted(JoinKind::Renew);
const RECOVERED: Outcome = Outcome::Admitted(JoinKind::Recover);
const CLONE: Outcome = Outcome::Denied(Code::CloneDetected);
const FELLOW: Outcome = Outcome::Denied(Code::SharedToken);

/// Another machine with the same static key.
pub(crate) fn fellow_of(client: &Client) -> Client {
    Client { state: None, secret: None, pending: None, ..client.copied(client.base * 2) }
}

/// A store that nobody registered in, the same to be used, and a machine with the static key.
fn of_static_key() -> (Server, Server, Client) {
    let server = Server::preregistered(5);
    let client = Client { key: 5, secret: None, ..Client::new(10_000, &server) };
    (server.clone(), server, client)
}

/// The store is put back to before anybody registered, and another machine with the key begins it, shared.
fn begun_by_another(server: &mut Server, empty: &Server, client: &Client) -> Client {
    server.restore(empty);
    server.mode(Insecure);
    let mut other = fellow_of(client);
    assert_eq!(other.join(server), REGISTERED);
    other
}

/// A bot that was one of many, and the one that stayed.
pub(crate) fn adopted_bot() -> (Server, Client) {
    let mut server = Server::new(&[Role::Bot]);
    server.spec().recovery.limit = 9;
    server.mode(Insecure);
    let mut client = Client::new(10_000, &server);
    client.join(&mut server);
    server.mode(Standard);
    assert_eq!(client.join(&mut server), RENEWED);
    (server, client)
}

/// The store of a host that was alone for two joins; that of another history, of an older backup, where the same machine is
/// one of many; and that machine.
fn one_of_many_elsewhere() -> (Server, Server, Client) {
    let (empty, mut server, mut client) = of_static_key();
    assert_eq!(client.join(&mut server), REGISTERED);
    assert_eq!(client.join(&mut server), RENEWED);
    let alone = server.clone();
    begun_by_another(&mut server, &empty, &client);
    for _ in 0..3 {
        assert_eq!(client.join(&mut server), RENEWED);
    }
    assert!(client.state.as_ref().is_some_and(|s| s.shared));
    (alone, server, client)
}

/// Fails if a heal does not bring back who was adopted: a fellow that registered and never had the answer would be a clone
/// again.
#[test]
fn a_healed_lineage_knows_whom_it_adopted() {
    let mut server = Server::preregistered(5);
    server.mode(Insecure);
    let mut unheard = Client { key: 5, secret: None, ..Client::new(10_000, &server) };
    answer_lost(&mut unheard, &mut server);
    let mut adopted = fellow_of(&unheard);
    assert_eq!(adopted.join(&mut server), RECOVERED);
    server.mode(Standard);
    let backup = server.clone();
    assert_eq!(adopted.join(&mut server), RENEWED);
    server.restore(&backup);
    assert_eq!(adopted.join(&mut server), RENEWED, "healed");
    assert!(server.enrolment.adoption.is_some());
    assert_eq!(unheard.join(&mut server), FELLOW);
    assert!(!server.is_locked());
    assert_eq!(adopted.join(&mut server), RENEWED);
}

/// The same of one that had joined before the token was shared.
#[test]
fn a_healed_lineage_knows_who_was_there_before_it_was_shared() {
    let (mut server, mut away) = bound(Standard, 1, 2);
    server.mode(Insecure);
    let mut adopted = fellow_of(&away);
    assert_eq!(adopted.join(&mut server), RECOVERED);
    server.mode(Standard);
    let backup = server.clone();
    assert_eq!(adopted.join(&mut server), RENEWED);
    server.restore(&backup);
    assert_eq!(adopted.join(&mut server), RENEWED, "healed");
    assert_eq!(away.join(&mut server), FELLOW);
    assert!(!server.is_locked());
}

/// Fails if the one that was adopted before a restore is a clone of the one that was adopted after it: they are two
/// machines, and only one of them can stay.
#[test]
fn two_that_were_adopted_in_two_histories_are_no_clones() {
    let (mut server, mut first) = bound(Insecure, 1, 1);
    let mut second = fellow_of(&first);
    assert_eq!(second.join(&mut server), RECOVERED);
    server.mode(Standard);
    let backup = server.clone();
    assert_eq!(first.join(&mut server), RENEWED);
    server.restore(&backup);
    let mut copy = second.copied(90_000);
    assert_eq!(second.join(&mut server), RENEWED);
    assert_eq!(first.join(&mut server), FELLOW);
    assert!(!server.is_locked());
    assert_eq!(second.join(&mut server), RENEWED);
    // A copy of the one that stays is none the less found out.
    assert_eq!(copy.join(&mut server), CLONE);
}

/// Fails if only the states of shared times are many machines': the adoption shows that the key is, whatever history this
/// one was alone in.
#[test]
fn who_was_alone_elsewhere_is_no_clone_of_the_one_that_stayed_of_many() {
    for joins in [1, 2, 3, 7] {
        let mut server = Server::preregistered(5);
        let empty = server.clone();
        let mut alone = Client { key: 5, secret: None, ..Client::new(10_000, &server) };
        assert_eq!(alone.join(&mut server), REGISTERED);
        for _ in 1..joins {
            assert_eq!(alone.join(&mut server), RENEWED);
        }
        let mut stays = begun_by_another(&mut server, &empty, &alone);
        server.mode(Standard);
        assert_eq!(stays.join(&mut server), RENEWED);
        assert_eq!(alone.join(&mut server), FELLOW, "after {joins}");
        assert!(!server.is_locked());
    }
}

/// The other way round: this history knows of one machine alone, and the state tells that its key is many machines'.
#[test]
fn who_stayed_of_many_elsewhere_is_no_clone_of_the_one_that_is_alone_here() {
    let (empty, mut server, mut alone) = of_static_key();
    assert_eq!(alone.join(&mut server), REGISTERED);
    assert_eq!(alone.join(&mut server), RENEWED);
    let of_one = server.clone();
    let mut stayed = begun_by_another(&mut server, &empty, &alone);
    server.mode(Standard);
    assert_eq!(stayed.join(&mut server), RENEWED);
    server.restore(&of_one);
    assert_eq!(stayed.join(&mut server), FELLOW);
    assert!(!server.is_locked());
    assert_eq!(alone.join(&mut server), RENEWED);
}

/// Fails if the state of an adopted bot is known by its present identity alone: each recovery is another instance, in each
/// history its own.
#[test]
fn a_copy_of_an_adopted_bot_that_recovered_in_another_history_is_a_clone() {
    let (mut server, mut client) = adopted_bot();
    let backup = server.clone();
    let mut copy = client.copied(50_000);
    server.later(10 * DAY);
    assert_eq!(client.join(&mut server), RECOVERED);
    server.restore(&backup);
    assert_eq!(copy.join(&mut server), RECOVERED);
    // So often that its marks tell nothing any more.
    for _ in 0..TRAIL_LENGTH {
        assert_eq!(copy.join(&mut server), RENEWED);
    }
    assert_eq!(client.join(&mut server), CLONE);
}

/// Fails if a bot is known by its names alone: its copy, from before its token was shared, would pass for a fellow of what
/// it has become in another history.
#[test]
fn a_copy_of_a_bot_from_before_it_was_one_of_many_is_a_clone() {
    for shared_between in [false, true] {
        let mut server = Server::new(&[Role::Bot]);
        server.spec().recovery.limit = 9;
        let mut client = Client::new(10_000, &server);
        assert_eq!(client.join(&mut server), REGISTERED);
        let backup = server.clone();
        let mut copy = client.copied(50_000);
        assert_eq!(copy.join(&mut server), RENEWED);
        server.restore(&backup);
        server.later(10 * DAY);
        assert_eq!(client.join(&mut server), RECOVERED);
        if shared_between {
            server.mode(Insecure);
            assert_eq!(client.join(&mut server), RENEWED);
            server.mode(Standard);
            assert_eq!(client.join(&mut server), RENEWED);
        }
        assert_eq!(copy.join(&mut server), CLONE, "shared between: {shared_between}");
    }
}

/// Fails without marks: the store of the first history takes what its own client got in the other one for a copy's.
#[test]
fn who_went_on_as_one_of_many_comes_back_to_the_history_where_it_was_alone() {
    let (mut server, _, mut client) = one_of_many_elsewhere();
    let mut copy = client.copied(50_000);
    client.begin();
    let message = client.message(None);
    let admission = admitted(server.handle(&message));
    assert_eq!((admission.kind, admission.event.notes), (JoinKind::Renew, vec![Note::Returned]));
    client.store(&admission.claims);
    assert_eq!(server.enrolment.sequence, 3);
    assert_eq!(client.join(&mut server), RENEWED);
    assert!(!server.is_locked());
    assert_eq!(copy.join(&mut server), CLONE, "a copy has the same marks, and comes second");
}

/// Fails if the marks begin with the last join alone: an older backup may know an earlier one only.
#[test]
fn the_marks_reach_back_to_joins_before_there_were_any() {
    let (empty, mut server, mut client) = of_static_key();
    assert_eq!(client.join(&mut server), REGISTERED);
    let first = server.clone();
    for _ in 0..3 {
        assert_eq!(client.join(&mut server), RENEWED);
    }
    begun_by_another(&mut server, &empty, &client);
    assert_eq!(client.join(&mut server), RENEWED);
    server.restore(&first);
    assert_eq!(client.join(&mut server), RENEWED);
    assert!(!server.is_locked());
}

/// Fails if only states leave marks: this one never had the answer of its registration, and the same attempt was
/// admitted as one of many in another history.
#[test]
fn an_attempt_that_was_admitted_in_two_histories_belongs_to_both() {
    let (empty, mut server, mut client) = of_static_key();
    answer_lost(&mut client, &mut server);
    let alone = server.clone();
    begun_by_another(&mut server, &empty, &client);
    assert_eq!(client.join(&mut server), RECOVERED);
    server.restore(&alone);
    assert_eq!(client.join(&mut server), RENEWED);
    assert!(!server.is_locked());
}

/// Fails if the present state of shared times is known by its identity alone: the same attempt made a bot a new instance
/// where it was alone, and not where it was one of many.
#[test]
fn a_bot_whose_recovery_was_a_shared_join_elsewhere_is_let_in() {
    let mut server = Server::new(&[Role::Bot]);
    server.spec().recovery.limit = 9;
    let mut client = Client::new(10_000, &server);
    assert_eq!(client.join(&mut server), REGISTERED);
    let before = server.clone();
    server.later(10 * DAY);
    answer_lost(&mut client, &mut server);
    let recovered = server.clone();
    server.restore(&before);
    server.mode(Insecure);
    let outcome = client.complete(&mut server, &mut Vec::new());
    assert!(matches!(outcome, Outcome::Admitted(_)), "{outcome:?}");
    server.restore(&recovered);
    assert_ne!(server.enrolment.identity, client.state.as_ref().map(|s| s.identity.clone()));
    let outcome = client.join(&mut server);
    assert!(matches!(outcome, Outcome::Admitted(_)), "{outcome:?}");
    assert!(!server.is_locked());
}

/// Fails if a grant leaves no mark: it ends the quarrel in one history, and its holder would be a clone in the other.
#[test]
fn a_resync_joins_the_two_histories() {
    let (mut server, mut owner) = bound(Standard, 1, 1);
    let backup = server.clone();
    let mut copy = owner.copied(50_000);
    assert_eq!(owner.join(&mut server), RENEWED);
    let first = server.clone();
    server.restore(&backup);
    assert_eq!(copy.join(&mut server), RENEWED);
    assert_eq!(owner.join(&mut server), CLONE);
    server.verb(Verb::Resync { ttl: DAY, keep_key: true });
    assert_eq!(owner.join(&mut server), RECOVERED, "by grant");
    let second = server.clone();
    server.restore(&first);
    assert_eq!(owner.join(&mut server), RENEWED);
    server.restore(&second);
    assert_eq!(owner.join(&mut server), RENEWED);
    assert!(!server.is_locked());
    assert_eq!(copy.join(&mut server), CLONE);
}

/// Fails if only this history's certificates count: the machine was well in the other one, and its only recovery is used.
#[test]
fn what_the_other_history_certified_counts_as_well() {
    let (empty, mut server, mut client) = of_static_key();
    assert_eq!(client.join(&mut server), REGISTERED);
    let alone = server.clone();
    begun_by_another(&mut server, &empty, &client);
    server.later(60 * DAY);
    let outcome = client.join(&mut server);
    assert!(matches!(outcome, Outcome::Admitted(_)), "{outcome:?}");
    server.restore(&alone);
    let mut late = (server.clone(), client.clone());
    assert_eq!(client.join(&mut server), RENEWED);
    // But not for ever, and not if they were revoked here.
    let mut revoked = late.clone();
    late.0.later(32 * DAY);
    assert_eq!(late.1.join(&mut late.0), Outcome::Denied(Code::RecoveryLimitReached));
    revoked.0.verb(Verb::Revoke);
    assert_eq!(revoked.1.join(&mut revoked.0), Outcome::Denied(Code::RecoveryLimitReached));
}

/// Where it was adopted, too, and where it meets a lineage that others share.
#[test]
fn who_was_adopted_elsewhere_is_adopted_where_it_has_been() {
    let mut server = Server::preregistered(5);
    server.mode(Insecure);
    let mut client = Client { key: 5, secret: None, ..Client::new(10_000, &server) };
    let empty = server.clone();
    assert_eq!(client.join(&mut server), REGISTERED);
    let shared = server.clone();
    // In a history that another one began it is one of many, and then the one that stays.
    server.restore(&empty);
    assert_eq!(fellow_of(&client).join(&mut server), REGISTERED);
    assert_eq!(client.join(&mut server), RENEWED);
    server.mode(Standard);
    assert_eq!(client.join(&mut server), RENEWED);
    assert!(client.state.as_ref().is_some_and(|s| !s.shared && s.adoption.is_some()));
    server.restore(&shared);
    server.mode(Standard);
    assert_eq!(client.join(&mut server), RENEWED);
    assert_eq!(client.join(&mut server), RENEWED);
    assert!(!server.is_locked());
}

/// Fails if the key that counts is this history's: the machine rotated it in the other one.
#[test]
fn who_rotated_its_key_elsewhere_returns_with_that_key() {
    let (alone, mut server, mut client) = one_of_many_elsewhere();
    server.mode(Standard);
    server.verb(Verb::Rotate { at: None });
    assert_eq!(client.join(&mut server), RENEWED);
    assert_eq!(client.join(&mut server), RENEWED);
    let rotated = client.key;
    assert_eq!(server.enrolment.bound_public_key, Some(key(rotated)));
    server.restore(&alone);
    let (mut as_old, mut again) = (server.clone(), client.clone());
    as_old.enrolment.key_bound_at = again.state.as_ref().and_then(|s| s.key_since);
    assert_eq!(again.join(&mut as_old), RENEWED);
    assert_eq!(as_old.enrolment.rotate_requested_at, None, "it is as old as the record's");
    assert_eq!(client.join(&mut server), RENEWED);
    assert_eq!(server.enrolment.bound_public_key, Some(key(rotated)));
    assert_eq!(server.enrolment.key_bound_at, client.state.as_ref().and_then(|s| s.key_since));
    assert!(server.enrolment.key_bound_at.is_some());
    assert_eq!(server.enrolment.rotate_requested_at, None, "it is newer than the record's");
    assert!(!server.is_locked());
}

/// Fails if the rotation that this history made passes for done: the key of who returns is the one from before it.
#[test]
fn who_returns_with_a_key_that_was_replaced_here_is_asked_for_another() {
    let (empty, mut server, mut client) = of_static_key();
    assert_eq!(client.join(&mut server), REGISTERED);
    client.begin();
    let without = client.clone();
    server.verb(Verb::Rotate { at: None });
    client.make_key();
    let message = client.message(None);
    let replaced = admitted(server.handle(&message)).bound_key;
    let alone = server.clone();
    // It never offered the new key in the other history.
    let mut client = without;
    begun_by_another(&mut server, &empty, &client);
    assert_eq!(client.join(&mut server), RENEWED);
    server.restore(&alone);
    server.later(DAY / 2);
    assert_eq!(client.join(&mut server), RENEWED);
    assert_eq!(server.enrolment.bound_public_key, Some(key(5)));
    assert_eq!(server.enrolment.rotate_requested_at, Some(server.now));
    assert_eq!(client.join(&mut server), RENEWED);
    assert!(![Some(key(5)), Some(replaced)].contains(&server.enrolment.bound_public_key));
}
