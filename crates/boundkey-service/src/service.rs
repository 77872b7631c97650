//! The service: what every request needs, in one handle that is cheap to clone.

use std::sync::{Arc, Mutex, PoisonError};

use boundkey_keys::{Entropy, MasterKey};
use boundkey_store::Store;
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::authorities::Authorities;
use crate::bootstrap::{StartError, open_cluster};
use crate::clock::to_micros;
use crate::join::Joins;
use crate::lists::ListCache;
use crate::pieces::Pieces;
use crate::spate::{Kind, Spates};
use crate::{Clock, RequestContext, ServiceConfig, Stretch};

/// What a service is made of. The caller chooses the store, the clock and the randomness.
pub struct Parts {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// The cluster's master key; lives outside the store.
    pub master: MasterKey,
    /// Checked configuration.
    pub config: ServiceConfig,
    /// Read once for a request.
    pub clock: Arc<dyn Clock>,
    /// Nonces, ids, secrets, keys.
    pub entropy: Arc<dyn Entropy>,
    /// Where secrets are stretched.
    pub stretch: Arc<dyn Stretch>,
}

/// A running service, without sockets. Cheap to clone; all clones are the same service.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

struct Inner {
    parts: Parts,
    authorities: Authorities,
    joins: Joins,
    lists: ListCache,
    /// The CA bundle as it is served.
    bundle: Arc<Pieces>,
    served_pins: Mutex<Vec<String>>,
    stopping: watch::Sender<bool>,
    spates: Spates,
    started_at: OffsetDateTime,
}

impl Service {
    /// Opens the cluster in the store, or makes it if the store is empty.
    ///
    /// # Errors
    /// The store belongs to another cluster or master key, is damaged, or does not answer.
    pub async fn start(parts: Parts) -> Result<Self, StartError> {
        let started_at = to_micros(parts.clock.now());
        let authorities =
            open_cluster(&*parts.store, &parts.master, &*parts.entropy, &parts.config.cluster, started_at)
                .await?;
        let bundle = serde_json::to_vec(authorities.bundle()).expect("a bundle is texts and numbers");
        let joins = Joins::new(&parts.config.limits, Arc::clone(&parts.clock));
        Ok(Self(Arc::new(Inner {
            parts,
            authorities,
            joins,
            lists: ListCache::default(),
            bundle: Pieces::new(&bundle),
            served_pins: Mutex::default(),
            stopping: watch::Sender::new(false),
            spates: Spates::default(),
            started_at,
        })))
    }

    /// The store.
    pub fn store(&self) -> &dyn Store {
        &*self.0.parts.store
    }

    /// The master key.
    pub fn master(&self) -> &MasterKey {
        &self.0.parts.master
    }

    /// The configuration.
    pub fn config(&self) -> &ServiceConfig {
        &self.0.parts.config
    }

    /// The cluster's name.
    pub fn cluster(&self) -> &str {
        &self.0.parts.config.cluster
    }

    /// The present time, in microseconds. Read it once for a request.
    pub fn now(&self) -> OffsetDateTime {
        to_micros(self.0.parts.clock.now())
    }

    /// For sockets: waiting and pace are measured by it.
    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.0.parts.clock)
    }

    /// Randomness.
    pub fn entropy(&self) -> &dyn Entropy {
        &*self.0.parts.entropy
    }

    /// Where secrets are stretched.
    pub fn stretch(&self) -> &dyn Stretch {
        &*self.0.parts.stretch
    }

    /// The cluster's CAs.
    pub fn authorities(&self) -> &Authorities {
        &self.0.authorities
    }

    /// The signed CA bundle as JSON.
    pub(crate) fn bundle(&self) -> &Arc<Pieces> {
        &self.0.bundle
    }

    pub(crate) fn joins(&self) -> &Joins {
        &self.0.joins
    }

    /// Whether a line that strangers cause may be written now; if not, it is counted.
    pub(crate) fn may_log(&self, kind: Kind) -> bool {
        self.0.spates.admit(kind, self.0.parts.clock.monotonic())
    }

    /// Lines that were left out since this was asked the last time.
    pub(crate) fn left_out(&self) -> Vec<(&'static str, u64)> {
        self.0.spates.left_out()
    }

    /// When this service was started.
    pub fn started_at(&self) -> OffsetDateTime {
        self.0.started_at
    }

    pub(crate) fn list_cache(&self) -> &ListCache {
        &self.0.lists
    }

    /// What agents may pin: first the root of a certificate that replaces the server's own, then the tls CA, which
    /// signs the CA bundle in any case.
    pub fn ca_pins(&self) -> Vec<String> {
        let mut pins = self.0.served_pins.lock().unwrap_or_else(PoisonError::into_inner).clone();
        pins.extend(self.authorities().pins());
        pins
    }

    /// Pins of a certificate that replaces the server's own.
    pub(crate) fn set_served_pins(&self, pins: Vec<String>) {
        *self.0.served_pins.lock().unwrap_or_else(PoisonError::into_inner) = pins;
    }

    /// Becomes true when the server stops: whoever waits for something then answers with what it has.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.0.stopping.subscribe()
    }

    /// Tells whoever waits to end.
    pub fn stop(&self) {
        self.0.stopping.send_replace(true);
    }

    /// A context for work that no request asked for.
    pub fn own_context(&self) -> RequestContext {
        RequestContext::new(self.entropy(), None, "server")
    }

    /// What strangers may ask: joins, CA certificates, revocation lists, health. For the TLS port.
    pub fn public_router(&self) -> axum::Router {
        crate::http::public_router(self)
    }

    /// The public routes and all of administration, for whoever may reach it: the Unix socket.
    pub fn admin_router(&self) -> axum::Router {
        crate::http::admin_router(self)
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("cluster", &self.cluster()).finish_non_exhaustive()
    }
}
