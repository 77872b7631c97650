//! Where an agent meets its host: containers, web servers, reload commands, full and read-only file systems.

mod children;
mod containers;
mod servers;
mod syncs;

use std::path::Path;

use boundkey_testkit::{Cluster, Running, run, wait_for};

/// The serial number of a certificate.
fn serial(certificate: &Path) -> String {
    run(std::process::Command::new("openssl").args(["x509", "-noout", "-serial", "-in"]).arg(certificate))
        .success()
}

/// How often a token's machine has joined.
fn joins(cluster: &Cluster, token: &str) -> usize {
    let joined = |code: &serde_json::Value| {
        ["registered", "renewed", "recovered"].contains(&code.as_str().unwrap_or_default())
    };
    cluster.events(token).iter().filter(|event| joined(&event["code"])).count()
}

/// Has a running agent renew, and waits until it has and is idle again.
fn renew(agent: &mut Running, certificate: &Path) {
    let before = std::fs::read(certificate).expect("a certificate");
    agent.signal("USR1");
    wait_for("a renewal", || {
        assert!(agent.ended().is_none(), "{}", agent.printed());
        std::fs::read(certificate).is_ok_and(|now| now != before)
    });
}

/// Namespaces and mounts want root.
fn may_mount() -> bool {
    rustix::process::geteuid().is_root()
}
