use std::path::{Path, PathBuf};

use anyhow::Context as _;
use boundkey_client::config::AgentConfig;
use boundkey_console::print;
use boundkey_files::write_atomically;
use clap::{Args, Subcommand};

use crate::arguments::DEFAULT_CONFIG;

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write a systemd unit
    Systemd(Systemd),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  boundkey-agent install systemd -o /etc/systemd/system/boundkey-agent.service\n  \
                        systemctl daemon-reload && systemctl enable --now boundkey-agent\n\nThe unit may write below \
                        /var/lib/boundkey, /etc, /home, /root, /run and /srv, \
                        and where the configuration has its data_dir and outputs now."
)]
struct Systemd {
    /// File to write, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Configuration file that the unit names
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let Verb::Systemd(options) = &options.verb;
    let program = std::env::current_exe().context("cannot find the path of this program")?;
    let unit = unit(&program, &options.config);
    match &options.output {
        None => print(&unit)?,
        Some(file) => {
            write_atomically(file, unit.as_bytes(), 0o644)
                .with_context(|| format!("cannot write {}", file.display()))?;
            print(&format!("wrote {}\n", file.display()))?;
        }
    }
    Ok(())
}

fn unit(program: &Path, config: &Path) -> String {
    include_str!("boundkey-agent.service")
        .replace("@PROGRAM@", &quoted(program))
        .replace("@CONFIG@", &quoted(config))
        .replace("@PATHS@", &further_paths(config))
}

/// What the configuration wants to write elsewhere, if there is one already. An output that is not there yet is made in the
/// directory above it.
fn further_paths(config: &Path) -> String {
    const COVERED: [&str; 6] = ["/etc", "/home", "/root", "/run", "/srv", "/var/lib/boundkey"];
    let Ok(config) = AgentConfig::look_at(config) else { return String::new() };
    let above = config.outputs.iter().filter_map(|output| output.path.parent().map(Path::to_owned));
    let mut further = std::collections::BTreeSet::new();
    further.extend(
        above
            .chain([config.data_dir])
            .filter(|path| !COVERED.iter().any(|covered| path.starts_with(covered))),
    );
    further.iter().map(|path| format!(" -{}", quoted(path))).collect()
}

/// As a word of a unit file: `%` and `$` stand for themselves.
fn quoted(path: &Path) -> String {
    let text = path
        .display()
        .to_string()
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('%', "%%")
        .replace('$', "$$");
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%$".contains(c);
    if text.chars().all(plain) { text } else { format!("\"{text}\"") }
}
