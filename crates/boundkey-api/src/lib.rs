//! Administration messages, shared by service and client.
#![allow(missing_docs, reason = "skeleton")]
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A page of a listing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The answer to PUT of a resource: the resource as `get` shows it, with warnings (expiring, no effect because bound, unknown bot, ...).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Applied {
    pub created: bool,
    pub changed: bool,
    pub resource: Value,
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// POST /v1/apply: several resources, all or nothing. `force`: update in place.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    #[serde(default)]
    pub force: bool,
    pub resources: Vec<Value>,
}
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ApplyAnswer {
    pub applied: Vec<Applied>,
}

/// A row of `tokens ls`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenSummary {
    pub name: String,
    pub roles: Vec<String>,
    pub state: String,
    pub bot_name: Option<String>,
    pub mode: String,
    pub recovery_count: u32,
    pub recovery_limit: u32,
    pub recoveries_left: Option<u32>,
    pub host_id: Option<String>,
    pub bot_instance_id: Option<String>,
    pub hostname: Option<String>,
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub last_joined_at: Option<time::OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub certificates_expire_at: Option<time::OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub expires: Option<time::OffsetDateTime>,
    #[serde(default)]
    pub labels: std::collections::BTreeMap<String, String>,
}

/// A row of `nodes ls`: an enrolled host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Node {
    pub token: String,
    pub host_id: String,
    pub hostname: String,
    pub roles: Vec<String>,
    pub version: String,
    #[serde(with = "time::serde::rfc3339")]
    pub last_joined_at: time::OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub certificates_expire_at: Option<time::OffsetDateTime>,
    #[serde(default)]
    pub labels: std::collections::BTreeMap<String, String>,
}

/// Bodies of POST /v1/tokens/NAME/{verb}.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VerbRequest {
    pub count: Option<u32>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub at: Option<time::OffsetDateTime>,
    pub ttl_seconds: Option<u64>,
    pub keep_key: bool,
}
/// `changed: false`: nothing was left to do. `message`: a sentence for people. `registration_secret`: after `reset`, when asked for with `?secrets=true`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VerbAnswer {
    pub changed: bool,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration_secret: Option<String>,
}
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExplainAnswer {
    pub state: String,
    pub next_join: String,
    pub reasons: Vec<String>,
    pub warnings: Vec<String>,
}

/// POST /v1/locks
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockRequest {
    pub target: boundkey_token::LockTarget,
    #[serde(default)]
    pub message: Option<String>,
    #[serde(default)]
    pub ttl_seconds: Option<u64>,
    #[serde(default)]
    pub revoke: bool,
}

/// GET /v1/events
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    pub cursor: String,
    #[serde(with = "time::serde::rfc3339")]
    pub at: time::OffsetDateTime,
    pub code: String,
    pub token: Option<String>,
    pub identity: Option<String>,
    pub source: Option<String>,
    pub actor: String,
    pub correlation_id: String,
    pub detail: String,
    #[serde(default)]
    pub notes: Vec<String>,
    #[serde(default)]
    pub count: u64,
}

/// GET /v1/status
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServerStatus {
    pub server_version: String,
    pub cluster_name: String,
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: time::OffsetDateTime,
    pub listen: String,
    /// `HOST:PORT` under which machines reach the server, as configured.
    #[serde(default)]
    pub public_addrs: Vec<String>,
    pub ca_pins: Vec<String>,
    pub store: String,
    pub tokens: u64,
    pub bound: u64,
    pub locked: u64,
}

/// GET /v1/webapi/find
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Find {
    pub server_version: String,
    pub cluster_name: String,
    pub ca_pins: Vec<String>,
    pub signature_suite: String,
}
