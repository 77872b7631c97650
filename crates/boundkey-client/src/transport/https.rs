use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Bytes};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, DATE, HOST, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::{MAX_BODY, Reply, ServerAddress, Transport, TransportError};
use crate::clock::Clock;
use crate::trust::{Channel, Trust, TrustError, Verifier, tls_config};

/// How long each step may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Name resolution and TCP.
    pub connect: Duration,
    /// The TLS handshake.
    pub handshake: Duration,
    /// One request and the whole of its answer.
    pub exchange: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            exchange: Duration::from_secs(30),
        }
    }
}

/// HTTP/1.1 over TLS 1.3 to one server.
pub struct HttpsTransport {
    server: ServerAddress,
    trust: Trust,
    clock: Arc<dyn Clock>,
    timeouts: Timeouts,
    connection: Option<Connection>,
}

struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
    channel: Channel,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl HttpsTransport {
    /// No connection is made before the first request.
    pub fn new(server: ServerAddress, trust: Trust, clock: Arc<dyn Clock>, timeouts: Timeouts) -> Self {
        Self { server, trust, clock, timeouts, connection: None }
    }

    /// From the next connection on, trust this.
    pub fn set_trust(&mut self, trust: Trust) {
        self.trust = trust;
    }

    async fn connect(&self) -> Result<Connection, TransportError> {
        match self.connect_with(Verifier::new(self.trust.clone(), self.clock.now())).await {
            Err(TransportError::Trust(TrustError::Dates { not_before, not_after, now, .. })) => {
                // The dates are checked first: see whether the rest of the chain is any better, and what the server's
                // clock says.
                match self.server_date().await {
                    Err(TransportError::Trust(other)) => Err(other.into()),
                    date => {
                        let server_date = date.ok().flatten();
                        Err(TrustError::Dates { not_before, not_after, now, server_date }.into())
                    }
                }
            }
            outcome => outcome,
        }
    }

    /// The server's `Date`, over a connection that is good for nothing else.
    async fn server_date(&self) -> Result<Option<String>, TransportError> {
        let verifier = Verifier::new(self.trust.clone(), self.clock.now()).whatever_the_date();
        let mut connection = self.connect_with(verifier).await?;
        let response = self.send(&mut connection, Method::GET, "/healthz", Vec::new()).await?;
        Ok(response.headers().get(DATE).and_then(|date| date.to_str().ok()).map(ToOwned::to_owned))
    }

    async fn connect_with(&self, verifier: Verifier) -> Result<Connection, TransportError> {
        let verifier = Arc::new(verifier);
        let tls = |reason: String| TransportError::Tls { server: self.server.to_string(), reason };
        let tcp = self.within("connection", self.timeouts.connect, self.dial()).await??;
        let config = tls_config(Arc::clone(&verifier)).map_err(|e| tls(e.to_string()))?;
        let handshake = TlsConnector::from(Arc::new(config)).connect(self.server.name().clone(), tcp);
        let stream = match self.within("TLS handshake", self.timeouts.handshake, handshake).await? {
            Ok(stream) => stream,
            Err(error) => {
                return Err(match verifier.verdict() {
                    Some(Err(distrust)) => distrust.into(),
                    _ => tls(error.to_string()),
                });
            }
        };
        // Each connection is checked: there is no resumption that would skip it.
        let Some(Ok(channel)) = verifier.verdict() else {
            return Err(tls("the server's certificate was not checked".to_owned()));
        };
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_BODY)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|e| self.broken(&e))?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
        Ok(Connection { sender, driver, channel })
    }

    async fn dial(&self) -> Result<TcpStream, TransportError> {
        let server = || self.server.to_string();
        let addresses: Vec<_> = tokio::net::lookup_host((self.server.host(), self.server.port()))
            .await
            .map_err(|e| TransportError::Resolve { server: server(), reason: e.to_string() })?
            .collect();
        let mut last = "the name has no address".to_owned();
        // One that swallows packets must not use up the time of those after it.
        let share = self.timeouts.connect / u32::try_from(addresses.len().max(1)).unwrap_or(1);
        for address in addresses {
            match tokio::time::timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Small messages that wait for an answer each: nothing is to be gathered.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "no TCP_NODELAY");
                    }
                    return Ok(stream);
                }
                Ok(Err(error)) => last = format!("{address}: {error}"),
                Err(_) => last = format!("{address}: no answer within {share:?}"),
            }
        }
        Err(TransportError::Connect { server: server(), reason: last })
    }

    async fn send(
        &self,
        connection: &mut Connection,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Response<hyper::body::Incoming>, TransportError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.server.to_string())
            .header(USER_AGENT, concat!("boundkey-agent/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| self.broken(&e))?;
        connection.sender.ready().await.map_err(|e| self.broken(&e))?;
        connection.sender.send_request(request).await.map_err(|e| self.broken(&e))
    }

    async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        limit: usize,
    ) -> Result<Reply, TransportError> {
        // Taken out, and put back only when all went well: a connection on which something failed is not used again.
        let mut connection = match self.connection.take().filter(|c| !c.sender.is_closed()) {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let reply = self
            .within("exchange", self.timeouts.exchange, async {
                let response = self.send(&mut connection, method, path, body).await?;
                self.read(response, limit).await
            })
            .await??;
        self.connection = Some(connection);
        Ok(reply)
    }

    async fn read(
        &self,
        response: Response<hyper::body::Incoming>,
        limit: usize,
    ) -> Result<Reply, TransportError> {
        let status = response.status().as_u16();
        let retry_after =
            response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.trim().parse().ok());
        if response.body().size_hint().lower() > limit as u64 {
            return Err(TransportError::TooLarge { server: self.server.to_string(), limit });
        }
        let body = Limited::new(response.into_body(), limit).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                TransportError::TooLarge { server: self.server.to_string(), limit }
            } else {
                self.broken(error.as_ref())
            }
        })?;
        Ok(Reply { status, retry_after: retry_after.map(Duration::from_secs), body: body.to_bytes().into() })
    }

    async fn within<T>(
        &self,
        step: &'static str,
        limit: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T, TransportError> {
        tokio::time::timeout(limit, work).await.map_err(|_| TransportError::Timeout {
            server: self.server.to_string(),
            step,
            limit,
        })
    }

    fn broken(&self, error: &dyn std::error::Error) -> TransportError {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            reason.push_str(": ");
            reason.push_str(&inner.to_string());
            source = inner.source();
        }
        TransportError::Broken { server: self.server.to_string(), reason }
    }
}

impl Transport for HttpsTransport {
    async fn post(&mut self, path: &str, body: Vec<u8>) -> Result<Reply, TransportError> {
        self.exchange(Method::POST, path, body, MAX_BODY).await
    }

    async fn get(&mut self, path: &str, limit: usize) -> Result<Reply, TransportError> {
        self.exchange(Method::GET, path, Vec::new(), limit).await
    }

    fn channel(&self) -> Option<Channel> {
        self.connection.as_ref().map(|c| c.channel.clone())
    }

    fn disconnect(&mut self) {
        self.connection = None;
    }
}
