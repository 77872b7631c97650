//! Property 8 of the lifecycle: the spec is the user's, the enrolment is the server's. Whatever is applied, a bound
//! token's enrolment stays as it is, to the byte; an unbound one takes the onboarding values and nothing else.

use std::collections::BTreeMap;

use boundkey_api::VerbRequest;
use boundkey_keys::Secret;
use boundkey_lifecycle::{Enrolment, SecretRecord};
use boundkey_proto::JoinKindName;
use boundkey_store::records::{EnrolmentRecord, Record, TokenRecord};
use boundkey_store::{Entry, Store as _, keys};
use boundkey_token::read_resources;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::fixture::{Fixture, Machine, now};
use crate::Refusal;
use crate::admin::{apply_resources, carry_out_verb, remove_token};

const MODES: [&str; 3] = ["standard", "relaxed", "insecure"];
const ROLES: [&[&str]; 4] = [&["Node"], &["Node", "Db"], &["Db"], &["Bot"]];

/// What a person may write into a token's file. Keys and secrets by number; times in days from now.
#[derive(Debug, Clone, Default)]
struct Spec {
    limit: Option<u32>,
    mode: usize,
    rotate_after: Option<i64>,
    must_register_before: Option<i64>,
    key: Option<u8>,
    secret: Option<u8>,
    roles: usize,
    label: Option<u8>,
    expires: Option<i64>,
    dns_name: Option<u8>,
    max_ttl_hours: Option<u8>,
    /// The file holds a status too, as one does that `get` printed somewhere else.
    status: bool,
}

fn days() -> impl Strategy<Value = Option<i64>> {
    prop::option::of(-9..9_i64)
}

fn some(numbers: std::ops::Range<u8>) -> impl Strategy<Value = Option<u8>> {
    prop::option::of(numbers)
}

fn specs() -> impl Strategy<Value = Vec<Spec>> {
    let first = (prop::option::of(1..9_u32), 0..MODES.len(), days(), days(), some(1..4), some(1..4));
    let second = (0..ROLES.len(), some(0..3), days(), some(0..3), some(1..9), any::<bool>());
    let spec = (first, second).prop_map(|(first, second)| {
        let (limit, mode, rotate_after, must_register_before, key, secret) = first;
        let (roles, label, expires, dns_name, max_ttl_hours, status) = second;
        Spec {
            limit,
            mode,
            rotate_after,
            must_register_before,
            key,
            secret,
            roles,
            label,
            expires,
            dns_name,
            max_ttl_hours,
            status,
        }
    });
    prop::collection::vec(spec, 1..8)
}

fn secret(number: u8) -> Secret {
    // Of the generated form: nothing is stretched.
    Secret::generated([number; 32])
}

fn public_key(number: u8) -> String {
    Machine::new("web", number, None).bound.public_key().to_openssh()
}

/// What is absent is left out.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name, without_nulls(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other,
    }
}

impl Spec {
    fn file(&self, fixture: &Fixture) -> String {
        let time = |days: i64| crate::rfc3339(fixture.service.now() + time::Duration::days(days));
        let is_bot = ROLES[self.roles] == ["Bot"];
        let status = json!({ "bound_keypair": {
            "bound_public_key": public_key(8), "recovery_count": 0, "generation": 7, "sequence": 99,
        } });
        let file = json!({
            "kind": "token",
            "version": "v2",
            "metadata": {
                "name": "web",
                "labels": self.label.map(|n| json!({ "n": n.to_string() })),
                "expires": self.expires.map(time),
            },
            "spec": {
                "roles": ROLES[self.roles],
                "join_method": "bound_keypair",
                "bot_name": is_bot.then_some("ci"),
                "bound_keypair": {
                    "onboarding": {
                        "initial_public_key": self.key.map(public_key),
                        "registration_secret": self.secret.map(|n| secret(n).expose().to_owned()),
                        "must_register_before": self.must_register_before.map(time),
                    },
                    "recovery": { "limit": self.limit, "mode": MODES[self.mode] },
                    "rotate_after": self.rotate_after.map(time),
                },
                "certificates": {
                    "dns_names": self.dns_name.filter(|_| !is_bot).map(|n| json!([format!("web-{n}.example.com")])),
                    "max_ttl": self.max_ttl_hours.map(|hours| format!("{hours}h")),
                },
            },
            "status": self.status.then_some(status),
        });
        without_nulls(file).to_string()
    }

    fn apply(&self, fixture: &Fixture) -> Result<(), Refusal> {
        fixture.clock.advance(time::Duration::seconds(1));
        let resources = read_resources(self.file(fixture).as_bytes()).expect("a good file");
        let applied =
            now(apply_resources(&fixture.service, &fixture.service.own_context(), &resources, true));
        applied.map(drop)
    }
}

