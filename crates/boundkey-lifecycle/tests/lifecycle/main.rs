//! The lifecycle as a whole, through its public face: a server that keeps what `decide()` says, clients that keep
//! their state as the agent does, thieves, late messages, restored backups and clocks that step.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod absurd;
mod admissions;
mod clocks;
mod each_rule;
mod edges;
mod enumeration;
mod histories;
mod marks;
mod properties;
mod remedies;
mod rules;
mod scene;
mod shared;
mod stored;
mod traps;
mod verbs;
mod views;
