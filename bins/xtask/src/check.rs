//! Formatting, lints and documentation: what CI checks before the tests.

use anyhow::Result;

use crate::process::{cargo, run as execute};

pub(crate) fn run() -> Result<()> {
    execute(cargo().args(["fmt", "--all", "--check"]))?;
    execute(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    execute(cargo().args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}
