//! What an administrator put on a file that was written here: owner, group, mode, ACL, label and other extended
//! attributes. A new version of the file has them again.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{Gid, Mode, Uid, XattrFlags};
use rustix::io::Errno;

use super::OutputError;
use super::access::Wanted;

/// The mode of a new file, unless the configuration or an administrator says otherwise.
const PRIVATE: u32 = 0o600;
const ACL: &[u8] = b"system.posix_acl_access";
/// These speak of a file's content; on another content they would be false.
const OF_THE_CONTENT: [&[u8]; 3] = [b"security.ima", b"security.evm", b"security.capability"];
/// More than a file system keeps for one file.
const MOST_NAMES: usize = 64 * 1024;
const LONGEST_VALUE: usize = 64 * 1024;

/// The attributes of one file.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    user: Option<Uid>,
    group: Option<Gid>,
    mode: Option<u32>,
    extended: Vec<(CString, Vec<u8>)>,
}

impl Attributes {
    /// What cannot be read is not carried over.
    pub(super) fn of(file: impl AsFd) -> Self {
        let mut found = Self { extended: extended(file.as_fd()), ..Self::default() };
        if let Ok(stat) = rustix::fs::fstat(file) {
            found.user = Some(Uid::from_raw(stat.st_uid));
            found.group = Some(Gid::from_raw(stat.st_gid));
            found.mode = Some(stat.st_mode & 0o777);
        }
        found
    }

    /// Gives them to a new file; what the configuration says stands above them.
    ///
    /// What was only carried over and cannot be given is added to `lost`: a file with less than before is better than none.
    ///
    /// # Errors
    /// If the configuration's own owner, group or mode cannot be given.
    pub(super) fn give_to(
        &self,
        file: &File,
        wanted: &Wanted,
        path: &Path,
        lost: &mut Vec<String>,
    ) -> Result<(), OutputError> {
        let refused =
            |action, error: Errno| OutputError::Io { action, path: path.to_owned(), source: error.into() };
        let stat = rustix::fs::fstat(file).map_err(|e| refused("look at", e))?;
        let user = self.user.filter(|user| wanted.user.is_none() && user.as_raw() != stat.st_uid);
        let group = self.group.filter(|group| wanted.group.is_none() && group.as_raw() != stat.st_gid);
        if user.is_some() || group.is_some() {
            note(lost, path, "owner and group", rustix::fs::fchown(file, user, group));
        }
        if wanted.user.is_some() || wanted.group.is_some() {
            rustix::fs::fchown(file, wanted.user, wanted.group).map_err(|e| refused("give away", e))?;
        }
        // After the owner: giving a file away clears bits of its mode.
        let mode = wanted.mode.or(self.mode).unwrap_or(PRIVATE);
        rustix::fs::fchmod(file, Mode::from_raw_mode(mode)).map_err(|e| refused("chmod", e))?;
        for (name, value) in &self.extended {
            let given = rustix::fs::fsetxattr(file, name.as_c_str(), value, XattrFlags::empty());
            note(lost, path, &name.to_string_lossy(), given);
        }
        Ok(())
    }
}

/// Whether a file has an access control list: its group bits are the list's mask then, and the list says who may read.
pub(super) fn has_acl(file: impl AsFd) -> bool {
    let mut value = [0u8; 0];
    rustix::fs::fgetxattr(file, ACL, &mut value).is_ok()
}

fn note(lost: &mut Vec<String>, path: &Path, what: &str, given: Result<(), Errno>) {
    if let Err(error) = given {
        lost.push(format!("{what} of {} cannot be kept: {}", path.display(), std::io::Error::from(error)));
    }
}

fn extended(file: impl AsFd) -> Vec<(CString, Vec<u8>)> {
    let file = file.as_fd();
    let mut names = vec![0u8; MOST_NAMES];
    // A file system without them, mostly.
    let Ok(length) = rustix::fs::flistxattr(file, &mut names[..]) else { return Vec::new() };
    let mut found = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if OF_THE_CONTENT.contains(&name) {
            continue;
        }
        let mut value = vec![0u8; LONGEST_VALUE];
        if let Ok(length) = rustix::fs::fgetxattr(file, std::ffi::OsStr::from_bytes(name), &mut value[..])
            && let Ok(name) = CString::new(name)
        {
            value.truncate(length);
            value.shrink_to_fit();
            found.push((name, value));
        }
    }
    found
}
