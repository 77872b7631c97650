//! Full, read-only and failing disks, under the agent's state and under the server's store.

use boundkey_testkit::{Agent, Cluster, Running, SmallDisk, find, run, wait_for};

use super::judge::{assert_one_honest_lineage, assert_whole, from_environment, refusals, sequence_held};
use crate::node_token;

const NO_NAMESPACE: &str = "SKIP: no mount namespace can be made here";
const NO_FIU: &str = "SKIP: fiu-run is not installed (Debian: fiu-utils)";

/// The words before a command whose system calls fail: `POINT,probability=...`, one of libfiu's names.
fn failing(points: &[&str]) -> Vec<String> {
    let mut words = vec!["fiu-run".to_owned(), "-x".to_owned()];
    for point in points {
        words.extend(["-c".to_owned(), format!("enable_random name=posix/io/{point}")]);
    }
    words
}

/// Switches a failure of a running process on or off.
fn control(process: &Running, command: &str) {
    run(std::process::Command::new("fiu-ctrl").args(["-c", command]).arg(process.id().to_string())).success();
}

fn state_of(disk: &SmallDisk, agent: &Agent) -> Vec<u8> {
    std::fs::read(disk.seen(&agent.state_dir().join("state.json"))).expect("a state")
}

/// The words about it, in whichever step it was met.
fn says_full(text: &str) -> bool {
    text.contains("full") || text.contains("No space left")
}

#[test]
fn an_agent_on_a_full_disk_says_so_loses_nothing_and_goes_on_when_there_is_room() {
    let cluster = Cluster::start("agent-full");
    cluster.create(&node_token("web"));
    let mut agent = cluster.agent("web");
    let Some(disk) = SmallDisk::mount(&agent.state_dir(), "size=1m,mode=700", cluster.path("disk.log"))
    else {
        println!("{NO_NAMESPACE}");
        return;
    };
    agent.wrap(&disk.words());
    let mut running = agent.start();
    let identity = disk.seen(&agent.identity("cert.pem"));
    wait_for("the agent to join", || identity.exists());
    wait_for("its notes", || disk.seen(&agent.state_dir().join("status.json")).exists());

    disk.fill_but(0);
    let before = state_of(&disk, &agent);
    running.signal("USR1");
    wait_for("the full disk to be met", || running.printed().contains("WARN join failed"));
    assert!(says_full(&running.printed()), "{}", running.printed());
    assert!(running.ended().is_none(), "it goes on trying");
    assert_eq!(state_of(&disk, &agent), before);
    disk.empty();
    wait_for("a join by itself", || {
        running.printed().lines().filter(|line| line.contains("INFO joined ")).count() == 2
    });
    assert!(running.stop().success());
    assert_eq!(assert_one_honest_lineage(&cluster, "web"), 2);

    // As a job, with room for ever more of what it writes.
    let (mut failed, mut succeeded) = (0, 0);
    for pages in (0..48).step_by(usize::try_from(from_environment("BOUNDKEY_DISK_STEP", 3)).expect("small")) {
        disk.fill_but(pages * 4096);
        let ran = run(&mut agent.start_command(&["--oneshot", "--timeout", "5s"]));
        match ran.code {
            Some(0) => succeeded += 1,
            _ => {
                let said = ran.failure();
                assert!(says_full(&said), "with {pages} pages: {said}");
                failed += 1;
            }
        }
        let whole: serde_json::Value =
            serde_json::from_slice(&state_of(&disk, &agent)).expect("a whole state");
        assert!(whole["join_state"].is_string());
        disk.empty();
        agent.oneshot().success();
        assert_whole(&disk.seen(&agent.state_dir().join("identity")));
    }
    println!("{failed} runs failed, {succeeded} had enough room");
    assert!(failed > 0 && succeeded > 0);
    assert_one_honest_lineage(&cluster, "web");
    assert_eq!(refusals(&cluster, "web"), Vec::<String>::new());
}

