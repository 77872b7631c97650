//! The directory above an output, reached without trusting anybody else's links.
//!
//! The agent runs as root as a rule, and an output may lie in a user's home. Whoever can change the way to it decides where
//! root writes: so the way belongs to root, to the agent's user, and to nobody else but the output's own `owner`. Links are
//! followed only where they are root's or the agent's user's.

use std::os::fd::OwnedFd;
use std::path::Path;

use boundkey_files::{FileError, Owners, look_for_parent, make_parent};

use super::OutputError;

/// Makes the directory above this output if it is absent, and opens it. `owner`: the user that the output is for.
pub(super) fn open(output: &Path, owner: Option<u32>) -> Result<OwnedFd, OutputError> {
    make_parent(output, &Owners::of_process().or(owner), 0o755).map_err(|error| refused(error, owner))
}

/// The same, made by nobody; none if it is absent.
pub(super) fn look(output: &Path, owner: Option<u32>) -> Result<Option<OwnedFd>, OutputError> {
    look_for_parent(output, &Owners::looked_at_by_process().or(owner)).map_err(|error| refused(error, owner))
}

fn refused(error: FileError, owner: Option<u32>) -> OutputError {
    match error {
        // Not the advice to take a user's home from him.
        FileError::Owner { what: "the directory", path, owner: theirs, mode, .. } if owner.is_none() => {
            OutputError::NoOwner { path, owner: theirs, mode }
        }
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, chown, lchown, symlink};

    use super::*;

    #[test]
    fn directories_of_the_outputs_owner_are_good_and_those_and_links_of_others_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        std::fs::create_dir(base.join("home")).unwrap();
        symlink("home", base.join("link")).unwrap();
        let opened = open(&base.join("link/new/deep/out"), None).unwrap();
        let found = std::fs::metadata(base.join("home/new/deep")).unwrap();
        assert_eq!(rustix::fs::fstat(&opened).unwrap().st_ino, found.ino());
        assert_eq!(found.mode() & 0o7777, 0o755);

        if !rustix::process::geteuid().is_root() {
            println!("SKIP: only root can give a directory away");
            return;
        }
        let home = base.join("home");
        chown(&home, Some(12345), None).unwrap();
        open(&home.join("below/out"), Some(12345)).expect("a directory of the owner");
        for owner in [None, Some(12346)] {
            let error = open(&home.join("other/out"), owner).unwrap_err().to_string();
            let allowed =
                if owner.is_none() { "root, or the output's own user" } else { "root or user 12346" };
            let start = format!(
                "the directory {} belongs to user 12345 (mode 0755), who could change what is used here; allowed: {allowed}.",
                home.display()
            );
            assert!(error.starts_with(&start), "{error}");
            let hint = "If the output is for that user, say so: `owner: 12345` in `outputs`";
            assert_eq!(error.ends_with(hint), owner.is_none(), "{error}");
        }
        lchown(base.join("link"), Some(12345), None).unwrap();
        let error = open(&base.join("link/other/out"), Some(12345)).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("the symbolic link {}/link belongs to user 12345", base.display())),
            "{error}"
        );
        assert!(!home.join("other").exists());
    }
}
