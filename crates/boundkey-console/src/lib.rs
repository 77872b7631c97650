//! What a program says: its log, its results, its errors.
//!
//! ```text
//!   run(act) ── arguments ──> act ──> result   print, print_as ──────────> standard output   the job: a loss is exit 1
//!                              ├────> lines    start_log, say ─> queue ─> standard error    best effort
//!                              └────> notices  tell_service_manager ────> systemd           best effort
//! ```
//!
//! A result that standard output does not take is a failure, unless the reader had enough (`| head`). Nothing else that a
//! program says can end it, stop it or change its exit status: not a reader that went away, not one that does not read, not
//! a full disk, not a descriptor that was never there. Lines wait in a queue of 1 MiB; what does not fit, or cannot be
//! written, is dropped and counted, and the log says how many once it is written again. A process that ends gives its last
//! lines one second.
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use boundkey_console::{Log, LogOptions, print, run, start_log};
//!
//! /// Greets.
//! #[derive(clap::Parser)]
//! struct Arguments {
//!     #[command(flatten)]
//!     log: LogOptions,
//!     name: String,
//! }
//!
//! fn main() -> ExitCode {
//!     run(|arguments: Arguments| {
//!         start_log(&arguments.log.over(Log::default()));
//!         print(&format!("hello, {}\n", arguments.name))?;
//!         Ok(ExitCode::SUCCESS)
//!     })
//! }
//! ```
//!
//! What it does **not** do: it cleans no text (who reads a text from outside does, with `boundkey-text`), it hides no
//! secret, and it writes no file but man pages.

mod format;
mod log;
mod outlet;
mod pages;
mod program;
mod question;
mod service_manager;
mod standard;

pub use format::{Format, FormatOption, print_as};
pub use log::{Level, Log, LogFormat, LogOptions, start_log};
pub use pages::{CompletionOptions, ManOptions, completions, man};
pub use program::{Usage, guard_memory, need_descriptors, raise_descriptors, run, run_mending, survive};
pub use question::{Unconfirmed, ask};
pub use service_manager::{Notice, tell_service_manager};
pub use standard::{announce, print, print_bytes, say, stream, stream_bytes};
