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
}

super::encoded_as_it_is!(EventRecord, "event");
