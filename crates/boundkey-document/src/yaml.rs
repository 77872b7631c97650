//! The one place that uses `serde_yaml`.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::document::{Source, Spot};
use crate::path::Step;
use crate::tree::Guard;
use crate::{
    Document, MAX_DEPTH, MAX_YAML_BYTES, Node, Place, SyntaxError, SyntaxProblem, foreign, parse_json,
};

/// Opening brackets allowed in one YAML text: the scanner's time grows with their number times their depth.
const MAX_BRACKETS: usize = 20_000;

/// Reads the YAML documents of a text of at most 256 KiB, one or several; empty ones between `---` are left out.
///
/// Refused, each with its line: what is not UTF-8 or holds control characters, duplicate keys, keys that are no text,
/// merge keys, tags, deep nesting, aliases that expand to too much, and a text without any document.
///
/// # Errors
/// [`SyntaxError`], with the place where reading stopped.
pub fn parse_yaml(text: &[u8]) -> Result<Vec<Document>, SyntaxError> {
    let text = as_text(text, MAX_YAML_BYTES)?;
    if let Some(format) = foreign::format(text) {
        return Err(SyntaxError { place: Place::default(), problem: SyntaxProblem::Foreign(format) });
    }
    if foreign::is_commented_json(text) {
        // Its parser says where.
        return Err(parse_json(text.as_bytes(), MAX_YAML_BYTES)
            .err()
            .unwrap_or(SyntaxError { place: Place::default(), problem: SyntaxProblem::JsonComment }));
    }
    refuse_brackets(text)?;
    let shared: Arc<str> = Arc::from(text);
    let mut documents = Vec::new();
    for (index, deserializer) in serde_yaml::Deserializer::from_str(text).enumerate() {
        let guard = Guard::for_text(text.len());
        let root = guard.tree().deserialize(deserializer).map_err(|error| refusal(&error, &guard, text))?;
        if root != Node::Null {
            documents.push(Document::new(root, Source::Yaml { text: Arc::clone(&shared), index }));
        }
    }
    if documents.is_empty() {
        return Err(SyntaxError { place: Place::default(), problem: SyntaxProblem::NoDocument });
    }
    Ok(documents)
}

