//! The server: the join loop, issuing, audit, administration, HTTP and TLS.
//!
//! It reads no arguments, no configuration files and no environment, starts no process and chooses no store: whoever
//! starts it hands over [`Parts`]. It decides nothing about joins (`boundkey-lifecycle` does) and knows no certificate
//! format (`boundkey-ca` does).
//!
//! ```text
//!  serve (TLS port, Unix socket)                  a simulation, a test
//!     |                                                   |
//!     v                                                   |
//!  public_router, admin_router  (axum)                    |
//!     |                                                   |
//!     v                                                   v
//!  join::begin, join::complete:  receive -> read -> decide -> ONE commit -> sign
//!     |                                     \          |         |
//!  RequestContext: correlation id            `-- conflict: read and decide again
//! ```
//!
//! | module | what it does |
//! |---|---|
//! | [`join`] | the join loop, without HTTP and without a runtime |
//! | [`admission`] | who is served now, who waits, who is given an appointment |
//! | [`admin`] | tokens, bots, locks, nodes, events, verbs |
//! | [`serve`] | sockets, TLS, limits, orderly end |
//! | [`locking`], [`revocation`] | what a lock or a revocation writes |
//! | [`sweep`] | page by page, what was revoked by one mark goes onto the lists |
//!
//! Every answer carries a correlation id (`x-correlation-id`) that is also in the log and in the audit entry; every
//! refusal is `application/problem+json`. A change and its audit event are one commit; no answer goes out before its
//! commit is durable. Refusals of strangers are counted, not committed, and so are those of holders after the first few.
//!
//! The chapters are `docs/operations.md` and `docs/protocol.md`.
//!
//! # Inside another application
//!
//! The routers are ordinary axum routers. Put the admin router only where every caller may do everything.
//!
//! ```
//! use std::sync::Arc;
//! use axum::{Router, body::Body, http::Request, routing::get};
//! use boundkey_service::{
//!     InPlace, MasterKey, Parts, Service, ServiceConfig, SystemClock, SystemEntropy,
//! };
//! use boundkey_store::MemoryStore;
//! use tower::ServiceExt as _;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let service = Service::start(Parts {
//!     store: Arc::new(MemoryStore::new()),
//!     master: MasterKey::new(1, [42; 32]), // in earnest: random, and kept apart from the store
//!     config: ServiceConfig::new("example.com"),
//!     clock: Arc::new(SystemClock),
//!     entropy: Arc::new(SystemEntropy::new()),
//!     stretch: Arc::new(InPlace),
//! })
//! .await?;
//!
//! let app = Router::new()
//!     .route("/", get(|| async { "a page of my own" }))
//!     .fallback_service(service.public_router());
//!
//! let request = Request::get("/v1/webapi/find").body(Body::empty())?;
//! let answer = app.oneshot(request).await?;
//! assert_eq!(answer.status(), 200);
//! # Ok(())
//! # }
//! ```

pub mod admin;
pub mod admission;
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
mod pieces;
mod refusal;
mod retention;
pub mod revocation;
mod sealing;
pub mod serve;
mod service;
mod spate;
mod stretch;
pub mod sweep;
#[cfg(test)]
mod tests;

pub use audit::{Entry, Events};
pub use authorities::{Authorities, CA_KINDS, ca_kind_text};
pub use bootstrap::{CLUSTER_NAME_ALLOWED, StartError, check_cluster_name, remembered_cluster};
pub use clock::{Clock, ManualClock, SystemClock};
pub use config::{AuditKeep, AutoLockRevokes, Lifetimes, Limits, ServiceConfig};
pub use context::{CORRELATION_HEADER, RequestContext};
pub use entropy::SystemEntropy;
pub use http::PeerAddress;
pub use lists::RevocationLists;
pub use loaded::{Loaded, put, unchanged};
pub use refusal::Refusal;
pub use retention::{Retention, Trimmed};
pub use sealing::{Slot, UnsealError};
pub use service::{Parts, Service};
pub use stretch::{InPlace, OnBlockingThreads, Stretch};

pub use boundkey_keys::{Entropy, MasterKey};
pub use boundkey_lifecycle::Policy;
pub use boundkey_token::{MAX_RESOURCE_FILE, Resource, ResourceError, ResourceFile, read_resources};

/// A time as it is shown in sentences, to the second.
pub(crate) fn rfc3339(time: time::OffsetDateTime) -> String {
    let time = time.replace_nanosecond(0).unwrap_or(time);
    time.format(&time::format_description::well_known::Rfc3339).unwrap_or_else(|_| time.to_string())
}
