//! What came of a herd.

use std::fmt;
use std::time::Duration;

use super::Late;

/// Ten seconds of the server's life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Row {
    /// Tries of honest machines that reached the server.
    pub arrivals: u64,
    /// Joins that were answered with certificates.
    pub served: u64,
    /// Tries that were given an appointment.
    pub turned_away: u64,
    /// Connections that were not taken, or whose handshake found no place.
    pub dropped: u64,
    /// Wrong proofs that were checked.
    pub wrong: u64,
    /// Joins that waited, at most.
    pub waiting: usize,
    /// Open connections, at most.
    pub connections: usize,
}

/// What came of a herd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Machines that came.
    pub machines: usize,
    /// Machines that were served.
    pub served: usize,
    /// From the server's return to the last machine served.
    pub last_served: Duration,
    /// The latest time, from the return, by which anybody was told that all are served.
    pub announced: Option<Duration>,
    /// From the return to the last one served of those who were turned away.
    pub last_told: Duration,
    /// Machines that were turned away at least once.
    pub turned_away: usize,
    /// Of these, the ones served later than they were told when they were first turned away.
    pub late: usize,
    /// By how much, at most.
    pub latest: Duration,
    /// And later than they were told when they were last turned away.
    pub late_at_last: usize,
    /// By how much, at most.
    pub latest_at_last: Duration,
    /// How many may be.
    pub may_be_late: Late,
    /// The most times that one machine was turned away.
    pub most_times: u32,
    /// The longest time from a machine's first try at the living server to its join.
    pub longest: Duration,
    /// The time in which half of the machines were served, after the return.
    pub median: Duration,
    /// Most connections at a time.
    pub most_connections: usize,
    /// Most joins waiting at a time.
    pub most_waiting: usize,
    /// Most joins worked on at a time.
    pub most_running: usize,
    /// Most memory, by the formula, in bytes: counted, not measured.
    pub most_memory: usize,
    /// The bound by the formula, in bytes.
    pub memory_bound: usize,
    /// Real joins on a memory store.
    pub real_joins: usize,
    /// Events of the simulation.
    pub events: u64,
    /// One for each ten seconds from the server's return.
    pub rows: Vec<Row>,
}

/// The length of a row.
pub(super) const ROW: Duration = Duration::from_secs(10);

/// The last announcement is not that much later than the last machine: one that is far too late always holds.
const CLOSE: Duration = Duration::from_secs(15);

impl Report {
    /// Everybody was served, who was turned away within the time that was announced, which was not far too late, no more of
    /// them later than they were told than is declared, and the server stayed within its memory.
    pub fn is_good(&self) -> bool {
        self.served == self.machines
            && self.announced.is_none_or(|all| self.last_told <= all && all <= self.last_told + CLOSE)
            && self.late * 1000 <= self.may_be_late.at_first * self.machines
            && self.late_at_last * 1000 <= self.may_be_late.at_last * self.machines
            && self.most_memory <= self.memory_bound
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>8} {:>9} {:>8} {:>12} {:>8} {:>8} {:>8} {:>12}",
            "seconds", "arrivals", "served", "turned away", "dropped", "wrong", "waiting", "connections"
        )?;
        for (at, row) in self.rows.iter().enumerate() {
            // Every row of the first two minutes, then one in six.
            if at < 12 || at % 6 == 0 || at + 1 == self.rows.len() {
                let seconds = at as u64 * ROW.as_secs();
                writeln!(
                    f,
                    "{seconds:>8} {:>9} {:>8} {:>12} {:>8} {:>8} {:>8} {:>12}",
                    row.arrivals,
                    row.served,
                    row.turned_away,
                    row.dropped,
                    row.wrong,
                    row.waiting,
                    row.connections
                )?;
            }
        }
        writeln!(
            f,
            "served {} of {}: half within {:.0} s, the last after {:.0} s{}",
            self.served,
            self.machines,
            self.median.as_secs_f64(),
            self.last_served.as_secs_f64(),
            self.announced.map_or(String::new(), |all| format!(
                "; the last of those who were turned away after {:.0} s (announced: {} s)",
                self.last_told.as_secs_f64(),
                all.as_secs()
            ))
        )?;
        writeln!(
            f,
            "turned away {} machines, {} times at most; {} served later than they were told at first (by {:.1} s at most), \
             {} than they were told at last (by {:.1} s at most); longest from first try to join {:.0} s",
            self.turned_away,
            self.most_times,
            self.late,
            self.latest.as_secs_f64(),
            self.late_at_last,
            self.latest_at_last.as_secs_f64(),
            self.longest.as_secs_f64()
        )?;
        writeln!(
            f,
            "at most {} connections, {} joins worked on, {} waiting; memory {} MiB of {} MiB",
            self.most_connections,
            self.most_running,
            self.most_waiting,
            self.most_memory >> 20,
            self.memory_bound >> 20
        )?;
        write!(f, "{} events, {} real joins", self.events, self.real_joins)
    }
}
