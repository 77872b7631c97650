//! `cargo xtask herd`: a herd of machines, as a table.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a report for people")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use boundkey_testkit::herd::{Costs, Herd, Late, Real, Scene, run};

/// What is declared was seen with so many machines at most, and with the default costs.
const DECLARED: usize = 100_000;

const USAGE: &str = "usage: herd [--machines N] [--seed N] [--real N] [--join-micros N]";

fn main() -> ExitCode {
    let (mut machines, mut seed, mut real, mut join_micros) = (100_000, 1, 2000, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let Some(value) = arguments.next().and_then(|value| value.parse::<u64>().ok()) else {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        };
        match argument.as_str() {
            "--machines" => machines = value,
            "--seed" => seed = value,
            "--real" => real = value,
            "--join-micros" => join_micros = Some(value),
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let mut plain = Herd::new(seed, number(machines));
    if let Some(micros) = join_micros {
        plain.costs.join = Duration::from_micros(micros);
    }
    measure();
    println!(
        "the model: {} processors; of one, a join takes {:?}, a handshake {:?}, a wrong proof {:?}; a commit {:?} of the \
         store; {} KiB for a connection",
        plain.costs.processors,
        plain.costs.join,
        plain.costs.handshake,
        plain.costs.wrong,
        plain.costs.store,
        plain.costs.connection_bytes / 1024
    );
    // From three seeds: at most 0.3 % in the outage, 9.1 % with a hostile network, 14.0 % after a power cut (1.7 % at last),
    // 2.3 % with a slow store (0.03 %), 14.5 % with a power cut and a hostile network (1.7 %).
    let declared = plain.machines <= DECLARED && plain.costs == Costs::default();
    let late = |late: Late| if declared { late } else { Late::UNDECLARED };
    let valid = Duration::from_secs(8 * 3600);
    let scenes = [
        ("an hour's outage", Herd { real: number(real), late: late(Late::at_first(10)), ..plain.clone() }),
        (
            "an hour's outage, and one hostile network with 2000 connections of wrong proofs",
            Herd { hostile: 2000, late: late(Late::at_first(120)), ..plain.clone() },
        ),
        (
            "a power cut, certificates still valid",
            Herd { scene: Scene::PowerCut(valid), late: late(Late::at_first(0)), ..plain.clone() },
        ),
        (
            "a power cut, certificates expired: everybody comes within 10 s",
            Herd {
                scene: Scene::PowerCut(Duration::ZERO),
                late: late(Late { at_first: 160, at_last: 25 }),
                ..plain.clone()
            },
        ),
        (
            "the same, and a slow store: 100 commits a second",
            Herd {
                scene: Scene::PowerCut(Duration::ZERO),
                costs: Costs { store: Duration::from_millis(10), ..plain.costs },
                late: late(Late { at_first: 40, at_last: 1 }),
                ..plain.clone()
            },
        ),
        (
            "certificates expired, and one hostile network with 2000 connections of wrong proofs",
            Herd {
                scene: Scene::PowerCut(Duration::ZERO),
                hostile: 2000,
                late: late(Late { at_first: 170, at_last: 25 }),
                ..plain
            },
        ),
    ];
    let mut good = true;
    for (title, herd) in scenes {
        let started = Instant::now();
        let report = run(&herd);
        println!("\n{} machines, {title} (seed {}, {:.1?})\n", herd.machines, herd.seed, started.elapsed());
        println!("{report}");
        good &= report.is_good();
    }
    println!(
        "\n{}",
        if good {
            "all served as announced, no more of them late than is declared, within the memory bound"
        } else {
            "NOT all was kept"
        }
    );
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What a join costs here, sockets and disk apart: for the reader, beside the model's figure.
fn measure() {
    const JOINS: usize = 500;
    let mut real = Real::register(JOINS, 7);
    let started = Instant::now();
    for number in 0..JOINS {
        real.renew(number, Duration::ZERO);
    }
    let each = started.elapsed() / u32::try_from(JOINS).unwrap_or(u32::MAX);
    println!("measured here, one core: {each:.1?} for both sides of a renewal on a memory store");
}
