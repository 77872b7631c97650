//! The events of a herd, in the order of their times.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use boundkey_client::spread_at_start;
use boundkey_service::admission::{Arrival, Ticket};
use time::OffsetDateTime;

use super::machine::{Machine, Mixed};
use super::report::ROW;
use super::server::Server;
use super::{Herd, Real, Report, Row, Scene};

/// Nothing goes on for longer than this after the return.
const END: Duration = Duration::from_secs(6 * 3600);
/// The server is up so long after a power cut.
const BOOT: Duration = Duration::from_secs(5);
/// All agents are up so long after a power cut.
const AGENTS: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A machine connects.
    Try,
    /// The patience of somebody who waits for a handshake ends.
    HandshakePatience(Ticket),
    HandshakeDone,
    /// The join's message is there.
    Message,
    JoinPatience(Ticket),
    JoinDone,
    /// The answer that was held back goes out.
    Released,
}

struct World<'a> {
    herd: &'a Herd,
    dice: Mixed,
    machines: Vec<Machine>,
    server: Server,
    up_at: Duration,
    events: BinaryHeap<Reverse<(Duration, u64, usize, Event)>>,
    sequence: u64,
    handshakes: HashMap<Ticket, usize>,
    joins: HashMap<Ticket, usize>,
    rows: Vec<Row>,
    left: usize,
    last: Duration,
    announced: Option<Duration>,
    real: Option<Real>,
}

/// Runs a herd to its end.
pub fn run(herd: &Herd) -> Report {
    let dice = Mixed::new(herd.seed);
    let mut machines: Vec<Machine> =
        (0..herd.machines).map(|number| Machine::honest(number, herd.networks, &dice)).collect();
    machines.extend((0..herd.hostile).map(|_| Machine::hostile(&dice)));
    let up_at = match herd.scene {
        Scene::Outage(length) => length,
        Scene::PowerCut(_) => BOOT,
    };
    let mut world = World {
        herd,
        machines,
        server: Server::new(herd.limits, herd.costs),
        up_at,
        events: BinaryHeap::new(),
        sequence: 0,
        handshakes: HashMap::new(),
        joins: HashMap::new(),
        rows: Vec::new(),
        left: herd.machines,
        last: Duration::ZERO,
        announced: None,
        real: (herd.real > 0).then(|| Real::register(herd.real.min(herd.machines), herd.seed)),
        dice,
    };
    world.begin();
    world.go();
    world.report()
}

