//! Many real connections at once: a server with little room, its memory, and a token that hundreds share.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use boundkey_client::agent::{Agent as ClientAgent, AgentError};
use boundkey_client::config::{AgentConfig, Environment};
use boundkey_client::join::JoinError;
use boundkey_client::{Backoff, SystemClock, SystemEntropy};
use boundkey_keys::PrivateKey;
use boundkey_testkit::{Cluster, resident};

/// Of the generated form, so that nothing is stretched; the last characters tell the machines apart.
fn secret(number: usize) -> String {
    format!("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBka{number:04}AAA")
}

fn config(cluster: &Cluster, token: &str, onboarding: &str, directory: &str) -> AgentConfig {
    let text = format!(
        "version: v3\nagent:\n  data_dir: {}\n  join_params:\n    token_name: {token}\n    method: bound_keypair\n    \
         bound_keypair: {{{onboarding}}}\n  proxy_server: {}\n  ca_pins: [\"{}\"]\nssh_service: {{enabled: true}}\n",
        cluster.path(directory).display(),
        cluster.address(),
        cluster.pin()
    );
    AgentConfig::parse(text.as_bytes(), "agent.yaml", Environment::default()).expect("a good config")
}

/// What one machine went through before it was in.
#[derive(Default)]
struct Way {
    asked: Vec<u64>,
    broken: usize,
}

