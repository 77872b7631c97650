//! The public vectors against a whole service: what is refused is refused with the code that the file says, and no
//! record changes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use boundkey_keys::{MasterKey, PrivateKey};
use boundkey_proto::{
    AttemptId, Complete, JoinAnswer, MAX_JOIN_STATE, PROTOCOL_VERSION, Problem, Request, build_complete,
    issue_challenge, read_challenge,
};
use boundkey_store::records::{EventRecord, Record as _};
use boundkey_store::{MemorySnapshot, MemoryStore, Store as _, keys};
use boundkey_token::{Role, RoleSet};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::datetime;

use super::fixture::{now, start};
use crate::admin::apply_resources;
use crate::{ManualClock, Refusal, Service, ServiceConfig, join};

pub(super) const TOKEN: &str = "example-token";
pub(super) const START: OffsetDateTime = datetime!(2026-11-23 08:00 UTC);

pub(super) fn file(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/vectors").join(name);
    serde_json::from_slice(&std::fs::read(&path).expect("the vectors are there")).expect("JSON")
}

pub(super) fn cases(file: &Value) -> &[Value] {
    file["cases"].as_array().expect("cases")
}

/// The cluster of the vectors, with their one token.
pub(super) struct Site {
    pub(super) service: Service,
    pub(super) store: Arc<MemoryStore>,
    pub(super) clock: Arc<ManualClock>,
    first: MemorySnapshot,
}

impl Site {
    fn new(onboarding: &str) -> Self {
        let given = file("completes.json")["given"].clone();
        let master = MasterKey::from_json(given["master_key"].to_string().as_bytes()).expect("a keyring");
        let (store, clock) = (Arc::new(MemoryStore::new()), Arc::new(ManualClock::new(START)));
        let config = ServiceConfig::new(given["cluster"].as_str().expect("a name"));
        let service = start(store.clone(), clock.clone(), master, config).expect("a new cluster");
        let yaml = format!(
            "kind: token\nversion: v2\nmetadata: {{name: {TOKEN}}}\nspec:\n  roles: [Node]\n  join_method: bound_keypair\n  \
             bound_keypair:\n    onboarding: {{{onboarding}}}\n  certificates:\n    dns_names: [\"*.example.com\"]\n    \
             ip_addresses: [192.0.2.7]\n"
        );
        let resources = boundkey_token::read_resources(yaml.as_bytes()).expect("good resources");
        now(apply_resources(&service, &service.own_context(), &resources, false)).expect("applied");
        let first = store.snapshot();
        Self { service, store, clock, first }
    }

    fn by_secret() -> Self {
        let secret = file("completes.json")["given"]["secret"].as_str().expect("a secret").to_owned();
        Self::new(&format!("registration_secret: {secret}"))
    }

    pub(super) fn by_key() -> Self {
        Self::new(&format!("initial_public_key: {}", bound().public_key().to_openssh()))
    }

    /// Every record but those of the audit log, and how many of these there are.
    fn records(&self) -> (BTreeMap<String, Vec<u8>>, usize) {
        let range = now(self.store.range("", None, usize::MAX, self.service.now())).expect("a range");
        let all = range.entries.len();
        let records: BTreeMap<_, _> = range
            .entries
            .into_iter()
            .filter(|entry| !entry.key.starts_with(keys::EVENT))
            .map(|entry| (entry.key, entry.value))
            .collect();
        let events = all - records.len();
        (records, events)
    }

    /// The refusal, or None if it was admitted. Whatever is refused changes nothing; it has an event only if its sender
    /// proved something.
    fn refused(&self, name: &str, body: &[u8], at: OffsetDateTime) -> Option<Refusal> {
        self.clock.set(at);
        let (before, events) = self.records();
        let context = self.service.own_context();
        let answer = now(join::complete(&self.service, body, &context, at));
        let (after, events_after) = self.records();
        match answer {
            Ok(answer) => {
                assert!(matches!(answer, JoinAnswer::Admitted(_)), "{name}: {answer:?}");
                assert_ne!(before, after, "{name}: admitted, and nothing was stored");
                None
            }
            Err(refused) => {
                let problem = &refused.refusal.problem;
                assert!(before == after, "{name}: {} changed a record", problem.code);
                let told = problem.status == 403 && problem.code != "denied";
                assert_eq!(events_after, events + usize::from(told), "{name}: {}: events", problem.code);
                if told {
                    self.is_in_the_audit_log(name, problem, &context.correlation);
                }
                Some(refused.refusal)
            }
        }
    }

