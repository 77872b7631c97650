//! The tables, and how they came to be.

use boundkey_store::Revision;
use rusqlite::{Connection, OptionalExtension};

/// "bkey": by it the store knows its own files, and `file(1)` shows it.
pub(crate) const APPLICATION_ID: i64 = 0x626b_6579;

/// In order, from version 1. A migration that was released never changes: add another.
const MIGRATIONS: &[(&str, &str)] = &[(
    "records and the revision counter",
    "CREATE TABLE record (
        key      TEXT NOT NULL PRIMARY KEY,
        value    BLOB NOT NULL,
        revision INTEGER NOT NULL,
        expires  INTEGER -- microseconds since 1970: absent from then on
     ) STRICT;
     CREATE INDEX record_expires ON record (expires) WHERE expires IS NOT NULL;
     CREATE TABLE meta (name TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL) STRICT;
     INSERT INTO meta (name, value) VALUES ('revision', 0);",
)];

/// The newest schema that can be used here.
pub(crate) const VERSION: u32 = MIGRATIONS.len() as u32;

/// Whose file it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing in it yet.
    Empty,
    /// A store of this schema.
    Store(u32),
    /// A database of another program.
    Foreign(i64),
}

/// Looks, without changing anything.
pub(crate) fn inspect(connection: &Connection) -> rusqlite::Result<Found> {
    let id: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (id, tables) {
        (0, 0) => Ok(Found::Empty),
        (APPLICATION_ID, _) => version(connection).map(Found::Store),
        (other, _) => Ok(Found::Foreign(other)),
    }
}

fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("SELECT coalesce(max(version), 0) FROM migration", [], |row| row.get(0))
}

/// Brings an empty file or an older store to [`VERSION`], in one transaction.
pub(crate) fn migrate(connection: &mut Connection, from: u32) -> rusqlite::Result<()> {
    if from >= VERSION {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS migration (
            version     INTEGER NOT NULL PRIMARY KEY,
            description TEXT NOT NULL
         ) STRICT;",
    )?;
    // Read again under the lock: somebody else may have been here.
    let from = version(&transaction)?;
    for (version, (description, statements)) in (1_u32..).zip(MIGRATIONS) {
        if version > from {
            transaction.execute_batch(statements)?;
            transaction.execute(
                "INSERT INTO migration (version, description) VALUES (?1, ?2)",
                (version, description),
            )?;
        }
    }
    transaction.commit()
}

/// The revision of the last commit.
pub(crate) fn revision(connection: &Connection) -> rusqlite::Result<Revision> {
    let found: Option<i64> = connection
        .prepare_cached("SELECT value FROM meta WHERE name = 'revision'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(Revision(found.and_then(|n| u64::try_from(n).ok()).unwrap_or(0)))
}
