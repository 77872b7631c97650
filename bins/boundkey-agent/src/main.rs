//! The agent: joins a machine or bot to a cluster with a bound keypair, and keeps its certificates fresh.
//!
//! Arguments and wiring only; what it does is `boundkey-client`'s.

mod arguments;
mod command;
mod logging;
mod output;

use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::{Arguments, Verb};

/// 0 done, 1 refused or failed, 2 usage (which clap itself returns).
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match dispatch(arguments) {
        Ok(code) => code,
        Err(error) => {
            output::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: Arguments) -> anyhow::Result<ExitCode> {
    logging::init(&arguments.log);
    match arguments.verb {
        Verb::Start(options) => command::start::run(&options),
        Verb::Status(options) => command::status::run(&options),
        Verb::Keypair(options) => command::keypair::run(&options),
        Verb::Configure(options) => command::configure::run(&options),
        Verb::Renew(options) => command::renew::run(&options),
        Verb::Forget(options) => command::forget::run(&options),
        Verb::Install(options) => command::install::run(&options),
        Verb::Completions(options) => command::completions::run(&options),
        Verb::Man => command::man::run(),
    }
}
