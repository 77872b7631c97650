//! Resources as YAML, JSON or a table.

use std::path::Path;

use anyhow::Result;
use boundkey_console::{Format, print_as, print_bytes, say};
use comfy_table::{Attribute, Cell, Color, ColumnConstraint, ContentArrangement, Width, presets};
use serde_json::Value;

/// A resource or a list of them. YAML (and text) leaves `metadata.revision` out: it is for scripts and `edit`.
pub(crate) fn resource(mut value: Value, format: Format) -> Result<()> {
    match format {
        Format::Json => print_as(format, &value, String::new),
        Format::Yaml | Format::Text => {
            strip_revisions(&mut value);
            print_as(Format::Yaml, &value, String::new)
        }
    }
}

pub(crate) fn strip_revisions(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(strip_revisions),
        _ => {
            if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.remove("revision");
            }
        }
    }
}

/// Columns without lines, printed in one or several parts.
pub(crate) struct Table {
    header: &'static [&'static str],
    /// Of the parts so far.
    widths: Vec<u16>,
}

impl Table {
    pub(crate) fn new(header: &'static [&'static str]) -> Self {
        Self { header, widths: Vec::new() }
    }

    /// The next rows; before the first ones the header. Columns are as wide as those before, or wider.
    pub(crate) fn rows(&mut self, rows: impl IntoIterator<Item = Vec<String>>) -> String {
        let mut rows = rows.into_iter().peekable();
        if !self.widths.is_empty() && rows.peek().is_none() {
            return String::new();
        }
        let mut table = comfy_table::Table::new();
        // Elsewhere than on a terminal the table itself leaves colours out.
        // A name is never cut in two: a terminal that is too narrow breaks the lines.
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        if self.widths.is_empty() {
            table.set_header(self.header.iter().map(|title| Cell::new(title).add_attribute(Attribute::Bold)));
        }
        let state = self.header.iter().position(|title| *title == "STATE");
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
        let found = table.column_max_content_widths();
        self.widths.resize(self.header.len(), 0);
        for (index, (known, found)) in self.widths.iter_mut().zip(found).enumerate() {
            *known = found.max(*known);
            if let Some(column) = table.column_mut(index) {
                let padded = known.saturating_add(column.padding_width());
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(padded)));
            }
        }
        table.lines().map(|line| format!("{}\n", line.trim())).collect()
    }
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

/// Warnings go to standard error, so that standard output stays for scripts.
pub(crate) fn warnings(warnings: &[String]) {
    for warning in warnings {
        say(&format!("warning: {warning}\n"));
    }
}

/// To a file (0600, whole or not at all), or to standard output.
pub(crate) fn to_file_or_stdout(content: &[u8], out: Option<&Path>) -> Result<()> {
    match out {
        Some(path) => Ok(boundkey_files::write_atomically(path, content, 0o600)?),
        None => print_bytes(content),
    }
}

/// `1 token`, `2 tokens`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

pub(crate) fn time(time: Option<time::OffsetDateTime>) -> String {
    let seconds = time.and_then(|time| time.replace_nanosecond(0).ok());
    seconds.map_or_else(|| "-".to_owned(), boundkey_document::format_time)
}

pub(crate) fn dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned()
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn parts_of_a_table_have_one_header_and_columns_that_never_get_narrower() {
        let mut table = Table::new(&["NAME", "MACHINE", "ROLES"]);
        let mut part = |rows: &[[&str; 3]]| {
            table.rows(rows.iter().map(|row| row.iter().map(|text| (*text).to_owned()).collect()))
        };
        let first = part(&[["a-long-name", "ä", "Node"]]);
        let lines: Vec<&str> = first.lines().collect();
        assert_eq!(lines, ["NAME         MACHINE  ROLES", "a-long-name  ä        Node"]);
        assert_eq!(part(&[["b", "x", "Node"]]), "b            x        Node\n");
        assert_eq!(part(&[]), "");
        assert_eq!(part(&[["b", "a-machine", "Node"]]), "b            a-machine  Node\n");
        assert_eq!(part(&[["b", "x", "Node"]]), "b            x          Node\n");
    }
}
