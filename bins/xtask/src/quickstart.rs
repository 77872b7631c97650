//! The main job, end to end, on this machine.

use anyhow::Result;

pub(crate) fn run(_arguments: &[String]) -> Result<()> {
    anyhow::bail!("not built yet")
}
