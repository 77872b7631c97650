//! How far a clock is trusted with a deletion: what was dropped under a clock that was wrong is lost. Of a revocation the
//! certificate is good again; of the audit log nobody knows what it said.

use std::time::{Duration, Instant};

use time::OffsetDateTime;

/// So long, by the clock that nobody sets, a time must have been reached before anything is deleted by it.
const TRIAL: Duration = Duration::from_secs(3600);
/// And this much later than its end an entry is deleted.
const MARGIN: time::Duration = time::Duration::days(1);

/// What the wall clock said an hour ago, by the clock that nobody sets, and says still.
#[derive(Debug, Default)]
pub struct Steady {
    /// Since it was asked last.
    heard: Option<OffsetDateTime>,
    on_trial: Option<(Instant, OffsetDateTime)>,
    reached: Option<OffsetDateTime>,
}

impl Steady {
    /// The wall clock's word.
    pub fn hear(&mut self, now: OffsetDateTime) {
        self.heard = Some(now);
    }

    /// What ended before this time may be deleted; none in the first hour, nor while nothing is heard: what was said long
    /// ago may have been wrong.
    pub fn long_ago(&mut self, instant: Instant) -> Option<OffsetDateTime> {
        let now = self.heard.take()?;
        let (since, said) = *self.on_trial.get_or_insert((instant, now));
        if instant.saturating_duration_since(since) >= TRIAL {
            self.reached = Some(said.min(now));
            self.on_trial = Some((instant, now));
        }
        self.reached?.min(now).checked_sub(MARGIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: OffsetDateTime = time::macros::datetime!(2026-05-01 12:00 UTC);
    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: time::Duration = time::Duration::days(1);
    const YEARS: time::Duration = time::Duration::days(3650);

    fn long_ago(steady: &mut Steady, instant: Instant, now: OffsetDateTime) -> Option<OffsetDateTime> {
        steady.hear(now);
        steady.long_ago(instant)
    }

    #[test]
    fn a_clock_is_believed_what_it_said_an_hour_ago() {
        let (mut steady, start) = (Steady::default(), Instant::now());
        assert_eq!(long_ago(&mut steady, start, NOW), None);
        assert_eq!(long_ago(&mut steady, start + HOUR - Duration::from_nanos(1), NOW + HOUR), None);
        assert_eq!(long_ago(&mut steady, start + HOUR, NOW + HOUR), Some(NOW - DAY));
        assert_eq!(long_ago(&mut steady, start + 2 * HOUR, NOW + 2 * HOUR), Some(NOW + HOUR - DAY));
    }

    #[test]
    fn a_clock_that_is_ahead_for_less_than_an_hour_deletes_nothing() {
        for jump in [0, 1, 59, 60, 61, 119] {
            let (mut steady, start) = (Steady::default(), Instant::now());
            for minute in 0..240_u32 {
                let true_time = NOW + Duration::from_secs(60) * minute;
                let ahead = (jump..jump + 59).contains(&minute);
                let now = if ahead { true_time + YEARS } else { true_time };
                let long_ago = long_ago(&mut steady, start + Duration::from_secs(60) * minute, now);
                assert!(long_ago.is_none_or(|end| end <= true_time - DAY), "{minute}: {long_ago:?}");
            }
        }
    }

    #[test]
    fn a_clock_that_was_set_back_deletes_by_what_it_says_now() {
        let (mut steady, start) = (Steady::default(), Instant::now());
        long_ago(&mut steady, start, NOW + YEARS);
        assert_eq!(long_ago(&mut steady, start + HOUR, NOW + YEARS), Some(NOW + YEARS - DAY));
        assert_eq!(long_ago(&mut steady, start + HOUR, NOW), Some(NOW - DAY));
        assert_eq!(
            long_ago(&mut steady, start + HOUR, OffsetDateTime::UNIX_EPOCH),
            Some(OffsetDateTime::UNIX_EPOCH - DAY)
        );
    }

    /// Nobody came since the clock was wrong: that nothing else was heard is no sign that it was right.
    #[test]
    fn a_clock_that_was_ahead_when_it_was_last_heard_deletes_nothing() {
        let (mut steady, start) = (Steady::default(), Instant::now());
        assert_eq!(long_ago(&mut steady, start, NOW + YEARS), None);
        for hours in 1..100 {
            assert_eq!(steady.long_ago(start + HOUR * hours), None);
        }
        assert_eq!(long_ago(&mut steady, start + HOUR * 100, NOW), Some(NOW - DAY));
    }

    #[test]
    fn the_beginning_of_time_is_no_panic() {
        let first = time::PrimitiveDateTime::MIN.assume_utc();
        let (mut steady, start) = (Steady::default(), Instant::now());
        long_ago(&mut steady, start, first);
        assert_eq!(long_ago(&mut steady, start + HOUR, first), None);
    }
}
