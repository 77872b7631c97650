//! Takes each rule of the lifecycle out of a scratch copy and shows that the tests which are named for it fail.

mod list;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};

use crate::process::{cargo, root};
use list::{REMOVALS, Removal, Suite};

const HELP: &str = "\
Takes each rule of joining out of a copy, one after another, and shows that the tests named for it fail.

Usage: cargo xtask removals [WORD]

  WORD   Only removals whose rule or description contains it

The copy is under the target directory; nothing in this tree is changed. Takes some seconds for each removal, and some
minutes when the copy is built for the first time.
";

/// What the copy needs: the workspace as cargo wants it.
const COPIED: &[&str] = &["Cargo.toml", "Cargo.lock", "crates", "bins", "examples"];

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if arguments.iter().any(|a| a == "--help" || a == "-h") {
        print!("{HELP}");
        return Ok(());
    }
    let word = arguments.first().map_or("", String::as_str);
    let chosen: Vec<&Removal> =
        REMOVALS.iter().filter(|r| r.rule.contains(word) || r.what.contains(word)).collect();
    ensure!(!chosen.is_empty(), "no removal has `{word}` in its rule or description");
    let scratch = scratch()?;
    for (suite, names) in suites(&chosen) {
        let failed = outcome(&scratch, suite, &names)?.failed;
        ensure!(failed.is_empty(), "{}: these tests fail as it is: {failed:?}", suite.package);
    }
    let mut survived = Vec::new();
    let count = chosen.len();
    for removal in chosen {
        let missing = missing(&scratch, removal)?;
        let verdict = if missing.is_empty() { "found out".to_owned() } else { format!("NOT by {missing:?}") };
        println!("rule {}: {}: {verdict}", removal.rule, removal.what);
        if !missing.is_empty() {
            survived.push(removal.what);
        }
    }
    if !survived.is_empty() {
        bail!("{} of {count} removals were not found out by every test named for them", survived.len());
    }
    println!("{count} removals, each found out by every test named for it");
    Ok(())
}

/// Each test program that these removals need, and the tests there that are named for them.
fn suites(removals: &[&Removal]) -> Vec<(Suite, Vec<&'static str>)> {
    let mut suites: Vec<(Suite, Vec<&'static str>)> = Vec::new();
    for removal in removals {
        let at = suites.iter().position(|(suite, _)| *suite == removal.suite).unwrap_or_else(|| {
            suites.push((removal.suite, Vec::new()));
            suites.len() - 1
        });
        suites[at].1.extend(removal.fails);
    }
    for (_, names) in &mut suites {
        names.sort_unstable();
        names.dedup();
    }
    suites
}

/// The tests named for this removal that pass without the rule.
fn missing(scratch: &Path, removal: &Removal) -> Result<Vec<&'static str>> {
    let file = scratch.join(removal.file);
    let before = fs::read_to_string(&file).with_context(|| removal.file)?;
    ensure!(before.matches(removal.text).count() == 1, "{}: its text does not occur once", removal.what);
    fs::write(&file, before.replacen(removal.text, removal.instead, 1))?;
    let outcome = outcome(scratch, removal.suite, removal.fails);
    fs::write(&file, before)?;
    let outcome = outcome.with_context(|| removal.what.to_owned())?;
    Ok(removal.fails.iter().copied().filter(|name| !outcome.failed.contains(*name)).collect())
}

struct Outcome {
    failed: BTreeSet<String>,
}

/// Runs these tests of the program.
fn outcome(scratch: &Path, suite: Suite, names: &[&str]) -> Result<Outcome> {
    let output = cargo()
        .current_dir(scratch)
        .args(["test", "--quiet", "--offline", "-p", suite.package])
        .args(suite.target)
        .args(["--", "--format", "pretty", "--exact"])
        .args(names)
        // Its own: to cargo the crates of the copy are those of this tree, and it would take one for the other.
        .env("CARGO_TARGET_DIR", scratch.join("target"))
        // No test leaves notes of what it found, nor looks for the smallest case.
        .env("PROPTEST_MAX_SHRINK_ITERS", "0")
        .env("PROPTEST_FAILURE_PERSISTENCE", "off")
        .stdin(Stdio::null())
        .output()
        .context("cannot start cargo test")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let ran = text.lines().filter(|line| line.starts_with("test ") && line.contains(" ... ")).count();
    if ran == 0 || ran != names.len() {
        bail!("{ran} of {} tests ran\n{text}{}", names.len(), String::from_utf8_lossy(&output.stderr));
    }
    let failed = text.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
    Ok(Outcome { failed: failed.map(str::to_owned).collect() })
}

