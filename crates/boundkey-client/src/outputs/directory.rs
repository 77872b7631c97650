//! Replacing a directory so that no reader ever sees files of two identities in it.
//!
//! The new directory is written beside the old one and the two change places in one step (`renameat2` with
//! `RENAME_EXCHANGE`). All is done relative to open directories and no link is followed: the directory above may
//! belong to somebody else.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::access::{self, Owner};
use super::files::OutFile;
use super::{OutputError, Written};
use crate::config::FileAccess;

/// How a directory was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// There was none.
    Created,
    /// In one step.
    Whole,
    /// The old one was moved away, then the new one moved in: for a moment there was none. (The file system cannot
    /// exchange two directories.)
    InTwoSteps,
    /// File by file, the private key last.
    FileByFile(FileByFile),
}

/// Why a directory could not be replaced as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileByFile {
    /// It is a mount point.
    MountPoint,
    /// It holds files of somebody else.
    OtherFiles,
}

/// Names that any output may have held: a directory with these files only is ours to replace.
const OUR_NAMES: [&str; 10] = [
    "cert.pem",
    "chain.pem",
    "ca.pem",
    "key.pem",
    "user_ca.pub",
    "known_hosts",
    "revoked_keys",
    "sshd.conf",
    "server-ca.pem",
    "identity.pem",
];

pub(super) fn replace(path: &Path, files: &[OutFile], access: &FileAccess) -> Result<Written, OutputError> {
    let place = Place::open(path)?;
    let owner = access::resolve(access)?;
    let old = place.open_old()?;
    let Some(old) = old else {
        place.write_new(files, owner, access.mode)?;
        rustix::fs::renameat_with(
            &place.parent,
            &place.fresh,
            &place.parent,
            &place.name,
            RenameFlags::NOREPLACE,
        )
        .map_err(|e| place.error("create", e))?;
        place.sync_parent()?;
        return Ok(Written::Replaced(Replaced::Created));
    };
    if place.holds(&old, files, owner, access.mode)? {
        return Ok(Written::Unchanged);
    }
    if place.has_other_files(&old, files)? {
        place.write_one_by_one(&old, files, owner, access.mode)?;
        return Ok(Written::Replaced(Replaced::FileByFile(FileByFile::OtherFiles)));
    }
    place.write_new(files, owner, access.mode)?;
    match rustix::fs::renameat_with(
        &place.parent,
        &place.fresh,
        &place.parent,
        &place.name,
        RenameFlags::EXCHANGE,
    ) {
        Ok(()) => {
            place.sync_parent()?;
            place.remove_fresh()?;
            Ok(Written::Replaced(Replaced::Whole))
        }
        Err(Errno::BUSY | Errno::XDEV) => {
            place.remove_fresh()?;
            place.write_one_by_one(&old, files, owner, access.mode)?;
            Ok(Written::Replaced(Replaced::FileByFile(FileByFile::MountPoint)))
        }
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            place.replace_in_two_steps()?;
            Ok(Written::Replaced(Replaced::InTwoSteps))
        }
        Err(error) => {
            let error = place.error("replace", error);
            place.remove_fresh()?;
            Err(error)
        }
    }
}

/// The directory above, and the names used in it.
struct Place {
    path: PathBuf,
    parent: OwnedFd,
    name: OsString,
    /// The directory that is being written, and afterwards the old one.
    fresh: OsString,
    /// The old one, in two steps.
    aside: OsString,
}