impl World<'_> {
    fn begin(&mut self) {
        for number in 0..self.machines.len() {
            let at = match self.herd.scene {
                _ if self.machines[number].hostile => self.up_at + self.dice.up_to(Duration::from_secs(1)),
                Scene::Outage(length) => self.dice.up_to(length),
                Scene::PowerCut(left) => {
                    let left = time::Duration::try_from(left).unwrap_or(time::Duration::ZERO);
                    self.dice.up_to(AGENTS) + spread_at_start(left, &self.dice)
                }
            };
            self.push(at, number, Event::Try);
        }
    }

    fn push(&mut self, at: Duration, machine: usize, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence, machine, event)));
    }

    fn go(&mut self) {
        while let Some(Reverse((now, _, machine, event))) = self.events.pop() {
            if self.left == 0 || now > self.up_at + END {
                return;
            }
            match event {
                Event::Try => self.connect(now, machine),
                Event::HandshakePatience(ticket) => {
                    if self.server.handshakes.give_up(self.machines[machine].source, ticket) {
                        self.handshakes.remove(&ticket);
                        self.lost(now, machine);
                    }
                }
                Event::HandshakeDone => {
                    self.server.handshakes.leave(now, self.machines[machine].source);
                    while let Some(ticket) = self.server.handshakes.admit(now) {
                        if let Some(next) = self.handshakes.remove(&ticket) {
                            self.shake_hands(now, next);
                        }
                    }
                    // begin, and complete after it.
                    self.push(now + self.herd.costs.round_trip, machine, Event::Message);
                }
                Event::Message => self.message(now, machine),
                Event::JoinPatience(ticket) => {
                    if self.server.joins.give_up(self.machines[machine].source, ticket) {
                        self.joins.remove(&ticket);
                        self.server
                            .messages
                            .give(self.machines[machine].source, self.herd.costs.message_bytes);
                        let trusted = self.trusted(now, machine);
                        let told = self.server.joins.turn_away(now, trusted, self.dice.next());
                        self.turned_away(now, machine, told);
                    }
                }
                Event::JoinDone => self.join_done(now, machine),
                Event::Released => {
                    self.server.held.give(self.machines[machine].source, 1);
                    self.hang_up(machine);
                    self.push(now, machine, Event::Try);
                }
            }
            self.observe(now);
        }
    }

    fn connect(&mut self, now: Duration, number: usize) {
        if now < self.up_at {
            let at = self.machines[number].after_failure(now, None, &self.dice);
            return self.push(at, number, Event::Try);
        }
        let machine = &mut self.machines[number];
        machine.came.get_or_insert(now);
        let source = machine.source;
        if !machine.hostile {
            self.row(now).arrivals += 1;
        }
        if !self.server.connections.take(source, 1) {
            self.row(now).dropped += 1;
            let at = self.machines[number].after_failure(now, None, &self.dice);
            return self.push(at, number, Event::Try);
        }
        match self.server.handshakes.arrive(now, source, true, || 0) {
            Arrival::Runs => self.shake_hands(now, number),
            Arrival::Waits(ticket) => {
                self.handshakes.insert(ticket, number);
                let until = now + self.herd.limits.handshake_timeout;
                self.push(until, number, Event::HandshakePatience(ticket));
            }
            Arrival::TurnedAway(_) => self.lost(now, number),
        }
    }

    /// A connection that ends without an answer.
    fn lost(&mut self, now: Duration, number: usize) {
        self.row(now).dropped += 1;
        self.hang_up(number);
        let at = self.machines[number].after_failure(now, None, &self.dice);
        self.push(at, number, Event::Try);
    }

    fn hang_up(&mut self, number: usize) {
        self.server.connections.give(self.machines[number].source, 1);
    }

    fn shake_hands(&mut self, now: Duration, number: usize) {
        let worked = self.server.work(now, self.herd.costs.handshake, &self.dice);
        self.push(worked.max(now + self.herd.costs.round_trip), number, Event::HandshakeDone);
    }

    fn trusted(&self, now: Duration, number: usize) -> bool {
        self.server.wrong.trusts(self.machines[number].source, wall(now))
    }

    fn message(&mut self, now: Duration, number: usize) {
        let source = self.machines[number].source;
        let trusted = self.trusted(now, number);
        if !self.server.messages.take(source, self.herd.costs.message_bytes) {
            let told = self.server.joins.turn_away(now, trusted, self.dice.next());
            return self.turned_away(now, number, told);
        }
        let dice = &self.dice;
        match self.server.joins.arrive(now, source, trusted, || dice.next()) {
            Arrival::Runs => self.work_on(now, number),
            Arrival::Waits(ticket) => {
                self.joins.insert(ticket, number);
                self.push(now + self.herd.limits.join_patience, number, Event::JoinPatience(ticket));
            }
            Arrival::TurnedAway(told) => {
                self.server.messages.give(source, self.herd.costs.message_bytes);
                self.turned_away(now, number, told);
            }
        }
    }

    fn work_on(&mut self, now: Duration, number: usize) {
        let costs = self.herd.costs;
        let done = if self.machines[number].hostile {
            self.server.work(now, costs.wrong, &self.dice)
        } else {
            let worked = self.server.work(now, costs.join, &self.dice);
            self.server.commit(worked, &self.dice)
        };
        self.push(done, number, Event::JoinDone);
    }

    fn turned_away(&mut self, now: Duration, number: usize, told: boundkey_service::admission::TurnedAway) {
        self.hang_up(number);
        if !self.machines[number].hostile {
            self.row(now).turned_away += 1;
            let promised = now + told.all_within;
            let machine = &mut self.machines[number];
            machine.turned_away += 1;
            machine.promised.get_or_insert(promised);
            machine.told = Some(promised);
            let announced = promised.saturating_sub(self.up_at);
            self.announced = Some(self.announced.map_or(announced, |known| known.max(announced)));
        }
        let at = self.machines[number].after_failure(now, Some(told.retry_after), &self.dice);
        self.push(at, number, Event::Try);
    }

    fn join_done(&mut self, now: Duration, number: usize) {
        let source = self.machines[number].source;
        self.server.joins.leave(now, source);
        self.server.messages.give(source, self.herd.costs.message_bytes);
        while let Some(ticket) = self.server.joins.admit(now) {
            if let Some(next) = self.joins.remove(&ticket) {
                self.work_on(now, next);
            }
        }
        if self.machines[number].hostile {
            self.row(now).wrong += 1;
            let hold = self.server.wrong.wrong(source, wall(now));
            if !hold.is_zero() && self.server.held.take(source, 1) {
                return self.push(now + hold, number, Event::Released);
            }
            self.hang_up(number);
            let at = self.machines[number].after_failure(now, None, &self.dice);
            return self.push(at, number, Event::Try);
        }
        self.hang_up(number);
        self.server.wrong.right(source, wall(now));
        if let Some(real) = &mut self.real {
            real.renew(number, now);
        }
        self.row(now).served += 1;
        self.machines[number].served = Some(now);
        self.left -= 1;
        self.last = now;
    }

    fn row(&mut self, now: Duration) -> &mut Row {
        let since = now.saturating_sub(self.up_at);
        let at = usize::try_from(since.as_secs() / ROW.as_secs()).unwrap_or(0);
        if self.rows.len() <= at {
            self.rows.resize(at + 1, Row::default());
        }
        &mut self.rows[at]
    }

    fn observe(&mut self, now: Duration) {
        if now < self.up_at {
            return;
        }
        self.server.note();
        let (waiting, connections) = (self.server.joins.waiting(), self.server.connections.used());
        let row = self.row(now);
        row.waiting = row.waiting.max(waiting);
        row.connections = row.connections.max(connections);
    }

    fn report(self) -> Report {
        let honest = || self.machines.iter().filter(|machine| !machine.hostile);
        let mut times: Vec<Duration> =
            honest().filter_map(|machine| machine.served).map(|at| at.saturating_sub(self.up_at)).collect();
        times.sort_unstable();
        let behind = |promised: Option<Duration>, machine: &Machine| {
            machine.served?.checked_sub(promised?).filter(|late| !late.is_zero())
        };
        let lateness = |machine: &Machine| behind(machine.promised, machine);
        let latest_at_last = |machine: &Machine| behind(machine.told, machine);
        Report {
            machines: self.herd.machines,
            served: times.len(),
            last_served: self.last.saturating_sub(self.up_at),
            announced: self.announced,
            last_told: honest()
                .filter(|machine| machine.turned_away > 0)
                .filter_map(|machine| machine.served)
                .max()
                .map_or(Duration::ZERO, |at| at.saturating_sub(self.up_at)),
            turned_away: honest().filter(|machine| machine.turned_away > 0).count(),
            late: honest().filter(|machine| lateness(machine).is_some()).count(),
            latest: honest().filter_map(lateness).max().unwrap_or_default(),
            late_at_last: honest().filter(|machine| latest_at_last(machine).is_some()).count(),
            latest_at_last: honest().filter_map(latest_at_last).max().unwrap_or_default(),
            may_be_late: self.herd.late,
            most_times: honest().map(|machine| machine.turned_away).max().unwrap_or(0),
            longest: honest()
                .filter_map(|machine| Some(machine.served?.saturating_sub(machine.came?)))
                .max()
                .unwrap_or_default(),
            median: times.get(times.len() / 2).copied().unwrap_or_default(),
            most_connections: self.server.most_connections,
            most_waiting: self.server.most_waiting,
            most_running: self.server.most_running,
            most_memory: self.server.most_memory(),
            memory_bound: self.herd.memory_bound(),
            real_joins: self.real.as_ref().map_or(0, Real::joined),
            events: self.sequence,
            rows: self.rows,
        }
    }
}

/// The wall clock of the virtual world.
fn wall(now: Duration) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_000) + now
}
