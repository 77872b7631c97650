//! Typed records: what is under which key, and how it is written down.
//!
//! Every record is one JSON object that starts with its version: `{"v":1,...}`. The rules:
//!
//! - An encoding never changes. Whoever adds, renames or drops a field, or gives one another form,
//!   raises the version, keeps reading the old ones, and adds a golden file; a test holds the bytes
//!   in `golden/` against what the code writes and reads.
//! - A version above the known one is refused ([`RecordError::Newer`]), so that a server which was
//!   downgraded by mistake never drops what it does not understand.
//! - Reading checks form only. What was allowed when it was stored stays readable when the rules
//!   for new input get stricter.

mod audit;
mod authority;
mod bot;
mod enrolment;
mod lock;
mod token;
mod void;

#[cfg(test)]
mod tests;

pub use audit::{Counted, EventRecord};
pub use authority::{AuthorityRecord, CaBundleRecord, ClusterRecord, RevokedRecord};
pub use bot::BotRecord;
pub use enrolment::{EnrolmentRecord, InstanceEntry};
pub use lock::{LockIndex, LockRecord};
pub use token::TokenRecord;
pub use void::{SweptRecord, VoidRecord};

use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Entry, Write};

/// A record that can be stored.
pub trait Record: Sized {
    /// What it is called in errors.
    const KIND: &'static str;

    /// The newest encoding.
    fn encode(&self) -> Vec<u8>;

    /// Reads any encoding there has ever been.
    ///
    /// # Errors
    ///
    /// [`RecordError`]: a newer server wrote it, or it is damaged.
    fn decode(bytes: &[u8]) -> Result<Self, RecordError>;
}

/// Why a stored record cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// For the administrator: this server is older than its data.
    #[error(
        "the stored {kind} was written by a newer server (version {found} of its encoding; this server knows {known})"
    )]
    Newer {
        /// The kind of record.
        kind: &'static str,
        /// The version it has.
        found: u64,
        /// The newest version that can be read here.
        known: u64,
    },
    /// For the administrator: the data was changed by something else, or this is a bug.
    #[error("the stored {kind} cannot be read: {cause}")]
    Damaged {
        /// The kind of record.
        kind: &'static str,
        /// Where it stops making sense; never quotes the content.
        cause: String,
    },
}

impl Entry {
    /// The record in this entry.
    ///
    /// # Errors
    ///
    /// [`RecordError`]: a newer server wrote it, or it is damaged.
    pub fn decode<R: Record>(&self) -> Result<R, RecordError> {
        R::decode(&self.value)
    }
}

impl Write {
    /// Puts a record.
    pub fn record<R: Record>(key: impl Into<String>, record: &R) -> Self {
        Self::Put { key: key.into(), value: record.encode() }
    }

    /// Puts a record that is gone from `expires` on.
    pub fn record_until<R: Record>(
        key: impl Into<String>,
        record: &R,
        expires: time::OffsetDateTime,
    ) -> Self {
        Self::PutUntil { key: key.into(), value: record.encode(), expires }
    }

    /// Deletes a key.
    pub fn delete(key: impl Into<String>) -> Self {
        Self::Delete { key: key.into() }
    }
}

#[derive(Serialize)]
struct Versioned<'a, T> {
    v: u64,
    #[serde(flatten)]
    body: &'a T,
}

#[derive(Deserialize)]
struct Version {
    v: u64,
}

fn encode(version: u64, body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(&Versioned { v: version, body })
        .expect("times come from a clock or from RFC 3339, keys of maps are texts: all of it has a JSON form")
}

/// `known`: the newest version. Returns the one that was found, and the body read as `T`.
fn decode<T: DeserializeOwned>(kind: &'static str, known: u64, bytes: &[u8]) -> Result<T, RecordError> {
    let v = match leading_version(bytes) {
        Some(v) => v,
        None => read::<Version>(kind, bytes)?.v,
    };
    if v > known {
        return Err(RecordError::Newer { kind, found: v, known });
    }
    if v == 0 {
        return Err(RecordError::Damaged { kind, cause: "there is no version 0".to_owned() });
    }
    read(kind, bytes)
}

/// The version where every encoding has it, so that reading a record goes over it once.
fn leading_version(bytes: &[u8]) -> Option<u64> {
    let rest = bytes.strip_prefix(b"{\"v\":")?;
    let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    matches!(rest[digits], b',' | b'}').then(|| std::str::from_utf8(&rest[..digits]).ok()?.parse().ok())?
}

fn read<T: DeserializeOwned>(kind: &'static str, bytes: &[u8]) -> Result<T, RecordError> {
    serde_json::from_slice(bytes).map_err(|error| damaged(kind, &error))
}

/// Names the place and the sort of fault. serde's own text may quote the value, which may be a secret.
fn damaged(kind: &'static str, error: &serde_json::Error) -> RecordError {
    let sort = match error.classify() {
        serde_json::error::Category::Data => "a value has another form than expected",
        serde_json::error::Category::Syntax => "not JSON",
        serde_json::error::Category::Eof => "it ends early",
        serde_json::error::Category::Io => "unreadable",
    };
    RecordError::Damaged { kind, cause: format!("{sort}, at byte {}", error.column()) }
}

/// A value that is stored as its text.
fn parsed<T: FromStr>(kind: &'static str, field: &str, text: &str) -> Result<T, RecordError> {
    text.parse().map_err(|_| RecordError::Damaged {
        kind,
        cause: format!("its {field} has another form than expected"),
    })
}

/// A record whose own serde form is its first and only encoding.
macro_rules! encoded_as_it_is {
    ($record:ty, $kind:literal) => {
        impl $crate::records::Record for $record {
            const KIND: &'static str = $kind;
            fn encode(&self) -> Vec<u8> {
                $crate::records::encode(1, self)
            }
            fn decode(bytes: &[u8]) -> Result<Self, $crate::records::RecordError> {
                $crate::records::decode($kind, 1, bytes)
            }
        }
    };
}
use encoded_as_it_is;