#[test]
fn an_agent_on_a_read_only_disk_ends_with_a_reason_and_joins_when_it_can_write() {
    let cluster = Cluster::start("agent-ro");
    cluster.create(&node_token("web"));
    let mut agent = cluster.agent("web");
    let Some(disk) = SmallDisk::mount(&agent.state_dir(), "size=1m,mode=700", cluster.path("disk.log"))
    else {
        println!("{NO_NAMESPACE}");
        return;
    };
    agent.wrap(&disk.words());
    agent.oneshot().success();
    disk.remount("ro");
    let refused = agent.oneshot().failure();
    assert!(
        refused.contains("Read-only file system")
            && refused.contains(&agent.state_dir().display().to_string()),
        "{refused}"
    );
    disk.remount("rw");
    agent.oneshot().success();
    assert_eq!(assert_one_honest_lineage(&cluster, "web"), 2);
}

#[test]
fn an_agent_whose_syncs_renames_and_writes_fail_loses_nothing() {
    if find("fiu-run").is_none() {
        println!("{NO_FIU}");
        return;
    }
    let cluster = Cluster::start("agent-fiu");
    cluster.create(&node_token("web"));
    let mut agent = cluster.agent("web");
    agent.oneshot().success();
    let state = agent.state_dir().join("state.json");
    agent.wrap(&failing(&["sync/fsync,probability=1"]));
    let refused = agent.oneshot().failure();
    assert!(refused.contains(&state.display().to_string()), "{refused}");
    agent.wrap(&[]);
    agent.oneshot().success();
    assert_eq!(assert_one_honest_lineage(&cluster, "web"), 2);
    let (mut failed, mut succeeded) = (0, 0);
    for round in 0..from_environment("BOUNDKEY_DISK_ROUNDS", 24) {
        // Writes and reads are left alone: the runtime wakes itself through them.
        agent.wrap(&failing(match round % 3 {
            0 => &["sync/fsync,probability=0.1"],
            1 => &["dir/rename,probability=0.3"],
            _ => &["oc/open,probability=0.05"],
        }));
        if round % 4 == 0 {
            cluster.ctl(&["bound-keypair", "rotate", "web"]).success();
        }
        let ran = run(&mut agent.start_command(&["--oneshot", "--timeout", "2s"]));
        match ran.code {
            Some(0) => succeeded += 1,
            _ => {
                assert!(!ran.failure().is_empty(), "it says why");
                failed += 1;
            }
        }
        let held: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&state).expect("a state")).expect("a whole state");
        assert!(held["join_state"].is_string());
    }
    println!("{failed} runs failed, {succeeded} did not");
    assert!(failed > 0);
    agent.wrap(&[]);
    agent.oneshot().success();
    assert_eq!(assert_one_honest_lineage(&cluster, "web"), sequence_held(&agent));
    assert_eq!(refusals(&cluster, "web"), Vec::<String>::new());
    assert_whole(&agent.state_dir().join("identity"));
}

#[test]
fn a_server_on_a_full_disk_refuses_what_it_cannot_keep_and_goes_on_when_there_is_room() {
    let mut cluster = Cluster::prepare("server-full");
    let Some(disk) = SmallDisk::mount(&cluster.data_dir(), "size=3m,mode=700", cluster.path("disk.log"))
    else {
        println!("{NO_NAMESPACE}");
        return;
    };
    cluster.wrap_server(&disk.words());
    cluster.wrap_ctl(&disk.words());
    cluster.start_server(&[]);
    cluster.create(&node_token("web"));
    let agent = cluster.agent("web");
    agent.oneshot().success();

    disk.fill_but(0);
    let refused = run(&mut agent.start_command(&["--oneshot", "--timeout", "3s"])).failure();
    assert!(refused.contains("the server's store does not answer"), "{refused}");
    std::fs::write(cluster.path("more.yaml"), node_token("more")).expect("written");
    let refused = cluster.ctl(&["create", &cluster.path("more.yaml").display().to_string()]).failure();
    assert!(refused.contains("unavailable") || refused.contains("does not answer"), "{refused}");
    assert!(cluster.server().ended().is_none(), "it lives on");
    assert!(says_full(&cluster.server().printed()), "{}", cluster.server().printed());
    let tokens = cluster.ctl(&["tokens", "ls"]).success();
    assert!(tokens.contains("web") && !tokens.contains("more"), "what is there can be read: {tokens}");

    disk.empty();
    agent.oneshot().success();
    cluster.ctl(&["create", &cluster.path("more.yaml").display().to_string()]).success();
    let sequence = assert_one_honest_lineage(&cluster, "web");
    assert_eq!(sequence_held(&agent), sequence);
    cluster.kill_server();
    cluster.start_server(&[]);
    assert_eq!(assert_one_honest_lineage(&cluster, "web"), sequence);
    agent.oneshot().success();
    cluster.stop_server();
}

