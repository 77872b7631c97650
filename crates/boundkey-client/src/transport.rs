//! Request and answer over one kept-alive HTTPS connection.

mod address;
mod https;
mod proxy;
#[cfg(test)]
mod tests;

pub(crate) use address::ALLOWED as ADDRESS_ALLOWED;
pub use address::{AddressError, ServerAddress};
pub use https::{HttpsTransport, Timeouts};
pub use proxy::{PROXY_ALLOWED, Proxy, ProxyError, ProxyVariables};

use std::future::Future;
use std::time::Duration;

use crate::trust::{Channel, TrustError};

/// The largest answer body that is read.
pub const MAX_BODY: usize = boundkey_proto::MAX_BODY;

/// Carries one request and one answer at a time.
///
/// A wrong answer costs a failed try: everything that matters in it is checked against keys. A wrong [`Channel`] costs
/// everything at the first contact, since the first CA bundle is believed on its word.
pub trait Transport: Send {
    /// Posts a JSON body, on the connection in use or else a new one. After an error there is no connection.
    fn post(
        &mut self,
        path: &str,
        body: Vec<u8>,
    ) -> impl Future<Output = Result<Reply, TransportError>> + Send;
    /// Gets a document of at most `limit` bytes.
    fn get(&mut self, path: &str, limit: usize)
    -> impl Future<Output = Result<Reply, TransportError>> + Send;
    /// What authenticated the connection in use.
    fn channel(&self) -> Option<Channel>;
    /// Ends the connection in use.
    fn disconnect(&mut self);
}

/// An answer, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After`, where it was given in seconds.
    pub retry_after: Option<Duration>,
    /// The body, at most [`MAX_BODY`] bytes.
    pub body: Vec<u8>,
}

/// Why there is no answer. All of it may be tried again; what is [`Trust`](Self::Trust) seldom mends itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The name is not known.
    #[error("the name of {server} cannot be resolved: {reason}")]
    Resolve {
        /// The address as configured.
        server: String,
        /// What the resolver said.
        reason: String,
    },
    /// Nobody answers there.
    #[error("cannot connect to {server}: {reason}")]
    Connect {
        /// The address as configured.
        server: String,
        /// What the system said.
        reason: String,
    },
    /// The proxy in between makes no connection.
    #[error("the proxy {proxy} (of the variable {variable}) makes no connection to {server}: {reason}")]
    Proxy {
        /// Its `HOST:PORT`.
        proxy: String,
        /// The variable that names it.
        variable: &'static str,
        /// The server's address as configured.
        server: String,
        /// What the system or the proxy said.
        reason: String,
    },
    /// Too slow.
    #[error("{server} did not finish the {step} within {limit:?}")]
    Timeout {
        /// The address as configured.
        server: String,
        /// What took too long.
        step: &'static str,
        /// The time it had.
        limit: Duration,
    },
    /// The server may not be talked to.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The handshake failed for another reason.
    #[error("no TLS 1.3 connection to {server}: {reason}")]
    Tls {
        /// The address as configured.
        server: String,
        /// What rustls said.
        reason: String,
    },
    /// The connection broke, or what came is not HTTP.
    #[error("the connection to {server} failed: {reason}")]
    Broken {
        /// The address as configured.
        server: String,
        /// What hyper said.
        reason: String,
    },
    /// The answer is larger than any answer of this protocol.
    #[error("the answer of {server} is larger than {limit} bytes")]
    TooLarge {
        /// The address as configured.
        server: String,
        /// The most that is read.
        limit: usize,
    },
}
