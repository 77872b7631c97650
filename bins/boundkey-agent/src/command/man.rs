use std::process::ExitCode;

use clap::CommandFactory as _;

use crate::arguments::Arguments;
use crate::output;

pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Arguments::command()).render(&mut page)?;
    output::print(&String::from_utf8_lossy(&page))?;
    Ok(ExitCode::SUCCESS)
}
