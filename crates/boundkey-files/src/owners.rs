use std::path::Path;

use rustix::fs::{FileType, Stat};

use crate::error::{DIRECTORY, FILE, LINK};
use crate::{FileError, group, in_container};

/// Whose files and directories are used: root's, one user's, and perhaps those of one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owners {
    user: u32,
    further: Option<u32>,
    uses: bool,
}

impl Owners {
    /// Root and the user this process runs as. What a platform opened of this user's to one of the process's own groups is
    /// taken back on the way (`fsGroup`), and said once in the log.
    pub fn of_process() -> Self {
        Self { uses: true, ..Self::of(rustix::process::geteuid().as_raw()) }
    }

    /// Root and the user this process runs as, for looking: what would be taken back is let pass, and stays as it is.
    pub fn looked_at_by_process() -> Self {
        Self { uses: false, ..Self::of_process() }
    }

    /// Root and this user, for looking.
    pub fn of(user: u32) -> Self {
        Self { user, further: None, uses: false }
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
        if owner != 0 && owner != self.user && Some(owner) != further {
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
        self.check_mode(path, stat)
    }

    /// The same, whoever the owner is.
    pub(crate) fn check_mode(&self, path: &Path, stat: &Stat) -> Result<(), FileError> {
        let (owner, mode) = (stat.st_uid, stat.st_mode & 0o7777);
        let what = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => DIRECTORY,
            FileType::Symlink => return Ok(()),
            _ => FILE,
        };
        let sticky = what == DIRECTORY && mode & 0o1000 != 0;
        if mode & 0o022 == 0 || sticky || self.is_volume_of_ours(stat) || self.is_private(stat) {
            return Ok(());
        }
        Err(FileError::Writable { what, path: path.to_owned(), owner, mode })
    }

    fn is_private(&self, stat: &Stat) -> bool {
        stat.st_mode & 0o002 == 0 && self.user != 0 && group::is_private(stat.st_gid, self.user)
    }

    /// What Kubernetes (`fsGroup`) opened of ours at this start: all that lies on the volume becomes the group's to write,
    /// directories with the set-group-ID bit. The group is one of this process's, which tells it from a directory that is
    /// shared on purpose; so does the container.
    pub(crate) fn was_opened_to_our_group(&self, stat: &Stat) -> bool {
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let (bits, opened) = if directory { (0o3022, 0o2020) } else { (0o022, 0o020) };
        stat.st_mode & bits == opened
            && stat.st_uid == self.user
            && self.is_process()
            && is_our_group(stat.st_gid)
            && in_container()
    }

    /// Whether a file, link or directory is the first user's, or a directory of the further one.
    pub(crate) fn is_ours(&self, stat: &Stat) -> bool {
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        stat.st_uid == self.user || directory && Some(stat.st_uid) == self.further
    }

    /// Whether files are opened to be used, not looked at for somebody else.
    pub(crate) fn uses(&self) -> bool {
        self.uses
    }

    fn is_process(&self) -> bool {
        self.user == rustix::process::geteuid().as_raw()
    }

    /// How Kubernetes (`fsGroup`) gives a volume to a process that is not root: the directory stays root's, its group is
    /// the process's, and the set-group-ID bit is set. The process could not change that if it wanted to.
    fn is_volume_of_ours(&self, stat: &Stat) -> bool {
        stat.st_mode & 0o2022 == 0o2020
            && stat.st_uid == 0
            && FileType::from_raw_mode(stat.st_mode) == FileType::Directory
            && self.user != 0
            && self.is_process()
            && is_our_group(stat.st_gid)
    }

    fn words(&self, further: Option<u32>) -> String {
        let mut users: Vec<u32> =
            [Some(self.user), further].into_iter().flatten().filter(|user| *user != 0).collect();
        users.dedup();
        let users: String = users.iter().map(|user| format!(" or user {user}")).collect();
        format!("root{users}")
    }
}

fn is_our_group(group: u32) -> bool {
    group == rustix::process::getegid().as_raw()
        || rustix::process::getgroups().is_ok_and(|groups| groups.iter().any(|ours| ours.as_raw() == group))
}
