//! Every fuzz target for a while, two at a time on two cores: past findings first, then the seeds, then what chance
//! makes of them. Needs nothing but the ordinary toolchain and a C++ compiler.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread::available_parallelism;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::process::{binaries, cargo, find, output, root};

const HELP: &str = "\
Usage: cargo xtask fuzz [--seconds N] [--seed N] [--jobs N] [--sanitizer none|address] [--keep] [TARGET...]

  --seconds N     for each target; 60 unless told
  --seed N        of what chance does; another one each time unless told
  --jobs N        targets at a time; as many as there are cores unless told
  --sanitizer S   `none` (default) or `address`: slower, looks into memory and for leaks
  --keep          afterwards, add to fuzz/seeds what reaches code that no seed there reaches
  TARGET          all of them unless told; `list` prints their names
";

/// The coverage that libFuzzer reads, in every crate. These are stable options; only a sanitizer is not.
const COVERAGE: &[&str] = &[
    "--cfg",
    "fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];

struct Options {
    seconds: u64,
    seed: Option<u32>,
    jobs: usize,
    address: bool,
    keep: bool,
    targets: Vec<String>,
}

/// How one target went.
struct Row {
    target: String,
    failure: Option<PathBuf>,
    runs: String,
    coverage: String,
    memory: String,
    seconds: u64,
}

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let known = targets()?;
    let Some(options) = options(arguments, &known)? else { return Ok(()) };
    if find("c++").is_none() {
        bail!(
            "libFuzzer is built with a C++ compiler, and there is none: apt-get install -y build-essential"
        );
    }
    let began = Instant::now();
    let fuzzer = build(options.address)?;
    println!(
        "xtask: built in {} s; {} s for each of {} targets, {} at a time",
        began.elapsed().as_secs(),
        options.seconds,
        options.targets.len(),
        options.jobs
    );
    let queue: Mutex<VecDeque<&String>> = Mutex::new(options.targets.iter().collect());
    let rows = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..options.jobs)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    while let Some(target) = next(&queue) {
                        let row = one(&fuzzer, target, &options)?;
                        println!("{}", row.line());
                        rows.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(row);
                    }
                    Ok(())
                })
            })
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|_| bail!("a worker panicked")))
    })?;
    let rows = rows.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let failures: Vec<&Row> = rows.iter().filter(|row| row.failure.is_some()).collect();
    println!("{} targets, {} found something, {} s", rows.len(), failures.len(), began.elapsed().as_secs());
    for row in &failures {
        if let Some(log) = &row.failure {
            show(&row.target, log);
        }
    }
    if !failures.is_empty() {
        bail!("inputs that fail are in fuzz/crashes/TARGET: keep them there with the mended code");
    }
    Ok(())
}

/// The names in `TARGETS` of the fuzz library: what is there, without building it.
fn targets() -> Result<Vec<String>> {
    let file = root().join("fuzz/src/lib.rs");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let list = text.split_once("TARGETS: &[Target] = &[").map_or("", |(_, rest)| rest);
    let list = list.split_once("];").map_or(list, |(list, _)| list);
    Ok(list.split('"').skip(1).step_by(2).map(str::to_owned).collect())
}

fn options(arguments: &[String], known: &[String]) -> Result<Option<Options>> {
    let cores = available_parallelism().map_or(1, std::num::NonZero::get);
    let mut options =
        Options { seconds: 60, seed: None, jobs: cores, address: false, keep: false, targets: Vec::new() };
    let mut words = arguments.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("`{word}` needs a value\n\n{HELP}"));
        match word {
            "--seconds" => options.seconds = value()?.parse().context("--seconds needs a whole number")?,
            "--seed" => options.seed = Some(value()?.parse().context("--seed needs a whole number")?),
            "--jobs" => options.jobs = value()?.parse().context("--jobs needs a whole number")?,
            "--sanitizer" => {
                options.address = match value()? {
                    "address" => true,
                    "none" => false,
                    other => bail!("`{other}` is no sanitizer known here: none, address"),
                };
            }
            "--keep" => options.keep = true,
            "-h" | "--help" => {
                print!("{HELP}");
                return Ok(None);
            }
            "list" => {
                println!("{}", known.join("\n"));
                return Ok(None);
            }
            target if known.iter().any(|name| name == target) => options.targets.push(target.to_owned()),
            other => bail!("`{other}` is no target; `cargo xtask fuzz list` names them\n\n{HELP}"),
        }
    }
    if options.targets.is_empty() {
        options.targets = known.to_vec();
    }
    options.jobs = options.jobs.clamp(1, options.targets.len().max(1));
    Ok(Some(options))
}

