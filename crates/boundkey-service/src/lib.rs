//! The server: join loop, issuing, audit, administration, HTTP. No arguments, no configuration files, no process.

pub mod admin;
mod audit;
mod authorities;
mod bootstrap;
mod clock;
mod config;
mod context;
mod entropy;
mod http;
pub mod join;
mod lists;
mod loaded;
pub mod locking;
mod refusal;
pub mod revocation;
mod sealing;
pub mod serve;
mod service;
mod stretch;
#[cfg(test)]
mod tests;

pub use audit::{Entry, Events};
pub use authorities::{Authorities, CA_KINDS, ca_kind_text};
pub use bootstrap::{StartError, remembered_cluster};
pub use clock::{Clock, ManualClock, SystemClock};
pub use config::{AutoLockRevokes, Lifetimes, Limits, ServiceConfig};
pub use context::{CORRELATION_HEADER, RequestContext};
pub use entropy::SystemEntropy;
pub use http::PeerAddress;
pub use lists::RevocationLists;
pub use loaded::{Loaded, put, unchanged};
pub use refusal::Refusal;
pub use sealing::{Slot, UnsealError};
pub use service::{Parts, Service};
pub use stretch::{InPlace, OnBlockingThreads, Stretch};

pub use boundkey_keys::{Entropy, MasterKey};
pub use boundkey_lifecycle::Policy;
pub use boundkey_token::{Resource, ResourceError, read_resources};

/// A time as it is shown in sentences, to the second.
pub(crate) fn rfc3339(time: time::OffsetDateTime) -> String {
    let time = time.replace_nanosecond(0).unwrap_or(time);
    time.format(&time::format_description::well_known::Rfc3339).unwrap_or_else(|_| time.to_string())
}
