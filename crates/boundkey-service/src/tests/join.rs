//! The join loop: what is admitted, what is written and what is signed.

use std::sync::Arc;
use std::time::Duration;

use boundkey_ca::{inspect_leaf, inspect_ssh};
use boundkey_keys::{MasterKey, Secret};
use boundkey_lifecycle::{Verb, apply_verb};
use boundkey_proto::{JoinKindName, JoinResult, result_digest};
use boundkey_store::records::{LockIndex, TokenRecord};
use boundkey_store::{Batch, Store as _, keys};
use boundkey_token::{Role, RoleSet};
use time::macros::datetime;

use super::fixture::{CLUSTER, Fixture, Machine, now, start};
use crate::{AutoLockRevokes, Lifetimes, Loaded, ServiceConfig, locking, put};

fn registered(fixture: &Fixture, name: &str) -> Machine {
    fixture.node_token(name, "");
    let mut machine = Machine::new(name, 1, Some(fixture.generated_secret(name)));
    machine.join(fixture).expect("registers");
    machine
}

fn leaf(result: &JoinResult) -> Vec<u8> {
    result.certificates.as_ref().expect("certificates").chain_der().expect("base64").swap_remove(0)
}

/// What is signed, without the signature.
fn to_be_signed(der: &[u8]) -> Vec<u8> {
    // SEQUENCE { tbs SEQUENCE, ..}, both with two bytes of length.
    let length = usize::from(u16::from_be_bytes([der[6], der[7]]));
    der[4..8 + length].to_vec()
}

#[test]
fn registration_by_secret_certifies_the_keys_of_the_request() {
    let fixture = Fixture::new();
    fixture.node_token("web", "");
    let mut machine = Machine::new("web", 1, Some(fixture.generated_secret("web")));
    let attempt = machine.attempt;
    let result = machine.join(&fixture).unwrap();
    assert_eq!(result.kind, JoinKindName::Registered);
    assert_eq!(result.attempt, attempt);

    let view = inspect_leaf(&leaf(&result)).unwrap();
    assert_eq!(view.public_key, *machine.tls.public_key());
    assert_eq!(view.roles, ["Node"]);
    let id = result.identity.id();
    assert_eq!(view.spiffe_id, Some(format!("spiffe://example.com/host/{id}")));
    for name in ["web", "web.example.com", id] {
        assert!(view.dns_names.iter().any(|n| n == name), "{name} is missing in {:?}", view.dns_names);
    }
    assert_eq!(view.not_before, datetime!(2026-05-01 11:55 UTC));
    assert_eq!(view.not_after, datetime!(2026-05-02 12:00 UTC));
    let digest = result_digest(&result.join_state, result.bound_key.thumbprint(), attempt);
    assert_eq!(view.result_digest, Some(digest));

    let ssh = inspect_ssh(result.certificates.as_ref().unwrap().ssh.as_ref().unwrap()).unwrap();
    assert_eq!(ssh.key_id, format!("token=web instance={id} roles=Node"));
    assert!(ssh.principals.contains(&"web.example.com".to_owned()), "{:?}", ssh.principals);
    assert_eq!(fixture.event_codes(), ["token_created", "registered"]);
}

#[test]
fn the_commit_records_the_serials_that_are_signed() {
    let fixture = Fixture::new();
    fixture.node_token("web", "");
    let mut machine = Machine::new("web", 1, Some(fixture.generated_secret("web")));
    let result = machine.join(&fixture).unwrap();
    let issued = fixture.enrolment("web").enrolment.issued;
    let serial = crate::context::hex(&inspect_leaf(&leaf(&result)).unwrap().serial);
    assert_eq!(issued.len(), 2);
    assert_eq!(issued[0].serial.trim_start_matches('0'), serial.trim_start_matches('0'));
    let ssh = inspect_ssh(result.certificates.as_ref().unwrap().ssh.as_ref().unwrap()).unwrap();
    assert_eq!(u64::from_str_radix(&issued[1].serial, 16).unwrap(), ssh.serial);
}

#[test]
fn a_renewal_needs_no_secret_and_consumes_no_recovery() {
    let fixture = Fixture::new();
    let mut machine = registered(&fixture, "web");
    fixture.clock.advance(time::Duration::hours(12));
    let result = machine.join(&fixture).unwrap();
    assert_eq!(result.kind, JoinKindName::Renewed);
    let enrolment = fixture.enrolment("web").enrolment;
    assert_eq!((enrolment.sequence, enrolment.recovery_count), (2, 1));
    assert_eq!(enrolment.facts.hostname, "node-1");
}

