//! SQLite's errors in the words of the store.

use boundkey_store::StoreError;
use rusqlite::{Error, ErrorCode, ffi};

/// SQLite's own text with its extended code, which tells a failed sync from a failed write.
pub(crate) fn text(error: &Error) -> String {
    match error {
        Error::SqliteFailure(cause, message) => {
            let name = ffi::code_to_str(cause.extended_code);
            match message {
                Some(message) if message != name => {
                    format!("{message} ({name}, code {})", cause.extended_code)
                }
                _ => format!("{name} (code {})", cause.extended_code),
            }
        }
        other => other.to_string(),
    }
}

/// There is no space left, in one of the ways in which SQLite says it.
pub(crate) fn is_full(error: &Error) -> bool {
    let extended = error.sqlite_error().map(|cause| cause.extended_code);
    error.sqlite_error_code() == Some(ErrorCode::DiskFull) || extended == Some(ffi::SQLITE_IOERR_SHMSIZE)
}

/// A failed read or write, as the store says it.
pub(crate) fn store_error(error: &Error) -> StoreError {
    let text = text(error);
    if is_full(error) {
        return StoreError::Full(text);
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            StoreError::ReadOnly(text)
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Damaged(text),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StoreError::Failed(format!("another process holds the database: {text}"))
        }
        _ => StoreError::Failed(text),
    }
}

/// A failed write of a file beside the store.
pub(crate) fn file_error(doing: &str, error: &std::io::Error) -> StoreError {
    let text = format!("{doing}: {error}");
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => StoreError::Full(text),
        std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::PermissionDenied => {
            StoreError::ReadOnly(text)
        }
        _ => StoreError::Failed(text),
    }
}
