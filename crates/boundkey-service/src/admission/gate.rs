//! Who of those that arrive is worked on at once, who waits, and who is turned away.

use std::time::Duration;

use super::book::Book;
use super::pace::Pace;
use super::queue::FairQueue;
use super::{Shares, Source, TurnedAway};

/// What a gate may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Worked on at a time.
    pub at_once: usize,
    /// Waiting.
    pub queue: usize,
    /// How long anybody waits. Who would have to wait longer by the pace that was measured is turned away at once.
    pub patience: Duration,
}

/// Somebody who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(u64);

/// What becomes of an arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It is worked on: [`Gate::leave`] when it is done.
    Runs,
    /// It waits until [`Gate::leave`] names its ticket, or until its patience ends ([`Gate::give_up`]).
    Waits(Ticket),
    /// There is no room.
    TurnedAway(TurnedAway),
}

/// Bounded places, a bounded fair queue, and appointments for the rest. Times are since any fixed moment.
#[derive(Debug)]
pub struct Gate {
    bounds: Bounds,
    running: Shares,
    waiting: Shares,
    queue: FairQueue<Ticket>,
    next: u64,
    pace: Pace,
    book: Book,
    turned_away: u64,
}

impl Gate {
    /// An empty gate. `queue: 0` turns away whoever cannot run at once.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            running: Shares::new(bounds.at_once),
            waiting: Shares::new(bounds.queue),
            queue: FairQueue::new(),
            next: 0,
            pace: Pace::new(),
            book: Book::default(),
            turned_away: 0,
        }
    }

    /// Somebody comes. `trusted`: false for a source that lately proved nothing, again and again; it has its share like
    /// everybody, but takes no appointment from others. `lot` makes a random number.
    pub fn arrive(
        &mut self,
        now: Duration,
        source: Source,
        trusted: bool,
        lot: impl FnOnce() -> u64,
    ) -> Arrival {
        // Nobody who waits is fit to run: he would have been admitted when the last place became free.
        if self.running.take(source, 1) {
            self.note_if_full(now);
            return Arrival::Runs;
        }
        let before = u32::try_from(self.queue.before(source)).unwrap_or(u32::MAX);
        let too_long = self.pace.interval().saturating_mul(before) > self.bounds.patience;
        if self.bounds.queue == 0 || too_long || !self.waiting.take(source, 1) {
            return Arrival::TurnedAway(self.turn_away(now, trusted, lot()));
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        self.queue.push(source, ticket);
        Arrival::Waits(ticket)
    }

    /// Somebody is done. Call [`Gate::admit`] afterwards, until it names nobody.
    pub fn leave(&mut self, now: Duration, source: Source) {
        let full = self.running.used() >= self.full_at();
        self.pace.departed(now, full);
        self.running.give(source, 1);
    }

    /// The next who may run; he runs now.
    pub fn admit(&mut self, now: Duration) -> Option<Ticket> {
        let running = &self.running;
        if running.used() >= self.bounds.at_once.max(1) {
            return None;
        }
        let (source, ticket) = self.queue.pop(&|network| running.allows_in(network))?;
        self.waiting.give(source, 1);
        self.running.take(source, 1);
        self.note_if_full(now);
        Some(ticket)
    }

    /// Somebody who waited waits no longer: his patience ended, or he went away. False if he runs by now.
    pub fn give_up(&mut self, source: Source, ticket: Ticket) -> bool {
        let waited = self.queue.remove(source, ticket);
        if waited {
            self.waiting.give(source, 1);
        }
        waited
    }

    /// An appointment for somebody for whom there is no room.
    pub fn turn_away(&mut self, now: Duration, trusted: bool, lot: u64) -> TurnedAway {
        self.turned_away += 1;
        let (interval, patience) = (self.pace.interval(), self.bounds.patience);
        if trusted {
            let waiting = u32::try_from(self.queue.len()).unwrap_or(u32::MAX);
            let ahead = interval.saturating_mul(waiting).min(patience);
            self.book.appointment(now, interval, (ahead, patience), lot)
        } else {
            self.book.by_lot(now, patience, lot)
        }
    }

    /// How many are worked on.
    pub fn running(&self) -> usize {
        self.running.used()
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// How many were turned away since the start.
    pub fn turned_away(&self) -> u64 {
        self.turned_away
    }

    /// Between two departures while there is more to do than can be done at a time.
    pub fn interval(&self) -> Duration {
        self.pace.interval()
    }

    /// One source alone does not get every place, and its load is a load all the same.
    fn full_at(&self) -> usize {
        (self.bounds.at_once - self.bounds.at_once / 3).max(1)
    }

    fn note_if_full(&mut self, now: Duration) {
        if self.running.used() == self.full_at() {
            self.pace.filled(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn source(network: u8, host: u8) -> Source {
        Source::of(Some(IpAddr::from([10, 0, network, host])))
    }

    fn gate(at_once: usize, queue: usize) -> Gate {
        Gate::new(Bounds { at_once, queue, patience: Duration::from_secs(5) })
    }

    #[test]
    fn first_some_run_then_some_wait_then_the_others_are_turned_away() {
        let mut gate = gate(1, 2);
        assert_eq!(gate.arrive(NOW, source(1, 1), true, || 0), Arrival::Runs);
        let Arrival::Waits(first) = gate.arrive(NOW, source(1, 2), true, || 0) else { panic!("no ticket") };
        let Arrival::Waits(second) = gate.arrive(NOW, source(2, 1), true, || 0) else { panic!("no ticket") };
        let Arrival::TurnedAway(told) = gate.arrive(NOW, source(3, 1), true, || 0) else { panic!("room") };
        assert_eq!(told.retry_after, Duration::from_secs(1));
        assert_eq!((gate.running(), gate.waiting(), gate.turned_away()), (1, 2, 1));
        gate.leave(NOW, source(1, 1));
        assert_eq!(gate.admit(NOW), Some(first));
        assert_eq!(gate.admit(NOW), None);
        assert!(!gate.give_up(source(1, 2), first), "he runs");
        assert!(gate.give_up(source(2, 1), second));
        gate.leave(NOW, source(1, 2));
        assert_eq!((gate.admit(NOW), gate.running(), gate.waiting()), (None, 0, 0));
    }

    #[test]
    fn a_machine_runs_beside_a_network_that_takes_all_it_can() {
        let mut gate = gate(256, 1024);
        for n in 0..5000_u32 {
            let host = u8::try_from(n % 250).unwrap();
            gate.arrive(NOW, source(1, host), false, || u64::from(n));
        }
        assert!(gate.running() < 256, "{} run", gate.running());
        assert!(gate.waiting() > 0);
        assert_eq!(
            gate.arrive(NOW, source(2, 1), true, || 0),
            Arrival::Runs,
            "at once, before those who wait"
        );
    }

    #[test]
    fn a_machine_that_waits_is_next_however_many_of_one_network_wait_before_it() {
        let mut gate = gate(4, 1024);
        for network in 0..40_u8 {
            gate.arrive(NOW, source(network, 1), true, || 0);
        }
        let mut turns = 0;
        while let Arrival::Waits(_) = gate.arrive(NOW, source(0, 2), true, || 0) {
            turns += 1;
        }
        assert!(turns > 300, "{turns}");
        let Arrival::Waits(mine) = gate.arrive(NOW, source(99, 1), true, || 0) else { panic!("no ticket") };
        let mut running: std::collections::VecDeque<Source> = (0..4).map(|n| source(n, 1)).collect();
        let mut before = 0;
        while let Some(done) = running.pop_front() {
            gate.leave(NOW, done);
            let admitted = gate.admit(NOW).unwrap();
            if admitted == mine {
                break;
            }
            before += 1;
            running.push_back(source(0, 2));
            assert!(before < 50, "behind {before}");
        }
    }

    #[test]
    fn who_would_wait_longer_than_anybody_may_is_turned_away_at_once() {
        let mut gate = gate(1, 100_000);
        let mut now = NOW;
        gate.arrive(now, source(1, 1), true, || 0);
        for _ in 0..64 {
            now += Duration::from_millis(500);
            gate.leave(now, source(1, 1));
            gate.arrive(now, source(1, 1), true, || 0);
        }
        assert_eq!(gate.interval(), Duration::from_millis(500));
        let mut waiting = 0;
        while let Arrival::Waits(_) = gate.arrive(now, source(2, 1), true, || 0) {
            waiting += 1;
        }
        assert_eq!(waiting, 11);
    }
}
