use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::exceptions::{self, Below};
use crate::{FileError, Owners};

/// Links that may be on one way.
const MOST_LINKS: usize = 32;
/// Components looked at on one way: `..` and links make more of them than a path can have.
const MOST_STEPS: usize = 16 * 1024;

/// Opens a file to read it, by a way that nobody else can change.
///
/// # Errors
/// [`FileError`] names the component that is not as it should be, and the command that mends it.
pub fn open_file(path: &Path, owners: &Owners) -> Result<File, FileError> {
    if let Some(own) = own_descriptor(path) {
        return File::open(own).map_err(|e| FileError::io("open", path, e));
    }
    let place = Walk::new(path, owners, None)?.into_entry()?;
    let io = |e| FileError::io("open", &place.path, e);
    let kind = FileType::from_raw_mode(place.found.ok_or_else(|| io(Errno::NOENT))?.st_mode);
    if kind != FileType::RegularFile {
        return Err(wrong_kind(&place.path, kind, "plain file"));
    }
    // Should another kind of file have come in between, opening it must not wait for its other end.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&place.parent, &place.name, flags, Mode::empty()).map_err(io)?;
    let stat = rustix::fs::fstat(&file).map_err(io)?;
    exceptions::check(owners, &file, &place.path, &stat)?;
    place.below.check(owners, &stat)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(File::from(file)),
        kind => Err(wrong_kind(&place.path, kind, "plain file")),
    }
}

/// What a plain file holds, at most `most` bytes: for looking at what may be anybody's. No link is followed, and nothing is
/// waited for.
///
/// # Errors
/// What the system said; [`io::ErrorKind::InvalidInput`] for what is no plain file, and for a longer one.
pub fn peek_file(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let mut content = Vec::new();
    if file.metadata()?.is_file() {
        file.take(most as u64 + 1).read_to_end(&mut content)?;
        if content.len() <= most {
            return Ok(content);
        }
    }
    Err(io::ErrorKind::InvalidInput.into())
}

/// `/dev/stdin`, or what a shell makes of `<(...)`: our own descriptors, which nobody else put there.
fn own_descriptor(path: &Path) -> Option<&Path> {
    let ours = ["/dev/fd", "/proc/self/fd"].iter().any(|above| path.parent() == Some(Path::new(above)));
    (ours || path == Path::new("/dev/stdin")).then_some(path)
}

/// Opens a directory by a way that nobody else can change.
///
/// # Errors
/// As [`open_file`].
pub fn open_directory(path: &Path, owners: &Owners) -> Result<OwnedFd, FileError> {
    Walk::new(path, owners, None)?.into_directory()
}

/// The same; directories that are absent are made, with this mode and ours.
///
/// # Errors
/// As [`open_file`].
pub fn make_directory(path: &Path, owners: &Owners, mode: u32) -> Result<OwnedFd, FileError> {
    Walk::new(path, owners, Some(mode))?.into_directory()
}

/// Whether a directory is there. The way to it is checked, the directory itself is not: it may still be loose.
///
/// # Errors
/// As [`open_file`]; what stands there and is no directory is one too.
pub fn look_for_directory(path: &Path, owners: &Owners) -> Result<Option<OwnedFd>, FileError> {
    let place = match Walk::new(path, owners, None)?.into_entry() {
        Err(error) if error.is_absent() => return Ok(None),
        place => place?,
    };
    let Some(found) = place.found else { return Ok(None) };
    match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            place.open(flags, owners).map(Some)
        }
        kind => Err(wrong_kind(&place.path, kind, "directory")),
    }
}

/// The same for a plain file: it is opened, the way to it is checked, the file itself is not.
///
/// # Errors
/// As [`open_file`].
pub fn look_for_file(path: &Path, owners: &Owners) -> Result<Option<File>, FileError> {
    let place = match Walk::new(path, owners, None)?.into_entry() {
        Err(error) if error.is_absent() => return Ok(None),
        place => place?,
    };
    let Some(found) = place.found else { return Ok(None) };
    match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            place.open(flags, owners).map(|file| Some(File::from(file)))
        }
        kind => Err(wrong_kind(&place.path, kind, "plain file")),
    }
}

