use std::io;
use std::path::{Path, PathBuf};

/// Why a file of this host is not used. Whoever runs the machine can mend all of them.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Anything the system said that has no variant of its own.
    #[error("cannot {action} {path}", path = path.display())]
    Io {
        /// What was tried: `read`, `write`, ...
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It belongs to somebody who may change it at any time.
    #[error(
        "{what} {path} belongs to user {owner} (mode {mode:04o}), who could change what is used here; allowed: {allowed}. \
         If that is a mistake, run `chown {chown} {quoted}` as root; else name another place",
        path = path.display(), quoted = quoted(path), chown = if *what == LINK { format!("-h {to}") } else { to.to_string() }
    )]
    Owner {
        /// `the directory`, `the file` or `the symbolic link`.
        what: &'static str,
        /// The component of the path.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Its permission bits.
        mode: u32,
        /// Who may be its owner, in words.
        allowed: String,
        /// The user it should belong to.
        to: u32,
    },
    /// Others may write it.
    #[error(
        "{what} {path} can be changed by other users (owner {owner}, mode {mode:04o}); allowed: writable by its owner \
         alone{sticky}. Run `chmod {chmod} {quoted}`",
        path = path.display(),
        quoted = quoted(path),
        sticky = if *what == DIRECTORY { ", or a directory with the sticky bit" } else { "" },
        chmod = if mode & 0o002 == 0 { "g-w" } else { "go-w" }
    )]
    Writable {
        /// `the directory` or `the file`.
        what: &'static str,
        /// The component of the path.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Its permission bits.
        mode: u32,
    },
    /// A directory that is meant for everybody, such as `/tmp`.
    #[error("{path} is a directory for everybody (mode {mode:04o}): name one below it", path = path.display())]
    Everybodys {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Links that lead to links, for ever.
    #[error("{path} leads through more than {allowed} symbolic links: name the place itself", path = path.display())]
    Links {
        /// The path as given.
        path: PathBuf,
        /// How many may follow each other.
        allowed: usize,
    },
    /// A link, a directory or a device where something else belongs.
    #[error("{path} is {found}, expected a {expected}: move it away", path = path.display())]
    Kind {
        /// What was looked at.
        path: PathBuf,
        /// What it is.
        found: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// No room. The old content is still there.
    #[error("no room to write {path}: free some space on that disk; the old content is untouched", path = path.display())]
    DiskFull {
        /// What was to be written.
        path: PathBuf,
    },
}

pub(crate) const DIRECTORY: &str = "the directory";
pub(crate) const FILE: &str = "the file";
pub(crate) const LINK: &str = "the symbolic link";

impl FileError {
    /// What the system said to `action`; a full disk has its own words.
    pub fn io(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        let (path, source) = (path.to_owned(), source.into());
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::Io { action, path, source },
        }
    }

    /// Whether there simply is nothing of that name.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Why not, for a message that names the file itself.
    pub fn reason(&self) -> String {
        match self {
            Self::Io { source, .. } => source.to_string(),
            _ => self.to_string(),
        }
    }
}

/// A path as a word of a shell's command.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
