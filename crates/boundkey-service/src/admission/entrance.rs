//! A [`Gate`] for many tasks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Arrival, Bounds, Gate, Source, Ticket, TurnedAway};
use crate::Clock;

/// A gate with its clock; cheap to clone.
#[derive(Clone)]
pub struct Entrance(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    patience: Duration,
    state: Mutex<State>,
}

struct State {
    gate: Gate,
    waiting: HashMap<Ticket, oneshot::Sender<()>>,
}

impl Entrance {
    /// An empty gate.
    pub fn new(bounds: Bounds, clock: Arc<dyn Clock>) -> Self {
        let state = Mutex::new(State { gate: Gate::new(bounds), waiting: HashMap::new() });
        Self(Arc::new(Inner { clock, patience: bounds.patience, state }))
    }

    /// Waits for a place, not longer than the gate's patience. Needs tokio's timer only where it waits.
    ///
    /// # Errors
    /// There is no room.
    pub async fn enter(
        &self,
        source: Source,
        trusted: bool,
        lot: impl Fn() -> u64,
    ) -> Result<Pass, TurnedAway> {
        let (ticket, called) = {
            let now = self.now();
            let mut state = self.lock();
            match state.gate.arrive(now, source, trusted, &lot) {
                Arrival::Runs => return Ok(self.pass(source)),
                Arrival::TurnedAway(told) => return Err(told),
                Arrival::Waits(ticket) => {
                    let (call, called) = oneshot::channel();
                    state.waiting.insert(ticket, call);
                    (ticket, called)
                }
            }
        };
        // Whoever goes away while he waits gives his place back.
        let place = Place { entrance: self, source, ticket: Some(ticket) };
        let in_time = tokio::time::timeout(self.0.patience, called).await.is_ok();
        // A call may have come at the very end of the patience.
        if place.called() || in_time {
            return Ok(self.pass(source));
        }
        Err(self.turn_away(trusted, lot()))
    }

    /// An appointment for somebody for whom there is no room elsewhere.
    pub fn turn_away(&self, trusted: bool, lot: u64) -> TurnedAway {
        let now = self.now();
        self.lock().gate.turn_away(now, trusted, lot)
    }

    /// A look at the gate.
    pub fn look<T>(&self, at: impl FnOnce(&Gate) -> T) -> T {
        at(&self.lock().gate)
    }

    fn pass(&self, source: Source) -> Pass {
        Pass { entrance: self.clone(), source }
    }

    fn now(&self) -> Duration {
        self.0.clock.monotonic()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self, source: Source) {
        let now = self.now();
        let mut state = self.lock();
        state.gate.leave(now, source);
        call_next(&mut state, now);
    }
}

/// A ticket is called while it stands in the queue: whoever gives up takes it out first, under the same lock.
fn call_next(state: &mut State, now: Duration) {
    while let Some(ticket) = state.gate.admit(now) {
        if let Some(call) = state.waiting.remove(&ticket) {
            // Who does not hear it any more finds out, by `give_up`, that he runs, and leaves.
            let _ = call.send(());
        }
    }
}

/// A place in the queue.
struct Place<'a> {
    entrance: &'a Entrance,
    source: Source,
    ticket: Option<Ticket>,
}

impl Place<'_> {
    /// Ends the waiting; true if it runs by now.
    fn called(mut self) -> bool {
        self.ticket.take().is_none_or(|ticket| !self.take_out(ticket))
    }

    fn take_out(&self, ticket: Ticket) -> bool {
        let mut state = self.entrance.lock();
        state.waiting.remove(&ticket);
        state.gate.give_up(self.source, ticket)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        // Dropped while it waited, with the request itself: if it was called just now, its place is free again.
        if let Some(ticket) = self.ticket.take()
            && !self.take_out(ticket)
        {
            self.entrance.leave(self.source);
        }
    }
}

/// Leave to work; given back when it is dropped.
pub struct Pass {
    entrance: Entrance,
    source: Source,
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.entrance.leave(self.source);
    }
}
