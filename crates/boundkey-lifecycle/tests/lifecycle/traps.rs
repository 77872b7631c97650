//! The traps that model checking found in earlier wordings of the rules, one test each. Every test says which rule
//! it would fail without.

use std::time::Duration;

use boundkey_lifecycle::*;
use boundkey_token::RecoveryMode::{Insecure, Standard};
use boundkey_token::{Role, RoleSet};

use crate::scene::*;

const REGISTERED: Outcome = Outcome::Admitted(JoinKind::Register);
const RENEWED: Outcome = Outcome::Admitted(JoinKind::Renew);
const RECOVERED: Outcome = Outcome::Admitted(JoinKind::Recover);
const CLONE: Outcome = Outcome::Denied(Code::CloneDetected);

/// Fails without 2(b): the client would be "wrong key", for ever; and without the lock of 6.
#[test]
fn a_thief_who_rotates_cannot_own_the_lineage_unseen() {
    let (mut server, mut client) = bound(Standard, 1, 2);
    let mut thief = client.copied(50_000);
    thief.begin();
    let message = thief.message(None).with_new(50_999);
    let admission = admitted(server.handle(&message));
    assert_eq!(admission.bound_key, key(50_999));
    assert_eq!(client.join(&mut server), CLONE);
    assert!(server.is_locked());
    thief.key = 50_999;
    thief.state = Some(admission.claims);
    thief.pending = None;
    assert_eq!(thief.join(&mut server), Outcome::Denied(Code::Locked));
}

/// Fails if 4 answers whoever repeats an attempt: a thief uses the copied attempt with a key of his own, and the owner
/// would be told of that key, which he does not hold, again and again, and no lock would ever fall.
#[test]
fn a_thief_who_rotates_within_the_copied_attempt_is_found_out() {
    let (mut server, mut client) = bound(Standard, 1, 2);
    client.begin();
    let mut thief = client.copied(50_000);
    thief.make_key();
    assert_eq!(thief.complete(&mut server, &mut Vec::new()), RENEWED);
    assert_eq!(client.join(&mut server), CLONE);
    assert!(server.is_locked());
}

/// The same at registration. Fails if `registration_attempt` is of the key that was bound, not of the one that
/// registered.
#[test]
fn a_thief_who_rotates_within_the_copied_registration_is_found_out() {
    for preregistered in [false, true] {
        let mut server =
            if preregistered { Server::preregistered(10_000) } else { Server::host(Standard, 1) };
        let mut client = Client::new(10_000, &server);
        client.begin();
        let mut thief = client.copied(50_000);
        thief.make_key();
        assert_eq!(thief.complete(&mut server, &mut Vec::new()), REGISTERED);
        assert_eq!(client.join(&mut server), CLONE, "preregistered: {preregistered}");
        assert!(server.is_locked());
    }
}

/// Fails without 2(a) "as new key": only the new key is bound by then, and the retry proves it as new.
#[test]
fn the_lost_answer_of_a_rotation_is_given_again() {
    let (mut server, mut client) = bound(Standard, 1, 2);
    server.verb(Verb::Rotate { at: None });
    client.begin();
    assert_eq!(word(&server.handle(&client.message(None))), "rotation");
    client.make_key();
    let (message, verdict) = answer_lost(&mut client, &mut server);
    let rotated = admitted(verdict);
    assert_ne!(server.enrolment.bound_public_key, Some(key(message.current.unwrap())));
    assert_eq!(client.complete(&mut server, &mut Vec::new()), Outcome::Retried);
    assert_eq!(client.state, Some(rotated.claims));
    assert_eq!(client.join(&mut server), RENEWED);
}

/// Fails without `confirm` in 6: the late message would lock a client that did nothing wrong.
#[test]
fn a_late_duplicate_of_an_honest_request_locks_nobody() {
    let (mut server, mut client) = bound(Standard, 1, 2);
    let mut sent = Vec::new();
    client.complete(&mut server, &mut sent);
    client.join(&mut server);
    let before = server.enrolment.clone();
    for late in &sent {
        assert_eq!(word(&server.handle(late)), "confirm clonesuspected");
    }
    assert_eq!(server.enrolment, before);
    assert_eq!(client.join(&mut server), RENEWED);
}

