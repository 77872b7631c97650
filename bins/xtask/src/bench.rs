//! Whole-process figures of the release binaries, as a table: medians of several runs, and what the kernel accounts.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{Running, Scratch, binaries, cargo, output, run as execute};

const RUNS: usize = 11;

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if let Some(unknown) = arguments.first() {
        bail!("bench takes no arguments, found `{unknown}`");
    }
    execute(cargo().args(["build", "--release", "--workspace", "--bins"]))?;
    let bench = Bench { scratch: Scratch::new("bench", false)?, binaries: binaries("release")? };
    let mut rows = vec![bench.cold_start()?, bench.warm_start()?];
    rows.extend(bench.joins()?);
    println!("\n{:<44} {:>10} {:>10} {:>10}  bound", " ", "min", "median", "max");
    for row in rows {
        println!(
            "{:<44} {:>10} {:>10} {:>10}  {}",
            row.what,
            (row.shown)(row.min()),
            (row.shown)(row.median()),
            (row.shown)(row.max()),
            row.bound
        );
    }
    for name in ["boundkey-server", "boundkey-agent", "boundkeyctl"] {
        let size = std::fs::metadata(bench.binaries.join(name))?.len();
        println!("{:<44} {:>10}", format!("{name}, size of the binary"), mebibytes(size as f64));
    }
    Ok(())
}

struct Row {
    what: &'static str,
    samples: Vec<f64>,
    shown: fn(f64) -> String,
    bound: &'static str,
}

impl Row {
    fn new(what: &'static str, mut samples: Vec<f64>, shown: fn(f64) -> String, bound: &'static str) -> Self {
        samples.sort_by(f64::total_cmp);
        Self { what, samples, shown, bound }
    }

    fn min(&self) -> f64 {
        self.samples.first().copied().unwrap_or(f64::NAN)
    }

    fn median(&self) -> f64 {
        self.samples.get(self.samples.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn max(&self) -> f64 {
        self.samples.last().copied().unwrap_or(f64::NAN)
    }
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.1} ms", seconds * 1000.0)
}

fn mebibytes(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / 1_048_576.0)
}

struct Bench {
    scratch: Scratch,
    binaries: PathBuf,
}

impl Bench {
    fn server(&self, data: &Path) -> Result<(Running, String, String, Duration)> {
        let log = data.with_extension("log");
        let file = std::fs::File::create(&log)?;
        let started = Instant::now();
        let mut server = Running::start(
            Command::new(self.binaries.join("boundkey-server"))
                .args(["start", "--cluster-name", "example.com", "--listen", "127.0.0.1:0", "--data-dir"])
                .arg(data)
                .stdin(Stdio::null())
                .stdout(file.try_clone()?)
                .stderr(file),
        )?;
        loop {
            let printed = std::fs::read_to_string(&log)?;
            if let Some((address, pin)) = printed.lines().find_map(crate::quickstart::parse_ready) {
                return Ok((server, address, pin, started.elapsed()));
            }
            if server.child().try_wait()?.is_some() || started.elapsed() > Duration::from_secs(20) {
                bail!("the server does not become ready: {printed}");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// From nothing: directory, master key, store and five CAs are made.
    fn cold_start(&self) -> Result<Row> {
        let mut samples = Vec::new();
        for run in 0..RUNS {
            let (mut server, _, _, took) = self.server(&self.scratch.join(format!("cold-{run}")))?;
            samples.push(took.as_secs_f64());
            server.stop()?;
        }
        Ok(Row::new("server, first start to ready", samples, milliseconds, "under 300 ms"))
    }

    fn warm_start(&self) -> Result<Row> {
        let mut samples = Vec::new();
        for _ in 0..RUNS {
            let (mut server, _, _, took) = self.server(&self.scratch.join("cold-0"))?;
            samples.push(took.as_secs_f64());
            server.stop()?;
        }
        Ok(Row::new("server, later start to ready", samples, milliseconds, ""))
    }

    fn joins(&self) -> Result<Vec<Row>> {
        let data = self.scratch.join("cold-0");
        let (mut server, address, pin, _) = self.server(&data)?;
        let mut register = Vec::new();
        let mut renew = Vec::new();
        let mut idle = Vec::new();
        for run in 0..RUNS {
            let config = self.agent_config(&data, &format!("bench-{run}"), &address, &pin)?;
            register.push(self.oneshot(&config)?);
            renew.push(self.oneshot(&config)?);
            if run < 3 {
                idle.push(self.idle(&config)?);
            }
        }
        let resident = vec![resident(server.id())?];
        server.stop()?;
        Ok(vec![
            Row::new("agent --oneshot, register (whole process)", register, milliseconds, "under 100 ms"),
            Row::new("agent --oneshot, renew (whole process)", renew, milliseconds, "under 100 ms"),
            Row::new("agent, idle, resident", idle, mebibytes, "under 12 MB"),
            Row::new("server after these joins, resident", resident, mebibytes, ""),
        ])
    }

    fn agent_config(&self, data: &Path, name: &str, address: &str, pin: &str) -> Result<PathBuf> {
        let ctl = |arguments: &[&str]| {
            output(
                Command::new(self.binaries.join("boundkeyctl")).arg("--data-dir").arg(data).args(arguments),
            )
        };
        let enrolled = ctl(&["enroll", name, "--roles", "Node", "--server", address, "--format", "json"])?;
        let enrolled: serde_json::Value = serde_json::from_str(&enrolled)?;
        let secret = enrolled[0]["secret"].as_str().context("enroll printed no secret")?;
        let config = self.scratch.join(format!("{name}.yaml"));
        let text = format!(
            "version: v3\nagent:\n  data_dir: {}\n  join_params:\n    token_name: {name}\n    method: bound_keypair\n    \
             bound_keypair: {{registration_secret_value: {secret}}}\n  proxy_server: {address}\n  ca_pins: [\"{pin}\"]\n\
             ssh_service: {{enabled: true}}\n",
            self.scratch.join(format!("state-{name}")).display()
        );
        std::fs::write(&config, text)?;
        Ok(config)
    }

    fn oneshot(&self, config: &Path) -> Result<f64> {
        let started = Instant::now();
        output(
            Command::new(self.binaries.join("boundkey-agent")).args(["start", "--oneshot", "-c"]).arg(config),
        )?;
        Ok(started.elapsed().as_secs_f64())
    }

    /// What stays resident when the agent has joined and waits for its next renewal.
    fn idle(&self, config: &Path) -> Result<f64> {
        let log = std::fs::File::create(config.with_extension("log"))?;
        let mut agent = Running::start(
            Command::new(self.binaries.join("boundkey-agent"))
                .args(["start", "-c"])
                .arg(config)
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log),
        )?;
        std::thread::sleep(Duration::from_millis(300));
        agent.signal("USR1")?;
        std::thread::sleep(Duration::from_millis(700));
        let bytes = resident(agent.id())?;
        agent.stop()?;
        Ok(bytes)
    }
}

/// `VmRSS` of a process, in bytes.
fn resident(process: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().context("VmRSS is no number")?;
    Ok(kib * 1024.0)
}
