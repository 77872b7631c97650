use crate::Place;

/// Why a text is no document, and where. Shown as `line 3, column 5: ...`; it never repeats a value of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {}, column {}: {problem}", place.line, place.column)]
pub struct SyntaxError {
    /// Where reading stopped.
    pub place: Place,
    /// What is wrong there.
    pub problem: SyntaxProblem,
}

impl SyntaxError {
    /// The error with the file's name in front: `token.yaml: line 3, column 5: ...`.
    pub fn in_source(&self, source: &str) -> String {
        format!("{source}: {self}")
    }
}

/// What is wrong with a text. All of these are for its author to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxProblem {
    /// Longer than the limit.
    #[error("the text goes on after {allowed} bytes (it has {found}); allowed: {allowed}")]
    TooLarge {
        /// The text's length in bytes.
        found: usize,
        /// The limit in bytes.
        allowed: usize,
    },
    /// Not UTF-8.
    #[error("a byte that is not UTF-8; allowed: UTF-8 text")]
    NotUtf8,
    /// UTF-16, as some editors and shells write files.
    #[error("UTF-16 text; allowed: UTF-8 (save the file in that encoding)")]
    Utf16,
    /// Another format.
    #[error("this looks like {0}; allowed: YAML or JSON")]
    Foreign(&'static str),
    /// A comment in JSON.
    #[error("a comment in JSON, which has none; in YAML comments start with `#`")]
    JsonComment,
    /// A control character other than tab and line break.
    #[error("the control character U+{:04X}; allowed: text without control characters", *.0 as u32)]
    ControlCharacter(char),
    /// Nothing but blanks, comments and document marks.
    #[error("no document: the text is empty or holds only comments")]
    NoDocument,
    /// The same key twice in one mapping.
    #[error("the key {} stands twice in the same mapping", crate::quoted(.0))]
    DuplicateKey(String),
    /// A key that is a number, a list, ...
    #[error("a key that is {found}; allowed: text (put it in quotes)")]
    KeyNotText {
        /// What it is.
        found: &'static str,
    },
    /// `<<`.
    #[error("a merge key (`<<`); allowed: keys written out")]
    MergeKey,
    /// `!something`.
    #[error("a tag (`!...`); allowed: plain values without tags")]
    Tag,
    /// Nested too deeply.
    #[error("lists and mappings nested too deeply; allowed: {allowed} levels")]
    TooDeep {
        /// The limit.
        allowed: usize,
    },
    /// More brackets than the scanner can take in reasonable time.
    #[error("more than {allowed} opening brackets; allowed: block style, or JSON")]
    TooManyBrackets {
        /// The limit.
        allowed: usize,
    },
    /// A text longer than the limit.
    #[error("a text of {found} bytes; allowed: {allowed}")]
    TextTooLong {
        /// Its length in bytes.
        found: usize,
        /// The limit in bytes.
        allowed: usize,
    },
    /// Aliases that expand to too much.
    #[error("aliases that expand to too much; allowed: values written out")]
    Expansion,
    /// What the YAML or JSON parser says.
    #[error("{0}")]
    Malformed(String),
}
