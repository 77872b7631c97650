use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use time::OffsetDateTime;

use crate::words::with_suggestion;
use crate::{
    Document, Faults, Fields, Node, Path, either, format_duration, nearest, parse_duration, parse_path,
    parse_time, quoted,
};

/// One value that is set: of a key, or of a list. Its readers report what is wrong with it and then give `None`.
#[derive(Debug, Clone)]
pub struct Item<'d> {
    faults: Faults<'d>,
    path: Path,
    node: &'d Node,
}

impl<'d> Item<'d> {
    pub(crate) fn new(faults: Faults<'d>, path: Path, node: &'d Node) -> Self {
        Self { faults, path, node }
    }

    /// The document as one value: for readers that accept a list of resources.
    pub fn root(faults: &Faults<'d>) -> Self {
        Self::new(faults.clone(), Path::root(), faults.document().root())
    }

    /// The value itself.
    pub fn node(&self) -> &'d Node {
        self.node
    }
    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// Reports a fault of this value. `found` must not hold a secret.
    pub fn fault(&self, found: impl Into<String>, allowed: impl Into<String>) {
        self.faults.report(&self.path, found, allowed);
    }
    /// Reports this value as one that is not allowed, showing it.
    pub fn refuse(&self, allowed: impl Into<String>) {
        self.fault(self.shown(), allowed);
    }

    /// Text. A number or truth value is a fault that says to put it in quotes.
    pub fn text(&self) -> Option<&'d str> {
        if let Node::Text(text) = self.node {
            return Some(text);
        }
        match self.node {
            Node::Bool(_) | Node::Integer(_) | Node::Float(_) => {
                self.refuse("text (put it in quotes)");
            }
            _ => self.refuse("text"),
        }
        None
    }

    /// Text without control or invisible characters, so that it can be shown anywhere: one line.
    pub fn line(&self) -> Option<&'d str> {
        let text = self.text()?;
        if !text.chars().all(boundkey_text::is_plain) {
            self.refuse("one line without control or invisible characters");
            return None;
        }
        Some(text)
    }

    /// The path of a file or directory. See [`parse_path`].
    pub fn file_path(&self) -> Option<PathBuf> {
        // A block scalar ends in a line end.
        match parse_path(self.text()?.trim_end_matches(['\n', '\r'])) {
            Ok(path) => Some(path),
            Err(allowed) => {
                self.refuse(allowed);
                None
            }
        }
    }

    /// Text that must never be shown: no report repeats it, whatever is wrong with it.
    pub fn secret(&self) -> Option<&'d str> {
        if let Node::Text(text) = self.node {
            return Some(text);
        }
        let (found, allowed) = match self.node {
            Node::Bool(_) => ("a truth value (not shown)", "text (put it in quotes)"),
            Node::Integer(_) | Node::Float(_) => ("a number (not shown)", "text (put it in quotes)"),
            Node::List(_) => ("a list", "text"),
            Node::Map(_) => ("a mapping", "text"),
            Node::Null | Node::Text(_) => ("nothing", "text"),
        };
        self.fault(found, allowed);
        None
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Option<bool> {
        if let Node::Bool(value) = self.node {
            return Some(*value);
        }
        self.refuse(if matches!(self.node, Node::Text(text) if text == "true" || text == "false") {
            "true or false, without quotes"
        } else {
            "true or false"
        });
        None
    }

    /// A whole number within a range.
    pub fn integer<T>(&self, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i128> + Into<i128> + Copy,
    {
        let (low, high): (i128, i128) = ((*range.start()).into(), (*range.end()).into());
        if let Node::Integer(value) = self.node
            && (low..=high).contains(value)
        {
            return T::try_from(*value).ok();
        }
        let allowed = format!("a whole number from {low} to {high}");
        match self.node {
            Node::Text(text) if text.parse::<i128>().is_ok() => {
                self.fault(format!("the text {}", quoted(text)), format!("{allowed}, without quotes"));
            }
            _ => self.refuse(allowed),
        }
        None
    }

    /// A duration such as `30s`, `15m`, `24h`, `7d` or `1h30m`, within a range.
    pub fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let parsed = match self.node {
            Node::Integer(0) => Some(Duration::ZERO),
            Node::Text(text) => parse_duration(text),
            _ => None,
        };
        if let Some(duration) = parsed.filter(|duration| range.contains(duration)) {
            return Some(duration);
        }
        let bounds = match (*range.start(), *range.end()) {
            (Duration::ZERO, Duration::MAX) => String::new(),
            (low, Duration::MAX) => format!(", at least {}", format_duration(low)),
            (Duration::ZERO, high) => format!(", at most {}", format_duration(high)),
            (low, high) => format!(", from {} to {}", format_duration(low), format_duration(high)),
        };
        self.refuse(format!("a duration such as 30s, 15m, 24h or 7d{bounds}"));
        None
    }

    /// An RFC 3339 time, given as UTC.
    pub fn time(&self) -> Option<OffsetDateTime> {
        let parsed = if let Node::Text(text) = self.node { parse_time(text) } else { None };
        if parsed.is_none() {
            self.refuse("an RFC 3339 time such as 2025-01-01T00:00:00Z");
        }
        parsed
    }

    /// One of some known words, written exactly so; a near miss is suggested.
    pub fn word<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        let known = || words.iter().map(|(word, _)| *word);
        let text = match self.node {
            Node::Text(text) => text,
            _ => {
                self.refuse(either(known()));
                return None;
            }
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| word == text) {
            return Some(*value);
        }
        let suggestion = if words.len() > 1 { nearest(text, known()) } else { None };
        self.refuse(with_suggestion(either(known()), suggestion));
        None
    }

    /// Text as a checked type; what does not parse is shown, with what is allowed. (Not for secrets.)
    pub fn parsed<T, E>(&self, allowed: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        let text = match self.node {
            Node::Text(text) => text,
            Node::Bool(_) | Node::Integer(_) | Node::Float(_) => {
                self.refuse(format!("{allowed} (put it in quotes)"));
                return None;
            }
            _ => {
                self.refuse(allowed);
                return None;
            }
        };
        match parse(text) {
            Ok(value) => Some(value),
            Err(_) => {
                self.refuse(allowed);
                None
            }
        }
    }

    /// A list; its elements. Empty elements (`- `) are faults and left out.
    pub fn list(&self) -> Option<Vec<Item<'d>>> {
        let Node::List(nodes) = self.node else {
            self.refuse(if matches!(self.node, Node::Map(_)) {
                "a list"
            } else {
                "a list (put it in brackets)"
            });
            return None;
        };
        let mut items = Vec::with_capacity(nodes.len());
        for (index, node) in nodes.iter().enumerate() {
            let item = Item::new(self.faults.clone(), self.path.index(index), node);
            match node {
                Node::Null => item.refuse("a value"),
                _ => items.push(item),
            }
        }
        Some(items)
    }

    /// A mapping.
    pub fn mapping(&self) -> Option<Fields<'d>> {
        match self.node {
            Node::Map(_) => Some(Fields::of(self.faults.clone(), self.path.clone(), self.node)),
            // A secret may have been put one level too high.
            Node::Text(_) => {
                self.fault("a text", "a mapping");
                None
            }
            _ => {
                self.refuse("a mapping");
                None
            }
        }
    }

    /// A mapping of any keys to texts of one line (labels).
    pub fn text_map(&self) -> Option<BTreeMap<String, String>> {
        let Node::Map(entries) = self.node else {
            self.refuse("a mapping of text to text");
            return None;
        };
        let mut texts = BTreeMap::new();
        for (key, node) in entries {
            let item = Item::new(self.faults.clone(), self.path.key(key), node);
            match node {
                Node::Null => drop(texts.insert(key.clone(), String::new())),
                _ => drop(item.line().map(|text| texts.insert(key.clone(), text.to_owned()))),
            }
        }
        Some(texts)
    }

    /// The value as reports show it.
    pub fn shown(&self) -> String {
        describe(self.faults.document(), &self.path, self.node)
    }
}

fn describe(document: &Document, path: &Path, node: &Node) -> String {
    match node {
        Node::Null => "nothing".to_owned(),
        Node::Bool(value) => format!("the truth value {value}"),
        Node::Integer(value) => format!("the number {value}"),
        Node::Float(value) => {
            format!("the number {}", document.written(path).unwrap_or_else(|| value.to_string()))
        }
        Node::Text(text) if text.is_empty() => "an empty text".to_owned(),
        Node::Text(text) if text.contains("PRIVATE KEY") => "a private key (not shown)".to_owned(),
        Node::Text(text) => quoted(text),
        Node::List(_) => "a list".to_owned(),
        Node::Map(_) => "a mapping".to_owned(),
    }
}
