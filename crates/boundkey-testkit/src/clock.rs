//! A wall clock that a test steps while processes run under it.

use std::path::{Path, PathBuf};

/// Under libfaketime, read anew at each look; the clocks that do not step (monotonic, since boot) stay true.
pub struct SteppedClock {
    library: PathBuf,
    file: PathBuf,
}

impl SteppedClock {
    /// A right clock, told through this file. None if libfaketime is not installed (Debian: faketime).
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn new(file: PathBuf) -> Option<Self> {
        let library = library()?;
        let clock = Self { library, file };
        clock.set(0);
        Some(clock)
    }

    /// The words before a command that make it live by this clock.
    pub fn words(&self) -> Vec<String> {
        vec![
            "env".to_owned(),
            format!("LD_PRELOAD={}", self.library.display()),
            format!("FAKETIME_TIMESTAMP_FILE={}", self.file.display()),
            "FAKETIME_NO_CACHE=1".to_owned(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        ]
    }

    /// So many seconds from the right time, from now on.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn set(&self, seconds: i64) {
        // Renamed: a process must not read half a number.
        let beside = self.file.with_extension("new");
        std::fs::write(&beside, format!("{seconds:+}\n")).expect("a file can be written");
        std::fs::rename(&beside, &self.file).expect("a file can be renamed");
    }
}

/// The variant for programs with threads.
fn library() -> Option<PathBuf> {
    let mut places = vec![PathBuf::from("/usr/lib/faketime"), PathBuf::from("/usr/local/lib/faketime")];
    let architectures = std::fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok);
    places.extend(architectures.map(|entry| entry.path().join("faketime")));
    places.iter().map(|place| place.join("libfaketimeMT.so.1")).find(|library| Path::is_file(library))
}
