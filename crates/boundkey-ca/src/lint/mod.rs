//! What a certificate must be, checked on the request and again on the bytes about to be signed.
//!
//! The second check reads those bytes with another parser than the encoder, so that a fault of either
//! shows before the signature exists.

mod leaf;
mod names;
mod ssh;
mod tbs;

use std::fmt;

pub(crate) use leaf::leaf_request;
pub use names::{common_name, is_dns_name, is_principal};
pub(crate) use names::{display_name, is_common_name};
pub(crate) use ssh::{ssh_request, ssh_result};
pub(crate) use tbs::{Issuer, authority_tbs, leaf_tbs};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field of the request (`dns_names[1]`) or of the certificate (`certificate.issuer`).
    pub field: String,
    /// What was there.
    pub found: String,
    /// What may be there.
    pub allowed: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: found {}; allowed: {}", self.field, self.found, self.allowed)
    }
}

/// All the rules that a certificate would have broken: it was not signed.
///
/// Violations of `certificate.*` are faults of this crate, all others of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LintError {
    violations: Vec<Violation>,
}

impl LintError {
    /// Every broken rule, at least one.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }
}

impl std::error::Error for LintError {}

impl fmt::Display for LintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("certificate refused: ")?;
        for (index, violation) in self.violations.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            violation.fmt(f)?;
        }
        Ok(())
    }
}

/// Collects violations, so that all are reported at once.
#[derive(Default)]
pub(crate) struct Lints {
    violations: Vec<Violation>,
}

impl Lints {
    pub(crate) fn require(
        &mut self,
        holds: bool,
        field: impl Into<String>,
        found: impl fmt::Display,
        allowed: &'static str,
    ) {
        if !holds {
            let found = found.to_string();
            // What is echoed goes into logs and answers: bounded, without control characters.
            let found = found.chars().take(256).flat_map(char::escape_debug).collect();
            self.violations.push(Violation { field: field.into(), found, allowed });
        }
    }

    pub(crate) fn finish(self) -> Result<(), LintError> {
        if self.violations.is_empty() { Ok(()) } else { Err(LintError { violations: self.violations }) }
    }
}

/// A validity window in whole seconds: certificates hold no fractions and no offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
}

/// The first second of the year 9999: later times meet limits of encoders and readers.
const TIME_LIMIT: i64 = 253_370_764_800;

impl Window {
    pub(crate) fn new(not_before: OffsetDateTime, not_after: OffsetDateTime) -> Self {
        Self { not_before: not_before.unix_timestamp(), not_after: not_after.unix_timestamp() }
    }

    /// Reversed windows and years that no encoding holds.
    pub(crate) fn lint(self, lints: &mut Lints) {
        lints.require(
            self.not_after > self.not_before,
            "not_after",
            show(self.not_after),
            "at least a second after not_before",
        );
        for (field, seconds) in [("not_before", self.not_before), ("not_after", self.not_after)] {
            lints.require(is_encodable(seconds), field, show(seconds), "the years 1970 to 9998");
        }
    }

    pub(crate) fn contains(self, inner: Self) -> bool {
        self.not_before <= inner.not_before && inner.not_after <= self.not_after
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", show(self.not_before), show(self.not_after))
    }
}

/// Whether every encoding here can hold this time, in seconds since 1970.
pub(crate) fn is_encodable(seconds: i64) -> bool {
    (0..TIME_LIMIT).contains(&seconds)
}

/// The time in UTC without fractions, as encoders want it; the epoch for what [`is_encodable`] refuses.
pub(crate) fn utc(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn show(seconds: i64) -> String {
    match OffsetDateTime::from_unix_timestamp(seconds) {
        Ok(time) => time.format(&Rfc3339).unwrap_or_else(|_| time.to_string()),
        Err(_) => format!("{seconds} s since 1970"),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        out.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('?'));
        out.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('?'));
        out
    })
}
