//! A whole program. Try `greet --help`, `greet you --format json`, `greet you --log-format json 2>/dev/full`.

use std::process::ExitCode;

use boundkey_console::{FormatOption, Log, LogOptions, print_as, run, start_log};

/// Greets.
#[derive(clap::Parser)]
#[command(name = "greet", version)]
struct Arguments {
    #[command(flatten)]
    log: LogOptions,
    #[command(flatten)]
    format: FormatOption,
    /// Whom
    name: String,
}

fn main() -> ExitCode {
    run(|arguments: Arguments| {
        start_log(&arguments.log.over(Log::default()));
        tracing::info!(name = arguments.name, "greeting");
        let greeting = serde_json::json!({ "greeting": format!("hello, {}", arguments.name) });
        print_as(arguments.format.format, &greeting, || format!("hello, {}\n", arguments.name))?;
        Ok(ExitCode::SUCCESS)
    })
}
