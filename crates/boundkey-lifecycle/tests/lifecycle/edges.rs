//! The edges of the rules: the exact instant, the one fact among several, the words that a sentence must name. Found
//! by taking the code apart piece by piece (`cargo xtask mutants`).

use std::time::Duration;

use boundkey_lifecycle::*;
use boundkey_token::RecoveryMode::{Insecure, Standard};
use boundkey_token::{Role, RoleSet};

use crate::scene::*;

const RENEWED: Outcome = Outcome::Admitted(JoinKind::Renew);
const RECOVERED: Outcome = Outcome::Admitted(JoinKind::Recover);

/// Serials on record.
fn serials(issued: &[IssuedCertificate]) -> Vec<&str> {
    issued.iter().map(|c| c.serial.as_str()).collect()
}

/// A shared token with two clients, an hour apart.
fn two_clients() -> (Server, Client, Client) {
    let (mut server, first) = bound(Insecure, 1, 1);
    let mut second = Client { state: None, ..first.copied(50_000) };
    server.later(Duration::from_secs(3600));
    assert_eq!(second.join(&mut server), RECOVERED);
    (server, first, second)
}

#[test]
fn a_certificate_that_ends_this_moment_is_off_the_record() {
    let (mut server, mut client) = bound(Standard, 1, 1);
    server.later(LIFETIME - Duration::from_secs(1));
    client.join(&mut server);
    assert_eq!(serials(&server.enrolment.issued), ["10001-0", "10002-1"]);
    server.later(Duration::from_secs(1));
    client.join(&mut server);
    assert_eq!(serials(&server.enrolment.issued), ["10002-1", "10003-2"]);
}

#[test]
fn the_same_of_one_of_many_clients() {
    let (mut server, _, mut second) = two_clients();
    server.later(LIFETIME - Duration::from_secs(1));
    second.join(&mut server);
    let issued = |server: &Server| {
        let record = server.instances.values().next().expect("one client has a record");
        serials(&record.issued).join(" ")
    };
    assert_eq!(issued(&server), "50002-1 50003-1");
    server.later(Duration::from_secs(1));
    second.join(&mut server);
    assert_eq!(issued(&server), "50003-1 50004-1");
}

#[test]
fn an_earlier_join_renews_to_the_end_of_its_grace_and_counts_if_it_ends_within_one() {
    let grace = Policy::default().host_grace;
    // What an earlier join gave: it ends so much before this moment, less a grace; or so much after it, with one.
    let cases = [(grace, RECOVERED), (grace - Duration::from_secs(1), RENEWED), (Duration::ZERO, RENEWED)];
    for (ago, outcome) in cases {
        assert_eq!(joins_with(|now| now - ago), outcome, "ended {ago:?} ago");
    }
    assert_eq!(joins_with(|now| now + grace), RENEWED);
    assert_eq!(joins_with(|now| now + grace + Duration::from_secs(1)), RECOVERED);
}

/// A join whose last certificates are past their grace, with others on record that end then.
fn joins_with(end: impl Fn(time::OffsetDateTime) -> time::OffsetDateTime) -> Outcome {
    let (mut server, mut client) = bound(Standard, 2, 1);
    server.later(LIFETIME + Policy::default().host_grace);
    server.enrolment.issued =
        vec![IssuedCertificate { ca: CaKind::Host, serial: "01".to_owned(), expires_at: end(server.now) }];
    client.join(&mut server)
}

#[test]
fn certificates_are_valid_from_five_minutes_before() {
    assert_eq!(BACK_DATED, Duration::from_secs(300));
}

#[test]
fn what_has_ended_is_not_revoked() {
    for (later, revoked) in [(Duration::from_secs(1), 0), (Duration::ZERO, 0)] {
        let (mut server, _) = bound(Standard, 1, 1);
        server.later(LIFETIME + later);
        assert_eq!(server.verb(Verb::Revoke).revoke.len(), revoked);
    }
    let (mut server, _) = bound(Standard, 1, 1);
    server.later(LIFETIME - Duration::from_secs(1));
    assert_eq!(server.verb(Verb::Revoke).revoke.len(), 1);
}

