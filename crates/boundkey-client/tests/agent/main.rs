//! The whole agent against a real server on loopback: TLS, joins, outputs, commands.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod outputs;
mod server;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use boundkey_client::agent::{Agent, Command, Event};
use boundkey_client::config::{AgentConfig, Environment};
use boundkey_client::join::JoinError;
use boundkey_client::{Clock, Notes, Status, SystemClock, SystemEntropy};
use boundkey_keystore::FileKeystore;
use boundkey_proto::JoinKindName;
use server::{SECRET, Server};
use tokio::sync::mpsc;

const HOST: &str = "ssh_service: {enabled: true}\n";

struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn config(&self, server: &Server, lines: &str) -> AgentConfig {
        let text = format!(
            "version: v3\nteleport:\n  data_dir: {}\n  join_params:\n    token_name: {}\n    method: bound_keypair\n    \
             bound_keypair: {{registration_secret_value: {SECRET}}}\n  proxy_server: {}\n  ca_pins: [\"{}\"]\n{lines}",
            self.path("data").display(),
            server.token,
            server.address,
            server.pin
        );
        AgentConfig::parse(text.as_bytes(), "agent.yaml", Environment::default()).unwrap()
    }

    fn agent(&self, server: &Server, lines: &str) -> Agent {
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy::new()));
        Agent::open(self.config(server, lines), "test", false, clock, entropy).unwrap()
    }

    fn status(&self) -> Status {
        Status::of_data_dir(&self.path("data"), None, SystemClock.now()).unwrap()
    }

    /// A tls output whose reload command notes each run.
    fn tls_output(&self) -> String {
        format!(
            "outputs: [{{type: tls, path: {}, reload: \"echo again >> {}\"}}]\n",
            self.path("tls").display(),
            self.path("reloads").display()
        )
    }

    fn reloads(&self) -> usize {
        std::fs::read_to_string(self.path("reloads")).unwrap_or_default().lines().count()
    }
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// At most half a minute.
async fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}");
}

/// Runs an agent while `drive` tells it what to do; it stops when `drive` has ended (and so dropped its sender).
async fn while_running(
    agent: &mut Agent,
    drive: impl AsyncFnOnce(mpsc::Sender<Command>, mpsc::UnboundedReceiver<Event>),
) {
    let (sender, commands) = mpsc::channel(8);
    let (say, events) = mpsc::unbounded_channel();
    let hear = move |event| drop(say.send(event));
    let (outcome, ()) = tokio::join!(agent.run(commands, hear), drive(sender, events));
    outcome.expect("the agent ends well");
}

async fn next_event(events: &mut mpsc::UnboundedReceiver<Event>) -> Event {
    let event = tokio::time::timeout(Duration::from_secs(60), events.recv()).await.expect("in time");
    event.expect("the agent is running")
}

async fn next_status(events: &mut mpsc::UnboundedReceiver<Event>) -> String {
    loop {
        if let Event::Status(text) = next_event(events).await {
            return text;
        }
    }
}

#[tokio::test]
async fn a_host_registers_writes_its_outputs_and_renews_when_told_to() {
    let server = Server::start("Node", "").await;
    let machine = Machine::new();
    let mut agent = machine.agent(&server, &format!("{HOST}{}", machine.tls_output()));
    while_running(&mut agent, async |commands, mut events| {
        assert_eq!(next_event(&mut events).await, Event::Ready);
        let status = next_status(&mut events).await;
        assert!(status.starts_with("joined as host "), "{status}");
        let first = read(machine.path("tls/cert.pem"));
        wait_for("the reload", || machine.reloads() == 1).await;
        assert_eq!(machine.status().problems, Vec::<String>::new());
        commands.send(Command::Renew).await.unwrap();
        next_status(&mut events).await;
        assert_ne!(read(machine.path("tls/cert.pem")), first);
        wait_for("the second reload", || machine.reloads() == 2).await;
        assert_eq!(read(machine.path("tls/cert.pem")), read(machine.path("data/identity/cert.pem")));
    })
    .await;
    assert_eq!(server.enrolment().await.sequence, 2);
}

/// The system's clocks, until the machine is told to have slept.
#[derive(Default)]
struct Sleeping(std::sync::atomic::AtomicU64);

impl Clock for Sleeping {
    fn now(&self) -> time::OffsetDateTime {
        SystemClock.now()
    }
    fn since_boot(&self) -> Duration {
        SystemClock.since_boot() + Duration::from_secs(self.0.load(std::sync::atomic::Ordering::Relaxed))
    }
}

