use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// One entry of the audit log; commits with the change that it describes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    /// When, by the server's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The stable code of the event.
    pub code: String,
    /// The token it is about.
    pub token: Option<String>,
    /// The host id or bot instance id it is about.
    pub identity: Option<String>,
    /// The source network.
    pub source: Option<String>,
    /// The id under which the server's log has the request.
    pub correlation_id: String,
    /// One sentence for a human.
    pub detail: String,
    /// Who: `join`, `admin:socket`, `admin:<identity>`.
    pub actor: String,
    /// What else happened in the same commit.
    #[serde(default)]
    pub notes: Vec<String>,
    /// For coalesced refusals: how many.
    #[serde(default)]
    pub count: u64,
    /// For coalesced refusals: the first of them. `correlation_id` is that of the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<Counted>,
}

/// When counted refusals began and ended, and the id of the first one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// The id under which the server's log has the first one.
    pub first_correlation_id: String,
    /// When the first one was.
    #[serde(with = "time::serde::rfc3339")]
    pub first_at: OffsetDateTime,
    /// When the last one was.
    #[serde(with = "time::serde::rfc3339")]
    pub last_at: OffsetDateTime,
}

super::encoded_as_it_is!(EventRecord, "event");
