//! The edges at which the real code meets the world: disk, wire, store.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use boundkey_client::{Channel, Reply, Transport, TransportError};
use boundkey_keys::sha256;
use boundkey_keystore::{AgentState, FileError, Keystore, KeystoreError, MemoryKeystore};
use boundkey_store::records::{EventRecord, Record as _};
use boundkey_store::{
    Batch, CommitError, Committed as Done, Entry, Measure, MemoryStore, Range, Revision, Store, StoreError,
    Watch, Write,
};
use time::OffsetDateTime;

use super::Sabotage;
use super::hub::{ActorId, Committed, DiskView, Hub, Point};
use super::rng::Rng;

/// What survives the process: the encoded state.
#[derive(Clone, Default)]
pub(super) struct Disk(Arc<Mutex<MemoryKeystore>>);

impl Disk {
    pub(super) fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.lock().snapshot())))
    }

    /// As if the whole disk had been replaced.
    pub(super) fn replace(&self, by: &Self) {
        let snapshot = by.lock().snapshot();
        *self.lock() = snapshot;
    }

    pub(super) fn wipe(&self) {
        *self.lock() = MemoryKeystore::default();
    }

    pub(super) fn load(&self) -> Result<AgentState, KeystoreError> {
        self.lock().load()
    }

    pub(super) fn save(&self, state: &AgentState) -> Result<(), KeystoreError> {
        self.lock().save(state)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, MemoryKeystore> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn view(state: &AgentState) -> DiskView {
    let pending = state.pending.as_ref();
    DiskView {
        attempt: pending.map(|p| p.attempt),
        bound: state.bound_key.as_ref().map(|key| key.public_key().thumbprint()),
        new: pending.and_then(|p| p.new_key.as_ref()).map(|key| key.public_key().thumbprint()),
        state: state.join_state.as_ref().map(|text| sha256(&[text.as_bytes()])),
    }
}

/// A process's hold on its disk.
pub(super) struct Mounted {
    pub(super) disk: Disk,
    pub(super) hub: Hub,
    pub(super) actor: ActorId,
}

impl Mounted {
    fn dies(&self, before: bool) -> bool {
        let mut hub = self.hub.lock();
        let point = if before { Point::BeforeSave } else { Point::AfterSave };
        let mut dies = hub.reach(point);
        if let Some((left, at_before)) = hub.armed.get_mut(&self.actor)
            && *at_before == before
        {
            if *left == 0 {
                dies = true;
            } else {
                *left -= 1;
            }
        }
        if dies {
            hub.armed.remove(&self.actor);
            hub.died.push(self.actor);
        }
        dies
    }
}

/// What a dead process would have been told; nobody acts on it.
fn dead() -> KeystoreError {
    KeystoreError::from(FileError::DiskFull { path: PathBuf::from("(the process died)") })
}

impl Keystore for Mounted {
    fn load(&mut self) -> Result<AgentState, KeystoreError> {
        self.disk.load()
    }

    fn save(&mut self, state: &AgentState) -> Result<(), KeystoreError> {
        if self.dies(true) {
            return Err(dead());
        }
        let forgets = self.hub.lock().sabotage == Some(Sabotage::ClientForgetsItsAttempt);
        if !(forgets && state.pending.is_some() && state.join_state.is_some()) {
            self.disk.save(state)?;
        }
        self.hub.lock().saves.push((self.actor, view(state)));
        if self.dies(false) { Err(dead()) } else { Ok(()) }
    }
}

/// The way to the servers: every message is parked in the hub.
pub(super) struct Wire {
    pub(super) hub: Hub,
    pub(super) actor: ActorId,
    pub(super) channel: Channel,
}

impl Transport for Wire {
    async fn post(&mut self, path: &str, body: Vec<u8>) -> Result<Reply, TransportError> {
        self.hub.post(self.actor, path.ends_with("begin"), body).await
    }

    async fn get(&mut self, _: &str, _: usize) -> Result<Reply, TransportError> {
        Err(broken("nothing is fetched here"))
    }

    fn channel(&self) -> Option<Channel> {
        Some(self.channel.clone())
    }

    fn disconnect(&mut self) {}
}

pub(super) fn broken(reason: &str) -> TransportError {
    TransportError::Broken { server: "server:443".to_owned(), reason: reason.to_owned() }
}

/// One replica's connection to the store that all share.
pub(super) struct Connected {
    pub(super) store: Arc<MemoryStore>,
    pub(super) hub: Hub,
}

impl Connected {
    async fn point(&self, point: Point) {
        let dies = {
            let mut hub = self.hub.lock();
            let dies = !hub.quiet && hub.reach(point);
            if dies {
                let task = hub.current;
                hub.server_died.push(task);
            }
            dies
        };
        self.hub.pause().await;
        if dies {
            // Polled no more: the world drops all that this server does.
            std::future::pending::<()>().await;
        }
    }

    /// Whether this commit fails without effect (false) or takes effect and is reported as unknown (true).
    fn fault(&self) -> Option<bool> {
        let mut hub = self.hub.lock();
        if hub.quiet || hub.store_faults == 0 {
            return None;
        }
        hub.fault_seed = hub.fault_seed.wrapping_add(1);
        let mut rng = Rng::of(hub.fault_seed, &[0x57]);
        if !rng.chance(hub.store_faults) {
            return None;
        }
        hub.store_failures += 1;
        Some(rng.chance(500))
    }
}

#[async_trait]
impl Store for Connected {
    async fn get_many(&self, keys: &[&str], now: OffsetDateTime) -> Result<Vec<Option<Entry>>, StoreError> {
        self.point(Point::BeforeStore).await;
        let mut found = self.store.get_many(keys, now).await?;
        let hidden = match self.hub.lock().sabotage {
            Some(Sabotage::StoreHidesLocks) => Some("lock-of/"),
            Some(Sabotage::StoreHidesMarks) => Some("void/"),
            _ => None,
        };
        for (key, entry) in keys.iter().zip(&mut found) {
            if hidden.is_some_and(|prefix| key.starts_with(prefix)) {
                *entry = None;
            }
        }
        self.point(Point::AfterStore).await;
        Ok(found)
    }

    async fn commit(&self, mut batch: Batch, now: OffsetDateTime) -> Result<Done, CommitError> {
        self.point(Point::BeforeStore).await;
        let fault = self.fault();
        if fault == Some(false) {
            return Err(StoreError::Failed("injected".to_owned()).into());
        }
        let sabotage = self.hub.lock().sabotage;
        match sabotage {
            Some(Sabotage::StorePanics) => panic!("a panic on purpose"),
            Some(Sabotage::StoreHidesLocks) => batch.conditions.retain(|c| !c.key().starts_with("lock-of/")),
            Some(Sabotage::StoreHidesMarks) => batch.conditions.retain(|c| !c.key().starts_with("void/")),
            Some(Sabotage::StoreLosesRevocations) => {
                batch.writes.retain(|w| !w.key().starts_with("revoked/"))
            }
            Some(Sabotage::StoreIgnoresConditions) => batch.conditions.clear(),
            Some(Sabotage::StoreDropsLocks) => batch.writes.retain(|w| !w.key().starts_with("lock")),
            Some(Sabotage::StoreLosesCountedRows) => batch.writes.retain(|w| !is_counted_row(w)),
            Some(Sabotage::StoreLosesEvents) => batch.writes.retain(|w| !w.key().starts_with("event/")),
            _ => {}
        }
        let writes: Vec<Write> = batch.writes.clone();
        let done = self.store.commit(batch, now).await?;
        {
            let mut hub = self.hub.lock();
            if !hub.quiet {
                let task = hub.current;
                hub.commits.push(Committed { task, at: now, writes });
            }
        }
        self.point(Point::AfterStore).await;
        match fault {
            Some(_) => Err(CommitError::Unknown("injected".to_owned())),
            None => Ok(done),
        }
    }

    async fn range(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        now: OffsetDateTime,
    ) -> Result<Range, StoreError> {
        self.point(Point::BeforeStore).await;
        let mut page = self.store.range(prefix, after, limit, now).await;
        if let (Ok(page), Some(Sabotage::StoreHidesMarks)) = (&mut page, self.hub.lock().sabotage) {
            page.entries.retain(|entry| !entry.key.starts_with("void/"));
        }
        self.point(Point::AfterStore).await;
        page
    }

    async fn measure(&self, prefix: &str, now: OffsetDateTime) -> Result<Measure, StoreError> {
        self.point(Point::BeforeStore).await;
        self.store.measure(prefix, now).await
    }

    async fn drop_first(&self, prefix: &str, before: &str, at_most: usize) -> Result<usize, StoreError> {
        self.point(Point::BeforeStore).await;
        self.store.drop_first(prefix, before, at_most).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.store.watch(prefix, after).await
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.store.revision().await
    }
}

fn is_counted_row(write: &Write) -> bool {
    let Write::Put { key, value } = write else { return false };
    key.starts_with("event/") && EventRecord::decode(value).is_ok_and(|event| event.count > 0)
}
