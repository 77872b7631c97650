//! Man pages and completion scripts, made of the arguments themselves.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Command};
use clap_complete::Shell;

use crate::standard::{print, print_bytes};

/// `man [DIR]`
#[derive(Debug, Args)]
pub struct ManOptions {
    /// Directory to write the pages into, one for each command; made if it is not there [default: print the first page]
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// `completions SHELL`
#[derive(Debug, Args)]
pub struct CompletionOptions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Writes the man pages of a program and of all its subcommands, or prints the program's own.
///
/// # Errors
///
/// The directory cannot be made or written; as [`print()`].
pub fn man(options: &ManOptions, command: Command) -> anyhow::Result<()> {
    match &options.dir {
        Some(dir) => write_pages(dir, command),
        None => {
            let mut command = command.disable_help_subcommand(true);
            command.build();
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            print_bytes(&page)
        }
    }
}

fn write_pages(dir: &Path, command: Command) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    clap_mangen::generate_to(command, dir).with_context(|| format!("cannot write to {}", dir.display()))
}

/// Prints the completion script for a shell.
///
/// # Errors
///
/// As [`print()`].
pub fn completions(options: &CompletionOptions, mut command: Command) -> anyhow::Result<()> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut command, name, &mut script);
    print(&String::from_utf8_lossy(&script))
}
