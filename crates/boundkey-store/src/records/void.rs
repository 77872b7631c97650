use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::Revision;

/// Revokes, in one write, everything under its key that was written before it: the clients of a shared token
/// (`void/token/UID`), or what the tokens of a bot were issued (`void/bot/NAME`). Gone once all of it is swept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoidRecord {
    /// The token's name, or the bot's.
    pub name: String,
    /// When it was revoked.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The request that revoked it.
    pub correlation_id: String,
    /// What was written before this revision is void; none: before this record itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Revision>,
}

/// How far the sweep behind a [`VoidRecord`] has come. Beside it, because joins depend on the mark itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SweptRecord {
    /// Clients or machines whose certificates are on the lists.
    pub machines: u64,
    /// Their certificates.
    pub certificates: u64,
}

super::encoded_as_it_is!(VoidRecord, "mark of what is void");
super::encoded_as_it_is!(SweptRecord, "progress of a sweep");