#[tokio::test]
async fn a_restarted_agent_waits_for_its_time_and_mends_its_outputs() {
    let server = Server::start("Node", "").await;
    let machine = Machine::new();
    let lines = format!("{HOST}{}", machine.tls_output());
    machine.agent(&server, &lines).join_once().await.unwrap();
    std::fs::remove_dir_all(machine.path("tls")).unwrap();
    let mut agent = machine.agent(&server, &lines);
    while_running(&mut agent, async |_, mut events| {
        assert_eq!(next_event(&mut events).await, Event::Ready);
        let status = next_status(&mut events).await;
        assert!(status.contains("next renewal at"), "{status}");
    })
    .await;
    assert!(machine.path("tls/key.pem").exists());
    assert_eq!(machine.reloads(), 1, "what it loaded is what it has");
    assert_eq!(server.enrolment().await.sequence, 1);
}

#[tokio::test]
async fn a_failed_reload_is_reported_and_tried_again_at_the_next_start() {
    let server = Server::start("Node", "").await;
    let machine = Machine::new();
    let flag = machine.path("flag");
    let lines = format!(
        "{HOST}outputs: [{{type: tls, path: {}, reload: \"test -e {}\"}}]\n",
        machine.path("tls").display(),
        flag.display()
    );
    machine.agent(&server, &lines).join_once().await.unwrap();
    let status = machine.status();
    assert!(!status.healthy);
    assert!(status.problems[0].contains("failed with exit status: 1"), "{:?}", status.problems);
    std::fs::write(&flag, "").unwrap();
    while_running(&mut machine.agent(&server, &lines), async |_, _| {
        wait_for("health", || machine.status().healthy).await;
    })
    .await;
}

#[tokio::test]
async fn an_output_that_cannot_be_written_stops_nothing_else() {
    let server = Server::start("Node", "").await;
    let machine = Machine::new();
    std::fs::write(machine.path("file"), "").unwrap();
    let lines = format!(
        "{HOST}outputs: [{{type: tls, path: {}}}, {{type: openssh_host, path: {}}}]\n",
        machine.path("file").display(),
        machine.path("ssh").display()
    );
    machine.agent(&server, &lines).join_once().await.unwrap();
    assert!(machine.path("ssh/ssh_host_ed25519_key-cert.pub").exists());
    let notes = Notes::read(&machine.path("data"));
    assert!(notes.outputs[0].error.as_ref().unwrap().ends_with("is no directory: outputs are directories"));
    assert_eq!(notes.outputs[1].error, None);
}

#[tokio::test]
async fn an_agent_outlives_a_server_that_is_not_there() {
    let server = Server::start("Node", "").await;
    let machine = Machine::new();
    let address = server.address.clone();
    server.stop().await;
    let mut agent = machine.agent(&server, HOST);
    while_running(&mut agent, async |_, mut events| {
        let status = next_status(&mut events).await;
        assert!(status.starts_with(&format!("cannot connect to {address}")), "{status}");
        assert!(machine.status().last_error.unwrap().starts_with("cannot connect"));
        server.serve().await;
        while !next_status(&mut events).await.starts_with("joined") {}
        assert_eq!(machine.status().last_error, None);
    })
    .await;
}

#[tokio::test]
async fn a_new_configuration_is_joined_with_at_once() {
    let server = Server::start("Node, Db", "").await;
    let machine = Machine::new();
    let mut agent = machine.agent(&server, HOST);
    while_running(&mut agent, async |commands, mut events| {
        while !next_status(&mut events).await.starts_with("joined") {}
        let lines = format!("{HOST}db_service: {{enabled: true}}\n{}", machine.tls_output());
        let config = machine.config(&server, &lines);
        commands.send(Command::Reload(Box::new(config))).await.unwrap();
        while !next_status(&mut events).await.starts_with("joined") {}
        assert!(machine.path("tls/cert.pem").exists());
    })
    .await;
    let roles: Vec<String> =
        server.enrolment().await.facts.roles.iter().map(|role| role.to_string()).collect();
    assert_eq!(roles, ["Node", "Db"]);
}

#[tokio::test]
async fn another_configuration_at_a_restart_is_joined_with_at_once_too() {
    let server = Server::start("Node, Db", "").await;
    let machine = Machine::new();
    machine.agent(&server, HOST).join_once().await.unwrap();
    let mut agent = machine.agent(&server, &format!("{HOST}db_service: {{enabled: true}}\n"));
    while_running(
        &mut agent,
        async |_, mut events| {
            while !next_status(&mut events).await.starts_with("joined") {}
        },
    )
    .await;
    assert_eq!(server.enrolment().await.sequence, 2);
}

