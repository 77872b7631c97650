use std::collections::HashSet;

use boundkey_document::{
    Document, Faults, Fields, Item, MAX_VIOLATIONS, MAX_YAML_BYTES, Node, Path, SyntaxError, Violation,
    each_document, either, nearest, parse_json, quoted,
};
use serde_json::Value;
use time::OffsetDateTime;

use crate::metadata::Extent;
use crate::{Bot, Lock, Token};

/// One resource of a file.
#[expect(clippy::large_enum_variant, reason = "nearly every resource is a token, the largest of them")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// `kind: token`.
    Token(Token),
    /// `kind: bot`.
    Bot(Bot),
    /// `kind: lock`.
    Lock(Lock),
}

impl Resource {
    /// `token`, `bot` or `lock`.
    pub fn kind(&self) -> &'static str {
        match self {
            Resource::Token(_) => "token",
            Resource::Bot(_) => "bot",
            Resource::Lock(_) => "lock",
        }
    }
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Resource::Token(token) => token.name.as_str(),
            Resource::Bot(bot) => bot.name.as_str(),
            Resource::Lock(lock) => lock.name.as_str(),
        }
    }
    /// What an administrator should know although the resource is allowed: one sentence each. `now`: some times are past.
    pub fn warnings(&self, now: OffsetDateTime) -> Vec<String> {
        match self {
            Resource::Token(token) => token.warnings(now),
            Resource::Bot(bot) => bot.warnings(now),
            Resource::Lock(lock) => lock.warnings(now),
        }
    }
    /// As JSON: keys sorted, unset dropped, defaults in force shown. A token's secret only if asked.
    pub fn to_json(&self, with_secrets: bool) -> Value {
        match self {
            Resource::Token(token) => token.to_json(with_secrets),
            Resource::Bot(bot) => bot.to_json(),
            Resource::Lock(lock) => lock.to_json(),
        }
    }
}

/// Why a file of resources is refused: its syntax, or every violation in it. Its author mends it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// Not YAML or JSON.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// What is wrong with the resources, in the order of the text; 50 at most.
    #[error("{}", shown(.0))]
    Violations(Vec<Violation>),
}

impl ResourceError {
    /// One line for each fault, with the file's name in front.
    pub fn lines(&self, source: &str) -> Vec<String> {
        match self {
            ResourceError::Syntax(error) => vec![error.in_source(source)],
            ResourceError::Violations(list) => {
                list.iter().map(|violation| violation.in_source(source).to_string()).collect()
            }
        }
    }
}

fn shown(violations: &[Violation]) -> String {
    violations.iter().map(Violation::to_string).collect::<Vec<_>>().join("\n")
}

/// Reads a file as an administrator writes it: YAML or JSON of at most [`MAX_RESOURCE_FILE`] bytes, several documents, lists
/// of resources and `kind: List`, also the guide's Kubernetes manifest.
///
/// All of it is held in memory; for a long file see [`ResourceFile`].
///
/// # Errors
/// [`ResourceError`]: the first fault of syntax, or all violations. Two resources of one kind and name are one.
pub fn read_resources(text: &[u8]) -> Result<Vec<Resource>, ResourceError> {
    let mut resources = Vec::new();
    Reader::default().each(text, &mut |resource| resources.push(resource))?;
    Ok(resources)
}

/// The largest file of resources: some 300,000 tokens.
pub const MAX_RESOURCE_FILE: usize = 128 * 1024 * 1024;

/// A file of any number of resources: checked as a whole, then read page by page, so that besides its text no more than a
/// page is in memory.
///
/// ```
/// use boundkey_token::ResourceFile;
///
/// let file = ResourceFile::check(b"kind: List\nitems:\n- {kind: bot, version: v1, metadata: {name: ci}, spec: {}}\n".to_vec())?;
/// assert_eq!(file.len(), 1);
/// let mut names = Vec::new();
/// let done: Result<(), ()> = file.pages(100, |page| {
///     names.extend(page.iter().map(|resource| resource.name().to_owned()));
///     Ok(())
/// });
/// assert_eq!((done, names), (Ok(()), vec!["ci".to_owned()]));
/// # Ok::<(), boundkey_token::ResourceError>(())
/// ```
pub struct ResourceFile {
    text: Vec<u8>,
    resources: usize,
    bots: usize,
    with_status: usize,
}

