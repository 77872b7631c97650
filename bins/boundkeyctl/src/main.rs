//! The administration tool of a boundkey cluster: arguments, runtime, exit status.

mod arguments;
mod bots;
mod ca;
mod create;
mod edit;
mod enroll;
mod events;
mod failure;
mod get;
mod keypair;
mod lock;
mod output;
mod rm;
mod show;

use std::process::ExitCode;

use anyhow::Result;
use arguments::{Arguments, Command, Context, NodesCommand, TokensCommand};
use clap::{CommandFactory, Parser};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            failure::show(&error);
            if error.is::<failure::Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let context = Context::new(&arguments);
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
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Arguments::command(), "boundkeyctl", &mut script);
                output::bytes(&script)
            }
            Command::Man { out } => output::man_pages(&out),
        }
    })
}
