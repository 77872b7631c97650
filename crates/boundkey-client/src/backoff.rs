//! How long to wait after a try that failed.

use std::time::Duration;

use boundkey_keys::Entropy;

/// Decorrelated jitter: each wait is drawn between the base and three times the wait before it, so that machines that
/// failed together do not come back together. At the cap waits are spread over its last third: machines that reached it
/// in step would stay in step.
///
/// A server's `Retry-After` is an appointment: the wait is never shorter, and little longer the first twenty times in a row.
/// After that what comes on top doubles each time, so that a proxy that answers everybody "in a second" meets no herd.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    last: Duration,
    /// How often in a row the server named a time.
    asked: u32,
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
        Self { base, cap: cap.max(base), last: base, asked: 0 }
    }

    /// One second to five minutes: what the agent uses.
    pub fn standard() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(5 * 60))
    }

    /// A success: the next failure starts at the base again.
    pub fn reset(&mut self) {
        self.last = self.base;
        self.asked = 0;
    }

    /// How long to wait now. `Retry-After` is a lower bound; on top comes up to a tenth of it, at least up to a second
    /// (the header has no fractions), and twice as much for each time in a row after the twentieth.
    pub fn next(&mut self, setback: Setback, entropy: &dyn Entropy) -> Duration {
        match setback {
            Setback::Final => between(FINAL_PAUSE, FINAL_PAUSE * 2, entropy),
            Setback::Transient(asked) => {
                let Some(asked) = asked else {
                    self.asked = 0;
                    return self.jittered(entropy);
                };
                let asked = asked.clamp(self.base, LONGEST_RETRY_AFTER.max(self.base));
                let spread = (asked / 10).max(Duration::from_secs(1));
                let spread = spread
                    .saturating_mul(1 << self.asked.saturating_sub(19).min(16))
                    .min(self.cap.max(spread));
                self.asked = self.asked.saturating_add(1);
                between(asked, asked + spread, entropy)
            }
        }
    }
}

impl Backoff {
    fn jittered(&mut self, entropy: &dyn Entropy) -> Duration {
        let drawn = between(self.base, self.last.saturating_mul(3), entropy);
        let wait = if drawn < self.cap {
            drawn
        } else {
            between((self.cap / 3 * 2).max(self.base), self.cap, entropy)
        };
        self.last = wait;
        wait
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
            (0..5).map(|_| backoff.next(Setback::Transient(None), &Fixed(0xff)).as_millis()).collect();
        assert_eq!(waits, [3000, 9000, 19_999, 19_999, 19_999]);
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
        backoff.reset();
        assert_eq!(backoff.next(asked(50), &Fixed(0xff)).as_secs(), 55);
        backoff.reset();
        assert_eq!(backoff.next(asked(u64::MAX), &Fixed(0)), LONGEST_RETRY_AFTER);
        assert_eq!(backoff.next(asked(0), &Fixed(0)), SECOND, "zero does not make the agent spin");
    }

    #[test]
    fn who_is_asked_again_and_again_spreads_wider_each_time() {
        let mut backoff = Backoff::standard();
        let asked = Setback::Transient(Some(SECOND));
        let waits: Vec<_> = (0..30).map(|_| backoff.next(asked, &Fixed(0xff)).as_secs()).collect();
        assert_eq!(waits[..20], [2; 20]);
        assert_eq!(waits[20..], [3, 5, 9, 17, 33, 65, 129, 257, 301, 301]);
        backoff.reset();
        assert_eq!(backoff.next(asked, &Fixed(0xff)).as_secs(), 2);
    }

    #[test]
    fn an_appointment_is_kept_however_long_the_outage_before_it() {
        let mut backoff = Backoff::standard();
        for _ in 0..20 {
            backoff.next(Setback::Transient(None), &Fixed(0xff));
        }
        let wait = backoff.next(Setback::Transient(Some(SECOND * 40)), &Fixed(0xff));
        assert_eq!(wait, SECOND * 44, "not the five minutes of the outage");
    }

    /// Splitmix: enough of a draw for a histogram.
    struct Mixed(std::sync::atomic::AtomicU64);
    impl Entropy for Mixed {
        fn fill(&self, out: &mut [u8]) {
            for chunk in out.chunks_mut(8) {
                let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, std::sync::atomic::Ordering::Relaxed);
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
            }
        }
    }

    #[test]
    fn machines_that_failed_in_the_same_instant_are_apart_after_an_hour() {
        let entropy = Mixed(1.into());
        let mut arrivals = vec![0_u32; 300];
        for _ in 0..30_000 {
            let (mut backoff, mut at) = (Backoff::standard(), Duration::ZERO);
            while at < SECOND * 3600 {
                at += backoff.next(Setback::Transient(None), &entropy);
            }
            let second = usize::try_from((at - SECOND * 3600).as_secs()).unwrap();
            arrivals[second.min(299)] += 1;
        }
        // A hundred a second were the mean of an even spread over five minutes.
        let most = arrivals.iter().max().unwrap();
        assert!(*most < 250, "{most} in one second: {arrivals:?}");
    }

    #[test]
    fn a_final_refusal_pauses_for_long() {
        let mut backoff = Backoff::standard();
        assert_eq!(backoff.next(Setback::Final, &Fixed(0)), FINAL_PAUSE);
        assert_eq!(backoff.next(Setback::Final, &Fixed(0xff)), FINAL_PAUSE * 2);
    }
}
