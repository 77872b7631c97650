//! What the agent does beside its joins: outputs, reload commands, the list of revoked keys.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use boundkey_client::agent::{Agent, Command, Event};
use boundkey_client::{Notes, SystemEntropy};
use tokio::sync::mpsc;

use super::server::Server;
use super::{HOST, Machine, Sleeping, next_status, wait_for, while_running};

/// Whether the process whose id is in a file is still there (a zombie is not).
fn lives(file: &Path) -> bool {
    let id = std::fs::read_to_string(file).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", id.trim())).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

#[tokio::test]
async fn an_output_and_a_reload_that_failed_are_tried_again_each_by_itself_without_a_join() {
    let server = Server::start("Node", "").await;
    let machine = Machine::new();
    let (blocked, flag) = (machine.path("blocked"), machine.path("flag"));
    std::fs::write(&blocked, "in the way").unwrap();
    let lines = format!(
        "{HOST}outputs:\n- {{type: tls, path: {}}}\n- {{type: tls, path: {}, reload: \"test -e {}\"}}\n",
        blocked.display(),
        machine.path("tls").display(),
        flag.display()
    );
    while_running(&mut machine.agent(&server, &lines), async |_, mut events| {
        while !next_status(&mut events).await.starts_with("joined") {}
        wait_for("both to fail", || machine.status().problems.len() == 2).await;
        let problems = machine.status().problems;
        assert!(problems[0].ends_with("is no directory: outputs are directories"), "{problems:?}");
        assert!(problems[1].contains("failed with exit status: 1"), "{problems:?}");
        std::fs::remove_file(&blocked).unwrap();
        wait_for("the output", || blocked.join("key.pem").exists()).await;
        wait_for("its problem is over", || machine.status().problems.len() == 1).await;
        std::fs::write(&flag, "").unwrap();
        wait_for("the reload", || machine.status().healthy).await;
    })
    .await;
    assert_eq!(server.enrolment().await.sequence, 1);
}

#[tokio::test]
async fn revoked_keys_are_fetched_each_hour_without_a_join() {
    let server = Server::start("Node", "").await;
    let machine = Machine::new();
    let lines = format!("{HOST}outputs: [{{type: openssh_host, path: {}}}]\n", machine.path("ssh").display());
    machine.agent(&server, &lines).join_once().await.unwrap();
    let list = machine.path("ssh/revoked_keys");
    let before = std::fs::read(&list).unwrap();
    server.revoke().await;
    an_hour_later(&machine, &server, &lines, async || {
        wait_for("the new list", || std::fs::read(&list).is_ok_and(|now| now != before)).await;
    })
    .await;
    let both = [machine.path("data/identity/revoked_keys"), list].map(|path| std::fs::read(path).unwrap());
    assert_eq!(both[0], both[1], "both have the new one");
    assert_eq!(server.enrolment().await.sequence, 1, "no join was needed");
}

#[tokio::test]
async fn a_list_of_revoked_keys_that_cannot_be_fetched_is_asked_for_again_soon() {
    let server = Server::start("Node", "").await;
    let machine = Machine::new();
    let lines = format!("{HOST}outputs: [{{type: openssh_host, path: {}}}]\n", machine.path("ssh").display());
    machine.agent(&server, &lines).join_once().await.unwrap();
    let list = machine.path("ssh/revoked_keys");
    let before = std::fs::read(&list).unwrap();
    server.revoke().await;
    server.stop().await;
    an_hour_later(&machine, &server, &lines, async || {
        let said = || Notes::read(&machine.path("data")).revoked_keys_error;
        wait_for("a failure to be noted", || said().is_some()).await;
        let problem = machine.status().problems.remove(0);
        assert!(problem.starts_with("the list of revoked keys: cannot connect to"), "{problem}");
        server.serve().await;
        wait_for("the new list", || std::fs::read(&list).is_ok_and(|now| now != before)).await;
        wait_for("health", || machine.status().healthy).await;
    })
    .await;
    assert_eq!(server.enrolment().await.sequence, 1, "no join was needed");
}

/// Runs an agent for which an hour passes as soon as it waits for its renewal.
async fn an_hour_later(machine: &Machine, server: &Server, lines: &str, drive: impl AsyncFnOnce()) {
    let clock = Arc::new(Sleeping::default());
    let entropy = Arc::new(SystemEntropy::new());
    let config = machine.config(server, lines);
    let mut agent = Agent::open(config, "test", false, Arc::<Sleeping>::clone(&clock), entropy).unwrap();
    let (sender, commands) = mpsc::channel(8);
    let hear = |event| {
        if event == Event::Ready {
            clock.0.store(3600, Ordering::Relaxed);
        }
    };
    let drive = async {
        drive().await;
        drop(sender);
    };
    let (outcome, ()) = tokio::join!(agent.run(commands, hear), drive);
    outcome.unwrap();
}

/// A reload command that does not end, and notes the id of a child of its own.
fn endless(machine: &Machine) -> String {
    format!(
        "outputs: [{{type: tls, path: {}, reload: \"sleep 1000 & echo $! > {1}.new; mv {1}.new {1}; wait\"}}]\n",
        machine.path("tls").display(),
        machine.path("child").display()
    )
}

#[tokio::test]
async fn an_agent_stops_at_once_in_the_middle_of_a_reload_and_takes_the_commands_children_along() {
    let server = Server::start("Node", "").await;
    let machine = Machine::new();
    machine.agent(&server, HOST).join_once().await.unwrap();
    let child = machine.path("child");
    let lines = format!("{HOST}{}", endless(&machine));
    // With the outputs at the start; in the middle of a renewal.
    for renewal in [false, true] {
        let mut agent = machine.agent(&server, if renewal { HOST } else { &lines });
        let _ = std::fs::remove_file(&child);
        let (sender, commands) = mpsc::channel(8);
        let started = Instant::now();
        let drive = async {
            if renewal {
                let config = machine.config(&server, &lines);
                sender.send(Command::Reload(Box::new(config))).await.unwrap();
            }
            wait_for("the command to run", || child.exists()).await;
            sender.send(Command::Stop).await.unwrap();
        };
        let (outcome, ()) = tokio::join!(agent.run(commands, |_| {}), drive);
        outcome.unwrap();
        assert!(started.elapsed() < Duration::from_secs(40), "the command has a minute of its own");
        wait_for("the command's child to end", || !lives(&child)).await;
        assert!(machine.path("tls/key.pem").exists());
        std::fs::remove_dir_all(machine.path("tls")).unwrap();
    }
}

#[tokio::test]
async fn the_limit_of_a_single_join_is_not_the_reload_commands() {
    let server = Server::start("Node", "").await;
    let machine = Machine::new();
    let lines = format!(
        "{HOST}outputs: [{{type: tls, path: {}, reload: \"sleep 2; echo no such unit >&2; exit 3\"}}]\n",
        machine.path("tls").display()
    );
    machine.agent(&server, &lines).join_within(Duration::from_secs(1)).await.unwrap();
    let status = machine.status();
    let said = "failed with exit status: 3: no such unit";
    assert!(status.problems.iter().any(|problem| problem.ends_with(said)), "{:?}", status.problems);
    assert_eq!(status.outputs[0].written.as_deref(), Some("created"));
    assert_eq!(status.last_error, None);
}

#[tokio::test]
async fn a_join_that_takes_too_long_is_noted() {
    let server = Server::start("Node", "").await;
    let machine = Machine::new();
    server.stop().await;
    // Connections are taken and nothing is ever answered.
    let _silent = tokio::net::TcpListener::bind(&server.address).await.unwrap();
    let error = machine.agent(&server, HOST).join_within(Duration::from_secs(1)).await.err().unwrap();
    assert_eq!(error.to_string(), "no answer within 1s; the attempt is stored and goes on at the next start");
    assert_eq!(machine.status().last_error, Some(error.to_string()));
}

#[tokio::test]
async fn revoked_keys_alone_reload_no_output_that_does_not_hold_them() {
    let server = Server::start("Node", "").await;
    let machine = Machine::new();
    let ssh = format!(
        "- {{type: openssh_host, path: {}, reload: \"echo ssh >> {}\"}}\n",
        machine.path("ssh").display(),
        machine.path("reloads").display()
    );
    let lines = format!("{HOST}{}{ssh}", machine.tls_output().replace("[{", "\n- {").replace("}]", "}"));
    machine.agent(&server, &lines).join_once().await.unwrap();
    assert_eq!(machine.reloads(), 2);
    server.revoke().await;
    an_hour_later(&machine, &server, &lines, async || {
        wait_for("sshd to be reloaded", || machine.reloads() == 3).await;
    })
    .await;
    assert!(super::read(machine.path("reloads")).ends_with("ssh\n"));
    assert_eq!(machine.reloads(), 3);
}

#[tokio::test]
async fn a_restart_without_a_server_and_without_an_identity_directory_revokes_nothing_less() {
    let server = Server::start("Node", "").await;
    let machine = Machine::new();
    let lines = format!("{HOST}outputs: [{{type: openssh_host, path: {}}}]\n", machine.path("ssh").display());
    machine.agent(&server, &lines).join_once().await.unwrap();
    let list = machine.path("ssh/revoked_keys");
    let before = std::fs::read(&list).unwrap();
    server.revoke().await;
    // What is there of the identity cannot be replaced, and it holds no list.
    let identity = machine.path("data/identity");
    std::fs::remove_dir_all(&identity).unwrap();
    std::fs::write(&identity, "in the way").unwrap();
    an_hour_later(&machine, &server, &lines, async || {
        wait_for("the new list", || std::fs::read(&list).is_ok_and(|now| now != before)).await;
        let noted = || Notes::read(&machine.path("data")).identity_error;
        wait_for("the identity's failure", || noted().is_some()).await;
    })
    .await;
    let revoked = std::fs::read(&list).unwrap();
    server.stop().await;
    while_running(&mut machine.agent(&server, &lines), async |_, mut events| {
        assert_eq!(super::next_event(&mut events).await, Event::Ready);
    })
    .await;
    assert_eq!(std::fs::read(&list).unwrap(), revoked);
}
