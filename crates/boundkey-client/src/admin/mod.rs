//! The administration client: the server's REST routes over its Unix socket.

mod socket;

use std::path::{Path, PathBuf};

use boundkey_api::{ApplyAnswer, ApplyRequest, Page};
use boundkey_proto::Problem;
use serde::de::DeserializeOwned;
use serde_json::Value;

use socket::Connection;

/// Rows asked for at a time: what is in memory of a listing, on both sides.
const LISTED: usize = 1000;

/// Speaks to one server, over one kept-alive connection.
pub struct AdminClient {
    connection: Connection,
}

impl AdminClient {
    /// A client for the socket at this path (`DATA_DIR/admin.sock`). Connects at the first request.
    pub fn new(socket: &Path) -> Self {
        Self { connection: Connection::new(socket) }
    }

    /// `GET path`.
    ///
    /// # Errors
    /// As [`AdminError`] says: no server there, no answer, a refusal.
    pub async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, AdminError> {
        self.json("GET", path, None, None).await
    }

    /// `POST path` with a JSON body.
    ///
    /// # Errors
    /// As [`AdminClient::get`].
    pub async fn post<T: DeserializeOwned>(&mut self, path: &str, body: &Value) -> Result<T, AdminError> {
        self.json("POST", path, Some(body), None).await
    }

    /// `PUT path`; with a revision only if the resource still is at it.
    ///
    /// # Errors
    /// As [`AdminClient::get`].
    pub async fn put<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &Value,
        revision: Option<&str>,
    ) -> Result<T, AdminError> {
        self.json("PUT", path, Some(body), revision).await
    }

    /// `DELETE path`.
    ///
    /// # Errors
    /// As [`AdminClient::get`].
    pub async fn delete<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, AdminError> {
        self.json("DELETE", path, None, None).await
    }

    /// Applies resources, all or nothing; `force` updates those that exist.
    ///
    /// # Errors
    /// As [`AdminClient::get`]; a refusal names every field that cannot be accepted.
    pub async fn apply(&mut self, resources: Vec<Value>, force: bool) -> Result<ApplyAnswer, AdminError> {
        self.apply_confirmed(resources, force, "false").await
    }

    /// As [`AdminClient::apply`], with the `confirm` of the route: whom it may cut off.
    ///
    /// # Errors
    /// As [`AdminClient::apply`]; `confirmation_required` names whom it would hit.
    pub async fn apply_confirmed(
        &mut self,
        resources: Vec<Value>,
        force: bool,
        confirm: &str,
    ) -> Result<ApplyAnswer, AdminError> {
        let request = ApplyRequest { force, resources };
        let body = serde_json::to_value(&request).map_err(|error| AdminError::Answer(error.to_string()))?;
        self.post(&format!("/v1/apply?confirm={}", encode(confirm)), &body).await
    }

    /// A page of a listing, behind the `next` of the page before. `path` may have a query.
    ///
    /// # Errors
    /// As [`AdminClient::get`].
    pub async fn page<T: DeserializeOwned>(
        &mut self,
        path: &str,
        after: Option<&str>,
    ) -> Result<Page<T>, AdminError> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let mut path = format!("{path}{separator}limit={LISTED}");
        if let Some(after) = after {
            path.push_str(&format!("&after={}", encode(after)));
        }
        self.get(&path).await
    }

    /// `GET path`, as it comes: PEM, DER, OpenSSH lines.
    ///
    /// # Errors
    /// As [`AdminClient::get`].
    pub async fn raw(&mut self, path: &str) -> Result<Vec<u8>, AdminError> {
        let (status, body) = self.connection.exchange("GET", path, None, None).await?;
        if (200..300).contains(&status) { Ok(body) } else { Err(refused(status, &body)) }
    }

    async fn json<T: DeserializeOwned>(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        revision: Option<&str>,
    ) -> Result<T, AdminError> {
        let (status, answer) = self.connection.exchange(method, path, body, revision).await?;
        if !(200..300).contains(&status) {
            return Err(refused(status, &answer));
        }
        serde_json::from_slice(&answer).map_err(|error| AdminError::Answer(error.to_string()))
    }
}

fn refused(status: u16, body: &[u8]) -> AdminError {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => AdminError::Refused(Box::new(problem)),
        Err(_) => AdminError::Answer(format!("status {status} without a problem document")),
    }
}

/// A name as part of a path or query: everything but letters, digits and `-._~` is percent-encoded.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Why an administration request has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Nobody listens on the socket.
    #[error(
        "no server answers at {}: {cause}; is boundkey-server running, and is --data-dir its data directory?",
        .path.display()
    )]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The socket belongs to somebody else.
    #[error(
        "{} may not be used: {cause}; administration is for the server's own user, its admin_socket.group, and root",
        .path.display()
    )]
    Permission {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The connection broke or the server is too slow.
    #[error("the server gave no whole answer: {0}")]
    Connection(String),
    /// The answer is not of the expected form: a server of another version?
    #[error("the server's answer is not understood: {0}")]
    Answer(String),
    /// The server refused: its problem says why, and what to do.
    #[error("{}", .0.detail)]
    Refused(Box<Problem>),
}

#[cfg(test)]
mod tests {
    use super::encode;

    #[test]
    fn names_are_encoded_for_paths() {
        assert_eq!(encode("node-1.example_x~"), "node-1.example_x~");
        assert_eq!(encode("a/b c?&%ä"), "a%2Fb%20c%3F%26%25%C3%A4");
    }
}
