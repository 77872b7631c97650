//! A model of the lifecycle over the REAL `decide()` and `apply_verb`, searched breadth first: one store with backups,
//! honest clients with one atomic file, a network that loses, doubles and delays, a thief, an administrator, a clock.
//!
//! | file | what |
//! |---|---|
//! | `log` | what the judge knows: the joins that really happened, in order |
//! | `papers` | what he knows of certificates: when they were issued, and which nobody revoked |
//! | `store` | the server: one token, its records, what `decide()` says committed |
//! | `client` | the holder of a file, honest or not |
//! | `judge` | what must hold, told from the logs alone; shares no code with `decide()` |
//! | `world` | the states and actions that are searched |
//! | `scenario` | which faults are possible and how often; running one |
//! | `scenarios` | one test each |
//! | `sanity` | with a rule taken away, the model finds it out |
//!
//! `BOUNDKEY_MODEL_STATES=20000000` looks further; `docs/model.md` tells the rest.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "each scenario says how much of it was seen")]

mod client;
mod judge;
mod log;
mod papers;
mod sanity;
mod scenario;
mod scenarios;
mod store;
mod world;
