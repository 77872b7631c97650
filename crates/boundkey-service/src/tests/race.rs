//! Joins that lose a race against somebody else's commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use boundkey_keys::MasterKey;
use boundkey_proto::JoinKindName;
use boundkey_store::{
    Batch, CommitError, Committed, Entry, Measure, MemoryStore, Range, Revision, Store, StoreError, Watch,
    keys,
};
use time::OffsetDateTime;
use time::macros::datetime;

use super::fixture::{CLUSTER, Counted, Fixture, Machine, now};
use crate::{InPlace, ManualClock, Parts, Service, ServiceConfig};

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
    let mut asked = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let problem = machine.try_join(&fixture).unwrap_err();
        assert_eq!((problem.status, problem.code.as_str()), (503, "busy"));
        asked.insert(problem.retry_after.unwrap());
    }
    assert!(asked.len() > 2 && asked.iter().all(|seconds| (1..=8).contains(seconds)), "{asked:?}");
}
