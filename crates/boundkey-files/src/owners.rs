use std::path::Path;

use rustix::fs::{FileType, Stat};

use crate::error::{DIRECTORY, FILE, LINK};
use crate::{FileError, group, namespace};

/// Whose files and directories are used: root's, one user's, and perhaps those of one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owners {
    user: u32,
    further: Option<u32>,
}

impl Owners {
    /// Root and the user this process runs as.
    pub fn of_process() -> Self {
        Self::of(rustix::process::geteuid().as_raw())
    }

    /// Root and this user.
    pub fn of(user: u32) -> Self {
        Self { user, further: None }
    }

    /// Directories and files of this user too; not links: where they lead stays root's and the first user's to say.
    #[must_use]
    pub fn or(self, further: Option<u32>) -> Self {
        Self { further, ..self }
    }

    /// Nobody else can change this directory, link or file.
    pub(crate) fn check(&self, path: &Path, stat: &Stat) -> Result<(), FileError> {
        let (owner, mode) = (stat.st_uid, stat.st_mode & 0o7777);
        let (what, further) = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => (DIRECTORY, self.further),
            // Nobody changes a link: it is removed and made anew, which is the directory's matter and its owner's.
            FileType::Symlink => (LINK, None),
            _ => (FILE, self.further),
        };
        let outside = what == DIRECTORY && namespace::is_outside(owner);
        if owner != 0 && owner != self.user && Some(owner) != further && !outside {
            let path = path.to_owned();
            return Err(FileError::Owner {
                what,
                path,
                owner,
                mode,
                allowed: self.words(further),
                to: self.user,
            });
        }
        let sticky = what == DIRECTORY && mode & 0o1000 != 0;
        let private = mode & 0o002 == 0 && self.user != 0 && group::is_private(stat.st_gid, self.user);
        if what != LINK && mode & 0o022 != 0 && !sticky && !private && !self.is_volume_of_ours(stat) {
            return Err(FileError::Writable { what, path: path.to_owned(), owner, mode });
        }
        Ok(())
    }

    /// How Kubernetes (`fsGroup`) gives a volume to a process that is not root: the directory stays root's, its group is
    /// the process's, and the set-group-ID bit is set. The process could not change that if it wanted to.
    fn is_volume_of_ours(&self, stat: &Stat) -> bool {
        let given = stat.st_mode & 0o2022 == 0o2020 && stat.st_uid == 0;
        let ours = self.user != 0 && self.user == rustix::process::geteuid().as_raw();
        given
            && FileType::from_raw_mode(stat.st_mode) == FileType::Directory
            && ours
            && (stat.st_gid == rustix::process::getegid().as_raw()
                || rustix::process::getgroups()
                    .is_ok_and(|groups| groups.iter().any(|group| group.as_raw() == stat.st_gid)))
    }

    fn words(&self, further: Option<u32>) -> String {
        let mut users: Vec<u32> =
            [Some(self.user), further].into_iter().flatten().filter(|user| *user != 0).collect();
        users.dedup();
        let users: String = users.iter().map(|user| format!(" or user {user}")).collect();
        format!("root{users}")
    }
}
