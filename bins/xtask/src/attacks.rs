//! Attackers against a real release server, one after the other.

use anyhow::Result;

use crate::process::{binaries, cargo, run as execute};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    execute(cargo().args(["build", "--quiet", "--release", "--workspace", "--bins"]))?;
    execute(std::process::Command::new(binaries("release")?.join("attacks")).args(arguments))
}
