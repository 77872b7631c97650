//! What the tests of several crates share: real processes in directories of their own.
//!
//! It is not a library for programs: it panics where a test should fail. The architecture test and the end-to-end tests
//! of the built binaries live in its `tests/`; the table of arrows that it holds is in `docs/architecture.md`.
//!
//! ```no_run
//! use boundkey_testkit::Cluster;
//!
//! let mut cluster = Cluster::start("doc");
//! cluster.create("kind: token\nversion: v2\nmetadata: {name: web}\nspec: {roles: [Node], join_method: bound_keypair}\n");
//! let agent = cluster.agent("web");
//! agent.oneshot().success();
//! assert!(agent.state_dir().join("identity/cert.pem").exists());
//! ```

mod agent;
pub mod attack;
mod clock;
mod cluster;
mod dice;
mod direct;
mod disk;
pub mod growth;
pub mod herd;
mod machine;
mod meter;
mod process;
mod proxy;
pub mod sim;

pub use agent::Agent;
pub use clock::SteppedClock;
pub use cluster::{Administrator, Cluster};
pub use dice::Dice;
pub use disk::SmallDisk;
pub use machine::Machine;
pub use meter::{processor_time, resident};
pub use process::{Ran, Running, binary, find, run, wait_for};
pub use proxy::{Direction, Proxy};