/// Fails without the live request in 5: the late message would eat the grant.
#[test]
fn a_late_duplicate_of_an_honest_request_eats_no_grant() {
    let (mut server, client) = bound(Standard, 1, 2);
    let mut snapshot = client.clone();
    let mut client = client.copied(20_000);
    let mut sent = Vec::new();
    client.complete(&mut server, &mut sent);
    client.join(&mut server);
    server.resync();
    assert_eq!(word(&server.handle(&sent[0])), "confirm resync");
    assert!(server.enrolment.resync_until.is_some());
    // The reverted machine, for which it was opened, still gets in.
    assert_eq!(snapshot.join(&mut server), RECOVERED);
    assert_eq!(server.enrolment.resync_until, None);
}

/// Fails without deterministic state ids (10): the duplicate would make the same sequence with another id, and the
/// client's own state would look forked.
#[test]
fn a_restore_and_a_duplicate_of_an_old_request_do_not_fork_the_history() {
    let (mut server, mut client) = bound(Standard, 1, 2);
    let backup = server.clone();
    let mut sent = Vec::new();
    assert_eq!(client.complete(&mut server, &mut sent), RENEWED);
    let state = client.state.clone().unwrap();
    server.restore(&backup);
    server.later(Duration::from_secs(30));
    let again = admitted(server.handle(&sent[0]));
    assert_eq!(again.claims.state_id, state.state_id);
    assert_eq!(client.join(&mut server), RENEWED);
    assert!(!server.is_locked());
}

/// Fails without 3a in 2: the token is unbound, the secret is gone from the agent's config, and the machine would be
/// denied for ever.
#[test]
fn a_restore_to_before_registration_denies_nobody() {
    let mut server = Server::host(Standard, 1);
    let backup = server.clone();
    let mut client = Client::new(10_000, &server);
    assert_eq!(client.join(&mut server), REGISTERED);
    client.join(&mut server);
    server.restore(&backup);
    assert_eq!(client.join(&mut server), RENEWED);
    assert!(server.enrolment.secret.used, "the secret is not live again");
    assert_eq!(server.enrolment.sequence, 3);
}

/// Fails if the secret stands above 3a: the machine would register anew, below the state it holds.
#[test]
fn a_restore_to_before_registration_registers_nobody_below_his_own_state() {
    let mut server = Server::host(Standard, 1);
    let backup = server.clone();
    let mut client = Client::new(10_000, &server);
    client.join(&mut server);
    client.join(&mut server);
    client.secret = Some(server.secret);
    server.restore(&backup);
    assert_eq!(client.join(&mut server), RENEWED);
    assert_eq!(server.enrolment.sequence, 3);
    assert_eq!(server.enrolment.recovery_count, 1);
}

/// Fails if 3a stands after 5: the grant would admit at a lower sequence than the state presented.
#[test]
fn a_grant_does_not_admit_below_the_presented_state() {
    let (mut server, mut client) = bound(Standard, 1, 2);
    let backup = server.clone();
    client.join(&mut server);
    client.join(&mut server);
    server.restore(&backup);
    server.resync();
    assert!(matches!(client.join(&mut server), Outcome::Admitted(_)));
    assert_eq!(server.enrolment.sequence, 5);
    assert_eq!(client.join(&mut server), RENEWED);
}

/// Fails if 4 makes an expired join anew: one attempt would use two recoveries.
#[test]
fn one_attempt_uses_one_recovery_however_late_it_is_repeated() {
    let (mut server, mut client) = bound(Standard, 3, 1);
    server.later(40 * DAY);
    let (_, verdict) = answer_lost(&mut client, &mut server);
    assert_eq!(admitted(verdict).kind, JoinKind::Recover);
    let after_join = server.enrolment.clone();
    server.later(40 * DAY);
    let (_, verdict) = answer_lost(&mut client, &mut server);
    assert_eq!(retried(verdict.clone()).certificates, None);
    assert_eq!(server.enrolment, after_join);
    client.store(&retried(verdict).claims);
    assert_eq!(client.join(&mut server), RECOVERED);
    assert_eq!(server.enrolment.recovery_count, 3);
}