    fn events(&self) -> Vec<EventRecord> {
        let page = now(self.store.range(keys::EVENT, None, usize::MAX, self.service.now())).expect("events");
        page.entries.iter().map(|entry| EventRecord::decode(&entry.value).expect("an event")).collect()
    }

    /// The event of this refusal says what the sender was told, in full.
    fn is_in_the_audit_log(&self, name: &str, problem: &Problem, correlation: &str) {
        let events =
            now(self.store.range(keys::EVENT, None, usize::MAX, self.service.now())).expect("events");
        let events = events.entries.iter().map(|entry| EventRecord::decode(&entry.value).expect("an event"));
        let event = events.into_iter().find(|event| event.correlation_id == correlation).expect(name);
        assert_eq!((event.code, event.detail), (format!("denied_{}", problem.code), problem.detail.clone()));
    }

    /// Status and code of the refusal.
    fn send(&self, name: &str, body: &[u8], at: OffsetDateTime) -> Option<(u16, String)> {
        self.refused(name, body, at).map(|refusal| (refusal.problem.status, refusal.problem.code))
    }
}

pub(super) fn bound() -> PrivateKey {
    PrivateKey::ed25519_from_seed(&[1; 32])
}

/// `completes.json` and `proofs.json` before a token; gives back how many were admitted and refused. What proves nothing
/// is refused for a `cause` that its sender is not told; none: it is admitted.
fn messages(site: &Site, cause: impl Fn(&Value) -> Option<&'static str>) -> (usize, usize) {
    let (mut admitted, mut refused, mut causes) = (0, 0, BTreeSet::new());
    for name in ["completes.json", "proofs.json"] {
        for case in cases(&file(name)) {
            let label = case["name"].as_str().expect("a name");
            let mut body = case["body"].as_str().expect("a body").as_bytes().to_vec();
            if let Some(length) = case["pad_with_spaces_to"].as_u64() {
                body.resize(usize::try_from(length).expect("a length"), b' ');
            }
            let at = OffsetDateTime::parse(case["now"].as_str().expect("a time"), &Rfc3339).expect("a time");
            site.store.restore(&site.first);
            let refusal = site.refused(label, &body, at);
            *(if refusal.is_none() { &mut admitted } else { &mut refused }) += 1;
            let expect = &case["expect"];
            let (code, status) = (expect["code"].as_str(), expect["status"].as_u64());
            let expected = code.map(|code| (status.expect("a status"), code));
            // What proves nothing is told nothing; the log of the server has the cause.
            let expected = expected.or(cause(expect).map(|_| (403, "denied")));
            let told = refusal.as_ref().map(|r| (u64::from(r.problem.status), r.problem.code.as_str()));
            assert_eq!(told, expected, "{label}");
            let found = refusal.as_ref().map(|refusal| refusal.cause.as_deref().expect("a cause"));
            match code {
                // The fault in words, which name more than the code does.
                Some(code) => {
                    assert!(found.is_some_and(|cause| cause.len() > code.len()), "{label}: {found:?}")
                }
                None => {
                    assert_eq!(found, cause(expect), "{label}");
                    causes.extend(cause(expect).map(|cause| format!("denied_{cause}")));
                }
            }
        }
    }
    // Counted, and written from time to time: the audit log has each cause.
    site.store.restore(&site.first);
    now(join::flush_refusals(&site.service, site.service.now())).expect("written");
    let codes = site.events().into_iter().map(|event| event.code).filter(|code| code.starts_with("denied_"));
    assert_eq!(codes.collect::<BTreeSet<_>>(), causes);
    (admitted, refused)
}

#[test]
fn every_refused_message_of_the_vectors_has_its_code_and_changes_nothing_where_a_secret_registers() {
    let counts = messages(&Site::by_secret(), |expect| match expect["secret_proof"].as_str() {
        Some("right") => None,
        Some(_) => Some("wrong_secret"),
        None => Some("secret_required"),
    });
    assert_eq!(counts, (1, 116));
}

#[test]
fn every_refused_message_of_the_vectors_has_its_code_and_changes_nothing_where_a_key_registers() {
    let bound = bound().public_key().thumbprint().to_string();
    let counts = messages(&Site::by_key(), |expect| {
        (expect["proven"]["bound_key"] != bound.as_str()).then_some("wrong_key")
    });
    assert_eq!((counts.0 + counts.1, counts.0 > 15), (117, true), "{counts:?}");
}

