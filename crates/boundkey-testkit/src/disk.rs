//! A disk of its own for a test: small, filled, made read-only; seen only by who is sent into its namespace.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Running, run, wait_for};

/// A tmpfs mounted in a mount namespace of its own, which ends with this value.
pub struct SmallDisk {
    holder: Running,
    at: PathBuf,
}

impl SmallDisk {
    /// Mounts one on a directory, with options such as `size=1m,mode=700`. None if that is not permitted here.
    ///
    /// # Panics
    /// If the system behaves oddly.
    pub fn mount(at: &Path, options: &str, log: PathBuf) -> Option<Self> {
        std::fs::create_dir_all(at).expect("a directory can be made");
        let script =
            format!("mount -t tmpfs -o {options} tmpfs {} && echo mounted && exec sleep 900", at.display());
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", &script]);
        let mut holder = Running::start(&mut command, log);
        let mut mounted = false;
        wait_for("a disk to be mounted", || {
            mounted = holder.printed().contains("mounted");
            mounted || holder.ended().is_some()
        });
        mounted.then(|| Self { holder, at: at.to_owned() })
    }

    /// The words before a command that let it see the disk.
    pub fn words(&self) -> Vec<String> {
        let namespace = format!("--mount=/proc/{}/ns/mnt", self.holder.id());
        ["nsenter".to_owned(), namespace, "--".to_owned()].into()
    }

    /// A path on the disk, as it is seen from outside.
    pub fn seen(&self, path: &Path) -> PathBuf {
        let inside = path.strip_prefix("/").expect("an absolute path");
        PathBuf::from(format!("/proc/{}/root", self.holder.id())).join(inside)
    }

    /// Takes all the room but for so many bytes.
    ///
    /// # Panics
    /// If the disk cannot be written to at all.
    pub fn fill_but(&self, room: u64) {
        let place = self.seen(&self.at.join("filler"));
        let mut file = File::create(&place).expect("a file can be made");
        let page = [1; 4096];
        while file.write_all(&page).is_ok() {}
        let length = file.metadata().expect("it is there").len();
        file.set_len(length.saturating_sub(room)).expect("it can be cut");
    }

    /// Gives the room back.
    ///
    /// # Panics
    /// If it was not taken.
    pub fn empty(&self) {
        let filler = self.seen(&self.at.join("filler"));
        // A file that is only removed may hold its room for some milliseconds more.
        let file = File::options().write(true).open(&filler).expect("it was filled");
        file.set_len(0).expect("it can be cut");
        std::fs::remove_file(filler).expect("it is there");
    }

    /// `ro` or `rw`. Nobody may have a file open for writing.
    ///
    /// # Panics
    /// If the system refuses.
    pub fn remount(&self, how: &str) {
        let words = self.words();
        let mut command = Command::new(&words[0]);
        run(command.args(&words[1..]).args(["mount", "-o", &format!("remount,{how}")]).arg(&self.at))
            .success();
    }
}
