//! Pages, and the rows of the listings.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// A page of a listing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Page<T> {
    /// At most as many as the request's `limit`; fewer, even none, where a filter is set.
    pub items: Vec<T>,
    /// The `after` of the next page; none at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Of tokens and nodes: how many of each state were looked at for this page, before filters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub states: BTreeMap<String, u64>,
}

impl<T> Page<T> {
    /// A page without counts.
    pub fn new(items: Vec<T>, next: Option<String>) -> Self {
        Self { items, next, states: BTreeMap::new() }
    }

    /// Counts one that was looked at.
    pub fn count(&mut self, state: &str) {
        match self.states.get_mut(state) {
            Some(count) => *count += 1,
            None => drop(self.states.insert(state.to_owned(), 1)),
        }
    }
}

/// A row of `tokens ls`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenSummary {
    /// The token's name.
    pub name: String,
    /// The roles it allows.
    pub roles: Vec<String>,
    /// Derived: `pending`, `bound`, `rotation_due`, `overdue`, `no_recoveries_left`, `registration_expired`, `locked`,
    /// `bot_missing`, `expired` or `shared`.
    pub state: String,
    /// The bot it is for.
    pub bot_name: Option<String>,
    /// `standard`, `relaxed` or `insecure`.
    pub mode: String,
    /// Recoveries so far, registration included.
    pub recovery_count: u32,
    /// The limit in force: the greater of the spec's and the granted one.
    pub recovery_limit: u32,
    /// None where the mode sets no limit.
    pub recoveries_left: Option<u32>,
    /// The host that holds it.
    pub host_id: Option<String>,
    /// The bot instance that holds it.
    pub bot_instance_id: Option<String>,
    /// As the machine said at its last join.
    pub hostname: Option<String>,
    /// The last admitted join.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub last_joined_at: Option<OffsetDateTime>,
    /// When the certificates of that join end.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub certificates_expire_at: Option<OffsetDateTime>,
    /// `metadata.expires` of the token.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub expires: Option<OffsetDateTime>,
    /// What runs out soon, or has: a few words each.
    #[serde(default)]
    pub runs_out: Vec<String>,
    /// `metadata.labels` of the token.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// A row of `nodes ls`: a host that has joined.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Node {
    /// The token that it holds.
    pub token: String,
    /// Its id, for life.
    pub host_id: String,
    /// That of its token, as in [`TokenSummary::state`]; of one of many hosts that share a token `locked` if it is.
    #[serde(default)]
    pub state: String,
    /// As it said at its last join.
    pub hostname: String,
    /// As it asked for at its last join.
    pub roles: Vec<String>,
    /// The agent's version.
    pub version: String,
    /// The last admitted join.
    #[serde(with = "time::serde::rfc3339")]
    pub last_joined_at: OffsetDateTime,
    /// When the certificates of that join end.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub certificates_expire_at: Option<OffsetDateTime>,
    /// `metadata.labels` of its token.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// An audit event.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    /// The `after` that goes on behind this event.
    pub cursor: String,
    /// By the server's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Stable, snake case.
    pub code: String,
    /// The token concerned.
    pub token: Option<String>,
    /// The host, bot instance, bot or lock target concerned.
    pub identity: Option<String>,
    /// The peer's address, for joins.
    pub source: Option<String>,
    /// Who acted: `join`, `admin:socket`, `server`.
    pub actor: String,
    /// Also in the answer and in the server's log. Of refusals that were counted together: that of the last one.
    pub correlation_id: String,
    /// A sentence.
    pub detail: String,
    /// Particulars in snake case, with `key=value` pairs.
    #[serde(default)]
    pub notes: Vec<String>,
    /// How often, for refusals that were counted together; else 0.
    #[serde(default)]
    pub count: u64,
    /// Of refusals that were counted together: the id of the first one. Those between are in the server's log alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_correlation_id: Option<String>,
    /// Of refusals that were counted together: when the first one was.
    #[serde(with = "time::serde::rfc3339::option", default, skip_serializing_if = "Option::is_none")]
    pub first_at: Option<OffsetDateTime>,
    /// Of refusals that were counted together: when the last one was.
    #[serde(with = "time::serde::rfc3339::option", default, skip_serializing_if = "Option::is_none")]
    pub last_at: Option<OffsetDateTime>,
}
