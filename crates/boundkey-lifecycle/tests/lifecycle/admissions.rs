//! Rule 10: what each kind of admission writes, one row for each; and what every one of them writes.

use std::time::Duration;

use boundkey_lifecycle::*;
use boundkey_token::{JoinMethod, RecoveryMode, Role};

use crate::rules::*;
use crate::scene::*;

use RecoveryMode::{Insecure, Standard};

/// The name, the scene, and what is written, in the words of [`written`].
type AdmissionRow = (&'static str, fn() -> (Server, Message), &'static str);

#[rustfmt::skip]
const ADMISSIONS: &[AdmissionRow] = &[
    // Registrations
    ("a registration by secret", unbound, "sequence 0 to 1, recoveries 0 to 1, bound, secret used"),
    ("a registration by the initial key", || (Server::preregistered(5), Message::new(5, 1)), "sequence 0 to 1, recoveries 0 to 1, bound, secret used"),
    ("a registration whose key is replaced at once", || after(unbound(), |s, m| { s.enrolment.secret.void(thumb(1)); m.new = Some(5); }), "sequence 0 to 1, recoveries 0 to 1, bound, secret used"),
    ("a registration in insecure", || after(unbound(), |s, _| s.mode(Insecure)), "sequence 0 to 1, recoveries 0 to 1, bound, secret used, shared"),
    // Renewals
    ("a renewal", ordinary, "sequence 3 to 4"),
    ("a renewal with a new key", || after(ordinary(), |_, m| m.new = Some(5)), "sequence 3 to 4, rotated"),
    ("a renewal with the new key that was asked for", || after(ordinary(), |s, m| { s.verb(Verb::Rotate { at: None }); m.new = Some(5); }), "sequence 3 to 4, rotated, no rotation asked for"),
    ("a renewal with a new key before it is asked for", || after(ordinary(), |s, m| { let at = Some(s.now + DAY); s.verb(Verb::Rotate { at }); m.new = Some(5); }), "sequence 3 to 4, rotated"),
    ("a renewal while a grant is open", || after(ordinary(), |s, _| grant(s)), "sequence 3 to 4, grant closed"),
    ("a renewal when certificates have expired", || after(ordinary(), |s, _| s.later(2 * DAY)), "sequence 3 to 4, 3 forgotten"),
    // Recoveries
    ("a recovery", || after(ordinary(), |s, _| { s.later(31 * DAY); s.spec().recovery.limit = 2; }), "sequence 3 to 4, recoveries 1 to 2, recovered, 3 forgotten"),
    ("a recovery after a revocation", || after(ordinary(), |s, _| { s.verb(Verb::Revoke); s.spec().recovery.limit = 2; }), "sequence 3 to 4, recoveries 1 to 2, recovered, no longer revoked"),
    ("a recovery of a bot", bot_comes_late, "sequence 1 to 2, recoveries 1 to 2, recovered, another identity, 1 forgotten"),
    ("a recovery by grant", || after(ordinary(), |s, m| { grant(s); m.state = StateEvidence::None; *m = m.clone().live(s); }), "sequence 3 to 4, recovered, grant closed, 3 revoked"),
    // A restored server
    ("a heal", rolled_back, "sequence 2 to 5"),
    ("a heal past an automatic lock", || after(rolled_back(), |s, _| s.locks.push(auto_lock(&s.enrolment))), "sequence 2 to 5, without auto-token"),
    // Shared operation
    ("the first shared join", || after(ordinary(), |s, _| s.mode(Insecure)), "sequence 3 to 4, shared"),
    ("a further client", shared, "the record of a new client"),
    ("a client that is known", known_instance, "the record of a known client"),
    ("the client that is adopted", || after(left(), |s, m| *m = m.clone().live(s)), "sequence 1 to 2, not shared, adopted, the others revoked"),
];

fn bot_comes_late() -> (Server, Message) {
    let mut server = Server::new(&[Role::Bot]);
    server.spec().recovery.limit = 2;
    let mut client = Client::new(10_000, &server);
    client.join(&mut server);
    server.later(31 * DAY);
    (server, next_message(&client))
}

