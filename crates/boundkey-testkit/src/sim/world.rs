//! The world: virtual time, what is in flight, and a tiny executor that polls one future at a time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll, Waker};

use boundkey_client::join::{JoinError, Joined};
use boundkey_client::{Channel, Reply, TransportError};
use boundkey_proto::JoinAnswer;
use boundkey_service::Service;
use boundkey_service::join::Refused;
use boundkey_store::{MemorySnapshot, MemoryStore};

use super::admin::AdminTask;
use super::clock::{Micros, SimClock};
use super::hub::{ActorId, Hub};
use super::judge::{Began, Judge, Outcome, Sent, Views};
use super::machine::Actor;
use super::network::{Message, Rates};
use super::plan::{Size, TokenPlan, tokens};
use super::report::Report;
use super::rng::Rng;
use super::server::{Server, channel, config, new_store};

pub(super) enum Event {
    /// The machine's own timer.
    Wake { actor: ActorId, epoch: u64 },
    /// A future goes on.
    Poll(u64),
    /// A message arrives at a replica.
    Deliver(Box<Message>),
    /// An answer, or the lack of one, arrives at a client.
    Reply { slot: u64, reply: Result<Reply, TransportError> },
    /// A replica comes back.
    ServerUp(usize),
    /// A machine's clock is right again, or (none) that of all replicas.
    ClockRight(Option<ActorId>),
}

struct Timed {
    at: Micros,
    number: u64,
    event: Event,
}

impl Ord for Timed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}
impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl Eq for Timed {}

/// What a future ended with.
pub(super) enum Done {
    Join(Result<Box<Joined>, JoinError>),
    Serve(Result<JoinAnswer, Refused>),
    Admin(Result<Option<String>, String>),
}

pub(super) enum Of {
    Join(ActorId),
    Serve { server: usize, message: Box<Message>, began: Began, codes: Vec<String> },
    Admin(AdminTask),
}

pub(super) struct Task {
    pub(super) of: Of,
    pub(super) future: Pin<Box<dyn Future<Output = Done>>>,
}

pub(super) struct Backup {
    pub(super) content: MemorySnapshot,
    pub(super) views: Views,
}

pub(super) struct World {
    pub(super) seed: u64,
    pub(super) now: Arc<AtomicI64>,
    pub(super) hub: Hub,
    pub(super) store: Arc<MemoryStore>,
    pub(super) channel: Channel,
    pub(super) servers: Vec<Server>,
    pub(super) tokens: Vec<TokenPlan>,
    pub(super) actors: Vec<Actor>,
    pub(super) tasks: BTreeMap<u64, Task>,
    next_task: u64,
    events: BinaryHeap<Reverse<Timed>>,
    next_event: u64,
    /// Which task waits for which answer.
    pub(super) waiting: HashMap<u64, u64>,
    pub(super) judge: Judge,
    pub(super) rates: Rates,
    /// Messages until a bad network gets better.
    pub(super) rates_left: u32,
    pub(super) backups: Vec<Backup>,
    /// How many there were so far.
    pub(super) master_keys: u32,
    pub(super) report: Report,
    pub(super) trace: Option<Vec<String>>,
    pub(super) fault: Option<String>,
    /// The last join of each actor since somebody asked: for the settlement.
    pub(super) ended: HashMap<ActorId, Result<(), String>>,
    polls: u64,
}

impl World {
    pub(super) fn new(seed: u64, size: Size, traced: bool) -> Self {
        Self::with_tokens(seed, tokens(seed, size), size.servers, traced)
    }

    pub(super) fn with_tokens(seed: u64, tokens: Vec<TokenPlan>, servers: usize, traced: bool) -> Self {
        let now = Arc::new(AtomicI64::new(0));
        let policy = config(seed).policy;
        let mut world = Self {
            seed,
            hub: Hub::default(),
            store: new_store(),
            channel: channel(),
            servers: Vec::new(),
            tokens,
            actors: Vec::new(),
            tasks: BTreeMap::new(),
            next_task: 1,
            events: BinaryHeap::new(),
            next_event: 0,
            waiting: HashMap::new(),
            judge: Judge::new((policy.host_grace, policy.bot_grace)),
            rates: Rates::default(),
            rates_left: 0,
            backups: Vec::new(),
            master_keys: 1,
            report: Report::default(),
            trace: traced.then(Vec::new),
            fault: None,
            ended: HashMap::new(),
            polls: 0,
            now,
        };
        for index in 0..servers.max(1) {
            let clock = Arc::new(SimClock::new(Arc::clone(&world.now)));
            let mut server = Server::new(seed, index, clock);
            server.start(&world.store, &world.hub, world.master_keys);
            world.servers.push(server);
        }
        world.found();
        world
    }

