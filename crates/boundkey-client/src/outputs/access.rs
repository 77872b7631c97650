use std::process::Command;

use rustix::fs::{Gid, Uid};

use crate::config::FileAccess;

/// An owner or group that this system does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this system has no {what} `{name}`; allowed: the name or number of an existing one")]
pub struct AccessError {
    /// `user` or `group`.
    pub what: &'static str,
    /// The name.
    pub name: String,
}

/// Ids to give files to; None: leave as created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Owner {
    pub(super) user: Option<Uid>,
    pub(super) group: Option<Gid>,
}

pub(super) fn resolve(access: &FileAccess) -> Result<Owner, AccessError> {
    let find = |what, database, file, name: &Option<String>| {
        name.as_ref().map(|name| lookup(what, database, file, name)).transpose()
    };
    Ok(Owner {
        user: find("user", "passwd", "/etc/passwd", &access.owner)?.map(Uid::from_raw),
        group: find("group", "group", "/etc/group", &access.group)?.map(Gid::from_raw),
    })
}

fn lookup(what: &'static str, database: &str, file: &str, name: &str) -> Result<u32, AccessError> {
    if let Ok(number) = name.parse::<u32>()
        && number != u32::MAX
    {
        return Ok(number);
    }
    let local = std::fs::read_to_string(file).unwrap_or_default();
    find_in(&local, name)
        .or_else(|| {
            // Users of a directory service are not in the file.
            let output = Command::new("getent").args([database, "--", name]).output().ok()?;
            find_in(&String::from_utf8_lossy(&output.stdout), name)
        })
        .ok_or_else(|| AccessError { what, name: name.to_owned() })
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
}
