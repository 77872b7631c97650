use std::collections::BTreeMap;

use boundkey_document::{Fields, Item, format_time, quoted};
use boundkey_text::is_plain;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::ResourceName;
use crate::name::ALLOWED;

/// `metadata`, as every kind has it.
pub(crate) struct Metadata {
    pub(crate) name: Option<ResourceName>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) expires: Option<OffsetDateTime>,
    pub(crate) revision: Option<String>,
}

/// What a kind's metadata may hold besides name and revision.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Labels and expiry.
    Full,
    /// The same, and what belongs to Kubernetes alone: its namespace and annotations are not looked at.
    Kubernetes,
    /// Nothing.
    NameOnly,
}

const MAX_LABELS: usize = 64;
const MAX_LABEL_KEY: usize = 253;
const MAX_LABEL_VALUE: usize = 1024;

impl Metadata {
    pub(crate) fn read(top: &mut Fields<'_>, extent: Extent) -> Self {
        let mut fields = top.section("metadata");
        let name = name(&mut fields, "name");
        fields.missing("name", ALLOWED);
        let revision = fields.line("revision").map(str::to_owned);
        let (mut labels, mut expires) = (BTreeMap::new(), None);
        if extent != Extent::NameOnly {
            labels = read_labels(&mut fields);
            expires = fields.time("expires");
        }
        if extent == Extent::Kubernetes {
            fields.accept(&["namespace", "annotations"]);
        }
        fields.finish();
        Self { name, labels, expires, revision }
    }
}

fn read_labels(fields: &mut Fields<'_>) -> BTreeMap<String, String> {
    let labels = fields.text_map("labels").unwrap_or_default();
    if labels.len() > MAX_LABELS {
        fields.fault("labels", format!("{} labels", labels.len()), format!("at most {MAX_LABELS}"));
    }
    for (key, value) in &labels {
        let path = fields.path().key("labels").key(key);
        let limit = |what, length: usize, limit| {
            fields.faults().report(&path, format!("a {what} of {length} bytes"), format!("at most {limit}"));
        };
        if key.trim().is_empty() || !key.chars().all(is_plain) {
            fields.faults().report_key(
                &path,
                "an empty or unprintable label name",
                "a label name of one line",
            );
        }
        if !value.chars().all(is_plain) {
            fields.faults().report(&path, quoted(value), "one line without control or invisible characters");
        }
        if key.len() > MAX_LABEL_KEY {
            limit("label name", key.len(), MAX_LABEL_KEY);
        }
        if value.len() > MAX_LABEL_VALUE {
            limit("label", value.len(), MAX_LABEL_VALUE);
        }
    }
    labels
}

/// A resource's name at a key, if it is set and right.
pub(crate) fn name(fields: &mut Fields<'_>, key: &'static str) -> Option<ResourceName> {
    fields.parsed(key, ALLOWED, str::parse::<ResourceName>)
}

/// A list that is set: its elements. An empty one is a fault: it could mean "none" or "the default".
pub(crate) fn listed<'d>(fields: &mut Fields<'d>, key: &'static str, element: &str) -> Option<Vec<Item<'d>>> {
    let item = fields.item(key)?;
    let items = item.list()?;
    if matches!(item.node(), boundkey_document::Node::List(nodes) if nodes.is_empty()) {
        item.fault("an empty list", format!("at least one {element}, or leave the field out"));
        return None;
    }
    Some(items)
}

/// The warning about a time that has passed already: a typing error, mostly, for it has its effect at once.
pub(crate) fn past(
    field: &str,
    time: Option<OffsetDateTime>,
    now: OffsetDateTime,
    effect: &str,
) -> Option<String> {
    let time = time.filter(|time| *time <= now)?;
    Some(format!("{field} {} is in the past: {effect}", format_time(time)))
}

/// The object that every kind prints: `kind`, `metadata`, `spec`, `version`.
pub(crate) fn print(
    kind: &str,
    version: &str,
    name: &ResourceName,
    (labels, expires, revision): (&BTreeMap<String, String>, Option<OffsetDateTime>, Option<&str>),
    spec: Map<String, Value>,
) -> Value {
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), json!(name));
    if !labels.is_empty() {
        metadata.insert("labels".to_owned(), json!(labels));
    }
    if let Some(expires) = expires {
        metadata.insert("expires".to_owned(), json!(format_time(expires)));
    }
    if let Some(revision) = revision {
        metadata.insert("revision".to_owned(), json!(revision));
    }
    json!({"kind": kind, "version": version, "metadata": metadata, "spec": spec})
}
