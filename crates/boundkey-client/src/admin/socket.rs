//! HTTP/1.1 over a Unix socket.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::AdminError;

/// An answer that takes longer is given up (long polls wait 60 s at most).
const LIMIT: Duration = Duration::from_secs(120);

pub(super) struct Connection {
    path: PathBuf,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), sender: None }
    }

    /// One request and its whole answer: status and body.
    pub(super) async fn exchange(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        revision: Option<&str>,
    ) -> Result<(u16, Vec<u8>), AdminError> {
        let body = match body {
            Some(value) => {
                serde_json::to_vec(value).map_err(|error| AdminError::Answer(error.to_string()))?
            }
            None => Vec::new(),
        };
        let mut request = hyper::Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(revision) = revision {
            request = request.header(header::IF_MATCH, format!("\"{revision}\""));
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| AdminError::Connection(error.to_string()))?;
        match tokio::time::timeout(LIMIT, self.send(request)).await {
            Ok(answer) => answer,
            Err(_) => {
                self.sender = None;
                Err(AdminError::Connection(format!("nothing within {} s", LIMIT.as_secs())))
            }
        }
    }

    async fn send(&mut self, request: hyper::Request<Full<Bytes>>) -> Result<(u16, Vec<u8>), AdminError> {
        let broken = |error: hyper::Error| AdminError::Connection(error.to_string());
        let mut kept = self.sender.take();
        let alive = match &mut kept {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        let mut sender = match kept.filter(|_| alive) {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.map_err(broken)?.to_bytes().to_vec();
        self.sender = Some(sender);
        Ok((status, body))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, AdminError> {
        let path = || self.path.clone();
        let stream = UnixStream::connect(&self.path).await.map_err(|cause| match cause.kind() {
            ErrorKind::PermissionDenied => AdminError::Permission { path: path(), cause },
            _ => AdminError::Connect { path: path(), cause },
        })?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| AdminError::Connection(error.to_string()))?;
        // Ends by itself when the sender is dropped or the server hangs up.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "administration connection ended");
            }
        });
        Ok(sender)
    }
}
