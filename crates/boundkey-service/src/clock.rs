//! Where the time comes from: the edge that everything else is spared.

use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use time::OffsetDateTime;

/// The clock of a service. It is read once for a request; nothing below the edge reads it again.
pub trait Clock: Send + Sync {
    /// The present time, UTC.
    fn now(&self) -> OffsetDateTime;

    /// Time since any fixed moment, by which waiting and pace are measured. Unless a clock has a better one, the wall
    /// clock's: a step of it then disturbs measurements, nothing else.
    fn monotonic(&self) -> Duration {
        Duration::try_from(self.now() - OffsetDateTime::UNIX_EPOCH).unwrap_or_default()
    }
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the edge at which the clock is read")]
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    fn monotonic(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }
}

/// A clock that somebody else moves: for simulations and tests.
#[derive(Debug)]
pub struct ManualClock(Mutex<OffsetDateTime>);

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn new(start: OffsetDateTime) -> Self {
        Self(Mutex::new(start))
    }

    /// Sets the clock, forwards or backwards.
    pub fn set(&self, now: OffsetDateTime) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = now;
    }

    /// Moves the clock forwards.
    pub fn advance(&self, by: time::Duration) {
        let mut now = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *now += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> OffsetDateTime {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Stored times have microseconds; a finer one would not survive a round trip through the store.
pub(crate) fn to_micros(now: OffsetDateTime) -> OffsetDateTime {
    now.replace_microsecond(now.microsecond()).unwrap_or(now)
}
