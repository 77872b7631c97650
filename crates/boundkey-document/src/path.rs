use std::fmt;

/// A path in a document, shown as `spec.roles[1]`; the empty path is the document itself.
///
/// ```
/// use boundkey_document::Path;
/// let path = Path::root().key("metadata").key("labels").key("example.com/team");
/// assert_eq!(path.to_string(), "metadata.labels[\"example.com/team\"]");
/// assert_eq!(Path::root().key("roles").index(1).to_string(), "roles[1]");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

impl Path {
    /// The document itself.
    pub fn root() -> Self {
        Self::default()
    }
    /// The value of a key below this path.
    pub fn key(&self, key: &str) -> Self {
        self.with(Step::Key(key.to_owned()))
    }
    /// The element (from 0) of the list at this path.
    pub fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }
    /// This path with another one behind it; `first` is added to the number that the other one begins with.
    pub(crate) fn joined(&self, other: &Self, first: Option<usize>) -> Self {
        let mut steps = self.0.clone();
        steps.extend(other.0.iter().cloned());
        if let (Some(first), Some(Step::Index(index))) = (first, steps.get_mut(self.0.len())) {
            *index += first;
        }
        Self(steps)
    }
    pub(crate) fn steps(&self) -> &[Step] {
        &self.0
    }
    fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) if is_plain(key) => {
                    write!(f, "{}{key}", if position == 0 { "" } else { "." })?;
                }
                Step::Key(key) => {
                    let shown: String = key.chars().take(64).collect();
                    write!(f, "[{shown:?}{}]", if shown.len() < key.len() { "..." } else { "" })?;
                }
            }
        }
        Ok(())
    }
}

fn is_plain(key: &str) -> bool {
    (1..=64).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}
