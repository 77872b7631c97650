//! The agent that runs on a data directory, seen from another process.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use boundkey_files::peek_file;
use rustix::process::{Pid, PidfdFlags, Signal};

/// The lock file of a data directory; the agent that holds it wrote its process id into it.
const LOCK: &str = "agent.lock";

/// Why a running agent could not be signalled.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    /// Nobody holds the lock.
    #[error("no agent is running on {0}: start it with `boundkey-agent start`")]
    NotRunning(String),
    /// The system refused.
    #[error("cannot signal the agent (process {pid})")]
    System {
        /// The agent.
        pid: i32,
        /// What the system said.
        source: io::Error,
    },
}

/// The process that holds the lock of a data directory; None if none does.
///
/// It asks the kernel (`/proc/locks`) instead of trying the lock: a try would make an agent fail that starts at the same
/// moment.
pub fn lock_holder(data_dir: &Path) -> Option<i32> {
    let lock = data_dir.join(LOCK);
    let inode = std::fs::symlink_metadata(&lock).ok()?.ino();
    let written = String::from_utf8(peek_file(&lock, 32).ok()?).ok()?.trim().parse().ok()?;
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    holds(&locks, written, inode).then_some(written)
}

/// A line is `1: FLOCK  ADVISORY  WRITE 1234 fe:01:5678 0 EOF`. The device is left out: on an overlay it is another than the
/// one that `stat` shows.
fn holds(locks: &str, pid: i32, inode: u64) -> bool {
    locks.lines().any(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, "FLOCK", _, "WRITE", holder, file, ..] = fields.as_slice() else { return false };
        holder.parse() == Ok(pid) && file.rsplit(':').next().and_then(|i| i.parse().ok()) == Some(inode)
    })
}

/// Asks the agent that runs on a data directory to renew now; returns its process id.
///
/// # Errors
/// [`SignalError`].
pub fn ask_to_renew(data_dir: &Path) -> Result<i32, SignalError> {
    let not_running = || SignalError::NotRunning(data_dir.display().to_string());
    let pid = lock_holder(data_dir).ok_or_else(not_running)?;
    let process = Pid::from_raw(pid).ok_or_else(not_running)?;
    let system = |e: rustix::io::Errno| SignalError::System { pid, source: e.into() };
    let handle = rustix::process::pidfd_open(process, PidfdFlags::empty()).map_err(system)?;
    // The handle is of whoever has that id now: is it still the holder?
    if lock_holder(data_dir) != Some(pid) {
        return Err(not_running());
    }
    rustix::process::pidfd_send_signal(&handle, Signal::USR1).map_err(system)?;
    Ok(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_that_holds_this_very_file_is_the_holder() {
        let locks = "1: POSIX  ADVISORY  WRITE 42 fe:01:77 0 EOF\n\
                     2: FLOCK  ADVISORY  READ 42 fe:01:77 0 EOF\n\
                     3: -> FLOCK  ADVISORY  WRITE 43 fe:01:77 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 44 fe:01:77 0 EOF\n";
        assert!(holds(locks, 44, 77));
        assert!(!holds(locks, 44, 78), "another file");
        assert!(!holds(locks, 42, 77), "another kind of lock");
        assert!(!holds(locks, 43, 77), "one who waits for it");
    }

    #[test]
    fn a_lock_that_is_held_is_found_and_one_left_behind_is_not() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(lock_holder(dir.path()), None);
        let file = std::fs::File::create(dir.path().join(LOCK)).unwrap();
        std::fs::write(dir.path().join(LOCK), format!("{}\n", std::process::id())).unwrap();
        assert_eq!(lock_holder(dir.path()), None, "nobody holds it");
        file.lock().unwrap();
        assert_eq!(lock_holder(dir.path()), Some(i32::try_from(std::process::id()).unwrap()));
        drop(file);
        assert!(matches!(ask_to_renew(dir.path()), Err(SignalError::NotRunning(_))));
    }
}