/// Size, encoding and characters, for YAML and JSON alike; without the byte order mark.
pub(crate) fn as_text(bytes: &[u8], limit: usize) -> Result<&str, SyntaxError> {
    if bytes.len() > limit {
        let line = bytes[..limit].iter().filter(|byte| **byte == b'\n').count() + 1;
        let problem = SyntaxProblem::TooLarge { found: bytes.len(), allowed: limit };
        return Err(SyntaxError { place: Place { line, column: 1 }, problem });
    }
    if is_utf16(bytes) {
        return Err(SyntaxError { place: Place::default(), problem: SyntaxProblem::Utf16 });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let valid = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
        SyntaxError { place: Place::of_offset(valid, valid.len()), problem: SyntaxProblem::NotUtf8 }
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match text.char_indices().find(|(_, c)| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{85}')) {
        Some((offset, character)) => Err(SyntaxError {
            place: Place::of_offset(text, offset),
            problem: SyntaxProblem::ControlCharacter(character),
        }),
        None => Ok(text),
    }
}

/// With a mark, or with a zero in one of the first two characters, which are ASCII in every document.
fn is_utf16(bytes: &[u8]) -> bool {
    let marked = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    let zeros = bytes.first_chunk::<4>().is_some_and(|[a, b, c, d]| {
        [*a, *c] == [0, 0] && *b != 0 && *d != 0 || [*b, *d] == [0, 0] && *a != 0 && *c != 0
    });
    bytes.len() > 2 && (marked || zeros)
}

/// The scanner's cost per token grows with the open brackets, so hostile nesting is refused before it starts. Comments
/// and quoted texts are recognised line by line only; what slips through is bounded by the number of brackets, and the
/// exact limit of nesting is checked by the tree's visitor.
fn refuse_brackets(text: &str) -> Result<(), SyntaxError> {
    let (mut open, mut total) = (0_usize, 0_usize);
    for (number, line) in text.split('\n').enumerate() {
        let mut quote = None;
        let mut before = ' ';
        for (column, character) in line.chars().enumerate() {
            let at_start = before.is_whitespace() || "[{,:".contains(before);
            match (quote, character) {
                (Some(open), _) if open == character => quote = None,
                (Some(_), _) => {}
                (None, '"' | '\'') if at_start => quote = Some(character),
                (None, '#') if before.is_whitespace() => break,
                (None, '[' | '{') => {
                    (open, total) = (open + 1, total + 1);
                    let place = Place { line: number + 1, column: column + 1 };
                    if open > 4 * MAX_DEPTH {
                        return Err(SyntaxError {
                            place,
                            problem: SyntaxProblem::TooDeep { allowed: MAX_DEPTH },
                        });
                    }
                    if total > MAX_BRACKETS {
                        let problem = SyntaxProblem::TooManyBrackets { allowed: MAX_BRACKETS };
                        return Err(SyntaxError { place, problem });
                    }
                }
                (None, ']' | '}') => open = open.saturating_sub(1),
                _ => {}
            }
            before = character;
        }
    }
    Ok(())
}

fn refusal(error: &serde_yaml::Error, guard: &Guard, text: &str) -> SyntaxError {
    let place = error
        .location()
        .map_or_else(Place::default, |location| Place { line: location.line(), column: location.column() });
    let problem = guard.take_problem().unwrap_or_else(|| {
        let message = error.to_string();
        let first = message.split(" at line ").next().unwrap_or_default();
        match first {
            "recursion limit exceeded" => SyntaxProblem::TooDeep { allowed: MAX_DEPTH },
            "repetition limit exceeded" => SyntaxProblem::Expansion,
            first if !first.contains("tab") && tab_indents(text, place.line) => {
                SyntaxProblem::Malformed(format!("{first} (a tab cannot indent YAML: use spaces)"))
            }
            "did not find expected key"
            | "did not find expected '-' indicator"
            | "mapping values are not allowed in this context" => {
                SyntaxProblem::Malformed(format!("{first}{}", uneven(text, place.line)))
            }
            first => SyntaxProblem::Malformed(first.to_owned()),
        }
    });
    SyntaxError { place, problem }
}

/// One blank too many is found out on the next line only: both are named.
fn uneven(text: &str, line: usize) -> String {
    let indent = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let written = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let lines: Vec<&str> = text.split('\n').take(line).collect();
    let Some((found, before)) = lines.split_last().filter(|(found, _)| written(found)) else {
        return String::new();
    };
    let Some((number, previous)) = before.iter().enumerate().rev().find(|(_, line)| written(line)) else {
        return String::new();
    };
    let (one, other) = (indent(previous), indent(found));
    if one == other || previous.trim_start().starts_with("---") {
        return String::new();
    }
    format!(
        " (line {} is indented by {one}, line {line} by {other}: is a blank too many or missing?)",
        number + 1
    )
}

fn tab_indents(text: &str, line: usize) -> bool {
    text.split('\n')
        .nth(line.saturating_sub(1))
        .is_some_and(|line| line.chars().take_while(|c| c.is_whitespace()).any(|c| c == '\t'))
}

/// The place of a path that exists: a second pass whose visitor fails there, for the error knows where.
pub(crate) fn locate(text: &str, document: usize, steps: &[Step], spot: Spot) -> Option<Place> {
    let deserializer = serde_yaml::Deserializer::from_str(text).nth(document)?;
    let found = Cell::new(false);
    let error = Seek { steps, spot, found: &found }.deserialize(deserializer).err()?;
    let location = error.location()?;
    found.get().then(|| Place { line: location.line(), column: location.column() })
}

/// Walks to a path and fails there.
#[derive(Clone, Copy)]
struct Seek<'p> {
    steps: &'p [Step],
    spot: Spot,
    found: &'p Cell<bool>,
}

impl<'p> Seek<'p> {
    fn here<E: de::Error>(self) -> E {
        self.found.set(true);
        E::custom("here")
    }
    fn next(self) -> Option<(&'p Step, Self)> {
        self.steps.split_first().map(|(step, steps)| (step, Self { steps, ..self }))
    }
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        Err(self.here())
    }
    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        Err(self.here())
    }
    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        Err(self.here())
    }
    fn visit_i128<E: de::Error>(self, _: i128) -> Result<(), E> {
        Err(self.here())
    }
    fn visit_u128<E: de::Error>(self, _: u128) -> Result<(), E> {
        Err(self.here())
    }
    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        Err(self.here())
    }
    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        Err(self.here())
    }
    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Err(self.here())
    }
    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        Err(self.here())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let Some((Step::Index(index), below)) = self.next() else { return Err(self.here()) };
        for _ in 0..*index {
            access.next_element::<IgnoredAny>()?;
        }
        access.next_element_seed(below)?;
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let Some((Step::Key(key), below)) = self.next() else { return Err(self.here()) };
        let stop = below.steps.is_empty() && below.spot == Spot::Key;
        while let Some(found) = access.next_key_seed(SeekKey { key, stop, seek: below })? {
            if found {
                return access.next_value_seed(below);
            }
            access.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// Whether a key is the one looked for; fails there if its own place is wanted.
struct SeekKey<'p> {
    key: &'p str,
    stop: bool,
    seek: Seek<'p>,
}

impl<'de> DeserializeSeed<'de> for SeekKey<'_> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for SeekKey<'_> {
    type Value = bool;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E: de::Error>(self, key: &str) -> Result<bool, E> {
        match key == self.key {
            true if self.stop => Err(self.seek.here()),
            found => Ok(found),
        }
    }
}
