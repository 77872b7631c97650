use std::path::PathBuf;

use anyhow::Context as _;
use boundkey_client::config::{AgentConfig, DEFAULT_DATA_DIR, Environment};
use boundkey_console::{CompletionOptions, LogOptions, ManOptions};
use clap::{Args, Parser, Subcommand};

use crate::command::{check_config, configure, forget, install, keypair, renew, start, status};

/// Joins this machine to a cluster with a bound keypair, and keeps its certificates fresh.
#[derive(Debug, Parser)]
#[command(name = "boundkey-agent", version, propagate_version = true, max_term_width = 100)]
#[command(
    after_help = "Example:\n  boundkey-agent start -c /etc/boundkey.yaml\n\nExit status: 0 done, 1 refused or \
                        failed, 2 usage."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) log: LogOptions,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Join and renew until stopped; or join once
    Start(start::Options),
    /// Show what the agent holds, until when, and what went wrong last
    Status(status::Options),
    /// Make and show keys
    Keypair(keypair::Options),
    /// Write a configuration from flags
    Configure(configure::Options),
    /// Check a configuration and what it names, and start nothing
    CheckConfig(check_config::Options),
    /// Ask the running agent to renew now
    Renew(renew::Options),
    /// Wipe the state: the machine is enrolled anew afterwards (for golden images)
    Forget(forget::Options),
    /// Write files for the operating system
    Install(install::Options),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  boundkey-agent completions bash > /etc/bash_completion.d/boundkey-agent"
    )]
    Completions(CompletionOptions),
    /// Write the man pages into a directory, one for each command
    #[command(after_help = "Example:\n  boundkey-agent man /usr/local/share/man/man1")]
    Man(ManOptions),
}

/// Which data directory: named, or by the configuration.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub(crate) config: PathBuf,
    /// Data directory, instead of the one that the configuration names
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

pub(crate) const DEFAULT_CONFIG: &str = "/etc/boundkey.yaml";

impl Place {
    /// To act on: no configuration that others can change says where. Without one at the usual place, the usual directory.
    pub(crate) fn data_dir(&self) -> anyhow::Result<PathBuf> {
        if let Some(dir) = &self.data_dir {
            return Ok(dir.clone());
        }
        if self.is_absent() {
            return Ok(PathBuf::from(DEFAULT_DATA_DIR));
        }
        let config = AgentConfig::load(&self.config, Environment::default());
        config
            .map(|config| config.data_dir)
            .context("no data directory: mend this, or name one with --data-dir")
    }

    /// To look at: the data directory, and the configuration if there is one for it.
    pub(crate) fn look(&self) -> anyhow::Result<(PathBuf, Option<AgentConfig>)> {
        match &self.data_dir {
            // Named otherwise, the configuration is only of use if it is this agent's.
            Some(dir) => {
                let config = AgentConfig::look_at(&self.config).ok();
                Ok((dir.clone(), config.filter(|config| config.data_dir == *dir)))
            }
            None if self.is_absent() => Ok((PathBuf::from(DEFAULT_DATA_DIR), None)),
            None => {
                let config = AgentConfig::look_at(&self.config)?;
                Ok((config.data_dir.clone(), Some(config)))
            }
        }
    }

    fn is_absent(&self) -> bool {
        self.config.as_os_str() == DEFAULT_CONFIG && !self.config.exists()
    }
}
