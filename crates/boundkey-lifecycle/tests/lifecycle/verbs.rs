//! The administrator's verbs, and what applying a spec may change.

use std::time::Duration;

use boundkey_lifecycle::*;
use boundkey_token::RecoveryMode::{Insecure, Standard};
use boundkey_token::Role;

use crate::scene::*;

fn reset_verb() -> Verb {
    Verb::Reset { generated: Sealed(vec![2]), proof_key: Sealed(vec![3]) }
}

#[test]
fn granting_recoveries_counts_from_those_used() {
    let (mut server, _) = bound(Standard, 1, 1);
    let next = server.verb(Verb::GrantRecovery { count: 2 }).next.expect("it changes the limit");
    assert_eq!((next.granted_limit, next.limit_in_force(server.token.as_ref().unwrap())), (3, 3));
    assert_eq!(
        server.verb(Verb::GrantRecovery { count: 2 }).next,
        None,
        "a repetition has nothing left to do"
    );
    server.spec().recovery.limit = 9;
    assert_eq!(server.enrolment.limit_in_force(server.token.as_ref().unwrap()), 9, "the greater one counts");
    server.enrolment.recovery_count = u32::MAX;
    assert_eq!(server.verb(Verb::GrantRecovery { count: 5 }).next.map(|e| e.granted_limit), Some(u32::MAX));
}

#[test]
fn a_rotation_is_asked_for_until_it_is_made() {
    let (mut server, mut client) = bound(Standard, 1, 1);
    server.verb(Verb::Rotate { at: None });
    assert_eq!(server.verb(Verb::Rotate { at: None }).next, None);
    let old = client.key;
    // Not even a clock that was stepped back makes it pass for done.
    server.enrolment.last_rotated_at = Some(server.now + 1000 * DAY);
    server.enrolment.key_bound_at = Some(server.now + 1000 * DAY);
    client.join(&mut server);
    assert_ne!(client.key, old);
    assert_eq!(server.enrolment.rotate_requested_at, None);
    let old = client.key;
    client.join(&mut server);
    assert_eq!(client.key, old, "one rotation is enough");
}

#[test]
fn a_rotation_for_later_survives_one_made_before() {
    let (mut server, client) = bound(Standard, 1, 1);
    let at = server.now + DAY;
    server.verb(Verb::Rotate { at: Some(at) });
    let mut client = client;
    client.begin();
    client.make_key();
    client.join(&mut server);
    assert_eq!(server.enrolment.rotate_requested_at, Some(at));
    server.later(DAY);
    let old = client.key;
    client.join(&mut server);
    assert_ne!(client.key, old);
}

#[test]
fn a_resync_opens_the_grant_lifts_the_lock_and_asks_for_a_key() {
    let (mut server, _) = bound(Standard, 1, 1);
    let outcome = server.verb(Verb::Resync { ttl: Duration::from_secs(60), keep_key: false });
    assert!(outcome.remove_automatic_lock && outcome.revoke.is_empty());
    let next = outcome.next.unwrap();
    assert_eq!(next.resync_until, Some(server.now + Duration::from_secs(60)));
    assert_eq!(next.rotate_requested_at, Some(server.now));
    let (mut server, _) = bound(Standard, 1, 1);
    let next = server.verb(Verb::Resync { ttl: Duration::MAX, keep_key: true }).next.unwrap();
    assert_eq!(next.rotate_requested_at, None);
    assert!(next.resync_until > Some(server.now), "the longest time there is does not overflow");
}

#[test]
fn a_resync_of_an_unbound_or_insecure_token_only_lifts_the_lock() {
    for mut server in [Server::host(Standard, 1), bound(Insecure, 1, 1).0] {
        let outcome = server.verb(Verb::Resync { ttl: DAY, keep_key: false });
        assert_eq!(outcome, VerbOutcome { remove_automatic_lock: true, ..VerbOutcome::default() });
    }
}

#[test]
fn a_revocation_takes_what_is_unexpired_and_makes_the_next_join_a_recovery() {
    let (mut server, mut client) = bound(Standard, 2, 3);
    server.later(DAY - Duration::from_secs(5400));
    // The first of the three certificates has expired.
    let outcome = server.verb(Verb::Revoke);
    assert_eq!(outcome.revoke.len(), 2);
    assert!(!outcome.revoke_all_instances);
    assert!(server.enrolment.issued.is_empty());
    assert_eq!(server.verb(Verb::Revoke), VerbOutcome::default());
    assert_eq!(client.join(&mut server), Outcome::Admitted(JoinKind::Recover));
    assert_eq!(Server::host(Standard, 1).verb(Verb::Revoke), VerbOutcome::default(), "nobody joined yet");
}

