//! Lost servers, lost answers, copies and rotations, with real processes.

use boundkey_testkit::Cluster;

use crate::{facts, node_token};

#[test]
fn a_killed_server_keeps_what_it_answered_and_renewals_go_on() {
    let mut cluster = Cluster::start("kill");
    cluster.create(&node_token("web"));
    let agent = cluster.agent("web");
    agent.oneshot().success();
    let before = facts(&cluster, "web");
    cluster.kill_server();
    cluster.start_server(&[]);
    assert_eq!(facts(&cluster, "web"), before);
    agent.oneshot().success();
    assert_eq!(facts(&cluster, "web")["recovery_count"], 1);
}

#[test]
fn a_requested_rotation_is_completed_in_one_run() {
    let cluster = Cluster::start("rotate");
    cluster.create(&node_token("web"));
    let agent = cluster.agent("web");
    agent.oneshot().success();
    let before = facts(&cluster, "web");
    cluster.ctl(&["bound-keypair", "rotate", "web"]).success();
    let state = cluster.ctl(&["tokens", "ls"]).success();
    assert!(state.contains("rotation_due"), "{state}");
    agent.oneshot().success();
    let after = facts(&cluster, "web");
    assert_ne!(after["bound_public_key"], before["bound_public_key"]);
    assert!(after["last_rotated_at"].is_string(), "{after}");
    agent.oneshot().success();
    assert_eq!(facts(&cluster, "web")["bound_public_key"], after["bound_public_key"]);
}

#[test]
fn a_copy_that_is_used_locks_the_token_at_the_next_join_of_the_other_and_resync_heals_it() {
    let cluster = Cluster::start("clone");
    cluster.create(&node_token("web"));
    let agent = cluster.agent("web");
    agent.oneshot().success();
    let thief = agent.copy("thief");
    thief.oneshot().success();
    let refused = agent.oneshot().failure();
    assert!(refused.contains("clone_detected"), "{refused}");
    let tokens = cluster.ctl(&["tokens", "ls", "--state", "locked"]).success();
    assert!(tokens.contains("web"), "{tokens}");
    let refused = thief.oneshot().failure();
    assert!(refused.contains("locked"), "{refused}");
    let explained = cluster.ctl(&["bound-keypair", "explain", "web"]).success();
    assert!(explained.contains("resync"), "{explained}");
    cluster.ctl(&["bound-keypair", "resync", "web"]).success();
    agent.oneshot().success();
    let refused = thief.oneshot().failure();
    assert!(refused.contains("denied") || refused.contains("clone_detected"), "{refused}");
}

#[test]
fn a_server_restored_from_an_older_backup_takes_the_machine_back() {
    let mut cluster = Cluster::start("restore");
    cluster.create(&node_token("web"));
    let agent = cluster.agent("web");
    cluster.stop_server();
    let backup = cluster.path("backup");
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        drop(std::fs::remove_dir_all(to));
        boundkey_testkit::run(std::process::Command::new("cp").arg("-a").arg(from).arg(to)).success();
    };
    copy(&cluster.data_dir(), &backup);
    cluster.start_server(&[]);
    agent.oneshot().success();
    agent.oneshot().success();
    let key = facts(&cluster, "web")["bound_public_key"].clone();
    cluster.stop_server();
    copy(&backup, &cluster.data_dir());
    cluster.start_server(&[]);
    assert_eq!(facts(&cluster, "web")["bound_public_key"], "", "the backup is from before the registration");
    agent.oneshot().success();
    assert_eq!(facts(&cluster, "web")["bound_public_key"], key);
    let events = cluster.ctl(&["events", "ls", "--format", "json"]).success();
    assert!(events.contains("rollback_healed"), "{events}");
}

#[test]
fn reset_unbinds_and_the_new_secret_binds_a_new_machine() {
    let cluster = Cluster::start("reset");
    cluster.create(&node_token("web"));
    let agent = cluster.agent("web");
    agent.oneshot().success();
    cluster.ctl(&["bound-keypair", "reset", "web", "--yes"]).success();
    let refused = agent.oneshot().failure();
    assert!(!refused.contains("clone_detected"), "{refused}");
    std::fs::remove_dir_all(agent.state_dir()).expect("a state directory");
    cluster.agent("web").oneshot().success();
    assert_ne!(facts(&cluster, "web")["bound_public_key"], "");
}

#[test]
fn a_lock_by_hand_keeps_a_machine_out_until_it_is_removed() {
    let cluster = Cluster::start("lock");
    cluster.create(&node_token("web"));
    let agent = cluster.agent("web");
    agent.oneshot().success();
    let created = cluster
        .ctl(&["lock", "--join-token", "web", "--message", "stolen", "--yes", "--format", "json"])
        .success();
    let lock: serde_json::Value = serde_json::from_str(&created).expect("JSON");
    assert_eq!(lock["spec"]["target"]["join_token"], "web");
    let refused = agent.oneshot().failure();
    assert!(refused.contains("locked"), "{refused}");
    let name = lock["metadata"]["name"].as_str().expect("a name");
    cluster.ctl(&["rm", &format!("lock/{name}")]).success();
    agent.oneshot().success();
}
