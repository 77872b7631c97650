//! Refused joins: how they look, what they cost, and to whom.

use std::net::IpAddr;

use boundkey_api::VerbRequest;
use boundkey_keys::{MasterKey, Secret};
use boundkey_store::records::EventRecord;
use boundkey_store::{Batch, Store as _, keys};

use super::fixture::{CLUSTER, Fixture, Machine, now, start};
use crate::admin::carry_out_verb;
use crate::{ServiceConfig, join};

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
fn strangers_from_everywhere_cannot_make_the_log_grow() {
    let fixture = Fixture::new();
    fixture.node_token("web", "");
    let mut machine = Machine::new("web", 2, Some(Secret::generated([9; 32])));
    for network in 0..=255 {
        machine.source = Some(IpAddr::from([198, 51, network, 1]));
        machine.try_join(&fixture).unwrap_err();
    }
    assert_eq!(flush(&fixture), 1, "one row for a token and a code");
    let row = fixture.events().pop().unwrap();
    assert_eq!(row.count, 256, "each is counted");
    let source = row.source.unwrap();
    let networks: u32 = source.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(source.ends_with(" networks") && (240..272).contains(&networks), "{source}");
    assert!(
        row.detail.starts_with("256 times from 198.51.0.0/24 (1), 198.51.1.0/24 (1), "),
        "{}",
        row.detail
    );
}

/// Finding: 60 names that everybody may know, 40 networks, and a row a minute for each of them.
#[test]
fn sixty_known_names_from_forty_networks_leave_no_more_rows_than_stated() {
    let fixture = Fixture::new();
    let mut machines: Vec<Machine> = Vec::new();
    for number in 0..60 {
        let name = format!("m-{number}");
        fixture.node_token(&name, "");
        machines.push(Machine::new(&name, 2, Some(Secret::generated([9; 32]))));
        // Bound: its name and its key id are in each of its certificates.
        if number % 2 == 0 {
            Machine::new(&name, 3, Some(fixture.generated_secret(&name))).join(&fixture).unwrap();
        }
    }
    let before = fixture.count_events();
    let revision = now(fixture.store.revision()).unwrap();
    let (mut tried, mut commits) = (0, 0);
    for minute in 0..10 {
        for network in (0..40).filter(|network| (network + minute) % 4 == 0) {
            for machine in &mut machines {
                machine.source = Some(IpAddr::from([10, 1, network, 1]));
                machine.try_join(&fixture).unwrap_err();
                tried += 1;
            }
        }
        commits += u64::from(flush(&fixture) > 0);
        fixture.clock.advance(time::Duration::minutes(1));
    }
    let rows = fixture.count_events() - before;
    assert!(rows <= 60 * 5, "{rows} rows for {tried} tries in ten minutes");
    assert!(now(fixture.store.revision()).unwrap().0 - revision.0 <= commits, "rows alone were committed");
    now(join::flush_all_refusals(&fixture.service, fixture.service.now())).unwrap();
    assert_eq!(counted(&fixture), tried, "and none is lost");
}

fn flush(fixture: &Fixture) -> usize {
    now(join::flush_refusals(&fixture.service, fixture.service.now())).unwrap()
}

/// Refusals in the audit log: rows with a count are as many, others one.
fn counted(fixture: &Fixture) -> u64 {
    let refusals = |event: &EventRecord| event.code.starts_with("denied_") || event.code == "secret_replayed";
    fixture.all_events().iter().filter(|event| refusals(event)).map(|event| event.count.max(1)).sum()
}

/// Finding: an event and a synced commit for each attempt, as fast as he asks.
#[test]
fn ten_thousand_tries_under_a_lock_leave_a_handful_of_rows_and_commits() {
    let fixture = Fixture::new();
    fixture.node_token("web", "");
    let mut thief = Machine::new("web", 1, Some(fixture.generated_secret("web")));
    thief.join(&fixture).unwrap();
    fixture
        .apply("kind: lock\nversion: v2\nmetadata:\n  name: theft\nspec:\n  target:\n    join_token: web\n");
    many_tries_are_cheap(&fixture, &mut thief, "denied_locked", 10_000);
    let row = fixture.all_events().pop().unwrap();
    assert_eq!(row.token.as_deref(), Some("web"));
    assert_eq!(row.source.as_deref(), Some("192.0.2.0/24"));
}

/// Finding: the used secret stays in configs, logs and images.
#[test]
fn ten_thousand_tries_with_a_used_secret_leave_a_handful_of_rows_and_commits() {
    let fixture = Fixture::new();
    fixture.node_token("web", "");
    let secret = fixture.generated_secret("web");
    Machine::new("web", 1, Some(secret.duplicate())).join(&fixture).unwrap();
    let mut finder = Machine::new("web", 2, Some(secret));
    many_tries_are_cheap(&fixture, &mut finder, "secret_replayed", 10_000);
}

