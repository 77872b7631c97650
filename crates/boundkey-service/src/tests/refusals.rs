//! Refused joins: how they look, what they cost, and to whom.

use std::net::IpAddr;

use boundkey_keys::{MasterKey, Secret};
use boundkey_store::{Batch, Store as _, keys};

use super::fixture::{CLUSTER, Fixture, Machine, now, start};
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
fn strangers_from_everywhere_cannot_make_the_log_grow() {
    let fixture = Fixture::new();
    fixture.node_token("web", "");
    let mut machine = Machine::new("web", 2, Some(Secret::generated([9; 32])));
    for network in 0..=255 {
        machine.source = Some(IpAddr::from([198, 51, network, 1]));
        machine.try_join(&fixture).unwrap_err();
    }
    let written = now(join::flush_refusals(&fixture.service, fixture.service.now())).unwrap();
    assert_eq!(written, 33);
    let refusals = fixture.events().split_off(1);
    assert_eq!(refusals.iter().map(|event| event.count).sum::<u64>(), 256, "each is counted");
    assert_eq!(
        refusals.iter().filter(|event| event.source.as_deref() == Some("various networks")).count(),
        1
    );
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
