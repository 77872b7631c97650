//! `cargo xtask VERB`: the one place where people and CI find the project's longer jobs.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a task runner talks to people")]

mod attacks;
mod bench;
mod check;
mod fuzz;
mod growth;
mod herd;
mod load;
mod model;
mod mutants;
mod packages;
mod process;
mod quickstart;
mod removals;
mod simulate;
mod test;

use std::process::ExitCode;

const HELP: &str = "\
The project's jobs, for people and CI.

Usage: cargo xtask VERB [OPTIONS]

Verbs:
  quickstart   Build, then show the main job end to end on this machine (server, token, agent, certificates, renewal)
  test         Run every test, real components included (installs missing Debian packages when run as root)
  check        Formatting, clippy and documentation, warnings denied
  attacks      Attackers of a real release server, and what machines, administrator and server feel (--seconds N, --only WORD)
  simulate     Clusters and machines in virtual time, with faults, clones and restores, judged step by step
  bench        Whole-process figures of the release binaries, as a table
  fuzz         Every fuzz target for a minute each: `cargo xtask fuzz --help`
  growth       Old events, expired rows and revoked clients go, a million of each, while machines join: how long these wait (--rows N)
  herd         A hundred thousand machines after an outage or a power cut, in virtual time (--machines N, --seed N)
  load         A real release server under joins over TLS: joins a second, and what each costs it (--machines N, --clients N)
  model        Search the lifecycle's model, a million states of each scenario: `cargo xtask model --help`
  mutants      Change the rules and the protocol piece by piece in a copy, and see that a test fails each time
  removals     Take each rule of the lifecycle out of a copy, and see that the tests named for it fail
  help         This text

Examples:
  cargo xtask quickstart
  cargo xtask quickstart --keep      # leave the directory and say where it is
  cargo xtask test
  cargo xtask test -- renew          # only tests whose name contains `renew`
  cargo xtask simulate --seconds 60
  cargo xtask simulate --replay 4711 --trace
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rest = arguments.get(1..).unwrap_or_default();
    let outcome = match arguments.first().map(String::as_str) {
        Some("quickstart") => quickstart::run(rest),
        Some("test") => test::run(rest),
        Some("check") => check::run(),
        Some("growth") => growth::run(rest),
        Some("attacks") => attacks::run(rest),
        Some("herd") => herd::run(rest),
        Some("load") => load::run(rest),
        Some("simulate") => simulate::run(rest),
        Some("bench") => bench::run(rest),
        Some("fuzz") => fuzz::run(rest),
        Some("model") => model::run(rest),
        Some("mutants") => mutants::run(rest),
        Some("removals") => removals::run(rest),
        None | Some("help" | "-h" | "--help") => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Some(other) => {
            eprintln!("xtask: `{other}` is not a verb\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
