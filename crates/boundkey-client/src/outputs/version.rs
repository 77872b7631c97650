//! One version of a directory's files, and the one link that makes it the present one.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::path::Arg;

use super::OutputError;
use super::access::Wanted;
use super::attributes::Attributes;
use super::directory::Place;
use super::files::OutFile;

/// The link to the present version.
pub(super) const DATA: &str = "..data";
/// Where a link is made before it takes its name.
const FRESH: &str = "..link-new";

/// The number of a version, by its directory's name.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("..")?;
    if digits.starts_with('0') || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// The present version, if there is one.
pub(super) fn present(dir: &OwnedFd) -> Option<OwnedFd> {
    let name = target_of(dir, DATA)?;
    number_of(&name)?;
    open_dir(dir, name.as_str()).ok()
}

/// The names that lead into the present version.
pub(super) fn links(dir: &OwnedFd) -> Result<Vec<String>, Errno> {
    let names = names_in(dir)?;
    Ok(names.into_iter().filter(|name| target_of(dir, name).as_ref() == Some(&link_to(name))).collect())
}

/// Writes a new version and makes it the present one, in one step; false, and nothing done, where there can be no links.
///
/// A crash leaves the old version or the new one in force. What it left beside is cleared by the next call.
pub(super) fn write(
    place: &mut Place,
    files: &[OutFile],
    wanted: &Wanted,
    old: &[Attributes],
) -> Result<bool, OutputError> {
    let names = names_in(&place.dir).map_err(|e| place.error("read", e))?;
    let mut before = target_of(&place.dir, DATA).and_then(|name| number_of(&name));
    let mut next = names.iter().filter_map(|name| number_of(name)).max().unwrap_or(0).saturating_add(1);
    if move_copy_aside(place, next)? {
        next = next.saturating_add(1);
    }
    if before.is_none() && adopt(place, files, next) {
        before = Some(next);
        next = next.saturating_add(1);
    }
    let name = format!("..{next}");
    // First, for it says whether there can be links at all.
    match link(place, &name) {
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => return Ok(false),
        made => made.map_err(|e| place.error("write into", e))?,
    }
    // What is left of versions that nobody reads any more makes room first.
    sweep(place, &names, &[before]);
    if let Err(error) = fill(place, &name, files, wanted, old) {
        // What is half written is of no use, and on a full disk in the way.
        let _ = remove_version(&place.dir, &name);
        let _ = rustix::fs::unlinkat(&place.dir, FRESH, AtFlags::empty());
        return Err(error);
    }
    // New names lead nowhere until the version is in force: then all of them are there at once.
    let (new, known): (Vec<&OutFile>, Vec<&OutFile>) =
        files.iter().partition(|file| !names.contains(&file.name));
    lead(place, &new)?;
    link(place, &name).map_err(|e| place.error("write into", e))?;
    rename_link(place, DATA)?;
    // Made anew although they say the same: whoever watches for a name is told.
    lead(place, &known)?;
    let stale = links(&place.dir).map_err(|e| place.error("read", e))?;
    for name in stale.iter().filter(|name| !files.iter().any(|file| file.name == **name)) {
        rustix::fs::unlinkat(&place.dir, name, AtFlags::empty()).map_err(|e| place.error("write into", e))?;
    }
    rustix::fs::fsync(&place.dir).map_err(|e| place.error("sync", e))?;
    Ok(true)
}

