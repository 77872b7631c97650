//! A herd of machines against the server's admission, in virtual time.

use anyhow::Result;

use crate::process::{cargo, run as execute};

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let run = ["run", "--quiet", "--profile", "checked", "-p", "boundkey-testkit", "--bin", "herd", "--"];
    execute(cargo().args(run).args(arguments))
}
