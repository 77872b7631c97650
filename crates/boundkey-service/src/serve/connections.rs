//! Accept loops, and what a connection goes through: a place, TLS, HTTP, its end.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt as _;

use super::framing::fault;
use super::guest::{Arriving, Guest, Leaving, UnderWay, Wire};
use super::house::{House, Place};
use super::progress::{Patience, Phase, Verdict};
use crate::admission::{Bounds, Entrance, Source};
use crate::http::refuse;
use crate::spate::Kind;
use crate::{PeerAddress, Refusal, Service};

/// Connections to the administration socket at a time.
const ADMIN_CONNECTIONS: usize = 64;
/// Further ones, of root and the server's own user.
const ADMIN_KEPT: usize = 16;
/// Descriptors that administration may need: a place each, and one to accept with.
pub const ADMIN_DESCRIPTORS: usize = ADMIN_CONNECTIONS + ADMIN_KEPT + 1;
/// What one connection may make the server keep: of HTTP/1 a head and a piece of a body, of HTTP/2 what was received and
/// not yet asked for, for all its streams together.
const BUFFER: usize = 32 * 1024;
const RECORD: usize = 16 * 1024;
const WINDOW: u32 = 64 * 1024 - 1;
const STREAMS: u32 = 8;
/// After a failure to accept (no file descriptors left), before the next try.
const BREATH: Duration = Duration::from_millis(50);

/// What a listener's connections have in common.
struct Desk {
    service: Service,
    router: Router,
    patience: Patience,
    house: House,
}

impl Desk {
    fn new(service: &Service, router: Router, house: House) -> Arc<Self> {
        let limits = service.config().limits;
        let patience = Patience {
            silence: limits.read_timeout,
            age: limits.connection_age,
            farewell: limits.request_timeout,
        };
        Arc::new(Self { service: service.clone(), router, patience, house })
    }

    /// A place, or none for this source.
    async fn seat(&self, source: Source, insider: bool) -> Option<(Guest, Place)> {
        let seat = self.house.enter(source, insider).await;
        if seat.is_none() && self.service.may_log(Kind::Crowded) {
            tracing::info!(%source, "its network has its share of the connections");
        }
        seat
    }

    async fn cannot_accept(&self, socket: &str, error: std::io::Error) {
        if self.service.may_log(Kind::Accepting) {
            tracing::warn!(%error, "cannot accept a connection to the {socket}");
        }
        tokio::time::sleep(BREATH).await;
    }
}

/// Accepts TLS connections until the service stops, and ends when the last of them has.
pub(super) async fn tls(listener: TcpListener, config: Arc<ServerConfig>, service: &Service, router: Router) {
    let limits = service.config().limits;
    let handshakes = Entrance::new(
        Bounds {
            at_once: limits.concurrent_handshakes,
            // Whoever waits here has his share of the connections already.
            queue: limits.connections,
            patience: limits.handshake_timeout,
        },
        service.clock(),
    );
    let desk = Desk::new(service, router, House::new(limits.connections, 0));
    let accepting = async {
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    desk.cannot_accept("TLS port", error).await;
                    continue;
                }
            };
            let source = Source::of(Some(peer.ip()));
            let Some((guest, place)) = desk.seat(source, false).await else { continue };
            let (desk, config, handshakes) = (desk.clone(), config.clone(), handshakes.clone());
            tokio::spawn(async move {
                let _place = place;
                // Small answers must not wait for the peer's delayed acknowledgement.
                let _ = stream.set_nodelay(true);
                let handshake = async {
                    // Whoever says nothing takes no slot from those who do.
                    let stream = Wire::new(stream, &guest);
                    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
                    // It is the peer who waits now.
                    let waits = UnderWay::new(&guest, Phase::Working);
                    let _slot = handshakes.enter(source, true, || 0).await.map_err(|_| crowded())?;
                    drop(waits);
                    // Who does not read makes the server keep one record, not four.
                    hello.into_stream_with(config, |tls| tls.set_buffer_limit(Some(RECORD))).await
                };
                let shaken = tokio::time::timeout(limits.handshake_timeout, handshake);
                match desk.while_it_may(&guest, shaken).await {
                    Some(Ok(Ok(stream))) => {
                        let http2 = speaks_http2(&stream);
                        talk(stream, &desk, &guest, Some(peer.ip()), http2).await;
                    }
                    Some(Ok(Err(error))) => tracing::debug!(%peer, %error, "no TLS handshake"),
                    Some(Err(_)) => tracing::debug!(%peer, "the TLS handshake took too long"),
                    None => tracing::debug!(%peer, "ended before its TLS handshake"),
                }
            });
        }
    };
    until_stopped(service, accepting).await;
    drop(listener);
    desk.house.emptied().await;
}

