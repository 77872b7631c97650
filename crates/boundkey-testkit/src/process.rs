//! Programs that are run to their end, and programs that are ended with their test.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// One of our binaries, where cargo built it.
///
/// # Panics
/// If it was not built: run the tests through `cargo xtask test`, or build the workspace first.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    // Tests run from target/PROFILE/deps, our programs from the directory above.
    let found =
        test.ancestors().skip(1).take(2).map(|directory| directory.join(name)).find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!("{name} is not built beside {}; `cargo build --workspace` builds it", test.display())
    })
}

/// A program on the PATH or in the administration directories; tests say `SKIP:` without it.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
}

/// The command of one of our binaries, behind the words of a wrapper (`nsenter ...`), which has to end in an exec.
pub(crate) fn wrapped(around: &[String], name: &str) -> Command {
    match around.split_first() {
        None => Command::new(binary(name)),
        Some((wrapper, words)) => {
            let mut command = Command::new(wrapper);
            command.args(words).arg(binary(name));
            command
        }
    }
}

/// What a program that ended left.
#[derive(Debug)]
pub struct Ran {
    /// The command line, for messages.
    pub command: String,
    /// The exit status; none if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// Asserts exit status 0 and gives back standard output.
    ///
    /// # Panics
    /// If it was another.
    #[track_caller]
    pub fn success(self) -> String {
        assert_eq!(self.code, Some(0), "{}\n{}\n{}", self.command, self.stdout, self.stderr);
        self.stdout
    }

    /// Asserts exit status 1 (refused or failed) and gives back standard error.
    ///
    /// # Panics
    /// If it was another, or if a secret-free panic message was printed.
    #[track_caller]
    pub fn failure(self) -> String {
        assert_eq!(self.code, Some(1), "{}\n{}\n{}", self.command, self.stdout, self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}\n{}", self.command, self.stderr);
        self.stderr
    }
}

/// Runs to the end, at most a minute.
///
/// # Panics
/// If it cannot be started or takes longer.
pub fn run(command: &mut Command) -> Ran {
    let shown = format!("{command:?}").replace('"', "");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {shown}: {error}"));
    let mut stdout = child.stdout.take().expect("piped");
    let mut stderr = child.stderr.take().expect("piped");
    let out = std::thread::spawn(move || read_all(&mut stdout));
    let err = std::thread::spawn(move || read_all(&mut stderr));
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            break status;
        }
        if started.elapsed() > Duration::from_secs(60) {
            child.kill().expect("a child can be killed");
            panic!("{shown} did not end within a minute");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let text = |handle: std::thread::JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&handle.join().expect("the reader ends with the pipe")).into_owned()
    };
    Ran { command: shown, code: status.code(), stdout: text(out), stderr: text(err) }
}

fn read_all(from: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).expect("a pipe can be read");
    bytes
}

/// Asks until the answer is yes.
///
/// # Panics
/// After 20 seconds of no.
#[track_caller]
pub fn wait_for(what: &str, mut yes: impl FnMut() -> bool) {
    let started = Instant::now();
    while !yes() {
        assert!(started.elapsed() < Duration::from_secs(20), "waited 20 s in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A child that ends with its test. Its output goes to a file.
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts it; both outputs go to `log`.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(command: &mut Command, log: PathBuf) -> Self {
        let file =
            std::fs::OpenOptions::new().create(true).append(true).open(&log).expect("a log file can be made");
        let shown = format!("{command:?}").replace('"', "");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a file handle can be cloned"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {shown}: {error}"));
        Self { child, log }
    }

    /// What it printed so far.
    ///
    /// # Panics
    /// If its log was removed.
    pub fn printed(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).expect("the log is there")).into_owned()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Has it ended by itself?
    ///
    /// # Panics
    /// If the system refuses to say.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Sends a signal by name (`TERM`, `USR1`, `KILL`).
    ///
    /// # Panics
    /// If there is no such process any more.
    pub fn signal(&self, name: &str) {
        run(Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string())).success();
    }

    /// SIGTERM, then its exit status.
    ///
    /// # Panics
    /// If it does not end within 20 seconds.
    pub fn stop(&mut self) -> std::process::ExitStatus {
        self.signal("TERM");
        let mut status = None;
        wait_for("a process to end after SIGTERM", || {
            status = self.ended();
            status.is_some()
        });
        status.expect("it has ended")
    }

    /// SIGKILL: no goodbye.
    ///
    /// # Panics
    /// If the system refuses.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a killed child ends");
    }
}

#[expect(clippy::print_stderr, reason = "a test that fails shows what its programs said")]
impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!(
                "--- {}\n{}",
                self.log.display(),
                String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default())
            );
        }
    }
}
