//! Runs simulated worlds for a while, or one of them again. `cargo xtask simulate` builds and starts it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to people")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use boundkey_testkit::sim::{Ceremony, Failure, Replay, Report, Sabotage, Scenario, cut_everywhere, shrink};

/// Every join is thousands of small allocations on either side; this allocator makes the whole faster by a tenth.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const HELP: &str = "\
Simulates clusters and their machines until time is up; the first broken promise ends it with status 1.

Usage: simulate [--seconds N] [--worlds N] [--seed N] [--json] [--replay WORLD] [--trace] [--cuts] [--sabotage RULE]

  --seconds N        How long (default 60); 0 with --worlds
  --worlds N         So many small worlds instead, whatever the time
  --seed N           The first world's seed (default: from the clock); the next worlds take the next seeds
  --json             The sums as JSON; after a broken promise: it, its world and the shrunk scenario
  --replay WORLD     One world again, as a failure names it: SEED (a small one), big:SEED, or a file with its steps
  --trace            With --replay: a line for everything that happens
  --cuts             Instead: every crash point of every ceremony, alone and with every later one
  --sabotage RULE    Break a rule on purpose, to see that the judge objects: locks-dropped, locks-hidden,
                     conditions-ignored, marks-hidden, revocations-lost,
                     events-lost, counted-rows-lost,
                     attempts-forgotten, store-panics
";

/// Runs of the shrinker (of a small world; a big one counts for more): some seconds for most scenarios.
const SHRINK_TRIES: usize = 600;

struct Options {
    seconds: u64,
    worlds: Option<u64>,
    seed: u64,
    json: bool,
    replay: Option<String>,
    trace: bool,
    cuts: bool,
    sabotage: Option<Sabotage>,
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        seconds: 60,
        worlds: None,
        seed: 0,
        json: false,
        replay: None,
        trace: false,
        cuts: false,
        sabotage: None,
    };
    let mut seed = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|e| format!("`{text}`: {e}"));
        match argument.as_str() {
            "--seconds" => options.seconds = number(value()?)?,
            "--worlds" => options.worlds = Some(number(value()?)?),
            "--seed" => seed = Some(number(value()?)?),
            "--json" => options.json = true,
            "--replay" => options.replay = Some(value()?),
            "--trace" => options.trace = true,
            "--cuts" => options.cuts = true,
            "--sabotage" => options.sabotage = Some(value()?.parse()?),
            other => return Err(format!("`{other}` is not an option\n\n{HELP}")),
        }
    }
    options.seed = seed.unwrap_or_else(seed_of_the_moment);
    Ok(options)
}

#[expect(clippy::disallowed_methods, reason = "a first seed that is another one each time")]
fn seed_of_the_moment() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis() % 1_000_000_007).unwrap_or(1)
}

fn main() -> ExitCode {
    if std::env::args().skip(1).any(|argument| argument == "--help" || argument == "-h") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let options = match options() {
        Ok(options) => options,
        Err(fault) => {
            eprintln!("simulate: {fault}");
            return ExitCode::from(2);
        }
    };
    if options.cuts {
        return cuts();
    }
    match &options.replay {
        Some(what) => replay(what, &options),
        None => simulate(&options),
    }
}