fn crowded() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::ResourceBusy, "too many handshakes")
}

/// The handshake says it. Nothing is guessed from the first bytes.
fn speaks_http2(stream: &TlsStream<Wire<TcpStream>>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}

/// Accepts connections to the administration socket until the service stops, and ends when the last of them has. Users
/// share it as networks share the TLS port.
pub(super) async fn admin(listener: UnixListener, service: &Service) {
    let desk = Desk::new(service, service.admin_router(), House::new(ADMIN_CONNECTIONS, ADMIN_KEPT));
    let own = rustix::process::geteuid().as_raw();
    let accepting = async {
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    desk.cannot_accept("administration socket", error).await;
                    continue;
                }
            };
            let user = stream.peer_cred().map_or(u32::MAX, |peer| peer.uid());
            let insider = user == 0 || user == own;
            let Some((guest, place)) = desk.seat(Source::user(user), insider).await else { continue };
            let desk = desk.clone();
            tokio::spawn(async move {
                let _place = place;
                talk(Wire::new(stream, &guest), &desk, &guest, None, false).await;
            });
        }
    };
    until_stopped(service, accepting).await;
    drop(listener);
    desk.house.emptied().await;
}

async fn until_stopped(service: &Service, accepting: impl Future<Output = ()>) {
    let mut stopping = service.stopping();
    tokio::select! {
        biased;
        _ = stopping.wait_for(|stop| *stop) => {}
        () = accepting => {}
    }
}

impl Desk {
    /// What comes before HTTP; none if the connection has to end before that is done.
    async fn while_it_may<T>(&self, guest: &Guest, work: impl Future<Output = T>) -> Option<T> {
        let mut stopping = self.service.stopping();
        tokio::select! {
            done = work => Some(done),
            _ = guest.verdict(&self.patience) => None,
            _ = stopping.wait_for(|stop| *stop) => None,
        }
    }

    /// One request, and the answer that goes back.
    async fn answer(
        &self,
        guest: &Guest,
        peer: Option<IpAddr>,
        request: Request<Incoming>,
    ) -> Response<Leaving> {
        let under_way = UnderWay::new(guest, Phase::Arriving);
        let (http1, fault) = (request.version() < Version::HTTP_2, fault(&request));
        let mut request = request.map(|body| Body::new(Arriving::new(body, under_way.clone())));
        if let Some(peer) = peer {
            request.extensions_mut().insert(PeerAddress(peer));
        }
        let mut response = match fault {
            None => self.router.clone().oneshot(request).await.unwrap_or_else(|never| match never {}),
            Some(fault) => {
                refuse(&self.service, peer, request.method(), Refusal::new(400, "malformed_request", fault))
            }
        };
        if http1 && (fault.is_some() || response.status() == StatusCode::REQUEST_TIMEOUT) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response.map(|body| Leaving::new(body, under_way))
    }
}

/// HTTP/1.1 or HTTP/2 on one connection, until it ends or has to.
async fn talk<S>(stream: S, desk: &Arc<Desk>, guest: &Guest, peer: Option<IpAddr>, http2: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // How slow a peer may be is the guest's matter alone.
    builder.http1().header_read_timeout(None).max_headers(64).max_buf_size(BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(16 * 1024)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buf_size(BUFFER);
    let builder = if http2 { builder.http2_only() } else { builder.http1_only() };
    let service = service_fn({
        let (desk, guest) = (desk.clone(), guest.clone());
        move |request| {
            let (desk, guest) = (desk.clone(), guest.clone());
            async move { Ok::<_, Infallible>(desk.answer(&guest, peer, request).await) }
        }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut stopping = desk.service.stopping();
    let mut stopped = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended badly");
                }
                return;
            }
            verdict = guest.verdict(&desk.patience) => match verdict {
                Verdict::End(why) => return tracing::debug!(peer = peer.map(tracing::field::display), why, "a connection is ended"),
                _ => connection.as_mut().graceful_shutdown(),
            },
            _ = stopping.wait_for(|stop| *stop), if !stopped => {
                stopped = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
