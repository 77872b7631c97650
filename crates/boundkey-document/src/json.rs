use std::sync::Arc;

use serde::de::DeserializeSeed;

use crate::document::{Source, Spot};
use crate::path::Step;
use crate::tree::Guard;
use crate::yaml::as_text;
use crate::{Document, Place, SyntaxError, SyntaxProblem, foreign};

/// Reads one JSON document of at most `limit` bytes. Strict: duplicate keys and anything after it are refused.
///
/// # Errors
/// [`SyntaxError`], with the place where reading stopped.
pub fn parse_json(text: &[u8], limit: usize) -> Result<Document, SyntaxError> {
    let text = as_text(text, limit)?;
    let guard = Guard::for_text(text.len());
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let root = guard
        .tree()
        .deserialize(&mut deserializer)
        .and_then(|root| deserializer.end().map(|()| root))
        .map_err(|error| refusal(&error, &guard, text))?;
    Ok(Document::new(root, Source::Json { text: Arc::from(text) }))
}

fn refusal(error: &serde_json::Error, guard: &Guard, text: &str) -> SyntaxError {
    let place = Place { line: error.line().max(1), column: error.column().max(1) };
    let problem = guard.take_problem().unwrap_or_else(|| {
        if foreign::is_commented_json(text) {
            return SyntaxProblem::JsonComment;
        }
        if let Some(format) = foreign::format(text) {
            return SyntaxProblem::Foreign(format);
        }
        let message = error.to_string();
        match message.split_once(" at line ").map_or(message.as_str(), |(message, _)| message) {
            "recursion limit exceeded" => SyntaxProblem::TooDeep { allowed: crate::MAX_DEPTH },
            message => SyntaxProblem::Malformed(message.to_owned()),
        }
    });
    SyntaxError { place, problem }
}

/// The place of a path that exists, in a text known to be JSON.
pub(crate) fn locate(text: &str, steps: &[Step], spot: Spot) -> Place {
    let mut walk = Walk { text: text.as_bytes(), at: 0 };
    walk.blanks();
    let mut key_at = walk.at;
    for step in steps {
        key_at = match step {
            Step::Index(index) => walk.enter_element(*index),
            Step::Key(key) => walk.enter_key(key),
        };
    }
    Place::of_offset(text, if spot == Spot::Key { key_at } else { walk.at })
}

/// A cursor over valid JSON. On anything unexpected it stops where it is.
struct Walk<'t> {
    text: &'t [u8],
    at: usize,
}

impl Walk<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }
    fn blanks(&mut self) {
        while self.peek().is_some_and(|byte| b" \t\r\n,:".contains(&byte)) {
            self.at += 1;
        }
    }
    /// Goes to the element of the list at the cursor; gives its place.
    fn enter_element(&mut self, index: usize) -> usize {
        self.at += 1;
        for _ in 0..index {
            self.skip_value();
        }
        self.blanks();
        self.at
    }
    /// Goes to the value of a key of the mapping at the cursor; gives the key's place.
    fn enter_key(&mut self, key: &str) -> usize {
        self.at += 1;
        loop {
            self.blanks();
            let start = self.at;
            if self.peek() != Some(b'"') {
                return start;
            }
            self.skip_value();
            let found = serde_json::from_slice::<String>(&self.text[start..self.at]);
            self.blanks();
            if found.is_ok_and(|found| found == key) {
                return start;
            }
            self.skip_value();
        }
    }
    fn skip_value(&mut self) {
        self.blanks();
        let mut depth = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => self.skip_string(),
                b'[' | b'{' => {
                    depth += 1;
                    self.at += 1;
                }
                b']' | b'}' if depth == 0 => return,
                b']' | b'}' => {
                    depth -= 1;
                    self.at += 1;
                }
                b',' | b':' if depth == 0 => return,
                b' ' | b'\t' | b'\r' | b'\n' | b',' | b':' => self.at += 1,
                _ => {
                    while self.peek().is_some_and(|byte| !b" \t\r\n,:]}\"[{".contains(&byte)) {
                        self.at += 1;
                    }
                }
            }
            if depth == 0 {
                return;
            }
        }
    }
    fn skip_string(&mut self) {
        self.at += 1;
        while let Some(byte) = self.peek() {
            self.at += if byte == b'\\' { 2 } else { 1 };
            if byte == b'"' {
                return;
            }
        }
    }
}
