//! `boundkey-server`: arguments, configuration, sockets and signals; everything else is `boundkey-service`.

mod args;
mod backup;
mod config;
mod data_dir;
mod logging;
mod sample;
mod start;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use args::{Cli, Command};

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line for the error and all its causes.
            let _ = writeln!(std::io::stderr(), "boundkey-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    match command {
        Command::Start(args) => return start::run(&args),
        Command::Backup(args) => return backup::backup(&args),
        Command::Restore(args) => return backup::restore(&args),
        Command::Configure(flags) => out.write_all(sample::sample(&flags).as_bytes())?,
        Command::CheckConfig(args) => {
            config::Settings::read(&args.config)?;
            writeln!(out, "{}: ok", args.config.display())?;
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "boundkey-server", &mut out);
        }
        Command::Man => clap_mangen::Man::new(Cli::command()).render(&mut out)?,
    }
    Ok(())
}