    pub(super) fn time(&self) -> Micros {
        self.now.load(Ordering::Relaxed)
    }

    pub(super) fn rng(&self, purpose: &[u64]) -> Rng {
        Rng::of(self.seed, purpose)
    }

    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        let now = self.time();
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>16.6} {}", now as f64 / 1e6, line()));
        }
    }

    pub(super) fn fail(&mut self, fault: String) {
        self.note(|| format!("VIOLATION {fault}"));
        self.fault.get_or_insert(fault);
    }

    pub(super) fn schedule(&mut self, after: Micros, event: Event) {
        self.next_event += 1;
        let at = self.time() + after.max(0);
        self.events.push(Reverse(Timed { at, number: self.next_event, event }));
    }

    /// Goes on until then, or until a promise is broken.
    pub(super) fn run_until(&mut self, until: Micros) {
        while self.fault.is_none() {
            match self.events.peek() {
                Some(Reverse(next)) if next.at <= until => {}
                _ => break,
            }
            self.one_event();
        }
        if self.fault.is_none() {
            self.now.store(until.max(self.time()), Ordering::Relaxed);
        }
    }

    /// False: nothing is left to happen.
    pub(super) fn one_event(&mut self) -> bool {
        let Some(Reverse(next)) = self.events.pop() else { return false };
        self.now.store(next.at.max(self.time()), Ordering::Relaxed);
        self.judge.step += 1;
        self.judge.now = self.time();
        match next.event {
            Event::Wake { actor, epoch } => self.wake(actor, epoch),
            Event::Poll(task) => self.poll(task),
            Event::Deliver(message) => self.deliver(message),
            Event::Reply { slot, reply } => {
                if let Some(task) = self.waiting.remove(&slot) {
                    self.hub.lock().replies.insert(slot, reply);
                    self.poll(task);
                }
            }
            Event::ServerUp(server) => self.server_up(server),
            Event::ClockRight(Some(actor)) => self.actors[actor].clock.set_offset(0),
            Event::ClockRight(None) => self.servers.iter().for_each(|server| server.clock.set_offset(0)),
        }
        true
    }

    pub(super) fn spawn(&mut self, of: Of, future: Pin<Box<dyn Future<Output = Done>>>) -> u64 {
        let id = self.next_task;
        self.next_task += 1;
        self.tasks.insert(id, Task { of, future });
        id
    }

    pub(super) fn poll(&mut self, id: u64) {
        let Some(mut task) = self.tasks.remove(&id) else { return };
        self.hub.lock().current = id;
        let polled = task.future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        self.absorb(id, &mut task);
        if std::mem::take(&mut self.hub.lock().server_died).contains(&id) {
            if let Of::Serve { server, .. } | Of::Admin(AdminTask { server, .. }) = &task.of {
                let server = *server;
                drop(task);
                self.server_dies(server, 1_000_000);
            }
            return;
        }
        if let Of::Join(actor) = task.of
            && self.actors[actor].task != Some(id)
        {
            // It died as it sent.
            return;
        }
        match polled {
            Poll::Pending => {
                if !matches!(task.of, Of::Join(_)) {
                    let pause = self.pause();
                    self.schedule(pause, Event::Poll(id));
                }
                self.tasks.insert(id, task);
            }
            Poll::Ready(done) => self.finish(task.of, done),
        }
    }

    /// Between two steps of a server: mostly nothing, sometimes long enough for others to pass.
    fn pause(&mut self) -> Micros {
        self.polls += 1;
        let mut rng = self.rng(&[0x9a, self.polls]);
        let longest =
            if self.rates.stalled != 0 && rng.chance(self.rates.stalled) { 70_000_000 } else { 2_000 };
        i64::try_from(rng.below(longest)).unwrap_or(0)
    }

    /// Takes what a poll left behind: saves, commits, messages.
    fn absorb(&mut self, id: u64, task: &mut Task) {
        let (saves, commits, posted) = {
            let mut hub = self.hub.lock();
            let hub = &mut *hub;
            (
                std::mem::take(&mut hub.saves),
                std::mem::take(&mut hub.commits),
                std::mem::take(&mut hub.outbox),
            )
        };
        for (actor, disk) in saves {
            self.judge.saved(actor, disk);
        }
        for commit in commits {
            debug_assert_eq!(commit.task, id);
            let verdict = match &mut task.of {
                Of::Serve { message, codes, .. } => {
                    let sent = message.sent.clone();
                    self.judge.join_committed(&sent, &commit.writes, commit.at, &mut self.report).map(|new| {
                        codes.extend(new);
                    })
                }
                Of::Admin(admin) => {
                    let counted = match admin.verb {
                        "flush" => self.judge.counted_rows(admin.server, &commit.writes),
                        _ => Ok(()),
                    };
                    counted.and(self.judge.admin_committed(&commit.writes, admin.verb, commit.at))
                }
                Of::Join(_) => Err("a client wrote to the store".to_owned()),
            };
            if let Of::Serve { codes, message, server, .. } = &task.of
                && self.trace.is_some()
            {
                let (from, server, codes) = (message.sent.from, *server, codes.clone());
                self.note(|| format!("server {server} commits {codes:?} for actor {from}"));
            }
            if let Err(fault) = verdict {
                self.fail(fault);
            }
        }
        for posted in posted {
            self.waiting.insert(posted.slot, id);
            self.route(posted);
        }
    }

    fn finish(&mut self, of: Of, done: Done) {
        match (of, done) {
            (Of::Join(actor), Done::Join(outcome)) => self.join_ended(actor, outcome),
            (Of::Serve { server, message, began, codes }, Done::Serve(outcome)) => {
                self.served(server, *message, began, &codes, outcome)
            }
            (Of::Admin(task), Done::Admin(outcome)) => self.administered(task, outcome),
            _ => self.fail("a task ended as another kind of task".to_owned()),
        }
    }

    fn served(
        &mut self,
        server: usize,
        message: Message,
        began: Began,
        codes: &[String],
        outcome: Result<JoinAnswer, Refused>,
    ) {
        let now = boundkey_service::Clock::now(&*self.servers[server].clock);
        let judged = match &outcome {
            Ok(answer) => Outcome::Answered(answer),
            Err(refused) => Outcome::Refused(refused.refusal.problem.status, &refused.refusal.problem.code),
        };
        if let Outcome::Refused(_, code) = judged {
            let (code, from) = (code.to_owned(), message.sent.from);
            self.note(|| format!("server {server} refuses actor {from}: {code}"));
        }
        let verdict = self.judge.answered(&message.sent, began, codes, &judged, now, &mut self.report);
        let token = &self.tokens[self.actors[message.sent.from].token].name;
        self.judge.refused_by(server, token, codes, &judged);
        if let Err(fault) = verdict {
            self.fail(fault);
        }
        let reply = match &outcome {
            Ok(answer) => reply(200, answer),
            Err(refused) => reply(refused.refusal.problem.status, &refused.refusal.problem),
        };
        self.answer(message, reply);
    }

    pub(super) fn sent(&self, actor: ActorId, with_secret: bool) -> Sent {
        let disk = self.judge.holders[actor].knows.disk;
        Sent { from: actor, step: self.judge.step, disk, with_secret }
    }

    pub(super) fn service(&self, server: usize) -> Option<Service> {
        self.servers.get(server)?.service.clone()
    }

    pub(super) fn server_up(&mut self, server: usize) {
        if self.servers[server].service.is_none() {
            self.servers[server].start(&self.store, &self.hub, self.master_keys);
            self.judge.server_starts(server);
            self.note(|| format!("server {server} is up"));
        }
    }

    /// What it works on is dropped where it stands; what it kept in memory is gone.
    pub(super) fn server_dies(&mut self, server: usize, downtime: Micros) {
        self.note(|| format!("server {server} dies"));
        self.servers[server].service = None;
        self.tasks.retain(|_, task| match &task.of {
            Of::Serve { server: at, .. } | Of::Admin(AdminTask { server: at, .. }) => *at != server,
            Of::Join(_) => true,
        });
        self.schedule(downtime, Event::ServerUp(server));
    }
}

pub(super) fn reply(status: u16, body: &impl serde::Serialize) -> Reply {
    let body = serde_json::to_vec(body).expect("answers have a JSON form");
    Reply { status, retry_after: None, body }
}
