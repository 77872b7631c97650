//! The marks in join states: what they are, and that nobody gets more by them than he has. One test for each trap.

use boundkey_lifecycle::*;
use boundkey_token::RecoveryMode::{Insecure, Standard};

use crate::histories::{adopted_bot, fellow_of};
use crate::scene::*;

const RENEWED: Outcome = Outcome::Admitted(JoinKind::Renew);
const RECOVERED: Outcome = Outcome::Admitted(JoinKind::Recover);
const CLONE: Outcome = Outcome::Denied(Code::CloneDetected);
const FELLOW: Outcome = Outcome::Denied(Code::SharedToken);

fn marks(client: &Client) -> Vec<[u8; 8]> {
    client.state.as_ref().map(|s| s.passed.0.clone()).unwrap_or_default()
}

#[test]
fn a_machine_of_one_history_leaves_no_marks() {
    let (mut server, mut client) = bound(Standard, 1, 5);
    server.verb(Verb::Rotate { at: None });
    assert_eq!(client.join(&mut server), RENEWED);
    let backup = server.clone();
    assert_eq!(client.join(&mut server), RENEWED);
    server.restore(&backup);
    assert_eq!(client.join(&mut server), RENEWED, "healed");
    assert!(marks(&client).is_empty());
    assert!(server.enrolment.passed.0.is_empty());
}

#[test]
fn the_marks_are_the_trail_and_then_the_attempts_sixteen_at_most() {
    let (mut server, mut client) = bound(Standard, 1, 2);
    let mut expected = client.state.as_ref().map(|s| s.trail.0.clone()).expect("a state");
    assert_eq!(expected.len(), 2);
    server.mode(Insecure);
    for n in 0..20 {
        assert_eq!(client.join(&mut server), RENEWED);
        expected.push(Enrolment::attempt_hash(attempt(client.base + client.counter)).short());
        let from = expected.len().saturating_sub(TRAIL_LENGTH);
        assert_eq!(marks(&client), expected[from..], "join {n}");
    }
    // They stay with the client that is adopted.
    server.mode(Standard);
    assert_eq!(client.join(&mut server), RENEWED);
    assert_eq!(client.join(&mut server), RENEWED);
    assert_eq!(marks(&client).len(), TRAIL_LENGTH);
    assert_eq!(marks(&client), server.enrolment.passed.0);
    let last = Enrolment::attempt_hash(attempt(client.base + client.counter)).short();
    assert_eq!(marks(&client).last(), Some(&last));
}

/// One without a state begins with its own attempt; one whose state's key is not proven, or that was reset, too.
#[test]
fn marks_are_taken_over_only_from_a_state_of_this_lineage_with_its_key() {
    let begin = |server: &mut Server, mut client: Client| {
        client.begin();
        let message = Message { state: client.message(None).state, ..client.message(None).live(server) };
        let claims = admitted(server.handle(&message)).claims;
        assert_eq!(claims.passed.0, [Enrolment::attempt_hash(attempt(message.attempt)).short()]);
    };
    let (mut server, client) = bound(Insecure, 1, 3);
    assert_eq!(marks(&client).len(), 3);
    begin(&mut server.clone(), fellow_of(&client));
    let mut foreign = client.copied(50_000);
    if let Some(state) = &mut foreign.state {
        state.uid = Uid([9; 16]);
    }
    begin(&mut server.clone(), foreign);
    let mut other_key = client.copied(60_000);
    if let Some(state) = &mut other_key.state {
        state.key = thumb(99);
    }
    begin(&mut server.clone(), other_key);
    // A shared one that has none: its trail is nobody's own.
    let mut unmarked = client.copied(65_000);
    if let Some(state) = &mut unmarked.state {
        state.passed = Trail::default();
    }
    begin(&mut server.clone(), unmarked);
    // A reset: the old state is of an earlier generation.
    server.reset();
    let secret = Some(server.secret);
    begin(&mut server, Client { key: 70_000, secret, ..client.copied(70_000) });
}

#[test]
fn who_comes_by_grant_without_a_state_has_the_marks_of_the_lineage() {
    let (mut server, client) = bound(Standard, 1, 3);
    let trail = server.enrolment.trail.0.clone();
    let mut client = Client { state: None, secret: None, ..client.copied(50_000) };
    client.key = 10_000;
    let mut expected = trail;
    for _ in 0..2 {
        server.verb(Verb::Resync { ttl: DAY, keep_key: true });
        client.state = None;
        assert_eq!(client.join(&mut server), RECOVERED);
        expected.push(Enrolment::attempt_hash(attempt(client.base + client.counter)).short());
        assert_eq!(marks(&client), expected);
    }
}

/// Fails if an attempt that was used as one of many is the mark of another join of this history: a thief who copied the
/// pending attempt would be let in as the one that was adopted by it, with the key that was rotated away in it.
#[test]
fn a_copied_attempt_that_was_used_as_one_of_many_is_no_way_back() {
    let (mut server, mut owner) = bound(Insecure, 1, 2);
    owner.begin();
    let pending = owner.copied(50_000);
    for with_state in [false, true] {
        let (mut server, mut owner) = (server.clone(), owner.clone());
        let mut thief = pending.clone();
        if !with_state {
            thief.state = None;
        }
        assert!(matches!(thief.complete(&mut server, &mut Vec::new()), Outcome::Admitted(_)));
        server.mode(Standard);
        server.verb(Verb::Rotate { at: None });
        assert!(matches!(owner.join(&mut server), Outcome::Admitted(_)));
        let bound = server.enrolment.bound_public_key.clone();
        assert_ne!(bound, Some(key(10_000)));
        assert_eq!(thief.join(&mut server), CLONE, "with the state: {with_state}");
        assert_eq!(server.enrolment.bound_public_key, bound);
    }
    // The thief comes first with it: the owner finds him out, though the attempt was his own.
    assert_eq!(owner.join(&mut server), RENEWED);
    assert_eq!(owner.join(&mut server), RENEWED);
    let mut thief = pending;
    server.mode(Standard);
    assert!(matches!(thief.join(&mut server), Outcome::Admitted(_)));
    assert_eq!(owner.join(&mut server), CLONE);
}

/// Fails if a grant hands the marks of one of many to another: the first would be its clone.
#[test]
fn a_resync_while_many_share_the_token_gives_nobody_elses_marks() {
    let (mut server, mut first) = bound(Insecure, 1, 2);
    let mut second = fellow_of(&first);
    assert_eq!(second.join(&mut server), RECOVERED);
    server.mode(Standard);
    server.verb(Verb::Resync { ttl: DAY, keep_key: true });
    second.state = None;
    assert!(matches!(second.join(&mut server), Outcome::Admitted(_)));
    assert_eq!(marks(&second).len(), 1);
    assert_eq!(first.join(&mut server), FELLOW);
    assert!(!server.is_locked());
}

/// Fails if a bot that was adopted twice is known by one of its two names only.
#[test]
fn a_copy_of_a_bot_that_was_adopted_twice_is_a_clone() {
    let (mut server, mut client) = adopted_bot();
    server.later(10 * DAY);
    assert_eq!(client.join(&mut server), RECOVERED);
    let mut copy = client.copied(50_000);
    server.mode(Insecure);
    for _ in 0..TRAIL_LENGTH {
        assert_eq!(copy.join(&mut server), RENEWED);
    }
    server.mode(Standard);
    server.later(10 * DAY);
    assert_eq!(copy.join(&mut server), RECOVERED);
    assert_eq!(client.join(&mut server), CLONE);
}
