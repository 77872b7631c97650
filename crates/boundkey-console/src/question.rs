//! The question before a machine is cut off: asked on a terminal, and answered by `--yes` elsewhere.

use std::io::{BufRead as _, IsTerminal as _};

use crate::standard::say;

/// Nothing was changed, because nobody said yes.
#[derive(Debug, thiserror::Error)]
pub enum Unconfirmed {
    /// Whoever was asked said no, or nothing.
    #[error("nothing was changed")]
    Declined,
    /// There is no terminal to ask on.
    #[error("{told}\nnothing was changed; to do it all the same: {command}")]
    NobodyToAsk {
        /// Whom it hits and what becomes of them.
        told: String,
        /// What to type instead.
        command: String,
    },
}

/// Asks whether to go on, after saying what that comes to. No is the default.
///
/// # Errors
/// The answer was not yes, or there is no terminal to ask on.
pub fn ask(told: &str) -> Result<(), Unconfirmed> {
    let mut input = std::io::stdin();
    if !input.is_terminal() || !std::io::stderr().is_terminal() {
        let typed = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
        return Err(Unconfirmed::NobodyToAsk { told: told.to_owned(), command: with_yes(typed) });
    }
    // A terminal that takes no question gives no answer either.
    say(&format!("{told}\ngo on? [y/N] "));
    if says_yes(&mut input) { Ok(()) } else { Err(Unconfirmed::Declined) }
}

fn says_yes(input: &mut std::io::Stdin) -> bool {
    let mut answer = String::new();
    let read = input.lock().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

/// The command line as it was typed, quoted for a shell, with `--yes`.
fn with_yes(arguments: impl Iterator<Item = String>) -> String {
    let mut words: Vec<String> = arguments.collect();
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    words.insert(end, "--yes".to_owned());
    if let Some(program) = words.first_mut()
        && let Some(name) = std::path::Path::new(program.as_str()).file_name().and_then(|name| name.to_str())
    {
        *program = name.to_owned();
    }
    // A NUL, which no shell takes, cannot stand in an argument.
    shlex::try_join(words.iter().map(String::as_str)).unwrap_or_else(|_| words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::with_yes;

    #[test]
    fn the_command_to_type_is_the_one_that_was_typed_with_yes() {
        let typed = |words: &[&str]| with_yes(words.iter().map(|word| (*word).to_owned()));
        assert_eq!(typed(&["/usr/bin/boundkeyctl", "rm", "token/a"]), "boundkeyctl rm token/a --yes");
        assert_eq!(
            typed(&["boundkeyctl", "lock", "--token", "a", "--message", "it's gone; $HOME"]),
            "boundkeyctl lock --token a --message \"it's gone; \"'$HOME' --yes"
        );
        assert_eq!(typed(&["boundkeyctl", "rm", "--", "token/a"]), "boundkeyctl rm --yes -- token/a");
    }
}
