//! Somebody else holds the output: a container that has it mounted, a pod whose root is read-only.

use std::path::Path;
use std::process::Command;

use boundkey_testkit::{Cluster, Running, run, wait_for};

use super::{may_mount, serial};
use crate::node_token;

/// A process in a mount namespace of its own, in which `script` was run first.
fn container(cluster: &Cluster, script: &str) -> Running {
    let log = cluster.path("container.log");
    let script = format!("{script}\necho ready\nexec sleep 600");
    let mut held = Running::start(
        Command::new("unshare").args(["--mount", "--propagation", "private", "sh", "-ec"]).arg(script),
        log,
    );
    wait_for("the container", || {
        assert!(held.ended().is_none(), "{}", held.printed());
        held.printed().contains("ready")
    });
    held
}

/// Runs a command inside of it.
fn inside(held: &Running, words: &[&str]) -> String {
    run(Command::new("nsenter").arg(format!("--mount=/proc/{}/ns/mnt", held.id())).args(words)).success()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of the test is text")
}

#[test]
fn a_container_that_has_the_output_mounted_sees_every_renewal() {
    if !may_mount() {
        println!("SKIP: only root may make namespaces here");
        return;
    }
    let cluster = Cluster::start("mounted");
    cluster.create(&node_token("web"));
    let output = cluster.path("out");
    let agent = cluster.agent_with(
        "web",
        &format!("ssh_service: {{enabled: true}}\noutputs: [{{type: tls, path: {}}}]\n", output.display()),
    );
    agent.oneshot().success();
    let view = cluster.path("view");
    std::fs::create_dir(&view).expect("a directory");
    let held = container(&cluster, &format!("mount --bind {} {}", output.display(), view.display()));
    let seen =
        || inside(&held, &["openssl", "x509", "-noout", "-serial", "-in", text(&view.join("cert.pem"))]);
    let mut serials = vec![seen()];
    for _ in 0..3 {
        agent.oneshot().success();
        assert_eq!(seen(), serial(&output.join("cert.pem")), "the container sees the present one");
        serials.push(seen());
        let key = inside(&held, &["openssl", "pkey", "-pubout", "-in", text(&view.join("key.pem"))]);
        let certified =
            inside(&held, &["openssl", "x509", "-noout", "-pubkey", "-in", text(&view.join("cert.pem"))]);
        assert_eq!(key, certified, "key and certificate fit");
    }
    serials.dedup();
    assert_eq!(serials.len(), 4, "each join gave another: {serials:?}");
}

#[test]
fn a_pod_with_a_read_only_root_and_volumes_joins_and_renews() {
    if !may_mount() {
        println!("SKIP: only root may make namespaces here");
        return;
    }
    let cluster = Cluster::start("readonly");
    cluster.create(&node_token("pod"));
    let root = cluster.path("root");
    for volume in ["certs", "state"] {
        std::fs::create_dir_all(root.join(volume)).expect("a directory");
    }
    let mut agent = cluster.agent_with(
        "pod",
        &format!(
            "ssh_service: {{enabled: true}}\noutputs: [{{type: tls, path: {}/certs}}]\n",
            root.display()
        ),
    );
    let config = std::fs::read_to_string(agent.config()).expect("a config");
    let state = format!("{}/state", root.display());
    let config = config.replace(&agent.state_dir().display().to_string(), &state);
    std::fs::write(agent.config(), config).expect("a config can be written");
    let held = container(
        &cluster,
        &format!(
            "cd {0}\nmount --bind {0} {0}\nmount -o remount,ro,bind {0}\nmount -t tmpfs none {0}/certs\n\
             mount -t tmpfs -o mode=700 none {0}/state",
            root.display()
        ),
    );
    agent.wrap(&["nsenter".to_owned(), format!("--mount=/proc/{}/ns/mnt", held.id())]);
    let certificate = root.join("certs/cert.pem");
    let seen = || inside(&held, &["openssl", "x509", "-noout", "-serial", "-in", text(&certificate)]);
    agent.oneshot().success();
    let first = seen();
    agent.oneshot().success();
    assert_ne!(seen(), first);
    assert!(
        inside(&held, &["sh", "-c", &format!("touch {}/x 2>&1 || true", root.display())])
            .contains("Read-only")
    );
}
