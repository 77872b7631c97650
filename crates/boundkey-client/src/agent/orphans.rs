//! As process 1 of a container an agent inherits what its reload commands left behind, and reaps it when it ends.

use rustix::process::WaitOptions;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Children that nobody waits for.
pub(super) struct Orphans(Option<Signal>);

impl Orphans {
    /// Only where it is wanted: another part of the program may have children of its own, and wait for them.
    pub(super) fn watch(wanted: bool) -> Self {
        let signal = wanted.then(|| signal(SignalKind::child()));
        Self(signal.and_then(|signal| match signal {
            Ok(signal) => Some(signal),
            Err(error) => {
                tracing::warn!(%error, "ended children of others will not be reaped");
                None
            }
        }))
    }

    /// Returns when one has ended.
    pub(super) async fn ended(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }

    /// Reaps all that have ended. While a reload command runs this must not be called: its end is waited for elsewhere.
    pub(super) fn reap(&self) {
        if self.0.is_some() {
            while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
        }
    }
}
