//! What is let pass although it is not as [`Owners`] wants it: what a platform made so, where nobody could make it otherwise.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, StatxFlags};

use crate::error::DIRECTORY;
use crate::{FileError, Owners, in_container, namespace};

/// What the directories so far ask of the next component.
#[derive(Debug, Default)]
pub(crate) struct Below {
    /// All of them are root's, or of somebody outside of this user namespace.
    roots: bool,
    /// The last one is everybody's: what is used below it is our own.
    open: Option<FileError>,
}

impl Below {
    pub(crate) fn root(owners: &Owners, opened: &OwnedFd, stat: &Stat) -> Result<Self, FileError> {
        Self { roots: true, open: None }.enter(owners, opened, opened, Path::new("/"), stat)
    }

    /// A directory was opened below another one.
    pub(crate) fn enter(
        &self,
        owners: &Owners,
        above: &OwnedFd,
        opened: &OwnedFd,
        path: &Path,
        stat: &Stat,
    ) -> Result<Self, FileError> {
        self.check(owners, stat)?;
        let outside = match check(owners, opened, path, stat) {
            Ok(()) => false,
            Err(FileError::Owner { owner, .. })
                if self.roots
                    && (path.components().count() <= 2 || is_mount_point(above, opened))
                    && namespace::is_outside(owner) =>
            {
                owners.check_mode(path, stat)?;
                true
            }
            Err(error @ FileError::Writable { .. }) if is_everybodys_volume(stat, above, opened) => {
                return Ok(Self { roots: self.roots, open: Some(error) });
            }
            Err(error) => return Err(error),
        };
        Ok(Self { roots: self.roots && (stat.st_uid == 0 || outside), open: None })
    }

    /// This is used below the directory.
    pub(crate) fn check(&self, owners: &Owners, stat: &Stat) -> Result<(), FileError> {
        if owners.is_ours(stat) { Ok(()) } else { self.check_end() }
    }

    /// The directory itself is used.
    pub(crate) fn check_end(&self) -> Result<(), FileError> {
        match &self.open {
            Some(FileError::Writable { what, path, owner, mode }) => {
                Err(FileError::Writable { what, path: path.clone(), owner: *owner, mode: *mode })
            }
            _ => Ok(()),
        }
    }
}

/// As [`Owners::check`]; what a platform opened to our group is taken back.
pub(crate) fn check(owners: &Owners, open: &impl AsFd, path: &Path, stat: &Stat) -> Result<(), FileError> {
    match owners.check(path, stat) {
        Err(FileError::Writable { what, mode, .. }) if owners.was_opened_to_our_group(stat) => {
            if owners.uses() {
                close_to_group(open.as_fd(), what, mode).map_err(|e| FileError::io("chmod", path, e))?;
                tracing::warn!(
                    path = %path.display(),
                    was = format!("{mode:04o}"),
                    "this was open to a group, and is not any more; consider who else is in it"
                );
            }
            Ok(())
        }
        checked => checked,
    }
}

fn close_to_group(open: impl AsFd, what: &str, mode: u32) -> rustix::io::Result<()> {
    let narrow = Mode::from_raw_mode(mode & !0o020);
    if what != DIRECTORY {
        return rustix::fs::fchmod(open, narrow);
    }
    // Only to find the way was it opened so far.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::fchmod(rustix::fs::openat(open, ".", flags, Mode::empty())?, narrow)
}

/// How Kubernetes gives an `emptyDir`: root's, everybody's, and a pod that is not root's cannot change that.
fn is_everybodys_volume(stat: &Stat, above: &OwnedFd, opened: &OwnedFd) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
        && stat.st_mode & 0o1777 == 0o777
        && stat.st_uid == 0
        && is_mount_point(above, opened)
        && in_container()
}

fn is_mount_point(above: &OwnedFd, opened: &OwnedFd) -> bool {
    let mount = |open: &OwnedFd| {
        let found = rustix::fs::statx(open, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
        (found.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(found.stx_mnt_id)
    };
    let device = |open: &OwnedFd| rustix::fs::fstat(open).ok().map(|stat| stat.st_dev);
    match (mount(above), mount(opened)) {
        (Some(above), Some(opened)) => above != opened,
        // A kernel before 5.8.
        _ => device(above) != device(opened),
    }
}

#[cfg(test)]
mod tests;
