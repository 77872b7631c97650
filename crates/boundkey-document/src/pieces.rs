//! A file of any number of resources, cut where they begin, so that no parser sees more than a piece of it.
//!
//! A YAML file is cut at line starts: at `---` and `...`, and between the elements of a list of the document itself or of
//! its `items`. Where a text in quotes goes on at the beginning of a line with `- `, that is the wrong place; the pieces
//! are no YAML then, and the file is refused. JSON is cut by its own parser.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::document::Origin;
use crate::yaml::as_text;
use crate::{Document, MAX_YAML_BYTES, Path, Place, SyntaxError, SyntaxProblem, parse_json, parse_yaml};

/// Elements of a list are read together until they are so many bytes.
const TOGETHER: usize = 32 * 1024;

/// Calls `each` for every document of a text of at most `limit` bytes, one after the other; a long list comes in several
/// parts, each with the places and paths that it has in the whole. `each` says whether to go on.
///
/// A text of at most [`MAX_YAML_BYTES`] is read as a whole, by [`parse_json`] or [`parse_yaml`].
///
/// # Errors
/// [`SyntaxError`], with the place where reading stopped; earlier documents were handed out.
pub fn each_document(
    text: &[u8],
    limit: usize,
    each: &mut dyn FnMut(&Document) -> bool,
) -> Result<(), SyntaxError> {
    let looks_like_json = text
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(text)
        .trim_ascii_start()
        .first()
        .is_some_and(|byte| b"{[".contains(byte));
    if text.len() <= MAX_YAML_BYTES {
        let documents = match looks_like_json.then(|| parse_json(text, MAX_YAML_BYTES)) {
            Some(Ok(document)) => vec![document],
            Some(Err(_)) if is_json_stream(text) => return json(as_text(text, limit)?, each),
            // YAML's own flow style begins in the same way.
            Some(Err(error)) => parse_yaml(text).map_err(|_| error)?,
            None => parse_yaml(text)?,
        };
        let _ = documents.iter().all(each);
        return Ok(());
    }
    let text = as_text(text, limit)?;
    if looks_like_json { json(text, each) } else { yaml(text, each) }
}

/// JSON values one after the other, as `jq -c '.[]'` prints them.
fn is_json_stream(text: &[u8]) -> bool {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<serde::de::IgnoredAny>();
    values.all(|value| value.is_ok())
}

/// `kind: List`, as `kubectl get -o json` prints it.
#[derive(Deserialize)]
struct List<'t> {
    kind: &'t str,
    #[serde(borrow)]
    items: Vec<&'t RawValue>,
}

fn json(text: &str, each: &mut dyn FnMut(&Document) -> bool) -> Result<(), SyntaxError> {
    let mut walk = Walk { text, at: 0, place: Place::default() };
    for value in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
        // What is wrong with it is said by the parser that knows all the words.
        let value = value.map_err(|error| {
            parse_json(text.as_bytes(), text.len()).err().unwrap_or_else(|| SyntaxError {
                place: Place { line: error.line().max(1), column: error.column().max(1) },
                problem: SyntaxProblem::Malformed(error.to_string()),
            })
        })?;
        let (list, items) = match serde_json::from_str::<Vec<&RawValue>>(value.get()) {
            Ok(items) => (Some(Path::root()), items),
            Err(_) => match serde_json::from_str::<List<'_>>(value.get()) {
                Ok(List { kind: "List", items }) => (Some(Path::root().key("items")), items),
                _ => (None, vec![value]),
            },
        };
        for (index, item) in items.into_iter().enumerate() {
            let place = walk.to(item.get().as_ptr().addr() - text.as_ptr().addr());
            let path = list.as_ref().map_or_else(Path::root, |list| list.index(index));
            let origin = Origin { place, path, ..Origin::default() };
            let document =
                parse_json(item.get().as_bytes(), MAX_YAML_BYTES).map_err(|error| moved(error, &origin))?;
            if !each(&document.with_origin(origin)) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Counts lines once, from the beginning to the end.
struct Walk<'t> {
    text: &'t str,
    at: usize,
    place: Place,
}

impl Walk<'_> {
    fn to(&mut self, offset: usize) -> Place {
        let between = self.text.get(self.at..offset).unwrap_or_default();
        self.place = Place::of_offset(between, between.len()).after(self.place);
        self.at = offset;
        self.place
    }
}

fn moved(error: SyntaxError, origin: &Origin) -> SyntaxError {
    SyntaxError { place: origin.whole_place(error.place), ..error }
}

/// A part of a YAML text: from which line on, and what it is.
struct Piece {
    text: String,
    line: usize,
    gap: (usize, usize),
    part: Part,
}

enum Part {
    /// A document without its list.
    Document,
    /// Elements of a list from this one on; of the document itself or of its `items`.
    Elements { first: usize, of_items: bool },
}

fn yaml(text: &str, each: &mut dyn FnMut(&Document) -> bool) -> Result<(), SyntaxError> {
    let mut scan = Scan::default();
    let mut found = false;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        for piece in scan.line(number + 1, line) {
            match read(&piece, each)? {
                Some(true) => found = true,
                Some(false) => return Ok(()),
                None => {}
            }
        }
    }
    for piece in scan.end() {
        found |= read(&piece, each)?.is_some();
    }
    let nothing = SyntaxError { place: Place::default(), problem: SyntaxProblem::NoDocument };
    if found { Ok(()) } else { Err(nothing) }
}

