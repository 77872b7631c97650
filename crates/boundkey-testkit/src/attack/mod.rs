//! Who wants to stop a server, fill it or learn from it, and what that comes to for a real one.
//!
//! Each attacker is real sockets against a real process, and as little work for himself as it takes. Honest machines and an
//! administrator go on meanwhile, each on a thread of its own; [`run`] measures them before and during the attack, and
//! what the server took.
//!
//! ```text
//!   thread: machines join  ──TLS──>┐
//!   thread: `status` ──Unix socket─> boundkey-server <──TLS── thread: Attack::run, from 127.X.Y.1
//!                                        │
//!                      memory, processor, audit rows, bytes: Measured
//! ```

mod frames;
mod honest;
mod http2;
mod run;
mod silent;
mod slow;
mod stage;
mod target;
mod thief;
mod wire;
mod wrong;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use async_trait::async_trait;

pub use http2::{Flood, Flooder};
pub use run::{Measured, Pace, Settings, run};
pub use silent::{Silence, Silent};
pub use slow::{SlowReader, Stall};
pub use stage::Stage;
pub use target::{Http1, Target, network};
pub use thief::{Loot, Thief};
pub use wire::Forger;
pub use wrong::{Names, WrongProof};

/// How much each attacker may use: a small server's test, or all that the report used.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// The server's `connections`.
    pub places: usize,
    /// Source networks of whoever comes from many.
    pub networks: usize,
    /// Connections that do not read.
    pub readers: usize,
    /// Rows of revoked certificates that make the lists large.
    pub revoked: usize,
    /// Tokens whose names are known.
    pub names: usize,
    /// Instances of a leaked static key that are there already.
    pub instances: usize,
    /// The soft limit of descriptors that a login shell gives.
    pub descriptors: usize,
}

impl Scale {
    /// As in the report: default limits.
    pub fn full() -> Self {
        Self {
            places: 10_000,
            networks: 680,
            readers: 300,
            revoked: 200_000,
            names: 60,
            instances: 400_000,
            descriptors: 1024,
        }
    }
}

/// What an attacker did so far; his alone to count.
#[derive(Debug, Default)]
pub struct Effort {
    /// Connections made.
    pub connections: Cell<u64>,
    /// Requests or frames that ask for work.
    pub requests: Cell<u64>,
    /// Joins that were admitted.
    pub admitted: Cell<u64>,
    /// Connections that the server closed, or did not take.
    pub ended: Cell<u64>,
    /// He has all that he wanted: from here on it is measured for its time.
    pub ready: Cell<bool>,
    /// What came of it, in words.
    pub note: RefCell<String>,
}

pub(crate) fn add(counter: &Cell<u64>, more: u64) {
    counter.set(counter.get() + more);
}

/// One attacker.
#[async_trait(?Send)]
pub trait Attack: Send {
    /// What the table shows.
    fn name(&self) -> String;

    /// Makes ready what he finds: tokens, rows in the store, limits of the process. Honest machines are enrolled already.
    fn arm(&mut self, _stage: &mut Stage) {}

    /// Attacks until it is dropped; on a runtime of one thread, within a `LocalSet`.
    async fn run(&self, target: Target, effort: Rc<Effort>);
}

/// Everybody who is known.
pub fn everybody(scale: Scale) -> Vec<Box<dyn Attack>> {
    let mut all: Vec<Box<dyn Attack>> = Vec::new();
    for how in Silence::ALL {
        all.push(Box::new(Silent { how, places: 1_100, networks: 1, descriptors: Some(scale.descriptors) }));
    }
    for how in Silence::ALL {
        let places = scale.places + scale.places / 8;
        all.push(Box::new(Silent { how, places, networks: scale.networks, descriptors: None }));
    }
    for stall in Stall::ALL {
        all.push(Box::new(SlowReader {
            stall,
            readers: scale.readers,
            networks: 40,
            revoked: scale.revoked,
        }));
    }
    for flood in Flood::ALL {
        all.push(Box::new(Flooder { flood, connections: 64, networks: 8 }));
    }
    for names in Names::ALL {
        all.push(Box::new(WrongProof::new(names, scale.names, 40)));
    }
    for loot in Loot::ALL {
        all.push(Box::new(Thief::new(loot, scale.instances)));
    }
    all
}
