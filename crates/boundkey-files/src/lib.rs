//! Files on a host that others share: who may change them, and how they are replaced.
//!
//! | step | function |
//! |---|---|
//! | reach a file or directory that nobody else can change or turn elsewhere | [`open_file`], [`open_directory`], [`make_directory`] |
//! | take from others what is ours; make what is nobody else's | [`make_private`], [`made_privately`] |
//! | look at a file of whomever, and act on nothing in it | [`peek_file`] |
//! | know a container, where a platform opens files to a group | [`in_container`], [`is_container_root`] |
//! | replace a file as a whole | [`write_atomically`], [`remove_leftovers`] |
//!
//! The rule is that of sshd's `StrictModes`: each directory from `/` on, each symbolic link on the way and the file itself
//! belong to root or to this process's user ([`Owners`]), and nobody else may write them. A directory with the sticky bit
//! (`/tmp`) is good: there, nobody removes what is another's. The group counts as others, but for the
//! private group of an ordinary user. Access control lists need no look
//! of their own: one that lets others write shows in the group's bits.
//!
//! Each component is opened below the one that was checked before it, so that nothing can change in between.
//!
//! What it does **not** do: it does not judge who may *read* a file, takes no lock, and knows no file's content.
//!
//! ```
//! use std::io::Read as _;
//!
//! use boundkey_files::{Owners, open_file, write_atomically};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let directory = tempfile::tempdir()?;
//! let path = directory.path().join("secret");
//! write_atomically(&path, b"content", 0o600)?;
//! let mut content = String::new();
//! open_file(&path, &Owners::of_process())?.read_to_string(&mut content)?;
//! assert_eq!(content, "content");
//! # Ok(())
//! # }
//! ```

mod container;
mod error;
mod exceptions;
mod group;
mod namespace;
mod owners;
mod private;
mod walk;
mod write;

pub use container::{in_container, is_container_root};
pub use error::FileError;
pub use owners::Owners;
pub use private::{made_privately, make_private};
pub use walk::{
    look_for_directory, look_for_file, look_for_parent, make_directory, make_parent, open_directory,
    open_file, peek_file,
};
pub use write::{remove_leftovers, write_atomically};
