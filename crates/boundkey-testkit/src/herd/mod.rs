//! A herd: many machines come to one server in virtual time, deterministic from one seed.
//!
//! The machines wait by the agent's real code (`Backoff`, `Deadline`, `spread_at_start`), the server admits by its real code
//! (`boundkey_service::admission`: shares, gates, appointments, wrong proofs). What is modelled is the work itself: a
//! handshake and a join take the time that [`Costs`] says (see `docs/operations.md`), and how many joins fit
//! into a second. The first machines' joins may be real ones besides: see [`Real`].
//!
//! ```text
//!  outage | power cut             connections -> handshakes -> messages -> joins
//!        \                          (Shares)      (Gate)       (Shares)    (Gate)
//!         `-> Try -> down? refused -> Backoff       |             |          |
//!              ^                                    `--- no room -+----------+--> Retry-After -> Backoff
//!              `----------------------------------------------------------------------'
//! ```

mod machine;
mod real;
mod report;
mod server;
mod world;

pub use real::Real;
pub use report::{Report, Row};
pub use world::run;

use std::time::Duration;

use boundkey_service::Limits;

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// The server was away for this long; every machine's renewal came due meanwhile.
    Outage(Duration),
    /// Everything had no power: the server answers after 5 s, and every agent starts within 10 s with a renewal that is
    /// overdue and certificates that are valid for this long (zero: expired).
    PowerCut(Duration),
}

/// What the server's work costs; the rest is the server's own code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Costs {
    /// Processors.
    pub processors: u32,
    /// Of a processor, for a join: proofs, decision, certificates, its part in the store's work.
    pub join: Duration,
    /// Of a processor, for a TLS handshake, `begin` and the answer.
    pub handshake: Duration,
    /// Of a processor, for a message whose proofs are wrong.
    pub wrong: Duration,
    /// From one commit to the next when there is always one; those that are made together share a sync.
    pub store: Duration,
    /// The shortest time that a commit takes.
    pub commit: Duration,
    /// One round trip between agent and server.
    pub round_trip: Duration,
    /// Bytes of memory for an open connection.
    pub connection_bytes: usize,
    /// Bytes of a join's message.
    pub message_bytes: usize,
}

impl Default for Costs {
    /// Two to three times what a release server was measured at (`cargo xtask load`: 0.55 ms for a join, 0.2 ms for a
    /// connection and its handshake; the store kept up with 1,800 joins a second), for slower machines. A connection was measured
    /// at 31 KiB.
    fn default() -> Self {
        Self {
            processors: 2,
            join: Duration::from_micros(1500),
            handshake: Duration::from_micros(600),
            wrong: Duration::from_micros(300),
            store: Duration::from_micros(1000),
            commit: Duration::from_millis(4),
            round_trip: Duration::from_millis(20),
            connection_bytes: 64 * 1024,
            message_bytes: 3 * 1024,
        }
    }
}

/// How many of a thousand machines (of all that came) may be served later than they were told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Late {
    /// When they were first turned away: others came meanwhile, of whom the server did not know yet.
    pub at_first: usize,
    /// When they were last turned away: they came back as asked and found no connection free.
    pub at_last: usize,
}

impl Late {
    /// Nothing is declared, for numbers or costs that nobody looked at.
    pub const UNDECLARED: Self = Self { at_first: 1000, at_last: 1000 };

    /// So many at first, and nobody at last.
    pub const fn at_first(at_first: usize) -> Self {
        Self { at_first, at_last: 0 }
    }
}

/// One run.
#[derive(Debug, Clone)]
pub struct Herd {
    /// From which everything random comes.
    pub seed: u64,
    /// Honest machines.
    pub machines: usize,
    /// Over how many networks (/24) they are spread, unevenly: a tenth of them live in one.
    pub networks: usize,
    /// Connections that one hostile network keeps busy with wrong proofs all the time.
    pub hostile: usize,
    /// What happens.
    pub scene: Scene,
    /// The server's limits.
    pub limits: Limits,
    /// What work costs.
    pub costs: Costs,
    /// So many of the machines join in earnest, on a memory store.
    pub real: usize,
    /// How many may be late.
    pub late: Late,
}

impl Herd {
    /// An hour's outage, default limits and costs, and nobody late.
    pub fn new(seed: u64, machines: usize) -> Self {
        Self {
            seed,
            machines,
            networks: (machines / 250).clamp(1, 4000),
            hostile: 0,
            scene: Scene::Outage(Duration::from_secs(3600)),
            limits: Limits::default(),
            costs: Costs::default(),
            real: 0,
            late: Late::at_first(0),
        }
    }

    /// By the formula of `docs/operations.md`: all connections open, at what one is held to by a test, and all the memory for
    /// messages in use. The server's own 30 MiB, its tables, the store's cache and the kernel's buffers are not in it.
    pub fn memory_bound(&self) -> usize {
        self.limits.connections * self.costs.connection_bytes + self.limits.message_bytes
    }
}
