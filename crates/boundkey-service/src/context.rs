//! Who asks, from where, and the id under which the answer, the log and the audit entry are found together.

use std::net::IpAddr;

use boundkey_keys::Entropy;

/// The header that carries the correlation id in every answer.
pub const CORRELATION_HEADER: &str = "x-correlation-id";

/// One request's origin. In axum handlers: `Extension<RequestContext>`, put there by the layers of both routers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestContext {
    /// 32 hex digits, made here and never taken from a request.
    pub correlation: String,
    /// The peer's address; none on the Unix socket and in tests.
    pub source: Option<IpAddr>,
    /// `join`, `admin:socket`, `admin:<identity>`, `server`.
    pub actor: String,
}

impl RequestContext {
    /// A context with a fresh correlation id.
    pub fn new(entropy: &dyn Entropy, source: Option<IpAddr>, actor: impl Into<String>) -> Self {
        let mut id = [0; 16];
        entropy.fill(&mut id);
        Self { correlation: hex(&id), source, actor: actor.into() }
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a String does not fail");
    }
    text
}
