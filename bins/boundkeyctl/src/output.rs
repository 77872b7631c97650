//! Resources as YAML, JSON or a table.

use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::{Context as _, Result};
use comfy_table::{ContentArrangement, Table, presets};
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

/// Columns without lines; on a terminal as wide as it is.
fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(match std::io::stdout().is_terminal() {
        true => ContentArrangement::Dynamic,
        false => ContentArrangement::Disabled,
    });
    table.set_header(header.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    table.lines().map(|line| format!("{}\n", line.trim())).collect()
}

/// Prints; a reader that went away (`| head`) is no failure.
pub(crate) fn print(text: &str) -> Result<()> {
    bytes(text.as_bytes())
}

pub(crate) fn bytes(content: &[u8]) -> Result<()> {
    let mut out = anstream::stdout().lock();
    match out.write_all(content).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.context("cannot print"),
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
        Some(path) => write_whole(path, content),
        None => bytes(content),
    }
}

/// Written beside, synced, then renamed.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    let shown = || format!("cannot write {}", path.display());
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory).with_context(shown)?;
    file.write_all(content).with_context(shown)?;
    file.as_file().sync_all().with_context(shown)?;
    file.persist(path).with_context(shown)?;
    std::fs::File::open(directory).and_then(|directory| directory.sync_all()).with_context(shown)
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