/// Every entry but the token's own and the audit log.
fn entries(fixture: &Fixture) -> BTreeMap<String, Entry> {
    let range = now(fixture.store.range("", None, usize::MAX, fixture.service.now())).expect("a range");
    let all = range.entries.into_iter().map(|entry| (entry.key.clone(), entry));
    all.filter(|(key, _)| !key.starts_with(keys::EVENT) && *key != keys::token("web")).collect()
}

fn token(fixture: &Fixture) -> TokenRecord {
    let loaded = now(fixture.service.load(&keys::token("web"), fixture.service.now())).expect("readable");
    loaded.expect("the token").record
}

/// A token that has machines, and one of them.
#[derive(Debug, Clone, Copy)]
enum Bound {
    /// By the generated secret, and renewed.
    BySecret,
    /// By its initial key, then rotated; recoveries granted, a rotation asked for, a grant open.
    ByKey,
    /// Two clients of one static key.
    Shared,
    /// A copy was found out.
    Locked,
}

fn bound() -> impl Strategy<Value = Bound> {
    prop_oneof![Just(Bound::BySecret), Just(Bound::ByKey), Just(Bound::Shared), Just(Bound::Locked)]
}

fn verb(fixture: &Fixture, name: &str, request: &VerbRequest) {
    let context = fixture.service.own_context();
    now(carry_out_verb(&fixture.service, &context, "web", name, request)).expect(name);
}

impl Bound {
    /// The spec it was made by, and its machine.
    fn set_up(self, fixture: &Fixture) -> (Spec, Machine) {
        let spec = match self {
            Self::BySecret | Self::Locked => Spec { limit: Some(3), ..Spec::default() },
            Self::ByKey => Spec { limit: Some(3), key: Some(1), ..Spec::default() },
            Self::Shared => Spec { mode: 2, key: Some(1), ..Spec::default() },
        };
        spec.apply(fixture).expect("made");
        let secret = spec.key.is_none().then(|| fixture.generated_secret("web"));
        let mut machine = Machine::new("web", 1, secret);
        machine.join(fixture).expect("registers");
        match self {
            Self::BySecret => drop(machine.join(fixture).expect("renews")),
            Self::ByKey => {
                verb(fixture, "rotate", &VerbRequest::default());
                machine.join(fixture).expect("rotates");
                verb(fixture, "grant-recovery", &VerbRequest::default());
                verb(fixture, "rotate", &VerbRequest::default());
                verb(fixture, "resync", &VerbRequest::default());
            }
            Self::Shared => {
                let mut other = Machine::new("web", 1, None);
                (0..4).for_each(|_| other.next_attempt());
                other.join(fixture).expect("one of many");
            }
            Self::Locked => {
                machine.copy().join(fixture).expect("a copy's first join");
                assert_eq!(machine.try_join(fixture).unwrap_err().code, "clone_detected");
            }
        }
        (spec, machine)
    }
}

/// What an unbound token's files come to: which key, which secret, and what a reset voided.
struct Onboarding {
    key: Option<u8>,
    secret: Option<u8>,
    spec_void: bool,
    void_key: Option<u8>,
}

#[derive(Debug, PartialEq, Eq)]
enum InForce {
    Key(u8),
    Secret(u8),
    Generated,
}

impl Onboarding {
    /// True if the file changes one of its values. A file without a secret leaves the one before in force.
    fn take(&mut self, spec: &Spec) -> bool {
        let secret_changed = spec.secret.is_some() && spec.secret != self.secret;
        let changed = secret_changed || spec.key != self.key;
        if secret_changed {
            (self.secret, self.spec_void) = (spec.secret, false);
        }
        self.key = spec.key;
        changed
    }

    fn in_force(&self) -> InForce {
        match (self.key, self.secret) {
            (Some(key), _) if Some(key) != self.void_key => InForce::Key(key),
            (_, Some(secret)) if !self.spec_void => InForce::Secret(secret),
            _ => InForce::Generated,
        }
    }
}

/// A token that nobody has joined, or one that was reset.
fn set_up_unbound(fixture: &Fixture, first: &Spec, reset: bool) -> Onboarding {
    if reset {
        fixture.node_token("web", "");
        Machine::new("web", 1, Some(fixture.generated_secret("web"))).join(fixture).expect("registers");
        verb(fixture, "reset", &VerbRequest::default());
        Onboarding { key: None, secret: None, spec_void: true, void_key: Some(1) }
    } else {
        first.apply(fixture).expect("made");
        Onboarding { key: first.key, secret: first.secret, spec_void: false, void_key: None }
    }
}

