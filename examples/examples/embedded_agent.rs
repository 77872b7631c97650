//! The agent inside another program: one join, its state in memory, and what the certificate says.
//!
//!     cargo run -p examples --example embedded_agent
//!
//! A program that wants the whole agent (state in files, outputs, renewals) takes `boundkey_client::agent::Agent` instead.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::sync::Arc;

use boundkey_client::config::{AgentConfig, Environment};
use boundkey_client::join::{JoinPlan, Joiner};
use boundkey_client::{HttpsTransport, SystemClock, SystemEntropy, Timeouts, Transport as _};
use boundkey_keystore::{IdentityRecord, MemoryKeystore};
use examples::Cluster;
use x509_parser::prelude::{FromDer as _, X509Certificate};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let cluster = Cluster::start().await?;

    // The guide's configuration, or a `JoinPlan` made field by field.
    let text = format!(
        "version: v3
agent:
  join_params:
    token_name: example-token
    method: bound_keypair
    bound_keypair: {{registration_secret_value: {}}}
  proxy_server: {}
  ca_pins: [\"{}\"]
ssh_service: {{enabled: true}}
",
        cluster.secret.expose(),
        cluster.address,
        cluster.pin
    );
    let mut config = AgentConfig::parse(text.as_bytes(), "(built in)", Environment::default())?;
    let plan = JoinPlan::of_config(&mut config, env!("CARGO_PKG_VERSION"));

    // A state that outlives the process is a `FileKeystore`; in memory, a restart has to be enrolled anew.
    let mut keystore = MemoryKeystore::default();
    let clock = Arc::new(SystemClock);
    let trust = config.trust.load()?;
    let mut transport = HttpsTransport::new(config.server.clone(), trust, clock.clone(), Timeouts::default());
    let mut joiner = Joiner {
        keystore: &mut keystore,
        transport: &mut transport,
        plan: &plan,
        clock: clock.as_ref(),
        entropy: &SystemEntropy::new(),
    };
    for _ in 0..2 {
        let joined = joiner.join().await?;
        println!("{:?}; the next join is due in {} s", joined.kind, joined.renew_in.as_secs());
        show(joined.state.identity.as_ref().ok_or("a join leaves an identity")?)?;
    }
    transport.disconnect();
    cluster.stop().await;
    Ok(())
}

fn show(identity: &IdentityRecord) -> Result<(), Box<dyn Error>> {
    println!("  {} {}, until {}", identity.identity_kind, identity.id, identity.not_after);
    let leaf = identity.x509_chain.first().ok_or("a chain has a leaf")?;
    let (_, certificate) = X509Certificate::from_der(leaf)?;
    println!("  subject: {}", certificate.subject());
    if let Some(names) = certificate.subject_alternative_name()? {
        for name in &names.value.general_names {
            println!("  name: {name}");
        }
    }
    Ok(())
}
