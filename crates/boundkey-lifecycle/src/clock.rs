//! Arithmetic on times that no clock, however absurd, can overflow.

use std::time::Duration;

use time::{OffsetDateTime, UtcOffset};

/// UTC, whole microseconds: the form of every stored time.
pub(crate) fn micros(t: OffsetDateTime) -> OffsetDateTime {
    utc(t).truncate_to_microsecond()
}

/// UTC, whole seconds: the form of a certificate's end.
pub(crate) fn seconds(t: OffsetDateTime) -> OffsetDateTime {
    utc(t).truncate_to_second()
}

/// `t + d`; the end of time (year 9999) if that lies behind it.
pub(crate) fn after(t: OffsetDateTime, d: Duration) -> OffsetDateTime {
    utc(t).saturating_add(time::Duration::try_from(d).unwrap_or(time::Duration::MAX))
}

fn utc(t: OffsetDateTime) -> OffsetDateTime {
    // Fails only within a day of the ends of time; the offset then does no harm, for times compare as instants.
    t.checked_to_offset(UtcOffset::UTC).unwrap_or(t)
}
