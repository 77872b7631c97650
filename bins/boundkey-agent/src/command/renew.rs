use boundkey_client::ask_to_renew;
use boundkey_console::print;
use clap::Args;

use crate::arguments::Place;

#[derive(Debug, Args)]
#[command(
    after_help = "The same as `systemctl kill -s USR1 boundkey-agent`; see `boundkey-agent status` for the outcome."
)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Place,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let pid = ask_to_renew(&options.place.data_dir()?)?;
    print(&format!("asked the agent (process {pid}) to renew\n"))?;
    Ok(())
}
