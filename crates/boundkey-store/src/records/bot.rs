use std::collections::BTreeMap;

use boundkey_token::{AdminRole, Bot};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Record, RecordError};

/// A bot as stored. `metadata.revision` is not: a record's revision is the store's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BotRecord {
    /// The bot as it was applied.
    pub bot: Bot,
    /// When it was first applied.
    pub created_at: OffsetDateTime,
}

const KIND: &str = "bot";

/// Version 1.
#[derive(Serialize, Deserialize)]
struct BotV1 {
    name: String,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(with = "time::serde::rfc3339::option", default, skip_serializing_if = "Option::is_none")]
    expires: Option<OffsetDateTime>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    logins: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    admin_role: Option<AdminRoleV1>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_prefix: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum AdminRoleV1 {
    Admin,
    Provisioner,
    Auditor,
}

impl Record for BotRecord {
    const KIND: &'static str = KIND;

    fn encode(&self) -> Vec<u8> {
        let Bot { name, labels, expires, revision: _, logins, admin_role, token_prefix } = &self.bot;
        let stored = BotV1 {
            name: name.to_string(),
            created_at: self.created_at,
            labels: labels.clone(),
            expires: *expires,
            logins: logins.clone(),
            admin_role: admin_role.map(|role| match role {
                AdminRole::Admin => AdminRoleV1::Admin,
                AdminRole::Provisioner => AdminRoleV1::Provisioner,
                AdminRole::Auditor => AdminRoleV1::Auditor,
            }),
            token_prefix: token_prefix.clone(),
        };
        super::encode(1, &stored)
    }

    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let stored: BotV1 = super::decode(KIND, 1, bytes)?;
        let bot = Bot {
            name: super::parsed(KIND, "name", &stored.name)?,
            labels: stored.labels,
            expires: stored.expires,
            revision: None,
            logins: stored.logins,
            admin_role: stored.admin_role.map(|role| match role {
                AdminRoleV1::Admin => AdminRole::Admin,
                AdminRoleV1::Provisioner => AdminRole::Provisioner,
                AdminRoleV1::Auditor => AdminRole::Auditor,
            }),
            token_prefix: stored.token_prefix,
        };
        Ok(Self { bot, created_at: stored.created_at })
    }
}
