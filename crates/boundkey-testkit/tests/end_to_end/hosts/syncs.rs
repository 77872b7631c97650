//! How often a renewal waits for the disk: counted by the kernel, so that it does not depend on the hour.

use std::process::Command;

use boundkey_testkit::{Cluster, find, run};

use crate::node_token;

/// Two for the attempt, two for the result, fifteen for the identity, six for each tls output, nine for the openssh_host
/// output, two for the notes: one for each file, and two for each directory.
const MOST: usize = 42;

#[test]
fn a_renewal_with_three_outputs_syncs_no_more_than_counted() {
    let Some(strace) = find("strace") else {
        println!("SKIP: strace is not installed");
        return;
    };
    let cluster = Cluster::start("syncs");
    cluster.create(&node_token("web"));
    let outputs: String = ["one", "two"]
        .map(|name| format!("- {{type: tls, path: {}}}\n", cluster.path(name).display()))
        .concat();
    let agent = cluster.agent_with(
        "web",
        &format!(
            "ssh_service: {{enabled: true}}\noutputs:\n{outputs}- {{type: openssh_host, path: {}}}\n",
            cluster.path("ssh").display()
        ),
    );
    agent.oneshot().success();
    let log = cluster.path("strace.log");
    let mut traced = Command::new(strace);
    traced.args(["-f", "-qq", "-e", "trace=fsync,fdatasync,syncfs,sync", "-o"]).arg(&log);
    let plain = agent.start_command(&["--oneshot"]);
    let ran = run(traced.arg(plain.get_program()).args(plain.get_args()));
    if ran.stderr.contains("ptrace") {
        println!("SKIP: no process may be traced here");
        return;
    }
    ran.success();
    let calls = std::fs::read_to_string(&log).expect("the trace");
    let syncs = calls.lines().filter(|line| line.contains("sync") && line.contains(" = 0")).count();
    println!("{syncs} syncs");
    assert!(syncs <= MOST, "{syncs} syncs:\n{calls}");
}