#[tokio::test]
async fn a_refusal_is_said_with_its_code_and_not_hammered() {
    let server = Server::start("Db", "").await;
    let machine = Machine::new();
    let mut agent = machine.agent(&server, HOST);
    while_running(&mut agent, async |_, mut events| {
        let status = next_status(&mut events).await;
        assert!(status.starts_with("role_not_allowed: "), "{status}");
        let next = Notes::read(&machine.path("data")).next_try_at;
        assert!(next.is_none_or(|next| next > SystemClock.now() + Duration::from_secs(600)));
    })
    .await;
    let error = agent.join_within(Duration::from_secs(30)).await.err().unwrap();
    assert!(error.to_string().starts_with("role_not_allowed: "), "{error}");
}

#[tokio::test]
async fn a_bot_gets_its_key_certificate_and_known_hosts() {
    let server = Server::start("Bot", "bot_name: ci").await;
    let machine = Machine::new();
    let lines = format!("outputs: [{{type: openssh_user, path: {}}}]\n", machine.path("ssh").display());
    let joined = machine.agent(&server, &lines).join_once().await.unwrap();
    assert_eq!(joined.kind, JoinKindName::Registered);
    let certificate = read(machine.path("ssh/id_ed25519-cert.pub"));
    let certificate = ssh_key::Certificate::from_openssh(certificate.trim()).unwrap();
    assert_eq!(certificate.valid_principals(), ["ci"]);
    let identity = joined.state.identity.unwrap();
    assert_eq!(identity.identity_kind, "bot");
    let key = identity.ssh_key.unwrap().public_key().to_openssh();
    assert_eq!(certificate.public_key(), ssh_key::PublicKey::from_openssh(&key).unwrap().key_data());
    assert!(read(machine.path("ssh/known_hosts")).starts_with("@cert-authority *.example.com "));
}

#[tokio::test]
async fn the_machines_own_host_key_is_certified() {
    let server = Server::start("Node", "").await;
    let machine = Machine::new();
    let key = boundkey_keys::PrivateKey::ed25519_from_seed(&[5; 32]);
    let file = machine.path("ssh_host_key");
    let lines = format!(
        "{HOST}outputs: [{{type: openssh_host, path: {}, host_key: {}}}]\n",
        machine.path("ssh").display(),
        file.display()
    );
    let error = machine.agent(&server, &lines).join_once().await.err().unwrap().to_string();
    assert!(
        error.starts_with(&format!("cannot use the host key {}.pub: No such file", file.display())),
        "{error}"
    );
    std::fs::write(machine.path("ssh_host_key.pub"), key.public_key().to_openssh() + " root@host\n").unwrap();
    machine.agent(&server, &lines).join_once().await.unwrap();
    let certificate = read(machine.path("ssh/ssh_host_key-cert.pub"));
    let certificate = ssh_key::Certificate::from_openssh(certificate.trim()).unwrap();
    let expected = ssh_key::PublicKey::from_openssh(&key.public_key().to_openssh()).unwrap();
    assert_eq!(certificate.public_key(), expected.key_data());
    assert!(!machine.path("ssh/ssh_host_key").exists(), "the private half is never copied");
}

#[tokio::test]
async fn a_second_agent_on_the_same_directory_is_refused_and_a_copied_state_too() {
    let server = Server::start("Node", "").await;
    let machine = Machine::new();
    let mut agent = machine.agent(&server, HOST);
    agent.join_once().await.unwrap();
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy::new()));
    let error =
        Agent::open(machine.config(&server, HOST), "test", false, clock, entropy).err().unwrap().to_string();
    assert!(
        error.contains(&format!("is locked by another agent (process {})", std::process::id())),
        "{error}"
    );
    drop(agent);

    let mut state = FileKeystore::peek(&machine.path("data")).unwrap();
    if state.machine.is_none() {
        println!("SKIP: this machine has no machine id");
        return;
    }
    state.machine = Some("another".to_owned());
    boundkey_keystore::Keystore::save(&mut FileKeystore::open(&machine.path("data")).unwrap(), &state)
        .unwrap();
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy::new()));
    let error =
        Agent::open(machine.config(&server, HOST), "test", false, clock, entropy).err().unwrap().to_string();
    assert!(error.starts_with("state of another machine"), "{error}");
    assert_eq!(server.enrolment().await.sequence, 1);
    // Accepted once, accepted for good.
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy::new()));
    drop(Agent::open(machine.config(&server, HOST), "test", true, clock, entropy).unwrap());
    machine.agent(&server, HOST).join_once().await.unwrap();
}

