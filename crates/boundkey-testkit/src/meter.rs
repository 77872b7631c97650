//! What a running process has used.

use std::time::Duration;

/// Processor time of a process so far, all threads, from `/proc`.
///
/// # Panics
/// If there is no such process.
pub fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    // The name in parentheses may hold anything; behind it the fields are counted from the third.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| fields[field - 3].parse::<u64>().expect("a number");
    // Linux counts hundredths of a second here, whatever the kernel's own tick.
    Duration::from_millis(10 * (ticks(14) + ticks(15)))
}

/// The most memory that a process had resident so far (`VmHWM`), in bytes.
///
/// # Panics
/// If there is no such process.
pub fn resident(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says so");
    let kibibytes: usize = line.trim().trim_end_matches("kB").trim().parse().expect("a number");
    kibibytes * 1024
}