/// None: there is nothing in it. Else what `each` said.
fn read(piece: &Piece, each: &mut dyn FnMut(&Document) -> bool) -> Result<Option<bool>, SyntaxError> {
    let (path, first) = match piece.part {
        Part::Elements { first, of_items: true } => (Path::root().key("items"), Some(first)),
        Part::Elements { first, of_items: false } => (Path::root(), Some(first)),
        Part::Document => (Path::root(), None),
    };
    let place = Place { line: piece.line, column: 1 };
    let origin = Origin { place, path, first, gap: piece.gap };
    let documents = match parse_yaml(piece.text.as_bytes()) {
        Err(SyntaxError { problem: SyntaxProblem::NoDocument, .. }) => return Ok(None),
        other => other.map_err(|error| moved(error, &origin))?,
    };
    for document in documents {
        if !each(&document.with_origin(origin.clone())) {
            return Ok(Some(false));
        }
    }
    Ok(Some(true))
}

/// Gathers lines into pieces.
#[derive(Default)]
struct Scan {
    /// The lines of the document outside its list: from where on, how many, and which are left out.
    rest: String,
    rest_line: usize,
    rest_lines: usize,
    gap: (usize, usize),
    elements: String,
    elements_line: usize,
    /// Of the list that is being read.
    list: Option<Open>,
    /// Where the last line of the document but blanks and comments was `items:`.
    items_next: bool,
    begun: bool,
}

/// A list whose elements begin at this indentation.
#[derive(Clone, Copy)]
struct Open {
    indent: usize,
    of_items: bool,
    /// The number of the first element gathered, and how many are.
    first: usize,
    count: usize,
}

impl Scan {
    fn line(&mut self, number: usize, line: &str) -> Vec<Piece> {
        let bare = line.trim_end();
        let indent = bare.len() - bare.trim_start_matches(' ').len();
        let marks =
            |mark: &str| bare == mark || bare.strip_prefix(mark).is_some_and(|rest| rest.starts_with(' '));
        if marks("---") || marks("...") {
            let pieces = self.end();
            // What stands behind the mark belongs to the document.
            self.rest(number, line);
            return pieces;
        }
        // Of a directive nothing is left once tags are refused.
        if bare.is_empty() || bare.trim_start().starts_with('#') || !self.begun && bare.starts_with('%') {
            let line = if bare.starts_with('%') { "\n" } else { line };
            self.keep(number, line);
            return Vec::new();
        }
        let element = bare[indent..].starts_with("- ") || &bare[indent..] == "-";
        match self.list {
            Some(open) if element && indent == open.indent => return self.element(number, line),
            Some(open) if indent > open.indent => {
                self.keep(number, line);
                return Vec::new();
            }
            Some(_) => {
                let piece = self.flush();
                self.list = None;
                self.rest(number, line);
                self.begun = true;
                return piece.into_iter().collect();
            }
            None => {}
        }
        if element && (self.items_next || !self.begun && indent == 0) {
            self.list = Some(Open { indent, of_items: self.items_next, first: 0, count: 0 });
            return self.element(number, line);
        }
        self.items_next = indent == 0
            && matches!(bare.split_once(':'), Some(("items", rest)) if rest.trim_start().is_empty() || rest.trim_start().starts_with('#'));
        self.begun = true;
        self.rest(number, line);
        Vec::new()
    }

    fn element(&mut self, number: usize, line: &str) -> Vec<Piece> {
        let piece = if self.elements.len() > TOGETHER { self.flush() } else { None };
        if let Some(open) = &mut self.list {
            open.count += 1;
        }
        self.keep(number, line);
        piece.into_iter().collect()
    }

    /// A line of the list that is open, else of the document.
    fn keep(&mut self, number: usize, line: &str) {
        if self.list.is_none() {
            return self.rest(number, line);
        }
        if self.elements.is_empty() {
            self.elements_line = number;
        }
        self.elements.push_str(line);
    }

    fn rest(&mut self, number: usize, line: &str) {
        if self.rest.is_empty() {
            self.rest_line = number;
        }
        let skipped = number - self.rest_line - self.rest_lines;
        if skipped > self.gap.1 {
            self.gap = (self.rest_lines, skipped);
        }
        self.rest_lines += 1;
        self.rest.push_str(line);
    }

    fn flush(&mut self) -> Option<Piece> {
        let open = self.list.as_mut().filter(|open| open.count > 0)?;
        let part = Part::Elements { first: open.first, of_items: open.of_items };
        (open.first, open.count) = (open.first + open.count, 0);
        let text = std::mem::take(&mut self.elements);
        Some(Piece { text, line: self.elements_line, gap: (0, 0), part })
    }

    /// The end of a document.
    fn end(&mut self) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = self.flush().into_iter().collect();
        let Self { rest: text, rest_line: line, gap, .. } = std::mem::take(self);
        if !text.trim().is_empty() {
            pieces.push(Piece { text, line, gap, part: Part::Document });
        }
        pieces
    }
}