#[test]
fn renewals_are_spread_between_two_and_three_fifths_of_the_lifetime() {
    let fixture = Fixture::new();
    let day = 24.0 * 3600.0;
    let mut seen = std::collections::BTreeSet::new();
    for seed in 1..=12 {
        let name = format!("web-{seed}");
        fixture.node_token(&name, "");
        let mut machine = Machine::new(&name, seed, Some(fixture.generated_secret(&name)));
        let share = machine.join(&fixture).unwrap().renew_in_seconds as f64 / day;
        assert!((0.4..=0.6).contains(&share), "{share}");
        seen.insert((share * 1000.0) as u64);
    }
    assert!(seen.len() > 6, "{seen:?}");
}

#[test]
fn a_retry_signs_the_same_bytes_and_writes_nothing() {
    let fixture = Fixture::new();
    fixture.node_token("web", "");
    let mut machine = Machine::new("web", 1, Some(fixture.generated_secret("web")));
    let first = machine.try_join(&fixture).unwrap();
    let revision = now(fixture.store.revision()).unwrap();
    fixture.clock.advance(time::Duration::minutes(30));
    let again = machine.try_join(&fixture).unwrap();
    assert_eq!(again.kind, JoinKindName::Retried);
    assert_eq!(again.join_state, first.join_state);
    assert_eq!(to_be_signed(&leaf(&again)), to_be_signed(&leaf(&first)));
    assert_eq!(again.certificates.unwrap().ssh, first.certificates.unwrap().ssh, "Ed25519 repeats itself");
    assert_eq!(now(fixture.store.revision()).unwrap(), revision);
    assert_eq!(again.renew_in_seconds, first.renew_in_seconds - 1800);
}

#[test]
fn a_retry_after_the_master_key_was_rotated_signs_nothing_that_is_not_recorded() {
    let fixture = Fixture::new();
    fixture.node_token("web", "");
    let mut machine = Machine::new("web", 1, Some(fixture.generated_secret("web")));
    machine.try_join(&fixture).unwrap();
    let master = MasterKey::new(1, [7; 32]).rotated(2, [9; 32]).unwrap();
    let rotated =
        start(fixture.store.clone(), fixture.clock.clone(), master, ServiceConfig::new(CLUSTER)).unwrap();
    let fixture = Fixture { service: rotated, ..fixture };
    fixture.clock.advance(time::Duration::minutes(1));
    let again = machine.join(&fixture).unwrap();
    assert_eq!((again.kind, again.certificates), (JoinKindName::Retried, None));
    let result = machine.join(&fixture).unwrap();
    assert_eq!(result.kind, JoinKindName::Renewed);
    let serial = crate::context::hex(&inspect_leaf(&leaf(&result)).unwrap().serial);
    assert!(fixture.enrolment("web").enrolment.issued.iter().any(|c| c.serial.ends_with(&serial)));
}

#[test]
fn a_retry_after_expiry_is_provisional_and_a_new_attempt_goes_on() {
    let fixture = Fixture::new();
    fixture.node_token("web", "");
    let mut machine = Machine::new("web", 1, Some(fixture.generated_secret("web")));
    machine.try_join(&fixture).unwrap();
    fixture.clock.advance(time::Duration::hours(25));
    let late = machine.join(&fixture).unwrap();
    assert_eq!((&late.certificates, late.renew_in_seconds), (&None, 0));
    let tls = [fixture.service.authorities().tls.key().public_key().clone()];
    let receipt = late.receipt.as_deref().expect("something vouches for it");
    assert!(boundkey_proto::verify_receipt(receipt, &tls, fixture.service.cluster(), late.digest()));
    assert_eq!(machine.join(&fixture).unwrap().kind, JoinKindName::Renewed);
}

#[test]
fn a_due_rotation_is_asked_for_and_done_in_the_same_join() {
    let fixture = Fixture::new();
    let mut machine = registered(&fixture, "web");
    let old = machine.bound.public_key().clone();
    fixture.clock.advance(time::Duration::hours(1));
    fixture.node_token("web", "  bound_keypair:\n    rotate_after: \"2026-05-01T12:30:00Z\"\n");
    let result = machine.join(&fixture).unwrap();
    assert_ne!(result.bound_key, old);
    assert_eq!(fixture.enrolment("web").enrolment.bound_public_key, Some(machine.bound.public_key().clone()));
    assert!(fixture.events().last().unwrap().notes.contains(&"rotated".to_owned()));
    fixture.clock.advance(time::Duration::hours(1));
    assert_eq!(machine.join(&fixture).unwrap().bound_key, *machine.bound.public_key());
}

