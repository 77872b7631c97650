//! The service on sockets: TLS for machines, a Unix socket for administration, and the work that no request asks for.

mod connections;
mod framing;
mod guest;
mod house;
mod progress;
mod socket;
mod tls;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::{JoinHandle, JoinSet};

use crate::{Retention, Service, join};
pub use boundkey_ca::ServerNames;
pub use connections::ADMIN_DESCRIPTORS;
pub use socket::{SocketError, bind_admin_socket};
pub use tls::{ServerTls, TlsError, TlsSource};

/// Requests that still run when the server is asked to stop get this long.
const DRAIN: Duration = Duration::from_secs(10);
/// How often counted refusals are written.
const FLUSH: Duration = Duration::from_secs(1);
/// How often it is looked whether the server's own certificate is due, and whether events are old.
const LOOK: Duration = Duration::from_secs(60);

/// The sockets of a server, already listening: whatever could fail has failed before.
pub struct Listeners {
    /// For machines.
    pub tls: TcpListener,
    /// The certificate to show there.
    pub certificate: Arc<ServerTls>,
    /// For administration, if wanted.
    pub admin: Option<UnixListener>,
}

/// Serves until `shutdown` is ready, then lets running requests end.
///
/// # Errors
/// TLS cannot be set up; nothing was served then.
pub async fn serve(
    service: Service,
    listeners: Listeners,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), TlsError> {
    let routes = service.public_router();
    serve_router(service, routes, listeners, shutdown).await
}

/// As [`serve`], with these routes on the TLS port: for an application that has routes of its own beside those of
/// [`Service::public_router`]. Handlers find the peer's address in the request's extensions as
/// [`PeerAddress`](crate::PeerAddress).
///
/// # Errors
/// As [`serve`].
pub async fn serve_router(
    service: Service,
    routes: Router,
    listeners: Listeners,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), TlsError> {
    let config = listeners.certificate.server_config()?;
    let (of_upkeep, certificate) = (service.clone(), listeners.certificate.clone());
    let upkeep = kept_going("upkeep", move || upkeep(of_upkeep.clone(), certificate.clone()));
    let of_retention = service.clone();
    let retention = kept_going("retention", move || retention(of_retention.clone()));
    let of_sweep = service.clone();
    let sweep = kept_going("sweep", move || crate::sweep::run(of_sweep.clone()));
    let administration = async {
        if let Some(listener) = listeners.admin {
            connections::admin(listener, &service).await;
        }
    };
    let stop = async {
        shutdown.await;
        service.stop();
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        _ = async { tokio::join!(connections::tls(listeners.tls, config, &service, routes), administration) } => {}
        () = stop => tracing::warn!("some connections did not end in time"),
    }
    sweep.abort();
    retention.abort();
    // What it writes at the moment is written.
    let _ = upkeep.await;
    if let Err(refusal) = join::flush_all_refusals(&service, service.now()).await {
        tracing::warn!(cause = refusal.cause, "counted refusals are lost");
    }
    Ok(())
}

/// A task that goes on although it panics: without it nothing would be dropped, listed or counted until the next start.
fn kept_going<F>(what: &'static str, make: impl Fn() -> F + Send + 'static) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(async move {
        loop {
            // Ends with this task.
            let mut task = JoinSet::new();
            task.spawn(make());
            match task.join_next().await {
                Some(Err(error)) if error.is_panic() => {
                    tracing::error!(what, "a task of the server panicked; it begins anew");
                    tokio::time::sleep(FLUSH).await;
                }
                _ => return,
            }
        }
    })
}

/// Until the service stops.
async fn upkeep(service: Service, certificate: Arc<ServerTls>) {
    let mut stopping = service.stopping();
    let mut turned_away = 0;
    let mut flush = tokio::time::interval(FLUSH);
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            () = async { drop(stopping.wait_for(|stop| *stop).await) } => return,
            _ = flush.tick() => {
                turned_away = report_load(&service, turned_away);
                for (what, left_out) in service.left_out() {
                    tracing::warn!(what, left_out, "lines like these were left out of the log");
                }
                if let Err(refusal) = join::flush_refusals(&service, service.now()).await {
                    tracing::warn!(cause = refusal.cause, "counted refusals could not be written");
                }
            }
            _ = look.tick() => match certificate.renew_if_due(&service) {
                Ok(true) => tracing::info!("made the server's own certificate anew"),
                Ok(false) => {}
                Err(error) => tracing::error!(%error, "cannot make the server's own certificate anew"),
            },
        }
    }
}

/// By itself: dropping takes its time.
async fn retention(service: Service) {
    let mut retention = Retention::default();
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let instant = look.tick().await.into_std();
        if let Err(refusal) = retention.look(&service, instant).await {
            tracing::warn!(cause = refusal.cause, "the oldest events could not be dropped");
        }
    }
}

/// At most a line a second, however many are turned away.
fn report_load(service: &Service, before: u64) -> u64 {
    service.joins().entrance().look(|gate| {
        let turned_away = gate.turned_away();
        if turned_away > before {
            tracing::warn!(
                running = gate.running(),
                waiting = gate.waiting(),
                turned_away = turned_away - before,
                join_interval_seconds = gate.interval().as_secs_f64(),
                "more joins than can be worked on: some were given appointments"
            );
        }
        turned_away
    })
}
