//! `cargo xtask attacks`: what attackers of a real server come to, for machines, for an administrator and for the server.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a report for people")]

use std::process::ExitCode;
use std::time::Duration;

use boundkey_testkit::attack::{Measured, Pace, Scale, Settings, everybody, run};

const HELP: &str = "\
Attacks a real server on loopback, one way after the other, each a server of its own, and measures what honest machines,
an administrator and the server feel of it. Needs 12,000 descriptors (`ulimit -n`).

Usage: attacks [--seconds N] [--only WORD] [--list]

  --seconds N   Of each attack, once the attacker has all that he wants (default 20)
  --only WORD   Those with WORD in their name
  --list        Their names
";

fn main() -> ExitCode {
    let (mut seconds, mut only, mut list) = (20, String::new(), false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--help" | "-h" => {
                print!("{HELP}");
                return ExitCode::SUCCESS;
            }
            "--list" => {
                list = true;
                continue;
            }
            _ => {}
        }
        match (argument.as_str(), arguments.next()) {
            ("--only", Some(word)) => only = word,
            ("--seconds", Some(value)) if value.parse::<u64>().is_ok_and(|value| value > 0) => {
                seconds = value.parse().unwrap_or(seconds);
            }
            _ => {
                eprint!("{HELP}");
                return ExitCode::from(2);
            }
        }
    }
    let settings = Settings {
        config: format!("limits: {{connections: {}}}\n", Scale::full().places),
        machines: 400,
        pace: Pace { lanes: 4, pause: Duration::from_millis(40), patience: Duration::from_secs(30) },
        before: Duration::from_secs(3),
        during: Duration::from_secs(seconds),
        warm_up: Duration::from_secs(60),
    };
    if !list {
        println!("{}", heading());
    }
    for mut attack in everybody(Scale::full()) {
        let name = attack.name();
        match (name.contains(&only), list) {
            (false, _) => {}
            (true, true) => println!("{name}"),
            (true, false) => println!("{}", row(&run(&mut *attack, &settings))),
        }
    }
    ExitCode::SUCCESS
}

fn heading() -> String {
    format!(
        "{:<64} {:>17} {:>23} {:>33} {:>13} {:>11} {:>5} {:>7} {:>8}\n{:<64} {:>17} {:>23} {:>33} {:>13} {:>11} {:>5} {:>7} {:>8}",
        "",
        "connections,",
        "joins before, ms",
        "joins during, ms",
        "status, ms",
        "MiB",
        "of a",
        "events",
        "store",
        "attack",
        "requests",
        "p50/p99/longest",
        "p50/p99/longest, failed+retried",
        "longest, failed",
        "before/most",
        "cpu",
        "more",
        "KiB more",
    )
}

fn row(measured: &Measured) -> String {
    let ms = |time: Duration| time.as_millis();
    let Measured { before, during, status, .. } = measured;
    let mut row = format!(
        "{:<64} {:>17} {:>23} {:>33} {:>13} {:>11} {:>5.2} {:>7} {:>8}",
        measured.name,
        format!("{}, {}", measured.effort.0, measured.effort.1),
        format!("{}/{}/{}", ms(before.at(50)), ms(before.at(99)), ms(before.longest())),
        format!(
            "{}/{}/{}, {}+{} of {}",
            ms(during.at(50)),
            ms(during.at(99)),
            ms(during.longest()),
            during.failures,
            during.retried,
            during.count()
        ),
        format!("{}, {}", ms(status.longest()), status.failures),
        format!("{}/{}", measured.resident_before >> 20, measured.resident >> 20),
        measured.processor,
        measured.events,
        measured.bytes >> 10,
    );
    for (what, cause) in [("join", &during.cause), ("status", &status.cause)] {
        if let Some(cause) = cause {
            row.push_str(&format!("\n    {what}: {cause}"));
        }
    }
    if !measured.note.is_empty() {
        row.push_str(&format!("\n    attacker: {}", measured.note));
    }
    row
}