#[test]
fn leaving_insecure_revokes_only_what_runs_still() {
    for (later, revoked) in [(LIFETIME - Duration::from_secs(1), 1), (LIFETIME, 0)] {
        let (mut server, first) = bound(Insecure, 1, 1);
        let mut second = Client { state: None, ..first.copied(50_000) };
        server.later(later);
        second.join(&mut server);
        server.mode(Standard);
        second.begin();
        let admission = admitted(server.handle(&second.message(None).live(&server)));
        assert_eq!(admission.revoke.len(), revoked);
    }
}

#[test]
fn somebody_elses_state_ahead_registers_nobody() {
    let (server, client) = bound(Standard, 1, 2);
    let unbound = Server::host(Standard, 1);
    let state = StateEvidence::Valid(Box::new(client.state.expect("it has joined")));
    let message = Message { state, ..Message::new(9, 900) };
    assert_eq!(word(&unbound.verdict(&message)), "deny secret_required (unproven)");
    assert!(server.enrolment.is_bound());
}

#[test]
fn each_proof_alone_is_told_the_true_code() {
    // 2(c): the registration's own attempt and key, where another key is bound by now.
    let mut server = Server::host(Standard, 1);
    let mut client = Client::new(10_000, &server);
    client.begin();
    let registration = client.message(None);
    admitted(server.handle(&registration));
    let mut thief = client.copied(50_000);
    thief.complete(&mut server, &mut Vec::new());
    thief.begin();
    thief.make_key();
    assert_eq!(thief.complete(&mut server, &mut Vec::new()), RENEWED);
    server.lock_by_hand();
    let without_secret = Message { secret: None, ..registration };
    assert_eq!(word(&server.verdict(&without_secret)), "deny locked");
    // The initial key.
    let server = Server::preregistered(5);
    let other_role = Message { roles: RoleSet::new([Role::Db]), ..Message::new(5, 1) };
    assert_eq!(word(&server.verdict(&other_role)), "deny role_not_allowed");
}

#[test]
fn a_host_keeps_its_id_when_it_comes_by_grant_without_a_state() {
    let (mut server, client) = bound(Standard, 1, 2);
    let id = server.enrolment.identity.clone();
    server.resync();
    let mut lost = Client { state: None, ..client };
    assert_eq!(lost.join(&mut server), RECOVERED);
    assert_eq!(server.enrolment.identity, id);
}

#[test]
fn a_bot_has_its_logins_or_its_name_as_long_as_it_is_there() {
    let bot_message = Message { roles: RoleSet::new([Role::Bot]), ..Message::new(1, 1).with_secret(1000) };
    let mut server = Server::new(&[Role::Bot]);
    let principals = |server: &Server| admitted(server.verdict(&bot_message)).names.principals;
    assert_eq!(principals(&server), ["deploy"]);
    let now = server.now;
    let bot = server.bot.as_mut().unwrap();
    bot.logins = vec!["root".to_owned(), "www".to_owned()];
    bot.expires = Some(now + Duration::from_nanos(1));
    assert_eq!(principals(&server), ["root", "www"]);
}

#[test]
fn a_heal_remembers_who_was_adopted() {
    let (mut server, mut first, second) = two_clients();
    server.mode(Standard);
    assert_eq!(first.join(&mut server), RENEWED);
    let backup = server.clone();
    first.join(&mut server);
    first.join(&mut server);
    server.restore(&backup);
    assert_eq!(first.join(&mut server), RENEWED);
    assert!(server.enrolment.adoption.is_some());
    // Numbered before the token was shared, and away since.
    let mut away = Client { key: second.key, ..second };
    let state = away.state.as_mut().expect("it has joined");
    state.shared = false;
    assert_eq!(away.join(&mut server), Outcome::Denied(Code::SharedToken));
    // Not of another generation.
    server.reset();
    let mut again = Client::new(70_000, &server);
    again.join(&mut server);
    server.restore(&backup);
    assert_eq!(again.join(&mut server), RENEWED);
    assert!(server.enrolment.generation > backup.enrolment.generation);
    assert_eq!(server.enrolment.adoption, None);
}