/// The directory above a directory that is to be used, absent ones made with this mode. It may be open only for finding the
/// way (`O_PATH`).
///
/// # Errors
/// As [`open_file`].
pub fn make_parent(path: &Path, owners: &Owners, mode: u32) -> Result<OwnedFd, FileError> {
    parent(path, owners, Some(mode))
}

/// Whether the way to a directory that is to be used is good as far as it is there; nothing is made. The directory above it,
/// if there is one.
///
/// # Errors
/// As [`open_file`].
pub fn look_for_parent(path: &Path, owners: &Owners) -> Result<Option<OwnedFd>, FileError> {
    match parent(path, owners, None) {
        Err(error) if error.is_absent() => Ok(None),
        found => found.map(Some),
    }
}

fn parent(path: &Path, owners: &Owners, make: Option<u32>) -> Result<OwnedFd, FileError> {
    let (above, name) = (path.parent().unwrap_or(path), path.file_name().unwrap_or(OsStr::new(".")));
    let walk = Walk::new(above, owners, make)?.through()?;
    match rustix::fs::statat(&walk.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => walk.below.check(owners, &stat)?,
        // Whoever makes it there is its owner.
        Err(Errno::NOENT) => {}
        Err(error) => return Err(FileError::io("look at", path, error)),
    }
    walk.open()
}

fn wrong_kind(path: &Path, kind: FileType, expected: &'static str) -> FileError {
    let found = match kind {
        FileType::Symlink => "a symbolic link",
        FileType::Directory => "a directory",
        FileType::RegularFile => "a file",
        _ => "a device, pipe or socket",
    };
    FileError::Kind { path: path.to_owned(), found, expected }
}

/// The last component of a path, all links resolved, in the directory that holds it.
struct Place {
    parent: OwnedFd,
    name: OsString,
    /// Without links.
    path: PathBuf,
    found: Option<Stat>,
    below: Below,
}

impl Place {
    fn open(&self, flags: OFlags, owners: &Owners) -> Result<OwnedFd, FileError> {
        let failed = |e| FileError::io("open", &self.path, e);
        let opened = rustix::fs::openat(&self.parent, &self.name, flags, Mode::empty()).map_err(failed)?;
        self.below.check(owners, &rustix::fs::fstat(&opened).map_err(failed)?)?;
        Ok(opened)
    }
}

/// From `/` to where a path leads, one component after the other.
struct Walk<'a> {
    given: &'a Path,
    owners: &'a Owners,
    /// Makes absent directories, with this mode.
    make: Option<u32>,
    /// The directory reached so far: checked, and without links.
    directory: OwnedFd,
    plain: PathBuf,
    left: VecDeque<OsString>,
    links: usize,
    steps: usize,
    below: Below,
}

/// What came of one component.
enum Step {
    Entered,
    /// The last one is not a link: it may be absent.
    Last(OsString, Option<Stat>),
}

impl<'a> Walk<'a> {
    fn new(given: &'a Path, owners: &'a Owners, make: Option<u32>) -> Result<Self, FileError> {
        let absolute = std::path::absolute(given).map_err(|e| FileError::io("find", given, e))?;
        let left = names(&absolute).collect();
        let (directory, below) = open_root(owners)?;
        Ok(Self { given, owners, make, directory, plain: "/".into(), left, links: 0, steps: 0, below })
    }

    /// All components are directories, and the last one is used itself.
    fn into_directory(self) -> Result<OwnedFd, FileError> {
        let walk = self.through()?;
        walk.below.check_end()?;
        walk.open()
    }

    fn through(mut self) -> Result<Self, FileError> {
        while let Some(name) = self.left.pop_front() {
            if let Step::Last(name, found) = self.step(name)? {
                self.enter(&name, found)?;
            }
        }
        Ok(self)
    }

