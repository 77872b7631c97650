//! Servers and agents that were put back to an earlier time.

use boundkey_testkit::{Agent, Cluster, wait_for};

use super::judge::{assert_one_honest_lineage, sequence_held};
use crate::{facts, node_token};

/// A server and a machine that has joined once.
fn joined(purpose: &str) -> (Cluster, Agent) {
    let cluster = Cluster::start(purpose);
    cluster.create(&node_token("web"));
    let agent = cluster.agent("web");
    agent.oneshot().success();
    (cluster, agent)
}

#[track_caller]
fn assert_no_locks(cluster: &Cluster) {
    assert_eq!(cluster.ctl(&["get", "locks", "--format", "json"]).success().trim(), "[]");
}

fn notes(cluster: &Cluster) -> Vec<String> {
    let events = cluster.events("web");
    let notes = events.iter().filter_map(|event| event["notes"].as_array()).flatten();
    notes.filter_map(|note| note.as_str()).map(ToOwned::to_owned).collect()
}

fn key(cluster: &Cluster) -> String {
    facts(cluster, "web")["bound_public_key"].as_str().expect("a key").to_owned()
}

#[test]
fn a_server_restored_from_before_a_rotation_takes_the_new_key_and_no_longer_the_old_one() {
    let (mut cluster, agent) = joined("before-rotation");
    let old_key = key(&cluster);
    let with_the_old_key = agent.copy("old");
    cluster.stop_server();
    let backup = cluster.save_data("backup");
    cluster.start_server(&[]);
    cluster.ctl(&["bound-keypair", "rotate", "web"]).success();
    agent.oneshot().success();
    let new_key = key(&cluster);
    assert_ne!(new_key, old_key);
    cluster.stop_server();
    cluster.restore_data(&backup);
    cluster.start_server(&[]);
    assert_eq!(key(&cluster), old_key);

    agent.oneshot().success();
    assert_eq!(key(&cluster), new_key);
    assert_eq!(sequence_held(&agent), 3);
    assert!(notes(&cluster).iter().any(|note| note.starts_with("rollback_healed")), "{:?}", notes(&cluster));
    assert_eq!(facts(&cluster, "web")["recovery_count"], 1);
    assert_no_locks(&cluster);
    // Whoever has the old key and state is found out, not let in.
    let refused = with_the_old_key.oneshot().failure();
    assert!(refused.contains("clone_detected"), "{refused}");
}

#[test]
fn a_server_restored_forward_to_an_abandoned_branch_takes_the_machine_back() {
    let (mut cluster, agent) = joined("branch");
    let save = |cluster: &mut Cluster, name: &str| {
        cluster.stop_server();
        let saved = cluster.save_data(name);
        cluster.start_server(&[]);
        saved
    };
    let restore = |cluster: &mut Cluster, saved: &std::path::Path| {
        cluster.stop_server();
        cluster.restore_data(saved);
        cluster.start_server(&[]);
    };
    let early = save(&mut cluster, "early");
    agent.oneshot().success();
    cluster.ctl(&["bound-keypair", "rotate", "web"]).success();
    agent.oneshot().success();
    let abandoned = save(&mut cluster, "abandoned");
    restore(&mut cluster, &early);
    agent.oneshot().success();
    agent.oneshot().success();
    restore(&mut cluster, &abandoned);
    agent.oneshot().success();
    restore(&mut cluster, &early);
    agent.oneshot().success();
    assert_eq!(sequence_held(&agent), 7, "each join counts, whichever branch it was on");
    assert_eq!(facts(&cluster, "web")["recovery_count"], 1);
    assert_no_locks(&cluster);
}

