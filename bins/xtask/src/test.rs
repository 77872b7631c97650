//! Every test, real components included, with one sum at the end.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::process::{binaries, cargo, run as execute};

#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    skipped: Vec<String>,
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    crate::packages::ensure()?;
    // The end-to-end tests run the real binaries.
    execute(cargo().args(["build", "--workspace", "--bins"]))?;
    let mut tally = Tally::default();
    let filters: Vec<&String> = arguments.iter().filter(|argument| *argument != "--").collect();
    let mut workspace = cargo();
    workspace.args(["test", "--workspace", "--no-fail-fast", "--"]).args(&filters);
    let mut succeeded = counted(workspace, &mut tally)?;
    // A workspace of its own: every seed and every past finding of the fuzz targets.
    let mut fuzz = cargo();
    fuzz.args(["test", "--manifest-path", "fuzz/Cargo.toml", "--no-fail-fast", "--target-dir"]);
    fuzz.arg(binaries("")?).arg("--").args(&filters);
    succeeded &= counted(fuzz, &mut tally)?;
    if filters.is_empty() {
        // The same tests again, optimized, and so much further.
        succeeded &= counted(crate::model::command(crate::model::STATES), &mut tally)?;
        crate::simulate::run(&["--cuts".to_owned()])?;
        // From a fixed seed: what CI says does not depend on the hour.
        crate::simulate::run(&["--seconds", "20", "--seed", "1"].map(str::to_owned))?;
    }
    for reason in &tally.skipped {
        println!("{reason}");
    }
    println!(
        "{} passed, {} failed, {} skipped",
        tally.passed,
        tally.failed,
        tally.ignored + tally.skipped.len() as u64
    );
    if !succeeded || tally.failed > 0 {
        bail!("tests failed");
    }
    if tally.passed == 0 {
        bail!("no test ran");
    }
    if std::env::var_os("CI").is_some() && !tally.skipped.is_empty() {
        bail!("tests were skipped, which CI does not allow: install what they name");
    }
    Ok(())
}

/// Runs a `cargo test`, showing everything but the captured output of tests that passed.
fn counted(mut command: std::process::Command, tally: &mut Tally) -> Result<bool> {
    let mut child =
        command.arg("--show-output").stdout(Stdio::piped()).spawn().context("cannot start cargo test")?;
    let stdout = child.stdout.take().context("cargo test has no output")?;
    let mut muted = false;
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cannot read from cargo test")?;
        if let Some(at) = line.find("SKIP:") {
            tally.skipped.push(line[at..].to_owned());
        }
        match line.as_str() {
            "successes:" => muted = true,
            "failures:" => muted = false,
            _ => {}
        }
        if let Some(result) = line.strip_prefix("test result:") {
            muted = false;
            count(result, tally);
        }
        if !muted {
            println!("{line}");
        }
    }
    Ok(child.wait().context("cargo test")?.success())
}

/// ` ok. 3 passed; 0 failed; 0 ignored; ...`
fn count(result: &str, tally: &mut Tally) {
    let number = |word: &str| {
        result
            .split([';', '.'])
            .find_map(|part| part.trim().strip_suffix(word)?.trim().parse::<u64>().ok())
            .unwrap_or(0)
    };
    tally.passed += number("passed");
    tally.failed += number("failed");
    tally.ignored += number("ignored");
}