/// Fails if 4 counts a revoked join as none: the duplicate would recover again.
#[test]
fn a_duplicate_across_a_revoke_uses_no_second_recovery() {
    let (mut server, mut client) = bound(Standard, 3, 1);
    server.later(40 * DAY);
    let (message, _) = answer_lost(&mut client, &mut server);
    server.verb(Verb::Revoke);
    assert_eq!(word(&server.handle(&message)), "retry provisional");
    assert_eq!(server.enrolment.recovery_count, 2);
}

/// Fails if `last_attempt` keeps the state that was current instead of the one presented: the repetition would be a
/// clone, and lock again what the administrator had just healed.
#[test]
fn the_lost_answer_of_a_resync_join_is_given_again() {
    let (mut server, client) = bound(Standard, 1, 2);
    let mut snapshot = client.clone();
    let mut client = client.copied(20_000);
    client.join(&mut server);
    client.join(&mut server);
    assert_eq!(snapshot.join(&mut server), CLONE);
    server.verb(Verb::Resync { ttl: DAY, keep_key: true });
    let live = snapshot.message(Some(server.enrolment.position(UID)));
    admitted(server.handle(&live));
    assert_eq!(word(&server.handle(&live)), "retry");
    assert_eq!(snapshot.complete(&mut server, &mut Vec::new()), Outcome::Retried);
    assert!(!server.is_locked());
    assert_eq!(snapshot.join(&mut server), RENEWED);
}

/// The same with the rotation that a resync asks for: the copy's key dies.
#[test]
fn a_resync_changes_the_key() {
    let (mut server, mut client) = bound(Standard, 1, 2);
    let mut thief = client.copied(50_000);
    thief.join(&mut server);
    assert_eq!(client.join(&mut server), CLONE);
    server.resync();
    let stolen = client.key;
    assert_eq!(client.join(&mut server), RECOVERED);
    assert_ne!(client.key, stolen);
    assert_eq!(server.enrolment.bound_public_key, Some(key(client.key)));
    assert_eq!(thief.join(&mut server), CLONE, "it can lock, and never enter");
}

/// Fails if 9 asks an attempt that has offered its new key for another one: it has none, and the owner would need a
/// `reset`.
#[test]
fn a_resync_after_a_theft_in_the_middle_of_a_rotation_needs_no_reset() {
    let (mut server, mut client) = bound(Standard, 1, 2);
    client.begin();
    client.make_key();
    let mut thief = client.copied(50_000);
    assert_eq!(thief.complete(&mut server, &mut Vec::new()), RENEWED);
    assert_eq!(thief.join(&mut server), RENEWED);
    assert_eq!(client.join(&mut server), CLONE);
    server.resync();
    assert_eq!(client.join(&mut server), RECOVERED);
    assert_eq!(client.key, thief.key, "not yet");
    assert_eq!(client.join(&mut server), RENEWED);
    assert_ne!(client.key, thief.key, "the rotation stayed due");
}

/// Only a grant is that kind: an ordinary join cannot put the rotation off by calling the bound key new.
#[test]
fn the_bound_key_is_no_new_key() {
    let (mut server, mut client) = bound(Standard, 1, 2);
    server.verb(Verb::Rotate { at: None });
    client.begin();
    let evasive = Message { current: Some(77), new: Some(client.key), ..client.message(None) };
    assert_eq!(word(&server.handle(&evasive)), "rotation");
}

/// Fails without 2(c): the thief rotates away the key of a registration whose answer never arrived, and the client,
/// who has no state, would be a stranger with a wrong key.
#[test]
fn a_copy_taken_during_registration_is_found_out() {
    for rotates in [false, true] {
        let mut server = Server::host(Standard, 1);
        let mut client = Client::new(10_000, &server);
        answer_lost(&mut client, &mut server);
        let mut thief = client.copied(50_000);
        assert_eq!(thief.complete(&mut server, &mut Vec::new()), Outcome::Retried);
        thief.begin();
        if rotates {
            thief.make_key();
        }
        assert_eq!(thief.complete(&mut server, &mut Vec::new()), RENEWED);
        assert_eq!(client.join(&mut server), CLONE, "rotates: {rotates}");
        assert!(server.is_locked());
    }
}

