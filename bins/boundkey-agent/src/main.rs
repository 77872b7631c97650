//! The agent: joins a machine or bot to a cluster with a bound keypair, and keeps its certificates fresh.
//!
//! Arguments and wiring only; what it does is `boundkey-client`'s, what it says is `boundkey-console`'s.

mod arguments;
mod command;

use std::process::ExitCode;

use boundkey_console::{Log, completions, guard_memory, man, start_log, survive};
use clap::CommandFactory as _;
use rustix::process::Signal;

use crate::arguments::{Arguments, Verb};

fn main() -> ExitCode {
    guard_memory();
    // Before anything else: `renew`, or a terminal that goes away, ends no agent that has not got so far as to listen, nor
    // one that makes a single join.
    survive(&[Signal::USR1.as_raw(), Signal::HUP.as_raw()]);
    boundkey_console::run(dispatch)
}

fn dispatch(arguments: Arguments) -> anyhow::Result<ExitCode> {
    start_log(&arguments.log.over(Log::default()));
    match arguments.verb {
        Verb::Start(options) => return command::start::run(&options),
        Verb::Status(options) => return command::status::run(&options),
        Verb::Keypair(options) => command::keypair::run(&options)?,
        Verb::Configure(options) => command::configure::run(&options)?,
        Verb::CheckConfig(options) => command::check_config::run(&options)?,
        Verb::Renew(options) => command::renew::run(&options)?,
        Verb::Forget(options) => command::forget::run(&options)?,
        Verb::Install(options) => command::install::run(&options)?,
        Verb::Completions(options) => completions(&options, Arguments::command())?,
        Verb::Man(options) => man(&options, Arguments::command())?,
    }
    Ok(ExitCode::SUCCESS)
}
