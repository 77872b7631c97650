//! The connections that only read. A point read takes microseconds, a page of a range well under a
//! millisecond, so they run where they are called; none of them ever waits for the writer.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use boundkey_store::{Entry, Measure, Range, Revision, StoreError};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row};
use time::OffsetDateTime;

use crate::{cause, micros, open};

const CONNECTIONS: usize = 4;

const RANGE_FROM: &str = "SELECT key, value, revision FROM record
    WHERE key >= ?1 AND key < ?2 AND (expires IS NULL OR expires > ?3) ORDER BY key LIMIT ?4";
const RANGE_AFTER: &str = "SELECT key, value, revision FROM record
    WHERE key > ?1 AND key < ?2 AND (expires IS NULL OR expires > ?3) ORDER BY key LIMIT ?4";

const MEASURE: &str = "SELECT count(*), coalesce(sum(bytes), 0), max(key) FROM
    (SELECT key, length(CAST(key AS BLOB)) + length(value) AS bytes FROM record
     WHERE key >= ?1 AND key <> ?2 AND key < ?3 AND (expires IS NULL OR expires > ?4)
     ORDER BY key LIMIT ?5)";
/// Keys that are measured at a time: about a millisecond.
const MEASURED: u32 = 2000;

pub(crate) struct Readers {
    connections: Vec<Mutex<Connection>>,
    next: AtomicUsize,
}

impl Readers {
    pub(crate) fn open(path: &Path) -> rusqlite::Result<Self> {
        let connections = (0..CONNECTIONS)
            .map(|_| {
                let connection = open::connect(path)?;
                connection.pragma_update(None, "query_only", true)?;
                Ok(Mutex::new(connection))
            })
            .collect::<rusqlite::Result<_>>()?;
        Ok(Self { connections, next: AtomicUsize::new(0) })
    }

    pub(crate) fn get_many(
        &self,
        keys: &[&str],
        now: OffsetDateTime,
    ) -> Result<Vec<Option<Entry>>, StoreError> {
        let connection = self.take();
        let read = || {
            // One transaction: all keys are read from the same snapshot.
            let transaction = connection.unchecked_transaction()?;
            let mut statement = transaction.prepare_cached(
                "SELECT key, value, revision FROM record
                 WHERE key = ?1 AND (expires IS NULL OR expires > ?2)",
            )?;
            keys.iter()
                .map(|key| statement.query_row((key, micros(now)), entry).optional())
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error| cause::store_error(&error))
    }

    pub(crate) fn range(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        now: OffsetDateTime,
    ) -> Result<Range, StoreError> {
        let limit = limit.max(1);
        let one_more = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let connection = self.take();
        let read = || {
            // Both bounds have to be plain comparisons: the index then starts and stops there.
            let (from, statement) = match after.filter(|after| *after >= prefix) {
                Some(after) => (after, RANGE_AFTER),
                None => (prefix, RANGE_FROM),
            };
            let mut statement = connection.prepare_cached(statement)?;
            let rows = statement.query_map((from, end(prefix), micros(now), one_more), entry)?;
            rows.collect::<rusqlite::Result<Vec<Entry>>>()
        };
        let mut entries = read().map_err(|error| cause::store_error(&error))?;
        let more = entries.len() > limit;
        entries.truncate(limit);
        let next = if more { entries.last().map(|last| last.key.clone()) } else { None };
        Ok(Range { entries, next })
    }

    /// One step of a measure, and the last key in it; none at the end.
    pub(crate) fn measure(
        &self,
        prefix: &str,
        after: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<(Measure, Option<String>), StoreError> {
        let connection = self.take();
        let read = || {
            // No key equals an empty BLOB.
            let but = after.map_or(Value::Blob(Vec::new()), |after| Value::Text(after.to_owned()));
            let mut statement = connection.prepare_cached(MEASURE)?;
            statement.query_row((after.unwrap_or(prefix), but, end(prefix), micros(now), MEASURED), |row| {
                let (entries, bytes): (i64, i64) = (row.get(0)?, row.get(1)?);
                let measure = Measure { entries: entries.unsigned_abs(), bytes: bytes.unsigned_abs() };
                Ok((measure, row.get::<_, Option<String>>(2)?))
            })
        };
        let (measure, last) = read().map_err(|error| cause::store_error(&error))?;
        Ok((measure, last.filter(|_| measure.entries == u64::from(MEASURED))))
    }

    /// One that is free, else the next one in turn.
    fn take(&self) -> MutexGuard<'_, Connection> {
        let first = self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        let (before, from) = self.connections.split_at(first);
        for connection in from.iter().chain(before) {
            match connection.try_lock() {
                Ok(free) => return free,
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        self.connections[first].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let revision: i64 = row.get(2)?;
    Ok(Entry { key: row.get(0)?, value: row.get(1)?, revision: Revision(revision.unsigned_abs()) })
}

/// The end of all that start with `prefix`. SQLite sorts every BLOB behind every TEXT: an empty one is an end that no key
/// reaches.
pub(crate) fn end(prefix: &str) -> Value {
    following(prefix).map_or(Value::Blob(Vec::new()), Value::Text)
}

/// The first text behind all that start with `prefix`; `None` if there is none. In UTF-8 the order
/// of bytes is that of characters, so it is the prefix with its last character raised by one.
fn following(prefix: &str) -> Option<String> {
    let mut end = prefix.to_owned();
    while let Some(last) = end.pop() {
        let following = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(following) = following {
            end.push(following);
            return Some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::following;

    #[test]
    fn the_end_of_a_prefix_skips_what_is_no_character() {
        assert_eq!(following("token/").as_deref(), Some("token0"));
        assert_eq!(following("a\u{7f}").as_deref(), Some("a\u{80}"));
        assert_eq!(following("a\u{d7ff}").as_deref(), Some("a\u{e000}"));
        assert_eq!(following("a\u{10ffff}\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(following("\u{10ffff}"), None);
        assert_eq!(following(""), None);
    }
}
