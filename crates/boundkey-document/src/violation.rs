use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use crate::document::Spot;
use crate::{Document, MAX_VIOLATIONS, Path, Place};

/// A fault: where, what was found, and what is allowed (with the nearest known word if there is one).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The document in its file, from 0.
    pub document: usize,
    /// The field's path, as `spec.roles[1]`; empty for the document itself.
    pub path: String,
    /// Where it stands.
    pub place: Place,
    /// What was found; never a secret.
    pub found: String,
    /// What is allowed.
    pub allowed: String,
}

impl Violation {
    /// Shown with the name of its file: `token.yaml:7:11: spec.roles[0]: found `Nod`; allowed: ...`.
    pub fn in_source<'a>(&'a self, source: &'a str) -> ViolationIn<'a> {
        ViolationIn { violation: self, source }
    }
}

/// `LINE:COLUMN: PATH: found ...; allowed: ...`.
impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.place.line, self.place.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "found {}; allowed: {}", self.found, self.allowed)
    }
}

/// A violation with the name of its file in front; made by [`Violation::in_source`].
#[derive(Debug, Clone, Copy)]
pub struct ViolationIn<'a> {
    violation: &'a Violation,
    source: &'a str,
}

impl fmt::Display for ViolationIn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.violation)
    }
}

/// Collects the faults of one document; shared by all the readers of it.
///
/// Clones are the same collection.
#[derive(Clone)]
pub struct Faults<'d> {
    document: &'d Document,
    found: Rc<RefCell<Vec<Pending>>>,
    more: Rc<Cell<usize>>,
}

struct Pending {
    path: Path,
    spot: Spot,
    found: String,
    allowed: String,
}

impl<'d> Faults<'d> {
    /// None yet.
    pub fn new(document: &'d Document) -> Self {
        Self { document, found: Rc::default(), more: Rc::default() }
    }

    /// The document that is being read.
    pub fn document(&self) -> &'d Document {
        self.document
    }

    /// Whether the document is good so far.
    pub fn is_empty(&self) -> bool {
        self.found.borrow().is_empty()
    }

    /// Reports a fault at the value of a path (at the key that should hold it, if it is missing).
    /// `found` must not hold a secret.
    pub fn report(&self, path: &Path, found: impl Into<String>, allowed: impl Into<String>) {
        self.push(path, Spot::Value, found.into(), allowed.into());
    }

    /// Reports a fault at the key of a path.
    pub fn report_key(&self, path: &Path, found: impl Into<String>, allowed: impl Into<String>) {
        self.push(path, Spot::Key, found.into(), allowed.into());
    }

    /// The value if nothing was reported; else every violation (50 at most), in the order of the text.
    ///
    /// # Errors
    /// The violations. A value that is absent although nothing was reported is reported as such.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Vec<Violation>> {
        match value {
            Some(value) if self.is_empty() => Ok(value),
            None if self.is_empty() => {
                self.report(&Path::root(), "nothing usable", "a complete document");
                Err(self.into_violations())
            }
            _ => Err(self.into_violations()),
        }
    }

    /// Every violation reported (50 at most), in the order of the text.
    pub fn into_violations(self) -> Vec<Violation> {
        let document = self.document.index();
        let mut violations: Vec<Violation> = self
            .found
            .take()
            .into_iter()
            .map(|pending| Violation {
                document,
                place: match pending.spot {
                    Spot::Value => self.document.place(&pending.path),
                    Spot::Key => self.document.place_of_key(&pending.path),
                },
                path: self.document.whole_path(&pending.path).to_string(),
                found: pending.found,
                allowed: pending.allowed,
            })
            .collect();
        violations.sort_by_key(|violation| violation.place);
        violations
    }

    fn push(&self, path: &Path, spot: Spot, found: String, allowed: String) {
        let mut list = self.found.borrow_mut();
        if list.len() < MAX_VIOLATIONS {
            list.push(Pending { path: path.clone(), spot, found, allowed });
        } else {
            self.more.set(self.more.get() + 1);
        }
    }
}

impl fmt::Debug for Faults<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faults({})", self.found.borrow().len() + self.more.get())
    }
}