#[test]
fn a_secret_that_people_made_registers_too() {
    let fixture = Fixture::new();
    fixture.node_token(
        "web",
        "  bound_keypair:\n    onboarding:\n      registration_secret: correct horse battery staple\n",
    );
    let secret = Secret::new("correct horse battery staple".to_owned());
    let mut machine = Machine::new("web", 1, Some(secret));
    assert_eq!(machine.join(&fixture).unwrap().kind, JoinKindName::Registered);
}

#[test]
fn the_other_holder_of_a_copied_state_locks_the_token() {
    let fixture = Fixture::new();
    let mut honest = registered(&fixture, "web");
    let mut thief = honest.copy();
    fixture.clock.advance(time::Duration::hours(1));
    thief.join(&fixture).unwrap();
    fixture.clock.advance(time::Duration::hours(1));
    let problem = honest.try_join(&fixture).unwrap_err();
    assert_eq!(problem.code, "clone_detected");
    assert_eq!(fixture.event_codes().last().unwrap(), "clone_detected");
    assert_eq!((fixture.count(keys::LOCK), fixture.count("lock-of/token/")), (1, 1));
    assert_eq!(fixture.count("revoked/"), 0, "a host keeps its certificates by default");
    assert_eq!(thief.try_join(&fixture).unwrap_err().code, "locked");
    assert_eq!(honest.try_join(&fixture).unwrap_err().code, "locked");
    assert_eq!(fixture.count(keys::LOCK), 1, "it cannot double");
}

#[test]
fn an_automatic_lock_revokes_at_once_where_the_operator_says_so() {
    let mut config = ServiceConfig::new(CLUSTER);
    config.auto_lock_revokes = AutoLockRevokes::All;
    let fixture = Fixture::with(config);
    let mut honest = registered(&fixture, "web");
    let mut thief = honest.copy();
    fixture.clock.advance(time::Duration::hours(1));
    thief.join(&fixture).unwrap();
    honest.try_join(&fixture).unwrap_err();
    assert_eq!((fixture.count("revoked/host/"), fixture.count("revoked/ssh-host/")), (2, 2));
    assert!(fixture.enrolment("web").enrolment.certificates_revoked);
}

#[test]
fn a_recovery_revokes_what_was_issued_before() {
    let mut config = ServiceConfig::new(CLUSTER);
    config.policy.host_grace = Duration::ZERO;
    config.lifetimes = Lifetimes { host: Duration::from_secs(3600), ..Lifetimes::default() };
    let fixture = Fixture::with(config);
    fixture.node_token("web", "  bound_keypair:\n    recovery:\n      limit: 2\n");
    let mut machine = Machine::new("web", 1, Some(fixture.generated_secret("web")));
    machine.join(&fixture).unwrap();
    fixture.clock.advance(time::Duration::hours(2));
    assert_eq!(machine.join(&fixture).unwrap().kind, JoinKindName::Recovered);
    fixture.clock.advance(time::Duration::hours(2));
    assert_eq!(machine.try_join(&fixture).unwrap_err().code, "recovery_limit_reached");
    assert_eq!(fixture.event_codes().last().unwrap(), "denied_recovery_limit_reached");
}

#[test]
fn revoked_certificates_are_in_the_lists_at_once() {
    let fixture = Fixture::new();
    let empty = now(fixture.service.revocation_lists()).unwrap();
    let mut config = ServiceConfig::new(CLUSTER);
    config.auto_lock_revokes = AutoLockRevokes::All;
    let fixture = Fixture::with(config);
    let mut honest = registered(&fixture, "web");
    let mut thief = honest.copy();
    let serial = fixture.enrolment("web").enrolment.issued[1].serial.clone();
    fixture.clock.advance(time::Duration::seconds(1));
    thief.join(&fixture).unwrap();
    honest.try_join(&fixture).unwrap_err();
    let lists = now(fixture.service.revocation_lists()).unwrap();
    assert_ne!(lists.krl(), empty.krl());
    let serial = u64::from_str_radix(&serial, 16).unwrap().to_be_bytes();
    assert!(lists.krl().windows(8).any(|window| window == serial), "the serial is in the list");
    let unchanged = now(fixture.service.revocation_lists()).unwrap();
    assert!(Arc::ptr_eq(&lists, &unchanged), "signed once for each change");
}

