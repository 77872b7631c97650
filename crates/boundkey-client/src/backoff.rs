//! How long to wait after a try that failed.

use std::time::Duration;

use boundkey_keys::Entropy;

/// Decorrelated jitter: each wait is drawn between the base and three times the wait before it, so that machines that
/// failed together do not come back together.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    last: Duration,
}

/// Why the last try failed, as far as waiting is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setback {
    /// No answer, or one that says to try again; perhaps after a given time.
    Transient(Option<Duration>),
    /// A typed refusal: nothing changes until somebody acts.
    Final,
}

/// The pause after a final refusal, before jitter.
pub const FINAL_PAUSE: Duration = Duration::from_secs(15 * 60);
/// No server can make an agent wait for longer than this.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

impl Backoff {
    /// `base`: the shortest wait; `cap`: the longest after a transient failure.
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap: cap.max(base), last: base }
    }

    /// One second to five minutes: what the agent uses.
    pub fn standard() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(5 * 60))
    }

    /// A success: the next failure starts at the base again.
    pub fn reset(&mut self) {
        self.last = self.base;
    }

    /// How long to wait now. `Retry-After` is a lower bound (with up to a tenth on top, so that a fleet spreads out).
    pub fn next(&mut self, setback: Setback, entropy: &dyn Entropy) -> Duration {
        match setback {
            Setback::Final => between(FINAL_PAUSE, FINAL_PAUSE * 2, entropy),
            Setback::Transient(asked) => {
                let jittered = between(self.base, self.last.saturating_mul(3), entropy).min(self.cap);
                self.last = jittered;
                match asked {
                    None => jittered,
                    Some(asked) => {
                        let asked = asked.min(LONGEST_RETRY_AFTER);
                        between(asked, asked + asked / 10, entropy).max(self.base)
                    }
                }
            }
        }
    }
}

/// Uniform in `[low, high]`, to the microsecond.
pub(crate) fn between(low: Duration, high: Duration, entropy: &dyn Entropy) -> Duration {
    let span = u64::try_from(high.saturating_sub(low).as_micros()).unwrap_or(u64::MAX);
    if span == 0 {
        return low;
    }
    let mut bytes = [0u8; 8];
    entropy.fill(&mut bytes);
    let scaled = (u128::from(u64::from_le_bytes(bytes)) * (u128::from(span) + 1)) >> 64;
    low + Duration::from_micros(u64::try_from(scaled).unwrap_or(span))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Always the same byte: 0 draws the lowest value, 0xff the highest.
    struct Fixed(u8);
    impl Entropy for Fixed {
        fn fill(&self, out: &mut [u8]) {
            out.fill(self.0);
        }
    }
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_grow_threefold_at_most_and_stop_at_the_cap() {
        let mut backoff = Backoff::new(SECOND, SECOND * 20);
        let waits: Vec<_> =
            (0..5).map(|_| backoff.next(Setback::Transient(None), &Fixed(0xff)).as_secs()).collect();
        assert_eq!(waits, [3, 9, 20, 20, 20]);
        backoff.reset();
        assert_eq!(backoff.next(Setback::Transient(None), &Fixed(0xff)).as_secs(), 3);
    }

    #[test]
    fn a_wait_is_never_shorter_than_the_base() {
        let mut backoff = Backoff::new(SECOND, SECOND * 20);
        for _ in 0..5 {
            assert_eq!(backoff.next(Setback::Transient(None), &Fixed(0)), SECOND);
        }
    }

    #[test]
    fn retry_after_is_obeyed_and_bounded() {
        let mut backoff = Backoff::standard();
        let asked = |seconds| Setback::Transient(Some(Duration::from_secs(seconds)));
        assert_eq!(backoff.next(asked(50), &Fixed(0)).as_secs(), 50);
        assert_eq!(backoff.next(asked(50), &Fixed(0xff)).as_secs(), 55);
        assert_eq!(backoff.next(asked(u64::MAX), &Fixed(0)), LONGEST_RETRY_AFTER);
        assert_eq!(backoff.next(asked(0), &Fixed(0)), SECOND, "zero does not make the agent spin");
    }

    #[test]
    fn a_final_refusal_pauses_for_long() {
        let mut backoff = Backoff::standard();
        assert_eq!(backoff.next(Setback::Final, &Fixed(0)), FINAL_PAUSE);
        assert_eq!(backoff.next(Setback::Final, &Fixed(0xff)), FINAL_PAUSE * 2);
    }
}
