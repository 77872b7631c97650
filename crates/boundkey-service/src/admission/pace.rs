//! How fast the work goes while there is more of it than can be done at a time.

use std::time::Duration;

/// Before anything was measured: a hundred a second, so that the first who are turned away are spread rather too wide.
const GUESS: Duration = Duration::from_millis(10);
const FASTEST: Duration = Duration::from_micros(20);
const SLOWEST: Duration = Duration::from_secs(1);
/// A measurement takes at least so many departures and so long, or this long in any case.
const DEPARTURES: u32 = 64;
const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(2);

/// The mean time from one departure to the next, measured only while every place is taken: otherwise it would be the
/// pace of the arrivals. Departures come in bunches (a store shares its syncs), so that it is measured over many.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    measured: bool,
    since: Option<Duration>,
    busy: Duration,
    departures: u32,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { interval: GUESS, measured: false, since: None, busy: Duration::ZERO, departures: 0 }
    }

    /// Between two departures, while all places are taken.
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// Somebody left, and whether every place was taken until then.
    pub(super) fn departed(&mut self, now: Duration, full: bool) {
        let Some(since) = self.since.replace(now).filter(|_| full) else { return };
        // A machine that slept, or a clock that was stepped, is no measurement.
        self.busy += now.saturating_sub(since).min(SLOWEST);
        self.departures += 1;
        if (self.departures >= DEPARTURES && self.busy >= SHORTEST) || self.busy >= LONGEST {
            let sample = self.busy / self.departures;
            let next = if self.measured { (self.interval * 3 + sample) / 4 } else { sample };
            self.interval = next.clamp(FASTEST, SLOWEST);
            (self.measured, self.busy, self.departures) = (true, Duration::ZERO, 0);
        }
    }

    /// All places have just been taken: the time before does not count.
    pub(super) fn filled(&mut self, now: Duration) {
        self.since = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn bunches_are_averaged_and_idle_time_is_not_counted() {
        let mut pace = Pace::new();
        let mut now = Duration::from_secs(5);
        pace.filled(now);
        for _ in 0..50 {
            now += MS * 8;
            for _ in 0..4 {
                pace.departed(now, true);
            }
        }
        let first = pace.interval();
        assert!(first > MS * 19 / 10 && first < MS * 22 / 10, "{first:?}");
        // An hour of idleness, then the same again.
        now += Duration::from_secs(3600);
        pace.departed(now, false);
        pace.filled(now);
        for _ in 0..50 {
            now += MS * 8;
            for _ in 0..4 {
                pace.departed(now, true);
            }
        }
        assert!(pace.interval() > MS * 19 / 10 && pace.interval() < MS * 22 / 10, "{:?}", pace.interval());
    }

    #[test]
    fn a_stalled_store_slows_the_pace_to_its_bound() {
        let mut pace = Pace::new();
        let mut now = Duration::ZERO;
        pace.filled(now);
        for _ in 0..64 {
            now += Duration::from_secs(30);
            pace.departed(now, true);
        }
        assert_eq!(pace.interval(), SLOWEST);
    }
}
