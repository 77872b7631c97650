//! The traps of the administrator's remedies, one test each: a remedy that keeps the honest machine out, or lets
//! another in.

use boundkey_lifecycle::*;
use boundkey_token::RecoveryMode::Standard;

use crate::scene::*;

const REGISTERED: Outcome = Outcome::Admitted(JoinKind::Register);
const RENEWED: Outcome = Outcome::Admitted(JoinKind::Renew);
const RECOVERED: Outcome = Outcome::Admitted(JoinKind::Recover);
const CLONE: Outcome = Outcome::Denied(Code::CloneDetected);

/// Fails if the holder of the current state has no use of a grant: the lock revoked its certificates, so that its
/// ordinary join is a recovery too many, and only the copy, whose state is behind, could take the grant.
#[test]
fn a_resync_takes_back_the_owner_whose_certificates_the_lock_revoked() {
    for limit in [1, 5] {
        let (mut server, mut client) = bound(Standard, limit, 2);
        let mut thief = client.copied(50_000);
        assert_eq!(client.join(&mut server), RENEWED);
        assert_eq!(thief.join(&mut server), CLONE);
        server.verb(Verb::Revoke);
        server.resync();
        let count = server.enrolment.recovery_count;
        assert_eq!(
            server.view().explain().next_join,
            "recovers by the resync grant; no recovery is used, with a new key (the agent makes it)"
        );
        assert_eq!(client.join(&mut server), RECOVERED);
        assert_eq!(server.enrolment.recovery_count, count, "by grant");
        assert_eq!(server.enrolment.resync_until, None);
        assert_eq!(server.enrolment.bound_public_key, Some(key(client.key)));
        assert_ne!(thief.key, client.key, "the copied key is bound no more");
        assert!(!matches!(thief.join(&mut server), Outcome::Admitted(_) | Outcome::Retried));
    }
}

/// A renewal ends the grant and is none of its joins.
#[test]
fn an_owner_who_renews_has_no_need_of_the_grant_and_ends_it() {
    let (mut server, mut client) = bound(Standard, 1, 2);
    server.resync();
    assert_eq!(client.join(&mut server), RENEWED);
    assert_eq!(server.enrolment.resync_until, None);
    assert_eq!(server.enrolment.recovery_count, 1);
}

/// Fails if a reset takes the next number: after a restore it would be the number of the reset that was forgotten, and
/// a state of that time would stand ahead of it, above its new secret.
#[test]
fn a_reset_after_a_restore_shuts_out_what_came_of_the_reset_that_was_forgotten() {
    for joins_again in [false, true] {
        let (mut server, _) = bound(Standard, 1, 2);
        let backup = server.clone();
        server.reset();
        let mut again = Client::new(70_000, &server);
        assert_eq!(again.join(&mut server), REGISTERED);
        assert_eq!(again.join(&mut server), RENEWED);
        let mut thief = again.copied(50_000);
        let now = server.now;
        server.restore(&backup);
        server.now = now + DAY;
        server.reset();
        let mut honest = Client::new(90_000, &server);
        if joins_again {
            assert_eq!(honest.join(&mut server), REGISTERED);
        }
        assert!(matches!(thief.join(&mut server), Outcome::Denied(_)));
        assert!(!server.is_locked());
        let expected = if joins_again { RENEWED } else { REGISTERED };
        assert_eq!(honest.join(&mut server), expected);
    }
}

/// Fails if a lock stands against a state that went so far past it that its trail no longer shows it: a backup of the time
/// of a lock that was lifted long ago would send the machine to an administrator once more.
#[test]
fn a_lock_that_was_lifted_long_ago_does_not_come_back_with_a_backup() {
    for joins in [1, 15, 16, 17, 40] {
        let (mut server, mut client) = bound(Standard, 1, 2);
        let mut thief = client.copied(50_000);
        assert_eq!(client.join(&mut server), RENEWED);
        assert_eq!(thief.join(&mut server), CLONE);
        let backup = server.clone();
        server.resync();
        assert!(matches!(client.join(&mut server), Outcome::Admitted(_)));
        for _ in 1..joins {
            assert_eq!(client.join(&mut server), RENEWED);
        }
        server.restore(&backup);
        assert!(server.is_locked());
        assert!(matches!(client.join(&mut server), Outcome::Admitted(_)), "{joins}");
        assert!(!server.is_locked(), "{joins}");
        assert_eq!(thief.join(&mut server), CLONE, "{joins}");
        assert!(server.is_locked());
    }
}

/// Nor does it help whoever the lock is about: a state that is not ahead of where the lineage stands passes no lock.
#[test]
fn a_lock_stands_against_every_state_that_is_not_ahead_of_the_record() {
    for joins in [1, 20, 40] {
        let (mut server, mut client) = bound(Standard, 1, 2);
        let mut thief = client.copied(50_000);
        for _ in 0..joins {
            assert_eq!(client.join(&mut server), RENEWED);
        }
        assert_eq!(thief.join(&mut server), CLONE);
        assert_eq!(client.join(&mut server), Outcome::Denied(Code::Locked), "{joins}");
        assert_eq!(thief.join(&mut server), Outcome::Denied(Code::Locked), "{joins}");
    }
}

/// Fails if a reset that caught a rotation on its way shuts the machine out of its new registration: the only new key that
/// its attempt can offer was bound when the reset came, and is void.
#[test]
fn a_reset_in_the_middle_of_a_rotation_is_answered_with_the_key_from_before_it() {
    let (mut server, mut client) = bound(Standard, 1, 2);
    let before = client.key;
    server.verb(Verb::Rotate { at: None });
    client.begin();
    client.make_key();
    let message = client.message(None);
    let rotated = admitted(server.handle(&message)).bound_key;
    // The answer is lost, and the token is reset.
    server.reset();
    client.secret = Some(server.secret);
    let message = client.message(None);
    let admission = admitted(server.handle(&message));
    assert_eq!((admission.kind, &admission.bound_key), (JoinKind::Register, &key(before)));
    assert_eq!(admission.event.notes, [Note::RotationOverdue]);
    client.store(&admission.claims);
    // It makes another key at its next join.
    assert_eq!(client.join(&mut server), RENEWED);
    let bound = server.enrolment.bound_public_key.clone();
    assert!(bound.is_some() && bound != Some(key(before)) && bound != Some(rotated));
    assert_eq!(server.enrolment.rotate_requested_at, None);
    assert_eq!(client.join(&mut server), RENEWED);
}

/// Two resets voided both of its keys: neither is bound again.
#[test]
fn a_registration_that_has_only_void_keys_is_refused() {
    let (mut server, _) = bound(Standard, 1, 1);
    server.reset();
    server.enrolment.secret.void(thumb(1));
    server.enrolment.secret.void(thumb(2));
    let of = |current, new| Message::new(current, 7).with_new(new).with_secret(server.secret);
    assert_eq!(word(&server.verdict(&of(1, 2))), "deny new_key_not_new");
    assert_eq!(word(&server.verdict(&of(1, 1))), "deny new_key_not_new");
    assert_eq!(word(&server.verdict(&of(3, 3))), "deny new_key_not_new");
    assert_eq!(word(&server.verdict(&of(3, 2))), "admit register");
    assert_eq!(word(&server.verdict(&of(1, 3))), "admit register");
}
