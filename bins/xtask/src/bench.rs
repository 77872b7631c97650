//! Whole-process figures of the release binaries.

use anyhow::Result;

pub(crate) fn run(_arguments: &[String]) -> Result<()> {
    anyhow::bail!("not built yet")
}
