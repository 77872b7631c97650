//! `boundkey-server`: arguments, configuration, sockets and signals; everything else is `boundkey-service`.

mod args;
mod backup;
mod config;
mod data_dir;
mod sample;
mod start;

use std::process::ExitCode;

use boundkey_console::{Log, completions, guard_memory, man, print, start_log};
use clap::CommandFactory as _;

use args::{Cli, Command};

fn main() -> ExitCode {
    guard_memory();
    boundkey_console::run(|cli| run(cli).map(|()| ExitCode::SUCCESS))
}

fn run(cli: Cli) -> anyhow::Result<()> {
    if !matches!(cli.command, Command::Start(_)) {
        start_log(&cli.log.over(Log::default()));
    }
    match cli.command {
        Command::Start(args) => start::run(&args, &cli.log),
        Command::Backup(args) => backup::backup(&args),
        Command::Restore(args) => backup::restore(&args),
        Command::Configure(flags) => {
            // What is printed must be what `start` accepts.
            config::Settings::load(None, &flags)?;
            print(&sample::sample(&flags))
        }
        Command::CheckConfig(args) => {
            config::Settings::read(&args.config)?;
            print(&format!("{}: ok\n", args.config.display()))
        }
        Command::Completions(options) => completions(&options, Cli::command()),
        Command::Man(options) => man(&options, Cli::command()),
    }
}