/// Joins as the agent does, with its own pauses, at most two minutes.
async fn join(config: AgentConfig) -> Way {
    let entropy = Arc::new(SystemEntropy::new());
    let mut agent =
        ClientAgent::open(config, "test", false, Arc::new(SystemClock), entropy.clone()).expect("an agent");
    let mut backoff = Backoff::standard();
    let mut way = Way::default();
    loop {
        let error = match agent.join_once().await {
            Ok(_) => return way,
            Err(AgentError::Join(error)) => error,
            Err(error) => panic!("{error}"),
        };
        match &error {
            JoinError::Refused(problem) => {
                assert_eq!((problem.status, problem.code.as_str()), (503, "overloaded"), "{error}");
                way.asked.push(problem.retry_after.expect("an appointment"));
            }
            JoinError::Transport(_) => way.broken += 1,
            error => panic!("{error}"),
        }
        assert!(way.asked.len() + way.broken < 30, "{error}");
        tokio::time::sleep(backoff.next(error.setback(), &*entropy)).await;
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// All at once, each on a thread of its own: agents wait for their disks.
fn join_all(configs: Vec<AgentConfig>) -> Vec<Way> {
    let threads: Vec<_> =
        configs.into_iter().map(|config| std::thread::spawn(|| runtime().block_on(join(config)))).collect();
    threads.into_iter().map(|thread| thread.join().expect("a machine that got in")).collect()
}

#[test]
fn a_server_with_little_room_serves_hundreds_who_come_at_once() {
    const MACHINES: usize = 200;
    let mut cluster = Cluster::prepare("overload");
    let limits = cluster.path("server.yaml");
    std::fs::write(
        &limits,
        "limits:\n  concurrent_joins: 1\n  waiting_joins: 4\n  concurrent_handshakes: 8\n  connections: 128\n  \
         message_memory_mib: 1\n",
    )
    .expect("a config can be written");
    cluster.start_server(&["-c", &limits.display().to_string()]);
    let mut tokens = String::new();
    for number in 0..MACHINES {
        write!(
            tokens,
            "---\nkind: token\nversion: v2\nmetadata: {{name: m-{number}}}\nspec:\n  roles: [Node]\n  join_method: \
             bound_keypair\n  bound_keypair: {{onboarding: {{registration_secret: {}}}}}\n",
            secret(number)
        )
        .expect("a String takes it");
    }
    cluster.create(&tokens);
    let pid = cluster.server().id();
    let before = resident(pid);
    let name = |number| format!("m-{number}");
    let onboarding = |number| format!("registration_secret_value: {}", secret(number));
    let ways = join_all(
        (0..MACHINES)
            .map(|number| config(&cluster, &name(number), &onboarding(number), &name(number)))
            .collect(),
    );
    assert_eq!(ways.len(), MACHINES, "nobody failed for good");
    let mut asked = BTreeMap::<u64, usize>::new();
    for seconds in ways.iter().flat_map(|way| &way.asked) {
        *asked.entry(*seconds).or_default() += 1;
    }
    let broken: usize = ways.iter().map(|way| way.broken).sum();
    let most = resident(pid);
    println!("Retry-After {asked:?}; {broken} broken; {} -> {} KiB", before >> 10, most >> 10);
    let turned_away: usize = asked.values().sum();
    assert!(turned_away > 20, "there was room for all: {asked:?}");
    assert!(asked.len() >= 2, "all come back together: {asked:?}");
    // 128 connections of 64 KiB, 1 MiB of messages, and what the allocator and the store's cache keep.
    assert!(most < before + (24 << 20), "{before} -> {most}");
}

#[test]
fn an_open_connection_costs_no_more_than_the_memory_bound_says() {
    const CONNECTIONS: usize = 600;
    let mut cluster = Cluster::start("connections");
    let pid = cluster.server().id();
    let pin = cluster.pin().parse().expect("a pin");
    let trust = boundkey_client::Trust::pins(vec![pin]);
    let before = resident(pid);
    let each = runtime().block_on(async {
        let mut open = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut transport = boundkey_client::HttpsTransport::new(
                cluster.address().parse().expect("an address"),
                trust.clone(),
                Arc::new(SystemClock),
                boundkey_client::Timeouts::default(),
            );
            let reply =
                boundkey_client::Transport::post(&mut transport, "/v1/join/begin", b"{}".to_vec()).await;
            assert_eq!(reply.expect("an answer").status, 200);
            open.push(transport);
        }
        resident(pid).saturating_sub(before) / CONNECTIONS
    });
    println!("{} KiB for an open connection", each >> 10);
    assert!(each <= 64 << 10, "{each} bytes for a connection");
}

#[test]
fn fifty_agents_share_one_static_key_at_once_and_a_due_rotation_stops_none() {
    const CLIENTS: usize = 50;
    let cluster = Cluster::start("static");
    let key = PrivateKey::ed25519_from_seed(&[42; 32]);
    let file = cluster.path("ci.key");
    std::fs::write(&file, &*key.to_openssh_pem("ci")).expect("a key can be written");
    run_mode(&file);
    cluster.create(&format!(
        "kind: token\nversion: v2\nmetadata: {{name: ci}}\nspec:\n  roles: [Node]\n  join_method: bound_keypair\n  \
         bound_keypair:\n    onboarding: {{initial_public_key: \"{}\"}}\n    recovery: {{mode: insecure}}\n",
        key.public_key().to_openssh()
    ));
    let all = |round: &str| {
        let onboarding = format!("static_key_path: {}", file.display());
        let ways = join_all(
            (0..CLIENTS).map(|number| config(&cluster, "ci", &onboarding, &format!("ci-{number}"))).collect(),
        );
        let refused: usize = ways.iter().map(|way| way.asked.len() + way.broken).sum();
        assert_eq!((ways.len(), refused), (CLIENTS, 0), "{round}");
    };
    all("first");
    let nodes = cluster.ctl(&["nodes", "ls", "--format", "json"]).success();
    let nodes: serde_json::Value = serde_json::from_str(&nodes).expect("JSON");
    assert_eq!(nodes.as_array().expect("a list").len(), CLIENTS, "one record for each");

    cluster.ctl(&["bound-keypair", "rotate", "ci"]).success();
    all("with a rotation due");
    let nodes = cluster.ctl(&["nodes", "ls", "--format", "json"]).success();
    let nodes: serde_json::Value = serde_json::from_str(&nodes).expect("JSON");
    assert_eq!(nodes.as_array().expect("a list").len(), CLIENTS, "each kept its identity");
    let events = cluster.ctl(&["events", "ls", "--format", "json"]).success();
    assert!(events.contains("rotation_overdue"), "{events}");
    let listed = cluster.ctl(&["tokens", "ls"]).success();
    assert!(listed.contains("rotation overdue"), "{listed}");
    let explained = cluster.ctl(&["bound-keypair", "explain", "ci"]).success();
    assert!(explained.contains("a rotation is due since"), "{explained}");
}

fn run_mode(file: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).expect("a mode can be set");
}
