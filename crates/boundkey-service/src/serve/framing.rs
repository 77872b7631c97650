//! What RFC 9110 and RFC 9112 want refused, and the parser below lets pass.

use hyper::header::{HOST, TRANSFER_ENCODING};
use hyper::http::uri::Authority;
use hyper::{Request, Version};

/// What is wrong with the frame of a request, if anything is.
///
/// A request with both `Content-Length` and `Transfer-Encoding` cannot be told from one with the latter alone here: the parser
/// has taken the length away. Nobody who talks to this server needs chunks, so neither is taken, and no two readers of one
/// connection can differ about where a request ends.
pub(super) fn fault<B>(request: &Request<B>) -> Option<&'static str> {
    let headers = request.headers();
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Some("a request has one `host`");
    }
    if host.is_some_and(|host| !is_host(host.as_bytes())) {
        return Some("`host` is HOST or HOST:PORT");
    }
    if request.version() >= Version::HTTP_2 {
        return None;
    }
    if host.is_none() && request.version() == Version::HTTP_11 {
        return Some("a request of HTTP/1.1 has a `host`");
    }
    if headers.contains_key(TRANSFER_ENCODING) {
        return Some("send the body with `content-length`; `transfer-encoding` is not taken");
    }
    None
}

/// Nothing, or an authority without a user.
fn is_host(text: &[u8]) -> bool {
    let Ok(authority) = Authority::try_from(text) else { return text.is_empty() };
    let port = authority.as_str().strip_prefix(authority.host());
    port.is_some_and(|port| port.is_empty() || port.strip_prefix(':').is_some_and(is_digits))
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}