/// What an admission changes in the records, in words.
fn written(server: &Server, admission: &Admission) -> String {
    let old = &server.enrolment;
    let next = match &admission.write {
        Write::Enrolment(next) => next,
        Write::Instance(record) => {
            let known = server.instances.contains_key(record.identity.id());
            return format!("the record of a {} client", if known { "known" } else { "new" });
        }
    };
    let mut words = vec![format!("sequence {} to {}", old.sequence, next.sequence)];
    if next.recovery_count != old.recovery_count {
        words.push(format!("recoveries {} to {}", old.recovery_count, next.recovery_count));
    }
    let mut word = |holds: bool, word: &str| {
        if holds {
            words.push(word.to_owned());
        }
    };
    word(!old.is_bound() && next.is_bound(), "bound");
    word(!old.secret.used && next.secret.used, "secret used");
    word(next.last_rotated_at != old.last_rotated_at, "rotated");
    word(old.rotate_requested_at.is_some() && next.rotate_requested_at.is_none(), "no rotation asked for");
    word(next.last_recovered_at != old.last_recovered_at, "recovered");
    word(old.certificates_revoked && !next.certificates_revoked, "no longer revoked");
    word(old.resync_until.is_some() && next.resync_until.is_none(), "grant closed");
    word(!old.shared && next.shared, "shared");
    word(old.shared && !next.shared, "not shared");
    word(old.adoption.is_none() && next.adoption.is_some(), "adopted");
    word(old.identity.is_some() && next.identity != old.identity, "another identity");
    let gone = old.issued.iter().filter(|c| !next.issued.contains(c)).count() - admission.revoke.len();
    word(gone > 0, &format!("{gone} forgotten"));
    word(!admission.revoke.is_empty(), &format!("{} revoked", admission.revoke.len()));
    word(admission.revoke_other_instances, "the others revoked");
    for lock in &admission.remove_locks {
        word(true, &format!("without {lock}"));
    }
    words.join(", ")
}