#[test]
fn a_static_key_registers_in_insecure_without_a_rotation() {
    let mut server = Server::preregistered(5);
    server.mode(Insecure);
    server.spec().rotate_after = Some(start() - DAY);
    for new in [None, Some(6)] {
        let a = admitted(server.verdict(&Message { new, ..Message::new(5, 1) }));
        assert_eq!((a.kind, a.bound_key), (JoinKind::Register, key(5)));
        assert_eq!(a.event.notes, [Note::RotationOverdue, Note::EnteredShared]);
    }
}

#[test]
fn an_instance_is_the_states_own_only_if_all_of_it_fits() {
    let (server, client) = bound(Insecure, 1, 1);
    let state = client.state.expect("it has joined");
    let fresh = Identity::Host("fresh".to_owned());
    let found = |claims: StateClaims, proven: u32, fresh: &Identity| {
        let evidence = server.evidence(&Message::new(proven, 1));
        let state = StateEvidence::Valid(Box::new(claims));
        instance_of(UID, &server.enrolment, &evidence.proven, &state, fresh).clone()
    };
    assert_eq!(found(state.clone(), client.key, &fresh), state.identity);
    let later = StateClaims { generation: 1, ..state.clone() };
    assert_eq!(found(later, client.key, &fresh), state.identity, "of a reset that a backup forgot");
    let foreign = StateClaims { uid: Uid([8; 16]), ..state.clone() };
    assert_eq!(found(foreign, client.key, &fresh), fresh);
    assert_eq!(found(state.clone(), 9, &fresh), fresh, "its key is not proven");
    let bot = Identity::BotInstance("fresh".to_owned());
    assert_eq!(found(state.clone(), client.key, &bot), bot);
    let mut reset = server.clone();
    reset.enrolment.generation = 1;
    let evidence = reset.evidence(&Message::new(client.key, 1));
    let state = StateEvidence::Valid(Box::new(state));
    assert_eq!(*instance_of(UID, &reset.enrolment, &evidence.proven, &state, &fresh), fresh);
}

#[test]
fn a_secret_that_the_record_calls_used_is_used() {
    // Whatever the caller compared it with.
    let mut server = Server::host(Standard, 1);
    let message = Message::new(1, 1).with_secret(1000);
    let mut evidence = server.evidence(&message);
    server.enrolment.secret.used = true;
    evidence.secret = SecretEvidence::Proven;
    assert_eq!(word(&server.verdict_on(&evidence, 1)), "deny secret_used");
}

#[test]
fn a_used_secret_in_strange_hands_is_noted_whichever_rule_stops_it() {
    let (mut server, client) = bound(Standard, 1, 2);
    server.token.as_mut().unwrap().expires = Some(server.now);
    let notes = |server: &Server, message: Message| denied(server.verdict(&message)).event.notes;
    let stranger = Message::new(9, 900);
    assert_eq!(notes(&server, stranger.clone().with_secret(1000)), [Note::SecretReplayed]);
    assert_eq!(notes(&server, stranger.clone()), [], "without the secret");
    assert_eq!(notes(&server, stranger.clone().with_secret(1)), [], "with a wrong one");
    assert_eq!(notes(&server, Message::new(client.key, 900).with_secret(1000)), [], "by the owner");
    let mut unbound = Server::host(Standard, 1);
    unbound.token.as_mut().unwrap().expires = Some(unbound.now);
    assert_eq!(notes(&unbound, stranger.clone().with_secret(1000)), [], "not used yet");
    // Where it is the cause itself, it is the event.
    server.token.as_mut().unwrap().expires = None;
    let denial = denied(server.verdict(&stranger.with_secret(1000)));
    assert_eq!((denial.event.code, denial.event.notes), (EventCode::SecretReplayed, vec![]));
}

