//! Typed records: JSON with a leading version (`{"v":1,...}`), read back by version; a newer one than we know is an error that says so.
use boundkey_lifecycle::{Enrolment, InstanceRecord, LockInForce, Sealed, Uid};
use boundkey_token::{Bot, LockTarget, Token};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// A record that can be stored. The implementer may split this file by record.
pub trait Record: Sized {
    const KIND: &'static str;
    fn encode(&self) -> Vec<u8>;
    fn decode(bytes: &[u8]) -> Result<Self, RecordError>;
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored {kind} cannot be read: {cause}")]
pub struct RecordError {
    pub kind: &'static str,
    pub cause: String,
}

/// A token as stored: the spec's secret is taken out of the token and sealed here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    pub uid: Uid,
    pub created_at: OffsetDateTime,
    pub token: Token,
    pub sealed_secret: Option<Sealed>,
}
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolmentRecord {
    pub uid: Uid,
    pub enrolment: Enrolment,
}
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceEntry {
    pub token: String,
    pub record: InstanceRecord,
}
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BotRecord {
    pub bot: Bot,
    pub created_at: OffsetDateTime,
}
/// A lock by hand or an automatic one (`auto-<uid>`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockRecord {
    pub target: LockTarget,
    pub lock: LockInForce,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}
/// All locks on one target.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LockIndex {
    pub locks: Vec<LockInForce>,
}
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    pub code: String,
    pub token: Option<String>,
    pub identity: Option<String>,
    pub source: Option<String>,
    pub correlation_id: String,
    pub detail: String,
    /// Who: `join`, `admin:socket`, `admin:<identity>`.
    pub actor: String,
    #[serde(default)]
    pub notes: Vec<String>,
    /// For coalesced refusals.
    #[serde(default)]
    pub count: u64,
}
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityRecord {
    pub kind: String,
    pub sealed_key: Sealed,
    pub certificate: Option<Sealed>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    pub cluster: String,
    pub master_fingerprint: String,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedRecord {
    #[serde(with = "time::serde::rfc3339")]
    pub revoked_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
}

macro_rules! skeleton {
    ($($record:ty),* $(,)?) => {$(
        impl Record for $record {
            const KIND: &'static str = stringify!($record);
            fn encode(&self) -> Vec<u8> { todo!() }
            fn decode(_bytes: &[u8]) -> Result<Self, RecordError> { todo!() }
        }
    )*};
}
skeleton!(
    TokenRecord,
    EnrolmentRecord,
    InstanceEntry,
    BotRecord,
    LockRecord,
    LockIndex,
    EventRecord,
    AuthorityRecord,
    ClusterRecord,
    RevokedRecord
);
