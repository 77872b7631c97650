//! YAML or JSON text as a positioned tree; the one home of `serde_yaml`.
#![allow(missing_docs, unused_variables, clippy::todo, reason = "skeleton")]

/// 1-based.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

/// An untyped value. Mappings keep their order; duplicate keys were refused.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// One document of a file: its tree, and where each path in it stands.
#[derive(Debug, Clone)]
pub struct Document {
    _todo: (),
}
impl Document {
    pub fn root(&self) -> &Node {
        todo!()
    }
    /// The place of a path (`spec.roles[1]`); of the nearest ancestor that exists. Lazy: a second pass over the text.
    pub fn place(&self, path: &Path) -> Place {
        todo!()
    }
    /// From a JSON value that has no text of its own (places are all 1:1).
    pub fn from_json_value(value: &serde_json::Value) -> Self {
        todo!()
    }
}

/// A path in a document; Display as `spec.roles[1]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Path {
    _todo: (),
}
impl Path {
    pub fn root() -> Self {
        todo!()
    }
    pub fn key(&self, key: &str) -> Self {
        todo!()
    }
    pub fn index(&self, i: usize) -> Self {
        todo!()
    }
}
impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        todo!()
    }
}

/// A fault: where, what was found, what is allowed, and the nearest known word if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub document: usize,
    pub path: String,
    pub place: Place,
    pub found: String,
    pub allowed: String,
}

/// Why a text is no document (syntax, size, encoding, duplicate key, ...): says `line N`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a document")]
pub struct SyntaxError;

/// Several YAML documents (or one JSON document, or a JSON array of them is NOT split); at most 256 KiB.
pub fn parse_yaml(text: &[u8]) -> Result<Vec<Document>, SyntaxError> {
    todo!()
}
/// Strict JSON (duplicate keys refused), at most `limit` bytes.
pub fn parse_json(text: &[u8], limit: usize) -> Result<Document, SyntaxError> {
    todo!()
}
/// YAML in the guide's style (keys in the order of the value's map, two spaces, lists not indented).
pub fn to_yaml(value: &serde_json::Value) -> String {
    todo!()
}
/// The known word nearest to a misspelt one, if it is near enough to suggest.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    todo!()
}

/// Reads a mapping by hand, collecting every violation (at most 50): the one way config and resources are checked.
/// Typical use: `let mut m = Fields::new(&doc, &path, node, &mut faults); let name = m.text("name"); m.finish();`
/// The implementer designs its methods: required/optional text, bool, integer in range, list of text, duration, time, nested
/// mapping, `finish()` reporting unknown keys with the nearest known one.
pub struct Fields {
    _todo: (),
}