#[test]
fn a_bot_gets_a_user_certificate_for_its_logins() {
    let fixture = Fixture::new();
    fixture.apply(
        "kind: bot\nversion: v1\nmetadata:\n  name: ci\nspec:\n  logins: [deploy, root]\n---\nkind: token\nversion: v2\n\
         metadata:\n  name: robot\nspec:\n  roles: [Bot]\n  bot_name: ci\n  join_method: bound_keypair\n",
    );
    let mut machine = Machine::new("robot", 1, Some(fixture.generated_secret("robot")));
    machine.roles = RoleSet::new([Role::Bot]);
    let result = machine.join(&fixture).unwrap();
    let view = inspect_leaf(&leaf(&result)).unwrap();
    assert_eq!(view.spiffe_id, Some(format!("spiffe://example.com/bot/ci/{}", result.identity.id())));
    assert_eq!(view.not_after - view.not_before, time::Duration::minutes(65));
    let ssh = inspect_ssh(result.certificates.as_ref().unwrap().ssh.as_ref().unwrap()).unwrap();
    assert_eq!(ssh.principals, ["deploy", "root"]);
    assert!((1199..=1200).contains(&result.renew_in_seconds), "{}", result.renew_in_seconds);
}

#[test]
fn an_insecure_token_lets_many_in_at_once_and_keeps_each_apart() {
    let fixture = Fixture::new();
    let key = boundkey_keys::PrivateKey::ed25519_from_seed(&[5; 32]);
    let spec = |mode: &str| {
        format!(
            "  bound_keypair:\n    onboarding:\n      initial_public_key: {}\n    recovery:\n      mode: {mode}\n",
            key.public_key().to_openssh()
        )
    };
    fixture.node_token("ci", &spec("insecure"));
    let client = |seed: u8| {
        let mut machine = Machine::new("ci", seed, None);
        machine.bound = boundkey_keys::PrivateKey::ed25519_from_seed(&[5; 32]);
        machine
    };
    let mut ids = std::collections::BTreeSet::new();
    let mut clients: Vec<Machine> = (1..=4).map(client).collect();
    for machine in &mut clients {
        fixture.clock.advance(time::Duration::seconds(1));
        ids.insert(machine.join(&fixture).unwrap().identity.id().to_owned());
    }
    assert_eq!(ids.len(), 4, "each is its own host");
    let enrolment = fixture.enrolment("ci").enrolment;
    assert!(enrolment.shared);
    assert!(fixture.count("instance/") >= 3);
    for machine in &mut clients {
        fixture.clock.advance(time::Duration::hours(1));
        assert!(ids.contains(machine.join(&fixture).unwrap().identity.id()), "and stays it");
    }
    assert_eq!(fixture.enrolment("ci").enrolment.recovery_count, enrolment.recovery_count);

    // Leaving: the first that comes stays, the others' certificates are revoked.
    fixture.node_token("ci", &spec("standard"));
    fixture.clock.advance(time::Duration::hours(1));
    clients[2].join(&fixture).unwrap();
    fixture.sweep();
    assert!(!fixture.enrolment("ci").enrolment.shared);
    assert!(fixture.count("revoked/host/") >= 3);
    assert_eq!(clients[0].try_join(&fixture).unwrap_err().code, "shared_token");
    assert_eq!(fixture.count(keys::LOCK), 0);
}

#[test]
fn a_restored_backup_is_healed_by_the_state_of_the_machine() {
    let fixture = Fixture::new();
    let mut machine = registered(&fixture, "web");
    let backup = fixture.store.snapshot();
    for _ in 0..3 {
        fixture.clock.advance(time::Duration::hours(6));
        machine.join(&fixture).unwrap();
    }
    fixture.store.restore(&backup);
    fixture.clock.advance(time::Duration::hours(6));
    assert_eq!(machine.join(&fixture).unwrap().kind, JoinKindName::Renewed);
    assert_eq!(fixture.enrolment("web").enrolment.sequence, 5);
    let notes = fixture.events().last().unwrap().notes.clone();
    assert!(notes.iter().any(|note| note.starts_with("rollback_healed")), "{notes:?}");
}

