//! Replacing what a directory holds: its readers find files of one identity, and the directory stays itself.
//!
//! ```text
//!   OUT/cert.pem -> ..data/cert.pem     a link for each file
//!   OUT/key.pem  -> ..data/key.pem
//!   OUT/..data   -> ..7                 renamed over the old one: all files change in one step
//!   OUT/..7/cert.pem, key.pem           the present version
//!   OUT/..6/cert.pem, key.pem           the one before, for whoever is reading it
//! ```
//!
//! Whoever has the directory open, mounted or watched goes on with it. Nothing outside of it is written, so its parent may
//! be read-only. (Kubernetes lays its mounted secrets out in this way, so watchers know it.)
//!
//! Everything is done relative to open directories and no link is followed: the directory may belong to somebody else.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::access::Wanted;
use super::attributes::{Attributes, has_acl};
use super::files::OutFile;
use super::version;
use super::{OutputError, Written};
use crate::config::FileAccess;

/// How the content of a directory was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    /// There was none.
    Created,
    /// In one step.
    Whole,
    /// File by file, the private key last: the file system has no links.
    FileByFile,
}

/// SHA-256 of each file that was written last, by name: what was put on these files since is an administrator's word.
pub type Digests = BTreeMap<String, String>;

/// What was done, and what was seen on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What was done.
    pub written: Written,
    /// What the directory holds now.
    pub digests: Digests,
    /// What somebody should look at; the files are in place.
    pub warnings: Vec<String>,
}

pub(super) fn replace(
    path: &Path,
    files: &[OutFile],
    wanted: &Wanted,
    known: &Digests,
) -> Result<Outcome, OutputError> {
    let mut place = Place::open(path, wanted)?;
    let outcome = |written, warnings| Outcome {
        written,
        digests: files.iter().map(|file| (file.name.clone(), file.digest())).collect(),
        warnings,
    };
    if place.holds(files, wanted)? {
        return Ok(outcome(Written::Unchanged, place.warnings));
    }
    let how = place.write(files, wanted, known);
    if how.is_err() && place.created {
        // What is half written is of no use; an empty directory would pass for one that was meant to be so.
        place.remove();
    }
    let how = if place.created { how.map(|_| Replaced::Created) } else { how };
    Ok(outcome(Written::Replaced(how?), place.warnings))
}

/// As on a file system that has no links.
#[cfg(test)]
pub(super) fn replace_one_by_one(path: &Path, files: &[OutFile], known: &Digests) -> Result<(), OutputError> {
    let wanted = Wanted::default();
    let mut place = Place::open(path, &wanted)?;
    let old: Vec<Attributes> = files.iter().map(|file| place.put_on(&file.name, known)).collect();
    place.write_one_by_one(files, &wanted, &old)?;
    place.remove_others(files, known)
}

/// The directory itself.
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) dir: OwnedFd,
    parent: OwnedFd,
    name: OsString,
    created: bool,
    pub(super) warnings: Vec<String>,
}

/// Whether the directory could be opened or made, as far as can be seen; nothing is made.
pub(crate) fn check_place(path: &Path, access: &FileAccess) -> Result<(), OutputError> {
    let wanted = super::resolve_access(access)?;
    match super::parent::look(path, wanted.user.map(rustix::fs::Uid::as_raw))? {
        Some(parent) => find(&parent, path).map(drop),
        None => Ok(()),
    }
}

/// Whether the directory is there, in the one above it.
fn find(parent: &OwnedFd, path: &Path) -> Result<bool, OutputError> {
    let name = path.file_name().ok_or_else(|| OutputError::NotADirectory(path.to_owned()))?;
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Ok(true),
            FileType::Symlink => Err(OutputError::SymbolicLink(path.to_owned())),
            _ => Err(OutputError::NotADirectory(path.to_owned())),
        },
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(OutputError::Io { action: "look at", path: path.to_owned(), source: error.into() }),
    }
}