#[test]
fn an_older_agent_directory_locks_and_resync_heals_it() {
    let (cluster, agent) = joined("older-agent");
    let snapshot = agent.copy("snapshot");
    agent.oneshot().success();
    agent.oneshot().success();
    let old_key = key(&cluster);
    // The machine is reverted: only the snapshot's state is left.
    let refused = snapshot.oneshot().failure();
    assert!(refused.contains("clone_detected") && refused.contains("resync"), "{refused}");
    let said = cluster.ctl(&["bound-keypair", "resync", "web"]).success();
    assert!(said.contains("web"), "{said}");
    snapshot.oneshot().success();
    assert_ne!(key(&cluster), old_key, "whatever else holds the old key stays out");
    assert_eq!(facts(&cluster, "web")["recovery_count"], 1, "a join by grant uses no recovery");
    assert_no_locks(&cluster);
    snapshot.oneshot().success();
    let refused = agent.oneshot().failure();
    assert!(refused.contains("clone_detected"), "{refused}");
}

#[test]
fn of_two_agents_on_one_directory_one_runs_and_the_other_takes_over_when_it_was_killed() {
    let (cluster, agent) = joined("two-agents");
    let mut first = agent.start();
    wait_for("the first agent", || first.printed().contains("agent started"));
    let mut second =
        boundkey_testkit::Running::start(&mut agent.start_command(&[]), agent.path("second.log"));
    wait_for("the second agent to end", || second.ended().is_some());
    assert_eq!(second.ended().and_then(|status| status.code()), Some(1));
    assert!(second.printed().contains(&first.id().to_string()), "{}", second.printed());
    assert!(first.ended().is_none());
    first.kill();
    let mut third = agent.start();
    wait_for("the third agent", || third.printed().matches("agent started").count() == 2);
    third.signal("USR1");
    wait_for("its join", || third.printed().contains("INFO joined "));
    assert!(third.stop().success());
    assert_eq!(assert_one_honest_lineage(&cluster, "web"), 2);
}

/// SIGHUP of the server: the certificate's files are read again, and nothing else is disturbed.
#[test]
fn a_hangup_makes_the_server_show_its_new_certificate() {
    let Some(openssl) = boundkey_testkit::find("openssl") else {
        println!("SKIP: openssl is not installed");
        return;
    };
    let mut cluster = Cluster::prepare("hangup");
    let make = |cluster: &Cluster, days: &str| {
        let (cert, key) = (cluster.path("tls.pem"), cluster.path("tls.key"));
        let mut command = std::process::Command::new(&openssl);
        command.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=x",
        ]);
        command.args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "extendedKeyUsage=serverAuth"]);
        command.args(["-addext", "basicConstraints=critical,CA:FALSE", "-days", days, "-keyout"]).arg(&key);
        boundkey_testkit::run(command.arg("-out").arg(&cert)).success();
        (cert, key)
    };
    let (cert, private) = make(&cluster, "10");
    let config = cluster.path("server.yaml");
    let text = format!("tls: {{cert_file: {}, key_file: {}}}\n", cert.display(), private.display());
    std::fs::write(&config, text).expect("written");
    let flag = config.display().to_string();
    cluster.start_server(&["-c", &flag]);
    let shown = |cluster: &Cluster| {
        let mut command = std::process::Command::new(&openssl);
        let ran =
            boundkey_testkit::run(command.args(["s_client", "-connect", cluster.address(), "-showcerts"]));
        let from = ran.stdout.find("-----BEGIN").unwrap_or_else(|| panic!("no certificate: {}", ran.stderr));
        let end = ran.stdout.find("-----END").expect("an end");
        ran.stdout[from..end].trim().to_owned()
    };
    let on_disk = || {
        let text = std::fs::read_to_string(&cert).expect("a certificate");
        text[..text.find("-----END").expect("an end")].trim().to_owned()
    };
    assert_eq!(shown(&cluster), on_disk());
    make(&cluster, "20");
    assert_ne!(shown(&cluster), on_disk(), "not before it is told");
    cluster.server().signal("HUP");
    wait_for("the new certificate", || shown(&cluster) == on_disk());
    std::fs::write(&cert, "no certificate").expect("written");
    let before = shown(&cluster);
    cluster.server().signal("HUP");
    wait_for("the complaint", || cluster.server().printed().contains("the certificate stays as it is"));
    assert_eq!(shown(&cluster), before);
    cluster.stop_server();
}
