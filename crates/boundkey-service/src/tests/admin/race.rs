//! Two servers at once: whoever comes second decides anew on what the first has written.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use boundkey_api::VerbRequest;
use boundkey_keys::MasterKey;
use boundkey_store::{
    Batch, CommitError, Committed, Entry, Measure, MemoryStore, Range, Revision, Store, StoreError, Watch,
};
use boundkey_token::read_resources;
use serde_json::json;
use time::OffsetDateTime;

use super::token;
use crate::admin::{apply_resources, carry_out_verb};
use crate::tests::fixture::{CLUSTER, Counted, Fixture, Machine, now, start};
use crate::{InPlace, Parts, Service, ServiceConfig};

/// A store in which somebody else always commits first, as often as there is something in the list.
struct Overtaken {
    store: Arc<MemoryStore>,
    first: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
}

#[async_trait]
impl Store for Overtaken {
    async fn get_many(&self, keys: &[&str], at: OffsetDateTime) -> Result<Vec<Option<Entry>>, StoreError> {
        self.store.get_many(keys, at).await
    }

    async fn commit(&self, batch: Batch, at: OffsetDateTime) -> Result<Committed, CommitError> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(first) = first {
            first();
        }
        self.store.commit(batch, at).await
    }

    async fn range(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        at: OffsetDateTime,
    ) -> Result<Range, StoreError> {
        self.store.range(prefix, after, limit, at).await
    }

    async fn measure(&self, prefix: &str, now: OffsetDateTime) -> Result<Measure, StoreError> {
        self.store.measure(prefix, now).await
    }

    async fn drop_first(&self, prefix: &str, before: &str, at_most: usize) -> Result<usize, StoreError> {
        self.store.drop_first(prefix, before, at_most).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.store.watch(prefix, after).await
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.store.revision().await
    }
}

/// Two servers of one cluster: what the first commits comes after what the second does meanwhile.
pub(in crate::tests) struct Two {
    overtaken: Service,
    store: Arc<Overtaken>,
    pub(in crate::tests) fixture: Fixture,
}

pub(in crate::tests) fn two() -> Two {
    let fixture = Fixture::new();
    let store = Arc::new(Overtaken { store: fixture.store.clone(), first: Mutex::default() });
    let overtaken = now(Service::start(Parts {
        store: store.clone(),
        master: MasterKey::new(1, [7; 32]),
        config: ServiceConfig::new(CLUSTER),
        clock: fixture.clock.clone(),
        entropy: Arc::new(Counted::from(1 << 50)),
        stretch: Arc::new(InPlace),
    }))
    .expect("the same cluster");
    Two { overtaken, store, fixture }
}

impl Two {
    fn first(&self, labels: &str) {
        let file = format!(
            "{{kind: token, version: v2, metadata: {{name: web, labels: {labels}}}, spec: {{roles: [Node], join_method: bound_keypair}}}}"
        );
        let other = self.other().service;
        self.before_the_commit(move || {
            let resources = read_resources(file.as_bytes()).expect("a good file");
            now(apply_resources(&other, &other.own_context(), &resources, true)).expect("applied");
        });
    }

    /// The server that is always first.
    pub(in crate::tests) fn other(&self) -> Fixture {
        let (store, clock) = (self.fixture.store.clone(), self.fixture.clock.clone());
        let config = ServiceConfig::new(CLUSTER);
        let service = start(store.clone(), clock.clone(), MasterKey::new(1, [7; 32]), config)
            .expect("the same cluster");
        Fixture { service, store, clock }
    }

    /// The one that is overtaken.
    pub(in crate::tests) fn slow(&self) -> Fixture {
        let (store, clock) = (self.fixture.store.clone(), self.fixture.clock.clone());
        Fixture { service: self.overtaken.clone(), store, clock }
    }

    /// Happens before the next commit of the slow one that has nothing before it yet.
    pub(in crate::tests) fn before_the_commit(&self, first: impl FnOnce() + Send + 'static) {
        self.store.first.lock().unwrap().push(Box::new(first));
    }

