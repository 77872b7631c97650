//! Resources as YAML, JSON or a table.

use std::io::Write;
use std::path::Path;

use anyhow::{Context as _, Result};
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use serde_json::Value;

use crate::arguments::{Arguments, Format};

/// A resource or a list of them. YAML (and text) leaves `metadata.revision` out: it is for scripts and `edit`.
pub(crate) fn resource(mut value: Value, format: Format) -> Result<()> {
    match format {
        Format::Json => json(&value),
        Format::Yaml | Format::Text => {
            strip_revisions(&mut value);
            print(&boundkey_document::to_yaml(&value))
        }
    }
}

fn strip_revisions(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(strip_revisions),
        _ => {
            if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.remove("revision");
            }
        }
    }
}

pub(crate) fn json(value: &Value) -> Result<()> {
    print(&(serde_json::to_string_pretty(value)? + "\n"))
}

/// Rows for people on text, the values themselves otherwise.
pub(crate) fn rows(
    values: &Value,
    format: Format,
    header: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
    summary: Option<String>,
) -> Result<()> {
    match format {
        Format::Json => json(values),
        Format::Yaml => print(&boundkey_document::to_yaml(values)),
        Format::Text => {
            print(&table(header, rows))?;
            summary.map_or(Ok(()), |summary| print(&format!("{summary}\n")))
        }
    }
}

/// Columns without lines.
fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    // Elsewhere than on a terminal the table itself leaves colours out.
    // A name is never cut in two: a terminal that is too narrow breaks the lines.
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|title| Cell::new(title).add_attribute(Attribute::Bold)));
    let state = header.iter().position(|title| *title == "STATE");
    for row in rows {
        table.add_row(row.into_iter().enumerate().map(|(column, text)| {
            let colour = if Some(column) == state { colour(&text) } else { None };
            let cell = Cell::new(text);
            match colour {
                Some(colour) => cell.fg(colour),
                None => cell,
            }
        }));
    }
    table.lines().map(|line| format!("{}\n", line.trim())).collect()
}

/// Green: all is well. Yellow: something is to come. Red: nothing joins. The words say the same.
fn colour(state: &str) -> Option<Color> {
    match state {
        "bound" | "shared" => Some(Color::DarkGreen),
        "pending" | "rotation_due" | "overdue" => Some(Color::DarkYellow),
        "locked" | "bot_missing" | "expired" | "registration_expired" | "no_recoveries_left" => {
            Some(Color::DarkRed)
        }
        _ => None,
    }
}

/// Prints; a reader that went away (`| head`) is no failure.
pub(crate) fn print(text: &str) -> Result<()> {
    stream(text).map(drop)
}

/// A piece of something that has no end of its own; false: nobody reads any more.
pub(crate) fn stream(text: &str) -> Result<bool> {
    // Colours are for terminals, and for those who did not set NO_COLOR: anstream takes them out elsewhere.
    write(&mut anstream::stdout().lock(), text.as_bytes())
}

/// Bytes that are no text, as they are.
pub(crate) fn bytes(content: &[u8]) -> Result<()> {
    write(&mut std::io::stdout().lock(), content).map(drop)
}

fn write(out: &mut impl Write, content: &[u8]) -> Result<bool> {
    match out.write_all(content).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        outcome => outcome.map(|()| true).context("cannot print"),
    }
}

/// Warnings go to standard error, so that standard output stays for scripts.
pub(crate) fn warnings(warnings: &[String]) {
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
}

/// To a file (0600, whole or not at all), or to standard output.
pub(crate) fn to_file_or_stdout(content: &[u8], out: Option<&Path>) -> Result<()> {
    match out {
        Some(path) => Ok(boundkey_files::write_atomically(path, content, 0o600)?),
        None => bytes(content),
    }
}

/// One page for the tool, one for each command.
pub(crate) fn man_pages(out: &Path) -> Result<()> {
    use clap::CommandFactory as _;
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    clap_mangen::generate_to(Arguments::command(), out)
        .with_context(|| format!("cannot write to {}", out.display()))
}

pub(crate) fn time(time: Option<time::OffsetDateTime>) -> String {
    let seconds = time.and_then(|time| time.replace_nanosecond(0).ok());
    seconds.map_or_else(|| "-".to_owned(), boundkey_document::format_time)
}

pub(crate) fn dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned()
}