#[test]
fn a_refusal_names_what_it_found_and_what_is_allowed() {
    let (mut server, client) = bound(Standard, 1, 2);
    let message = Message { roles: RoleSet::new([Role::Db]), ..Message::new(client.key, 900) };
    let text = |server: &Server, message: &Message| denied(server.verdict(message)).message;
    let (db, node) = (Role::Db, Role::Node);
    let found = text(&server, &message);
    assert!(
        found.contains(&format!("role {db} is not in `spec.roles` of token `web-1`, which allows {node};")),
        "{found}"
    );
    server.token.as_mut().unwrap().expires = Some(start());
    assert!(text(&server, &message).contains("token `web-1` expired at 2026-01-01T00:00:00Z"));
}

#[test]
fn the_cause_of_an_unusable_state_is_told() {
    let (server, client) = bound(Standard, 1, 2);
    for (cause, told) in [
        (InvalidState::Unreadable, "cannot be read"),
        (InvalidState::BadTag, "was not made by this cluster's key"),
        (InvalidState::UnknownEpoch, "was made under a key that is retired"),
        (InvalidState::OtherCluster, "is of another cluster"),
    ] {
        let message = Message { state: StateEvidence::Invalid(cause), ..Message::new(client.key, 900) };
        let denial = denied(server.verdict(&message));
        assert_eq!(denial.code, Code::JoinStateInvalid);
        assert!(denial.message.contains(told), "{}", denial.message);
    }
}

#[test]
fn a_copy_of_the_state_that_adopted_the_lineage_is_a_clone_and_no_fellow() {
    let mut server = Server::new(&[Role::Bot]);
    server.spec().recovery = boundkey_token::Recovery { limit: 9, mode: Insecure };
    let mut client = Client::new(10_000, &server);
    client.join(&mut server);
    server.mode(Standard);
    // Twice past the grace: the adoption and the join after it are recoveries, each of a new instance.
    server.later(3 * DAY);
    assert_eq!(client.join(&mut server), RECOVERED);
    let mut copy = client.copied(50_000);
    server.later(3 * DAY);
    assert_eq!(client.join(&mut server), RECOVERED);
    assert_eq!(copy.join(&mut server), Outcome::Denied(Code::CloneDetected));
    assert!(server.is_locked());
}

#[test]
fn one_of_many_clients_gets_its_certificates_again_unless_they_were_revoked() {
    let (mut server, _, mut second) = two_clients();
    second.begin();
    let message = second.message(None);
    admitted(server.handle(&message));
    assert_eq!(word(&server.verdict(&message)), "retry");
    server.instances.values_mut().for_each(|record| record.revoked = true);
    assert_eq!(word(&server.verdict(&message)), "retry provisional");
}

#[test]
fn leaving_insecure_takes_a_shared_state_of_another_branch() {
    // The server was restored to before the token was shared, and shared it anew: the client's state is of the
    // other branch, but shared.
    let (mut server, mut owner) = bound(Standard, 1, 2);
    let backup = server.clone();
    server.mode(Insecure);
    let mut second = Client { state: None, ..owner.copied(50_000) };
    assert_eq!(second.join(&mut server), RECOVERED);
    server.restore(&backup);
    server.mode(Insecure);
    assert_eq!(owner.join(&mut server), RENEWED);
    server.mode(Standard);
    second.begin();
    let message = second.message(None);
    assert_eq!(word(&server.verdict(&message)), "confirm shared");
    assert_eq!(word(&server.verdict(&message.live(&server))), "admit renew");
}

#[test]
fn leaving_insecure_takes_the_current_state_though_it_was_not_shared() {
    // One attempt was admitted in `standard`, and after a restore again in `insecure`: the same state.
    let (mut server, mut client) = bound(Standard, 1, 2);
    let backup = server.clone();
    client.begin();
    let message = client.message(None);
    let claims = admitted(server.handle(&message)).claims;
    server.restore(&backup);
    server.mode(Insecure);
    assert!(admitted(server.handle(&message)).claims.shared);
    client.store(&claims);
    assert!(client.state.as_ref().is_some_and(|s| !s.shared));
    server.mode(Standard);
    assert_eq!(client.join(&mut server), RENEWED);
}