#[test]
fn a_resync_lets_a_reverted_snapshot_back_in() {
    let fixture = Fixture::new();
    let mut machine = registered(&fixture, "web");
    let mut reverted = machine.copy();
    fixture.clock.advance(time::Duration::hours(1));
    machine.join(&fixture).unwrap();
    fixture.clock.advance(time::Duration::hours(1));
    assert_eq!(reverted.try_join(&fixture).unwrap_err().code, "clone_detected");
    let uid = fixture.enrolment("web").uid;
    let mut record = fixture.enrolment("web");
    let token: Loaded<TokenRecord> =
        now(fixture.service.load(&keys::token("web"), fixture.service.now())).unwrap().unwrap();
    let verb = Verb::Resync { ttl: Duration::from_secs(3600), keep_key: true };
    let outcome = apply_verb(&token.record.token, &record.enrolment, verb, fixture.service.now());
    assert!(outcome.remove_automatic_lock);
    record.enrolment = outcome.next.unwrap();
    let index: Loaded<LockIndex> =
        now(fixture.service.load(&keys::lock_of("token", "web"), fixture.service.now())).unwrap().unwrap();
    let mut writes =
        locking::remove(&locking::automatic_id(uid), &keys::lock_of("token", "web"), &index.record);
    writes.push(put(keys::enrolment("web"), &record));
    now(fixture.store.commit(Batch { conditions: Vec::new(), writes }, fixture.service.now())).unwrap();
    fixture.clock.advance(time::Duration::minutes(1));
    reverted.join(&fixture).unwrap();
    let event = fixture.events().pop().unwrap();
    assert!(event.notes.contains(&"by_grant".to_owned()), "{event:?}");
    assert_eq!(fixture.count(keys::LOCK), 0);
}

#[test]
fn a_lock_by_hand_wins_over_a_join() {
    let fixture = Fixture::new();
    let mut machine = registered(&fixture, "web");
    fixture
        .apply("kind: lock\nversion: v2\nmetadata:\n  name: stop\nspec:\n  target:\n    join_token: web\n");
    fixture.clock.advance(time::Duration::hours(1));
    assert_eq!(machine.try_join(&fixture).unwrap_err().code, "locked");
}

#[test]
fn names_that_a_token_may_have_and_a_certificate_may_not_stop_no_join() {
    let fixture = Fixture::new();
    for (seed, name) in ["10.0.0.1", "a..b", "under_score", "x-"].into_iter().enumerate() {
        fixture.node_token(name, "");
        let seed = u8::try_from(seed).unwrap() + 1;
        let mut machine = Machine::new(name, seed, Some(fixture.generated_secret(name)));
        let result = machine.join(&fixture).unwrap_or_else(|problem| panic!("{name}: {problem:?}"));
        let view = inspect_leaf(&leaf(&result)).unwrap();
        assert!(view.dns_names.contains(&result.identity.id().to_owned()), "{name}: {:?}", view.dns_names);
    }
}

/// A commit that no signature can follow would leave an attempt that is answered with an error for ever.
#[test]
fn a_server_whose_clock_is_outside_the_life_of_its_cas_admits_nobody_and_asks_to_come_again() {
    let fixture = Fixture::new();
    let mut machine = registered(&fixture, "web");
    let (before, right) = (fixture.enrolment("web").enrolment, fixture.service.now());
    for step in [-time::Duration::days(3650), time::Duration::days(3653)] {
        fixture.clock.advance(step);
        let refused = machine.try_join(&fixture).unwrap_err();
        assert_eq!(
            (refused.status, refused.code.as_str(), refused.retry_after),
            (503, "server_clock", Some(60))
        );
        let now = crate::rfc3339(fixture.service.now());
        assert!(
            refused.detail.starts_with(&format!("the server's clock says {now}, ")),
            "{}",
            refused.detail
        );
        assert!(
            refused.detail.contains("from 2026-04-30T12:00:00Z until 2036-05-01T12:00:00Z"),
            "{}",
            refused.detail
        );
        assert_eq!(fixture.enrolment("web").enrolment, before);
        fixture.clock.advance(-step);
    }
    assert_eq!(fixture.service.now(), right);
    assert_eq!(machine.join(&fixture).unwrap().kind, JoinKindName::Renewed);
}
