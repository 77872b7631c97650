//! `cargo xtask load`: joins against a real server over TLS, as fast as one core asks for them, and what each costs the server.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a report for people")]

use std::collections::VecDeque;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use std::cell::RefCell;

use boundkey_client::SystemEntropy;
use boundkey_testkit::{Cluster, Machine, processor_time};
use tokio::task::LocalSet;

const HELP: &str = "\
Registers machines with a real server on loopback and lets them renew; both keep one core busy.

Usage: load [--machines N] [--clients N]

  --machines N   How many (default 2000)
  --clients N    Joins under way at a time (default 32)
";

/// One phase, as it was measured.
struct Phase {
    joins: usize,
    wall: Duration,
    /// The server's, user and system.
    server: Duration,
    latencies: Vec<Duration>,
}

fn main() -> ExitCode {
    let (mut machines, mut clients) = (2000, 32);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--help" || argument == "-h" {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        let value = arguments.next().and_then(|value| value.parse::<usize>().ok()).filter(|value| *value > 0);
        match (argument.as_str(), value) {
            ("--machines", Some(value)) => machines = value,
            ("--clients", Some(value)) => clients = value,
            _ => {
                eprint!("{HELP}");
                return ExitCode::from(2);
            }
        }
    }
    let mut cluster = Cluster::start("load");
    let mut all = Machine::enrol(&cluster, "m", machines);
    let server = cluster.server().id();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    println!(
        "{:<46} {:>7} {:>9} {:>14} {:>9} {:>9} {:>9}",
        "", "joins", "a second", "server a join", "p50", "p99", "max"
    );
    let mut phase = |title: &str, kept: bool, clients: usize, most: usize| {
        let rest = all.split_off(most.min(all.len()));
        let (done, measured) = runtime.block_on(run(std::mem::take(&mut all), kept, clients, server));
        all = done;
        all.extend(rest);
        println!("{}", measured.row(title));
        measured.each()
    };
    phase("register, a new connection each", false, clients, usize::MAX);
    let fresh = phase("renew, a new connection each", false, clients, usize::MAX);
    let again = phase("renew again", false, clients, usize::MAX);
    phase("renew, and once more on the connection", true, clients, usize::MAX);
    let kept = phase("renew, on the connection that is there", true, clients, usize::MAX);
    phase("renew, one at a time", false, 1, 200);
    let fresh = fresh.min(again);
    println!(
        "\nof the server's processor: a join {kept:.0?}, a connection and its handshake {:.0?}",
        fresh.saturating_sub(kept)
    );
    cluster.stop_server();
    ExitCode::SUCCESS
}

/// Every machine joins once. `kept`: on the connection that it has, and keeps it.
async fn run(machines: Vec<Machine>, kept: bool, clients: usize, server: u32) -> (Vec<Machine>, Phase) {
    let joins = machines.len();
    let queue = Rc::new(RefCell::new(VecDeque::from(machines)));
    let done = Rc::new(RefCell::new((Vec::with_capacity(joins), Vec::with_capacity(joins))));
    let (started, used) = (Instant::now(), processor_time(server));
    let local = LocalSet::new();
    for _ in 0..clients {
        let (queue, done) = (Rc::clone(&queue), Rc::clone(&done));
        local.spawn_local(async move {
            let entropy = SystemEntropy::new();
            loop {
                let Some(mut machine) = queue.borrow_mut().pop_front() else { break };
                let began = Instant::now();
                let joined = machine.join(&entropy).await;
                let took = began.elapsed();
                if let Err(error) = joined {
                    panic!("a machine is not in: {error}");
                }
                if !kept {
                    machine.disconnect();
                }
                let mut done = done.borrow_mut();
                done.0.push(machine);
                done.1.push(took);
            }
        });
    }
    local.await;
    let (wall, server) = (started.elapsed(), processor_time(server).saturating_sub(used));
    let (machines, mut latencies) = done.take();
    latencies.sort_unstable();
    (machines, Phase { joins, wall, server, latencies })
}

impl Phase {
    fn each(&self) -> Duration {
        self.server / u32::try_from(self.joins.max(1)).unwrap_or(u32::MAX)
    }

    fn row(&self, title: &str) -> String {
        let at = |percent: usize| {
            let index = (self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1));
            self.latencies.get(index).copied().unwrap_or_default()
        };
        format!(
            "{title:<46} {:>7} {:>9.0} {:>14} {:>9} {:>9} {:>9}",
            self.joins,
            self.joins as f64 / self.wall.as_secs_f64(),
            format!("{:.0?}", self.each()),
            format!("{:.1?}", at(50)),
            format!("{:.1?}", at(99)),
            format!("{:.1?}", at(100)),
        )
    }
}
