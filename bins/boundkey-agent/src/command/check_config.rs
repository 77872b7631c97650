use std::path::PathBuf;

use anyhow::bail;
use boundkey_client::config::{AgentConfig, Environment};
use boundkey_console::print;
use clap::Args;

use crate::arguments::DEFAULT_CONFIG;

#[derive(Debug, Args)]
#[command(
    after_help = "The network is not asked. Files, users and groups that the configuration names must be there and fit.\n\n\
                        Exit status: 0 good, 1 not.\n\nExample:\n  boundkey-agent check-config -c /etc/boundkey.yaml && systemctl reload boundkey-agent"
)]
pub(crate) struct Options {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let shown = options.config.display();
    let config = AgentConfig::load(&options.config, Environment::of_process())?;
    let faults: Vec<String> = config.missing_here().iter().map(|fault| format!("{shown}: {fault}")).collect();
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    print(&format!("{shown}: ok\n"))
}