/// Fails if 5 skips too much, or 10 counts a join by grant.
#[test]
fn a_resync_join_does_not_pass_the_limit() {
    let (mut server, client) = bound(Standard, 1, 2);
    let mut lost = Client { state: None, secret: None, ..client };
    server.later(40 * DAY);
    server.resync();
    assert_eq!(lost.join(&mut server), RECOVERED);
    assert_eq!(server.enrolment.recovery_count, 1);
    server.later(40 * DAY);
    assert_eq!(lost.join(&mut server), Outcome::Denied(Code::RecoveryLimitReached));
    assert_eq!(server.enrolment.recovery_count, 1);
}

/// Fails without the trail in 3a: the honest client's state is ahead, and the heal would put the clone's join out of
/// the record.
#[test]
fn a_clone_admitted_after_a_restore_is_not_overwritten_by_the_heal() {
    let (mut server, mut client) = bound(Standard, 1, 2);
    let mut thief = client.copied(50_000);
    let backup = server.clone();
    client.join(&mut server);
    client.join(&mut server);
    server.restore(&backup);
    assert_eq!(thief.join(&mut server), RENEWED);
    assert_eq!(client.join(&mut server), CLONE);
    assert!(server.is_locked());
}

/// Fails without the comparison of ids at the same sequence: the clone would win over the honest client.
#[test]
fn a_clone_admitted_after_a_restore_does_not_win_over_the_honest_client() {
    for more in 0..3 {
        let (mut server, mut client) = bound(Standard, 1, 2);
        let mut thief = client.copied(50_000);
        let backup = server.clone();
        client.join(&mut server);
        server.restore(&backup);
        for _ in 0..=more {
            assert_eq!(thief.join(&mut server), RENEWED);
        }
        assert_eq!(client.join(&mut server), CLONE);
        assert_eq!(thief.join(&mut server), Outcome::Denied(Code::Locked));
    }
}

/// Fails without `lock_superseded` in 3.
#[test]
fn a_lifted_automatic_lock_that_comes_back_with_a_backup_locks_nobody() {
    let (mut server, mut client) = bound(Standard, 1, 2);
    client.copied(50_000).join(&mut server);
    assert_eq!(client.join(&mut server), CLONE);
    let backup = server.clone();
    server.resync();
    assert_eq!(client.join(&mut server), RECOVERED);
    server.restore(&backup);
    assert!(server.is_locked());
    assert!(matches!(client.join(&mut server), Outcome::Admitted(_)));
    assert!(!server.is_locked());
}

/// The same where the lock was lifted by a reset: everything it was about is gone.
#[test]
fn a_lock_that_a_reset_removed_does_not_come_back_with_a_backup() {
    let (mut server, mut client) = bound(Standard, 1, 2);
    client.copied(50_000).join(&mut server);
    assert_eq!(client.join(&mut server), CLONE);
    let backup = server.clone();
    server.reset();
    let mut again = Client::new(70_000, &server);
    assert_eq!(again.join(&mut server), REGISTERED);
    server.restore(&backup);
    assert_eq!(again.join(&mut server), RENEWED);
    assert!(server.enrolment.generation > backup.enrolment.generation);
    assert!(!server.is_locked());
    // The key of the first life stays void, and its copy outside.
    assert!(server.enrolment.secret.void_keys.contains(&thumb(client.key)));
}

/// Fails if a lock set by hand can be superseded: it says what the administrator wants, not what was seen.
#[test]
fn a_lock_by_hand_stands_whatever_a_state_says() {
    let (mut server, mut client) = bound(Standard, 1, 2);
    server.lock_by_hand();
    let backup = server.clone();
    server.locks.clear();
    client.join(&mut server);
    server.restore(&backup);
    assert_eq!(client.join(&mut server), Outcome::Denied(Code::Locked));
}

