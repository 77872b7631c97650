//! Listings of any length: fetched, printed and forgotten page by page.

use std::collections::BTreeMap;

use anyhow::Result;
use boundkey_api::Page;
use boundkey_client::admin::AdminClient;
use boundkey_console::{Format, stream, stream_bytes};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::output::{Table, strip_revisions};

/// How the rows of a listing are printed. What comes out is what the whole list would give; only the columns of a table
/// get wider where a later page needs it.
pub(crate) struct Listing<T> {
    format: Format,
    table: Option<Rows<T>>,
    /// Without their revisions in YAML, which is for people.
    resources: bool,
    begun: bool,
}

/// A table, and what stands in a row of it.
type Rows<T> = (Table, fn(&T) -> Vec<String>);

/// What was listed.
#[derive(Default)]
pub(crate) struct Listed {
    pub(crate) shown: usize,
    /// Of all that the filters had to choose from.
    pub(crate) states: BTreeMap<String, u64>,
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Listing<T> {
    /// Rows of a table on text.
    pub(crate) fn of_rows(
        format: Format,
        header: &'static [&'static str],
        row: fn(&T) -> Vec<String>,
    ) -> Self {
        let table = (format == Format::Text).then(|| (Table::new(header), row));
        Self { format, table, resources: false, begun: false }
    }

    /// Resources: YAML on text.
    pub(crate) fn of_resources(format: Format) -> Self {
        let format = if format == Format::Json { Format::Json } else { Format::Yaml };
        Self { format, table: None, resources: true, begun: false }
    }

    /// Prints all pages, then the summary of a table. While one is printed the next one is fetched.
    pub(crate) async fn run(
        mut self,
        client: &mut AdminClient,
        path: &str,
        summary: impl FnOnce(&Listed) -> Option<String>,
    ) -> Result<()> {
        let mut listed = Listed::default();
        let mut page: Page<T> = client.page(path, None).await?;
        loop {
            listed.shown += page.items.len();
            for (state, count) in page.states {
                *listed.states.entry(state).or_default() += count;
            }
            let Some(after) = page.next else { break };
            let items = page.items;
            let printed = tokio::task::spawn_blocking(move || {
                let wanted = self.print(&items)?;
                Ok::<_, anyhow::Error>((self, wanted))
            });
            let following = client.page(path, Some(&after)).await;
            let (this, wanted) = printed.await??;
            if !wanted {
                return Ok(());
            }
            (self, page) = (this, following?);
        }
        if self.print(&page.items)? {
            stream(&self.end(summary(&listed)))?;
        }
        Ok(())
    }

    /// False: nobody reads any more.
    fn print(&mut self, items: &[T]) -> Result<bool> {
        if let Some((table, row)) = &mut self.table {
            return stream(&table.rows(items.iter().map(*row)));
        }
        stream_bytes(&self.part(items)?)
    }

    /// These items as a part of the list.
    fn part(&mut self, items: &[T]) -> Result<Vec<u8>> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let begun = std::mem::replace(&mut self.begun, true);
        if self.format == Format::Json {
            let mut text = serde_json::to_vec_pretty(items)?;
            text.truncate(text.len() - "\n]".len());
            if begun {
                text[0] = b',';
            }
            return Ok(text);
        }
        let mut value = serde_json::to_value(items)?;
        if self.resources {
            strip_revisions(&mut value);
        }
        Ok(boundkey_document::to_yaml(&value).into_bytes())
    }

    /// What ends the list.
    fn end(&self, summary: Option<String>) -> String {
        match (self.format, self.begun) {
            (Format::Text, _) => summary.map_or_else(String::new, |summary| summary + "\n"),
            (Format::Json, true) => "\n]\n".to_owned(),
            (Format::Yaml, true) => String::new(),
            (Format::Json | Format::Yaml, false) => "[]\n".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn printed(format: Format, parts: &[&[Value]]) -> String {
        let mut listing = Listing::<Value>::of_resources(format);
        let mut text: Vec<u8> = parts.iter().flat_map(|items| listing.part(items).unwrap()).collect();
        text.extend(listing.end(None).bytes());
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn what_comes_in_parts_is_printed_as_if_it_were_whole() {
        let items: Vec<Value> = (0..5)
            .map(|n| json!({ "metadata": { "name": format!("n{n}") }, "list": [], "text": "a\n]", "n": n }))
            .collect();
        let json = serde_json::to_string_pretty(&items).unwrap() + "\n";
        let yaml = boundkey_document::to_yaml(&Value::Array(items.clone()));
        for cut in 0..=5 {
            let (head, tail) = items.split_at(cut);
            assert_eq!(printed(Format::Json, &[head, &[], tail]), json, "{cut}");
            assert_eq!(printed(Format::Yaml, &[head, &[], tail]), yaml, "{cut}");
        }
        assert_eq!(printed(Format::Json, &[&[]]), "[]\n");
        assert_eq!(printed(Format::Yaml, &[]), "[]\n");
    }
}