    /// Only to find the way was it opened so far: so it stays where there is leave to enter, not to read.
    fn open(self) -> Result<OwnedFd, FileError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.directory, ".", flags, Mode::empty()) {
            Err(Errno::ACCESS) => Ok(self.directory),
            opened => opened.map_err(|e| FileError::io("open", &self.plain, e)),
        }
    }

    /// All but the last component are directories.
    fn into_entry(mut self) -> Result<Place, FileError> {
        while let Some(name) = self.left.pop_front() {
            if let Step::Last(name, found) = self.step(name)? {
                let path = self.plain.join(&name);
                return Ok(Place { parent: self.directory, name, path, found, below: self.below });
            }
        }
        // `/` itself, or a way that ends in `..`.
        self.below.check_end()?;
        let found =
            rustix::fs::fstat(&self.directory).map_err(|e| FileError::io("look at", &self.plain, e))?;
        Ok(Place {
            parent: self.directory,
            name: ".".into(),
            path: self.plain,
            found: Some(found),
            below: Below::default(),
        })
    }

    fn step(&mut self, name: OsString) -> Result<Step, FileError> {
        self.steps += 1;
        if self.links > MOST_LINKS || self.steps > MOST_STEPS {
            return Err(FileError::Links { path: self.given.to_owned(), allowed: MOST_LINKS });
        }
        match Path::new(&name).components().next() {
            Some(Component::RootDir) => self.restart(Path::new("/"))?,
            // The directory above the one that was reached, not above the link that led there.
            Some(Component::ParentDir) => {
                let above = self.plain.parent().unwrap_or(Path::new("/")).to_owned();
                self.restart(&above)?;
            }
            Some(Component::Normal(_)) => return self.normal(name),
            _ => {}
        }
        Ok(Step::Entered)
    }

    fn normal(&mut self, name: OsString) -> Result<Step, FileError> {
        let here = self.plain.join(&name);
        let found = match rustix::fs::statat(&self.directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(stat),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(FileError::io("look at", &here, error)),
        };
        match found {
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                self.owners.check(&here, &stat)?;
                self.below.check(self.owners, &stat)?;
                self.links += 1;
                let target = rustix::fs::readlinkat(&self.directory, &name, Vec::new())
                    .map_err(|e| FileError::io("read", &here, e))?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                for part in names(&target).rev() {
                    self.left.push_front(part);
                }
                Ok(Step::Entered)
            }
            found if self.left.is_empty() => Ok(Step::Last(name, found)),
            found => self.enter(&name, found).map(|()| Step::Entered),
        }
    }

    /// Checked after it was opened: what is below is looked for in this very directory.
    fn enter(&mut self, name: &OsStr, found: Option<Stat>) -> Result<(), FileError> {
        let here = self.plain.join(name);
        match found.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            None if self.make.is_some() => self.make_one(name, &here)?,
            None => return Err(FileError::io("open", &here, Errno::NOENT)),
            Some(FileType::Directory) => {}
            Some(kind) => return Err(wrong_kind(&here, kind, "directory")),
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.directory, name, flags, Mode::empty());
        let opened = opened.map_err(|e| FileError::io("open", &here, e))?;
        let stat = rustix::fs::fstat(&opened).map_err(|e| FileError::io("look at", &here, e))?;
        self.below = self.below.enter(self.owners, &self.directory, &opened, &here, &stat)?;
        (self.directory, self.plain) = (opened, here);
        Ok(())
    }

    fn make_one(&self, name: &OsStr, here: &Path) -> Result<(), FileError> {
        let mode = Mode::from_raw_mode(self.make.unwrap_or(0o700));
        match rustix::fs::mkdirat(&self.directory, name, mode) {
            // Somebody else made it meanwhile: whoever that was is checked.
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(FileError::io("make the directory", here, error)),
        }
    }

    /// Goes to a directory whose path holds no links, from `/` on again.
    fn restart(&mut self, to: &Path) -> Result<(), FileError> {
        (self.directory, self.below) = open_root(self.owners)?;
        self.plain = "/".into();
        for part in names(to).rev().filter(|part| part != "/") {
            self.left.push_front(part);
        }
        Ok(())
    }
}

fn open_root(owners: &Owners) -> Result<(OwnedFd, Below), FileError> {
    let root = Path::new("/");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(root, flags, Mode::empty()).map_err(|e| FileError::io("open", root, e))?;
    let stat = rustix::fs::fstat(&opened).map_err(|e| FileError::io("look at", root, e))?;
    let below = Below::root(owners, &opened, &stat)?;
    Ok((opened, below))
}

fn names(path: &Path) -> impl DoubleEndedIterator<Item = OsString> + '_ {
    path.components().map(|part| part.as_os_str().to_owned())
}

#[cfg(test)]
mod tests;
