use clap::{Command, CommandFactory as _};

use super::Arguments;

fn every(command: &Command, path: &str, visit: &mut impl FnMut(&Command, &str)) {
    visit(command, path);
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        every(inner, &format!("{path} {}", inner.get_name()), visit);
    }
}

#[test]
fn the_command_line_holds_together() {
    Arguments::command().debug_assert();
}

#[test]
fn every_command_has_an_example_that_it_understands() {
    every(&Arguments::command(), "boundkeyctl", &mut |command, path| {
        if command.has_subcommands() && path != "boundkeyctl" {
            return;
        }
        let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples: Vec<&str> =
            text.lines().filter(|line| line.starts_with("  ")).filter_map(of_this_tool).collect();
        assert!(!examples.is_empty(), "{path} has no example");
        for example in examples {
            let words = example.split([' ', '\'']).filter(|word| !word.is_empty());
            let words: Vec<&str> = words.take_while(|word| !["#", ">", "|"].contains(word)).collect();
            let known = match example.contains('\'') {
                // Words in quotes are too much for this splitting.
                true => example.starts_with(path),
                false => Arguments::command().try_get_matches_from(&words).is_ok(),
            };
            assert!(known, "{path}: {example}");
        }
    });
}

fn of_this_tool(line: &str) -> Option<&str> {
    line.find("boundkeyctl ").map(|at| &line[at..])
}

#[test]
fn every_command_and_every_argument_is_explained() {
    every(&Arguments::command(), "boundkeyctl", &mut |command, path| {
        assert!(command.get_about().is_some(), "{path}");
        for argument in command.get_arguments() {
            assert!(argument.get_help().is_some(), "{path} {}", argument.get_id());
        }
    });
}
