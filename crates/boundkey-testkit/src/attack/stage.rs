//! A real server with a store that is filled as if much had happened before.

use std::path::PathBuf;

use boundkey_lifecycle::Identity;
use boundkey_store::records::{InstanceEntry, Record as _, RevokedRecord};
use boundkey_store::{Batch, Store as _, Write, keys};
use boundkey_store_sqlite::SqliteStore;
use time::OffsetDateTime;

use super::run::block_on;
use crate::cluster::Cluster;

/// The server, and the config that it is always started with.
pub struct Stage {
    /// The server and its directory.
    pub cluster: Cluster,
    config: PathBuf,
}

/// Writes in a commit.
const PAGE: usize = 2000;

impl Stage {
    /// A server with these lines in its config.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn start(purpose: &str, config: &str) -> Self {
        let cluster = Cluster::prepare(purpose);
        let path = cluster.path("server.yaml");
        std::fs::write(&path, config).expect("a config can be written");
        let mut stage = Self { cluster, config: path };
        stage.start_server();
        stage
    }

    fn start_server(&mut self) {
        self.cluster.start_server(&["-c", &self.config.display().to_string()]);
    }

    /// Stops it, does something with its store, and starts it again.
    ///
    /// # Panics
    /// If it does not stop or start.
    pub fn restart<T>(&mut self, between: impl FnOnce(&SqliteStore) -> T) -> T {
        self.cluster.stop_server();
        let store = SqliteStore::open(&self.cluster.data_dir().join("store.sqlite")).expect("a store");
        let done = between(&store);
        drop(store);
        self.start_server();
        done
    }

    /// Certificates of hosts that were revoked, as far as the lists know.
    ///
    /// # Panics
    /// If the store refuses.
    pub fn revoke(&mut self, certificates: usize) {
        let now = now();
        let record = RevokedRecord { revoked_at: now, expires_at: now + time::Duration::days(7) };
        let (value, until) = (record.encode(), record.expires_at);
        self.restart(|store| {
            put(store, certificates, now, |number| Write::PutUntil {
                key: keys::revoked("host", until.unix_timestamp(), &format!("4{number:039x}")),
                value: value.clone(),
                expires: until,
            });
        });
    }

    /// Copies the first client of a shared token under other ids, until there are so many.
    ///
    /// # Panics
    /// If there is none.
    pub fn multiply_instances(&mut self, clients: usize) {
        let now = now();
        self.restart(|store| {
            let page = block_on(store.range("instance/", None, 1, now)).expect("a range");
            let found = page.entries.first().expect("a client");
            let (above, _) = found.key.rsplit_once('/').expect("a key of an instance");
            let first: InstanceEntry = found.decode().expect("an instance");
            let expires = first.record.certificates_expire_at + time::Duration::hours(24);
            put(store, clients, now, |number| {
                let id = format!("0000{number:04x}-0000-4000-8000-{number:012x}");
                let mut copy = first.clone();
                copy.record.identity = match copy.record.identity {
                    Identity::Host(_) => Identity::Host(id.clone()),
                    Identity::BotInstance(_) => Identity::BotInstance(id.clone()),
                };
                for (of, certificate) in copy.record.issued.iter_mut().enumerate() {
                    let serial = format!("4{number:07x}{of}{}", certificate.serial);
                    certificate.serial = serial.chars().take(certificate.serial.len()).collect();
                }
                Write::PutUntil { key: format!("{above}/{id}"), value: copy.encode(), expires }
            });
        });
    }

    /// Stops the server; events in its audit log, and bytes of its store.
    ///
    /// # Panics
    /// If it does not stop.
    pub fn weigh(&mut self) -> (u64, u64) {
        let events =
            self.restart(|store| block_on(store.measure(keys::EVENT, now())).expect("a measure").entries);
        let store = self.cluster.data_dir().join("store.sqlite");
        (events, std::fs::metadata(store).expect("a store").len())
    }
}

fn put(store: &SqliteStore, count: usize, now: OffsetDateTime, row: impl Fn(usize) -> Write) {
    for start in (0..count).step_by(PAGE) {
        let writes = (start..count.min(start + PAGE)).map(&row).collect();
        block_on(store.commit(Batch { conditions: Vec::new(), writes }, now)).expect("a commit");
    }
}

#[expect(clippy::disallowed_methods, reason = "real servers go by the real clock")]
fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}
