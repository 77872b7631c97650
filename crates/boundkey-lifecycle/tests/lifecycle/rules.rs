//! One row for each rule, outcome and code. What an admission writes, rule 10, has rows of its own in `admissions.rs`.

use std::time::Duration;

use boundkey_lifecycle::*;
use boundkey_token::{CertificateNames, RecoveryMode, RequestedNames, Role, RoleSet};

use crate::scene::*;

use RecoveryMode::{Insecure, Relaxed, Standard};

pub(crate) type Row = (&'static str, &'static str, fn() -> (Server, Message), &'static str);

/// A standard host after three joins, and an ordinary message of its client.
pub(crate) fn ordinary() -> (Server, Message) {
    let (server, client) = bound(Standard, 1, 3);
    (server, next_message(&client))
}

pub(crate) fn next_message(client: &Client) -> Message {
    let mut client = client.clone();
    client.begin();
    client.message(None)
}

pub(crate) fn unbound() -> (Server, Message) {
    let server = Server::host(Standard, 1);
    (server, Message::new(1, 1).with_secret(1000))
}

/// The client was copied, the copy has joined, and the client's own next message.
pub(crate) fn overtaken() -> (Server, Message) {
    let (mut server, client) = bound(Standard, 1, 3);
    client.copied(50_000).join(&mut server);
    (server, next_message(&client))
}

pub(crate) fn after(mut pair: (Server, Message), change: fn(&mut Server, &mut Message)) -> (Server, Message) {
    change(&mut pair.0, &mut pair.1);
    pair
}

/// The server is put back to before the client's last two joins.
pub(crate) fn rolled_back() -> (Server, Message) {
    let (mut server, mut client) = bound(Standard, 1, 2);
    let backup = server.clone();
    client.join(&mut server);
    client.join(&mut server);
    server.restore(&backup);
    (server, next_message(&client))
}

fn forked() -> (Server, Message) {
    let (mut server, mut client) = bound(Standard, 1, 2);
    let mut thief = client.copied(50_000);
    let backup = server.clone();
    client.join(&mut server);
    client.join(&mut server);
    server.restore(&backup);
    thief.join(&mut server);
    (server, next_message(&client))
}

pub(crate) fn auto_lock(at: &Enrolment) -> LockInForce {
    LockInForce {
        id: AUTO_LOCK.to_owned(),
        origin: LockOrigin::Automatic(LockPosition {
            generation: at.generation,
            sequence: at.sequence,
            state_id: at.last_state_id,
        }),
        message: None,
        public_message: None,
        expires: None,
    }
}

/// A shared token with one client, and the message of a second one.
pub(crate) fn shared() -> (Server, Message) {
    let (server, client) = bound(Insecure, 1, 1);
    (server, Message { certified: 2, ..Message::new(client.key, 77) })
}

/// `insecure` was left; a message of the only client.
pub(crate) fn left() -> (Server, Message) {
    let (mut server, client) = bound(Insecure, 1, 1);
    server.mode(Standard);
    (server, next_message(&client))
}

#[rustfmt::skip]
pub(crate) const ROWS: &[Row] = &[
    // 1: token, roles, names
    ("1", "no such token", || after(ordinary(), |s, _| s.token = None), "deny token_not_found (unproven)"),
    ("1", "the token has expired", || after(ordinary(), |s, _| s.token.as_mut().unwrap().expires = Some(s.now)), "deny token_expired"),
    ("1", "the token has expired, to a stranger", || { after(ordinary(), |s, m| { s.token.as_mut().unwrap().expires = Some(s.now); m.current = Some(9); m.state = StateEvidence::None; }) }, "deny token_expired (unproven)"),
    ("1", "the token has a moment left", || { after(ordinary(), |s, _| { s.token.as_mut().unwrap().expires = Some(s.now + Duration::from_nanos(1)) }) }, "admit renew"),
    ("1", "a role that the token lacks", || after(ordinary(), |_, m| m.roles = RoleSet::new([Role::Node, Role::Db])), "deny role_not_allowed"),
    ("1", "a role that the token lacks, with the right secret", || after(unbound(), |_, m| m.roles = RoleSet::new([Role::Db])), "deny role_not_allowed"),
    ("1", "a role that the token lacks, with a wrong secret", || { after(unbound(), |_, m| { m.roles = RoleSet::new([Role::Db]); m.secret = Some(2); }) }, "deny role_not_allowed (unproven)"),
    ("1", "no role", || after(ordinary(), |_, m| m.roles = RoleSet::default()), "deny role_not_allowed"),
    ("1", "a name that the token does not allow", || after(ordinary(), |_, m| m.names = dns("db-1")), "deny name_not_allowed"),
    ("1", "the default names may be asked for", || after(ordinary(), |_, m| m.names = dns("web-1.example.com")), "admit renew"),
    ("1", "a listed name takes the place of the defaults", || { after(ordinary(), |s, m| { certificates(s).dns_names = Some(vec!["db-1".to_owned()]); m.names = dns("web-1"); }) }, "deny name_not_allowed"),
    ("1", "the bot does not exist", || after(bots(), |s, _| s.bot = None), "deny bot_not_found"),
    ("1", "the bot has expired", || after(bots(), |s, _| s.bot.as_mut().unwrap().expires = Some(s.now)), "deny bot_not_found"),
    ("1", "the bot is there", bots, "admit register"),
    // 2, unbound
    ("2", "the right secret", unbound, "admit register"),
    ("2", "a wrong secret", || after(unbound(), |_, m| m.secret = Some(2)), "deny wrong_secret (unproven)"),
    ("2", "no secret", || after(unbound(), |_, m| m.secret = None), "deny secret_required (unproven)"),
    ("2", "no key proven", || after(unbound(), |_, m| m.current = None), "deny wrong_key"),
    ("2", "a moment before the deadline", || { after(unbound(), |s, _| { s.spec().onboarding.must_register_before = Some(s.now + Duration::from_nanos(1)) }) }, "admit register"),
    ("2", "the deadline has passed", || after(unbound(), |s, _| s.spec().onboarding.must_register_before = Some(s.now)), "deny registration_expired"),
    ("2", "the deadline has passed, with a wrong secret", || { after(unbound(), |s, m| { s.spec().onboarding.must_register_before = Some(s.now); m.secret = Some(2); }) }, "deny wrong_secret (unproven)"),
    ("2", "a secret used in an earlier life of the token", || after(unbound(), |s, _| s.enrolment.secret.used = true), "deny secret_used"),
    ("2", "the initial key", || (Server::preregistered(5), Message::new(5, 1)), "admit register"),
    ("2", "the initial key wins over its deadline", || { after((Server::preregistered(5), Message::new(5, 1)), |s, _| { s.spec().onboarding.must_register_before = Some(s.now) }) }, "admit register"),
    ("2", "another key, and a right secret that does not count", || (Server::preregistered(5), Message::new(6, 1).with_secret(1000)), "deny wrong_key (unproven)"),
    // 2, bound
    ("2", "(a) the bound key as current", ordinary, "admit renew"),
    ("2", "a stranger's key", || after(ordinary(), |_, m| *m = Message::new(9, 900)), "deny wrong_key (unproven)"),
    ("2", "no proof at all", || after(ordinary(), |_, m| m.current = None), "deny wrong_key (unproven)"),
    ("2", "somebody else's state beside a key of his own", || after(ordinary(), |_, m| m.current = Some(9)), "deny wrong_key (unproven)"),
    ("2", "a wrong secret of a bound token", || after(ordinary(), |_, m| *m = Message::new(9, 900).with_secret(2)), "deny wrong_secret (unproven)"),
    ("2", "the right secret again, by somebody else", || after(ordinary(), |_, m| *m = Message::new(9, 900).with_secret(1000)), "deny secret_used"),
    // 3
    ("3", "a lock by hand", || after(ordinary(), |s, _| s.lock_by_hand()), "deny locked"),
    ("3", "a lock by hand, to a stranger", || { after(ordinary(), |s, m| { s.lock_by_hand(); *m = Message::new(9, 900); }) }, "deny wrong_key (unproven)"),
    ("3", "a lock that has ended", || { after(ordinary(), |s, _| { s.lock_by_hand(); s.locks[0].expires = Some(s.now); }) }, "admit renew"),
    ("3", "a lock with a moment left", || { after(ordinary(), |s, _| { s.lock_by_hand(); s.locks[0].expires = Some(s.now + Duration::from_nanos(1)); }) }, "deny locked"),
    ("3", "an automatic lock at the present position", || after(ordinary(), |s, _| s.locks.push(auto_lock(&s.enrolment))), "deny locked"),
    ("3", "an automatic lock that the lineage outlived", || after(rolled_back(), |s, _| s.locks.push(auto_lock(&s.enrolment))), "admit renew"),
    ("3", "an automatic lock of another history", || { after(rolled_back(), |s, _| { let mut at = s.enrolment.clone(); at.last_state_id = Some(StateId([9; 16])); s.locks.push(auto_lock(&at)); }) }, "deny locked"),
    ("3", "a state ahead without its key lifts nothing", || { after(rolled_back(), |s, m| { s.locks.push(auto_lock(&s.enrolment)); if let StateEvidence::Valid(c) = &mut m.state { c.key = thumb(4); } }) }, "deny locked"),
    // 3a
    ("3a", "a state ahead of a restored server", rolled_back, "admit renew"),
    ("3a", "an unbound token and a state of it", || { after(rolled_back(), |s, _| { let fresh = Server::host(Standard, 1); s.enrolment = fresh.enrolment; }) }, "admit renew"),
    ("3a", "a state ahead without its key", || { after(rolled_back(), |_, m| { if let StateEvidence::Valid(c) = &mut m.state { c.key = thumb(4); } }) }, "deny join_state_invalid"),
    ("3a", "forked histories, not live", forked, "confirm clonesuspected"),
    ("3a", "forked histories, live", || after(forked(), |s, m| *m = m.clone().live(s)), "lock"),
    // 4
    ("4", "the last attempt again", retry, "retry"),
    ("4", "the last attempt again, for other keys", || after(retry(), |_, m| m.certified = 99), "retry provisional"),
    ("4", "the last attempt again, when its certificates have expired", || after(retry(), |s, _| s.later(LIFETIME)), "retry provisional"),
    ("4", "the last attempt again, a moment before they expire", || after(retry(), |s, _| s.later(LIFETIME - Duration::from_secs(1))), "retry"),
    ("4", "the last attempt again, when the clock was ahead as they were issued", || after(retry(), |s, _| s.earlier(BACK_DATED + Duration::from_secs(1))), "retry provisional"),
    ("4", "the last attempt again, when the clock was hardly ahead", || after(retry(), |s, _| s.earlier(BACK_DATED)), "retry"),
    ("4", "the last attempt again, when they were revoked", || { after(retry(), |s, _| { s.verb(Verb::Revoke); }) }, "retry provisional"),
    ("4", "the last attempt from another state is no repetition", || after(retry(), |_, m| m.state = StateEvidence::None), "deny join_state_required"),
    ("4", "names that are others by now are not signed with the old serials", || after(retry(), |s, _| certificates(s).principals = Some(vec!["root".to_owned()])), "retry provisional"),
    // 5
    ("5", "the grant is open and the state is lost, not live", || { after(ordinary(), |s, m| { grant(s); m.state = StateEvidence::None; }) }, "confirm resync"),
    ("5", "the grant is open and the state is lost, live", || { after(ordinary(), |s, m| { grant(s); m.state = StateEvidence::None; *m = m.clone().live(s); }) }, "admit recover"),
    ("5", "the grant heals a reverted snapshot", || { after(overtaken(), |s, m| { grant(s); *m = m.clone().live(s); }) }, "admit recover"),
    ("5", "the grant ends a fork", || { after(forked(), |s, m| { grant(s); *m = m.clone().live(s); }) }, "admit recover"),
    ("5", "the grant is for the bound key alone", || { after(ordinary(), |s, m| { grant(s); *m = Message::new(9, 900).live(s); }) }, "deny wrong_key (unproven)"),
    ("5", "the grant is not for a key that was rotated away, with its state", || { after(rotated_away(), |s, m| { grant(s); *m = m.clone().live(s); }) }, "lock"),
    ("5", "the grant has ended", || { after(ordinary(), |s, m| { grant(s); s.later(Duration::from_secs(3600)); m.state = StateEvidence::None; *m = m.clone().live(s); }) }, "deny join_state_required"),
    ("5", "with the current state it is an ordinary join", || after(ordinary(), |s, _| grant(s)), "admit renew"),
    // 6
    ("6", "no state", || after(ordinary(), |_, m| m.state = StateEvidence::None), "deny join_state_required"),
    ("6", "an unreadable state", || after(ordinary(), |_, m| m.state = StateEvidence::Invalid(InvalidState::BadTag)), "deny join_state_invalid"),
    ("6", "a state of an earlier token of this name", || { after(ordinary(), |_, m| { if let StateEvidence::Valid(c) = &mut m.state { c.uid = Uid([8; 16]); } }) }, "deny token_recreated"),
    ("6", "a state from before a reset", || { after(ordinary(), |s, m| { s.enrolment.generation = 1; if let StateEvidence::Valid(c) = &mut m.state { c.generation = 0; } }) }, "deny token_recreated"),
    ("6", "a state behind, not live", overtaken, "confirm clonesuspected"),
    ("6", "a state behind, live", || after(overtaken(), |s, m| *m = m.clone().live(s)), "lock"),
    ("6", "a state behind, live for another position", || { after(overtaken(), |s, m| { *m = m.clone().live(s); s.enrolment.sequence += 1; }) }, "confirm clonesuspected"),
    ("6", "a state behind in relaxed mode", || { after(overtaken(), |s, m| { s.mode(Relaxed); *m = m.clone().live(s); }) }, "lock"),
    ("6", "the same sequence by another join", || { after(ordinary(), |s, m| { s.enrolment.last_state_id = Some(StateId([9; 16])); *m = m.clone().live(s); }) }, "lock"),
    ("6", "insecure asks for no state", || { after(ordinary(), |s, m| { s.mode(Insecure); m.state = StateEvidence::None; *m = m.clone().live(s); }) }, "admit recover"),
    // 6a
    ("6a", "the first shared join, without state, not live", || { after(ordinary(), |s, m| { s.mode(Insecure); m.state = StateEvidence::None; }) }, "confirm shared"),
    ("6a", "the first shared join, with the current state", || after(ordinary(), |s, _| s.mode(Insecure)), "admit renew"),
    ("6a", "a further client", shared, "admit recover instance"),
    ("6a", "a stranger", || after(shared(), |_, m| m.current = Some(9)), "deny wrong_key (unproven)"),
    ("6a", "a key that was rotated away, with its state", rotated_then_insecure, "deny wrong_key"),
    ("6a", "leaving: not live", left, "confirm shared"),
    ("6a", "leaving: live", || after(left(), |s, m| *m = m.clone().live(s)), "admit renew"),
    ("6a", "leaving: without a state", || { after(left(), |s, m| { m.state = StateEvidence::None; m.attempt = 78; *m = m.clone().live(s); }) }, "deny join_state_required"),
    ("6a", "left: another client of that time", || after(fellow(), |s, m| *m = m.clone().live(s)), "deny shared_token"),
    ("6a", "left: the same client's older state, not live", same_client, "confirm clonesuspected"),
    ("6a", "left: the same client's older state, live", || after(same_client(), |s, m| *m = m.clone().live(s)), "lock"),
    // 7
    ("7", "within the grace it is a renewal", || after(ordinary(), |s, _| s.later(30 * DAY)), "admit renew"),
    ("7", "after the grace it is a recovery, and none is left", || after(ordinary(), |s, _| s.later(31 * DAY)), "deny recovery_limit_reached"),
    ("7", "a grace of zero", || { after(ordinary(), |s, _| { s.policy.host_grace = Duration::ZERO; s.later(LIFETIME); }) }, "deny recovery_limit_reached"),
    ("7", "a grace of zero, a moment before the end", || { after(ordinary(), |s, _| { s.policy.host_grace = Duration::ZERO; s.later(LIFETIME - Duration::from_secs(1)); }) }, "admit renew"),
    ("7", "a higher limit in the spec", || { after(ordinary(), |s, _| { s.later(31 * DAY); s.spec().recovery.limit = 2; }) }, "admit recover"),
    ("7", "a granted one", || { after(ordinary(), |s, _| { s.later(31 * DAY); s.verb(Verb::GrantRecovery { count: 1 }); }) }, "admit recover"),
    ("7", "relaxed sets no limit", || { after(ordinary(), |s, _| { s.later(31 * DAY); s.mode(Relaxed); }) }, "admit recover"),
    ("7", "revoked certificates make it a recovery", || { after(ordinary(), |s, _| { s.verb(Verb::Revoke); }) }, "deny recovery_limit_reached"),
    ("7", "by grant the limit does not count", || { after(ordinary(), |s, m| { s.later(31 * DAY); grant(s); m.state = StateEvidence::None; *m = m.clone().live(s); }) }, "admit recover"),
    // 8
    ("8", "a revoked client of a shared token", || after(known_instance(), |s, _| s.instances.values_mut().for_each(|r| r.revoked = true)), "deny instance_revoked"),
    ("8", "a dropped one is a new one", || after(known_instance(), |s, _| s.instances.clear()), "admit renew instance"),
    ("8", "a known one", known_instance, "admit renew instance"),
    // 9
    ("9", "rotate_after has passed", || after(ordinary(), |s, _| s.spec().rotate_after = Some(s.now)), "rotation"),
    ("9", "rotate_after has passed, with a new key", || { after(ordinary(), |s, m| { s.spec().rotate_after = Some(s.now); m.new = Some(5); }) }, "admit renew"),
    ("9", "rotate_after is to come", || after(ordinary(), |s, _| s.spec().rotate_after = Some(s.now + Duration::from_nanos(1))), "admit renew"),
    ("9", "rotate_after is older than the key", || after(ordinary(), |s, _| s.spec().rotate_after = Some(start() - DAY)), "admit renew"),
    ("9", "rotate was asked for", || { after(ordinary(), |s, _| { s.verb(Verb::Rotate { at: None }); }) }, "rotation"),
    ("9", "rotate was asked for later", || { after(ordinary(), |s, _| { let at = Some(s.now + DAY); s.verb(Verb::Rotate { at }); }) }, "admit renew"),
    ("9", "a new key unasked", || after(ordinary(), |_, m| m.new = Some(5)), "admit renew"),
    ("9", "a new key that is the present one", || after(ordinary(), |_, m| m.new = m.current), "deny new_key_not_new"),
    ("9", "a new key that a reset made void", || { after(ordinary(), |s, m| { s.enrolment.secret.void(thumb(5)); m.new = Some(5); }) }, "deny new_key_not_new"),
    ("9", "insecure asks for no rotation", || { after(ordinary(), |s, _| { s.mode(Insecure); s.verb(Verb::Rotate { at: None }); }) }, "admit renew"),
    ("9", "a preregistered key that is older than rotate_after", || { after((Server::preregistered(5), Message::new(5, 1)), |s, _| { s.spec().rotate_after = Some(start() - DAY) }) }, "rotation"),
    ("9", "a key made for a registration is not", || after(unbound(), |s, _| s.spec().rotate_after = Some(start() - DAY)), "admit register"),
    ("9", "a registration with a key that a reset unbound", || after(unbound(), |s, _| s.enrolment.secret.void(thumb(1))), "rotation"),
];

fn dns(name: &str) -> RequestedNames {
    RequestedNames { dns_names: vec![name.to_owned()], ..RequestedNames::default() }
}

fn certificates(server: &mut Server) -> &mut CertificateNames {
    &mut server.token.as_mut().unwrap().spec.certificates
}

pub(crate) fn bots() -> (Server, Message) {
    let server = Server::new(&[Role::Bot]);
    (server, Message { roles: RoleSet::new([Role::Bot]), ..Message::new(1, 1).with_secret(1000) })
}

pub(crate) fn retry() -> (Server, Message) {
    let (mut server, mut client) = bound(Standard, 1, 2);
    client.begin();
    let message = client.message(None);
    admitted(server.handle(&message));
    (server, message)
}

pub(crate) fn grant(server: &mut Server) {
    server.verb(Verb::Resync { ttl: Duration::from_secs(3600), keep_key: true });
}

/// The state and key of before a rotation, with another attempt.
fn rotated_away() -> (Server, Message) {
    let (mut server, client) = bound(Standard, 1, 2);
    admitted(server.handle(&next_message(&client).with_new(5)));
    (server, Message { attempt: 99, ..next_message(&client) })
}

fn rotated_then_insecure() -> (Server, Message) {
    after(rotated_away(), |s, m| {
        s.mode(Insecure);
        *m = m.clone().live(s);
    })
}

/// Two clients shared a token; one was adopted; the other's message.
fn fellow() -> (Server, Message) {
    let (mut server, mut first) = bound(Insecure, 1, 1);
    let mut second = Client { state: None, ..first.copied(50_000) };
    assert_eq!(second.join(&mut server), Outcome::Admitted(JoinKind::Recover));
    server.mode(Standard);
    assert_eq!(first.join(&mut server), Outcome::Admitted(JoinKind::Renew));
    (server, next_message(&second))
}

/// A client of a shared token was adopted; a copy of its file from before comes.
fn same_client() -> (Server, Message) {
    let (mut server, mut client) = bound(Insecure, 1, 1);
    let copy = client.copied(50_000);
    server.mode(Standard);
    client.join(&mut server);
    (server, next_message(&copy))
}

/// The second client of a shared token comes again.
pub(crate) fn known_instance() -> (Server, Message) {
    let (mut server, first) = bound(Insecure, 1, 1);
    let mut second = Client { state: None, ..first.copied(50_000) };
    second.join(&mut server);
    (server, next_message(&second))
}

#[test]
fn every_rule_gives_its_outcome_and_code() {
    let mut wrong = Vec::new();
    for (rule, name, scene, expected) in ROWS {
        let (server, message) = scene();
        let found = word(&server.verdict(&message));
        if found != *expected {
            wrong.push(format!("rule {rule}, {name}: {found}, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// What the table's verdicts say, in the audit log's words.
fn events() -> Vec<EventCode> {
    let event = |(_, _, scene, _): &Row| {
        let (server, message) = scene();
        match server.verdict(&message) {
            Verdict::Admit(a) => Some(a.event.code),
            Verdict::Deny(d) => Some(d.event.code),
            Verdict::Retry(_) | Verdict::RotationRequired(_) | Verdict::Confirm(_) => None,
        }
    };
    ROWS.iter().filter_map(event).collect()
}

#[test]
fn the_table_has_a_row_for_every_code() {
    for code in Code::ALL {
        // A new code has to be put here, and so into the table.
        let is_in_the_table = match code {
            // What the client is told, never a cause; and what waits for a second method (`admissions.rs`).
            Code::Denied | Code::WrongMethod => false,
            Code::TokenNotFound
            | Code::TokenExpired
            | Code::RoleNotAllowed
            | Code::NameNotAllowed
            | Code::BotNotFound
            | Code::WrongKey
            | Code::WrongSecret
            | Code::SecretUsed
            | Code::SecretRequired
            | Code::RegistrationExpired
            | Code::Locked
            | Code::CloneDetected
            | Code::JoinStateRequired
            | Code::JoinStateInvalid
            | Code::TokenRecreated
            | Code::SharedToken
            | Code::RecoveryLimitReached
            | Code::InstanceRevoked
            | Code::NewKeyNotNew => true,
        };
        let text = format!("deny {code}");
        let found = ROWS.iter().any(|(_, _, _, expected)| {
            *expected == text
                || *expected == format!("{text} (unproven)")
                || (*code == Code::CloneDetected && *expected == "lock")
        });
        assert_eq!(found, is_in_the_table, "{code}");
    }
}

#[test]
fn every_event_is_of_a_row_of_a_verb_or_of_the_service() {
    let sealed = || Sealed(vec![1]);
    let verbs = [
        Verb::GrantRecovery { count: 1 },
        Verb::Rotate { at: None },
        Verb::Resync { ttl: DAY, keep_key: false },
        Verb::Revoke,
        Verb::Reset { generated: sealed(), proof_key: sealed() },
    ]
    .map(|verb| verb.event_code());
    let of_table = events();
    for event in of_table.iter().chain(&verbs).chain(&[EventCode::CloneSuspected]) {
        // A new event has to be put here, and so somewhere into the lists above.
        let (in_table, of_verb) = match event {
            EventCode::Registered
            | EventCode::Renewed
            | EventCode::Recovered
            | EventCode::InstanceJoined
            | EventCode::Denied(_)
            | EventCode::CloneDetected
            | EventCode::SecretReplayed => (true, false),
            EventCode::RecoveryGranted
            | EventCode::RotationRequested
            | EventCode::ResyncGranted
            | EventCode::CertificatesRevoked
            | EventCode::TokenReset => (false, true),
            EventCode::CloneSuspected => (false, false),
        };
        assert_eq!((of_table.contains(event), verbs.contains(event)), (in_table, of_verb), "{event}");
    }
    let texts: std::collections::BTreeSet<&str> = of_table
        .iter()
        .filter(|event| !matches!(event, EventCode::Denied(_)))
        .map(|event| event.as_str())
        .collect();
    let all = ["clone_detected", "instance_joined", "recovered", "registered", "renewed", "secret_replayed"];
    assert_eq!(texts.into_iter().collect::<Vec<_>>(), all);
}

#[test]
fn the_table_has_a_row_for_every_outcome_and_rule() {
    let outcomes = [
        "admit register",
        "admit renew",
        "admit recover",
        "admit renew instance",
        "admit recover instance",
        "retry",
        "retry provisional",
        "rotation",
        "lock",
        "confirm clonesuspected",
        "confirm resync",
        "confirm shared",
    ];
    for outcome in outcomes {
        assert!(ROWS.iter().any(|row| row.3 == outcome), "no row comes to `{outcome}`");
    }
    for rule in ["1", "2", "3", "3a", "4", "5", "6", "6a", "7", "8", "9"] {
        assert!(ROWS.iter().filter(|row| row.0 == rule).count() >= 3, "few rows for rule {rule}");
    }
}

#[test]
fn every_denial_tells_what_to_do_next_and_names_its_event() {
    for (rule, name, scene, expected) in
        ROWS.iter().filter(|row| row.3.starts_with("deny") || row.3 == "lock")
    {
        let (server, message) = scene();
        let denial = denied(server.verdict(&message));
        assert!(denial.message.len() > 40, "rule {rule}, {name}: {}", denial.message);
        assert!(!denial.message.contains("  "), "rule {rule}, {name}: {}", denial.message);
        match denial.event.code {
            EventCode::Denied(code) => assert_eq!(code, denial.code, "rule {rule}, {name}"),
            EventCode::CloneDetected => assert_eq!(*expected, "lock"),
            EventCode::SecretReplayed => assert_eq!(denial.code, Code::SecretUsed),
            other => panic!("rule {rule}, {name}: {other}"),
        }
    }
}
