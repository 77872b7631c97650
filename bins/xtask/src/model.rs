//! The search of the lifecycle's model (`docs/model.md`), optimized: a million states of each scenario, or as many
//! as asked for.

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::process::{cargo, output, run as execute};

const HELP: &str = "\
Searches the lifecycle's model breadth first, then by random walks.

Usage: cargo xtask model [--states N] [--jobs N] [SCENARIO]

  --states N   States to look at in each scenario (default: 1000000); a scenario that has fewer is searched to its end
  --jobs N     Scenarios at once (default: one for each core); each takes up to 1.5 KB of memory for each state
  SCENARIO     Only tests whose name contains this word
";

/// What CI looks at in each scenario.
pub(crate) const STATES: u64 = 1_000_000;

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut states = STATES;
    let mut filters = Vec::new();
    let mut jobs = None;
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut number = || -> Result<u64> {
            let text = rest.next().with_context(|| format!("{argument} takes a number"))?;
            text.replace('_', "").parse().with_context(|| format!("{argument} {text}: not a number"))
        };
        match argument.as_str() {
            "--states" => states = number()?,
            "--jobs" => jobs = Some(number()?),
            "--help" | "-h" => {
                print!("{HELP}");
                return Ok(());
            }
            other if other.starts_with('-') => bail!("`{other}` is not an option\n\n{HELP}"),
            word => filters.push(word.to_owned()),
        }
    }
    if !filters.is_empty() {
        let listed = output(command(states).args(&filters).arg("--list"))?;
        ensure!(
            listed.lines().any(|line| line.ends_with(": test")),
            "no scenario's name contains `{}`: crates/boundkey-lifecycle/tests/model/scenarios.rs has them",
            filters.join("` or `")
        );
    }
    let mut command = command(states);
    command.args(&filters).arg("--nocapture");
    if let Some(jobs) = jobs {
        command.arg(format!("--test-threads={jobs}"));
    }
    execute(&mut command)
}

/// The tests of the model, up to the arguments of the test binary.
pub(crate) fn command(states: u64) -> Command {
    let mut command = cargo();
    command
        .args(["test", "--profile", "checked", "-p", "boundkey-lifecycle", "--test", "model", "--"])
        .env("BOUNDKEY_MODEL_STATES", states.to_string());
    command
}
