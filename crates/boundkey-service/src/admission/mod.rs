//! Who is served now, who waits, who is asked to come again, and when: fair among source networks, bounded, and without a
//! clock or a runtime of its own.
//!
//! ```text
//!  arrival -> Shares: does this network have a place left?
//!               |                        \
//!               v                         `-> turned away: Book gives an appointment (Retry-After),
//!             Gate: runs at once               spread at three quarters of the pace that was measured
//!               |  \
//!               |   `-> FairQueue: networks take turns, and the addresses of a network among themselves
//!               v
//!             leaves -> Pace measures, the next in turn runs
//! ```
//!
//! [`Gate`] and all below it are plain state machines over a time that is handed in: the server drives them from its
//! sockets ([`Entrance`]), and the simulation of a herd drives the very same code in virtual time.
//!
//! Nothing here knows tokens or keys. A right proof is never refused because of anybody's wrong ones: whoever is turned
//! away is turned away because there is no room, before anything of the message was looked at.

mod book;
mod entrance;
mod gate;
mod pace;
mod queue;
mod shares;
mod source;
mod wrong;

pub use book::TurnedAway;
pub use entrance::{Entrance, Pass};
pub use gate::{Arrival, Bounds, Gate, Ticket};
pub use shares::{Held, SharedShares, Shares};
pub use source::Source;
pub use wrong::WrongProofs;
