//! The machine's side of a cluster: the agent (join, renew, rotate, outputs), and the client of administration.
//!
//! ```text
//!   config ──> agent ──┬──> join ──> keystore     begin, complete, check, store: crash-safe, over any transport
//!                      │      └────> transport    one HTTPS connection; `trust` says to whom
//!                      ├──> outputs               certificates and keys for nginx, sshd, ssh
//!                      └──> schedule, backoff     when to try again
//!   status             what another process may know of it
//!   admin              the administrator's side, over the socket or mutual TLS
//! ```
//!
//! | who can act | shows in |
//! |---|---|
//! | whoever wrote the configuration | [`config::ConfigError`]: every fault with file, line and column |
//! | whoever runs this machine | [`TrustError`], [`config::CredentialError`], `KeystoreError`, [`outputs::OutputError`] |
//! | an administrator of the cluster | [`join::JoinError::Refused`], with the server's code |
//! | nobody: time | [`TransportError`]; see [`join::JoinError::remedy`] |
//!
//! What it does **not** do: it decides nothing about a join (the server does), holds no CA key, never stores or sends a
//! registration secret, and trusts no server that nobody vouched for. Protocol messages are `boundkey-proto`'s, the state
//! is `boundkey-keystore`'s.
//!
//! More in `docs/agent.md`, and in `docs/protocol.md`.
//!
//! An agent inside another program:
//!
//! ```no_run
//! use std::path::Path;
//! use std::sync::Arc;
//!
//! use boundkey_client::agent::Agent;
//! use boundkey_client::config::{AgentConfig, Environment};
//! use boundkey_client::{SystemClock, SystemEntropy};
//!
//! # async fn embed() -> Result<(), Box<dyn std::error::Error>> {
//! let config = AgentConfig::load(Path::new("/etc/boundkey.yaml"), Environment::of_process())?;
//! let mut agent = Agent::open(config, "my-program 1.0", false, Arc::new(SystemClock), Arc::new(SystemEntropy::new()))?;
//! let joined = agent.join_once().await?;
//! println!("next join in {:?}", joined.renew_in);
//! # Ok(())
//! # }
//! ```
//!
//! Reading a configuration, with all its faults:
//!
//! ```
//! use boundkey_client::config::{AgentConfig, Environment};
//!
//! let text = b"agent:\n  join_params: {token_name: web-1}\n  server: s.example.com\nssh_service: {enable: true}\n";
//! let error = AgentConfig::parse(text, "agent.yaml", Environment::default()).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "agent.yaml:4:15: ssh_service.enable: found an unknown field; allowed: enabled (did you mean `enabled`?)"
//! );
//! ```

pub mod admin;
pub mod agent;
mod backoff;
mod clock;
pub mod config;
mod der;
pub mod join;
mod machine;
pub mod outputs;
mod running;
mod schedule;
mod status;
mod transport;
mod trust;

pub use backoff::{Backoff, FINAL_PAUSE, LONGEST_RETRY_AFTER, Setback};
/// The one way in which durations and paths are read and YAML is printed, for programs that do not read documents themselves.
pub use boundkey_document::{parse_duration, parse_path, to_yaml};
pub use clock::{Clock, SystemClock, SystemEntropy, show_time};
pub use machine::{OtherMachine, check_machine, machine_facts, machine_hash};
pub use running::{SignalError, ask_to_renew, lock_holder};
pub use schedule::{Deadline, spread_at_start, wait_after_restart};
pub use status::{Notes, OutputNote, Status};
pub use transport::{
    AddressError, HttpsTransport, MAX_BODY, PROXY_ALLOWED, Proxy, ProxyError, ProxyVariables, Reply,
    ServerAddress, Timeouts, Transport, TransportError,
};
pub use trust::{CaFileError, Channel, Pin, PinError, Source, Trust, TrustError};
