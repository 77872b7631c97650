use crate::ResourceName;

/// `kind: lock` v2, set by hand. (Automatic locks carry more: `boundkey_lifecycle::LockInForce`.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    pub name: ResourceName,
    pub revision: Option<String>,
    pub target: LockTarget,
    pub message: Option<String>,
    pub expires: Option<time::OffsetDateTime>,
}

/// `spec.target {join_token|user|server_id|bot_instance_id}`: exactly one. serde: that object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum LockTarget {
    #[serde(rename = "join_token")]
    Token(String),
    #[serde(rename = "user")]
    Bot(String),
    #[serde(rename = "server_id")]
    Host(String),
    #[serde(rename = "bot_instance_id")]
    BotInstance(String),
}

impl Lock {
    pub fn to_json(&self) -> serde_json::Value {
        todo!()
    }
}
