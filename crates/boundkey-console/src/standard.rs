//! Standard error, where nothing is the job, and standard output, where the result is.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;

use crate::outlet::Outlet;

/// How long a program waits for a reader of standard error that does not read.
const MOMENT: Duration = Duration::from_secs(1);

static STDERR: Outlet = Outlet::new(to_stderr, |lines| {
    tracing::error!(lines, "log lines were lost: standard error did not take them");
});

/// A part of a line was written: the next one must not be taken for its rest.
static TORN: AtomicBool = AtomicBool::new(false);

fn to_stderr(line: &[u8]) -> io::Result<()> {
    if TORN.load(Ordering::Relaxed) {
        write_all(io::stderr(), b"\n")?;
        TORN.store(false, Ordering::Relaxed);
    }
    write_all(io::stderr(), line)
}

/// Without the lock that `std` has on the stream: a thread that waits here for ever must not stop one that panics.
fn write_all(to: impl AsFd, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match rustix::io::write(&to, rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                rest = &rest[written..];
                TORN.store(!rest.is_empty(), Ordering::Relaxed);
            }
            Err(rustix::io::Errno::INTR) => {}
            // Somebody else made the stream one that does not wait: then the thread waits.
            Err(rustix::io::Errno::AGAIN) => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A line of the log.
pub(crate) fn log_line(line: &[u8]) {
    STDERR.say(line);
}

/// Says something on standard error: an error, a warning, how far it is. Best effort: never fails, and waits for a moment
/// at most.
pub fn say(text: &str) {
    STDERR.say(text.as_bytes());
    STDERR.flush(MOMENT);
}

/// Gives what was said a moment to be read, at the end of the process.
pub(crate) fn flush() {
    STDERR.flush(MOMENT);
}

/// Prints a result as it is. A reader that went away early (`| head`) is no failure.
///
/// # Errors
///
/// Standard output does not take it: the disk is full.
pub fn print(text: &str) -> anyhow::Result<()> {
    stream(text).map(drop)
}

/// Prints a piece of something that has no end of its own; false: nobody reads any more.
///
/// # Errors
///
/// As [`print()`].
pub fn stream(text: &str) -> anyhow::Result<bool> {
    // Colours are for terminals, and for those who did not set NO_COLOR: anstream takes them out elsewhere.
    write(&mut anstream::stdout().lock(), text.as_bytes())
}

/// As [`stream`], for what holds no colours.
///
/// # Errors
///
/// As [`print()`].
pub fn stream_bytes(content: &[u8]) -> anyhow::Result<bool> {
    write(&mut io::stdout().lock(), content)
}

/// Prints bytes that are no text.
///
/// # Errors
///
/// As [`print()`].
pub fn print_bytes(content: &[u8]) -> anyhow::Result<()> {
    stream_bytes(content).map(drop)
}

fn write(out: &mut impl Write, content: &[u8]) -> anyhow::Result<bool> {
    match out.write_all(content).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        outcome => outcome.map(|()| true).context("cannot print"),
    }
}

/// Prints a line on standard output for whoever waits for it, while the program goes on: best effort.
pub fn announce(line: String) {
    let write = move || {
        if let Err(error) = print(&line) {
            tracing::warn!("{error:#}: {}", line.trim_end());
        }
    };
    if std::thread::Builder::new().name("announce".to_owned()).spawn(write).is_err() {
        tracing::warn!("no thread can be started to print a line on standard output");
    }
}
