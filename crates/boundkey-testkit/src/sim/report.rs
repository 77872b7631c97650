//! What was simulated, counted.

use std::collections::BTreeMap;

use super::clock::{HOUR, MINUTE, Micros, SECOND};

/// Counters of one world, or the sums of many.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Scenarios.
    pub worlds: u64,
    /// Admitted joins.
    pub joins: u64,
    /// By kind: registered, renewed, recovered, instance_joined; and by note.
    pub kinds: BTreeMap<String, u64>,
    /// Answers given again.
    pub retries: u64,
    /// Messages that arrived at a server.
    pub messages: u64,
    /// Faults and acts, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Honest machines that got in at the end by themselves.
    pub machines: u64,
    /// Honest machines that had a declared need of an administrator, by cause.
    pub helped: BTreeMap<&'static str, u64>,
    /// Automatic locks.
    pub locks: u64,
    /// Copies whose use was detected.
    pub detections: u64,
    /// From the first join with a copy to the owner's next, which locks, at most.
    pub slowest_detection: Micros,
    /// Virtual time.
    pub simulated: Micros,
}

impl Report {
    pub(super) fn fault(&mut self, what: &'static str) {
        *self.faults.entry(what).or_default() += 1;
    }

    pub(super) fn admitted(&mut self, code: &str, notes: &[String]) {
        let mut count = |what: &str| *self.kinds.entry(what.to_owned()).or_default() += 1;
        count(code);
        for note in notes {
            count(note.split_whitespace().next().unwrap_or_default());
        }
    }

    /// Takes another report's counts in.
    pub fn add(&mut self, other: &Self) {
        self.worlds += other.worlds;
        self.joins += other.joins;
        self.retries += other.retries;
        self.messages += other.messages;
        self.machines += other.machines;
        self.locks += other.locks;
        self.detections += other.detections;
        self.simulated += other.simulated;
        self.slowest_detection = self.slowest_detection.max(other.slowest_detection);
        for (kind, count) in &other.kinds {
            *self.kinds.entry(kind.clone()).or_default() += count;
        }
        for (kind, count) in &other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        for (kind, count) in &other.helped {
            *self.helped.entry(kind).or_default() += count;
        }
    }

    /// As a table for people.
    pub fn table(&self) -> String {
        let mut lines = Vec::new();
        let mut row = |what: &str, value: String| lines.push(format!("{what:<58} {value:>14}"));
        row("worlds", self.worlds.to_string());
        row("virtual time", shown(self.simulated));
        row("joins admitted", self.joins.to_string());
        for (kind, count) in &self.kinds {
            row(&format!("  {kind}"), count.to_string());
        }
        row("answers given again", self.retries.to_string());
        row("messages served", self.messages.to_string());
        row("faults and acts injected", self.faults.values().sum::<u64>().to_string());
        for (kind, count) in &self.faults {
            row(&format!("  {kind}"), count.to_string());
        }
        row("automatic locks", self.locks.to_string());
        row("copies in use that were detected", self.detections.to_string());
        row("slowest detection (the owner's next join), virtual time", shown(self.slowest_detection));
        row("honest machines that were in at the end by themselves", self.machines.to_string());
        row("honest machines that a declared cause shut out", self.helped.values().sum::<u64>().to_string());
        for (cause, count) in &self.helped {
            row(&format!("  {cause}"), count.to_string());
        }
        lines.join("\n")
    }

    /// As JSON, for scripts.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "worlds": self.worlds,
            "virtual_seconds": self.simulated / SECOND,
            "joins": self.joins,
            "kinds": self.kinds,
            "retries": self.retries,
            "messages": self.messages,
            "faults": self.faults,
            "automatic_locks": self.locks,
            "detections": self.detections,
            "slowest_detection_seconds": self.slowest_detection / SECOND,
            "machines_in_by_themselves": self.machines,
            "machines_shut_out_by_declared_causes": self.helped,
        })
    }
}

pub(super) fn shown(time: Micros) -> String {
    match time {
        0..SECOND => format!("{} ms", time / 1000),
        SECOND..MINUTE => format!("{} s", time / SECOND),
        MINUTE..HOUR => format!("{} min", time / MINUTE),
        _ if time < 48 * HOUR => format!("{} h", time / HOUR),
        _ => format!("{} d", time / (24 * HOUR)),
    }
}
