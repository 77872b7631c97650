//! The wall clock is stepped while agent and server run: an hour, a day, ten years, both ways, on either side or both.

use std::time::Duration;

use boundkey_testkit::{Agent, Cluster, Running, SteppedClock, processor_time, run, wait_for};

use super::judge::{assert_one_honest_lineage, refusals, sequence_held};
use crate::{facts, node_token};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const TEN_YEARS: i64 = 3650 * DAY;
const NINE_YEARS: i64 = 3285 * DAY;
const STEPS: [i64; 6] = [HOUR, -HOUR, DAY, -DAY, TEN_YEARS, -TEN_YEARS];

/// Whose clock is stepped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Agent,
    Server,
    Both,
}

struct Scene {
    cluster: Cluster,
    agent: Agent,
    running: Running,
    server_clock: SteppedClock,
    agent_clock: SteppedClock,
    /// How much of the agent's log has been looked at.
    read: usize,
}

impl Scene {
    /// A server and an agent that has joined, both with the right time. None if there is no libfaketime.
    fn new(purpose: &str) -> Option<Self> {
        let mut cluster = Cluster::prepare(purpose);
        let server_clock = SteppedClock::new(cluster.path("server.clock"))?;
        let agent_clock = SteppedClock::new(cluster.path("agent.clock"))?;
        cluster.wrap_server(&server_clock.words());
        cluster.start_server(&[]);
        cluster.create(&node_token("web"));
        let mut agent = cluster.agent("web");
        agent.wrap(&agent_clock.words());
        let running = agent.start();
        let mut scene = Self { cluster, agent, running, server_clock, agent_clock, read: 0 };
        scene.await_outcome();
        wait_for("the identity", || scene.agent.identity("cert.pem").exists());
        Some(scene)
    }

    fn step(&self, side: Side, seconds: i64) {
        if side != Side::Agent {
            self.server_clock.set(seconds);
        }
        if side != Side::Server {
            self.agent_clock.set(seconds);
        }
    }

    /// The line that tells how the next join ended.
    fn await_outcome(&mut self) -> String {
        let mut line = None;
        wait_for("a join to end", || {
            assert!(self.running.ended().is_none(), "the agent ended");
            let printed = self.running.printed();
            // Only whole lines; the joined line has its word right behind the level.
            let whole = printed.rfind('\n').map_or(0, |end| end + 1);
            let found = printed[self.read..whole].lines().find(|line| {
                ["INFO joined ", "WARN join failed ", "ERROR join refused "]
                    .iter()
                    .any(|what| line.contains(what))
            });
            if let Some(found) = found {
                line = Some(found.to_owned());
                self.read = whole;
            }
            line.is_some()
        });
        line.expect("it was waited for")
    }

    fn renew(&mut self) -> String {
        self.read = self.running.printed().len();
        self.running.signal("USR1");
        self.await_outcome()
    }

    /// It neither spins nor writes its log full, and what it plans next is near.
    fn assert_calm(&self, step_of_agent: i64) {
        let (used, lines) = (processor_time(self.running.id()), self.running.printed().lines().count());
        std::thread::sleep(Duration::from_secs(2));
        let used = processor_time(self.running.id()) - used;
        assert!(used < Duration::from_millis(400), "{used:?} of processor time in two seconds");
        let lines = self.running.printed().lines().count() - lines;
        assert!(lines <= 6, "{lines} lines in two seconds");
        let text = std::fs::read(self.agent.state_dir().join("status.json")).expect("notes");
        let notes: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        let next = seconds_since_1970(notes["next_try_at"].as_str().expect("a time"));
        let wait = next - (now() + step_of_agent);
        assert!((-5..DAY).contains(&wait), "the next try is {wait} s away");
    }
}

/// The right time.
fn now() -> i64 {
    let now = std::fs::metadata(tempfile::NamedTempFile::new().expect("a file").path()).expect("it is there");
    let since = now.modified().expect("a time").duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("it fits")
}

fn seconds_since_1970(text: &str) -> i64 {
    let date = boundkey_testkit::run(std::process::Command::new("date").args(["-u", "+%s", "-d", text]));
    date.success().trim().parse().expect("a number")
}

