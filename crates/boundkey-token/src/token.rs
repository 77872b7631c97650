use std::collections::BTreeMap;

use boundkey_document::{Fields, Node, either, format_time, quoted};
use boundkey_keys::{PublicKey, Secret};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::metadata::{self, Extent, Metadata};
use crate::{CertificateNames, ResourceName, Role, RoleSet, onboarding};

/// `kind: token` v2, checked. Empty strings were read as unset; defaults are in force (limit 1, mode standard).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// `metadata.name`.
    pub name: ResourceName,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.expires`: from then on the token admits nobody, renewals included.
    pub expires: Option<OffsetDateTime>,
    /// `metadata.revision` as the file gave it (an opaque string); never stored.
    pub revision: Option<String>,
    /// `spec`.
    pub spec: TokenSpec,
}

/// `spec` of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenSpec {
    /// `roles`: at least one; Bot only alone.
    pub roles: RoleSet,
    /// `join_method`.
    pub join_method: JoinMethod,
    /// `bot_name`: set exactly if the role is Bot.
    pub bot_name: Option<ResourceName>,
    /// `bound_keypair`.
    pub bound_keypair: BoundKeypairSpec,
    /// `certificates`: the names that may be asked for.
    pub certificates: CertificateNames,
}

/// How a machine proves itself. There is one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinMethod {
    /// `bound_keypair`.
    BoundKeypair,
}

/// `spec.bound_keypair`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BoundKeypairSpec {
    /// `onboarding`: the first join.
    pub onboarding: Onboarding,
    /// `recovery`: joins after the certificates have expired.
    pub recovery: Recovery,
    /// `rotate_after`: from then on the next join must bring a new key.
    pub rotate_after: Option<OffsetDateTime>,
}

/// `spec.bound_keypair.onboarding`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Onboarding {
    /// `initial_public_key`: the key that may join first; wins over a secret.
    pub initial_public_key: Option<PublicKey>,
    /// `registration_secret`: admits the first join once; at least 8 characters.
    pub registration_secret: Option<SpecSecret>,
    /// `must_register_before`: the secret's deadline.
    pub must_register_before: Option<OffsetDateTime>,
}

/// A spec's secret. Unlike [`Secret`] it can be cloned, since it travels with its spec; `Debug` never shows it.
#[derive(Debug, PartialEq, Eq)]
pub struct SpecSecret(pub Secret);

impl Clone for SpecSecret {
    fn clone(&self) -> Self {
        Self(self.0.duplicate())
    }
}

/// `spec.bound_keypair.recovery`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// `limit`: a lifetime total that counts the registration; at least 1, by default 1.
    pub limit: u32,
    /// `mode`, by default standard.
    pub mode: RecoveryMode,
}

impl Default for Recovery {
    fn default() -> Self {
        Self { limit: 1, mode: RecoveryMode::Standard }
    }
}

/// What a recovery must satisfy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecoveryMode {
    /// Limit and join state.
    Standard,
    /// Join state only.
    Relaxed,
    /// Neither.
    Insecure,
}

impl RecoveryMode {
    /// The word that a token uses.
    pub fn as_str(self) -> &'static str {
        match self {
            RecoveryMode::Standard => "standard",
            RecoveryMode::Relaxed => "relaxed",
            RecoveryMode::Insecure => "insecure",
        }
    }
}

impl std::fmt::Display for RecoveryMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

const JOIN_METHODS: &[(&str, JoinMethod)] = &[("bound_keypair", JoinMethod::BoundKeypair)];
const MODES: &[(&str, RecoveryMode)] = &[
    ("standard", RecoveryMode::Standard),
    ("relaxed", RecoveryMode::Relaxed),
    ("insecure", RecoveryMode::Insecure),
];

impl Token {
    /// Its registration secret was chosen by somebody: to hold it costs a server a good tenth of a second.
    pub fn has_chosen_secret(&self) -> bool {
        let secret = self.spec.bound_keypair.onboarding.registration_secret.as_ref();
        secret.is_some_and(|secret| !secret.0.is_generated_form())
    }

    pub(crate) fn read(top: &mut Fields<'_>, extent: Extent) -> Option<Self> {
        let metadata = Metadata::read(top, extent);
        top.missing("spec", "a mapping with roles, join_method, ...");
        let spec = top.mapping("spec").and_then(|mut fields| {
            let spec = read_spec(&mut fields);
            fields.finish();
            spec
        });
        Some(Self {
            name: metadata.name?,
            labels: metadata.labels,
            expires: metadata.expires,
            revision: metadata.revision,
            spec: spec?,
        })
    }

    /// What an administrator should know although the token is allowed: one sentence each.
    pub fn warnings(&self, now: OffsetDateTime) -> Vec<String> {
        let mut warnings = onboarding::warnings(&self.spec.bound_keypair.onboarding, now);
        let past = metadata::past("metadata.expires", self.expires, now, "this token admits nobody");
        if let (Some(expires), None) = (self.expires, &past) {
            warnings.push(format!(
                "metadata.expires ends renewals too: from {} on this token admits nobody, and a machine that joined \
                 with it is cut off when its certificates expire",
                format_time(expires)
            ));
        }
        warnings.extend(past);
        warnings.extend(self.spec.certificates.warnings(&self.name, self.spec.bot_name.is_some()));
        if self.spec.bound_keypair.recovery.mode == RecoveryMode::Insecure {
            warnings.push(
                "spec.bound_keypair.recovery.mode insecure lets every holder of the key join, copies included"
                    .to_owned(),
            );
            if self.spec.bound_keypair.rotate_after.is_some() {
                warnings.push(
                    "spec.bound_keypair.rotate_after has no effect in mode insecure: it is only reported as overdue"
                        .to_owned(),
                );
            }
        }
        warnings
    }

    /// `kind`, `metadata`, `spec`, `version` as JSON: keys sorted, unset dropped, defaults in force shown. The secret
    /// only if asked.
    pub fn to_json(&self, with_secrets: bool) -> Value {
        let TokenSpec { roles, join_method: JoinMethod::BoundKeypair, bot_name, bound_keypair, certificates } =
            &self.spec;
        let mut spec = Map::new();
        spec.insert("roles".to_owned(), json!(roles));
        spec.insert("join_method".to_owned(), json!("bound_keypair"));
        if let Some(bot_name) = bot_name {
            spec.insert("bot_name".to_owned(), json!(bot_name));
        }
        spec.insert("bound_keypair".to_owned(), bound_keypair.to_json(with_secrets));
        let certificates = certificates.to_json();
        if !certificates.is_empty() {
            spec.insert("certificates".to_owned(), Value::Object(certificates));
        }
        let metadata = (&self.labels, self.expires, self.revision.as_deref());
        metadata::print("token", "v2", &self.name, metadata, spec)
    }
}

impl BoundKeypairSpec {
    fn to_json(&self, with_secrets: bool) -> Value {
        let mut onboarding = Map::new();
        if let Some(key) = &self.onboarding.initial_public_key {
            onboarding.insert("initial_public_key".to_owned(), json!(key.to_openssh()));
        }
        if let (true, Some(secret)) = (with_secrets, &self.onboarding.registration_secret) {
            onboarding.insert("registration_secret".to_owned(), json!(secret.0.expose()));
        }
        if let Some(deadline) = self.onboarding.must_register_before {
            onboarding.insert("must_register_before".to_owned(), json!(format_time(deadline)));
        }
        let Recovery { limit, mode } = self.recovery;
        let mut keypair = Map::new();
        keypair.insert("onboarding".to_owned(), Value::Object(onboarding));
        keypair.insert("recovery".to_owned(), json!({"limit": limit, "mode": mode.as_str()}));
        if let Some(after) = self.rotate_after {
            keypair.insert("rotate_after".to_owned(), json!(format_time(after)));
        }
        Value::Object(keypair)
    }
}

fn read_spec(fields: &mut Fields<'_>) -> Option<TokenSpec> {
    let roles = read_roles(fields);
    let bot_name = read_bot_name(fields, roles.as_ref());
    let join_method = fields.word("join_method", JOIN_METHODS);
    fields.missing("join_method", "bound_keypair");
    let mut keypair = fields.section("bound_keypair");
    let bound_keypair = BoundKeypairSpec {
        onboarding: onboarding::read(&mut keypair),
        recovery: read_recovery(&mut keypair),
        rotate_after: keypair.time("rotate_after"),
    };
    keypair.finish();
    let certificates = CertificateNames::read(fields);
    Some(TokenSpec { roles: roles?, join_method: join_method?, bot_name, bound_keypair, certificates })
}

/// Checks the roles against each other too: a bot is nothing else besides.
fn read_roles(fields: &mut Fields<'_>) -> Option<RoleSet> {
    let allowed = || format!("a list of {}", either(Role::ALL.into_iter().map(Role::as_str)));
    fields.missing("roles", allowed());
    let item = fields.item("roles")?;
    if !matches!(item.node(), Node::List(_)) {
        item.refuse(format!("{}, such as [Node]", allowed()));
        return None;
    }
    let items = item.list()?;
    let complete = items.len();
    let roles: Vec<Role> = items
        .iter()
        .filter_map(|item| {
            item.text()?.parse().map_err(|unknown: crate::UnknownRole| item.refuse(unknown.allowed())).ok()
        })
        .collect();
    if matches!(item.node(), Node::List(nodes) if nodes.is_empty()) {
        item.fault("an empty list", allowed());
        return None;
    }
    let all_known = roles.len() == complete;
    let roles = RoleSet::new(roles);
    if roles.is_bot() && roles.iter().count() > 1 {
        item.fault(format!("Bot together with other roles ({roles})"), "Bot alone, or roles without Bot");
        return None;
    }
    all_known.then_some(roles)
}

/// A bot's token names its bot, any other none. Not judged where the roles themselves are faulty.
fn read_bot_name(fields: &mut Fields<'_>, roles: Option<&RoleSet>) -> Option<ResourceName> {
    let name = metadata::name(fields, "bot_name");
    match roles {
        Some(roles) if roles.is_bot() => {
            fields.missing("bot_name", "the bot's name, because spec.roles is [Bot]");
            name
        }
        Some(_) => {
            if let Some(name) = name {
                fields.fault("bot_name", quoted(name.as_str()), "nothing, unless spec.roles is [Bot]");
            }
            None
        }
        None => None,
    }
}

fn read_recovery(keypair: &mut Fields<'_>) -> Recovery {
    let mut fields = keypair.section("recovery");
    let default = Recovery::default();
    let recovery = Recovery {
        limit: fields.integer("limit", 1..=u32::MAX).unwrap_or(default.limit),
        mode: fields.word("mode", MODES).unwrap_or(default.mode),
    };
    fields.finish();
    recovery
}