#[test]
fn a_server_whose_syncs_and_writes_fail_keeps_what_it_answered() {
    if find("fiu-run").is_none() {
        println!("{NO_FIU}");
        return;
    }
    let mut cluster = Cluster::start("server-fiu");
    cluster.create(&node_token("web"));
    let agent = cluster.agent("web");
    agent.oneshot().success();
    cluster.stop_server();
    // Nothing fails while it starts; then this and that, and again nothing.
    cluster.wrap_server(&failing(&["sync/fsync,probability=0"]));
    cluster.start_server(&[]);
    let (mut failed, mut succeeded) = (0, 0);
    for point in ["sync/fsync", "sync/fdatasync", "rw/pwrite64", "rw/pwrite"] {
        control(cluster.server(), &format!("enable_random name=posix/io/{point},probability=0.3"));
        for round in 0..from_environment("BOUNDKEY_DISK_ROUNDS", 24).div_ceil(4) {
            if round % 2 == 0 {
                cluster.ctl(&["bound-keypair", "rotate", "web"]);
            }
            let ran = run(&mut agent.start_command(&["--oneshot", "--timeout", "1s"]));
            if ran.code == Some(0) {
                succeeded += 1
            } else {
                failed += 1
            }
            assert!(cluster.server().ended().is_none(), "it lives on");
        }
        control(cluster.server(), &format!("disable name=posix/io/{point}"));
        agent.oneshot().success();
    }
    let printed = cluster.server().printed();
    assert!(printed.contains("the store could not commit"), "{printed}");
    println!("{failed} joins failed, {succeeded} did not");
    let sequence = assert_one_honest_lineage(&cluster, "web");
    assert_eq!(sequence_held(&agent), sequence);
    cluster.kill_server();
    cluster.wrap_server(&[]);
    cluster.start_server(&[]);
    assert_eq!(
        assert_one_honest_lineage(&cluster, "web"),
        sequence,
        "what was answered is there after a crash"
    );
    agent.oneshot().success();
    assert_eq!(refusals(&cluster, "web"), Vec::<String>::new());
}

#[test]
fn a_server_that_cannot_write_its_disk_does_not_start_and_does_when_it_can() {
    let mut cluster = Cluster::prepare("server-ro");
    let Some(disk) = SmallDisk::mount(&cluster.data_dir(), "size=3m,mode=700", cluster.path("disk.log"))
    else {
        println!("{NO_NAMESPACE}");
        return;
    };
    cluster.wrap_server(&disk.words());
    cluster.wrap_ctl(&disk.words());
    cluster.start_server(&[]);
    cluster.create(&node_token("web"));
    let agent = cluster.agent("web");
    agent.oneshot().success();
    cluster.stop_server();
    disk.remount("ro");
    let refused = run(&mut cluster.server_command(&[])).failure();
    assert!(refused.contains("cannot write into the data directory"), "{refused}");
    disk.remount("rw");
    cluster.start_server(&[]);
    agent.oneshot().success();
    assert_eq!(assert_one_honest_lineage(&cluster, "web"), 2);
    cluster.stop_server();
}