impl Place {
    /// Opens the directory, and makes it if it is absent.
    fn open(path: &Path, wanted: &Wanted) -> Result<Self, OutputError> {
        let Some(name) = path.file_name() else {
            return Err(OutputError::NotADirectory(path.to_owned()));
        };
        let error =
            |action, error: Errno| OutputError::Io { action, path: path.to_owned(), source: error.into() };
        let parent = super::parent::open(path, wanted.user.map(rustix::fs::Uid::as_raw))?;
        let created = !find(&parent, path)?;
        if created {
            rustix::fs::mkdirat(&parent, name, Mode::RWXU).map_err(|e| error("create", e))?;
        }
        let dir = version::open_dir(&parent, name).map_err(|e| error("open", e))?;
        let (path, name) = (path.to_owned(), name.to_owned());
        let mut place = Self { path, dir, parent, name, created, warnings: Vec::new() };
        place.shape(wanted)?;
        Ok(place)
    }

    pub(super) fn error(&self, action: &'static str, error: Errno) -> OutputError {
        OutputError::Io { action, path: self.path.clone(), source: error.into() }
    }

    /// Whoever may read the files by the configuration may enter their directory. What an administrator allowed beyond that
    /// stays.
    fn shape(&mut self, wanted: &Wanted) -> Result<(), OutputError> {
        let stat = rustix::fs::fstat(&self.dir).map_err(|e| self.error("look at", e))?;
        let user = wanted.user.filter(|user| user.as_raw() != stat.st_uid);
        let group = wanted.group.filter(|group| group.as_raw() != stat.st_gid);
        if user.is_some() || group.is_some() {
            let given = rustix::fs::fchown(&self.dir, user, group);
            self.shaped("chown", given)?;
        }
        let present = stat.st_mode & 0o7777;
        let needed = wanted.mode.map_or(0, directory_mode);
        if present & needed != needed {
            let chmod = |mode| rustix::fs::fchmod(&self.dir, Mode::from_raw_mode(mode));
            // A sandbox may forbid to set set-ID bits, also those that are there.
            let given = match chmod(present | needed) {
                Err(Errno::PERM) if present & 0o6000 != 0 => chmod((present | needed) & 0o1777),
                given => given,
            };
            self.shaped("chmod", given)?;
        }
        if present & 0o022 != 0 && !has_acl(&self.dir) {
            self.warnings.push(format!(
                "other users may replace the files in {} (mode {present:04o}): run `chmod go-w {}`",
                self.path.display(),
                self.path.display()
            ));
        }
        Ok(())
    }