fn cuts() -> ExitCode {
    let (mut once, mut twice) = (0, 0);
    for ceremony in Ceremony::ALL {
        match cut_everywhere(ceremony, true) {
            Ok(report) => {
                let name = format!("{ceremony:?}");
                println!("{name:<20} {:>4} cuts alone, {:>6} pairs", report.once, report.twice);
                (once, twice) = (once + report.once, twice + report.twice);
            }
            Err(fault) => {
                println!("{fault}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{:<20} {once:>4} cuts alone, {twice:>6} pairs: the machine got in by itself each time", "");
    ExitCode::SUCCESS
}

fn replay(what: &str, options: &Options) -> ExitCode {
    let scenario = Scenario::named(what).map_or_else(
        || {
            let text = std::fs::read_to_string(what);
            text.map_err(|e| format!("no SEED, no big:SEED, and as a file: {e}"))
                .and_then(|text| text.parse())
        },
        Ok,
    );
    let scenario = match scenario {
        Ok(scenario) => scenario,
        Err(fault) => {
            eprintln!("simulate: {what}: {fault}");
            return ExitCode::from(2);
        }
    };
    match scenario.run(Replay { traced: options.trace, sabotage: options.sabotage }) {
        Ok((report, lines)) => {
            lines.iter().for_each(|line| println!("{line}"));
            if options.json {
                println!("{}", report.json());
            } else {
                println!("{}", report.table());
            }
            ExitCode::SUCCESS
        }
        Err(failure) => {
            failure.trace.iter().for_each(|line| println!("{line}"));
            if options.json {
                return broken_as_json(&failure, options.sabotage);
            }
            println!("{}", told(&failure));
            ExitCode::FAILURE
        }
    }
}

fn simulate(options: &Options) -> ExitCode {
    let started = Instant::now();
    let mut sum = Report::default();
    let mut said = started;
    let how = Replay { traced: false, sabotage: options.sabotage };
    let enough = |worlds: u64| match options.worlds {
        Some(wanted) => worlds >= wanted,
        None => started.elapsed() >= Duration::from_secs(options.seconds),
    };
    let mut seed = options.seed;
    // The big one first, and then as many small ones as there is time for.
    let first = Scenario::big(seed);
    let mut next = (options.worlds.is_none() && options.seconds >= 20).then_some(first);
    loop {
        let scenario = next.take().unwrap_or_else(|| Scenario::small(seed));
        match scenario.run(how) {
            Ok((report, _)) => sum.add(&report),
            Err(failure) if options.json => return broken_as_json(&failure, options.sabotage),
            Err(failure) => return broken(&failure, options.sabotage),
        }
        if scenario.tokens.is_none() {
            seed += 1;
        }
        if enough(sum.worlds) {
            break;
        }
        if said.elapsed() > Duration::from_secs(10) {
            said = Instant::now();
            eprintln!("{:>4} s  {} worlds, {} joins", started.elapsed().as_secs(), sum.worlds, sum.joins);
        }
    }
    let elapsed = started.elapsed().as_secs_f64();
    let rate = sum.joins as f64 / elapsed * 60.0;
    if options.json {
        let mut json = sum.json();
        json["seed"] = options.seed.into();
        json["seconds"] = elapsed.into();
        json["joins_a_minute"] = rate.round().into();
        json["violations"] = 0.into();
        println!("{json}");
    } else {
        println!("{}", sum.table());
        println!("{:<58} {:>14}", "honest machines that needed a human", sum.needed_a_human());
        println!("{:<58} {:>14}", "clones that stayed in", sum.stayed_in());
        println!("{:<58} {:>14}", "joins a minute", format!("{rate:.0}"));
        println!("{:<58} {:>14}", "first seed", options.seed);
    }
    ExitCode::SUCCESS
}

/// The world, the step and the promise.
fn told(failure: &Failure) -> String {
    let Failure { scenario, step, fault, .. } = failure;
    let steps = scenario.steps.len();
    format!("{} world, seed {}, after step {step} of {steps}: {fault}", scenario.kind(), scenario.seed)
}

/// What runs it again: all of this counts, the broken rule too.
fn command(world: &str, sabotage: Option<Sabotage>) -> String {
    let broken = sabotage.map(|rule| format!(" --sabotage {rule}")).unwrap_or_default();
    format!("cargo xtask simulate --replay {world}{broken}")
}

fn shortest(failure: &Failure, sabotage: Option<Sabotage>) -> Failure {
    eprintln!("looking for a shorter one; this takes some minutes at most");
    shrink(failure, Replay { traced: false, sabotage }, SHRINK_TRIES)
}

fn broken_as_json(failure: &Failure, sabotage: Option<Sabotage>) -> ExitCode {
    let shortest = shortest(failure, sabotage);
    let json = serde_json::json!({
        "violations": 1,
        "kind": failure.scenario.kind(),
        "seed": failure.scenario.seed,
        "tokens": failure.scenario.tokens,
        "step": failure.step,
        "steps": failure.scenario.steps.len(),
        "fault": failure.fault,
        "replay": failure.scenario.name().map(|name| command(&name, sabotage)),
        "shrunk": {
            "tokens": shortest.scenario.tokens,
            "steps": shortest.scenario.steps.len(),
            "fault": shortest.fault,
            "scenario": shortest.scenario.to_string(),
        },
    });
    println!("{json}");
    ExitCode::FAILURE
}

fn broken(failure: &Failure, sabotage: Option<Sabotage>) -> ExitCode {
    println!("{}", told(failure));
    if let Some(name) = failure.scenario.name() {
        println!("replay with: {} --trace", command(&name, sabotage));
    }
    let shortest = shortest(failure, sabotage);
    println!(
        "shrunk from {} to {} steps: {}\n",
        failure.scenario.steps.len(),
        shortest.scenario.steps.len(),
        shortest.fault
    );
    println!("{}", shortest.scenario);
    let (kind, seed) = (failure.scenario.kind(), failure.scenario.seed);
    let file = std::env::temp_dir().join(format!("boundkey-simulate-{kind}-{seed}.txt"));
    match std::fs::write(&file, format!("# {}\n{}", shortest.fault, shortest.scenario)) {
        Ok(()) => println!("replay with: {} --trace", command(&file.display().to_string(), sabotage)),
        Err(error) => println!("put these lines into a file for --replay ({}: {error})", file.display()),
    }
    ExitCode::FAILURE
}
