//! What is asked of the server. Unknown members are refused.

use boundkey_token::LockTarget;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

/// `POST /v1/apply`: several resources, all or nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// Update in place what exists (default: refuse it). Nothing is ever deleted.
    #[serde(default)]
    pub force: bool,
    /// Tokens, bots and locks, in any order; each `(kind, name)` once.
    pub resources: Vec<Value>,
}

/// The body of `POST /v1/tokens/NAME/{grant-recovery|rotate|resync|revoke|reset}`; each verb reads its own members.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VerbRequest {
    /// `grant-recovery`: how many recoveries from now on; at least 1, default 1.
    pub count: Option<u32>,
    /// `rotate`: not before this time; default now.
    #[serde(with = "time::serde::rfc3339::option")]
    pub at: Option<OffsetDateTime>,
    /// `resync`: seconds that the grant stays open; default 3600.
    pub ttl_seconds: Option<u64>,
    /// `resync`: do not ask for a new key.
    pub keep_key: bool,
}

/// Secrets that somebody chose in one `POST /v1/apply`, at most: each is stretched before the answer. Generated ones are not
/// counted.
pub const MAX_CHOSEN_SECRETS: usize = 64;

/// `POST /v1/locks`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockRequest {
    /// What is locked out.
    pub target: LockTarget,
    /// Why, for administrators: whoever is locked out is never told.
    #[serde(default)]
    pub message: Option<String>,
    /// What whoever is locked out is told.
    #[serde(default)]
    pub public_message: Option<String>,
    /// Seconds until the lock ends by itself; none: until it is removed.
    #[serde(default)]
    pub ttl_seconds: Option<u64>,
    /// Revoke the certificates that the target holds now.
    #[serde(default)]
    pub revoke: bool,
}
