//! The server inside another axum application: its routes beside the application's own, on one TLS port.
//!
//!     cargo run -p examples --example embedded_server              # asks itself two questions and ends
//!     cargo run -p examples --example embedded_server -- --serve   # serves until Ctrl-C
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use boundkey_client::{HttpsTransport, Timeouts, Transport as _, Trust};
use boundkey_keys::Entropy as _;
use boundkey_service::admin::apply_resources;
use boundkey_service::serve::{Listeners, ServerTls, TlsSource, serve_router};
use boundkey_service::{
    MasterKey, OnBlockingThreads, Parts, Service, ServiceConfig, SystemClock, SystemEntropy,
};
use boundkey_store::MemoryStore;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// Resources that the application brings along; a secret is generated where a token has none.
const RESOURCES: &str = "
kind: token
version: v2
metadata: {name: web-1}
spec:
  roles: [Node]
  join_method: bound_keypair
";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    // The application chooses store, clock, randomness and threads. In earnest the store is a
    // `boundkey_store_sqlite::SqliteStore`, and the master key is kept in a file OUTSIDE the store: without it the store
    // is of no use.
    let entropy = SystemEntropy::new();
    let mut master = [0; 32];
    entropy.fill(&mut master);
    let service = Service::start(Parts {
        store: Arc::new(MemoryStore::new()),
        master: MasterKey::new(1, master),
        config: ServiceConfig::new("example.com"),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(entropy),
        stretch: Arc::new(OnBlockingThreads::new(2)),
    })
    .await?;
    let resources = boundkey_token::read_resources(RESOURCES.as_bytes())?;
    for applied in apply_resources(&service, &service.own_context(), &resources, true).await? {
        println!("applied {}", applied.resource["metadata"]["name"]);
    }

    // The application's own routes. `service.admin_router()` has all of administration: never merge it into what
    // strangers reach.
    let routes =
        Router::new().route("/fleet", get(fleet)).with_state(service.clone()).merge(service.public_router());

    let tls = TcpListener::bind("127.0.0.1:0").await?;
    let address = tls.local_addr()?;
    let source = TlsSource::Own { addresses: vec![address.to_string()] };
    let certificate = ServerTls::new(&service, source)?;
    let pin = service.ca_pins().swap_remove(0);
    println!("serving https://{address}, ca pin {pin}");

    let (stop, stopped) = oneshot::channel::<()>();
    let listeners = Listeners { tls, certificate, admin: None };
    let server = tokio::spawn(serve_router(service, routes, listeners, async {
        // An error says that the sender is gone, which means the same.
        let _ = stopped.await;
    }));
    if std::env::args().any(|argument| argument == "--serve") {
        tokio::signal::ctrl_c().await?;
    } else {
        ask(&address.to_string(), &pin).await?;
    }
    drop(stop);
    server.await??;
    println!("stopped");
    Ok(())
}

/// A route of the application: it may ask the service whatever it likes.
async fn fleet(State(service): State<Service>) -> Json<serde_json::Value> {
    Json(serde_json::json!({ "cluster": service.cluster(), "ca_pins": service.ca_pins() }))
}

/// What a machine does first: TLS 1.3 to a server that it knows by its pin alone.
async fn ask(address: &str, pin: &str) -> Result<(), Box<dyn Error>> {
    let trust = Trust::pins(vec![pin.parse()?]);
    let clock = Arc::new(boundkey_client::SystemClock);
    let mut transport = HttpsTransport::new(address.parse()?, trust, clock, Timeouts::default());
    for path in ["/fleet", "/v1/webapi/find"] {
        let reply = transport.get(path, 4096).await?;
        println!("GET {path}: {} {}", reply.status, String::from_utf8_lossy(&reply.body));
        if reply.status != 200 {
            return Err(format!("{path} was not answered").into());
        }
    }
    Ok(())
}
