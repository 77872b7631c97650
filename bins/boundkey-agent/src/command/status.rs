use std::fmt::Write as _;
use std::process::ExitCode;

use boundkey_client::{Clock as _, Status, SystemClock, show_time};
use boundkey_console::{FormatOption, print_as};
use boundkey_text::clean;
use clap::Args;
use time::OffsetDateTime;

use crate::arguments::Place;

#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 healthy, 1 not. What would keep an agent from starting is a problem too; that none is \
                        running is one only when the renewal is overdue.\nOnly root and the agent's own user may look.\n\n\
                        Example:\n  boundkey-agent status --format json"
)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    format: FormatOption,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let now = SystemClock.now();
    let (data_dir, config) = options.place.look()?;
    let status = Status::of_data_dir(&data_dir, config.as_ref(), now)?;
    print_as(options.format.format, &status, || text(&status, now))?;
    Ok(if status.healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Characters of a line.
const MOST: usize = 4096;

fn text(status: &Status, now: OffsetDateTime) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // The data directory may be another user's. Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<14} {}", clean(value, MOST));
    };
    line("health", if status.healthy { "healthy" } else { "NOT HEALTHY" });
    for problem in &status.problems {
        line("", problem);
    }
    let agent = status.pid.map_or_else(|| "not running".to_owned(), |pid| format!("running (process {pid})"));
    line("agent", &agent);
    line("data_dir", &status.data_dir.display().to_string());
    let texts = [("cluster", &status.cluster), ("token", &status.token), ("public_key", &status.public_key)];
    for (name, value) in texts {
        if let Some(value) = value {
            line(name, value);
        }
    }
    if let (Some(kind), Some(id)) = (&status.identity, &status.id) {
        line("identity", &format!("{kind} {id}"));
    }
    if let Some(proxy) = &status.proxy {
        line("proxy", proxy);
    }
    let times = [
        ("obtained", status.obtained_at),
        ("expires", status.certificates_expire_at),
        ("next renewal", status.next_renewal_at),
        ("last error", status.last_error_at),
    ];
    for (name, time) in times {
        if let Some(time) = time {
            line(name, &format!("{} ({})", show_time(time), distance(time - now)));
        }
    }
    for output in &status.outputs {
        let how = output.written.as_deref().unwrap_or("not written yet");
        line("output", &format!("{} {}: {how}", output.kind, output.path.display()));
    }
    text
}

fn distance(span: time::Duration) -> String {
    let whole = span.unsigned_abs().as_secs();
    let shown = match whole {
        0..=119 => format!("{whole} s"),
        120..=7199 => format!("{} min", whole / 60),
        7200..=172_799 => format!("{} h", whole / 3600),
        _ => format!("{} days", whole / 86_400),
    };
    if span.is_negative() { format!("{shown} ago") } else { format!("in {shown}") }
}