/// The pure part of "a certificate issued after the revocation that should cover it": the serials are in the record
/// that the join commits, so whatever revokes next finds them, and a repetition signs the same ones or none.
#[test]
fn every_certificate_is_on_record_before_it_is_signed() {
    let (mut server, mut client) = bound(Standard, 1, 2);
    let (message, _) = answer_lost(&mut client, &mut server);
    let on_record = server.enrolment.issued.clone();
    assert_eq!(on_record.len(), 3);
    let again = retried(server.handle(&message));
    let certificates = again.certificates.expect("they are valid still");
    assert_eq!(Some(certificates.issued_at), server.enrolment.last_attempt.as_ref().map(|a| a.issued_at));
    let outcome = server.verb(Verb::Revoke);
    assert_eq!(outcome.revoke, on_record);
    assert_eq!(retried(server.handle(&message)).certificates, None);
}

/// Fails if 10 does not mark the secret used, or if the enrolment forgot it with a heal.
#[test]
fn a_used_secret_is_not_armed_again() {
    let (mut server, client) = bound(Standard, 1, 1);
    // The mark is what a removal carries over, so that a token made anew with the same secret does not arm it.
    assert!(server.enrolment.secret.used);
    let mut thief = Client::new(50_000, &server);
    assert_eq!(thief.join(&mut server), Outcome::Denied(Code::SecretUsed));
    let denial = denied(server.verdict(&thief.message(None)));
    assert_eq!(denial.event.code, EventCode::SecretReplayed);
    // A backup from before the registration: live again only until the machine is back.
    let mut client = client;
    server.enrolment = Server::host(Standard, 1).enrolment;
    assert_eq!(client.join(&mut server), RENEWED);
    assert_eq!(thief.join(&mut server), Outcome::Denied(Code::SecretUsed));
}

/// Fails if `reset` leaves the initial key in force, or takes the unbound key for a registration by secret.
#[test]
fn a_reset_does_not_arm_the_key_that_leaked() {
    let mut server = Server::preregistered(5);
    let mut client = Client { key: 5, secret: None, ..Client::new(10_000, &server) };
    assert_eq!(client.join(&mut server), REGISTERED);
    server.reset();
    let mut thief = Client { state: None, ..client.copied(50_000) };
    assert_eq!(thief.join(&mut server), Outcome::Denied(Code::SecretRequired));
    // With the new secret the same key is asked to be replaced before it is bound.
    client.secret = Some(server.secret);
    assert_eq!(client.join(&mut server), REGISTERED);
    assert_ne!(client.key, 5);
}

/// Fails if `reset` voids the bound key alone: the spec's initial key had been rotated away long before.
#[test]
fn a_reset_does_not_arm_a_key_that_was_rotated_away() {
    let mut server = Server::preregistered(5);
    let mut client = Client { key: 5, secret: None, ..Client::new(10_000, &server) };
    let old = client.copied(50_000);
    client.join(&mut server);
    server.verb(Verb::Rotate { at: None });
    assert_eq!(client.join(&mut server), RENEWED);
    server.reset();
    let mut thief = old;
    assert_eq!(thief.join(&mut server), Outcome::Denied(Code::SecretRequired));
    // Another initial key in the spec is in force at once.
    server.spec().onboarding.initial_public_key = Some(key(6));
    let mut next = Client { key: 6, secret: None, ..Client::new(60_000, &server) };
    assert_eq!(next.join(&mut server), REGISTERED);
}

/// Fails if a denial ends an attempt: the earlier try commits, and the new attempt's state is behind it.
#[test]
fn an_attempt_outlives_a_denial_while_an_earlier_try_still_commits() {
    let (mut server, mut client) = bound(Standard, 1, 2);
    client.begin();
    let late = client.message(None);
    server.lock_by_hand();
    assert_eq!(client.join(&mut server), Outcome::Denied(Code::Locked));
    server.locks.clear();
    admitted(server.handle(&late));
    assert_eq!(client.complete(&mut server, &mut Vec::new()), Outcome::Retried);
    assert_eq!(client.join(&mut server), RENEWED);
}