#[test]
fn every_kind_of_admission_writes_what_its_row_says() {
    let mut wrong = Vec::new();
    for (name, scene, expected) in ADMISSIONS {
        let (server, message) = scene();
        let found = written(&server, &admitted(server.verdict(&message)));
        if found != *expected {
            wrong.push(format!("{name}: {found}, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_admission_keeps_its_attempt_and_names_the_position_in_its_state() {
    let of_rules = ROWS.iter().filter(|row| row.3.starts_with("admit")).map(|row| (row.1, row.2));
    let own = ADMISSIONS.iter().map(|row| (row.0, row.1));
    let mut count = 0;
    for (name, scene) in of_rules.chain(own) {
        count += 1;
        let (server, message) = scene();
        let a = admitted(server.verdict(&message));
        let presented = match &message.state {
            StateEvidence::Valid(claims) => Some(claims.state_id),
            StateEvidence::None | StateEvidence::Invalid(_) => None,
        };
        let last = match &a.write {
            Write::Enrolment(next) => {
                assert_eq!(Some(&a.claims), next.claims(server.uid).as_ref(), "{name}");
                assert_eq!(next.trail.0.last().copied(), next.last_state_id.map(StateId::short), "{name}");
                assert_eq!(next.bound_public_key.as_ref(), Some(&a.bound_key), "{name}");
                assert_eq!(a.bound_key, key(message.new.or(message.current).unwrap()), "{name}");
                assert_eq!(next.certificates_expire_at, Some(a.certificates_expire_at), "{name}");
                assert_eq!((next.last_joined_at, next.resync_until), (Some(server.now), None), "{name}");
                assert!(!next.certificates_revoked, "{name}");
                next.last_attempt.as_ref().unwrap()
            }
            Write::Instance(record) => {
                assert_eq!((a.claims.sequence, a.claims.shared), (server.enrolment.sequence, true), "{name}");
                assert_eq!(record.certificates_expire_at, a.certificates_expire_at, "{name}");
                assert_eq!((record.last_joined_at, record.revoked), (server.now, false), "{name}");
                &record.last_attempt
            }
        };
        assert_eq!(last.attempt, Enrolment::attempt_hash(attempt(message.attempt)), "{name}");
        assert_eq!((last.presented, last.certified), (presented, hash(message.certified)), "{name}");
        assert_eq!((&last.identity, last.issued_at), (&a.identity, server.now), "{name}");
    }
    assert!(count > 50, "{count}");
}

/// `wrong_method` is reserved: there is no second method that a token could name, so no row of the table can come to it.
#[test]
fn the_code_of_a_wrong_method_waits_for_a_second_one() {
    // A new method has to be put here: then rule 1 refuses it, and the table gets a row for that.
    match token(&[Role::Node]).spec.join_method {
        JoinMethod::BoundKeypair => {}
    }
    assert!(Code::ALL.contains(&Code::WrongMethod));
    assert_eq!(EventCode::Denied(Code::WrongMethod).to_string(), "denied_wrong_method");
}

#[test]
fn an_admission_says_what_it_did() {
    let notes = |pair: (Server, Message)| {
        let (server, message) = pair;
        let admission = admitted(server.verdict(&message));
        let notes: Vec<String> = admission.event.notes.iter().map(ToString::to_string).collect();
        (admission.event.code.as_str(), notes.join(", "))
    };
    assert_eq!(notes(ordinary()), ("renewed", String::new()));
    assert_eq!(notes(unbound()), ("registered", String::new()));
    assert_eq!(notes(rolled_back()), ("renewed", "rollback_healed from_sequence=2 to_sequence=4".to_owned()));
    assert_eq!(
        notes(after(rolled_back(), |s, _| s.locks.push(auto_lock(&s.enrolment)))),
        (
            "renewed",
            "rollback_healed from_sequence=2 to_sequence=4, lock_superseded lock=auto-token".to_owned()
        )
    );
    assert_eq!(notes(after(ordinary(), |_, m| m.new = Some(5))), ("renewed", "rotated".to_owned()));
    assert_eq!(
        notes(after(ordinary(), |s, m| {
            grant(s);
            m.state = StateEvidence::None;
            *m = m.clone().live(s);
        })),
        ("recovered", "by_grant".to_owned())
    );
    assert_eq!(notes(after(ordinary(), |s, _| s.mode(Insecure))), ("renewed", "entered_shared".to_owned()));
    assert_eq!(notes(shared()), ("instance_joined", "new_instance".to_owned()));
    assert_eq!(
        notes(after(shared(), |s, _| {
            s.verb(Verb::Rotate { at: None });
        })),
        ("instance_joined", "rotation_overdue, new_instance".to_owned())
    );
    assert_eq!(notes(after(left(), |s, m| *m = m.clone().live(s))), ("renewed", "left_shared".to_owned()));
}

#[test]
fn an_admission_writes_the_next_position_and_a_state_that_names_it() {
    let (server, message) = after(ordinary(), |_, m| m.new = Some(5));
    let before = server.enrolment.clone();
    let a = admitted(server.verdict(&message));
    let Write::Enrolment(next) = &a.write else { panic!("an ordinary join writes the enrolment") };
    assert_eq!(next.sequence, 4);
    assert_eq!(
        next.last_state_id,
        Some(StateId::derive(UID, 0, before.last_state_id, attempt(message.attempt)))
    );
    assert_eq!(next.trail.0.len(), 4);
    assert_eq!(next.trail.at(4, 3), before.last_state_id.map(StateId::short));
    assert_eq!(next.bound_public_key, Some(key(5)));
    assert_eq!((next.last_rotated_at, next.key_bound_at), (Some(server.now), Some(server.now)));
    assert_eq!(next.last_joined_at, Some(server.now));
    assert_eq!(next.last_recovered_at, None);
    assert_eq!(next.certificates_expire_at, Some(server.now + LIFETIME));
    assert_eq!(next.identity, before.identity);
    assert_eq!(next.recovery_count, 1);
    assert_eq!(next.issued, before.issued, "unexpired certificates stay on record");
    assert_eq!(Some(a.claims.clone()), next.claims(UID));
    assert_eq!((a.claims.sequence, a.claims.key), (4, thumb(5)));
    assert_eq!(a.claims.registration_attempt, before.registration_attempt);
    assert_eq!(a.names.dns_names, ["web-1", "web-1.example.com", "id-0-10001"]);
    assert_eq!(a.names.principals, a.names.dns_names);
    assert!(a.revoke.is_empty() && !a.revoke_other_instances && a.remove_locks.is_empty());
}

#[test]
fn a_registration_uses_the_secret_up() {
    let (server, message) = unbound();
    let a = admitted(server.verdict(&message));
    let Write::Enrolment(next) = &a.write else { panic!("a registration writes the enrolment") };
    assert!(next.secret.used && next.secret.generated.is_none());
    assert_eq!((next.sequence, next.recovery_count), (1, 1));
    assert_eq!(next.registration_attempt, Some(Enrolment::registration_hash(attempt(1), thumb(1))));
    assert_eq!(next.identity, Some(server.fresh(1)));
    assert_eq!(next.key_bound_at, Some(server.now));
    assert_eq!(next.last_rotated_at, None);
}

#[test]
fn a_bots_recovery_is_a_new_instance_and_revokes_what_was_issued() {
    let mut server = Server::new(&[Role::Bot]);
    server.spec().recovery.limit = 2;
    let mut client = Client::new(10_000, &server);
    client.join(&mut server);
    let first = server.enrolment.identity.clone();
    server.later(DAY);
    client.join(&mut server);
    assert_eq!(server.enrolment.identity, first, "a renewal keeps it");
    // One that a clock gave which was ahead.
    server.later(3 * DAY);
    server.enrolment.issued[0].expires_at = server.now + 2 * DAY;
    client.begin();
    let a = admitted(server.handle(&client.message(None)));
    assert_eq!(a.kind, JoinKind::Recover);
    assert_eq!(a.identity, Identity::BotInstance("id-0-10003".to_owned()));
    assert_eq!(a.revoke.len(), 1);
    assert_eq!(server.enrolment.identity, Some(a.identity.clone()));
    assert_eq!(server.enrolment.last_recovered_at, Some(server.now));
    assert_eq!(server.enrolment.recovery_count, 2);
    assert_eq!(a.names.principals, ["deploy"]);
    assert!(a.names.dns_names.is_empty());
}

#[test]
fn the_times_of_certificates_are_whole_seconds_and_those_stored_whole_microseconds() {
    let (mut server, message) = ordinary();
    server.now = start() + Duration::from_nanos(1_123_456_789);
    let a = admitted(server.verdict(&message));
    assert_eq!(a.certificates_expire_at, start() + Duration::from_secs(1) + LIFETIME);
    assert_eq!(a.issued_at, start() + Duration::from_micros(1_123_456));
    assert_eq!(a.claims.issued_at, a.issued_at);
}

#[test]
fn a_client_in_a_tight_loop_cannot_make_its_record_grow() {
    let (mut server, mut client) = bound(Standard, 1, 1);
    let mut revoked = 0;
    for _ in 0..200 {
        client.begin();
        let a = admitted(server.handle(&client.message(None)));
        revoked += a.revoke.len();
        client.store(&a.claims);
        assert!(server.enrolment.issued.len() <= 97);
    }
    assert_eq!(revoked, 201 - 97);
}

#[test]
fn a_default_name_that_dns_does_not_allow_is_left_out() {
    let (mut server, message) = ordinary();
    server.token.as_mut().unwrap().name = format!("{}.x", "n".repeat(100)).parse().unwrap();
    let a = admitted(server.verdict(&message));
    assert_eq!(a.names.dns_names, ["id-0-10001"]);
    assert_eq!(a.names.principals.len(), 3);
}