#[tokio::test]
async fn a_wrong_pin_ends_at_once_and_nothing_is_sent() {
    let server = Server::start("Node", "").await;
    let machine = Machine::new();
    let mut other = Server::start("Node", "").await;
    other.address.clone_from(&server.address);
    let error = machine.agent(&other, HOST).join_within(Duration::from_secs(30)).await.err().unwrap();
    assert!(error.to_string().contains("does not contain a pinned certificate"), "{error}");
    assert!(matches!(&error, boundkey_client::agent::AgentError::Join(JoinError::Transport(_))));
    assert_eq!(server.enrolment().await.sequence, 0);
}

#[tokio::test]
async fn later_joins_need_no_pin_any_more() {
    let server = Server::start("Node", "").await;
    let machine = Machine::new();
    machine.agent(&server, HOST).join_once().await.unwrap();
    let text = format!(
        "agent:\n  data_dir: {}\n  join_params: {{token_name: {}}}\n  server: {}\n{HOST}",
        machine.path("data").display(),
        server.token,
        server.address
    );
    let config = AgentConfig::parse(text.as_bytes(), "agent.yaml", Environment::default()).unwrap();
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy::new()));
    let mut agent = Agent::open(config, "test", false, clock, entropy).unwrap();
    assert_eq!(agent.join_once().await.unwrap().kind, JoinKindName::Renewed);
}

/// As somebody would who got hold of the state: his user CA in the place of the cluster's, for sshd to trust.
#[tokio::test]
async fn an_exchanged_ca_bundle_reaches_no_output_and_the_start_gets_the_true_one() {
    let server = Server::start("Node", "").await;
    let machine = Machine::new();
    let lines = format!("{HOST}outputs: [{{type: openssh_host, path: {}}}]\n", machine.path("ssh").display());
    machine.agent(&server, &lines).join_once().await.unwrap();
    let true_ca = read(machine.path("ssh/user_ca.pub"));
    let mut state = FileKeystore::peek(&machine.path("data")).unwrap();
    let signed: boundkey_proto::SignedBundle =
        serde_json::from_str(state.ca_bundle.as_deref().unwrap()).unwrap();
    let thief = boundkey_keys::PrivateKey::ed25519_from_seed(&[9; 32]);
    let mut bundle = signed.peek().unwrap();
    bundle.ssh_user = vec![boundkey_keys::Signer::public_key(&thief).clone()];
    let forged = boundkey_proto::SignedBundle::sign(&bundle, &[&thief]).unwrap();
    state.ca_bundle = Some(serde_json::to_string(&forged).unwrap());
    boundkey_keystore::Keystore::save(&mut FileKeystore::open(&machine.path("data")).unwrap(), &state)
        .unwrap();
    let status = machine.status();
    assert!(!status.healthy);
    assert!(status.problems[0].starts_with("the stored CA bundle is not the one that was accepted"));

    let mut agent = machine.agent(&server, &lines);
    while_running(&mut agent, async |_commands, mut events| {
        assert_eq!(next_event(&mut events).await, Event::Ready);
        assert_eq!(read(machine.path("ssh/user_ca.pub")), true_ca);
        assert_eq!(machine.status().problems, Vec::<String>::new());
    })
    .await;
    assert_eq!(server.enrolment().await.sequence, 2, "it joined at once");
}

#[tokio::test]
async fn a_configuration_of_another_cluster_ends_the_agent_and_names_forget() {
    let server = Server::start("Node", "").await;
    let machine = Machine::new();
    machine.agent(&server, HOST).join_once().await.unwrap();
    let other = Server::start_cluster("other.com", "Node", "").await;
    let expected = "the state belongs to the cluster `example.com`, and this server to `other.com`: put the old server back \
                    into the configuration, or run `boundkey-agent forget` and enrol this machine anew";
    // Another configuration than that of the last join: it joins at once.
    let changed = format!("{HOST}certificates: {{ttl: 1h}}\n");
    let mut agent = machine.agent(&other, &changed);
    let error = agent.join_within(Duration::from_secs(60)).await.err().unwrap();
    assert_eq!(error.to_string(), expected);
    let (_commands, received) = mpsc::channel(8);
    let error = agent.run(received, |_| {}).await.unwrap_err();
    assert_eq!(error.to_string(), expected);
    assert_eq!(machine.status().problems, [format!("the last try failed: {expected}")]);
    assert_eq!(other.enrolment().await.sequence, 0);
    drop(agent);
    // Back at its own cluster it goes on.
    machine.agent(&server, &changed).join_once().await.unwrap();
    assert_eq!(machine.status().problems, Vec::<String>::new());
}