impl ResourceFile {
    /// Checks every resource of the file.
    ///
    /// # Errors
    /// As [`read_resources`].
    pub fn check(text: Vec<u8>) -> Result<Self, ResourceError> {
        let mut reader = Reader::default();
        let (mut resources, mut bots) = (0, 0);
        reader.each(&text, &mut |resource| {
            resources += 1;
            bots += usize::from(matches!(resource, Resource::Bot(_)));
        })?;
        Ok(Self { resources, bots, with_status: reader.with_status, text })
    }

    /// How many resources there are.
    pub fn len(&self) -> usize {
        self.resources
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.resources == 0
    }

    /// What an administrator should know of the file as a whole.
    pub fn warnings(&self) -> Vec<String> {
        match self.with_status {
            0 => Vec::new(),
            1 => vec!["`status` of one resource is left out: it is the server's to tell".to_owned()],
            many => vec![format!("`status` of {many} resources is left out: it is the server's to tell")],
        }
    }

    /// Hands out the resources, at most so many at a time, in the order of the file; of a file of several pages the bots come
    /// first, since a token may name one.
    ///
    /// # Errors
    /// The first that `each` gives; then no more is read.
    pub fn pages<E>(
        &self,
        most: usize,
        mut each: impl FnMut(Vec<Resource>) -> Result<(), E>,
    ) -> Result<(), E> {
        let sweeps: &[Option<bool>] =
            if self.resources > most && self.bots > 0 { &[Some(true), Some(false)] } else { &[None] };
        for bots in sweeps {
            let mut page = Vec::new();
            let mut failed = None;
            // Checked before: no fault is left.
            let _ = Reader::default().each(&self.text, &mut |resource| {
                if failed.is_some() || bots.is_some_and(|bots| bots != matches!(resource, Resource::Bot(_))) {
                    return;
                }
                page.push(resource);
                if page.len() >= most.max(1) {
                    failed = each(std::mem::take(&mut page)).err();
                }
            });
            match failed {
                Some(error) => return Err(error),
                None if page.is_empty() => {}
                None => each(page)?,
            }
        }
        Ok(())
    }
}

/// What is known of a file while it is read.
#[derive(Default)]
struct Reader {
    names: HashSet<(&'static str, String)>,
    with_status: usize,
}

impl Reader {
    fn each(&mut self, text: &[u8], take: &mut dyn FnMut(Resource)) -> Result<(), ResourceError> {
        let mut violations = Vec::new();
        each_document(text, MAX_RESOURCE_FILE, &mut |document| {
            let faults = Faults::new(document);
            let resources = self.document(&faults);
            violations.extend(faults.into_violations());
            if violations.is_empty() {
                resources.into_iter().for_each(&mut *take);
            }
            violations.len() < MAX_VIOLATIONS
        })?;
        violations.truncate(MAX_VIOLATIONS);
        if violations.is_empty() { Ok(()) } else { Err(ResourceError::Violations(violations)) }
    }

