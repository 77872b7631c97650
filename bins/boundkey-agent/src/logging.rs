use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::arguments::{LogFormat, LogOptions};

/// To standard error; a filter that is none is taken for `info` and said so.
pub(crate) fn init(options: &LogOptions) {
    let (filter, fault) = match EnvFilter::try_new(&options.log_level) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match options.log_format {
        LogFormat::Json => builder.json().flatten_event(true).with_target(false).init(),
        LogFormat::Text => {
            builder.with_ansi(std::io::stderr().is_terminal()).with_target(false).compact().init();
        }
    }
    if let Some(error) = fault {
        tracing::warn!(%error, "the log level is not understood; it is info now");
    }
}
