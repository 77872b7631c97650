//! Results in the form that was asked for.

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::standard::print;

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "documentation of a variant would take three lines of every command's help")]
pub enum Format {
    Text,
    Json,
    Yaml,
}

/// `--format`
#[derive(Debug, Clone, Copy, Args)]
pub struct FormatOption {
    /// How to print
    #[arg(short = 'o', long, alias = "output", value_enum, default_value = "text")]
    pub format: Format,
}

/// Prints a value as JSON or YAML, or its text for people.
///
/// # Errors
///
/// As [`print()`]; the value has no JSON.
pub fn print_as(format: Format, value: &impl Serialize, text: impl FnOnce() -> String) -> anyhow::Result<()> {
    match format {
        Format::Text => print(&text()),
        Format::Json => print(&(serde_json::to_string_pretty(value)? + "\n")),
        Format::Yaml => print(&boundkey_document::to_yaml(&serde_json::to_value(value)?)),
    }
}