proptest! {
    // Each makes a cluster, and on the way some machines join it.
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn applying_a_spec_changes_no_enrolment(bound in bound(), specs in specs()) {
        let fixture = Fixture::new();
        let (made, mut machine) = bound.set_up(&fixture);
        let (before, made_token) = (entries(&fixture), token(&fixture));
        prop_assert!(before.contains_key(&keys::enrolment("web")));
        for spec in specs.iter().chain([&made]) {
            spec.apply(&fixture).expect("applied");
            prop_assert!(entries(&fixture) == before, "changed by {:?}", spec);
            let found = token(&fixture);
            prop_assert_eq!((found.uid, found.created_at), (made_token.uid, made_token.created_at));
        }
        // And so the machine goes on where it was, with the next sequence.
        let sequence = fixture.enrolment("web").enrolment.sequence;
        match bound {
            Bound::Locked => prop_assert_eq!(machine.join(&fixture).unwrap_err().code, "locked"),
            Bound::Shared => {
                prop_assert_eq!(machine.join(&fixture).unwrap().kind, JoinKindName::Renewed);
                prop_assert_eq!(fixture.count("instance/"), 2);
            }
            Bound::BySecret | Bound::ByKey => {
                prop_assert_eq!(machine.join(&fixture).unwrap().kind, JoinKindName::Renewed);
                prop_assert_eq!(fixture.enrolment("web").enrolment.sequence, sequence + 1);
            }
        }
    }

    #[test]
    fn applying_a_spec_gives_an_unbound_token_its_onboarding_values_and_nothing_else(
        reset in any::<bool>(), specs in specs(),
    ) {
        let fixture = Fixture::new();
        let mut onboarding = set_up_unbound(&fixture, &specs[0], reset);
        let key = keys::enrolment("web");
        let decoded = |entry: Option<&Entry>| {
            entry.map_or_else(Enrolment::default, |entry| EnrolmentRecord::decode(&entry.value).unwrap().enrolment)
        };
        let uid = token(&fixture).uid;
        let generation = entries(&fixture).get(&key).map_or(0, |entry| decoded(Some(entry)).generation);
        for spec in &specs {
            let mut before = entries(&fixture);
            let changed = onboarding.take(spec);
            spec.apply(&fixture).expect("applied");
            let mut after = entries(&fixture);
            prop_assert!(changed || before == after, "changed by {:?}", spec);
            let (old, new) = (before.remove(&key), after.remove(&key));
            prop_assert!(before == after, "more than the enrolment changed by {:?}", spec);
            let (old, new) = (decoded(old.as_ref()), decoded(new.as_ref()));
            let in_force = onboarding.in_force();
            prop_assert_eq!(
                (new.secret.generated.is_some(), new.secret.proof_key.is_some()),
                (in_force == InForce::Generated, !matches!(in_force, InForce::Key(_))),
                "{:?} is in force", in_force
            );
            prop_assert_eq!((new.secret.used, new.secret.spec_void), (false, onboarding.spec_void));
            prop_assert_eq!(&new.secret.void_keys, &old.secret.void_keys);
            let blank = |e: Enrolment| Enrolment { secret: SecretRecord::default(), ..e };
            prop_assert_eq!(blank(new), blank(old));
        }
        // What is in force registers; the rest of the file stood in nobody's way.
        let plain = Spec { key: onboarding.key, ..Spec::default() };
        plain.apply(&fixture).expect("applied");
        let mut machine = match onboarding.in_force() {
            InForce::Key(number) => Machine::new("web", number, None),
            InForce::Secret(number) => Machine::new("web", 9, Some(secret(number))),
            InForce::Generated => Machine::new("web", 9, Some(fixture.generated_secret("web"))),
        };
        prop_assert_eq!(machine.join(&fixture).unwrap().kind, JoinKindName::Registered);
        let record = fixture.enrolment("web");
        prop_assert_eq!(
            (record.uid, record.enrolment.generation, record.enrolment.sequence),
            (uid, generation, 1)
        );
    }

    #[test]
    fn a_token_that_is_removed_and_made_anew_is_another_lineage(bound in bound(), specs in specs()) {
        let fixture = Fixture::new();
        let (_, mut machine) = bound.set_up(&fixture);
        let uid = token(&fixture).uid;
        for spec in &specs {
            spec.apply(&fixture).expect("applied");
        }
        let context = fixture.service.own_context();
        now(remove_token(&fixture.service, &context, "web", false)).expect("removed");
        let anew = Spec { key: Some(5), ..Spec::default() };
        anew.apply(&fixture).expect("made anew");
        prop_assert!(token(&fixture).uid != uid);
        prop_assert_eq!(machine.join(&fixture).unwrap_err().code, "denied");
        let mut next = Machine::new("web", 5, None);
        prop_assert_eq!(next.join(&fixture).unwrap().kind, JoinKindName::Registered);
        let record = fixture.enrolment("web");
        prop_assert_eq!(record.uid, token(&fixture).uid);
        prop_assert_eq!(
            (record.enrolment.generation, record.enrolment.sequence, record.enrolment.recovery_count),
            (0, 1, 1)
        );
        prop_assert_eq!(fixture.count("lock/"), 0);
        // The former machine is a stranger to the lineage, and locks nothing.
        prop_assert_eq!(machine.join(&fixture).unwrap_err().code, "denied");
        prop_assert_eq!(next.join(&fixture).unwrap().kind, JoinKindName::Renewed);
    }
}
