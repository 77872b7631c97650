//! Those who join: machines, which live by themselves as agents do, and thieves.

use std::sync::Arc;

use boundkey_client::join::{JoinError, JoinPlan, Joined, Joiner, Remedy};
use boundkey_client::{Backoff, Setback};

use super::clock::{DAY, Micros, SECOND, SimClock};
use super::edges::{Disk, Mounted, Wire, view};
use super::hub::ActorId;
use super::judge::{Holder, Knowledge};
use super::rng::SimEntropy;
use super::world::{Done, Event, Of, World};

/// A snapshot of a machine's disk, with what it says.
pub(super) struct Snapshot {
    pub(super) disk: Disk,
    pub(super) knows: Knowledge,
}

pub(super) struct Actor {
    /// Index of its token.
    pub(super) token: usize,
    pub(super) honest: bool,
    pub(super) disk: Disk,
    pub(super) plan: Arc<JoinPlan>,
    entropy: Arc<SimEntropy>,
    pub(super) clock: Arc<SimClock>,
    backoff: Backoff,
    /// The join in flight.
    pub(super) task: Option<u64>,
    /// Timers of an earlier epoch are void.
    epoch: u64,
    /// Comes back by itself. (A thief may have come once only.)
    pub(super) lives: bool,
    /// Tries that a thief who came once still makes if nobody answers.
    pub(super) tries: u32,
    refused_in_a_row: u32,
    pub(super) server: usize,
    pub(super) messages: u64,
    joins: u64,
    pub(super) snapshots: Vec<Snapshot>,
}

impl World {
    /// Adds a holder; his knowledge is what his disk says.
    pub(super) fn enter(&mut self, token: usize, honest: bool, disk: Disk, knows: Knowledge) -> ActorId {
        let id = self.actors.len();
        let plan = {
            let tokens = &self.tokens[token];
            let mut rng = self.rng(&[0x71, id as u64]);
            Arc::new(tokens.join_plan(knows.secret.as_deref(), &mut rng))
        };
        self.actors.push(Actor {
            token,
            honest,
            disk,
            plan,
            entropy: Arc::new(SimEntropy::new(self.seed, 0xac00 + id as u64)),
            clock: Arc::new(SimClock::new(Arc::clone(&self.now))),
            backoff: Backoff::standard(),
            task: None,
            epoch: 0,
            lives: honest,
            tries: 0,
            refused_in_a_row: 0,
            server: 0,
            messages: 0,
            joins: 0,
            snapshots: Vec::new(),
        });
        let name = self.tokens[token].name.clone();
        self.judge.holders.push(Holder { token: name, honest, knows });
        id
    }

    /// The machines of a token that was just created.
    pub(super) fn deploy(&mut self, token: usize) {
        for index in 0..self.tokens[token].machines {
            let disk = Disk::default();
            let plan = &self.tokens[token];
            let secret = plan.spec_secret();
            plan.place_key(&disk);
            let state = disk.load().unwrap_or_default();
            let mut knows = Knowledge { secret, ..Knowledge::default() };
            knows.learn(view(&state));
            if let Some(key) = plan.key.as_ref().map(|key| key.public_key().thumbprint()) {
                knows.learn_key(key);
            }
            let actor = self.enter(token, true, disk, knows);
            let mut rng = self.rng(&[0x3a, token as u64, index as u64]);
            let first = i64::try_from(rng.below(60_000_000)).unwrap_or(0);
            self.wake_in(actor, first);
        }
    }

    pub(super) fn wake_in(&mut self, actor: ActorId, after: Micros) {
        self.actors[actor].epoch += 1;
        let epoch = self.actors[actor].epoch;
        self.schedule(after, Event::Wake { actor, epoch });
    }

    pub(super) fn wake(&mut self, actor: ActorId, epoch: u64) {
        if self.actors[actor].epoch == epoch && self.actors[actor].task.is_none() {
            self.start_join(actor);
        }
    }

