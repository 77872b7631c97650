//! Simulated clusters, for as long as is wanted: builds the simulation with every check on, and runs it.

use anyhow::Result;

use crate::process::{binaries, cargo, run as execute};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    execute(cargo().args([
        "build",
        "--quiet",
        "--profile",
        "checked",
        "-p",
        "boundkey-testkit",
        "--bin",
        "simulate",
    ]))?;
    execute(std::process::Command::new(binaries("checked")?.join("simulate")).args(arguments))
}
