//! The guide's five steps, with the guide's fields.

use boundkey_testkit::{Cluster, wait_for};

use crate::{facts, node_token};

/// Every field of the guide's token, the unset ones as empty strings.
const GUIDE_TOKEN: &str = r#"kind: token
version: v2
metadata:
  name: example-token
spec:
  # comments are kept out of what is stored
  roles: [Node]
  join_method: bound_keypair
  # bot_name: example
  bound_keypair:
    onboarding:
      initial_public_key: ""
      registration_secret: ""
      must_register_before: ""
    recovery:
      limit: 1
      mode: "standard"
    rotate_after: ""
"#;

#[test]
fn what_get_prints_is_the_guides_output_field_for_field() {
    let cluster = Cluster::start("guide-get");
    cluster.create(GUIDE_TOKEN);
    let printed = cluster.ctl(&["get", "token/example-token", "--with-secrets"]).success();
    let (before, secret) = printed.split_once("registration_secret: ").expect("a generated secret");
    let (secret, after) = secret.split_once('\n').expect("a line");
    assert_eq!(
        before,
        "kind: token
metadata:
  name: example-token
spec:
  bound_keypair:
    onboarding: {}
    recovery:
      limit: 1
      mode: standard
  join_method: bound_keypair
  roles:
  - Node
status:
  bound_keypair:
    bound_bot_instance_id: ''
    bound_public_key: ''
    recovery_count: 0
    "
        .replace("''", "\"\"")
    );
    assert_eq!(after, "version: v2\n");
    // One that begins with a hyphen, say, is quoted in YAML.
    let secret = secret.trim_matches('"');
    assert_eq!(secret.len(), 43);
    let without = cluster.ctl(&["get", "token/example-token"]).success();
    assert!(!without.contains(secret), "{without}");
}

#[test]
fn an_agent_joins_by_the_registration_secret_and_renews_on_a_signal() {
    let mut cluster = Cluster::start("guide-join");
    cluster.create(GUIDE_TOKEN);
    assert_eq!(cluster.ctl(&["nodes", "ls", "--format", "json"]).success().trim(), "[]");
    let agent = cluster.agent("example-token");
    let mut running = agent.start();
    wait_for("the agent to join", || {
        assert!(running.ended().is_none(), "the agent ended: {}", running.printed());
        cluster.ctl(&["nodes", "ls", "--format", "json"]).success().contains("\"example-token\"")
    });
    let joined = facts(&cluster, "example-token");
    assert_eq!(joined["recovery_count"], 1);
    assert!(joined["bound_public_key"].as_str().expect("a key").starts_with("ssh-ed25519 "), "{joined}");
    assert!(joined.get("registration_secret").is_none(), "a used secret is not shown: {joined}");
    wait_for("the identity to be written", || agent.identity("cert.pem").exists());

    let first = std::fs::read(agent.identity("cert.pem")).expect("a certificate");
    running.signal("USR1");
    wait_for("the renewal", || std::fs::read(agent.identity("cert.pem")).is_ok_and(|cert| cert != first));
    let renewed = facts(&cluster, "example-token");
    assert_eq!(renewed["recovery_count"], 1, "a renewal consumes no recovery");
    assert_eq!(renewed["bound_public_key"], joined["bound_public_key"]);
    assert!(running.stop().success());
    cluster.stop_server();
}

#[test]
fn applying_the_same_file_again_changes_nothing() {
    let cluster = Cluster::start("guide-again");
    cluster.create(GUIDE_TOKEN);
    let file = cluster.path("resources.yaml").display().to_string();
    let before = cluster.token("example-token");
    let refused = cluster.ctl(&["create", &file]).failure();
    assert!(refused.contains("token/example-token exists") && refused.contains("create -f"), "{refused}");
    assert_eq!(cluster.ctl(&["create", "-f", &file]).success(), "token/example-token unchanged\n");
    assert_eq!(cluster.token("example-token"), before);
    cluster.agent("example-token").oneshot().success();
    let bound = facts(&cluster, "example-token");
    cluster.ctl(&["create", "-f", &file]).success();
    assert_eq!(facts(&cluster, "example-token"), bound);
}

#[test]
fn a_preregistered_key_joins_without_a_secret() {
    let cluster = Cluster::start("guide-key");
    let state = cluster.path("agent-keyed/state").display().to_string();
    let created =
        boundkey_testkit::run(std::process::Command::new(boundkey_testkit::binary("boundkey-agent")).args([
            "keypair",
            "create",
            "--storage",
            &state,
            "--format",
            "json",
        ]))
        .success();
    let created: serde_json::Value = serde_json::from_str(&created).expect("JSON");
    let key = created["public_key"].as_str().expect("a public key");
    assert!(created.get("private_key").is_none(), "a stored key is not printed");
    cluster.create(&format!(
        "{}  bound_keypair:\n    onboarding:\n      initial_public_key: {key}\n",
        node_token("keyed")
    ));
    assert!(facts(&cluster, "keyed").get("registration_secret").is_none(), "no secret is made beside a key");
    let agent = boundkey_testkit::Agent::write(&cluster, "keyed", "{}", "ssh_service: {enabled: true}\n");
    let config = std::fs::read_to_string(agent.config()).expect("a config");
    std::fs::write(agent.config(), config.replace("    bound_keypair:\n      {}\n", "")).expect("written");
    agent.oneshot().success();
    assert_eq!(facts(&cluster, "keyed")["bound_public_key"], key);
}

#[test]
fn enrolled_configs_join_as_they_are() {
    let cluster = Cluster::start("guide-enroll");
    let out = cluster.path("configs").display().to_string();
    cluster
        .ctl(&["enroll", "web-1", "web-2", "--roles", "Node", "--label", "site=a", "--out", &out])
        .success();
    for name in ["web-1", "web-2"] {
        let file = cluster.path(&format!("configs/{name}.yaml"));
        let config = std::fs::read_to_string(&file).expect("a config");
        let state = cluster.path(&format!("state-{name}")).display().to_string();
        std::fs::write(&file, config.replace("agent:\n", &format!("agent:\n  data_dir: {state}\n")))
            .expect("written");
        boundkey_testkit::run(std::process::Command::new(boundkey_testkit::binary("boundkey-agent")).args([
            "start",
            "--oneshot",
            "-c",
            &file.display().to_string(),
        ]))
        .success();
    }
    let nodes = cluster.ctl(&["nodes", "ls", "--label", "site=a"]).success();
    assert!(nodes.contains("web-1") && nodes.contains("web-2") && nodes.contains("2 of 2 nodes"), "{nodes}");
}
