//! Arguments.

use std::path::PathBuf;

use boundkey_console::{CompletionOptions, LogOptions, ManOptions};
use clap::{Args, Parser, Subcommand};

/// Issues short-lived certificates to machines that prove a bound key.
#[derive(Debug, Parser)]
#[command(
    name = "boundkey-server",
    version,
    arg_required_else_help = true,
    after_help = "Example:\n  boundkey-server start --data-dir ./bk --cluster-name example.com\n\n\
                  On a network:\n  boundkey-server start --cluster-name example.com --listen 0.0.0.0:443 --public-addr server.example.com:443"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) log: LogOptions,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server in the foreground.
    #[command(after_help = "Example:\n  boundkey-server start --data-dir ./bk --cluster-name example.com")]
    Start(StartArgs),
    /// Print a commented configuration.
    #[command(
        after_help = "Example:\n  boundkey-server configure --cluster-name example.com > /etc/boundkey-server.yaml"
    )]
    Configure(SettingArgs),
    /// Check a configuration, and start nothing.
    #[command(after_help = "Example:\n  boundkey-server check-config -c /etc/boundkey-server.yaml")]
    CheckConfig(CheckArgs),
    /// Write the store into one file; works while the server runs.
    #[command(after_help = "Example:\n  boundkey-server backup --data-dir ./bk /backup/boundkey.sqlite\n\n\
                      The master key is not in it: keep it apart.")]
    Backup(BackupArgs),
    /// Put a backup in the place of the store; the server must be stopped.
    #[command(after_help = "Example:\n  boundkey-server restore --data-dir ./bk /backup/boundkey.sqlite")]
    Restore(RestoreArgs),
    /// Print a completion script for a shell.
    #[command(
        after_help = "Example:\n  boundkey-server completions bash > /etc/bash_completion.d/boundkey-server"
    )]
    Completions(CompletionOptions),
    /// Write the man pages into a directory, one for each command.
    #[command(after_help = "Example:\n  boundkey-server man /usr/local/share/man/man1")]
    Man(ManOptions),
}

#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// The configuration; flags win over it.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
    /// Apply the resources of a file at start, updating what exists; repeatable.
    #[arg(long, value_name = "FILE")]
    pub(crate) apply: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct PlaceArgs {
    /// The server's configuration.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where everything is kept [default: /var/lib/boundkey-server].
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// The backup; a file that is there is replaced once the new one is whole.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
    /// The backup.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The configuration.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Args, Default)]
pub(crate) struct SettingArgs {
    /// Where everything is kept [default: /var/lib/boundkey-server].
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where to listen [default: 127.0.0.1:3443].
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<String>,
    /// The cluster's name, as in a DNS name; required on the first start, then remembered.
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster_name: Option<String>,
    /// An address under which machines reach this server; repeatable.
    #[arg(long = "public-addr", value_name = "HOST:PORT")]
    pub(crate) public_addrs: Vec<String>,
}
