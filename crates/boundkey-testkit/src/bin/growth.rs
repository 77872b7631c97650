//! `cargo xtask growth`: a store with a million old events, expired rows and clients to revoke is swept while machines join.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a report for people")]

use std::process::ExitCode;
use std::time::Duration;

use boundkey_testkit::growth::{Growth, Phase};

const HELP: &str = "\
Fills a SQLite store and lets machines join it in this process, before, while and after it is swept.

Usage: growth [--rows N] [--machines N] [--clients N]

  --rows N       Old events, and as many expired rows and clients to revoke (default 1000000: about 3 GiB in the directory for
                 temporary files)
  --machines N   How many renew in turn (default 1000)
  --clients N    Joins under way at a time (default 4)
";

fn main() -> ExitCode {
    let (mut rows, mut machines, mut clients) = (1_000_000, 1000, 4);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--help" || argument == "-h" {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        let value = arguments.next().and_then(|value| value.parse::<usize>().ok()).filter(|value| *value > 0);
        match (argument.as_str(), value) {
            ("--rows", Some(value)) => rows = value,
            ("--machines", Some(value)) => machines = value,
            ("--clients", Some(value)) => clients = value,
            _ => {
                eprint!("{HELP}");
                return ExitCode::from(2);
            }
        }
    }
    let watched = Duration::from_secs(10);
    let growth = Growth { events: rows, expired: rows, revoked: rows, machines, clients, watched };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let phases = runtime.block_on(growth.run());
    println!(
        "{:<24} {:>8} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "", "seconds", "joins", "p50", "p99", "longest", "dropped", "a second", "file"
    );
    for phase in &phases {
        println!("{}", row(phase));
    }
    if phases.iter().map(|phase| phase.dropped).sum::<u64>() == 3 * rows as u64 {
        ExitCode::SUCCESS
    } else {
        eprintln!("growth: not all of the old rows went");
        ExitCode::FAILURE
    }
}

fn row(phase: &Phase) -> String {
    let at = |percent: usize| {
        let last = phase.joins.len().saturating_sub(1);
        format!("{:.1?}", phase.joins.get(last * percent / 100).copied().unwrap_or_default())
    };
    let seconds = phase.wall.as_secs_f64();
    format!(
        "{:<24} {seconds:>8.1} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9.0} {:>5} MiB",
        phase.title,
        phase.joins.len(),
        at(50),
        at(99),
        at(100),
        phase.dropped,
        phase.dropped as f64 / seconds,
        phase.file / (1024 * 1024),
    )
}
