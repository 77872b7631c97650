use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{Gid, MemfdFlags, Uid};

use crate::config::FileAccess;

/// A directory service may take this long to say who somebody is.
const LIMIT: Duration = Duration::from_secs(5);
/// A group may have many members.
const LONGEST_ENTRY: u64 = 4 * 1024 * 1024;

/// An owner or group that this system does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// There is none of that name.
    #[error("this system has no {what} `{name}`; allowed: the name or number of an existing one")]
    Unknown {
        /// `user` or `group`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The thread that was to ask is gone: the process is about to end.
    #[error("the owners of files are not known: this process is ending")]
    Unasked,
    /// It is not in the local file, and the directory service is silent.
    #[error(
        "`getent {database} {name}` gave no answer within {LIMIT:?}: look after the directory service, or write the number"
    )]
    Silent {
        /// `passwd` or `group`.
        database: &'static str,
        /// The name.
        name: String,
    },
}

/// What the configuration says of files; None: what an administrator put on them, else as created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    pub(super) user: Option<Uid>,
    pub(super) group: Option<Gid>,
    pub(super) mode: Option<u32>,
}

/// Asks a directory service where the local files do not know a name, and may wait for it: not for a thread that has other
/// things to do.
pub(super) fn resolve(access: &FileAccess) -> Result<Wanted, AccessError> {
    let find = |what, database, file, name: &Option<String>| {
        name.as_ref().map(|name| lookup(what, database, file, name)).transpose()
    };
    Ok(Wanted {
        user: find("user", "passwd", "/etc/passwd", &access.owner)?.map(Uid::from_raw),
        group: find("group", "group", "/etc/group", &access.group)?.map(Gid::from_raw),
        mode: access.mode,
    })
}

fn lookup(what: &'static str, database: &'static str, file: &str, name: &str) -> Result<u32, AccessError> {
    if let Ok(number) = name.parse::<u32>()
        && number != u32::MAX
    {
        return Ok(number);
    }
    let local = std::fs::read_to_string(file).unwrap_or_default();
    if let Some(id) = find_in(&local, name) {
        return Ok(id);
    }
    // Users of a directory service are not in the file.
    let mut ask = Command::new("getent");
    ask.args([database, "--", name]);
    match answer(&mut ask, LIMIT) {
        Answer::Said(text) => find_in(&text, name),
        Answer::Nothing => None,
        Answer::Silent => return Err(AccessError::Silent { database, name: name.to_owned() }),
    }
    .ok_or_else(|| AccessError::Unknown { what, name: name.to_owned() })
}

enum Answer {
    Said(String),
    /// It cannot be started, or failed.
    Nothing,
    /// It was ended.
    Silent,
}

/// What a short-lived program prints, as long as it ends in time.
fn answer(command: &mut Command, limit: Duration) -> Answer {
    let started = Instant::now();
    // Not a pipe: one that nobody empties yet would hold up whoever says much.
    let Ok(mut printed) = rustix::fs::memfd_create("answer", MemfdFlags::CLOEXEC).map(File::from) else {
        return Answer::Nothing;
    };
    let Ok(out) = printed.try_clone() else { return Answer::Nothing };
    for name in super::PRIVATE_VARIABLES {
        command.env_remove(name);
    }
    let spawned = command.stdin(Stdio::null()).stdout(out).stderr(Stdio::null()).spawn();
    let Ok(mut child) = spawned else { return Answer::Nothing };
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => break,
            Ok(Some(_)) | Err(_) => return Answer::Nothing,
            Ok(None) if started.elapsed() < limit => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) => {
                // Killed and reaped; if it had just ended, all the better.
                let _ = child.kill();
                let _ = child.wait();
                return Answer::Silent;
            }
        }
    }
    let mut text = Vec::new();
    match printed.rewind().and_then(|()| printed.take(LONGEST_ENTRY).read_to_end(&mut text)) {
        Ok(_) => Answer::Said(String::from_utf8_lossy(&text).into_owned()),
        Err(_) => Answer::Nothing,
    }
}

/// `NAME:x:ID:...` in both databases.
fn find_in(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_numbers_are_found_and_strangers_are_named() {
        assert_eq!(lookup("user", "passwd", "/etc/passwd", "root"), Ok(0));
        assert_eq!(lookup("user", "passwd", "/etc/passwd", "1234"), Ok(1234));
        let error = lookup("group", "group", "/etc/group", "no-such-group").unwrap_err();
        assert_eq!(
            error.to_string(),
            "this system has no group `no-such-group`; allowed: the name or number of an existing one"
        );
    }

    #[test]
    fn a_silent_directory_service_is_not_waited_for() {
        let mut sleeps = Command::new("sleep");
        assert!(matches!(answer(sleeps.arg("60"), Duration::from_millis(50)), Answer::Silent));
        let mut says = Command::new("echo");
        assert!(matches!(answer(says.arg("here"), LIMIT), Answer::Said(text) if text == "here\n"));
        assert!(matches!(answer(&mut Command::new("false"), LIMIT), Answer::Nothing));
        assert!(matches!(answer(&mut Command::new("/no/such/program"), LIMIT), Answer::Nothing));
    }
}
