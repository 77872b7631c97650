use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Bytes};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, DATE, HOST, PROXY_AUTHORIZATION, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::{MAX_BODY, Proxy, Reply, ServerAddress, Transport, TransportError};
use crate::clock::Clock;
use crate::trust::{Channel, Trust, TrustError, Verifier, tls_config};

/// How long each step may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Name resolution and TCP; and the answer of a proxy once more.
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
    pub(super) server: ServerAddress,
    trust: Trust,
    clock: Arc<dyn Clock>,
    timeouts: Timeouts,
    proxy: Option<Proxy>,
    connection: Option<Connection>,
}

struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    _driver: Driver,
    channel: Channel,
}

/// The task that moves a connection's bytes; it ends with its owner.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The bytes between this machine and the server, below TLS.
trait Bytestream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytestream for T {}

/// The largest head of a proxy's answer.
const PROXY_HEAD: usize = 16 * 1024;
/// As much of a proxy's status line is shown.
const PROXY_WORDS: usize = 100;

impl HttpsTransport {
    /// No connection is made before the first request.
    pub fn new(server: ServerAddress, trust: Trust, clock: Arc<dyn Clock>, timeouts: Timeouts) -> Self {
        Self { server, trust, clock, timeouts, proxy: None, connection: None }
    }

    /// By way of a proxy, if there is one. TLS is with the server all the same: the proxy sees none of it.
    #[must_use]
    pub fn through(mut self, proxy: Option<Proxy>) -> Self {
        if let Some(proxy) = &proxy {
            tracing::info!(variable = proxy.variable(), "to {} by way of the proxy {proxy}", self.server);
        }
        self.proxy = proxy;
        self
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
        let stream = match &self.proxy {
            None => Box::new(self.within("connection", self.timeouts.connect, self.dial()).await??),
            Some(proxy) => self.tunnel(proxy).await?,
        };
        let config = tls_config(Arc::clone(&verifier)).map_err(|e| tls(e.to_string()))?;
        let handshake = TlsConnector::from(Arc::new(config)).connect(self.server.name().clone(), stream);
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
        Ok(Connection { sender, _driver: Driver(driver), channel })
    }

    async fn dial(&self) -> Result<TcpStream, TransportError> {
        let server = || self.server.to_string();
        let connect = |reason| TransportError::Connect { server: server(), reason };
        let addresses = match self.server.literal().map_err(connect)? {
            Some(address) => vec![address],
            None => tokio::net::lookup_host((self.server.host(), self.server.port()))
                .await
                .map_err(|e| TransportError::Resolve {
                    server: server(),
                    reason: format!("{e}{}", example_hint(self.server.host())),
                })?
                .collect(),
        };
        self.first_that_answers(addresses).await.map_err(connect)
    }

    async fn first_that_answers(&self, addresses: Vec<SocketAddr>) -> Result<TcpStream, String> {
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
        Err(last)
    }

    /// A connection to the server that the proxy makes. The server is never dialled from here.
    async fn tunnel(&self, proxy: &Proxy) -> Result<Box<dyn Bytestream>, TransportError> {
        let error = |reason: String| TransportError::Proxy {
            proxy: proxy.to_string(),
            variable: proxy.variable(),
            server: self.server.to_string(),
            reason,
        };
        let limit = self.timeouts.connect;
        let dial = async {
            let addresses = tokio::net::lookup_host((proxy.host(), proxy.port()))
                .await
                .map_err(|e| format!("its name cannot be resolved: {e}"))?;
            let reached = self.first_that_answers(addresses.collect()).await;
            reached.map_err(|reason| format!("cannot connect to the proxy: {reason}"))
        };
        let tcp = tokio::time::timeout(limit, dial)
            .await
            .map_err(|_| error(format!("no connection to the proxy within {limit:?}")))?
            .map_err(error)?;
        tokio::time::timeout(limit, self.ask_proxy(proxy, tcp))
            .await
            .map_err(|_| error(format!("the proxy did not answer within {limit:?}")))?
            .map_err(error)
    }

