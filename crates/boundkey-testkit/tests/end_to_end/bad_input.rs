//! Wrong input: a clear error, status 1, nothing stored, the server lives on.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use boundkey_testkit::{Agent, Cluster, binary, run, wait_for};

use crate::{facts, node_token};

#[test]
fn a_file_of_faults_reports_all_of_them_and_stores_nothing() {
    let cluster = Cluster::start("faults");
    let file = cluster.path("bad.yaml");
    std::fs::write(
        &file,
        "kind: token\nversion: v2\nmetadata: {name: good}\nspec: {roles: [Node], join_method: bound_keypair}\n---\n\
         kind: token\nversion: v2\nmetadata:\n  name: bad name\nspec:\n  roles: [Nod]\n  join_method: bound_keypair\n  \
         bound_keypair:\n    recovery:\n      limit: 0\n      mode: strict\n",
    )
    .expect("written");
    let refused = cluster.ctl(&["create", &file.display().to_string()]).failure();
    for expected in
        ["spec.roles", "Node", "metadata.name", "spec.bound_keypair.recovery.limit", "mode", "bad.yaml:"]
    {
        assert!(refused.contains(expected), "{expected} is missing in {refused}");
    }
    assert_eq!(cluster.ctl(&["get", "tokens", "--format", "json"]).success().trim(), "[]");
}

#[test]
fn a_wrong_secret_a_wrong_pin_and_a_swapped_token_are_refused_and_nothing_is_bound() {
    let cluster = Cluster::start("secrets");
    cluster.create(&node_token("one"));
    cluster.create(&node_token("two"));
    let good = cluster.agent("one");
    let config = std::fs::read_to_string(good.config()).expect("a config");
    let swapped = Agent::write(
        &cluster,
        "two",
        &line(&config, "registration_secret_value"),
        "ssh_service: {enabled: true}\n",
    );
    let refused = swapped.oneshot().failure();
    assert!(refused.contains("denied"), "{refused}");
    let pin = format!("sha256:{}", "0".repeat(64));
    std::fs::write(good.config(), config.replace(cluster.pin(), &pin)).expect("written");
    let refused = run(&mut good.start_command(&["--oneshot", "--timeout", "1s"])).failure();
    assert!(refused.contains("pin"), "{refused}");
    assert_eq!(facts(&cluster, "one")["bound_public_key"], "");
    assert_eq!(facts(&cluster, "two")["bound_public_key"], "");
    std::fs::write(good.config(), config).expect("written");
    good.oneshot().success();
}

fn line(config: &str, word: &str) -> String {
    config.lines().find(|line| line.contains(word)).expect("the line").trim().to_owned()
}

#[test]
fn an_agent_config_with_unknown_keys_names_them_with_their_places() {
    let cluster = Cluster::start("config");
    cluster.create(&node_token("web"));
    let agent = cluster.agent_with("web", "ssh_servce: {enabled: true}\n");
    let refused = agent.oneshot().failure();
    assert!(refused.contains("ssh_servce") && refused.contains("ssh_service"), "{refused}");
    assert!(refused.contains("boundkey.yaml:"), "{refused}");
    assert!(!agent.state_dir().exists(), "nothing was made");
}

#[test]
fn a_second_server_on_one_data_directory_and_a_port_in_use_are_refused() {
    let cluster = Cluster::start("second");
    let start = |data: &std::path::Path, listen: &str| {
        run(Command::new(binary("boundkey-server"))
            .args(["start", "--cluster-name", "example.com", "--listen", listen, "--data-dir"])
            .arg(data))
    };
    let refused = start(&cluster.data_dir(), "127.0.0.1:0").failure();
    assert!(refused.contains("server.lock") || refused.contains("another"), "{refused}");
    let refused = start(&cluster.path("other"), cluster.address()).failure();
    assert!(refused.contains(cluster.address()), "{refused}");
    cluster.create(&node_token("web"));
}