/// A request of one role set that is repeated with another is answered, without certificates for it.
#[test]
fn a_repetition_gives_no_certificates_for_other_roles() {
    let (mut server, mut client) = bound(Standard, 1, 1);
    server.token.as_mut().unwrap().spec.roles = RoleSet::new([Role::Node, Role::Db]);
    let (message, _) = answer_lost(&mut client, &mut server);
    let other = Message { roles: RoleSet::new([Role::Db]), certified: 4, ..message };
    assert_eq!(word(&server.handle(&other)), "retry provisional");
}

/// Fails without the second half of 2(a): after a restore a late duplicate of the same attempt, sent before its rotation
/// was asked for, makes the same state with the old key, and the client would be a stranger with its new one.
#[test]
fn a_restore_and_an_attempt_admitted_without_its_rotation_shut_nobody_out() {
    for mode in [Standard, Insecure] {
        let mut server = Server::host(Standard, 1);
        let mut client = Client::new(10_000, &server);
        client.join(&mut server);
        let backup = server.clone();
        server.verb(Verb::Rotate { at: None });
        let mut sent = Vec::new();
        assert_eq!(client.complete(&mut server, &mut sent), RENEWED);
        server.restore(&backup);
        server.mode(mode);
        admitted(server.handle(&sent[0]));
        assert_eq!(server.enrolment.last_state_id, client.state.as_ref().map(|s| s.state_id));
        assert_ne!(server.enrolment.bound_public_key, Some(key(client.key)));
        assert_eq!(client.join(&mut server), RENEWED);
        assert_eq!(server.enrolment.bound_public_key, Some(key(client.key)));
        assert_eq!(client.join(&mut server), RENEWED);
    }
}

/// Fails if a heal leaves the request of the backup standing: the client would be asked for what it did.
#[test]
fn a_rotation_that_was_made_is_not_asked_for_again_after_a_restore() {
    let (mut server, mut client) = bound(Standard, 1, 2);
    server.later(Duration::from_secs(60));
    server.verb(Verb::Rotate { at: None });
    server.spec().rotate_after = Some(server.now);
    let backup = server.clone();
    client.join(&mut server);
    client.join(&mut server);
    server.restore(&backup);
    let rotated = client.key;
    assert_eq!(client.join(&mut server), RENEWED);
    assert_eq!(client.key, rotated);
    // One that was asked for later than the key is due still.
    server.later(Duration::from_secs(60));
    server.verb(Verb::Rotate { at: None });
    assert_eq!(client.join(&mut server), RENEWED);
    assert_ne!(client.key, rotated);
}

/// Fails if the refusal tells of an ordinary grant: that would count from what the restored store knows, allow nothing,
/// and leave the machine out however often it is given.
#[test]
fn a_refusal_after_a_restore_tells_the_grant_that_helps() {
    let (mut server, mut client) = bound(Standard, 3, 2);
    let text = |server: &Server, client: &mut Client| {
        client.begin();
        denied(server.verdict(&client.message(None))).message
    };
    let backup = server.clone();
    for _ in 0..2 {
        server.later(DAY * 40);
        assert_eq!(client.join(&mut server), RECOVERED);
    }
    server.later(DAY * 40);
    let told = text(&server, &mut client);
    assert!(told.contains("3 of 3 recoveries of token `web-1` are used; an administrator"), "{told}");
    assert!(told.contains("`boundkeyctl bound-keypair grant-recovery web-1` or"), "{told}");
    server.restore(&backup);
    let told = text(&server, &mut client);
    assert!(told.contains("are used (the server was restored, and has forgotten 2 of them);"), "{told}");
    assert!(told.contains("`boundkeyctl bound-keypair grant-recovery web-1 --count 3` or"), "{told}");
    server.verb(Verb::GrantRecovery { count: 1 });
    assert_eq!(client.join(&mut server), Outcome::Denied(Code::RecoveryLimitReached));
    server.verb(Verb::GrantRecovery { count: 3 });
    assert_eq!(client.join(&mut server), RECOVERED);
}
