//! Whatever a decision was made from may change before it is written: then it is made again, from what stands there now.
//! Each row changes another record between the reading and the commit.

use boundkey_api::VerbRequest;
use boundkey_lifecycle::Identity;
use boundkey_proto::JoinKindName;
use boundkey_token::{Role, RoleSet};

use super::admin::race::{Two, two};
use super::fixture::{Fixture, Machine, now};
use crate::admin::{carry_out_verb, remove_token};

const TOKEN: &str = "kind: token\nversion: v2\nmetadata: {name: web}\nspec:\n  join_method: bound_keypair\n";

fn apply_token(fixture: &Fixture, more: &str) {
    fixture.apply(&format!("{TOKEN}{more}"));
}

fn verb(fixture: &Fixture, name: &str) {
    let context = fixture.service.own_context();
    now(carry_out_verb(&fixture.service, &context, "web", name, &VerbRequest::default())).expect(name);
}

fn lock(fixture: &Fixture, target: &str) {
    fixture.apply(&format!(
        "kind: lock\nversion: v2\nmetadata: {{name: by-hand}}\nspec: {{target: {{{target}}}}}\n"
    ));
}

fn identity(fixture: &Fixture) -> String {
    match fixture.enrolment("web").enrolment.identity.expect("bound") {
        Identity::Host(id) | Identity::BotInstance(id) => id,
    }
}

/// A host with one join behind it.
fn host(fixture: &Fixture) -> Machine {
    apply_token(fixture, "  roles: [Node]\n");
    let mut machine = Machine::new("web", 1, Some(fixture.generated_secret("web")));
    machine.join(fixture).expect("registers");
    machine
}

/// A bot with one join behind it.
fn bot(fixture: &Fixture) -> Machine {
    fixture.apply("kind: bot\nversion: v1\nmetadata: {name: ci}\nspec: {logins: [deploy]}\n");
    apply_token(fixture, "  roles: [Bot]\n  bot_name: ci\n");
    let mut machine = Machine::new("web", 1, Some(fixture.generated_secret("web")));
    machine.roles = RoleSet::new([Role::Bot]);
    machine.join(fixture).expect("registers");
    machine
}

/// A host that has not joined yet.
fn unbound(fixture: &Fixture) -> Machine {
    apply_token(fixture, "  roles: [Node]\n");
    Machine::new("web", 1, Some(fixture.generated_secret("web")))
}

/// Another machine with the secret that is in force.
fn other_registers(fixture: &Fixture) {
    let mut other = Machine::new("web", 2, Some(fixture.generated_secret("web")));
    other.join(fixture).expect("registers");
}

/// Of a bound host: whoever has a copy of its files.
fn a_copy_joins(fixture: &Fixture, mut copy: Machine) {
    copy.join(fixture).expect("the first of two");
}