#[test]
fn another_cluster_name_and_a_foreign_master_key_are_refused() {
    let mut cluster = Cluster::start("foreign");
    cluster.stop_server();
    let start = |name: &str| {
        run(Command::new(binary("boundkey-server"))
            .args(["start", "--cluster-name", name, "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(cluster.data_dir()))
    };
    let refused = start("other.example").failure();
    assert!(refused.contains("example.com") && refused.contains("other.example"), "{refused}");
    let key = cluster.data_dir().join("master.key");
    let kept = std::fs::read(&key).expect("a master key");
    std::fs::remove_file(&key).expect("removed");
    let refused = start("example.com").failure();
    assert!(refused.contains("master"), "{refused}");
    std::fs::write(&key, kept).expect("written");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o646)).expect("changed");
    let refused = start("example.com").failure();
    assert!(refused.contains("chmod"), "{refused}");
}

#[test]
fn a_truncated_or_open_state_file_and_two_agents_on_one_directory_are_refused() {
    let cluster = Cluster::start("state");
    cluster.create(&node_token("web"));
    let agent = cluster.agent("web");
    let mut running = agent.start();
    wait_for("the agent to join", || agent.identity("cert.pem").exists());
    let refused = agent.oneshot().failure();
    assert!(refused.contains(&running.id().to_string()), "the holder of the lock is named: {refused}");
    assert!(running.stop().success());
    let state = agent.state_dir().join("state.json");
    let whole = std::fs::read(&state).expect("a state file");
    std::fs::write(&state, &whole[..whole.len() / 2]).expect("written");
    let refused = agent.oneshot().failure();
    assert!(refused.contains("state.json"), "{refused}");
    std::fs::write(&state, &whole).expect("written");
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o646)).expect("changed");
    let refused = agent.oneshot().failure();
    assert!(refused.contains("chmod"), "{refused}");
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o640)).expect("changed");
    agent.oneshot().success();
}

#[test]
fn a_server_that_answers_garbage_is_given_up_with_a_reason() {
    let cluster = Cluster::start("garbage");
    cluster.create(&node_token("web"));
    let agent = cluster.agent("web");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(20) {
            let mut stream = stream.expect("a connection");
            let mut seen = [0; 64];
            drop(stream.read(&mut seen));
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nwelcome to the hotel"));
        }
    });
    let config = std::fs::read_to_string(agent.config()).expect("a config");
    std::fs::write(agent.config(), config.replace(cluster.address(), &address)).expect("written");
    let refused = run(&mut agent.start_command(&["--oneshot", "--timeout", "2s"])).failure();
    assert!(refused.contains(&address), "{refused}");
    std::fs::write(agent.config(), config).expect("written");
    agent.oneshot().success();
}

#[test]
fn hostile_bodies_get_problems_and_the_server_lives_on() {
    let cluster = Cluster::start("hostile");
    let curl = |path: &str, body: &str| {
        run(Command::new("curl")
            .args(["-sk", "-m", "10", "-H", "content-type: application/json", "--data-binary", body])
            .arg(format!("https://{}{path}", cluster.address())))
        .stdout
    };
    if boundkey_testkit::find("curl").is_none() {
        println!("SKIP: curl is not installed");
        return;
    }
    for body in ["", "{", "[]", "{\"challenge\":1}", "{\"challenge\":\"x\",\"request\":\"!\",\"proofs\":[]}"]
    {
        let answer = curl("/v1/join/complete", body);
        let problem: serde_json::Value =
            serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{body}: {answer}"));
        assert!(problem["code"].is_string() && problem["status"].as_u64() >= Some(400), "{body}: {answer}");
        assert!(problem["correlation_id"].is_string(), "{body}: {answer}");
    }
    let large = curl("/v1/join/complete", &format!("{{\"challenge\":\"{}\"}}", "x".repeat(70_000)));
    assert!(large.contains("too large") || large.contains("larger"), "{large}");
    assert!(curl("/v1/tokens", "").contains("not_found"), "administration is not on the TLS port");
    cluster.create(&node_token("web"));
    cluster.agent("web").oneshot().success();
}
