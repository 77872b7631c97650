//! A program from its arguments to its exit status.

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anstream::{AutoStream, ColorChoice};
use clap::{Command, Parser};

use crate::standard::{flush, print, say};

/// A word on the command line that cannot be meant: exit status 2.
#[derive(Debug)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Usage {}

/// Runs a program: reads its arguments, acts, says what went wrong. 0 done, 1 refused or failed, 2 wrong usage.
///
/// The status is that of the job. Whether anybody reads what the program says changes it in one case alone: a result that
/// standard output did not take is a failure.
pub fn run<A: Parser>(act: impl FnOnce(A) -> anyhow::Result<ExitCode>) -> ExitCode {
    run_mending(|fault| fault, act)
}

/// The same, with a last word on what is said of wrong usage: what may not be suggested, for instance.
pub fn run_mending<A: Parser>(
    mend: fn(clap::Error) -> clap::Error,
    act: impl FnOnce(A) -> anyhow::Result<ExitCode>,
) -> ExitCode {
    // A file that may not grow (`ulimit -f`) is a write that fails, as on a full disk.
    survive(&[signal_hook::consts::SIGXFSZ]);
    let code = match parse(std::env::args_os()) {
        Ok(arguments) => act(arguments),
        Err(fault) => usage(&mend(fault)),
    };
    let code = code.unwrap_or_else(|error| {
        say(&format!("{}: {error:#}\n", A::command().get_name()));
        if error.is::<Usage>() { ExitCode::from(2) } else { ExitCode::FAILURE }
    });
    flush();
    crate::service_manager::flush();
    code
}

/// From now on these signals end nothing; whoever waits for them still gets them.
pub fn survive(signals: &[i32]) {
    for signal in signals {
        // Fails for signals that no program can take: those end it as ever.
        let _ = signal_hook::flag::register(*signal, Arc::new(AtomicBool::new(false)));
    }
}

fn parse<A: Parser>(words: impl Iterator<Item = OsString>) -> Result<A, clap::Error> {
    let mut matches = without_empty_variables(A::command()).try_get_matches_from(words)?;
    A::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut A::command()))
}

/// A variable of the environment that is set to nothing counts as one that is not set.
fn without_empty_variables(command: Command) -> Command {
    let command = command.mut_args(|argument| {
        let empty =
            argument.get_env().is_some_and(|name| std::env::var_os(name).is_some_and(|v| v.is_empty()));
        if empty { argument.env(None::<&'static str>) } else { argument }
    });
    command.mut_subcommands(without_empty_variables)
}

/// Help and version are results; everything else is said on standard error. `clap` itself would lose the one silently, and
/// wait for ever with the other.
fn usage(fault: &clap::Error) -> anyhow::Result<ExitCode> {
    let text = fault.render();
    if !fault.use_stderr() {
        print(&text.ansi().to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    match AutoStream::choice(&std::io::stderr()) {
        ColorChoice::Never => say(&text.to_string()),
        _ => say(&text.ansi().to_string()),
    }
    Ok(ExitCode::from(2))
}

/// Lets this process have as many descriptors as it may: the soft limit becomes the hard one. How many those are.
pub fn raise_descriptors() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let now = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    now.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX))
}

/// Keeps what this process has in memory in there: no core dumps, and no process of the same user looks into it. For programs
/// that hold keys, before they have any. If the system refuses, that is said on standard error, and nothing else changes.
pub fn guard_memory() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
    // The hard limit stays: what this process starts may have dumps of its own.
    let none = Rlimit { current: Some(0), ..getrlimit(Resource::Core) };
    let refused =
        setrlimit(Resource::Core, none).and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable));
    if let Err(error) = refused {
        say(&format!("warning: this process's memory cannot be kept from dumps and debuggers: {error}\n"));
    }
}

/// Whether so many more descriptors can be had; asked before parts are set up that panic without them.
///
/// # Errors
///
/// They cannot.
pub fn need_descriptors(count: usize) -> anyhow::Result<()> {
    let mut held = Vec::new();
    while held.len() * 2 < count {
        // A pair needs nothing of the file system.
        held.push(std::os::unix::net::UnixStream::pair().map_err(|error| {
            anyhow::anyhow!(
                "{} more open files can be had, {count} are needed ({error}): raise `ulimit -n`, or LimitNOFILE= of the unit",
                held.len() * 2
            )
        })?);
    }
    Ok(())
}