    /// A timer that was set before is void.
    pub(super) fn start_join(&mut self, actor: ActorId) {
        self.actors[actor].epoch += 1;
        self.actors[actor].joins += 1;
        let joins = self.actors[actor].joins;
        let server = self.rng(&[0x5c, actor as u64, joins]).index(self.servers.len());
        self.actors[actor].server = server;
        let who = &self.actors[actor];
        let mut mounted = Mounted { disk: who.disk.clone(), hub: self.hub.clone(), actor };
        let mut wire = Wire { hub: self.hub.clone(), actor, channel: self.channel.clone() };
        let (plan, clock, entropy) =
            (Arc::clone(&who.plan), Arc::clone(&who.clock), Arc::clone(&who.entropy));
        let future = async move {
            let mut joiner = Joiner {
                keystore: &mut mounted,
                transport: &mut wire,
                plan: &plan,
                clock: &*clock,
                entropy: &*entropy,
            };
            Done::Join(joiner.join().await.map(Box::new))
        };
        let task = self.spawn(Of::Join(actor), Box::pin(future));
        self.actors[actor].task = Some(task);
        self.note(|| format!("actor {actor} begins a join"));
        self.poll(task);
    }

    /// Kill -9; a machine starts it again after a while.
    pub(super) fn process_dies(&mut self, actor: ActorId, downtime: Micros) {
        if let Some(task) = self.actors[actor].task.take() {
            self.tasks.remove(&task);
            self.waiting.retain(|_, waiting| *waiting != task);
        }
        self.note(|| format!("the process of actor {actor} dies"));
        self.actors[actor].backoff.reset();
        self.actors[actor].epoch += 1;
        if self.actors[actor].lives {
            self.wake_in(actor, downtime);
        }
    }

    pub(super) fn join_ended(&mut self, actor: ActorId, outcome: Result<Box<Joined>, JoinError>) {
        self.actors[actor].task = None;
        let died = {
            let mut hub = self.hub.lock();
            let before = hub.died.len();
            hub.died.retain(|dead| *dead != actor);
            hub.died.len() != before
        };
        if died {
            self.report.fault("client died at a save");
            self.process_dies(actor, SECOND);
            return;
        }
        let wait = match outcome {
            Ok(joined) => {
                let kind = joined.kind;
                self.note(|| format!("actor {actor} is in: {kind:?}"));
                self.actors[actor].backoff.reset();
                self.actors[actor].refused_in_a_row = 0;
                self.ended.insert(actor, Ok(()));
                joined.renew_in
            }
            Err(error) => {
                let shown = error.code().map_or_else(|| kind_of(&error).to_owned(), str::to_owned);
                self.note(|| format!("actor {actor} is not in: {shown}"));
                self.held_against(actor, &error);
                let setback = error.setback();
                let who = &mut self.actors[actor];
                let entropy = Arc::clone(&who.entropy);
                let wait = who.backoff.next(setback, &*entropy);
                if setback == Setback::Final {
                    // The real pause is a quarter of an hour for ever; a world of weeks is spared most of it.
                    let doublings = who.refused_in_a_row.min(6);
                    who.refused_in_a_row += 1;
                    self.ended.insert(actor, Err(shown));
                    wait * (1 << doublings)
                } else {
                    self.ended.insert(actor, Err(String::new()));
                    wait
                }
            }
        };
        let wait = i64::try_from(wait.as_micros()).unwrap_or(DAY);
        let who = &mut self.actors[actor];
        let again = who.lives
            || (who.tries > 0 && matches!(self.ended.get(&actor), Some(Err(code)) if code.is_empty()));
        if again {
            who.tries = who.tries.saturating_sub(1);
            self.wake_in(actor, wait);
        }
    }

    /// What an honest server never makes an agent say.
    fn held_against(&mut self, actor: ActorId, error: &JoinError) {
        let fault = match error {
            JoinError::Result(_)
            | JoinError::Protocol(_)
            | JoinError::Transition(_)
            | JoinError::Keystore(_)
            | JoinError::NoAttempt
            | JoinError::Encoding(_)
            | JoinError::Key(_) => true,
            // An attempt has one new key to offer; a thief spoilt it, or the server asks for what it cannot have.
            JoinError::RotationRefused => self.judge.is_untouched(actor),
            _ => matches!(error.remedy(), Remedy::Machine | Remedy::MachineFirst),
        };
        if fault && self.actors[actor].honest {
            self.fail(format!("the agent of actor {actor} gave up: {error}"));
        }
    }
}

fn kind_of(error: &JoinError) -> &'static str {
    match error {
        JoinError::Transport(_) => "no answer",
        JoinError::NeverConfirmed => "never confirmed",
        JoinError::OnlyProvisional => "only provisional",
        JoinError::RotationRefused => "rotation refused",
        JoinError::RotationOfStaticKey => "rotation of a static key",
        _ => "another error",
    }
}
