//! Standard output and standard error.

use std::io::Write as _;

use serde::Serialize;

use crate::arguments::Format;

/// An error with its causes; several lines (all faults of a configuration) stay lines.
pub(crate) fn error(error: &anyhow::Error) {
    let mut text = String::new();
    for (depth, cause) in error.chain().enumerate() {
        if depth > 0 {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
    }
    // Nobody is left to tell if standard error is closed.
    let _ = writeln!(std::io::stderr(), "error: {text}");
}

/// Prints a text as it is. A reader that went away early (`| head`) is no failure.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Prints a value as JSON or YAML, or its text form.
pub(crate) fn print_as(
    format: Format,
    value: &impl Serialize,
    text: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    match format {
        Format::Text => print(&text()),
        Format::Json => print(&format!("{}\n", serde_json::to_string_pretty(value)?)),
        Format::Yaml => print(&boundkey_client::to_yaml(&serde_json::to_value(value)?)),
    }
}