/// Whoever copies an output and follows its links leaves a directory where the link was. It becomes a version, which is
/// swept like any other.
fn move_copy_aside(place: &Place, number: u64) -> Result<bool, OutputError> {
    match rustix::fs::statat(&place.dir, DATA, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
            rustix::fs::renameat(&place.dir, DATA, &place.dir, format!("..{number}"))
                .map_err(|e| place.error("clear", e))?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// Makes plain files that stand under our names the present version, as they are, so that they too are replaced all at
/// once. Where that cannot be (they are somebody else's), they are replaced one by one.
fn adopt(place: &Place, files: &[OutFile], number: u64) -> bool {
    let is_plain = |name: &str| {
        rustix::fs::statat(&place.dir, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
    };
    let plain: Vec<&OutFile> = files.iter().filter(|file| is_plain(&file.name)).collect();
    if plain.is_empty() {
        return false;
    }
    let name = format!("..{number}");
    let adopted = || -> Option<()> {
        rustix::fs::mkdirat(&place.dir, &name, Mode::RWXU).ok()?;
        let dir = open_dir(&place.dir, name.as_str()).ok()?;
        for file in &plain {
            rustix::fs::linkat(&place.dir, &file.name, &dir, &file.name, AtFlags::empty()).ok()?;
        }
        rustix::fs::fchmod(&dir, Mode::from_raw_mode(0o755)).ok()?;
        link(place, &name).ok()?;
        rename_link(place, DATA).ok()?;
        lead(place, &plain).ok()
    };
    adopted().is_some()
}

/// Makes names lead into the present version, in this order.
fn lead(place: &Place, files: &[&OutFile]) -> Result<(), OutputError> {
    for file in files {
        link(place, &link_to(&file.name)).map_err(|e| place.error("write into", e))?;
        rename_link(place, &file.name)?;
    }
    Ok(())
}

fn link_to(name: &str) -> String {
    format!("{DATA}/{name}")
}

fn target_of(dir: &OwnedFd, name: &str) -> Option<String> {
    let target = rustix::fs::readlinkat(dir, name, Vec::new()).ok()?;
    target.into_string().ok()
}

fn link(place: &Place, target: &str) -> Result<(), Errno> {
    match rustix::fs::symlinkat(target, &place.dir, FRESH) {
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(&place.dir, FRESH, AtFlags::empty())?;
            rustix::fs::symlinkat(target, &place.dir, FRESH)
        }
        made => made,
    }
}

fn rename_link(place: &Place, name: &str) -> Result<(), OutputError> {
    rustix::fs::renameat(&place.dir, FRESH, &place.dir, name).map_err(|source| OutputError::Io {
        action: "replace",
        path: place.path.join(name),
        source: source.into(),
    })
}

/// Two versions are kept: the present one, and the one before for whoever is reading it. What cannot be removed today can
/// be tomorrow.
fn sweep(place: &Place, names: &[String], keep: &[Option<u64>]) {
    for name in names.iter().filter(|name| number_of(name).is_some_and(|n| !keep.contains(&Some(n)))) {
        let _ = remove_version(&place.dir, name);
    }
}

fn fill(
    place: &mut Place,
    name: &str,
    files: &[OutFile],
    wanted: &Wanted,
    old: &[Attributes],
) -> Result<(), OutputError> {
    rustix::fs::mkdirat(&place.dir, name, Mode::RWXU).map_err(|e| place.error("write into", e))?;
    let dir = open_dir(&place.dir, name).map_err(|e| place.error("write into", e))?;
    let mut written = Vec::with_capacity(files.len());
    for (file, old) in files.iter().zip(old) {
        let path = place.path.join(&file.name);
        written.push(write_file(&dir, &file.name, file, &path, |made| {
            old.give_to(made, wanted, &path, &mut place.warnings)
        })?);
    }
    // All are written before the first is synced: one journal commit then carries them all.
    for (made, file) in written.iter().zip(files) {
        sync(made, &place.path.join(&file.name))?;
    }
    // The directory above says who may come here, and each file who may read it.
    rustix::fs::fchmod(&dir, Mode::from_raw_mode(0o755)).map_err(|e| place.error("chmod", e))?;
    rustix::fs::fsync(&dir).map_err(|e| place.error("sync", e))
}

/// Written, not synced yet; private until `dress` has said otherwise.
pub(super) fn write_file(
    dir: impl AsFd,
    name: &str,
    file: &OutFile,
    path: &Path,
    dress: impl FnOnce(&File) -> Result<(), OutputError>,
) -> Result<File, OutputError> {
    let io = |action, source| OutputError::Io { action, path: path.to_owned(), source };
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd =
        rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR).map_err(|e| io("create", e.into()))?;
    let mut made = File::from(fd);
    made.write_all(&file.content).map_err(|e| io("write", e))?;
    dress(&made)?;
    Ok(made)
}

pub(super) fn sync(file: &File, path: &Path) -> Result<(), OutputError> {
    file.sync_all().map_err(|source| OutputError::Io { action: "sync", path: path.to_owned(), source })
}

pub(super) fn open_dir(parent: &OwnedFd, name: impl Arg) -> Result<OwnedFd, Errno> {
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

/// Removes a version: plain files only, no link followed, nothing below it entered.
fn remove_version(parent: &OwnedFd, name: &str) -> Result<(), Errno> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return rustix::fs::unlinkat(parent, name, AtFlags::empty());
    }
    let dir = open_dir(parent, name)?;
    for file in names_in(&dir)? {
        rustix::fs::unlinkat(&dir, &file, AtFlags::empty())?;
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}
