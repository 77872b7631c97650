//! What the real code leaves behind while it is polled: messages, saves and commits; and the points at which it may die.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use boundkey_client::{Reply, TransportError};
use boundkey_keys::Thumbprint;
use boundkey_store::Write;
use time::OffsetDateTime;

pub(super) type ActorId = usize;

/// Where a process may die, or a message be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Point {
    /// The client dies, and its state is not written.
    BeforeSave,
    /// The client dies once its state is written.
    AfterSave,
    /// The request is lost.
    Request,
    /// The request is under way; the client dies.
    Sent,
    /// The server dies before it reads or writes.
    BeforeStore,
    /// The server dies after it read or wrote: the answer is lost too.
    AfterStore,
    /// The answer is lost.
    Answer,
    /// The client dies as the answer arrives.
    Arrived,
}

/// What an actor's durable state says, as far as the judge wants to know it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct DiskView {
    pub(super) attempt: Option<[u8; 16]>,
    pub(super) bound: Option<Thumbprint>,
    pub(super) new: Option<Thumbprint>,
    /// Hash of the join state's text.
    pub(super) state: Option<[u8; 32]>,
}

pub(super) struct Posted {
    pub(super) actor: ActorId,
    pub(super) slot: u64,
    pub(super) is_begin: bool,
    pub(super) body: Vec<u8>,
}

pub(super) struct Committed {
    pub(super) task: u64,
    pub(super) at: OffsetDateTime,
    pub(super) writes: Vec<Write>,
}

/// Enumerated cuts: every point that is reached is counted; at some of the counts the process dies.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    pub(super) on: bool,
    pub(super) reached: Vec<Point>,
    pub(super) at: Vec<usize>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) outbox: Vec<Posted>,
    pub(super) saves: Vec<(ActorId, DiskView)>,
    pub(super) commits: Vec<Committed>,
    pub(super) replies: HashMap<u64, Result<Reply, TransportError>>,
    next_slot: u64,
    /// The task that is polled.
    pub(super) current: u64,
    /// While servers start, nothing yields.
    pub(super) quiet: bool,
    pub(super) cuts: Cuts,
    /// A save of this actor dies: before (true) or after it; the number counts down.
    pub(super) armed: HashMap<ActorId, (u32, bool)>,
    pub(super) died: Vec<ActorId>,
    /// A server died at a store operation of this task.
    pub(super) server_died: Vec<u64>,
    /// So many commits in a thousand fail, or have an unknown outcome.
    pub(super) store_faults: u32,
    pub(super) fault_seed: u64,
    pub(super) store_failures: u64,
    /// Of every name, how many: for the awakeness test, rules that are broken on purpose.
    pub(super) sabotage: Option<super::Sabotage>,
}

/// Shared by the world and by the edges that it hands to the real code.
#[derive(Clone, Default)]
pub(super) struct Hub(Arc<Mutex<State>>);

impl Hub {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Parks a message; the future ends when the world answers it.
    pub(super) fn post(&self, actor: ActorId, is_begin: bool, body: Vec<u8>) -> Parked {
        let mut state = self.lock();
        state.next_slot += 1;
        let slot = state.next_slot;
        state.outbox.push(Posted { actor, slot, is_begin, body });
        Parked { hub: self.clone(), slot }
    }

    /// Gives others a turn; dropped there, the process died there.
    pub(super) async fn pause(&self) {
        if !self.lock().quiet {
            Pause(false).await;
        }
    }
}

impl State {
    /// Counts a point; true if the process is to die there.
    pub(super) fn reach(&mut self, point: Point) -> bool {
        if !self.cuts.on {
            return false;
        }
        let number = self.cuts.reached.len();
        self.cuts.reached.push(point);
        self.cuts.at.contains(&number)
    }
}

pub(super) struct Parked {
    hub: Hub,
    slot: u64,
}

impl Future for Parked {
    type Output = Result<Reply, TransportError>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        match self.hub.lock().replies.remove(&self.slot) {
            Some(reply) => Poll::Ready(reply),
            None => Poll::Pending,
        }
    }
}

struct Pause(bool);

impl Future for Pause {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}
