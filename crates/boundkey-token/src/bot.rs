use std::collections::BTreeMap;

use crate::ResourceName;

/// `kind: bot` v1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bot {
    pub name: ResourceName,
    pub labels: BTreeMap<String, String>,
    pub expires: Option<time::OffsetDateTime>,
    pub revision: Option<String>,
    /// SSH principals; default the bot's name.
    pub logins: Vec<String>,
    pub admin_role: Option<AdminRole>,
    pub token_prefix: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdminRole {
    Admin,
    Provisioner,
    Auditor,
}

impl Bot {
    pub fn to_json(&self) -> serde_json::Value {
        todo!()
    }
}
