use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use time::OffsetDateTime;

use crate::words::with_suggestion;
use crate::{Faults, Item, Node, Path, nearest};

/// Reads a mapping, key by key, and reports every fault: the one way in which configs and resources are checked.
///
/// Each reader takes a key and gives `None` both for a value that is unset and for a faulty one (which it has
/// reported), so that reading goes on and all faults come out at once. Unset means: absent, `null`, or an empty text.
/// Whoever needs a value asks `required_...`, or reports with [`Fields::missing`]. [`Fields::finish`] reports the
/// keys that nobody asked for; do not return before it.
///
/// ```
/// use boundkey_document::{Faults, Fields, parse_yaml};
///
/// let text = b"
/// server: localhost:3443
/// mode: relaxd
/// ttl: 90
/// tags: [a, 2]
/// agent:
///   enabled: yes
/// ";
/// let documents = parse_yaml(text)?;
/// let faults = Faults::new(&documents[0]);
/// let mut top = Fields::root(&faults);
/// let key = top.same_key(&["server", "auth_server", "proxy_server"]);
/// assert_eq!(top.required_text(key), Some("localhost:3443"));
/// assert_eq!(top.word("mode", &[("standard", 1), ("relaxed", 2)]), None);
/// assert_eq!(top.duration("ttl"), None);
/// assert_eq!(top.texts("tags"), Some(vec!["a"]));
/// assert_eq!(top.text("data_dir"), None); // unset is no fault
/// let mut agent = top.section("agent");
/// assert_eq!(agent.boolean("enabled"), None);
/// agent.finish();
/// top.finish();
///
/// let shown: Vec<String> = faults.into_violations().iter().map(|fault| fault.to_string()).collect();
/// assert_eq!(shown, [
///     "3:7: mode: found `relaxd`; allowed: standard or relaxed (did you mean `relaxed`?)",
///     "4:6: ttl: found the number 90; allowed: a duration such as 30s, 15m, 24h or 7d",
///     "5:11: tags[1]: found the number 2; allowed: text (put it in quotes)",
///     "7:12: agent.enabled: found `yes`; allowed: true or false",
/// ]);
/// # Ok::<(), boundkey_document::SyntaxError>(())
/// ```
#[must_use = "call `finish` when every known key was read"]
pub struct Fields<'d> {
    faults: Faults<'d>,
    path: Path,
    entries: &'d [(String, Node)],
    known: Vec<&'static str>,
    /// The mapping itself was faulty: what it lacks is not reported on top.
    faulty: bool,
}

impl<'d> Fields<'d> {
    /// The document's own mapping. A document that is none is reported, and reads as an empty one.
    pub fn root(faults: &Faults<'d>) -> Self {
        Self::of(faults.clone(), Path::root(), faults.document().root())
    }

    pub(crate) fn of(faults: Faults<'d>, path: Path, node: &'d Node) -> Self {
        let (entries, faulty): (&[_], bool) = match node {
            Node::Map(entries) => (entries, false),
            _ => {
                Item::new(faults.clone(), path.clone(), node).refuse("a mapping");
                (&[], true)
            }
        };
        Self { faults, path, entries, known: Vec::new(), faulty }
    }

    fn empty(faults: Faults<'d>, path: Path, faulty: bool) -> Self {
        Self { faults, path, entries: &[], known: Vec::new(), faulty }
    }