#[test]
fn the_clients_of_a_shared_token_come_back_from_a_revocation() {
    let (mut server, mut client) = bound(Insecure, 1, 1);
    let mut other = Client { state: None, ..client.copied(50_000) };
    other.join(&mut server);
    assert!(server.verb(Verb::Revoke).revoke_all_instances);
    assert_eq!(other.join(&mut server), Outcome::Admitted(JoinKind::Recover));
    assert_eq!(client.join(&mut server), Outcome::Admitted(JoinKind::Recover));
    assert_eq!(client.join(&mut server), Outcome::Admitted(JoinKind::Renew));
    assert_eq!(server.enrolment.recovery_count, 1);
}

#[test]
fn a_reset_begins_a_new_generation_and_forgets_nothing_that_must_stay_out() {
    let mut server = Server::preregistered(5);
    let mut client = Client { key: 5, ..Client::new(10_000, &server) };
    client.join(&mut server);
    server.verb(Verb::Rotate { at: None });
    client.join(&mut server);
    let before = server.enrolment.clone();
    let outcome = server.verb(reset_verb());
    assert!(outcome.remove_automatic_lock);
    assert_eq!(outcome.revoke, before.issued);
    let next = server.enrolment.clone();
    assert_eq!(i64::from(next.generation), server.now.unix_timestamp());
    assert_eq!((next.sequence, next.recovery_count), (0, 0));
    // By the clock, and whatever the clock says greater than before.
    for (clock, generation) in
        [(i64::MIN, 7), (-1, 7), (5, 7), (8, 8), (9, 9), (i64::from(u32::MAX), u32::MAX)]
    {
        let before = Enrolment { generation: 6, ..before.clone() };
        let now = time::OffsetDateTime::from_unix_timestamp(clock.max(-9_999_999_999)).unwrap();
        let next = apply_verb(server.token.as_ref().unwrap(), &before, reset_verb(), now).next.unwrap();
        assert_eq!(next.generation, generation, "{clock}");
    }
    assert!(
        !next.is_bound()
            && next.identity.is_none()
            && next.last_state_id.is_none()
            && next.trail.0.is_empty()
    );
    assert!(next.secret.spec_void && !next.secret.used);
    assert_eq!(next.secret.generated, Some(Sealed(vec![2])));
    assert_eq!(next.secret.void_keys, [thumb(5), thumb(client.key)]);
    assert_eq!(next.onboarding(server.token.as_ref().unwrap()), OnboardingInForce::Secret);
    // Once more, unbound: the voided keys stay so, and are not listed twice.
    server.verb(reset_verb());
    assert_eq!(server.enrolment.secret.void_keys, [thumb(5), thumb(client.key)]);
    let again = server.enrolment.clone();
    assert!(again.generation > next.generation && again.sequence == 0);
}

#[test]
fn the_list_of_voided_keys_is_bounded() {
    let mut secret = SecretRecord::default();
    for n in 0..200 {
        secret.void(thumb(n));
    }
    assert_eq!(secret.void_keys.len(), MAX_VOID_KEYS);
    assert_eq!(secret.void_keys.last(), Some(&thumb(199)));
}

#[test]
fn every_verb_has_its_event() {
    let events: Vec<&str> = [
        Verb::GrantRecovery { count: 1 },
        Verb::Rotate { at: None },
        Verb::Resync { ttl: DAY, keep_key: false },
        Verb::Revoke,
        reset_verb(),
    ]
    .iter()
    .map(|verb| verb.event_code().as_str())
    .collect();
    assert_eq!(
        events,
        ["recovery_granted", "rotation_requested", "resync_granted", "certificates_revoked", "token_reset"]
    );
}

/// Property 8: what a spec says is read when a join is decided, and written nowhere.
#[test]
fn applying_any_spec_changes_no_enrolment_and_onboarding_ends_with_the_binding() {
    let (mut server, client) = bound(Standard, 1, 2);
    let before = server.enrolment.clone();
    server.spec().onboarding.initial_public_key = Some(key(5));
    server.spec().onboarding.must_register_before = Some(start());
    assert_eq!(server.enrolment.onboarding(server.token.as_ref().unwrap()), OnboardingInForce::Done);
    let refused = server.handle(&Message::new(5, 900));
    assert_eq!(word(&refused), "deny wrong_key (unproven)");
    assert_eq!(server.enrolment, before);
    let mut client = client;
    assert_eq!(client.join(&mut server), Outcome::Admitted(JoinKind::Renew));

    let mut unbound = Server::new(&[Role::Node]);
    unbound.spec().onboarding.initial_public_key = Some(key(5));
    assert_eq!(word(&unbound.verdict(&Message::new(5, 1))), "admit register");
}
