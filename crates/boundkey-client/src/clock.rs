//! Where this crate's time and randomness come from: the one edge that reads them.

use std::time::Duration;

use boundkey_keys::Entropy;
use ring::rand::SecureRandom as _;
use time::OffsetDateTime;

/// Two clocks: the wall clock, which may be stepped, and the time since boot, which counts suspended time and never steps.
///
/// A wrong wall clock costs failed handshakes (they are retried). A wrong time since boot costs early or late renewals.
pub trait Clock: Send + Sync {
    /// The wall clock.
    fn now(&self) -> OffsetDateTime;
    /// Time since the machine booted, sleep included.
    fn since_boot(&self) -> Duration;
}

/// The system's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the edge of this crate that reads the clock")]
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    fn since_boot(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
    }
}

/// The system's random numbers.
#[derive(Debug, Clone)]
pub struct SystemEntropy {
    random: ring::rand::SystemRandom,
}

impl SystemEntropy {
    /// Opens the system's random source.
    pub fn new() -> Self {
        Self { random: ring::rand::SystemRandom::new() }
    }
}

impl Default for SystemEntropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, out: &mut [u8]) {
        self.random.fill(out).expect("the kernel's random source does not fail once the machine is up");
    }
}

/// A time as people and logs read it: RFC 3339, whole seconds.
pub fn show_time(time: OffsetDateTime) -> String {
    let whole = time.replace_nanosecond(0).unwrap_or(time);
    whole.format(&time::format_description::well_known::Rfc3339).unwrap_or_else(|_| whole.to_string())
}
