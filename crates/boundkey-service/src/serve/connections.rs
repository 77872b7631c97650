//! Accept loops: how many connections and handshakes at a time, how long each step may take, how they end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::LazyConfigAcceptor;
use tower::ServiceExt as _;

use crate::admission::{Bounds, Entrance, SharedShares, Source};
use crate::{Clock, Limits, PeerAddress};

/// Connections to the admin socket at a time.
const ADMIN_CONNECTIONS: usize = 64;
/// What one connection may make the server keep: of HTTP/1 a head and a piece of a body, of HTTP/2 what was received and
/// not yet asked for, for all its streams together.
const BUFFER: usize = 32 * 1024;
const RECORD: usize = 16 * 1024;
const WINDOW: u32 = 64 * 1024 - 1;
const STREAMS: u32 = 8;
/// After a failure to accept (no file descriptors left), before the next try.
const BREATH: Duration = Duration::from_millis(50);

/// Accepts TLS connections until `stopping` turns true.
pub(super) async fn tls(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    router: Router,
    (limits, clock): (Limits, Arc<dyn Clock>),
    graceful: &GracefulShutdown,
    mut stopping: watch::Receiver<bool>,
) {
    let connections = Arc::new(Semaphore::new(limits.connections.max(1)));
    let shares = SharedShares::new(limits.connections);
    let handshakes = Entrance::new(
        Bounds {
            at_once: limits.concurrent_handshakes,
            // Whoever waits here has his share of the connections already.
            queue: limits.connections,
            patience: limits.handshake_timeout,
        },
        clock,
    );
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopping.wait_for(|stop| *stop) => return,
            accepted = accept(&listener, &connections) => accepted,
        };
        let (stream, peer, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        let source = Source::of(Some(peer.ip()));
        let Some(share) = shares.take(source, 1) else {
            tracing::debug!(%peer, "its network has its share of the connections");
            continue;
        };
        let (config, router, handshakes) = (config.clone(), router.clone(), handshakes.clone());
        let watcher = graceful.watcher();
        tokio::spawn(async move {
            let _counted = (permit, share);
            // Small answers must not wait for the peer's delayed acknowledgement.
            let _ = stream.set_nodelay(true);
            let handshake = async {
                // Whoever says nothing takes no slot from those who do.
                let hello = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
                let _slot = handshakes.enter(source, true, || 0).await.map_err(|_| crowded())?;
                // Who does not read makes the server keep one record, not four.
                hello.into_stream_with(config, |tls| tls.set_buffer_limit(Some(RECORD))).await
            };
            match tokio::time::timeout(limits.handshake_timeout, handshake).await {
                Ok(Ok(stream)) => talk(stream, router, Some(PeerAddress(peer.ip())), limits, watcher).await,
                Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS handshake"),
                Err(_) => tracing::debug!(%peer, "the TLS handshake took too long"),
            }
        });
    }
}

fn crowded() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::ResourceBusy, "too many handshakes")
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> std::io::Result<(tokio::net::TcpStream, std::net::SocketAddr, OwnedSemaphorePermit)> {
    // Beyond the limit the kernel's queue holds the others.
    let permit = connections.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

/// Accepts connections to the admin socket until `stopping` turns true.
pub(super) async fn admin(
    listener: UnixListener,
    router: Router,
    limits: Limits,
    graceful: &GracefulShutdown,
    mut stopping: watch::Receiver<bool>,
) {
    let connections = Arc::new(Semaphore::new(ADMIN_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopping.wait_for(|stop| *stop) => return,
            accepted = async {
                let permit = connections.clone().acquire_owned().await.map_err(std::io::Error::other)?;
                listener.accept().await.map(|(stream, _)| (stream, permit))
            } => accepted,
        };
        match accepted {
            Ok((stream, permit)) => {
                let (router, watcher) = (router.clone(), graceful.watcher());
                tokio::spawn(async move {
                    let _permit = permit;
                    talk(stream, router, None, limits, watcher).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection to the admin socket");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

/// HTTP/1.1 or HTTP/2 on one connection.
async fn talk<S>(stream: S, router: Router, peer: Option<PeerAddress>, limits: Limits, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.read_timeout)
        .max_headers(64)
        .max_buf_size(BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(16 * 1024)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buf_size(BUFFER)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(limits.read_timeout);
    let service = service_fn(move |request: Request<Incoming>| {
        let router = router.clone();
        async move {
            let mut request = request.map(Body::new);
            if let Some(peer) = peer {
                request.extensions_mut().insert(peer);
            }
            Ok::<_, Infallible>(router.oneshot(request).await.unwrap_or_else(|never| match never {}))
        }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended badly");
    }
}
