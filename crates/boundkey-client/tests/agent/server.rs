use std::sync::{Arc, Mutex};

use boundkey_api::VerbRequest;
use boundkey_keys::MasterKey;
use boundkey_lifecycle::Enrolment;
use boundkey_service::admin::{apply_resources, carry_out_verb};
use boundkey_service::serve::{Listeners, ServerTls, TlsSource, serve};
use boundkey_service::{InPlace, Parts, Service, ServiceConfig, SystemClock, SystemEntropy};
use boundkey_store::records::EnrolmentRecord;
use boundkey_store::{MemoryStore, keys};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Of the generated form, so that nothing is stretched.
pub(crate) const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// A cluster with one token, served on loopback.
pub(crate) struct Server {
    pub(crate) token: &'static str,
    pub(crate) address: String,
    pub(crate) pin: String,
    cluster: &'static str,
    store: Arc<MemoryStore>,
    master: [u8; 32],
    running: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

impl Server {
    /// `roles` and further lines of the token's spec.
    pub(crate) async fn start(roles: &str, spec: &str) -> Self {
        Self::start_cluster("example.com", roles, spec).await
    }

    /// The same for a cluster of another name.
    pub(crate) async fn start_cluster(cluster: &'static str, roles: &str, spec: &str) -> Self {
        let (store, master) = (Arc::new(MemoryStore::new()), rand());
        let service = open(cluster, &store, master).await;
        let yaml = format!(
            "kind: bot\nversion: v1\nmetadata: {{name: ci}}\n---\nkind: token\nversion: v2\nmetadata: {{name: t}}\nspec:\n  \
             roles: [{roles}]\n  join_method: bound_keypair\n  {spec}\n  bound_keypair:\n    onboarding: \
             {{registration_secret: {SECRET}}}\n"
        );
        let resources = boundkey_token::read_resources(yaml.as_bytes()).unwrap();
        apply_resources(&service, &service.own_context(), &resources, false).await.unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let pin = service.ca_pins().remove(0);
        let server = Self { token: "t", address, pin, cluster, store, master, running: Mutex::default() };
        server.serve().await;
        server
    }

    /// Serves on the address, again after a stop.
    pub(crate) async fn serve(&self) {
        let tls = TcpListener::bind(&self.address).await.unwrap();
        let source = TlsSource::Own { addresses: vec![self.address.clone()] };
        let service = open(self.cluster, &self.store, self.master).await;
        let certificate = ServerTls::new(&service, source).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let listeners = Listeners { tls, certificate, admin: None };
            serve(service, listeners, async { drop(stopped.await) }).await.unwrap();
        });
        *self.running.lock().unwrap() = Some((stop, task));
    }

    pub(crate) async fn stop(&self) {
        let running = self.running.lock().unwrap().take();
        if let Some((stop, task)) = running {
            stop.send(()).unwrap();
            task.await.unwrap();
        }
    }

    /// Revokes the certificates of the token's machine.
    pub(crate) async fn revoke(&self) {
        let service = open(self.cluster, &self.store, self.master).await;
        let context = service.own_context();
        carry_out_verb(&service, &context, self.token, "revoke", &VerbRequest::default()).await.unwrap();
    }

    pub(crate) async fn enrolment(&self) -> Enrolment {
        let key = keys::enrolment(self.token);
        let service = open(self.cluster, &self.store, self.master).await;
        let loaded = service.load::<EnrolmentRecord>(&key, service.now()).await.unwrap();
        loaded.map(|loaded| loaded.record.enrolment).unwrap_or_default()
    }
}

async fn open(cluster: &str, store: &Arc<MemoryStore>, master: [u8; 32]) -> Service {
    Service::start(Parts {
        store: Arc::<MemoryStore>::clone(store),
        master: MasterKey::new(1, master),
        config: ServiceConfig::new(cluster),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy::new()),
        stretch: Arc::new(InPlace),
    })
    .await
    .unwrap()
}

fn rand() -> [u8; 32] {
    let mut bytes = [0; 32];
    boundkey_keys::Entropy::fill(&SystemEntropy::new(), &mut bytes);
    bytes
}
