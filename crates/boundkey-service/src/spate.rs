//! Log lines that strangers cause: some of each kind a second; the others are counted, and a line a second says how many.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A request of a stranger was refused.
    Refused,
    /// It failed, or there was no room for it.
    Failed,
    /// A join that proved nothing was refused.
    Unproven,
    /// One whose sender proved something was.
    Proven,
    /// A connection could not be accepted.
    Accepting,
    /// There was no place for a connection.
    Crowded,
}

/// What is left out, as the log calls it, and how many lines of it a second are written.
const KINDS: [(Kind, &str, u32); 6] = [
    (Kind::Refused, "request refused", 10),
    (Kind::Failed, "request failed", 10),
    (Kind::Unproven, "join refused", 10),
    (Kind::Proven, "join refused", 10),
    (Kind::Accepting, "cannot accept a connection", 1),
    (Kind::Crowded, "its network has its share of the connections", 1),
];

/// The lines of one kind. Times are since any fixed moment.
#[derive(Debug, Default)]
struct Spate {
    second: u64,
    written: u32,
    left_out: u64,
}

impl Spate {
    fn admit(&mut self, now: Duration, a_second: u32) -> bool {
        if self.second != now.as_secs() {
            (self.second, self.written) = (now.as_secs(), 0);
        }
        let admitted = self.written < a_second;
        if admitted {
            self.written += 1;
        } else {
            self.left_out += 1;
        }
        admitted
    }
}

/// The lines of every kind.
#[derive(Debug, Default)]
pub(crate) struct Spates([Mutex<Spate>; KINDS.len()]);

impl Spates {
    fn of(&self, kind: Kind) -> MutexGuard<'_, Spate> {
        self.0[kind as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more line may be written now; if not, it is counted.
    pub(crate) fn admit(&self, kind: Kind, now: Duration) -> bool {
        self.of(kind).admit(now, KINDS[kind as usize].2)
    }

    /// What was left out since this was asked the last time.
    pub(crate) fn left_out(&self) -> Vec<(&'static str, u64)> {
        let counted =
            KINDS.iter().map(|(kind, what, _)| (*what, std::mem::take(&mut self.of(*kind).left_out)));
        counted.filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_stand_where_they_are_looked_for() {
        for (at, (kind, ..)) in KINDS.iter().enumerate() {
            assert_eq!(*kind as usize, at);
        }
    }

    #[test]
    fn of_a_flood_some_lines_a_second_are_written_and_the_others_counted() {
        let spates = Spates::default();
        let mut written = 0;
        for n in 0..5000 {
            written += u32::from(spates.admit(Kind::Refused, Duration::from_millis(7_000 + n)));
        }
        assert_eq!(written, 50);
        assert!(spates.admit(Kind::Accepting, Duration::from_secs(7)), "a flood of one kind hides no other");
        assert!(!spates.admit(Kind::Accepting, Duration::from_millis(7_999)));
        assert_eq!(spates.left_out(), [("request refused", 4950), ("cannot accept a connection", 1)]);
        assert!(spates.left_out().is_empty(), "each is told once");
        assert!(spates.admit(Kind::Refused, Duration::from_secs(12)));
    }
}
