//! Reload commands are more than one process, and an agent may be the first one.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use boundkey_testkit::{Agent, Cluster, Running, wait_for};

use super::{joins, may_mount, renew};
use crate::node_token;

fn agent(cluster: &Cluster, reload: &str) -> Agent {
    cluster.create(&node_token("web"));
    let output = cluster.path("out");
    cluster.agent_with(
        "web",
        &format!(
            "ssh_service: {{enabled: true}}\noutputs: [{{type: tls, path: {}, reload: '{reload}'}}]\n",
            output.display()
        ),
    )
}

/// Fields of `/proc/PID/stat` behind the name: the state and the parent.
fn processes() -> Vec<(u32, String, u32)> {
    let entries = std::fs::read_dir("/proc").expect("/proc");
    entries
        .filter_map(|entry| {
            let id: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
            let mut fields = stat.rsplit(')').next()?.split_whitespace();
            Some((id, fields.next()?.to_owned(), fields.next()?.parse().ok()?))
        })
        .collect()
}

fn lives(file: &Path) -> bool {
    let id: u32 = std::fs::read_to_string(file).expect("an id").trim().parse().expect("a number");
    processes().iter().any(|(found, state, _)| *found == id && state != "Z")
}

const ENDLESS: &str = "sleep 1000 & echo $! > CHILD.new; mv CHILD.new CHILD; wait";

#[test]
fn sigterm_ends_a_single_join_with_its_reload_commands_children() {
    let cluster = Cluster::start("children");
    let child = cluster.path("child");
    let agent = agent(&cluster, &ENDLESS.replace("CHILD", &child.display().to_string()));
    let mut once =
        Running::start(&mut agent.start_command(&["--oneshot", "--timeout", "2s"]), agent.path("once.log"));
    wait_for("the reload command", || child.exists());
    // `renew`, and a terminal that goes away.
    for ignored in ["USR1", "HUP"] {
        once.signal(ignored);
        assert_eq!(once.ended(), None, "{ignored}");
    }
    once.signal("TERM");
    let mut status = None;
    wait_for("the agent to end", || {
        status = once.ended();
        status.is_some()
    });
    assert_eq!(status.and_then(|status| status.code()), Some(1), "{}", once.printed());
    assert!(once.printed().contains("boundkey-agent: stopped by a signal"), "{}", once.printed());
    wait_for("the child to end", || !lives(&child));
    assert!(cluster.path("out/key.pem").exists());
}

#[test]
fn a_service_that_waits_for_a_reload_command_at_its_start_ends_at_once() {
    let cluster = Cluster::start("children2");
    let child = cluster.path("child");
    let agent = agent(&cluster, &ENDLESS.replace("CHILD", &child.display().to_string()));
    let mut service = agent.start();
    for _ in 0..2 {
        wait_for("the reload command", || child.exists());
        let told = Instant::now();
        let status = service.stop();
        assert!(status.success() && told.elapsed().as_secs() < 10, "{status}");
        wait_for("the child to end", || !lives(&child));
        std::fs::remove_file(&child).expect("removed");
        // The second time it has its certificates, and the command is due before it joins.
        service = agent.start();
    }
    wait_for("the reload command", || child.exists());
    assert_eq!(joins(&cluster, "web"), 1);
    // Killed, it would leave the command.
    assert!(service.stop().success());
}

#[test]
fn as_process_1_it_reaps_what_reload_commands_leave() {
    if !may_mount() {
        println!("SKIP: only root may make namespaces here");
        return;
    }
    let cluster = Cluster::start("init");
    let mut agent = agent(&cluster, "(sleep 0.2 &) ; (exec setsid sleep 0.2 &) ; exit 0");
    agent.wrap(&["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"].map(str::to_owned));
    let mut outer = agent.start();
    let certificate = cluster.path("out/cert.pem");
    wait_for("the first join", || {
        assert!(outer.ended().is_none(), "{}", outer.printed());
        certificate.exists()
    });
    let init = processes().into_iter().find(|(_, _, parent)| *parent == outer.id()).expect("the agent").0;
    for _ in 0..3 {
        let before = std::fs::read(&certificate).expect("a certificate");
        super::run(Command::new("kill").args(["-USR1", &init.to_string()])).success();
        wait_for("a renewal", || std::fs::read(&certificate).is_ok_and(|now| now != before));
    }
    wait_for("no child to be left, living or dead", || {
        !processes().iter().any(|(_, _, parent)| *parent == init)
    });
}

#[test]
fn elsewhere_a_daemon_that_a_reload_command_starts_lives_on() {
    let cluster = Cluster::start("daemon");
    let daemon = cluster.path("daemon");
    let agent = agent(&cluster, &format!("sleep 300 & echo $! > {}", daemon.display()));
    let mut service = agent.start();
    wait_for("the daemon", || daemon.exists() && cluster.path("out/cert.pem").exists());
    let first = std::fs::read_to_string(&daemon).expect("an id");
    renew(&mut service, &cluster.path("out/cert.pem"));
    wait_for("the second daemon", || {
        std::fs::read_to_string(&daemon).is_ok_and(|id| id != first && !id.is_empty())
    });
    assert!(service.stop().success());
    assert!(lives(&daemon));
    for id in [first, std::fs::read_to_string(&daemon).expect("an id")] {
        super::run(Command::new("kill").arg(id.trim())).success();
    }
}
