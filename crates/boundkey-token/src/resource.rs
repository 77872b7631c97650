use std::collections::HashSet;

use boundkey_document::{
    Document, Faults, Fields, Item, MAX_VIOLATIONS, MAX_YAML_BYTES, Node, Path, SyntaxError, Violation,
    either, nearest, parse_json, parse_yaml, quoted,
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

/// Reads a file as an administrator writes it: YAML or JSON of at most 256 KiB, several documents, lists of resources,
/// also the guide's Kubernetes manifest.
///
/// # Errors
/// [`ResourceError`]: the first fault of syntax, or all violations. Two resources of one kind and name are one.
pub fn read_resources(text: &[u8]) -> Result<Vec<Resource>, ResourceError> {
    let looks_like_json = text.trim_ascii_start().first().is_some_and(|byte| b"{[".contains(byte));
    let documents = match looks_like_json.then(|| parse_json(text, MAX_YAML_BYTES)) {
        Some(Ok(document)) => vec![document],
        // YAML's own flow style begins in the same way.
        Some(Err(error)) => parse_yaml(text).map_err(|_| error)?,
        None => parse_yaml(text)?,
    };
    let (mut resources, mut violations) = (Vec::new(), Vec::new());
    let mut names = HashSet::new();
    for document in &documents {
        let faults = Faults::new(document);
        resources.extend(read_document(&faults, &mut names));
        violations.extend(faults.into_violations());
        if violations.len() >= MAX_VIOLATIONS {
            violations.truncate(MAX_VIOLATIONS);
            break;
        }
    }
    if violations.is_empty() { Ok(resources) } else { Err(ResourceError::Violations(violations)) }
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
    let resources = read_document(&faults, &mut HashSet::new());
    faults.finish(Some(resources))
}

fn read_document(faults: &Faults<'_>, names: &mut HashSet<(&'static str, String)>) -> Vec<Resource> {
    let root = Item::root(faults);
    let mut resources = Vec::new();
    let items = match root.node() {
        Node::List(_) => root.list().unwrap_or_default(),
        _ => vec![root],
    };
    for item in items {
        let Some(mut top) = item.mapping() else { continue };
        let resource = read(&mut top);
        top.finish();
        let Some(resource) = resource else { continue };
        if !names.insert((resource.kind(), resource.name().to_owned())) {
            let path: Path = item.path().key("metadata").key("name");
            let found =
                format!("{}, which another {} of this file has", quoted(resource.name()), resource.kind());
            faults.report(&path, found, "each resource once");
        }
        resources.push(resource);
    }
    resources
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
