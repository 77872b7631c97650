//! Mutation testing: each small change to the rules and to the protocol must be found out by a test. What changes
//! nothing is left out by `.cargo/mutants.toml`, each entry explained in `docs/mutants.md`.

use std::process::Command;

use anyhow::{Result, bail};

use crate::process::{cargo, root, run as execute};

const HELP: &str = "\
Changes the code piece by piece in a copy, and shows that a test fails each time.

Usage: cargo xtask mutants [CRATE]... [-- ARGUMENTS]

  CRATE       boundkey-lifecycle, boundkey-proto (default: both)
  ARGUMENTS   Passed on to cargo mutants, as in `-- --file crates/boundkey-lifecycle/src/verbs.rs`

Needs cargo-mutants: `cargo install --locked cargo-mutants@27.1.0`. An hour for each crate on two cores.
";

/// A crate, and the tests that are quick enough to run for each of its mutants.
const CRATES: &[(&str, &[&str])] = &[
    // Without the model, which is another way to the same end.
    ("boundkey-lifecycle", &["--test", "lifecycle"]),
    // Without the vectors' check in another language, which does not change with the code.
    ("boundkey-proto", &["--lib", "--test", "protocol", "--", "--skip", "another_implementation"]),
];

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if arguments.iter().any(|a| a == "--help" || a == "-h") {
        print!("{HELP}");
        return Ok(());
    }
    if !Command::new("cargo-mutants")
        .args(["mutants", "--version"])
        .output()
        .is_ok_and(|o| o.status.success())
    {
        bail!("cargo-mutants is not on the PATH: `cargo install --locked cargo-mutants@27.1.0`");
    }
    let end = arguments.iter().position(|a| a == "--").unwrap_or(arguments.len());
    let (names, passed_on) = (&arguments[..end], arguments.get(end + 1..).unwrap_or_default());
    if let Some(unknown) = names.iter().find(|name| !CRATES.iter().any(|(known, _)| known == name)) {
        bail!("`{unknown}` is not one of the crates that are tested so\n\n{HELP}");
    }
    let mut survivors = Vec::new();
    for (name, tests) in
        CRATES.iter().filter(|(known, _)| names.is_empty() || names.iter().any(|n| n == known))
    {
        let mut command = cargo();
        command
            .args(["mutants", "-p", name, "-j1", "--minimum-test-timeout", "60", "--output"])
            .arg(root().join("target/mutants").join(name))
            .args(passed_on)
            .arg("--")
            .args(*tests)
            // Each copy has its own; fewer cases find the same mutants.
            .env_remove("CARGO_TARGET_DIR")
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("PROPTEST_CASES", "32")
            .env("PROPTEST_MAX_SHRINK_ITERS", "0");
        std::fs::create_dir_all(root().join("target/mutants").join(name))?;
        if execute(&mut command).is_err() {
            survivors.push(*name);
        }
    }
    if !survivors.is_empty() {
        bail!("mutants survived in {}", survivors.join(", "));
    }
    Ok(())
}