    /// The path of this mapping.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// The collection that the faults go to.
    pub fn faults(&self) -> &Faults<'d> {
        &self.faults
    }

    /// The value of a key, if it is set; it also makes the key known.
    pub fn item(&mut self, key: &'static str) -> Option<Item<'d>> {
        self.accept(&[key]);
        match self.raw(key) {
            None | Some(Node::Null) => None,
            Some(Node::Text(text)) if text.is_empty() => None,
            Some(node) => Some(Item::new(self.faults.clone(), self.path.key(key), node)),
        }
    }
    /// Whether a key is set (present, not null, not an empty text). It does not make the key known.
    pub fn is_set(&self, key: &str) -> bool {
        !matches!(self.raw(key), None | Some(Node::Null))
            && !matches!(self.raw(key), Some(Node::Text(text)) if text.is_empty())
    }
    /// Makes keys known without looking at their values.
    pub fn accept(&mut self, keys: &[&'static str]) {
        for key in keys {
            if !self.known.contains(key) {
                self.known.push(key);
            }
        }
    }
    /// For one key that has several names: the name that is set, else the first. Two that are set are a fault.
    pub fn same_key(&mut self, names: &'static [&'static str]) -> &'static str {
        self.accept(names);
        let mut set = names.iter().copied().filter(|name| self.is_set(name));
        let chosen = set.next().unwrap_or(names[0]);
        for surplus in set {
            let found = format!("a second name of `{chosen}`, which is set too");
            self.faults.report_key(&self.path.key(surplus), found, "one of the two");
        }
        chosen
    }

    /// Reports a fault of a key's value. `found` must not hold a secret.
    pub fn fault(&self, key: &str, found: impl Into<String>, allowed: impl Into<String>) {
        self.faults.report(&self.path.key(key), found, allowed);
    }
    /// Reports that a key must be set (not if this mapping itself was faulty, nor if the key is set but faulty).
    pub fn missing(&self, key: &str, allowed: impl Into<String>) {
        if !self.faulty && !self.is_set(key) {
            self.fault(key, "nothing", allowed);
        }
    }

    /// Text; an empty one is unset.
    pub fn text(&mut self, key: &'static str) -> Option<&'d str> {
        self.item(key)?.text()
    }
    /// Text of one line, without control characters; an empty one is unset.
    pub fn line(&mut self, key: &'static str) -> Option<&'d str> {
        self.item(key)?.line()
    }
    /// The path of a file or directory, as it stands: a leading `~` and variables are refused, for nobody replaces them.
    pub fn file_path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.item(key)?.file_path()
    }
    /// Text that must be set.
    pub fn required_text(&mut self, key: &'static str) -> Option<&'d str> {
        let text = self.text(key);
        self.missing(key, "text");
        text
    }
    /// Text that no report ever repeats; an empty one is unset.
    pub fn secret(&mut self, key: &'static str) -> Option<&'d str> {
        self.item(key)?.secret()
    }
    /// `true` or `false`.
    pub fn boolean(&mut self, key: &'static str) -> Option<bool> {
        self.item(key)?.boolean()
    }
    /// A whole number within a range.
    pub fn integer<T>(&mut self, key: &'static str, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i128> + Into<i128> + Copy,
    {
        self.item(key)?.integer(range)
    }
    /// Any duration such as `30s`, `15m`, `24h` or `7d`.
    pub fn duration(&mut self, key: &'static str) -> Option<Duration> {
        self.duration_in(key, Duration::ZERO..=Duration::MAX)
    }
    /// A duration within a range.
    pub fn duration_in(&mut self, key: &'static str, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.item(key)?.duration(range)
    }
    /// An RFC 3339 time, given as UTC.
    pub fn time(&mut self, key: &'static str) -> Option<OffsetDateTime> {
        self.item(key)?.time()
    }
    /// One of some known words, written exactly so; a near miss is suggested.
    pub fn word<T: Copy>(&mut self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        self.item(key)?.word(words)
    }
    /// Text as a checked type; what does not parse is shown, with what is allowed.
    pub fn parsed<T, E>(
        &mut self,
        key: &'static str,
        allowed: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        self.item(key)?.parsed(allowed, parse)
    }
    /// A list: its elements.
    pub fn list(&mut self, key: &'static str) -> Option<Vec<Item<'d>>> {
        self.item(key)?.list()
    }
    /// A list of texts, faulty elements left out.
    pub fn texts(&mut self, key: &'static str) -> Option<Vec<&'d str>> {
        Some(self.list(key)?.iter().filter_map(Item::text).collect())
    }
    /// A mapping of any keys to texts of one line (labels).
    pub fn text_map(&mut self, key: &'static str) -> Option<BTreeMap<String, String>> {
        self.item(key)?.text_map()
    }
    /// A mapping, if it is set.
    pub fn mapping(&mut self, key: &'static str) -> Option<Fields<'d>> {
        self.item(key)?.mapping()
    }
    /// A mapping that reads as an empty one if it is unset or faulty: for sections whose keys all have defaults, or
    /// are reported one by one when missing.
    pub fn section(&mut self, key: &'static str) -> Fields<'d> {
        match self.item(key) {
            None => Fields::empty(self.faults.clone(), self.path.key(key), self.faulty),
            Some(item) => {
                item.mapping().unwrap_or_else(|| Fields::empty(self.faults.clone(), self.path.key(key), true))
            }
        }
    }

    /// Reports every key that was not asked for, with the nearest known one.
    pub fn finish(self) {
        for (key, _) in self.entries {
            if self.known.contains(&key.as_str()) {
                continue;
            }
            let allowed = match self.known.len() {
                0 => "none".to_owned(),
                1..=16 => self.known.join(", "),
                _ => "a known field".to_owned(),
            };
            let suggestion = nearest(key, self.known.iter().copied());
            self.faults.report_key(
                &self.path.key(key),
                "an unknown field",
                with_suggestion(allowed, suggestion),
            );
        }
    }

    fn raw(&self, key: &str) -> Option<&'d Node> {
        self.entries.iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }
}

impl fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fields({})", self.path)
    }
}
