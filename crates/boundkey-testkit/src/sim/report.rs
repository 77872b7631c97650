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
    /// Honest machines that were looked at, at the end.
    pub judged_machines: u64,
    /// Those of them that got in by themselves.
    pub machines: u64,
    /// Those of them that a declared cause had shut out.
    pub shut_out: u64,
    /// What shut them out, by cause; one machine may have met several.
    pub helped: BTreeMap<&'static str, u64>,
    /// Copies and stolen secrets that were tried once more, at the end.
    pub judged_copies: u64,
    /// Those of them that were refused, at the latest when the owner had joined again.
    pub copies_out: u64,
    /// Those of them that hold a lineage which a thief registered, as he had stolen secret or key before its first use.
    pub copies_first: u64,
    /// Those of them whose token many share, where whoever has the key is a client.
    pub copies_of_many: u64,
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
        self.judged_machines += other.judged_machines;
        self.machines += other.machines;
        self.shut_out += other.shut_out;
        self.judged_copies += other.judged_copies;
        self.copies_out += other.copies_out;
        self.copies_first += other.copies_first;
        self.copies_of_many += other.copies_of_many;
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
        row("honest machines that a declared cause shut out", self.shut_out.to_string());
        for (cause, count) in &self.helped {
            row(&format!("  {cause}"), count.to_string());
        }
        row("copies that were out at the end", self.copies_out.to_string());
        row("secrets and keys stolen before their first use", self.copies_first.to_string());
        row("copies of a key that many share", self.copies_of_many.to_string());
        lines.join("\n")
    }

    /// Honest machines that were neither in by themselves nor shut out by a declared cause.
    pub fn needed_a_human(&self) -> u64 {
        self.judged_machines - self.machines - self.shut_out
    }

    /// Copies that were neither out, nor a thief's own lineage, nor of a token that many share.
    pub fn stayed_in(&self) -> u64 {
        self.judged_copies - self.copies_out - self.copies_first - self.copies_of_many
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
            "machines_shut_out": self.shut_out,
            "machines_shut_out_by_declared_causes": self.helped,
            "machines_that_needed_a_human": self.needed_a_human(),
            "copies_out": self.copies_out,
            "copies_of_what_was_never_used": self.copies_first,
            "copies_of_a_shared_key": self.copies_of_many,
            "copies_that_stayed_in": self.stayed_in(),
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
