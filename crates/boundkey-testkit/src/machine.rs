//! Machines of the real client with their state in memory, so that hundreds cost no disk.

use std::sync::Arc;

use boundkey_client::config::{AgentConfig, Environment};
use boundkey_client::join::{JoinError, JoinPlan, Joined, Joiner};
use boundkey_client::{HttpsTransport, SystemClock, SystemEntropy, Timeouts};
use boundkey_keystore::MemoryKeystore;

use crate::cluster::Cluster;

/// One machine: what it asks for, its state and its connection.
pub struct Machine {
    plan: JoinPlan,
    keystore: MemoryKeystore,
    transport: HttpsTransport,
}

impl Machine {
    /// Machines of role Node, `NAME-0` and on, each with a token of its own that it has yet to register with.
    ///
    /// # Panics
    /// If the server does not enrol them.
    pub fn enrol(cluster: &Cluster, name: &str, count: usize) -> Vec<Self> {
        let names: Vec<String> = (0..count).map(|number| format!("{name}-{number}")).collect();
        let clock = Arc::new(SystemClock);
        let mut all = Vec::with_capacity(count);
        for some in names.chunks(500) {
            let words = ["enroll", "--roles", "Node", "--server", cluster.address(), "--format", "json"];
            let arguments: Vec<&str> = words.into_iter().chain(some.iter().map(String::as_str)).collect();
            let printed = cluster.ctl(&arguments).success();
            let printed: serde_json::Value = serde_json::from_str(&printed).expect("enroll prints JSON");
            // For one machine it prints that one, for several a list.
            let one = std::slice::from_ref(&printed);
            for enrolled in printed.as_array().map_or(one, Vec::as_slice) {
                let text = enrolled["config"].as_str().expect("a finished config");
                let config = AgentConfig::parse(text.as_bytes(), "(enrolled)", Environment::default());
                let mut config = config.expect("what enroll writes is a config");
                let trust = config.trust.load().expect("a pin");
                let plan = JoinPlan::of_config(&mut config, "test");
                let transport = HttpsTransport::new(
                    config.server.clone(),
                    trust,
                    Arc::<SystemClock>::clone(&clock),
                    Timeouts::default(),
                );
                all.push(Self { plan, keystore: MemoryKeystore::default(), transport });
            }
        }
        all
    }

    /// Registers, or renews; on the connection that it has, if it has one.
    ///
    /// # Errors
    /// [`JoinError`]; the attempt is kept.
    pub async fn join(&mut self, entropy: &SystemEntropy) -> Result<Joined, JoinError> {
        let mut joiner = Joiner {
            keystore: &mut self.keystore,
            transport: &mut self.transport,
            plan: &self.plan,
            clock: &SystemClock,
            entropy,
        };
        joiner.join().await
    }

    /// Closes its connection; the next join makes one.
    pub fn disconnect(&mut self) {
        boundkey_client::Transport::disconnect(&mut self.transport);
    }
}