#[test]
fn leaving_insecure_takes_the_key_that_the_state_names() {
    let (mut server, mut client) = bound(Insecure, 1, 1);
    server.mode(Standard);
    client.state.as_mut().expect("it has joined").key = thumb(4);
    client.begin();
    assert_eq!(word(&server.verdict(&client.message(None).live(&server))), "deny shared_token");
}

#[test]
fn a_rotation_that_is_due_is_not_asked_for_anew() {
    let (mut server, _) = bound(Standard, 1, 1);
    let (now, hour) = (server.now, Duration::from_secs(3600));
    let asked = |server: &mut Server, at: Option<time::OffsetDateTime>| {
        server.verb(Verb::Rotate { at });
        server.enrolment.rotate_requested_at
    };
    assert_eq!(asked(&mut server, Some(now + hour)), Some(now + hour));
    assert_eq!(asked(&mut server, Some(now + 2 * hour)), Some(now + 2 * hour), "another time");
    assert_eq!(asked(&mut server, None), Some(now), "one to come gives way to now");
    server.later(hour);
    assert_eq!(asked(&mut server, None), Some(now), "one that is due stays");
    assert_eq!(asked(&mut server, Some(now + hour)), Some(now), "also by its exact time");
    assert_eq!(asked(&mut server, Some(now + 3 * hour)), Some(now + 3 * hour), "one to come is another wish");
    server.later(2 * hour);
    assert_eq!(asked(&mut server, Some(now)), Some(now + 3 * hour), "due this very moment");
}

#[test]
fn what_is_said_of_limits_deadlines_and_grants_is_exact() {
    let see = |server: &Server| server.view().explain();
    let says = |found: &[String], part: &str| found.iter().any(|line| line.contains(part));

    let mut server = Server::preregistered(5);
    server.spec().onboarding.must_register_before = Some(server.now);
    assert!(says(&see(&server).reasons, "does not apply to an initial public key"));
    let mut server = Server::host(Standard, 1);
    server.spec().onboarding.must_register_before = Some(server.now);
    assert!(says(&see(&server).reasons, "must_register_before is 2026-01-01T00:00:00Z"));

    let (mut server, _) = bound(Standard, 2, 1);
    server.enrolment.granted_limit = 2;
    assert!(says(&see(&server).reasons, "1 of 2 recoveries"));
    server.enrolment.granted_limit = 3;
    assert!(says(&see(&server).reasons, "1 of 3 (by grant) recoveries"));

    server.enrolment.resync_until = Some(server.now);
    assert!(!says(&see(&server).reasons, "grant is open"));
    server.enrolment.resync_until = Some(server.now + Duration::from_nanos(1));
    assert!(says(&see(&server).reasons, "grant is open"));

    server.token.as_mut().unwrap().expires = Some(server.now);
    assert!(!says(&see(&server).warnings, "renewals are refused too"));
    server.token.as_mut().unwrap().expires = Some(server.now + Duration::from_nanos(1));
    assert!(says(&see(&server).warnings, "renewals are refused too"));
}

#[test]
fn warnings_of_what_a_reset_voided_are_for_unbound_tokens() {
    let warnings = |server: &Server| server.view().explain().warnings.join("; ");
    let (initial, secret) = ("initial_public_key was made void", "one of the spec is void");
    let mut server = Server::preregistered(5);
    assert!(!warnings(&server).contains("void"), "nothing was reset");
    Client { key: 5, secret: None, ..Client::new(10_000, &server) }.join(&mut server);
    server.reset();
    assert!(warnings(&server).contains(initial) && warnings(&server).contains(secret));
    let mut client = Client::new(70_000, &server);
    client.join(&mut server);
    assert!(server.enrolment.is_bound());
    assert!(!warnings(&server).contains("void"), "{}", warnings(&server));
}
