//! Typed records with the revision at which they were read: what a conditional commit needs.

use boundkey_store::records::{Record, RecordError};
use boundkey_store::{Condition, Entry, Revision, Write};

use crate::{Refusal, Service};

/// A record and the revision at which it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded<R> {
    /// The record.
    pub record: R,
    /// Its revision.
    pub revision: Revision,
}

impl<R: Record> Loaded<R> {
    /// Decodes an entry of the store.
    ///
    /// # Errors
    /// The record is not readable, or of a later version of this program.
    pub fn decode(entry: &Entry) -> Result<Self, RecordError> {
        Ok(Self { record: R::decode(&entry.value)?, revision: entry.revision })
    }

    /// Decodes an entry that may be absent.
    ///
    /// # Errors
    /// As `decode`.
    pub fn decode_opt(entry: Option<&Entry>) -> Result<Option<Self>, RecordError> {
        entry.map(Self::decode).transpose()
    }
}

/// The condition that a key still is as it was read: at its revision, or absent.
pub fn unchanged<R>(key: impl Into<String>, loaded: Option<&Loaded<R>>) -> Condition {
    let key = key.into();
    match loaded {
        Some(loaded) => Condition::At { key, revision: loaded.revision },
        None => Condition::Absent { key },
    }
}

/// The write of a record.
pub fn put<R: Record>(key: impl Into<String>, record: &R) -> Write {
    Write::Put { key: key.into(), value: record.encode() }
}

impl Service {
    /// Reads one record.
    ///
    /// # Errors
    /// 503 if the store does not answer, 500 if the record is not readable.
    pub async fn load<R: Record>(
        &self,
        key: &str,
        now: time::OffsetDateTime,
    ) -> Result<Option<Loaded<R>>, Refusal> {
        let entries = self.store().get_many(&[key], now).await?;
        Ok(Loaded::decode_opt(entries.first().and_then(Option::as_ref))?)
    }
}