    /// `CONNECT`, and the tunnel behind its answer.
    async fn ask_proxy(&self, proxy: &Proxy, tcp: TcpStream) -> Result<Box<dyn Bytestream>, String> {
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(PROXY_HEAD)
            .handshake(TokioIo::new(tcp))
            .await
            .map_err(|e| crate::agent::report(&e))?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "connection to the proxy ended");
            }
        });
        let _driver = Driver(driver);
        let authority = self.server.authority();
        let mut request = Request::connect(&authority).header(HOST, &authority).header(USER_AGENT, AGENT);
        if let Some(credentials) = proxy.authorization() {
            request = request.header(PROXY_AUTHORIZATION, credentials);
        }
        let request = request.body(Full::new(Bytes::new())).map_err(|e| e.to_string())?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|e| format!("what the proxy answers is no HTTP: {}", crate::agent::report(&e)))?;
        if !response.status().is_success() {
            return Err(refusal_of_proxy(&response, proxy));
        }
        let tunnel = hyper::upgrade::on(response).await.map_err(|e| crate::agent::report(&e))?;
        Ok(Box::new(TokioIo::new(tunnel)))
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
            .header(HOST, self.server.authority())
            .header(USER_AGENT, AGENT)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| self.broken(&e))?;
        connection.sender.ready().await.map_err(|e| self.broken(&e))?;
        connection.sender.send_request(request).await.map_err(|e| self.broken(&e))
    }

    /// The connection of the last exchange, if the server goes on with it: it ends what is idle, or old.
    async fn kept(&mut self) -> Option<Connection> {
        let mut connection = self.connection.take()?;
        let ready = tokio::time::timeout(self.timeouts.exchange, connection.sender.ready()).await;
        matches!(ready, Ok(Ok(()))).then_some(connection)
    }

    async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        limit: usize,
    ) -> Result<Reply, TransportError> {
        // Taken out, and put back only when all went well: a connection on which something failed is not used again.
        let mut connection = match self.kept().await {
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
        let reason = crate::agent::report(error);
        TransportError::Broken { server: self.server.to_string(), reason }
    }
}

/// What the agent calls itself.
const AGENT: &str = concat!("boundkey-agent/", env!("CARGO_PKG_VERSION"));

/// The address of a guide that nobody replaced (RFC 2606 keeps these names for examples).
fn example_hint(host: &str) -> &'static str {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let example = ["example.com", "example.org", "example.net", "example"]
        .iter()
        .any(|domain| name == *domain || name.strip_suffix(domain).is_some_and(|below| below.ends_with('.')));
    if example { ". It is an example's name: put your own server's address in `proxy_server`" } else { "" }
}

/// Its status line; and what to do about the usual one.
fn refusal_of_proxy<B>(response: &Response<B>, proxy: &Proxy) -> String {
    let status = response.status();
    let phrase = response.extensions().get::<hyper::ext::ReasonPhrase>().map(|phrase| phrase.as_bytes());
    let words = phrase
        .filter(|phrase| !phrase.is_empty())
        .map_or_else(|| status.canonical_reason().unwrap_or_default().into(), String::from_utf8_lossy);
    let line = boundkey_text::clean(format!("{} {words}", status.as_u16()).trim_end(), PROXY_WORDS);
    let hint = match (status, proxy.authorization()) {
        (StatusCode::PROXY_AUTHENTICATION_REQUIRED, None) => {
            format!("; put its USER:PASSWORD@ before the host in {}", proxy.variable())
        }
        (StatusCode::PROXY_AUTHENTICATION_REQUIRED, Some(_)) => {
            format!("; it does not take the user and password in {}", proxy.variable())
        }
        (StatusCode::FORBIDDEN, _) => "; its administrator must allow this host and port".to_owned(),
        _ => String::new(),
    };
    format!("it answers `{line}`{hint}")
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
