//! Virtual time, and clocks that are off from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use time::OffsetDateTime;
use time::macros::datetime;

/// Where virtual time begins.
pub(super) const START: OffsetDateTime = datetime!(2026-03-01 12:00 UTC);
pub(super) const SECOND: i64 = 1_000_000;
pub(super) const MINUTE: i64 = 60 * SECOND;
pub(super) const HOUR: i64 = 60 * MINUTE;
pub(super) const DAY: i64 = 24 * HOUR;

/// Microseconds of virtual time as everybody's true time.
pub(super) type Micros = i64;

/// The clock of one machine or server: virtual time and an offset that is stepped.
#[derive(Debug)]
pub(super) struct SimClock {
    now: Arc<AtomicI64>,
    offset: AtomicI64,
}

impl SimClock {
    pub(super) fn new(now: Arc<AtomicI64>) -> Self {
        Self { now, offset: AtomicI64::new(0) }
    }

    pub(super) fn set_offset(&self, offset: Micros) {
        self.offset.store(offset, Ordering::Relaxed);
    }

    pub(super) fn offset(&self) -> Micros {
        self.offset.load(Ordering::Relaxed)
    }

    fn read(&self) -> OffsetDateTime {
        START + time::Duration::microseconds(self.now.load(Ordering::Relaxed) + self.offset())
    }
}

impl boundkey_service::Clock for SimClock {
    fn now(&self) -> OffsetDateTime {
        self.read()
    }
}

impl boundkey_client::Clock for SimClock {
    fn now(&self) -> OffsetDateTime {
        self.read()
    }

    fn since_boot(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.now.load(Ordering::Relaxed)).unwrap_or(0))
    }
}
