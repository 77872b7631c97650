//! What the example programs share: a cluster in memory, on a loopback port, for examples that need somebody to talk to.
//!
//! | program | shows |
//! |---|---|
//! | `check_token` | `boundkey-token`: a file of resources, checked; every fault with its place |
//! | `embedded_server` | `boundkey-service` inside another axum application |
//! | `embedded_agent` | `boundkey-client` inside another program |
//!
//! Each runs to its end in seconds: `cargo run -p examples --example check_token`. This library is no template; the server
//! example is the same thing in the open.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use boundkey_keys::{Entropy as _, Secret};
use boundkey_service::admin::apply_resources;
use boundkey_service::serve::{Listeners, ServerTls, TlsSource, serve};
use boundkey_service::{InPlace, MasterKey, Parts, Service, ServiceConfig, SystemClock, SystemEntropy};
use boundkey_store::MemoryStore;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A cluster of one server in this process, and the secret of its one token `example-token` (role Node).
pub struct Cluster {
    /// Where it listens.
    pub address: SocketAddr,
    /// What an agent pins.
    pub pin: String,
    /// Registers one machine.
    pub secret: Secret,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl Cluster {
    /// Makes the cluster and serves it.
    ///
    /// # Errors
    /// Nothing can listen on loopback.
    pub async fn start() -> Result<Self, Box<dyn Error>> {
        let entropy = SystemEntropy::new();
        let mut random = [0; 32];
        entropy.fill(&mut random);
        let master = MasterKey::new(1, random);
        entropy.fill(&mut random);
        let secret = Secret::generated(random);
        let service = Service::start(Parts {
            store: Arc::new(MemoryStore::new()),
            master,
            config: ServiceConfig::new("example.com"),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(entropy),
            stretch: Arc::new(InPlace),
        })
        .await?;
        let token = format!(
            "{{kind: token, version: v2, metadata: {{name: example-token}}, spec: {{roles: [Node], join_method: \
             bound_keypair, bound_keypair: {{onboarding: {{registration_secret: {}}}}}}}}}",
            secret.expose()
        );
        let resources = boundkey_token::read_resources(token.as_bytes())?;
        apply_resources(&service, &service.own_context(), &resources, false).await?;

        let tls = TcpListener::bind("127.0.0.1:0").await?;
        let address = tls.local_addr()?;
        let source = TlsSource::Own { addresses: vec![address.to_string()] };
        let listeners = Listeners { tls, certificate: ServerTls::new(&service, source)?, admin: None };
        let pin = service.ca_pins().swap_remove(0);
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(async move {
            let served = serve(service, listeners, async {
                // An error says that the sender is gone, which means the same.
                let _ = stopped.await;
            })
            .await;
            served.expect("rustls offers TLS 1.3");
        });
        Ok(Self { address, pin, secret, stop, server })
    }

    /// Lets running requests end.
    ///
    /// # Panics
    /// If the server did.
    pub async fn stop(self) {
        drop(self.stop);
        self.server.await.expect("the server does not panic");
    }
}
