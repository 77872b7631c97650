//! Deterministic simulation of a cluster and its machines: one seed, no threads, no sockets, no clock.
//!
//! Both sides are the real code: the agent's `Joiner` over a state in memory, and the service's join loop and
//! administration over the memory store. What lies between them (messages, disks, clocks, processes) is the world's, and
//! the world loses, doubles, delays, crashes, copies, reverts and restores it. A judge that shares no rule with
//! the decision watches every commit and answer.
//!
//! ```text
//!   steps (from a seed) ──> World ──polls──> Joiner.join()          real: client, proto, keystore
//!                             │  └──polls──> join::complete()       real: service, proto, lifecycle, ca, store
//!                             │                 │
//!                             └──> Judge <──────┘ commits, answers
//! ```
//!
//! The chapter is `docs/simulation.md`.

mod admin;
mod clock;
mod cuts;
mod edges;
mod hub;
mod judge;
mod machine;
mod network;
mod op;
mod panics;
mod plan;
mod report;
mod rng;
mod run;
mod server;
mod settle;
mod shrink;
mod steps;
mod world;

pub use cuts::{Ceremony, CutReport, cut_everywhere};
pub use hub::Point;
pub use op::{Kind, Step};
pub use report::Report;
pub use run::{Failure, Replay, Scenario, simulate_big, simulate_one};
pub use shrink::shrink;

/// A rule that is broken on purpose, to see that the judge is awake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// The store confirms locks and does not keep them.
    StoreDropsLocks,
    /// Reads show no locks, and commits do not care for them.
    StoreHidesLocks,
    /// Reads show no marks of what was revoked together, and commits do not care for them.
    StoreHidesMarks,
    /// What is written to the revocation lists is not kept.
    StoreLosesRevocations,
    /// Commits happen whatever their conditions say.
    StoreIgnoresConditions,
    /// Audit events are not kept.
    StoreLosesEvents,
    /// Rows of counted refusals are not kept.
    StoreLosesCountedRows,
    /// The agent does not write its attempt before it sends it.
    ClientForgetsItsAttempt,
    /// The store panics at a commit.
    StorePanics,
}

impl Sabotage {
    /// All of them, by the names that people give them.
    const NAMES: &[(&str, Self)] = &[
        ("locks-dropped", Self::StoreDropsLocks),
        ("locks-hidden", Self::StoreHidesLocks),
        ("marks-hidden", Self::StoreHidesMarks),
        ("revocations-lost", Self::StoreLosesRevocations),
        ("conditions-ignored", Self::StoreIgnoresConditions),
        ("events-lost", Self::StoreLosesEvents),
        ("counted-rows-lost", Self::StoreLosesCountedRows),
        ("attempts-forgotten", Self::ClientForgetsItsAttempt),
        ("store-panics", Self::StorePanics),
    ];
}

impl std::fmt::Display for Sabotage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = Self::NAMES.iter().find(|(_, rule)| rule == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

impl std::str::FromStr for Sabotage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::NAMES.iter().find(|(name, _)| *name == text);
        named.map(|(_, rule)| *rule).ok_or_else(|| format!("`{text}` is no rule that can be broken"))
    }
}
