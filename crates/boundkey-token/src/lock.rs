use std::collections::BTreeMap;

use boundkey_document::{Fields, either, format_time};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::metadata::{self, Extent, Metadata};
use crate::{ResourceName, name};

/// `kind: lock` v2, set by hand. (Automatic locks carry more; they are the lifecycle's.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// `metadata.name`.
    pub name: ResourceName,
    /// `metadata.revision` as the file gave it; never stored.
    pub revision: Option<String>,
    /// `spec.target`.
    pub target: LockTarget,
    /// `spec.message`: why, for administrators; whoever is locked out is never told.
    pub message: Option<String>,
    /// `spec.public_message`: what whoever is locked out is told.
    pub public_message: Option<String>,
    /// `spec.expires`: in force until then.
    pub expires: Option<OffsetDateTime>,
}

/// `spec.target {join_token|user|server_id|bot_instance_id}`: exactly one. serde: that object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum LockTarget {
    /// Every join with this token.
    #[serde(rename = "join_token")]
    Token(String),
    /// Every instance of this bot.
    #[serde(rename = "user")]
    Bot(String),
    /// The host with this id.
    #[serde(rename = "server_id")]
    Host(String),
    /// One instance of a bot.
    #[serde(rename = "bot_instance_id")]
    BotInstance(String),
}

type MakeTarget = fn(String) -> LockTarget;
const TARGETS: [(&str, MakeTarget); 4] = [
    ("join_token", LockTarget::Token),
    ("user", LockTarget::Bot),
    ("server_id", LockTarget::Host),
    ("bot_instance_id", LockTarget::BotInstance),
];
const MAX_MESSAGE: usize = 1024;

impl Lock {
    pub(crate) fn read(top: &mut Fields<'_>) -> Option<Self> {
        let metadata = Metadata::read(top, Extent::NameOnly);
        top.missing("spec", "a mapping with target, message, public_message, expires");
        let mut spec = top.mapping("spec")?;
        let target = read_target(&mut spec);
        let [message, public_message] =
            ["message", "public_message"].map(|member| read_message(&mut spec, member));
        let expires = spec.time("expires");
        spec.finish();
        let (name, revision) = (metadata.name?, metadata.revision);
        Some(Self { name, revision, target: target?, message, public_message, expires })
    }

    /// What an administrator should know although the lock is allowed: one sentence each.
    pub fn warnings(&self, now: OffsetDateTime) -> Vec<String> {
        metadata::past("spec.expires", self.expires, now, "this lock keeps nobody out").into_iter().collect()
    }

    /// `kind`, `metadata`, `spec`, `version` as JSON: keys sorted, unset dropped.
    pub fn to_json(&self) -> Value {
        let mut spec = Map::new();
        spec.insert("target".to_owned(), json!(self.target));
        for (member, message) in [("message", &self.message), ("public_message", &self.public_message)] {
            if let Some(message) = message {
                spec.insert(member.to_owned(), json!(message));
            }
        }
        if let Some(expires) = self.expires {
            spec.insert("expires".to_owned(), json!(format_time(expires)));
        }
        metadata::print("lock", "v2", &self.name, (&BTreeMap::new(), None, self.revision.as_deref()), spec)
    }
}

fn read_message(spec: &mut Fields<'_>, member: &'static str) -> Option<String> {
    let message = spec.line(member).map(str::to_owned)?;
    if message.len() > MAX_MESSAGE {
        spec.fault(member, format!("a text of {} bytes", message.len()), format!("at most {MAX_MESSAGE}"));
    }
    Some(message)
}

fn read_target(spec: &mut Fields<'_>) -> Option<LockTarget> {
    let allowed = || format!("exactly one of {}", either(TARGETS.map(|(key, _)| key)));
    spec.missing("target", allowed());
    let mut fields = spec.mapping("target")?;
    let path = fields.path().clone();
    let set: Vec<&str> = TARGETS.iter().map(|(key, _)| *key).filter(|key| fields.is_set(key)).collect();
    let mut target = None;
    for (key, make) in TARGETS {
        target = fields
            .parsed(key, name::ALLOWED, |text| {
                text.parse::<ResourceName>().map(|name| make(String::from(name)))
            })
            .or(target);
    }
    let faults = fields.faults().clone();
    fields.finish();
    match set.as_slice() {
        [_] => target,
        [] => {
            faults.report(&path, "nothing", allowed());
            None
        }
        several => {
            faults.report(&path, several.join(" and "), allowed());
            None
        }
    }
}