/// The one binary. With a target triple the options reach our code and not the build scripts.
fn build(address: bool) -> Result<PathBuf> {
    let version = output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let mut flags: Vec<&str> = COVERAGE.to_vec();
    let mut command = cargo();
    if address {
        // The runtime comes with the ordinary toolchain; the option is what is not stable.
        flags.push("-Zsanitizer=address");
        command.env("RUSTC_BOOTSTRAP", "1");
    }
    let directory = binaries(if address { "fuzz-address" } else { "fuzz" })?;
    command
        .args([
            "build",
            "--manifest-path",
            "fuzz/Cargo.toml",
            "--release",
            "--bin",
            "target",
            "--target",
            host,
        ])
        .arg("--target-dir")
        .arg(&directory)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    crate::process::run(&mut command)?;
    Ok(directory.join(host).join("release/target"))
}

fn next<'a>(queue: &Mutex<VecDeque<&'a String>>) -> Option<&'a String> {
    queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop_front()
}

/// Past findings, then the corpus and the seeds, then new inputs.
fn one(fuzzer: &Path, target: &str, options: &Options) -> Result<Row> {
    let fuzz = root().join("fuzz");
    let [corpus, seeds, crashes] = ["corpus", "seeds", "crashes"].map(|kind| fuzz.join(kind).join(target));
    for directory in [&corpus, &crashes] {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let began = Instant::now();
    let log = fuzz.join("corpus").join(format!("{target}.log"));
    let libfuzzer = |arguments: &[&dyn AsRef<std::ffi::OsStr>], append: bool| -> Result<bool> {
        let file =
            fs::OpenOptions::new().create(true).write(true).append(append).truncate(!append).open(&log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(fuzzer);
        command.env("BOUNDKEY_FUZZ_TARGET", target).current_dir(&fuzz).stdin(Stdio::null());
        command.arg(format!("-artifact_prefix={}/", crashes.display()));
        command.args(["-timeout=5", "-rss_limit_mb=2048", "-max_len=16384", "-dict=boundkey.dict"]);
        command.args(options.seed.map(|seed| format!("-seed={seed}")));
        command.args(arguments.iter().map(AsRef::as_ref));
        let status = command.stdout(file.try_clone()?).stderr(file).status();
        Ok(status.with_context(|| format!("cannot start {}", fuzzer.display()))?.success())
    };
    let past = files(&crashes)?;
    let past: Vec<&dyn AsRef<std::ffi::OsStr>> = past.iter().map(|file| file as &dyn AsRef<_>).collect();
    let mut good = past.is_empty() || libfuzzer(&past, false)?;
    if good {
        let time = format!("-max_total_time={}", options.seconds);
        good = libfuzzer(&[&time, &"-print_final_stats=1", &corpus, &seeds], !past.is_empty())?;
    }
    let text = fs::read(&log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    if good && options.keep {
        fs::create_dir_all(&seeds)?;
        good = libfuzzer(&[&"-merge=1", &seeds, &corpus], true)?;
    }
    // No directory stands for nothing found.
    drop(fs::remove_dir(&crashes));
    let stat = |name: &str| {
        text.lines()
            .rev()
            .find_map(|line| line.strip_prefix(name))
            .map_or_else(String::new, |rest| rest.trim().to_owned())
    };
    let coverage = text
        .lines()
        .rev()
        .find_map(|line| line.split_once("cov: ")?.1.split_whitespace().next().map(str::to_owned));
    Ok(Row {
        target: target.to_owned(),
        failure: (!good).then_some(log),
        runs: stat("stat::number_of_executed_units:"),
        coverage: coverage.unwrap_or_default(),
        memory: stat("stat::peak_rss_mb:"),
        seconds: began.elapsed().as_secs(),
    })
}

fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.sort_unstable();
    Ok(files)
}

impl Row {
    fn line(&self) -> String {
        let outcome = if self.failure.is_some() { "FOUND" } else { "ok" };
        format!(
            "{:22} {outcome:5} {:>9} runs {:>6} edges {:>5} MB {:>4} s",
            self.target, self.runs, self.coverage, self.memory, self.seconds
        )
    }
}

/// What the log says about the failure, without the stack of libFuzzer.
fn show(target: &str, log: &Path) {
    println!("\n{target}: {}", log.display());
    let text = fs::read(log).unwrap_or_default();
    let telling = ["panicked at", "ERROR:", "SUMMARY:", "Test unit written to", "left:", "right:"];
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines();
    let mut shown = 0;
    while let Some(line) = lines.next() {
        if shown < 20 && telling.iter().any(|word| line.contains(word)) {
            println!("  {line}");
            shown += 1;
            if line.contains("panicked at")
                && let Some(message) = lines.next()
            {
                println!("  {message}");
            }
        }
    }
}