#[test]
fn every_refused_request_of_the_vectors_has_its_code_and_changes_nothing() {
    let site = Site::by_secret();
    let challenge = issue_challenge(site.service.cluster(), site.service.master(), [3; 32], None, START);
    for case in cases(&file("requests.json")) {
        let label = case["name"].as_str().expect("a name");
        let request = case["request"].as_str().expect("a request").to_owned();
        let message = Complete {
            challenge: challenge.clone(),
            request,
            proofs: vec!["a.b.c".to_owned()],
            secret_proof: None,
        };
        let body = serde_json::to_vec(&message).expect("JSON");
        let code = case["expect"]["code"].as_str();
        let expected = code.map_or((403, "denied"), |code| (400, code));
        assert_eq!(site.send(label, &body, START), Some((expected.0, expected.1.to_owned())), "{label}");
    }
}

#[test]
fn every_refused_join_state_of_the_vectors_has_its_code_and_changes_nothing() {
    let site = Site::by_key();
    let refused = |name: &str, attempt: u8, state: Option<&str>| {
        let challenge = issue_challenge(site.service.cluster(), site.service.master(), [3; 32], None, START);
        let view = read_challenge(&challenge, None).expect("a challenge");
        let key = bound();
        let request = Request {
            version: PROTOCOL_VERSION,
            token: TOKEN.parse().expect("a name"),
            roles: RoleSet::new([Role::Node]),
            attempt: AttemptId([attempt; 16]),
            bound_key: key.public_key().clone(),
            new_key: None,
            tls_key: PrivateKey::ed25519_from_seed(&[3; 32]).public_key().clone(),
            ssh_key: None,
            names: Default::default(),
            ttl_seconds: None,
            join_state: state.map(str::to_owned),
            facts: Default::default(),
        };
        let message = build_complete(&challenge, &view, &request, &key, None, None).expect("it fits");
        // Each refusal is to have an event of its own.
        join::forget_refusals(&site.service);
        site.refused(name, &serde_json::to_vec(&message).expect("JSON"), START)
    };
    let send = |name: &str, attempt: u8, state: Option<&str>| {
        refused(name, attempt, state).map(|refusal| (refusal.problem.status, refusal.problem.code))
    };
    assert_eq!(send("registration", 1, None), None);
    let forbidden = |code: &str| Some((403, code.to_owned()));
    assert_eq!(send("no join state", 2, None), forbidden("join_state_required"));
    let mut kinds = BTreeMap::<String, usize>::new();
    for case in cases(&file("states.json")) {
        let label = case["name"].as_str().expect("a name");
        let state = case["join_state"].as_str().expect("a state");
        // A longer one is refused with the request (`requests.json`).
        if state.len() > MAX_JOIN_STATE {
            continue;
        }
        let expect = case["expect"].as_str().expect("a word");
        // One code for whatever was bent; the sentence, which is in the audit log too, has the cause.
        let (code, cause) = match expect {
            // Of another token of that name: the uid of the vectors is not this token's.
            "valid" => ("token_recreated", "is of another token"),
            "unreadable" => ("join_state_invalid", "cannot be read"),
            "bad_tag" => ("join_state_invalid", "was not made by this cluster's key"),
            "unknown_epoch" => ("join_state_invalid", "under a key that is retired"),
            "other_cluster" => ("join_state_invalid", "is of another cluster"),
            other => panic!("{label}: {other}"),
        };
        let problem = refused(label, 2, Some(state)).expect(label).problem;
        assert_eq!((problem.status, problem.code.as_str()), (403, code), "{label}");
        assert!(problem.detail.contains(cause), "{label}: {}", problem.detail);
        *kinds.entry(expect.to_owned()).or_default() += 1;
    }
    let kinds: Vec<&str> = kinds.keys().map(String::as_str).collect();
    assert_eq!(kinds, ["bad_tag", "other_cluster", "unknown_epoch", "unreadable", "valid"]);
    // The right one is still the right one.
    let enrolment = now(site.service.load(&keys::enrolment(TOKEN), START)).expect("readable").expect("there");
    let enrolment: boundkey_store::records::EnrolmentRecord = enrolment.record;
    let claims = enrolment.enrolment.claims(enrolment.uid).expect("a state");
    let state = boundkey_proto::seal_state(&claims, site.service.cluster(), site.service.master());
    assert_eq!(send("the present one", 2, Some(&state)), None);
}
