//! Appointments for those who are turned away, so that they come back one after the other.

use std::time::Duration;

/// The soonest anybody is asked to come again.
const SOONEST: Duration = Duration::from_secs(1);
/// Beyond this appointments are drawn by lot: agents wait no longer than an hour for anybody.
const HORIZON: Duration = Duration::from_secs(3000);
/// Of the pace that was measured, three quarters are given away: the rest is for those who come without appointment.
const GIVEN_AWAY: (u32, u32) = (4, 3);
/// What is added to an announcement: agents come up to a tenth later than asked (at least a second), and may wait again.
const LATE: u32 = 10;

/// What somebody is told for whom there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnedAway {
    /// `Retry-After`.
    pub retry_after: Duration,
    /// Within this time everybody is served who was turned away until now, as things stand: if they come back as asked, and
    /// not many more come.
    pub all_within: Duration,
}

/// The next free appointment; nothing is kept of those that were given.
#[derive(Debug, Default)]
pub(super) struct Book {
    until: Duration,
}

impl Book {
    /// An appointment of its own for each, at three quarters of the pace, once those are done who wait now: that takes
    /// `ahead`. `lot` is random.
    pub(super) fn appointment(
        &mut self,
        now: Duration,
        interval: Duration,
        (ahead, patience): (Duration, Duration),
        lot: u64,
    ) -> TurnedAway {
        let slot = self.until.max(now + ahead.max(SOONEST));
        let wait = slot - now;
        let retry_after = if wait > HORIZON {
            between(HORIZON / 2, HORIZON, lot)
        } else {
            self.until = slot + interval * GIVEN_AWAY.0 / GIVEN_AWAY.1;
            wait
        };
        self.told(now, retry_after, patience, lot)
    }

    /// By lot within the next minute, and nothing is booked: for whoever proves nothing, again and again.
    pub(super) fn by_lot(&self, now: Duration, patience: Duration, lot: u64) -> TurnedAway {
        self.told(now, between(Duration::from_secs(30), Duration::from_secs(60), lot), patience, lot)
    }

    fn told(&self, now: Duration, retry_after: Duration, patience: Duration, lot: u64) -> TurnedAway {
        // The header has whole seconds: up or down by lot, so that the mean is right and nobody comes too soon for all.
        let up = u64::from(retry_after.subsec_nanos()) > (lot >> 32) % 1_000_000_000;
        let retry_after = Duration::from_secs(retry_after.as_secs().max(1) + u64::from(up));
        let last = self.until.saturating_sub(now).max(retry_after);
        let all_within = last + (last / LATE).max(SOONEST) + patience + SOONEST;
        TurnedAway { retry_after, all_within: Duration::from_secs(all_within.as_secs() + 1) }
    }
}

fn between(low: Duration, high: Duration, lot: u64) -> Duration {
    let span = u64::try_from((high - low).as_millis()).unwrap_or(u64::MAX).max(1);
    low + Duration::from_millis(lot % span)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const NOBODY: (Duration, Duration) = (Duration::ZERO, Duration::ZERO);

    #[test]
    fn a_thousand_who_are_turned_away_together_come_back_apart() {
        let mut book = Book::default();
        let now = Duration::from_secs(77);
        let mut waits = std::collections::BTreeMap::<u64, u32>::new();
        let mut last = None;
        for lot in 0..1000_u64 {
            let lot = lot.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let told = book.appointment(now, Duration::from_millis(30), NOBODY, lot);
            *waits.entry(told.retry_after.as_secs()).or_default() += 1;
            last = Some(told);
        }
        // 25 a second are given away of 33.
        assert!(waits.values().all(|count| *count <= 40), "{waits:?}");
        assert_eq!(waits.len(), 41, "{waits:?}");
        let told = last.unwrap();
        assert!(told.all_within >= told.retry_after + told.retry_after / 10 + SECOND, "{told:?}");
        assert!(told.all_within < SECOND * 50, "{told:?}");
    }

    #[test]
    fn the_book_is_empty_again_once_its_time_has_passed() {
        let mut book = Book::default();
        for _ in 0..100 {
            book.appointment(SECOND, SECOND, NOBODY, 0);
        }
        let told = book.appointment(SECOND * 200, SECOND, NOBODY, 0);
        assert_eq!(told.retry_after, SECOND);
    }

    #[test]
    fn beyond_the_horizon_appointments_are_drawn_and_the_book_does_not_grow() {
        let mut book = Book::default();
        for lot in 0..100_000_u64 {
            let lot = lot.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let told = book.appointment(Duration::ZERO, SECOND, NOBODY, lot);
            assert!(told.retry_after <= HORIZON + SECOND);
        }
        assert!(book.until <= HORIZON + SECOND * 2);
    }

    #[test]
    fn who_proves_nothing_takes_no_appointment_from_anybody() {
        let mut book = Book::default();
        for lot in 0..10_000 {
            let told = book.by_lot(SECOND, Duration::ZERO, lot);
            assert!((SECOND * 30..=SECOND * 61).contains(&told.retry_after));
        }
        assert_eq!(book.appointment(SECOND, SECOND, NOBODY, 0).retry_after, SECOND);
    }
}