    /// A directory that was made here must be as it was asked for; one that was there is its owner's.
    fn shaped(&mut self, action: &'static str, given: Result<(), Errno>) -> Result<(), OutputError> {
        match given {
            Err(error) if self.created => Err(self.error(action, error)),
            Err(error) => {
                self.warnings.push(self.error(action, error).to_string());
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn remove(&self) {
        // What made the files fail says more than that an empty directory is left.
        let _ = rustix::fs::unlinkat(&self.parent, &self.name, AtFlags::REMOVEDIR);
    }

    fn write(
        &mut self,
        files: &[OutFile],
        wanted: &Wanted,
        known: &Digests,
    ) -> Result<Replaced, OutputError> {
        if self.others_write_here(known) {
            self.warnings.push(format!(
                "somebody else changed the files in {} since they were written: do two agents share the directory?",
                self.path.display()
            ));
        }
        let old: Vec<Attributes> = files.iter().map(|file| self.put_on(&file.name, known)).collect();
        let how = match version::write(self, files, wanted, &old)? {
            true => Replaced::Whole,
            false => {
                self.write_one_by_one(files, wanted, &old)?;
                self.remove_others(files, known)?;
                Replaced::FileByFile
            }
        };
        if self.created {
            match rustix::fs::fsync(&self.parent) {
                // Open only for finding the way: it may not be read.
                Err(Errno::BADF) => rustix::fs::syncfs(&self.dir),
                synced => synced,
            }
            .map_err(|e| self.error("sync", e))?;
        }
        Ok(how)
    }

    /// Whether a file of the present version is not what was written there last. One that is missing is no sign of anybody.
    fn others_write_here(&self, known: &Digests) -> bool {
        let present = version::present(&self.dir);
        known.iter().any(|(name, digest)| {
            open_file(present.as_ref().unwrap_or(&self.dir), name)
                .and_then(|file| content(&file, MOST_COMPARED))
                .is_some_and(|content| digest_of(&content) != *digest)
        })
    }

    /// What was put on the present file of this name, if it is the one that was written here. Anybody else's would hand its
    /// owner the next key.
    fn put_on(&self, name: &str, known: &Digests) -> Attributes {
        let Some(digest) = known.get(name) else { return Attributes::default() };
        let present = version::present(&self.dir);
        match open_file(present.as_ref().unwrap_or(&self.dir), name) {
            Some(file) if content(&file, MOST_COMPARED).is_some_and(|c| digest_of(&c) == *digest) => {
                Attributes::of(&file)
            }
            _ => Attributes::default(),
        }
    }

    fn write_one_by_one(
        &mut self,
        files: &[OutFile],
        wanted: &Wanted,
        old: &[Attributes],
    ) -> Result<(), OutputError> {
        for (file, old) in files.iter().zip(old) {
            let beside = format!(".{}.boundkey-new", file.name);
            match rustix::fs::unlinkat(&self.dir, &beside, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(self.error("write into", error)),
            }
            let path = self.path.join(&file.name);
            let written = version::write_file(&self.dir, &beside, file, &path, |file| {
                old.give_to(file, wanted, &path, &mut self.warnings)
            })
            .and_then(|written| version::sync(&written, &path))
            .and_then(|()| {
                rustix::fs::renameat(&self.dir, &beside, &self.dir, &file.name)
                    .map_err(|e| self.error("write into", e))
            });
            if let Err(error) = written {
                // On a full disk it would be in the way.
                let _ = rustix::fs::unlinkat(&self.dir, &beside, AtFlags::empty());
                return Err(error);
            }
        }
        rustix::fs::fsync(&self.dir).map_err(|e| self.error("sync", e))
    }

    /// Files of an earlier configuration.
    fn remove_others(&self, files: &[OutFile], known: &Digests) -> Result<(), OutputError> {
        for name in known.keys().filter(|name| !files.iter().any(|file| file.name == **name)) {
            match rustix::fs::unlinkat(&self.dir, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(self.error("write into", error)),
            }
        }
        Ok(())
    }

    /// Exactly these files, with these contents and what the configuration says of owner, group and mode?
    fn holds(&self, files: &[OutFile], wanted: &Wanted) -> Result<bool, OutputError> {
        let present = version::present(&self.dir);
        let links = version::links(&self.dir).map_err(|e| self.error("read", e))?;
        if links.iter().any(|name| !files.iter().any(|file| file.name == *name)) {
            return Ok(false);
        }
        for file in files {
            if present.is_some() != links.contains(&file.name) {
                return Ok(false);
            }
            let Some(found) = open_file(present.as_ref().unwrap_or(&self.dir), &file.name) else {
                return Ok(false);
            };
            let stat = rustix::fs::fstat(&found).map_err(|e| self.error("read", e))?;
            let bits = if has_acl(&found) { 0o707 } else { 0o777 };
            let fits = wanted.mode.is_none_or(|mode| stat.st_mode & bits == mode & bits)
                && wanted.user.is_none_or(|user| user.as_raw() == stat.st_uid)
                && wanted.group.is_none_or(|group| group.as_raw() == stat.st_gid);
            if !fits || content(&found, file.content.len()).is_none_or(|found| *found != *file.content) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// More than anything that is written here.
const MOST_COMPARED: usize = 16 * 1024 * 1024;

/// A plain file, without following a link or waiting for a pipe.
fn open_file(dir: &OwnedFd, name: &str) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::openat(dir, name, flags, Mode::empty()).ok()?);
    file.metadata().is_ok_and(|found| found.is_file()).then_some(file)
}

/// The content, if it is not longer than that.
fn content(mut file: &File, most: usize) -> Option<Zeroizing<Vec<u8>>> {
    let length = usize::try_from(file.metadata().ok()?.len()).ok().filter(|length| *length <= most)?;
    let mut content = Zeroizing::new(Vec::with_capacity(length + 1));
    (&mut file).take(length as u64 + 1).read_to_end(&mut content).ok()?;
    (content.len() <= most).then_some(content)
}

/// SHA-256, base64url.
pub(crate) fn digest_of(content: &[u8]) -> String {
    base64::Engine::encode(
        &base64::engine::general_purpose::URL_SAFE_NO_PAD,
        boundkey_keys::sha256(&[content]),
    )
}

/// Whoever may read a file may also enter its directory.
fn directory_mode(file_mode: u32) -> u32 {
    let group = if file_mode & 0o040 == 0 { 0 } else { 0o050 };
    0o700 | group
}
