//! What the service manager (systemd) is told. Nothing depends on it, so nothing waits for it.

use std::io;
use std::time::Duration;

use boundkey_text::clean;
use sd_notify::NotifyState;

use crate::outlet::Outlet;

const MOMENT: Duration = Duration::from_secs(1);
/// Of a status, in characters: it is one line of `systemctl status`.
const MOST: usize = 1024;

static MANAGER: Outlet = Outlet::new(to_manager, |_| {});

/// What a service manager is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice<'a> {
    /// It serves.
    Ready,
    /// It ends.
    Stopping,
    /// How it is, on one line.
    Status(&'a str),
}

/// Tells the service manager, if there is one (`NOTIFY_SOCKET`).
pub fn tell_service_manager(notice: Notice<'_>) {
    if std::env::var_os("NOTIFY_SOCKET").is_none_or(|place| place.is_empty()) {
        return;
    }
    let line = match notice {
        Notice::Ready => NotifyState::Ready.to_string(),
        Notice::Stopping => NotifyState::Stopping.to_string(),
        Notice::Status(text) => NotifyState::Status(&clean(text, MOST)).to_string(),
    };
    MANAGER.say(line.as_bytes());
}

fn to_manager(line: &[u8]) -> io::Result<()> {
    let told = sd_notify::notify(&[NotifyState::Custom(&String::from_utf8_lossy(line))]);
    if let Err(error) = &told {
        tracing::debug!(%error, "the service manager was not told");
    }
    told
}

pub(crate) fn flush() {
    MANAGER.flush(MOMENT);
}
