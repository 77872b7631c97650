use std::collections::BTreeMap;

use boundkey_document::Fields;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::metadata::{self, Extent, Metadata, listed};
use crate::names::{PRINCIPAL_ALLOWED, is_principal};
use crate::{ResourceName, name};

/// `kind: bot` v1: a machine user that tokens with the role Bot name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bot {
    /// `metadata.name`.
    pub name: ResourceName,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.expires`.
    pub expires: Option<OffsetDateTime>,
    /// `metadata.revision` as the file gave it; never stored.
    pub revision: Option<String>,
    /// SSH principals; none = the bot's name.
    pub logins: Vec<String>,
    /// What the bot may administer, if anything.
    pub admin_role: Option<AdminRole>,
    /// The tokens that a provisioner may touch: those whose name begins so.
    pub token_prefix: Option<String>,
}

/// What an identity may administer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdminRole {
    /// Everything.
    Admin,
    /// Tokens only, by name prefix.
    Provisioner,
    /// Reads only.
    Auditor,
}

const ADMIN_ROLES: &[(&str, AdminRole)] =
    &[("admin", AdminRole::Admin), ("provisioner", AdminRole::Provisioner), ("auditor", AdminRole::Auditor)];

impl AdminRole {
    /// The word that a bot uses.
    pub fn as_str(self) -> &'static str {
        match self {
            AdminRole::Admin => "admin",
            AdminRole::Provisioner => "provisioner",
            AdminRole::Auditor => "auditor",
        }
    }
}

impl Bot {
    pub(crate) fn read(top: &mut Fields<'_>) -> Option<Self> {
        let metadata = Metadata::read(top, Extent::Full);
        let mut spec = top.section("spec");
        let logins = listed(&mut spec, "logins", "login")
            .unwrap_or_default()
            .iter()
            .filter_map(|item| {
                let login = item.text()?;
                if !is_principal(login) {
                    item.refuse(PRINCIPAL_ALLOWED);
                }
                Some(login.to_owned())
            })
            .collect();
        let admin_role = spec.word("admin_role", ADMIN_ROLES);
        let token_prefix = spec.parsed("token_prefix", name::ALLOWED, str::parse::<ResourceName>);
        if let Some(prefix) = &token_prefix
            && !spec.is_set("admin_role")
        {
            let found = boundkey_document::quoted(prefix.as_str());
            spec.fault("token_prefix", found, "nothing, unless spec.admin_role is provisioner");
        }
        spec.finish();
        Some(Self {
            name: metadata.name?,
            labels: metadata.labels,
            expires: metadata.expires,
            revision: metadata.revision,
            logins,
            admin_role,
            token_prefix: token_prefix.map(String::from),
        })
    }

    /// What an administrator should know although the bot is allowed: one sentence each.
    pub fn warnings(&self, now: OffsetDateTime) -> Vec<String> {
        let mut warnings = Vec::new();
        warnings.extend(metadata::past(
            "metadata.expires",
            self.expires,
            now,
            "this bot's tokens admit nobody",
        ));
        match (self.admin_role, &self.token_prefix) {
            (Some(AdminRole::Provisioner), None) => warnings
                .push("spec.token_prefix is not set: this provisioner may change every token".to_owned()),
            (Some(AdminRole::Admin | AdminRole::Auditor), Some(_)) => {
                warnings.push("spec.token_prefix has no effect: it limits provisioners only".to_owned());
            }
            _ => {}
        }
        warnings
    }

    /// `kind`, `metadata`, `spec`, `version` as JSON: keys sorted, unset dropped.
    pub fn to_json(&self) -> Value {
        let mut spec = Map::new();
        if !self.logins.is_empty() {
            spec.insert("logins".to_owned(), json!(self.logins));
        }
        if let Some(role) = self.admin_role {
            spec.insert("admin_role".to_owned(), json!(role.as_str()));
        }
        if let Some(prefix) = &self.token_prefix {
            spec.insert("token_prefix".to_owned(), json!(prefix));
        }
        let metadata = (&self.labels, self.expires, self.revision.as_deref());
        metadata::print("bot", "v1", &self.name, metadata, spec)
    }
}
