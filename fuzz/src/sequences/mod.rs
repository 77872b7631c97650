//! Targets whose bytes are operations: what the state machines do in any order, not what parsers do with any text.
//!
//! Each byte is one choice, so that a changed byte changes one operation. With `BOUNDKEY_FUZZ_TRACE` set, a target says
//! what it does.

mod client;
mod client_all;
mod decide;
mod forge;
mod keystore;
mod server;
mod server_all;
mod store;
mod world;

pub use client::client_ceremony;
pub use client_all::client_accepts_all;
pub use decide::decide_sequence;
pub use keystore::keystore_transitions;
pub use server::server_ceremony;
pub use server_all::server_accepts_all;
pub use store::store_batches;

/// Operations of one input at most: long inputs only slow the search down.
const MAX_OPERATIONS: usize = 64;
/// The same where an operation signs and checks in earnest.
const MAX_JOINS: usize = 16;

/// The bytes, as choices. When they are used up, every choice is the first one.
struct Choices<'a> {
    rest: &'a [u8],
    operations: usize,
    most: usize,
}

impl<'a> Choices<'a> {
    fn new(data: &'a [u8]) -> Self {
        Self { rest: data, operations: 0, most: MAX_OPERATIONS }
    }

    /// For operations that cost a join each.
    fn of_joins(data: &'a [u8]) -> Self {
        Self { most: MAX_JOINS, ..Self::new(data) }
    }

    /// Is there another operation?
    fn more(&mut self) -> bool {
        self.operations += 1;
        !self.rest.is_empty() && self.operations <= self.most
    }

    fn byte(&mut self) -> u8 {
        match self.rest.split_first() {
            Some((byte, rest)) => {
                self.rest = rest;
                *byte
            }
            None => 0,
        }
    }

    /// A number below `end` (0 if there is none).
    fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end.max(1)
    }

    fn flag(&mut self) -> bool {
        self.byte() % 2 == 1
    }

    /// One of these; None if there are none.
    fn one_of<'s, T>(&mut self, things: &'s [T]) -> Option<&'s T> {
        let at = self.below(things.len());
        things.get(at)
    }
}

/// Says what is done, if `BOUNDKEY_FUZZ_TRACE` is set: to understand a finding.
fn say(what: impl std::fmt::Debug) {
    static TRACE: std::sync::LazyLock<bool> =
        std::sync::LazyLock::new(|| std::env::var_os("BOUNDKEY_FUZZ_TRACE").is_some());
    if *TRACE {
        eprintln!("{what:?}");
    }
}
