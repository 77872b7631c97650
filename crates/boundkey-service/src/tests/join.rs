//! The join loop: what is admitted, what is written, what is refused and how it looks.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use boundkey_ca::{inspect_leaf, inspect_ssh};
use boundkey_keys::{MasterKey, Secret};
use boundkey_proto::{JoinKindName, JoinResult, result_digest};
use boundkey_store::{
    Batch, CommitError, Committed, Entry, MemoryStore, Range, Revision, Store, StoreError, Watch, keys,
};
use boundkey_token::{Role, RoleSet};
use time::OffsetDateTime;
use time::macros::datetime;

use super::fixture::{CLUSTER, Counted, Fixture, Machine, now};
use crate::{AutoLockRevokes, InPlace, Lifetimes, ManualClock, Parts, Service, ServiceConfig, join};

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
fn a_retry_after_expiry_is_provisional_and_a_new_attempt_goes_on() {
    let fixture = Fixture::new();
    fixture.node_token("web", "");
    let mut machine = Machine::new("web", 1, Some(fixture.generated_secret("web")));
    machine.try_join(&fixture).unwrap();
    fixture.clock.advance(time::Duration::hours(25));
    let late = machine.join(&fixture).unwrap();
    assert_eq!((late.certificates, late.renew_in_seconds), (None, 0));
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
fn whoever_proves_nothing_is_told_the_same_whatever_the_cause() {
    let fixture = Fixture::new();
    fixture.node_token("web", "");
    fixture.node_token("gone", "");
    let mut answers = Vec::new();
    let mut wrong = Machine::new("web", 2, Some(Secret::generated([9; 32])));
    answers.push(wrong.try_join(&fixture).unwrap_err());
    answers.push(Machine::new("web", 2, None).try_join(&fixture).unwrap_err());
    answers.push(Machine::new("unknown", 2, None).try_join(&fixture).unwrap_err());
    wrong.token = "unknown".to_owned();
    answers.push(wrong.try_join(&fixture).unwrap_err());
    for answer in &answers {
        assert_eq!((answer.status, answer.code.as_str()), (403, "denied"));
        assert_eq!(answer.detail, answers[0].detail);
    }
    assert_eq!(fixture.event_codes(), ["token_created", "token_created"], "none of it cost a commit");
}

#[test]
fn strangers_are_counted_and_written_at_most_once_a_minute() {
    let fixture = Fixture::new();
    fixture.node_token("web", "");
    let flush = |f: &Fixture| now(join::flush_refusals(&f.service, f.service.now())).unwrap();
    for host in 0..40 {
        let mut machine = Machine::new("web", 2, Some(Secret::generated([host; 32])));
        machine.source = Some(IpAddr::from([198, 51, 100, host]));
        machine.try_join(&fixture).unwrap_err();
        machine.token = format!("invented-{host}");
        machine.try_join(&fixture).unwrap_err();
    }
    assert_eq!(flush(&fixture), 2, "one row for the token, one for all unknown ones");
    let events = fixture.events();
    let mut counts: Vec<_> =
        events[1..].iter().map(|e| (e.token.as_deref(), e.source.as_deref(), e.count)).collect();
    counts.sort();
    assert_eq!(counts, [(None, Some("198.51.100.0/24"), 40), (Some("web"), Some("198.51.100.0/24"), 40)]);
    assert!(events.iter().any(|event| event.code == "denied_wrong_secret"));

    let mut machine = Machine::new("web", 2, Some(Secret::generated([1; 32])));
    machine.source = Some(IpAddr::from([198, 51, 100, 1]));
    machine.try_join(&fixture).unwrap_err();
    assert_eq!(flush(&fixture), 0, "within the minute");
    fixture.clock.advance(time::Duration::minutes(1));
    assert_eq!(flush(&fixture), 1);
    assert_eq!(fixture.events().last().unwrap().count, 1);
}

#[test]
fn wrong_secrets_in_a_row_are_answered_late_and_a_right_one_at_once() {
    let fixture = Fixture::new();
    fixture.node_token("web", "");
    let challenge = join::begin(&fixture.service, fixture.service.now()).challenge;
    let wrong = Machine::new("web", 2, Some(Secret::generated([9; 32])));
    let holds: Vec<u64> =
        (0..9).map(|_| wrong.send(&fixture, &challenge).unwrap_err().hold.as_secs()).collect();
    assert_eq!(holds, [0, 0, 0, 0, 0, 1, 2, 4, 8]);
    let mut right = Machine::new("web", 3, Some(fixture.generated_secret("web")));
    right.source = wrong.source;
    assert_eq!(right.join(&fixture).unwrap().kind, JoinKindName::Registered);
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
fn a_right_secret_on_a_bound_token_is_an_event_of_its_own() {
    let fixture = Fixture::new();
    fixture.node_token("web", "");
    let secret = fixture.generated_secret("web");
    Machine::new("web", 1, Some(secret.duplicate())).join(&fixture).unwrap();
    fixture.clock.advance(time::Duration::seconds(1));
    let problem = Machine::new("web", 2, Some(secret)).try_join(&fixture).unwrap_err();
    assert_eq!(problem.status, 403);
    assert_eq!(fixture.event_codes().last().unwrap(), "secret_replayed");
    assert_eq!(fixture.enrolment("web").enrolment.sequence, 1);
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

/// A store in which somebody else writes between the reading and the commit of a join.
struct Raced {
    store: MemoryStore,
    /// So many commits of joins are still to lose.
    races: AtomicUsize,
    token: &'static str,
}

#[async_trait]
impl Store for Raced {
    async fn get_many(&self, keys: &[&str], now: OffsetDateTime) -> Result<Vec<Option<Entry>>, StoreError> {
        self.store.get_many(keys, now).await
    }

    async fn commit(&self, batch: Batch, now: OffsetDateTime) -> Result<Committed, CommitError> {
        let key = keys::token(self.token);
        let joins =
            batch.writes.iter().any(
                |w| matches!(w, boundkey_store::Write::Put { key, .. } if key.starts_with("enrolment/")),
            ) && batch.conditions.iter().any(|c| c.key().starts_with("lock-of/"));
        if joins && self.races.load(Ordering::Relaxed) > 0 {
            self.races.fetch_sub(1, Ordering::Relaxed);
            let value = self.store.get_many(&[&key], now).await?[0].clone().expect("the token").value;
            let touch =
                Batch { conditions: Vec::new(), writes: vec![boundkey_store::Write::Put { key, value }] };
            self.store.commit(touch, now).await?;
        }
        self.store.commit(batch, now).await
    }

    async fn range(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        now: OffsetDateTime,
    ) -> Result<Range, StoreError> {
        self.store.range(prefix, after, limit, now).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.store.watch(prefix, after).await
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.store.revision().await
    }
}

fn raced(races: usize) -> (Arc<Raced>, Fixture) {
    let store = Arc::new(Raced { store: MemoryStore::new(), races: AtomicUsize::new(0), token: "web" });
    let clock = Arc::new(ManualClock::new(datetime!(2026-05-01 12:00 UTC)));
    let service = now(Service::start(Parts {
        store: store.clone(),
        master: MasterKey::new(1, [7; 32]),
        config: ServiceConfig::new(CLUSTER),
        clock: clock.clone(),
        entropy: Arc::new(Counted::from(1)),
        stretch: Arc::new(InPlace),
    }))
    .unwrap();
    let fixture = Fixture { service, store: Arc::new(MemoryStore::new()), clock };
    fixture.node_token("web", "");
    store.races.store(races, Ordering::Relaxed);
    (store, fixture)
}

#[test]
fn a_join_that_loses_a_race_is_decided_again() {
    let (store, fixture) = raced(3);
    let mut machine = Machine::new("web", 1, Some(fixture.generated_secret("web")));
    assert_eq!(machine.join(&fixture).unwrap().kind, JoinKindName::Registered);
    assert_eq!(store.races.load(Ordering::Relaxed), 0);
    assert_eq!(fixture.enrolment("web").enrolment.sequence, 1);
}

#[test]
fn a_join_that_loses_every_race_comes_again_later() {
    let (_store, fixture) = raced(usize::MAX);
    let mut machine = Machine::new("web", 1, Some(fixture.generated_secret("web")));
    let problem = machine.try_join(&fixture).unwrap_err();
    assert_eq!((problem.status, problem.code.as_str(), problem.retry_after), (503, "busy", Some(1)));
}

#[test]
fn a_removed_tokens_secret_stays_used() {
    let fixture = Fixture::new();
    let spec = "  bound_keypair:\n    onboarding:\n      registration_secret: correct horse battery staple\n";
    fixture.node_token("web", spec);
    let secret = Secret::new("correct horse battery staple".to_owned());
    let mut first = Machine::new("web", 1, Some(secret.duplicate()));
    first.join(&fixture).unwrap();
    let proof_key = boundkey_keys::secret_proof_key(&secret, CLUSTER, "web");
    let used = keys::used_secret(&fixture.service.secret_fingerprint(proof_key.as_ref()));
    let writes = vec![
        boundkey_store::Write::Delete { key: keys::token("web") },
        boundkey_store::Write::Delete { key: keys::enrolment("web") },
    ];
    now(fixture.store.commit(Batch { conditions: Vec::new(), writes }, fixture.service.now())).unwrap();
    fixture.node_token("web", spec);
    let mark = crate::put(
        used,
        &boundkey_store::records::RevokedRecord {
            revoked_at: fixture.service.now(),
            expires_at: fixture.service.now(),
        },
    );
    now(fixture.store.commit(Batch { conditions: Vec::new(), writes: vec![mark] }, fixture.service.now()))
        .unwrap();
    let mut second = Machine::new("web", 2, Some(secret));
    assert_eq!(second.try_join(&fixture).unwrap_err().status, 403);
    assert!(!fixture.enrolment("web").enrolment.is_bound());
}

#[test]
fn too_many_joins_at_a_time_are_asked_to_come_again() {
    let mut config = ServiceConfig::new(CLUSTER);
    config.limits.concurrent_joins = 1;
    let fixture = Fixture::with(config);
    fixture.node_token("web", "");
    let machine = Machine::new("web", 1, Some(fixture.generated_secret("web")));
    let challenge = join::begin(&fixture.service, fixture.service.now()).challenge;
    let taken = fixture.service.joins().occupy();
    let refused = machine.send(&fixture, &challenge).unwrap_err().refusal.problem;
    assert_eq!((refused.status, refused.code.as_str(), refused.retry_after), (503, "overloaded", Some(1)));
    drop(taken);
    machine.send(&fixture, &challenge).unwrap();
}