impl Place {
    fn open(path: &Path) -> Result<Self, OutputError> {
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(OutputError::NotADirectory(path.to_owned()));
        };
        let parent = super::parent::open(above)?;
        let hidden = |suffix: &str| {
            let mut hidden = OsString::from(".");
            hidden.push(name);
            hidden.push(suffix);
            hidden
        };
        Ok(Self {
            path: path.to_owned(),
            parent,
            name: name.to_owned(),
            fresh: hidden(".boundkey-new"),
            aside: hidden(".boundkey-old"),
        })
    }

    fn error(&self, action: &'static str, error: Errno) -> OutputError {
        OutputError::Io { action, path: self.path.clone(), source: error.into() }
    }

    fn open_old(&self) -> Result<Option<OwnedFd>, OutputError> {
        let stat = match rustix::fs::statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return self.recover_old(),
            Err(error) => return Err(self.error("look at", error)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                open_dir(&self.parent, &self.name).map(Some).map_err(|e| self.error("open", e))
            }
            FileType::Symlink => Err(OutputError::SymbolicLink(self.path.clone())),
            _ => Err(OutputError::NotADirectory(self.path.clone())),
        }
    }

    /// A crash in between the two steps leaves the old directory aside: it is put back first.
    fn recover_old(&self) -> Result<Option<OwnedFd>, OutputError> {
        match rustix::fs::renameat_with(
            &self.parent,
            &self.aside,
            &self.parent,
            &self.name,
            RenameFlags::NOREPLACE,
        ) {
            Ok(()) => open_dir(&self.parent, &self.name).map(Some).map_err(|e| self.error("open", e)),
            Err(_) => Ok(None),
        }
    }

    fn write_new(&self, files: &[OutFile], owner: Owner, mode: u32) -> Result<(), OutputError> {
        self.remove_fresh()?;
        self.fill_new(files, owner, mode).inspect_err(|_| {
            // What is half written is of no use, and on a full disk in the way; the next try clears it otherwise.
            let _ = self.remove_fresh();
        })
    }

    fn fill_new(&self, files: &[OutFile], owner: Owner, mode: u32) -> Result<(), OutputError> {
        rustix::fs::mkdirat(&self.parent, &self.fresh, Mode::RWXU)
            .map_err(|e| self.error("write beside", e))?;
        let dir = open_dir(&self.parent, &self.fresh).map_err(|e| self.error("write beside", e))?;
        let mut written = Vec::with_capacity(files.len());
        for file in files {
            written.push(self.write_file(dir.as_fd(), &file.name, &file.content, owner, mode)?);
        }
        // All are written before the first is synced: one journal commit then carries them all.
        for (file, of) in written.iter().zip(files) {
            self.sync(file, &of.name)?;
        }
        rustix::fs::fchmod(&dir, Mode::from_raw_mode(directory_mode(mode)))
            .map_err(|e| self.error("chmod", e))?;
        if owner != Owner::default() {
            rustix::fs::fchown(&dir, owner.user, owner.group).map_err(|e| self.error("chown", e))?;
        }
        rustix::fs::fsync(&dir).map_err(|e| self.error("sync", e))
    }

    fn write_one_by_one(
        &self,
        dir: &OwnedFd,
        files: &[OutFile],
        owner: Owner,
        mode: u32,
    ) -> Result<(), OutputError> {
        for file in files {
            let beside = format!(".{}.boundkey-new", file.name);
            match rustix::fs::unlinkat(dir, &beside, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(self.error("write into", error)),
            }
            let written = self.write_file(dir.as_fd(), &beside, &file.content, owner, mode)?;
            self.sync(&written, &beside)?;
            rustix::fs::renameat(dir, &beside, dir, &file.name).map_err(|e| self.error("write into", e))?;
        }
        rustix::fs::fsync(dir).map_err(|e| self.error("sync", e))
    }

    /// Written, not synced yet.
    fn write_file(
        &self,
        dir: BorrowedFd<'_>,
        name: &str,
        content: &[u8],
        owner: Owner,
        mode: u32,
    ) -> Result<File, OutputError> {
        let io = |action, source| OutputError::Io { action, path: self.path.join(name), source };
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| io("create", e.into()))?;
        let mut file = File::from(fd);
        file.write_all(content).map_err(|e| io("write", e))?;
        if owner != Owner::default() {
            rustix::fs::fchown(&file, owner.user, owner.group).map_err(|e| io("give away", e.into()))?;
        }
        // After the owner: giving a file away clears bits of its mode.
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).map_err(|e| io("chmod", e.into()))?;
        Ok(file)
    }

    fn sync(&self, file: &File, name: &str) -> Result<(), OutputError> {
        let path = || self.path.join(name);
        file.sync_all().map_err(|source| OutputError::Io { action: "sync", path: path(), source })
    }

    fn replace_in_two_steps(&self) -> Result<(), OutputError> {
        remove_tree(&self.parent, &self.aside).map_err(|e| self.error("clear", e))?;
        rustix::fs::renameat(&self.parent, &self.name, &self.parent, &self.aside)
            .map_err(|e| self.error("replace", e))?;
        if let Err(error) = rustix::fs::renameat(&self.parent, &self.fresh, &self.parent, &self.name) {
            // The old one was there a moment ago: if it cannot go back either, the first error says why.
            let _ = rustix::fs::renameat(&self.parent, &self.aside, &self.parent, &self.name);
            return Err(self.error("replace", error));
        }
        self.sync_parent()?;
        remove_tree(&self.parent, &self.aside).map_err(|e| self.error("clear", e))
    }

    fn remove_fresh(&self) -> Result<(), OutputError> {
        remove_tree(&self.parent, &self.fresh).map_err(|e| self.error("clear beside", e))
    }

    fn sync_parent(&self) -> Result<(), OutputError> {
        rustix::fs::fsync(&self.parent).map_err(|e| self.error("sync", e))
    }

    /// Exactly these files, with these contents, owner and mode?
    fn holds(&self, dir: &OwnedFd, files: &[OutFile], owner: Owner, mode: u32) -> Result<bool, OutputError> {
        let fits = |stat: rustix::fs::Stat, mode: u32| {
            stat.st_mode & 0o777 == mode
                && owner.user.is_none_or(|user| user.as_raw() == stat.st_uid)
                && owner.group.is_none_or(|group| group.as_raw() == stat.st_gid)
        };
        let own = names_in(dir).map_err(|e| self.error("read", e))?;
        // Names that an earlier configuration wrote and this one does not are for a replacement to clear.
        if own.iter().any(|name| is_our_name(name) && !files.iter().any(|f| f.name == *name)) {
            return Ok(false);
        }
        for file in files {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let Ok(fd) = rustix::fs::openat(dir, &file.name, flags, Mode::empty()) else { return Ok(false) };
            let stat = rustix::fs::fstat(&fd).map_err(|e| self.error("read", e))?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || !fits(stat, mode) {
                return Ok(false);
            }
            let mut content = zeroize::Zeroizing::new(Vec::with_capacity(file.content.len() + 1));
            let limit = file.content.len() as u64 + 1;
            let read = std::fs::File::from(fd).take(limit).read_to_end(&mut content);
            if read.is_err() || content != file.content {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn has_other_files(&self, dir: &OwnedFd, files: &[OutFile]) -> Result<bool, OutputError> {
        let names = names_in(dir).map_err(|e| self.error("read", e))?;
        Ok(names.iter().any(|name| !is_our_name(name) && !files.iter().any(|f| f.name == *name)))
    }
}

fn is_our_name(name: &str) -> bool {
    let key = name.trim_end_matches(".pub").trim_end_matches("-cert");
    OUR_NAMES.contains(&name)
        || name.ends_with(".boundkey-new")
        || matches!(key, "id_ed25519" | super::HOST_KEY_NAME)
}

/// Whoever may read a file may also enter its directory.
fn directory_mode(file_mode: u32) -> u32 {
    let group = if file_mode & 0o040 == 0 { 0 } else { 0o050 };
    0o700 | group
}

fn open_dir(parent: &OwnedFd, name: &OsString) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

fn names_in(dir: &OwnedFd) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// Removes a directory of ours: plain files only, no link followed, nothing below it entered.
fn remove_tree(parent: &OwnedFd, name: &OsString) -> Result<(), Errno> {
    let dir = match open_dir(parent, name) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(()),
        // A link or a file under our hidden name: only the name goes away.
        Err(Errno::NOTDIR | Errno::LOOP) => return rustix::fs::unlinkat(parent, name, AtFlags::empty()),
        Err(error) => return Err(error),
    };
    for file in names_in(&dir)? {
        rustix::fs::unlinkat(&dir, &file, AtFlags::empty())?;
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}