/// A fresh copy of the sources; what was built in it before is kept.
fn scratch() -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let scratch = target.join("removals");
    for name in COPIED {
        let (from, to) = (root().join(name), scratch.join(name));
        if from.is_dir() {
            if to.exists() {
                fs::remove_dir_all(&to).with_context(|| format!("cannot remove {}", to.display()))?;
            }
            copy_directory(&from, &to)?;
        } else {
            fs::create_dir_all(&scratch)?;
            fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        }
    }
    Ok(scratch)
}

fn copy_directory(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), &to).with_context(|| format!("cannot copy to {}", to.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> String {
        fs::read_to_string(root().join(path)).expect(path)
    }

    /// The modules whose every test is of a trap.
    const TRAPS: &[&str] = &["traps", "shared", "histories", "marks", "clocks", "remedies"];

    /// `module::name` of every test of a module of a test program.
    fn tests_of(suite: Suite, module: &str) -> BTreeSet<String> {
        let path = format!("{}/{}", suite.modules, module.replace("::", "/"));
        let file = [format!("{path}.rs"), format!("{path}/mod.rs")];
        let file = file.iter().find(|file| root().join(file).exists()).expect(&path);
        let mut names = BTreeSet::new();
        let mut is_test = false;
        for line in read(file).lines().map(str::trim) {
            if line == "#[test]" || line == "#[tokio::test]" {
                is_test = true;
            } else if let Some(rest) =
                line.trim_start_matches("async ").strip_prefix("fn ").filter(|_| is_test)
            {
                names.insert(format!("{module}::{}", rest.split('(').next().unwrap_or_default()));
                is_test = false;
            }
        }
        names
    }

    #[test]
    fn the_text_of_every_removal_occurs_once() {
        for removal in REMOVALS {
            let found = read(removal.file).matches(removal.text).count();
            assert_eq!(found, 1, "rule {}: {}: in {}", removal.rule, removal.what, removal.file);
            assert!(!removal.fails.is_empty(), "{} names no test", removal.what);
        }
    }

    #[test]
    fn every_test_named_for_a_removal_exists() {
        for removal in REMOVALS {
            for name in removal.fails {
                let module = name.rsplit_once("::").expect("a module and a name").0;
                let found = tests_of(removal.suite, module).contains(*name);
                assert!(found, "rule {}: {}: no test {name}", removal.rule, removal.what);
            }
        }
    }

    #[test]
    fn every_trap_fails_without_a_rule() {
        let named: BTreeSet<&str> = REMOVALS.iter().flat_map(|removal| removal.fails).copied().collect();
        for trap in TRAPS.iter().flat_map(|module| tests_of(list::LIFECYCLE, module)) {
            assert!(named.contains(trap.as_str()), "{trap} is named by no removal");
        }
    }

    #[test]
    fn every_numbered_rule_is_taken_out() {
        let text = read("docs/lifecycle.md");
        let rules: Vec<&str> = text
            .lines()
            .skip_while(|line| !line.starts_with("## The rules"))
            .take_while(|line| !line.starts_with("### Why"))
            .filter_map(|line| line.strip_prefix("| ")?.split(" |").next())
            .filter(|cell| cell.starts_with(|c: char| c.is_ascii_digit()))
            .collect();
        assert!(rules.len() >= 12, "the table of rules: {rules:?}");
        for rule in rules {
            let found = REMOVALS.iter().any(|removal| removal.rule.split(['(', ' ']).next() == Some(rule));
            assert!(found, "no removal takes out rule {rule}");
        }
    }
}
