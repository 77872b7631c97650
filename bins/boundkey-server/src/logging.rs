//! Logs on standard error, with a level that SIGHUP may change.

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use crate::config::Log;

/// The variable that wins over `log.level`; a filter such as `info,boundkey_service=debug`.
const VARIABLE: &str = "BOUNDKEY_LOG";

/// Changes the level of a running server.
pub(crate) struct Level(reload::Handle<EnvFilter, Registry>);

/// Sets the process's logs up, once.
pub(crate) fn start(log: &Log) -> anyhow::Result<Level> {
    let (filter, handle) = reload::Layer::new(filter(log)?);
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = if log.json { lines.json().boxed() } else { lines.with_ansi(false).boxed() };
    tracing_subscriber::registry().with(filter).with(lines).try_init()?;
    Ok(Level(handle))
}

impl Level {
    pub(crate) fn change(&self, log: &Log) -> anyhow::Result<()> {
        Ok(self.0.reload(filter(log)?)?)
    }
}

fn filter(log: &Log) -> anyhow::Result<EnvFilter> {
    let text = std::env::var(VARIABLE).unwrap_or_else(|_| log.level.clone());
    EnvFilter::try_new(&text).map_err(|error| {
        anyhow::anyhow!("{VARIABLE}: found `{text}`; allowed: a level such as debug ({error})")
    })
}