    /// How much has not happened yet.
    pub(in crate::tests) fn left(&self) -> usize {
        self.store.first.lock().unwrap().len()
    }
}

#[test]
fn of_two_that_create_one_token_the_second_is_told_that_it_exists() {
    let two = two();
    two.first("{by: first}");
    let resources = read_resources(token("web", json!({})).to_string().as_bytes()).unwrap();
    let outcome = now(apply_resources(&two.overtaken, &two.overtaken.own_context(), &resources, false));
    assert_eq!(outcome.unwrap_err().problem.code, "already_exists");
    assert_eq!(two.fixture.event_codes(), ["token_created"]);
}

#[test]
fn of_two_that_update_one_token_the_second_updates_what_the_first_wrote() {
    let two = two();
    two.first("{by: first}");
    let resources = read_resources(token("web", json!({})).to_string().as_bytes()).unwrap();
    let outcome =
        now(apply_resources(&two.overtaken, &two.overtaken.own_context(), &resources, true)).unwrap();
    assert!(!outcome[0].created && outcome[0].changed);
    assert_eq!(two.fixture.count("token/"), 1);
    let mut codes = two.fixture.event_codes();
    codes.sort();
    assert_eq!(codes, ["token_created", "token_updated"]);
}

#[test]
fn the_second_is_told_that_what_it_read_is_stale() {
    let two = two();
    two.fixture.node_token("web", "");
    let revision = now(two
        .fixture
        .service
        .load::<boundkey_store::records::TokenRecord>("token/web", two.fixture.service.now()));
    let revision = revision.unwrap().unwrap().revision;
    two.first("{by: first}");
    let mut mine = token("web", json!({}));
    mine["metadata"]["revision"] = json!(revision.0.to_string());
    mine["metadata"]["labels"] = json!({ "by": "second" });
    let resources = read_resources(mine.to_string().as_bytes()).unwrap();
    let outcome = now(apply_resources(&two.overtaken, &two.overtaken.own_context(), &resources, true));
    assert_eq!(outcome.unwrap_err().problem.code, "stale_revision");
}

#[test]
fn whoever_is_always_overtaken_is_asked_to_come_again() {
    let two = two();
    for turn in 0..20 {
        two.first(&format!("{{turn: \"{turn}\"}}"));
    }
    let resources = read_resources(token("web", json!({})).to_string().as_bytes()).unwrap();
    let refusal =
        now(apply_resources(&two.overtaken, &two.overtaken.own_context(), &resources, true)).unwrap_err();
    assert_eq!((refusal.problem.code.as_str(), refusal.problem.retry_after), ("conflict", Some(1)));
}

#[test]
fn a_client_of_many_that_joins_while_a_reset_is_made_is_revoked_with_the_others() {
    let two = two();
    let client = |number: usize| {
        let mut machine = Machine::new("web", 1, None);
        (0..2 * number).for_each(|_| machine.next_attempt());
        machine
    };
    let key = client(0).bound.public_key().to_openssh();
    two.fixture.node_token(
        "web",
        &format!(
            "  bound_keypair:\n    onboarding: {{initial_public_key: \"{key}\"}}\n    recovery: {{mode: insecure}}\n"
        ),
    );
    for number in 0..4 {
        client(number).join(&two.fixture).expect("one of many");
    }
    let (other, mut late) = (two.other(), client(9));
    two.before_the_commit(move || {
        late.join(&other).expect("joins between the reading and the commit");
    });
    let context = two.overtaken.own_context();
    let request = VerbRequest::default();
    let reset = now(carry_out_verb(&two.overtaken, &context, "web", "reset", &request)).unwrap();
    assert!(reset.changed);
    assert_eq!(two.fixture.count("instance/"), 0);
    assert_eq!(two.fixture.count("revoked/"), 10, "two of each client");
}