fn many_tries_are_cheap(fixture: &Fixture, machine: &mut Machine, code: &str, tries: u64) {
    let before = now(fixture.store.revision()).unwrap();
    let events = fixture.count_events();
    machine.next_attempt();
    let body = machine.body(&join::begin(&fixture.service, fixture.service.now()).challenge);
    for number in 0..tries {
        let context = machine.context(fixture);
        let answer = now(join::complete(&fixture.service, &body, &context, fixture.service.now()));
        assert_eq!(answer.unwrap_err().refusal.problem.status, 403);
        // 250 a second, and the service looks every second or so.
        if number % 250 == 249 {
            fixture.clock.advance(time::Duration::seconds(1));
            flush(fixture);
        }
    }
    now(join::flush_all_refusals(&fixture.service, fixture.service.now())).unwrap();
    let all = fixture.all_events();
    assert!(all.len() - events <= 10, "{} rows", all.len() - events);
    let commits = now(fixture.store.revision()).unwrap().0 - before.0;
    assert!(commits <= 10, "{commits} commits");
    assert_eq!(all.last().unwrap().code, code);
    assert_eq!(counted(fixture), tries, "and none is lost");
}

/// The lock that a refusal sets is there before the answer, however many came before.
#[test]
fn a_refusal_that_locks_is_committed_also_after_the_first_few() {
    let fixture = Fixture::new();
    fixture.node_token("web", "");
    let mut machine = Machine::new("web", 1, Some(fixture.generated_secret("web")));
    machine.join(&fixture).unwrap();
    let mut copy = machine.copy();
    for round in 0..6 {
        fixture.clock.advance(time::Duration::seconds(1));
        machine.join(&fixture).unwrap();
        fixture.clock.advance(time::Duration::seconds(1));
        let problem = copy.try_join(&fixture).unwrap_err();
        assert_eq!(problem.code, "clone_detected", "round {round}");
        assert_eq!(fixture.event_codes().last().unwrap(), "clone_detected");
        assert_eq!(fixture.count("lock/"), 1);
        let copies = |f: &Fixture| f.event_codes().iter().filter(|code| *code == "clone_detected").count();
        assert_eq!(copies(&fixture), round + 1);
        // He goes on under the lock, and the administrator lets the right one in.
        for _ in 0..5 {
            assert_eq!(copy.try_join(&fixture).unwrap_err().code, "locked");
        }
        let context = fixture.service.own_context();
        now(carry_out_verb(&fixture.service, &context, "web", "resync", &VerbRequest::default())).unwrap();
    }
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
fn a_used_secret_stays_used_when_the_master_key_is_rotated() {
    let mut fixture = Fixture::new();
    let spec = "  bound_keypair:\n    onboarding:\n      registration_secret: correct horse battery staple\n";
    fixture.node_token("web", spec);
    let secret = Secret::new("correct horse battery staple".to_owned());
    Machine::new("web", 1, Some(secret.duplicate())).join(&fixture).unwrap();
    let proof_key = boundkey_keys::secret_proof_key(&secret, CLUSTER, "web");
    let mark = crate::put(
        keys::used_secret(&fixture.service.secret_fingerprint(proof_key.as_ref())),
        &boundkey_store::records::RevokedRecord {
            revoked_at: fixture.service.now(),
            expires_at: fixture.service.now(),
        },
    );
    let writes = vec![
        boundkey_store::Write::Delete { key: keys::token("web") },
        boundkey_store::Write::Delete { key: keys::enrolment("web") },
        mark,
    ];
    now(fixture.store.commit(Batch { conditions: Vec::new(), writes }, fixture.service.now())).unwrap();

    let master = MasterKey::new(1, [7; 32]).rotated(2, [8; 32]).unwrap();
    let config = ServiceConfig::new(CLUSTER);
    fixture.service = start(fixture.store.clone(), fixture.clock.clone(), master, config).unwrap();
    let yaml = format!(
        "kind: token\nversion: v2\nmetadata:\n  name: web\nspec:\n  roles: [Node]\n  join_method: bound_keypair\n{spec}"
    );
    let resources = boundkey_token::read_resources(yaml.as_bytes()).unwrap();
    let context = fixture.service.own_context();
    let refused = now(crate::admin::apply_resources(&fixture.service, &context, &resources, false));
    assert_eq!(refused.unwrap_err().problem.code, "secret_used");
}
