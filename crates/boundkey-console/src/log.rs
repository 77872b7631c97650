//! The log: lines of text or of JSON on standard error.

use std::io;

use anstream::{AutoStream, ColorChoice};
use clap::{Args, ValueEnum};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use crate::standard::log_line;

/// The form of the lines: for people, or an object each with `timestamp`, `level`, `message`, and what belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "documentation of a variant would take three lines of every command's help")]
pub enum LogFormat {
    Text,
    Json,
}

/// What the command line and the environment say about the log.
#[derive(Debug, Clone, Default, Args)]
pub struct LogOptions {
    /// Form of the log on standard error [default: text]
    #[arg(long, global = true, value_enum, value_name = "FORMAT", help_heading = "The log")]
    log_format: Option<LogFormat>,
    /// error, warn, info, debug, trace, off, or a filter such as `info,hyper=debug` [default: info]
    #[arg(
        long,
        global = true,
        env = "BOUNDKEY_LOG",
        hide_env_values = true,
        value_name = "LEVEL",
        help_heading = "The log"
    )]
    log_level: Option<String>,
}

/// How a program logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The form of the lines.
    pub format: LogFormat,
    /// A level, or a filter.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}

impl LogOptions {
    /// A flag wins over `BOUNDKEY_LOG`, and that over what a configuration says.
    pub fn over(&self, configured: Log) -> Log {
        Log {
            format: self.log_format.unwrap_or(configured.format),
            level: self.log_level.clone().unwrap_or(configured.level),
        }
    }
}

/// Changes the level of a running program's log.
#[derive(Debug)]
pub struct Level(reload::Handle<EnvFilter, Registry>);

/// Sets the process's log up, once. From then on panics are lines of the log too.
///
/// The log is never the job: a level that is not understood is said and taken for `info`.
pub fn start_log(log: &Log) -> Level {
    let (filter, fault) = match filter(&log.level) {
        Ok(filter) => (filter, None),
        Err(fault) => (EnvFilter::new("info"), Some(fault)),
    };
    let (filter, handle) = reload::Layer::new(filter);
    // The layer would tell of lines that it cannot write by `eprintln!`, which panics where nobody reads.
    let lines = fmt::layer().with_writer(Lines).with_target(false).log_internal_errors(false);
    let lines = match log.format {
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
        LogFormat::Text => lines.with_ansi(AutoStream::choice(&io::stderr()) != ColorChoice::Never).boxed(),
    };
    // Fails only where there is a log already, which then stays.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let what = panic.payload_as_str().unwrap_or("(no message)");
        tracing::error!(place, "panicked: {}", boundkey_text::clean(what, 2048));
    }));
    if let Some(fault) = fault {
        tracing::warn!("{fault}; it is info now");
    }
    Level(handle)
}

impl Level {
    /// Another level, or filter, from now on.
    ///
    /// # Errors
    ///
    /// What is wrong with it; the level stays as it is.
    pub fn change(&self, level: &str) -> Result<(), String> {
        self.0.reload(filter(level)?).map_err(|error| error.to_string())
    }
}

/// A word alone is a level: the filter's own parser takes any other word for the name of a module, and then logs nothing.
fn filter(text: &str) -> Result<EnvFilter, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let understood = |part: &str| {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level).trim().to_ascii_lowercase();
        LEVELS.contains(&level.as_str())
    };
    let fault = || {
        let shown = boundkey_text::clean(text, 200);
        format!(
            "log level: found `{shown}`; allowed: off, error, warn, info, debug, trace, or a filter such as info,hyper=debug"
        )
    };
    if !text.split(',').all(understood) {
        return Err(fault());
    }
    EnvFilter::try_new(text).map_err(|_| fault())
}

/// Each event is one line, and one call of `write`.
struct Lines;

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        log_line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_a_level_or_a_filter_of_levels() {
        for good in ["info", "WARN", "off", "info,hyper=debug", "boundkey_service=trace,error"] {
            assert!(filter(good).is_ok(), "{good}");
        }
        for bad in ["", "verbose", "info,", "hyper", "hyper=loud", "info,\u{1b}[2J", "=", "[x]=info,,"] {
            let fault = filter(bad).unwrap_err();
            assert!(fault.starts_with("log level: found `") && !fault.contains('\u{1b}'), "{fault}");
        }
    }

    #[test]
    fn flags_win_over_the_configuration() {
        let configured = Log { format: LogFormat::Json, level: "debug".to_owned() };
        assert_eq!(LogOptions::default().over(configured.clone()), configured);
        let flags = LogOptions { log_format: Some(LogFormat::Text), log_level: Some("warn".to_owned()) };
        assert_eq!(flags.over(configured), Log { format: LogFormat::Text, level: "warn".to_owned() });
    }
}