/// What the agent says of a join while a clock is wrong.
fn expected(side: Side, step: i64) -> &'static [&'static str] {
    const SERVER: [&str; 3] = ["WARN join failed", "the server's clock says", "set the server's clock"];
    match (side, step) {
        // It is not valid yet, or no longer, by this machine's clock; what the server's says stands beside it.
        (Side::Agent | Side::Both, TEN_YEARS | i64::MIN..0) => &[
            "WARN join failed",
            "this machine's clock says",
            "(the server's says",
            "Set the clock of whichever is wrong",
        ],
        // Before the cluster was made.
        (Side::Server, _) if step < -HOUR => &SERVER,
        // Beyond the grace: it would be a recovery, and there is none. The machine comes back to this when the clock is right.
        (Side::Server, TEN_YEARS) => &["ERROR join refused", "recovery_limit_reached"],
        _ => &["INFO joined kind=\"renewed\""],
    }
}

fn survive(side: Side, step: i64) {
    let mut scene = Scene::new("clock").expect("libfaketime is there");
    scene.step(side, step);
    let outcome = scene.renew();
    for text in expected(side, step) {
        assert!(outcome.contains(text), "{side:?} {step}: {outcome}");
    }
    scene.assert_calm(if side == Side::Server { 0 } else { step });

    scene.step(side, 0);
    wait_for("the machine to be in again", || scene.renew().contains("INFO joined"));
    let sequence = assert_one_honest_lineage(&scene.cluster, "web");
    assert_eq!(sequence_held(&scene.agent), sequence);
    assert_eq!(facts(&scene.cluster, "web")["recovery_count"], 1, "no recovery was used");
    let refused = refusals(&scene.cluster, "web");
    assert!(
        refused.iter().all(|code| step == TEN_YEARS && code == "denied_recovery_limit_reached"),
        "{refused:?}"
    );
    assert!(scene.running.stop().success());
}

fn survive_all(side: Side) {
    std::thread::scope(|scope| {
        let cases = STEPS.map(|step| scope.spawn(move || survive(side, step)));
        let failed = cases.into_iter().filter_map(|case| case.join().err()).count();
        assert_eq!(failed, 0, "of {} steps of {side:?}", STEPS.len());
    });
}

fn can_step() -> bool {
    let file = tempfile::NamedTempFile::new().expect("a file");
    SteppedClock::new(file.path().to_owned()).is_some()
}

#[test]
fn a_step_of_the_agents_clock_locks_nothing_and_costs_nothing() {
    if !can_step() {
        println!("SKIP: libfaketime is not installed (Debian: faketime)");
        return;
    }
    survive_all(Side::Agent);
}

#[test]
fn a_step_of_the_servers_clock_locks_nothing_and_costs_nothing() {
    if !can_step() {
        println!("SKIP: libfaketime is not installed (Debian: faketime)");
        return;
    }
    survive_all(Side::Server);
}

#[test]
fn a_step_of_both_clocks_locks_nothing_and_costs_nothing() {
    if !can_step() {
        println!("SKIP: libfaketime is not installed (Debian: faketime)");
        return;
    }
    survive_all(Side::Both);
}

#[test]
fn a_server_started_with_a_wrong_clock_shows_a_valid_certificate_once_it_is_right() {
    let Some(mut scene) = Scene::new("clock-start") else {
        println!("SKIP: libfaketime is not installed (Debian: faketime)");
        return;
    };
    scene.cluster.stop_server();
    scene.server_clock.set(-TEN_YEARS);
    let refused = run(&mut scene.cluster.server_command(&[])).failure();
    assert!(
        refused.contains("this machine's clock says 20") && refused.contains("set the clock"),
        "{refused}"
    );
    scene.server_clock.set(NINE_YEARS);
    scene.cluster.start_server(&[]);
    let outcome = scene.renew();
    assert!(outcome.contains("this machine's clock says"), "{outcome}");
    scene.server_clock.set(0);
    // It looks by itself each minute; asked, at once.
    scene.cluster.server().signal("HUP");
    wait_for("the machine to be in again", || scene.renew().contains("INFO joined"));
    assert_eq!(assert_one_honest_lineage(&scene.cluster, "web"), 2);
}
