//! When the writer drops what has expired: in steps, as long as there is something, and mostly between commits.

use std::time::{Duration, Instant};

use boundkey_store::Steady;
use time::OffsetDateTime;

/// What has expired is looked for this often.
const EVERY: Duration = Duration::from_secs(60);
/// After a step the commits have the writer for so many times as long.
const REST: u32 = 3;
/// Entries that one step drops: a commit that waits for it waits for some milliseconds.
pub(crate) const STEP: usize = 250;

pub(crate) struct Broom {
    /// The `now` of commits, the only clock there is here, and how far it is trusted with what cannot be undone.
    steady: Steady,
    looked: Instant,
    /// While something may be left: what ended before this goes,
    ended: Option<OffsetDateTime>,
    /// and before this, because somebody asked,
    asked: Option<OffsetDateTime>,
    /// the next step not before this.
    next: Instant,
}

impl Broom {
    pub(crate) fn new(instant: Instant) -> Self {
        Self { steady: Steady::default(), looked: instant, ended: None, asked: None, next: instant }
    }

    /// The wall clock's word.
    pub(crate) fn hear(&mut self, now: OffsetDateTime) {
        self.steady.hear(now);
    }

    /// Somebody knows that what ended before this may go.
    pub(crate) fn ask(&mut self, ended: OffsetDateTime) {
        self.asked = self.asked.max(Some(ended));
    }

    /// What ended before this is to be dropped, one step of it, now.
    pub(crate) fn step(&mut self, instant: Instant) -> Option<OffsetDateTime> {
        if instant.saturating_duration_since(self.looked) >= EVERY {
            self.looked = instant;
            self.ended = self.steady.long_ago(instant);
        }
        self.ended.max(self.asked).filter(|_| instant >= self.next)
    }

    /// A step took from `began` until `instant`; `more`: it did not get to the end.
    pub(crate) fn stepped(&mut self, began: Instant, instant: Instant, more: bool) {
        self.next = instant + instant.saturating_duration_since(began) * REST;
        if !more {
            (self.ended, self.asked) = (None, None);
        }
    }

    /// How long until the next step, while something is left.
    pub(crate) fn pause(&self, instant: Instant) -> Option<Duration> {
        self.ended.or(self.asked).map(|_| self.next.saturating_duration_since(instant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: OffsetDateTime = time::macros::datetime!(2026-05-01 12:00 UTC);
    const MINUTE: Duration = Duration::from_secs(60);

    /// Heard for an hour and a minute.
    fn trusting(start: Instant) -> (Broom, Instant) {
        let mut broom = Broom::new(start);
        for minute in 1..=61 {
            broom.hear(NOW + MINUTE * minute);
            let step = broom.step(start + MINUTE * minute);
            assert_eq!(step.is_some(), minute == 61, "{minute}: not in the first hour");
        }
        (broom, start + MINUTE * 61)
    }

    #[test]
    fn steps_follow_each_other_while_something_is_left_and_commits_have_three_quarters_of_the_time() {
        let (mut broom, mut instant) = trusting(Instant::now());
        let took = Duration::from_millis(10);
        for _ in 0..100 {
            let ended = broom.step(instant).unwrap();
            assert!(ended <= NOW + MINUTE * 61 - Duration::from_secs(86_400));
            broom.stepped(instant, instant + took, true);
            assert_eq!(broom.step(instant + took), None);
            assert_eq!(broom.pause(instant + took), Some(took * 3));
            instant += took * 4;
        }
        broom.step(instant);
        broom.stepped(instant, instant + took, false);
        assert_eq!((broom.pause(instant + took), broom.step(instant + MINUTE / 2)), (None, None));
    }

    #[test]
    fn whoever_asks_is_heeded_to_the_end() {
        let start = Instant::now();
        let mut broom = Broom::new(start);
        assert_eq!(broom.step(start), None);
        broom.ask(NOW);
        broom.ask(NOW - MINUTE);
        for minute in 0..5 {
            assert_eq!(broom.step(start + MINUTE * minute), Some(NOW));
            broom.stepped(start + MINUTE * minute, start + MINUTE * minute, minute < 4);
        }
        assert_eq!(broom.step(start + MINUTE * 5), None);
    }

    #[test]
    fn whoever_is_heard_no_more_has_nothing_dropped() {
        let (mut broom, instant) = trusting(Instant::now());
        broom.stepped(instant, instant, true);
        assert!(broom.step(instant).is_some());
        assert_eq!(broom.step(instant + MINUTE), None, "a minute later nobody has said what time it is");
        assert_eq!(broom.pause(instant + MINUTE), None);
    }
}
