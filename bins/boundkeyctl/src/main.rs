//! The administration tool of a boundkey cluster: arguments, runtime, exit status.

mod arguments;
mod bots;
mod ca;
mod confirm;
mod create;
mod edit;
mod enroll;
mod events;
mod failure;
mod get;
mod keypair;
mod listing;
mod lock;
mod output;
mod rm;
mod show;
mod suggestions;

use std::process::ExitCode;

use anyhow::Result;
use arguments::{Arguments, Command, Context, NodesCommand, TokensCommand};
use boundkey_console::{completions, man, need_descriptors, print, run_mending};
use clap::CommandFactory;

/// Of the runtime and the socket.
const DESCRIPTORS: usize = 16;

fn main() -> ExitCode {
    run_mending(suggestions::harmless, |arguments| {
        run(arguments).map(|()| ExitCode::SUCCESS).map_err(failure::told)
    })
}

fn run(arguments: Arguments) -> Result<()> {
    let context = Context::new(&arguments);
    need_descriptors(DESCRIPTORS)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match arguments.command {
            Command::Create(options) => create::run(context, options).await,
            Command::Get(options) => get::run(context, options).await,
            Command::Edit(options) => edit::run(context, options).await,
            Command::Rm(options) => rm::run(context, options).await,
            Command::Tokens { command: TokensCommand::Ls(options) } => show::tokens(context, options).await,
            Command::Nodes { command: NodesCommand::Ls(options) } => show::nodes(context, options).await,
            Command::Bots { command } => bots::run(context, command).await,
            Command::Lock(options) => lock::run(context, options).await,
            Command::BoundKeypair { command } => keypair::run(context, command).await,
            Command::Enroll(options) => enroll::run(context, options).await,
            Command::Events { command } => events::run(context, command).await,
            Command::Ca { command } => ca::export(context, command).await,
            Command::Crl(options) => ca::crl(context, options).await,
            Command::Krl(options) => ca::krl(context, options).await,
            Command::Status(options) => show::status(context, options).await,
            Command::Completions(options) => completions(&options, Arguments::command()),
            Command::Version => print(&format!("boundkeyctl {}\n", env!("CARGO_PKG_VERSION"))),
            Command::Man(options) => man(&options, Arguments::command()),
        }
    })
}
