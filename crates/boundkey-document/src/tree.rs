use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, Visitor};

use crate::{MAX_DEPTH, MAX_TEXT_BYTES, SyntaxProblem};

/// An untyped value. Mappings keep the order of the text; duplicate keys were refused.
#[derive(Clone, PartialEq)]
pub enum Node {
    /// Nothing written, `null` or `~`.
    Null,
    /// `true` or `false` (YAML 1.1's `yes`, `on` and the like are text).
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// Any other number, also a whole one beyond 128 bits.
    Float(f64),
    /// Text. Dates and times are text too.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping.
    Map(Vec<(String, Node)>),
}

/// Shows the shape and the keys, never a text or a number: they may be secrets.
impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Null => f.write_str("Null"),
            Node::Bool(value) => write!(f, "{value}"),
            Node::Integer(_) => f.write_str("Integer(..)"),
            Node::Float(_) => f.write_str("Float(..)"),
            Node::Text(_) => f.write_str("Text(..)"),
            Node::List(items) => f.debug_list().entries(items).finish(),
            Node::Map(entries) => {
                f.debug_map().entries(entries.iter().map(|(key, value)| (key, value))).finish()
            }
        }
    }
}

/// What reading one document may cost, and why it was stopped.
pub(crate) struct Guard {
    values_left: Cell<usize>,
    bytes_left: Cell<usize>,
    problem: RefCell<Option<SyntaxProblem>>,
}

impl Guard {
    /// For a text of that many bytes. Without aliases a text never holds more values or characters than bytes;
    /// the slack is what aliases may add.
    pub(crate) fn for_text(bytes: usize) -> Self {
        Self {
            values_left: Cell::new(bytes + 10_000),
            bytes_left: Cell::new(bytes.saturating_mul(2) + 100_000),
            problem: RefCell::default(),
        }
    }
    /// Why a visitor of this guard failed; none if the parser itself did.
    pub(crate) fn take_problem(&self) -> Option<SyntaxProblem> {
        self.problem.take()
    }
    pub(crate) fn tree(&self) -> TreeSeed<'_> {
        TreeSeed { guard: self, depth: 0 }
    }
    fn stop<E: de::Error>(&self, problem: SyntaxProblem) -> E {
        self.problem.borrow_mut().get_or_insert(problem);
        E::custom("refused")
    }
    fn spend<E: de::Error>(&self, text_bytes: usize) -> Result<(), E> {
        if text_bytes > MAX_TEXT_BYTES {
            return Err(self.stop(SyntaxProblem::TextTooLong { found: text_bytes, allowed: MAX_TEXT_BYTES }));
        }
        match (self.values_left.get().checked_sub(1), self.bytes_left.get().checked_sub(text_bytes)) {
            (Some(values), Some(bytes)) => {
                self.values_left.set(values);
                self.bytes_left.set(bytes);
                Ok(())
            }
            _ => Err(self.stop(SyntaxProblem::Expansion)),
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct TreeSeed<'g> {
    guard: &'g Guard,
    depth: usize,
}

impl TreeSeed<'_> {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(self.guard.stop(SyntaxProblem::TooDeep { allowed: MAX_DEPTH }));
        }
        Ok(Self { guard: self.guard, depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for TreeSeed<'_> {
    type Value = Node;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TreeSeed<'_> {
    type Value = Node;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        self.guard.spend(0)?;
        Ok(Node::Null)
    }
    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        self.visit_unit()
    }
    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        self.guard.spend(0)?;
        Ok(Node::Bool(value))
    }
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        self.visit_i128(value.into())
    }
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        self.visit_i128(value.into())
    }
    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Node, E> {
        self.guard.spend(0)?;
        Ok(Node::Integer(value))
    }
    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Node, E> {
        self.guard.spend(0)?;
        Ok(i128::try_from(value).map_or(Node::Float(value as f64), Node::Integer))
    }
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        self.guard.spend(0)?;
        Ok(Node::Float(value))
    }
    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        self.guard.spend(value.len())?;
        Ok(Node::Text(value.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        self.guard.spend(0)?;
        let seed = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(seed)? {
            items.push(item);
        }
        Ok(Node::List(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        self.guard.spend(0)?;
        let seed = self.deeper()?;
        let mut entries: Vec<(String, Node)> = Vec::new();
        let mut seen = HashSet::new();
        while let Some(key) = access.next_key_seed(KeySeed { guard: self.guard, seen: &mut seen })? {
            entries.push((key, access.next_value_seed(seed)?));
        }
        Ok(Node::Map(entries))
    }
    fn visit_enum<A: EnumAccess<'de>>(self, _access: A) -> Result<Node, A::Error> {
        Err(self.guard.stop(SyntaxProblem::Tag))
    }
}

/// A key: text, and not a second time.
struct KeySeed<'g, 's> {
    guard: &'g Guard,
    seen: &'s mut HashSet<String>,
}

impl KeySeed<'_, '_> {
    fn no_text<E: de::Error>(&self, found: &'static str) -> E {
        self.guard.stop(SyntaxProblem::KeyNotText { found })
    }
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_, '_> {
    type Value = String;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for KeySeed<'_, '_> {
    type Value = String;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E: de::Error>(self, key: &str) -> Result<String, E> {
        self.guard.spend(key.len())?;
        if key == "<<" {
            return Err(self.guard.stop(SyntaxProblem::MergeKey));
        }
        if !self.seen.insert(key.to_owned()) {
            return Err(self.guard.stop(SyntaxProblem::DuplicateKey(key.to_owned())));
        }
        Ok(key.to_owned())
    }
    fn visit_unit<E: de::Error>(self) -> Result<String, E> {
        Err(self.no_text("empty"))
    }
    fn visit_bool<E: de::Error>(self, _: bool) -> Result<String, E> {
        Err(self.no_text("a truth value"))
    }
    fn visit_i64<E: de::Error>(self, _: i64) -> Result<String, E> {
        Err(self.no_text("a number"))
    }
    fn visit_u64<E: de::Error>(self, _: u64) -> Result<String, E> {
        Err(self.no_text("a number"))
    }
    fn visit_i128<E: de::Error>(self, _: i128) -> Result<String, E> {
        Err(self.no_text("a number"))
    }
    fn visit_u128<E: de::Error>(self, _: u128) -> Result<String, E> {
        Err(self.no_text("a number"))
    }
    fn visit_f64<E: de::Error>(self, _: f64) -> Result<String, E> {
        Err(self.no_text("a number"))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<String, A::Error> {
        Err(self.no_text("a list"))
    }
    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<String, A::Error> {
        Err(self.no_text("a mapping"))
    }
    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<String, A::Error> {
        Err(self.guard.stop(SyntaxProblem::Tag))
    }
}

/// A JSON value that was parsed elsewhere.
pub(crate) fn from_json(value: &serde_json::Value) -> Node {
    use serde_json::Value;
    match value {
        Value::Null => Node::Null,
        Value::Bool(value) => Node::Bool(*value),
        Value::Number(number) => number
            .as_i64()
            .map(i128::from)
            .or_else(|| number.as_u64().map(i128::from))
            .map_or_else(|| Node::Float(number.as_f64().unwrap_or(f64::NAN)), Node::Integer),
        Value::String(text) => Node::Text(text.clone()),
        Value::Array(items) => Node::List(items.iter().map(from_json).collect()),
        Value::Object(entries) => {
            Node::Map(entries.iter().map(|(key, value)| (key.clone(), from_json(value))).collect())
        }
    }
}
