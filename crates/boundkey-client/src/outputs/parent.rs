//! The directory above an output, reached without trusting anybody else's links.
//!
//! The agent runs as root as a rule, and an output may lie in a user's home: a link that the user turns elsewhere must not
//! decide where root writes.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::OutputError;

/// Links that may follow each other.
const MOST_LINKS: usize = 32;

/// Makes the directory if it is absent, and opens it.
pub(super) fn open(path: &Path) -> Result<OwnedFd, OutputError> {
    let plain = resolve(path)?;
    let io = |action, source| OutputError::Io { action, path: plain.clone(), source };
    std::fs::create_dir_all(&plain).map_err(|e| io("create", e))?;
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    // No link is left in the path; if one is there now, somebody put it there just now.
    match rustix::fs::openat2(CWD, &plain, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        // A kernel before 5.6, or a sandbox that does not know the call.
        Err(Errno::NOSYS | Errno::PERM) => rustix::fs::open(&plain, flags, Mode::empty()),
        other => other,
    }
    .map_err(|e| io("open", e.into()))
}

/// The same path without links; links of others than root and ourselves are refused.
fn resolve(path: &Path) -> Result<PathBuf, OutputError> {
    let own = rustix::process::geteuid().as_raw();
    let mut plain = PathBuf::new();
    let mut left: VecDeque<OsString> = path.components().map(|c| c.as_os_str().to_owned()).collect();
    let mut links = 0;
    while let Some(next) = left.pop_front() {
        match Path::new(&next).components().next() {
            Some(Component::RootDir) => plain = PathBuf::from("/"),
            Some(Component::ParentDir) => drop(plain.pop()),
            Some(Component::Normal(name)) => {
                let here = plain.join(name);
                let Some((owner, target)) = link_at(&here)? else {
                    plain = here;
                    continue;
                };
                links += 1;
                if links > MOST_LINKS || (owner != 0 && owner != own) {
                    return Err(OutputError::ForeignLink { link: here, owner });
                }
                for part in target.components().rev() {
                    left.push_front(part.as_os_str().to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(if plain.as_os_str().is_empty() { PathBuf::from(".") } else { plain })
}

/// Owner and target, if there is a link at this path.
fn link_at(path: &Path) -> Result<Option<(u32, PathBuf)>, OutputError> {
    let io = |e: Errno| OutputError::Io { action: "look at", path: path.to_owned(), source: e.into() };
    let stat = match rustix::fs::lstat(path) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        return Ok(None);
    }
    let target = std::fs::read_link(path).map_err(|source| OutputError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    Ok(Some((stat.st_uid, target)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, chown, symlink};

    use super::*;

    #[test]
    fn our_own_links_lead_on_and_those_of_others_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        std::fs::create_dir(base.join("real")).unwrap();
        symlink("real", base.join("relative")).unwrap();
        symlink(base.join("relative"), base.join("absolute")).unwrap();
        for name in ["real", "relative", "absolute", "absolute/../real", "./relative"] {
            assert_eq!(resolve(&base.join(name)).unwrap(), base.join("real"), "{name}");
        }
        let opened = open(&base.join("absolute/new/deep")).unwrap();
        let found = rustix::fs::fstat(&opened).unwrap().st_ino;
        assert_eq!(found, std::fs::metadata(base.join("real/new/deep")).unwrap().ino());

        symlink("loop", base.join("loop")).unwrap();
        assert!(matches!(resolve(&base.join("loop")), Err(OutputError::ForeignLink { .. })));

        if !rustix::process::geteuid().is_root() {
            println!("SKIP: only root can give a link away");
            return;
        }
        let theirs = base.join("theirs");
        symlink("real", &theirs).unwrap();
        rustix::fs::chownat(
            CWD,
            &theirs,
            Some(rustix::fs::Uid::from_raw(12345)),
            None,
            rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
        )
        .unwrap();
        let error = open(&theirs.join("new")).unwrap_err().to_string();
        let expected = format!(
            "{} is a symbolic link of user 12345, who could turn it elsewhere: name the directory that is meant in `outputs`",
            theirs.display()
        );
        assert_eq!(error, expected);
        assert!(!base.join("real/new/new").exists());
        chown(base.join("real"), Some(12345), None).unwrap();
        open(&base.join("real")).expect("a directory of theirs is good");
    }
}
