//! kill -9 at random moments, of agents and of the server, again and again.
//!
//! `BOUNDKEY_KILLS` says how often agents are killed; `BOUNDKEY_SEED` repeats a run's choices (not its timing).

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use boundkey_testkit::{Administrator, Agent, Cluster, Dice, find, run};

use super::judge::{
    assert_one_honest_lineage, assert_only, assert_whole, from_environment, refusals, sequence_held,
};
use crate::node_token;

/// What the data directory of an agent holds when nothing is under way.
const STATE: [&str; 4] = ["agent.lock", "identity", "state.json", "status.json"];
const MACHINES: u64 = 3;

struct Machine {
    token: String,
    agent: Agent,
    tls: PathBuf,
    dice: Dice,
}

impl Machine {
    fn new(cluster: &Cluster, token: String, seed: u64) -> Self {
        let tls = cluster.path(&format!("agent-{token}")).join("tls");
        let more =
            format!("ssh_service: {{enabled: true}}\noutputs: [{{type: tls, path: {}}}]\n", tls.display());
        let agent = cluster.agent_with(&token, &more);
        Self { token, agent, tls, dice: Dice::new(seed) }
    }

    /// Starts it, as a job or as a service, and kills it before `within` has passed. False if it ended before.
    fn start_and_kill(&mut self, within: Duration) -> bool {
        let service = self.dice.once_in(3);
        let mut command = self.agent.start_command(if service { &[] } else { &["--oneshot"] });
        let log = self.agent.path("agent.log");
        drop(std::fs::remove_file(&log));
        let mut running = boundkey_testkit::Running::start(&mut command, log);
        std::thread::sleep(self.dice.moment(within));
        if service
            && running.ended().is_none()
            && self.dice.once_in(2)
            && running.printed().contains("agent started")
        {
            // A renewal is asked for: a service that holds valid certificates would only wait.
            running.signal("USR1");
            std::thread::sleep(self.dice.moment(within));
        }
        let alive = running.ended().is_none();
        running.kill();
        alive
    }

    /// What an administrator does meanwhile; the server may be away.
    fn administer(&mut self, administrator: &Administrator) {
        let verb = match self.dice.below(12) {
            0 | 1 => "rotate",
            2 => "revoke",
            _ => return,
        };
        let yes: &[&str] = if verb == "revoke" { &["--yes"] } else { &[] };
        administrator.ctl(&[&["bound-keypair", verb, &self.token], yes].concat());
    }

    fn be_killed(&mut self, kills: u64, administrator: &Administrator) {
        let mut killed = 0;
        // As long as a whole join takes, as far as is known.
        let mut whole = Duration::from_millis(100);
        while killed < kills {
            self.administer(administrator);
            if self.start_and_kill(whole) {
                killed += 1;
                whole += whole / 50;
            } else {
                whole = whole * 9 / 10 + Duration::from_millis(2);
            }
            if self.tls.join("..data").exists() {
                assert_whole(&self.tls);
            }
        }
    }
}

#[test]
fn machines_and_a_server_that_are_killed_at_any_moment_go_on_by_themselves() {
    if find("openssl").is_none() {
        println!("SKIP: openssl is not installed");
        return;
    }
    let kills = from_environment("BOUNDKEY_KILLS", 240).div_ceil(MACHINES);
    let seed = Dice::seed("BOUNDKEY_SEED");
    println!("BOUNDKEY_SEED={seed}");
    let mut cluster = Cluster::start("kills");
    let mut machines: Vec<Machine> = (0..MACHINES)
        .map(|number| {
            let token = format!("web-{number}");
            let recovery = "  bound_keypair: {recovery: {limit: 100000}}\n";
            cluster.create(&format!("{}{recovery}", node_token(&token)));
            Machine::new(&cluster, token, seed.wrapping_add(number))
        })
        .collect();
    let administrator = cluster.administrator();
    let busy = AtomicU64::new(MACHINES);
    let failed = AtomicBool::new(false);
    let server_killed = std::thread::scope(|scope| {
        for machine in &mut machines {
            let (administrator, busy, failed) = (&administrator, &busy, &failed);
            scope.spawn(move || {
                let done = Done { busy, failed };
                machine.be_killed(kills, administrator);
                drop(done);
            });
        }
        kill_the_server_while(&mut cluster, Dice::new(!seed), || busy.load(Ordering::Acquire) > 0)
    });
    assert!(!failed.load(Ordering::Acquire));
    println!("{} agents and {server_killed} servers killed", kills * MACHINES);
    for machine in &machines {
        // By itself: whatever was under way is taken up again.
        machine.agent.oneshot().success();
        let sequence = assert_one_honest_lineage(&cluster, &machine.token);
        assert_eq!(sequence_held(&machine.agent), sequence);
        assert_eq!(refusals(&cluster, &machine.token), Vec::<String>::new());
        machine.agent.oneshot().success();
        assert_eq!(assert_one_honest_lineage(&cluster, &machine.token), sequence + 1);
        assert_whole(&machine.agent.state_dir().join("identity"));
        assert_whole(&machine.tls);
        assert_only(&machine.agent.state_dir(), &STATE);
        assert_only(&machine.agent.path(""), &["state", "tls", "boundkey.yaml", "agent.log"]);
    }
    cluster.stop_server();
    assert_only(
        &cluster.data_dir(),
        &["master.key", "server.lock", "store.sqlite", "store.sqlite-wal", "store.sqlite-shm"],
    );
}

/// Counts a machine as done, also when its thread panics.
struct Done<'a> {
    busy: &'a AtomicU64,
    failed: &'a AtomicBool,
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.failed.fetch_or(std::thread::panicking(), Ordering::AcqRel);
        self.busy.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Ends with a server that is ready; says how many were killed.
fn kill_the_server_while(cluster: &mut Cluster, mut dice: Dice, go_on: impl Fn() -> bool) -> u64 {
    let mut killed = 0;
    while go_on() {
        std::thread::sleep(dice.moment(Duration::from_millis(600)));
        cluster.kill_server();
        killed += 1;
        // Now and then once more while it starts.
        while dice.once_in(3) {
            cluster.launch_server(&[]);
            std::thread::sleep(dice.moment(Duration::from_millis(60)));
            cluster.kill_server();
            killed += 1;
        }
        cluster.start_server(&[]);
    }
    killed
}

#[test]
fn a_first_start_that_is_killed_at_any_moment_is_made_good_by_the_next() {
    let seed = Dice::seed("BOUNDKEY_SEED");
    println!("BOUNDKEY_SEED={seed}");
    let mut dice = Dice::new(seed);
    let mut cluster = Cluster::prepare("first");
    let started = Instant::now();
    cluster.start_server(&[]);
    let whole = started.elapsed();
    cluster.stop_server();
    for _ in 0..from_environment("BOUNDKEY_KILLS", 240).div_ceil(10) {
        run(std::process::Command::new("rm").arg("-r").arg(cluster.data_dir())).success();
        cluster.launch_server(&[]);
        std::thread::sleep(dice.moment(whole));
        cluster.kill_server();
        cluster.start_server(&[]);
        assert_eq!(cluster.ctl(&["tokens", "ls", "--format", "json"]).success().trim(), "[]");
        cluster.stop_server();
        assert_only(&cluster.data_dir(), &["master.key", "server.lock", "store.sqlite"]);
    }
}
