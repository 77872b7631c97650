use std::fmt;
use std::sync::Arc;

use crate::path::Step;
use crate::{Node, Path, json, tree, yaml};

/// A place in a text; line and column count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
}

impl Default for Place {
    /// The first character of a text.
    fn default() -> Self {
        Self { line: 1, column: 1 }
    }
}

impl Place {
    /// The place in the whole text, of a place in a piece that begins at `start`.
    pub(crate) fn after(self, start: Self) -> Self {
        let column = if self.line == 1 { self.column + start.column - 1 } else { self.column };
        Self { line: self.line + start.line - 1, column }
    }

    /// The place of a byte offset in a text.
    pub(crate) fn of_offset(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |found| found + 1);
        Self {
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// One document of a file: its tree, and where each path in it stands.
#[derive(Clone)]
pub struct Document {
    root: Node,
    source: Source,
    origin: Origin,
}

/// Where a piece of a larger text stands in it.
#[derive(Clone, Default)]
pub(crate) struct Origin {
    /// The piece's first character.
    pub(crate) place: Place,
    /// What stands before the paths of the piece.
    pub(crate) path: Path,
    /// The piece is a part of a list, whose elements are numbered from here.
    pub(crate) first: Option<usize>,
    /// Behind so many lines of the piece, so many of the whole are left out.
    pub(crate) gap: (usize, usize),
}

impl Origin {
    /// The place in the whole, of a place in the piece.
    pub(crate) fn whole_place(&self, place: Place) -> Place {
        let (after, skipped) = self.gap;
        let line = place.line + if place.line > after { skipped } else { 0 };
        Place { line, ..place }.after(self.place)
    }
}

/// Where the places come from. A document keeps its text and looks a place up when a fault is reported.
#[derive(Clone)]
pub(crate) enum Source {
    Yaml { text: Arc<str>, index: usize },
    Json { text: Arc<str> },
    Nowhere,
}

/// Which end of a key and its value is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spot {
    Key,
    Value,
}

impl Document {
    pub(crate) fn new(root: Node, source: Source) -> Self {
        Self { root, source, origin: Origin::default() }
    }

    /// As a piece of a larger text.
    pub(crate) fn with_origin(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }

    /// A path of this piece as one of the whole.
    pub(crate) fn whole_path(&self, path: &Path) -> Path {
        self.origin.path.joined(path, self.origin.first)
    }

    /// From a JSON value that has no text of its own: every place is 1:1.
    pub fn from_json_value(value: &serde_json::Value) -> Self {
        Self::new(tree::from_json(value), Source::Nowhere)
    }

    /// The tree.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// The number of this document in its file, from 0, empty documents counted.
    pub fn index(&self) -> usize {
        match &self.source {
            Source::Yaml { index, .. } => *index,
            Source::Json { .. } | Source::Nowhere => 0,
        }
    }

    /// Where the value of a path begins; of the nearest ancestor that exists.
    ///
    /// A second pass over the text: for error reports, not for loops over a whole document.
    pub fn place(&self, path: &Path) -> Place {
        self.origin.whole_place(self.find(path, Spot::Value))
    }

    /// Where the key of a path begins: for unknown keys. An element of a list has no key and is itself meant.
    pub fn place_of_key(&self, path: &Path) -> Place {
        self.origin.whole_place(self.find(path, Spot::Key))
    }

    /// The scalar at a path as the text has it (`1.10`, not the number 1.1), if it is a plain one.
    pub(crate) fn written(&self, path: &Path) -> Option<String> {
        let text = match &self.source {
            Source::Yaml { text, .. } | Source::Json { text } => text,
            Source::Nowhere => return None,
        };
        let place = self.find(path, Spot::Value);
        let line = text.split('\n').nth(place.line - 1)?;
        let raw: String = line.chars().skip(place.column - 1).take(64).collect();
        let end = raw.find(|c: char| c.is_whitespace() || ",]}".contains(c)).unwrap_or(raw.len());
        let number = &raw[..end];
        number.parse::<f64>().is_ok().then(|| number.to_owned())
    }

    fn find(&self, path: &Path, spot: Spot) -> Place {
        let existing = self.existing(path);
        // A missing field is reported at the key that should hold it.
        let spot = if existing.len() < path.steps().len() { Spot::Key } else { spot };
        match &self.source {
            Source::Yaml { text, index } => yaml::locate(text, *index, existing, spot).unwrap_or_default(),
            Source::Json { text } => json::locate(text, existing, spot),
            Source::Nowhere => Place::default(),
        }
    }

    /// The steps of a path as far as they exist.
    fn existing<'p>(&self, path: &'p Path) -> &'p [Step] {
        let mut node = &self.root;
        for (position, step) in path.steps().iter().enumerate() {
            let next = match (step, node) {
                (Step::Key(key), Node::Map(entries)) => {
                    entries.iter().find(|(name, _)| name == key).map(|(_, value)| value)
                }
                (Step::Index(index), Node::List(items)) => items.get(*index),
                _ => None,
            };
            match next {
                Some(next) => node = next,
                None => return &path.steps()[..position],
            }
        }
        path.steps()
    }
}

/// Shows the tree's shape; a document may hold secrets.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("index", &self.index())
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}