struct Row {
    name: &'static str,
    machine: fn(&Fixture) -> Machine,
    meanwhile: fn(&Fixture, Machine),
    told: &'static str,
    /// The lineage's sequence afterwards; none if there is no token.
    sequence: Option<u64>,
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { name: "the token expires", machine: host, told: "token_expired", sequence: Some(1),
        meanwhile: |f, _| f.apply("kind: token\nversion: v2\nmetadata: {name: web, expires: 2026-04-01T00:00:00Z}\nspec: {roles: [Node], join_method: bound_keypair}\n") },
    Row { name: "the role is taken away", machine: host, told: "role_not_allowed", sequence: Some(1),
        meanwhile: |f, _| apply_token(f, "  roles: [Db]\n") },
    Row { name: "the token is removed", machine: host, told: "denied", sequence: None,
        meanwhile: |f, _| now(remove_token(&f.service, &f.service.own_context(), "web", false)).expect("removed") },
    Row { name: "its certificates are revoked", machine: host, told: "recovery_limit_reached", sequence: Some(1),
        meanwhile: |f, _| verb(f, "revoke") },
    Row { name: "the token is reset", machine: host, told: "denied", sequence: Some(0),
        meanwhile: |f, _| verb(f, "reset") },
    Row { name: "a copy of the machine joins", machine: host, told: "clone_detected", sequence: Some(2),
        meanwhile: a_copy_joins },
    Row { name: "the token is locked", machine: host, told: "locked", sequence: Some(1),
        meanwhile: |f, _| lock(f, "join_token: web") },
    Row { name: "the host is locked", machine: host, told: "locked", sequence: Some(1),
        meanwhile: |f, _| lock(f, &format!("server_id: {}", identity(f))) },
    Row { name: "the bot's instance is locked", machine: bot, told: "locked", sequence: Some(1),
        meanwhile: |f, _| lock(f, &format!("bot_instance_id: {}", identity(f))) },
    Row { name: "the bot is locked", machine: bot, told: "locked", sequence: Some(1),
        meanwhile: |f, _| lock(f, "user: ci") },
    Row { name: "the bot expires", machine: bot, told: "bot_not_found", sequence: Some(1),
        meanwhile: |f, _| f.apply("kind: bot\nversion: v1\nmetadata: {name: ci, expires: 2026-04-01T00:00:00Z}\nspec: {logins: [deploy]}\n") },
    Row { name: "another machine uses the secret", machine: unbound, told: "secret_used", sequence: Some(1),
        meanwhile: |f, _| other_registers(f) },
    Row { name: "the secret's time runs out", machine: unbound, told: "registration_expired", sequence: Some(0),
        meanwhile: |f, _| apply_token(f, "  roles: [Node]\n  bound_keypair: {onboarding: {must_register_before: 2026-04-01T00:00:00Z}}\n") },
];

/// `meanwhile` happens on another server when the slow one is about to commit.
fn overtaken(two: &Two, machine: &Machine, meanwhile: fn(&Fixture, Machine)) -> Fixture {
    let (other, copy) = (two.other(), machine.copy());
    two.before_the_commit(move || meanwhile(&other, copy));
    two.slow()
}

#[test]
fn a_join_is_decided_again_from_whatever_record_has_changed() {
    for row in ROWS {
        let two = two();
        let mut machine = (row.machine)(&two.fixture);
        let slow = overtaken(&two, &machine, row.meanwhile);
        let told = machine.try_join(&slow).map(|result| result.kind);
        assert_eq!(told.map_err(|problem| problem.code), Err(row.told.to_owned()), "{}", row.name);
        assert_eq!(two.left(), 0, "{}: nothing came between", row.name);
        let sequence = (two.fixture.count("token/") > 0).then(|| two.fixture.enrolment("web"));
        assert_eq!(sequence.map(|record| record.enrolment.sequence), row.sequence, "{}", row.name);
    }
}

#[test]
fn of_two_holders_of_one_state_who_join_at_once_one_is_admitted() {
    let two = two();
    let mut owner = host(&two.fixture);
    let slow = overtaken(&two, &owner, a_copy_joins);
    assert_eq!(owner.try_join(&slow).unwrap_err().code, "clone_detected");
    let admitted = two.fixture.event_codes().into_iter().filter(|code| code == "renewed").count();
    assert_eq!((admitted, two.fixture.count("lock/")), (1, 1));
}

#[test]
fn a_clone_is_not_condemned_after_a_grant_that_came_first() {
    let two = two();
    let mut owner = host(&two.fixture);
    owner.copy().join(&two.fixture).expect("the copy's first join");
    // The owner's request is live, so it would lock the token; an administrator has just granted a resync.
    let slow = overtaken(&two, &owner, |fixture, _| verb(fixture, "resync"));
    let result = owner.join(&slow).expect("by grant");
    assert_eq!((result.kind, two.left()), (JoinKindName::Recovered, 0));
    assert_eq!(result.bound_key, *owner.bound.public_key(), "with the key that the grant asks for");
    assert_eq!(two.fixture.count("lock/"), 0);
}
