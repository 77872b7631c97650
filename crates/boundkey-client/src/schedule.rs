//! When to renew: measured on the clock that counts from boot, so that a stepped wall clock neither delays nor hastens it.

use std::time::Duration;

use boundkey_keys::Entropy;
use time::OffsetDateTime;

use crate::backoff::between;

/// The longest single sleep: the timer of the runtime stands still while the machine sleeps, the boot clock does not.
const LONGEST_NAP: Duration = Duration::from_secs(60);

/// A deadline on the boot clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(Duration);

impl Deadline {
    /// `wait` from now.
    pub fn after(since_boot: Duration, wait: Duration) -> Self {
        Self(since_boot.saturating_add(wait))
    }

    /// What is left; zero when it has passed.
    pub fn remaining(self, since_boot: Duration) -> Duration {
        self.0.saturating_sub(since_boot)
    }

    /// How long to sleep before looking at the clock again.
    pub fn nap(self, since_boot: Duration) -> Duration {
        self.remaining(since_boot).min(LONGEST_NAP)
    }
}

/// The wait until a renewal that an earlier process planned. Only wall-clock times outlive a process, and the clock may
/// have been stepped since: the wait is never longer than the one the server proposed.
pub fn wait_after_restart(
    obtained_at: OffsetDateTime,
    renew_at: OffsetDateTime,
    now: OffsetDateTime,
) -> Duration {
    let planned = Duration::try_from(renew_at - obtained_at).unwrap_or(Duration::ZERO);
    Duration::try_from(renew_at - now).unwrap_or(Duration::ZERO).min(planned)
}

/// The longest that an agent waits with a join that is due when it starts.
const LONGEST_START: Duration = Duration::from_secs(120);

/// The wait with a join that was due before the agent started, while its certificates are valid for `left`: at random up
/// to a tenth of that, two minutes at most. After a power cut a whole fleet starts in the same instant; nobody whose
/// certificates are valid has reason to hurry.
pub fn spread_at_start(left: time::Duration, entropy: &dyn Entropy) -> Duration {
    let left = Duration::try_from(left).unwrap_or(Duration::ZERO);
    between(Duration::ZERO, (left / 10).min(LONGEST_START), entropy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const OBTAINED: OffsetDateTime = datetime!(2026-01-01 12:00 UTC);
    const RENEW: OffsetDateTime = datetime!(2026-01-01 18:00 UTC);

    fn hours(n: u64) -> Duration {
        Duration::from_secs(n * 3600)
    }

    #[test]
    fn a_restart_waits_for_what_is_left() {
        assert_eq!(wait_after_restart(OBTAINED, RENEW, datetime!(2026-01-01 13:00 UTC)), hours(5));
    }

    #[test]
    fn a_clock_set_back_never_waits_longer_than_the_server_proposed() {
        assert_eq!(wait_after_restart(OBTAINED, RENEW, datetime!(2016-01-01 13:00 UTC)), hours(6));
    }

    #[test]
    fn a_clock_set_forward_renews_at_once() {
        assert_eq!(wait_after_restart(OBTAINED, RENEW, datetime!(2036-01-01 13:00 UTC)), Duration::ZERO);
    }

    struct Highest;
    impl Entropy for Highest {
        fn fill(&self, out: &mut [u8]) {
            out.fill(0xff);
        }
    }

    #[test]
    fn a_start_spreads_a_join_that_is_due_only_as_far_as_the_certificates_allow() {
        let spread = |seconds| spread_at_start(time::Duration::seconds(seconds), &Highest).as_secs();
        assert_eq!((spread(86_400), spread(600), spread(0), spread(-5)), (120, 60, 0, 0));
    }

    #[test]
    fn a_deadline_counts_time_asleep() {
        let deadline = Deadline::after(hours(1), hours(6));
        assert_eq!(deadline.remaining(hours(2)), hours(5));
        assert_eq!(deadline.nap(hours(2)), LONGEST_NAP);
        assert_eq!(deadline.remaining(hours(9)), Duration::ZERO);
    }
}