    fn document(&mut self, faults: &Faults<'_>) -> Vec<Resource> {
        let root = Item::root(faults);
        let mut resources = Vec::new();
        for item in elements(root) {
            let Some(mut top) = item.mapping() else { continue };
            self.with_status += usize::from(top.is_set("status"));
            let resource = read(&mut top);
            top.finish();
            let Some(resource) = resource else { continue };
            if !self.names.insert((resource.kind(), resource.name().to_owned())) {
                let path: Path = item.path().key("metadata").key("name");
                let found = format!(
                    "{}, which another {} of this file has",
                    quoted(resource.name()),
                    resource.kind()
                );
                faults.report(&path, found, "each resource once");
            }
            resources.push(resource);
        }
        resources
    }
}

/// The resources of a document: it is one itself, a list of them, or `kind: List`.
fn elements(root: Item<'_>) -> Vec<Item<'_>> {
    match root.node() {
        Node::List(_) => root.list().unwrap_or_default(),
        Node::Map(entries)
            if entries
                .iter()
                .any(|(key, value)| key == "kind" && *value == Node::Text("List".to_owned())) =>
        {
            let Some(mut top) = root.mapping() else { return Vec::new() };
            top.accept(&["kind", "apiVersion", "version", "metadata"]);
            let items = top.list("items").unwrap_or_default();
            top.missing("items", "a list of resources");
            top.finish();
            items
        }
        _ => vec![root],
    }
}

/// Reads one resource as JSON.
///
/// # Errors
/// [`ResourceError`]: the first fault of syntax, or all violations.
pub fn read_resource_json(text: &[u8]) -> Result<Resource, ResourceError> {
    check_resource(&parse_json(text, MAX_YAML_BYTES)?).map_err(ResourceError::Violations)
}

/// Checks a document that holds one resource.
///
/// # Errors
/// Every violation.
pub fn check_resource(document: &Document) -> Result<Resource, Vec<Violation>> {
    let faults = Faults::new(document);
    let mut top = Fields::root(&faults);
    let resource = read(&mut top);
    top.finish();
    faults.finish(resource)
}

/// Checks a document that holds one resource or a list of them.
///
/// # Errors
/// Every violation.
pub fn check_resources(document: &Document) -> Result<Vec<Resource>, Vec<Violation>> {
    let faults = Faults::new(document);
    let resources = Reader::default().document(&faults);
    faults.finish(Some(resources))
}

#[derive(Clone, Copy)]
enum Kind {
    Token,
    KubernetesToken,
    Bot,
    Lock,
}

const KINDS: [(&str, Kind); 4] = [
    ("token", Kind::Token),
    ("bot", Kind::Bot),
    ("lock", Kind::Lock),
    ("TeleportProvisionToken", Kind::KubernetesToken),
];

fn read(top: &mut Fields<'_>) -> Option<Resource> {
    let Some(kind) = read_kind(top) else {
        // What the rest should look like is unknown.
        top.accept(&["version", "apiVersion", "metadata", "spec", "status"]);
        return None;
    };
    let (key, version) = match kind {
        Kind::Token | Kind::Lock => ("version", "v2"),
        Kind::Bot => ("version", "v1"),
        Kind::KubernetesToken => ("apiVersion", "resources.teleport.dev/v2"),
    };
    let _ = top.word(key, &[(version, ())]);
    top.missing(key, version);
    let resource = match kind {
        Kind::Token => Token::read(top, Extent::Full).map(Resource::Token),
        Kind::KubernetesToken => Token::read(top, Extent::Kubernetes).map(Resource::Token),
        Kind::Bot => Bot::read(top).map(Resource::Bot),
        Kind::Lock => Lock::read(top).map(Resource::Lock),
    };
    top.accept(&["status"]);
    resource
}

fn read_kind(top: &mut Fields<'_>) -> Option<Kind> {
    let shown = || either(["token", "bot", "lock"]);
    top.missing("kind", shown());
    let item = top.item("kind")?;
    let Node::Text(text) = item.node() else {
        item.refuse(shown());
        return None;
    };
    let known = KINDS.iter().find(|(word, _)| *word == text).map(|(_, kind)| *kind);
    if known.is_none() {
        let suggestion = nearest(text, KINDS.iter().map(|(word, _)| *word))
            .map(|word| format!(" (did you mean `{word}`?)"))
            .unwrap_or_default();
        item.refuse(format!("{}{suggestion}", shown()));
    }
    known
}
