//! What each step does to the world.

use boundkey_api::VerbRequest;
use boundkey_keys::{Entropy as _, PrivateKey};
use boundkey_keystore::{HeldKey, PendingAttempt};
use boundkey_token::RecoveryMode;
use std::time::Duration;

use super::clock::{DAY, HOUR, MINUTE, Micros, SECOND};
use super::edges::{Disk, view};
use super::hub::ActorId;
use super::judge::Knowledge;
use super::machine::Snapshot;
use super::network::Rates;
use super::op::{Kind, Step};
use super::plan::Onboard;
use super::rng::SimEntropy;
use super::world::{Backup, Event, World};

/// How far clocks are stepped; 0 sets them right.
const CLOCK_STEPS: [Micros; 10] = [0, 0, HOUR, DAY, 10 * DAY, 60 * DAY, 3650 * DAY, -HOUR, -DAY, -3650 * DAY];

fn pick(n: u64, of: usize) -> Option<usize> {
    usize::try_from(n).ok()?.checked_rem(of)
}

fn seconds(n: u64, below: u64) -> Micros {
    i64::try_from(n % below).unwrap_or(0) * SECOND
}

impl World {
    pub(super) fn step(&mut self, step: &Step) {
        let until = self.time() + step.after;
        self.run_until(until);
        if self.fault.is_some() {
            return;
        }
        self.judge.step += 1;
        self.note(|| format!("step {step}"));
        self.report.fault(step.kind.as_str());
        if self.judge.step.is_multiple_of(8) {
            self.flush();
        }
        // As in earnest: mostly soon after what made it necessary, and sometimes never before a restore or a crash.
        if self.judge.step.is_multiple_of(3) {
            self.sweep();
        }
        let machine = self.machine(step.a);
        let Some(token) = pick(step.a, self.tokens.len()) else { return };
        let (a, b) = (step.a, step.b);
        match step.kind {
            Kind::Wait => {}
            Kind::Crash => self.process_dies(machine, seconds(b, 120)),
            Kind::CrashAtSave => {
                self.hub
                    .lock()
                    .armed
                    .insert(machine, (u32::try_from(b / 2 % 4).unwrap_or(0), b.is_multiple_of(2)));
            }
            Kind::ServerCrash => {
                if let Some(server) = pick(a, self.servers.len()) {
                    self.server_dies(server, seconds(b, 300));
                }
            }
            Kind::Outage => {
                (0..self.servers.len()).for_each(|server| self.server_dies(server, seconds(b, 4_000)))
            }
            Kind::Network => {
                self.rates = Rates::PRESETS[pick(b, Rates::PRESETS.len()).unwrap_or(0)];
                self.rates_left = 60;
            }
            Kind::StoreFaults => {
                let mut hub = self.hub.lock();
                hub.store_faults = [0, 0, 30, 200][pick(b, 4).unwrap_or(0)];
                hub.fault_seed = a;
            }
            Kind::Offline => {
                let long = if b % 5 == 0 { 50 * 86_400 } else { 86_400 };
                self.process_dies(machine, seconds(b, long));
            }
            Kind::StepServers => {
                let offset = CLOCK_STEPS[pick(b, CLOCK_STEPS.len()).unwrap_or(0)];
                self.servers.iter().for_each(|server| server.clock.set_offset(offset));
                // Certificates that are of no use by the local clock are asked for again every few minutes: days of
                // that would fill a world.
                if offset > 0 || offset <= -DAY {
                    self.schedule(seconds(b, 1200), Event::ClockRight(None));
                }
            }
            Kind::SkewReplica => {
                if let Some(server) = pick(a, self.servers.len()) {
                    let offset = self.servers[0].clock.offset();
                    let skew = seconds(b, 9) - 4 * SECOND;
                    self.servers[server].clock.set_offset(offset + skew);
                }
            }
            Kind::StepMachine => {
                let offset = CLOCK_STEPS[pick(b, CLOCK_STEPS.len()).unwrap_or(0)];
                self.actors[machine].clock.set_offset(offset);
                if !(0..DAY).contains(&offset) {
                    self.schedule(seconds(b, 1200), Event::ClockRight(Some(machine)));
                }
            }
            Kind::Backup => self.backup(),
            Kind::Restore => self.restore(b),
            Kind::Snapshot => self.snapshot(machine),
            Kind::Revert => self.revert(machine, b),
            Kind::Steal => self.steal(machine, b),
            Kind::Thief => self.thief(a, b),
            Kind::StealSecret => self.steal_secret(token),
            Kind::Lock => {
                let ttl =
                    (b % 3 == 0).then(|| time::Duration::minutes(1 + i64::try_from(b % 3000).unwrap_or(0)));
                self.lock(token, ttl);
            }
            Kind::LockIdentity => self.lock_identity(token, b),
            Kind::Unlock => self.unlock(token),
            Kind::Rotate => self.verb("rotate", token, VerbRequest::default()),
            Kind::RotateAfter => {
                let at = boundkey_service::Clock::now(&*self.servers[0].clock);
                self.tokens[token].token.spec.bound_keypair.rotate_after = at.replace_nanosecond(0).ok();
                self.apply(token);
            }
            Kind::Revoke => self.verb("revoke", token, VerbRequest::default()),
            Kind::Resync => {
                let request = VerbRequest { keep_key: b % 4 == 0, ..VerbRequest::default() };
                self.verb("resync", token, request);
            }
            Kind::Grant => {
                let count = u32::try_from(1 + b % 3).ok();
                self.verb("grant-recovery", token, VerbRequest { count, ..VerbRequest::default() });
            }
            Kind::Reset => {
                if self.tokens[token].onboard != Onboard::Static {
                    self.verb("reset", token, VerbRequest::default());
                }
            }
            Kind::Mode => self.mode(token, b),
            Kind::Limit => {
                self.tokens[token].token.spec.bound_keypair.recovery.limit =
                    u32::try_from(1 + b % 5).unwrap_or(1);
                self.apply(token);
            }
            Kind::Expire => {
                let now = boundkey_service::Clock::now(&*self.servers[0].clock);
                let end = now + Duration::from_secs(b % 100_000);
                self.tokens[token].token.expires =
                    (b % 2 == 0).then(|| end.replace_nanosecond(0).unwrap_or(end));
                self.apply(token);
            }
            Kind::Deadline => {
                let now = boundkey_service::Clock::now(&*self.servers[0].clock);
                let end = now + Duration::from_secs(b % 100_000);
                let deadline = (b % 3 != 0).then(|| end.replace_nanosecond(0).unwrap_or(end));
                self.tokens[token].token.spec.bound_keypair.onboarding.must_register_before = deadline;
                self.apply(token);
            }
            Kind::Remove => {
                let name = self.tokens[token].name.clone();
                if self.judge.view(&name).is_some_and(|view| view.token.is_none()) {
                    self.recreate(token);
                } else if self.tokens[token].onboard != Onboard::Static {
                    self.remove(token, b % 2 == 0);
                }
            }
            Kind::MasterKey => {
                self.master_keys = (self.master_keys + 1).min(8);
                (0..self.servers.len()).for_each(|server| self.server_dies(server, seconds(b, 60)));
            }
            Kind::Reapply => self.apply(token),
            Kind::Renew => {
                if self.actors[machine].task.is_none() {
                    self.start_join(machine);
                }
            }
            Kind::Heal => {
                self.heal(token);
            }
        }
    }

    /// One of the honest ones.
    fn machine(&self, n: u64) -> ActorId {
        let honest: Vec<ActorId> =
            (0..self.actors.len()).filter(|actor| self.actors[*actor].honest).collect();
        honest[pick(n, honest.len()).unwrap_or(0)]
    }

    pub(super) fn backup(&mut self) {
        self.backups.push(Backup { content: self.store.snapshot(), views: self.judge.views.clone() });
        if self.backups.len() > 8 {
            self.backups.remove(1);
        }
    }

    fn restore(&mut self, which: u64) {
        let Some(index) = pick(which, self.backups.len()) else { return };
        // The branch that is left may be come back to.
        if which.is_multiple_of(3) {
            self.backup();
        }
        self.restore_at(index.min(self.backups.len() - 1));
    }

    pub(super) fn restore_at(&mut self, index: usize) {
        for server in 0..self.servers.len() {
            self.server_dies(server, 20 * SECOND);
        }
        let backup = &self.backups[index];
        self.store.restore(&backup.content);
        self.judge.restored(&backup.views);
        self.note(|| format!("the store is restored from backup {index}"));
    }

    pub(super) fn snapshot(&mut self, machine: ActorId) {
        let snapshot = Snapshot {
            disk: self.actors[machine].disk.copy(),
            knows: self.judge.holders[machine].knows.clone(),
        };
        self.actors[machine].snapshots.push(snapshot);
    }

    pub(super) fn revert(&mut self, machine: ActorId, which: u64) {
        let Some(index) = pick(which, self.actors[machine].snapshots.len()) else { return };
        self.process_dies(machine, SECOND);
        let snapshot = &self.actors[machine].snapshots[index];
        self.actors[machine].disk.replace(&snapshot.disk);
        let secret = self.judge.holders[machine].knows.secret.clone();
        self.judge.holders[machine].knows = Knowledge { secret, ..snapshot.knows.clone() };
        let token = self.tokens[self.actors[machine].token].name.clone();
        self.judge.taint(&token).revert = true;
    }

    /// Bits of `how`: throw the pending attempt away; offer a key of his own; come back for ever; come at once.
    pub(super) fn steal(&mut self, machine: ActorId, how: u64) {
        let disk = self.actors[machine].disk.copy();
        let mut knows = Knowledge { secret: None, ..self.judge.holders[machine].knows.clone() };
        let token = self.actors[machine].token;
        let entropy = SimEntropy::new(self.seed, 0xbad0_0000 + self.actors.len() as u64);
        let (fresh, rotates) = (how & 1 != 0, how & 2 != 0);
        let Ok(mut state) = disk.load() else { return };
        if fresh {
            state.pending = None;
            knows.drop_attempt();
        }
        if rotates {
            let key = || {
                let mut seed = [0; 32];
                entropy.fill(&mut seed);
                PrivateKey::ed25519_from_seed(&seed)
            };
            let mut attempt = [0; 16];
            entropy.fill(&mut attempt);
            // Where nothing is pending he begins an attempt; where a key is offered already he can offer no other.
            drop(state.begin_attempt(PendingAttempt {
                attempt,
                started_at: super::clock::START,
                tls_key: key(),
                ssh_key: None,
                ssh_public_key: None,
                new_key: None,
            }));
            drop(state.offer_new_key(HeldKey::new(key())));
        }
        if disk.save(&state).is_err() {
            return;
        }
        knows.learn(view(&state));
        let name = self.tokens[token].name.clone();
        self.judge.taint(&name).theft = true;
        let thief = self.enter(token, false, disk, knows);
        self.note(|| format!("actor {thief} holds a copy of actor {machine}"));
        self.actors[thief].lives = how & 4 != 0;
        if how & 8 != 0 {
            self.actors[thief].tries = 6;
            self.wake_in(thief, 0);
        }
    }

    fn thief(&mut self, which: u64, how: u64) {
        let thieves: Vec<ActorId> =
            (0..self.actors.len()).filter(|actor| !self.actors[*actor].honest).collect();
        let Some(thief) = pick(which, thieves.len()).map(|index| thieves[index]) else { return };
        match how % 6 {
            0 => {
                self.actors[thief].lives = false;
                self.process_dies(thief, 0);
            }
            1 => self.actors[thief].lives = true,
            _ => {}
        }
        if !how.is_multiple_of(6) && self.actors[thief].task.is_none() {
            self.actors[thief].tries = 6;
            self.start_join(thief);
        }
    }

    fn steal_secret(&mut self, token: usize) {
        let name = self.tokens[token].name.clone();
        let secret = self.judge.view(&name).and_then(|view| view.secret.clone());
        let Some(secret) = secret else { return };
        self.judge.taint(&name).theft = true;
        let knows = Knowledge { secret: Some(secret), ..Knowledge::default() };
        let thief = self.enter(token, false, Disk::default(), knows);
        self.actors[thief].tries = 6;
        self.wake_in(thief, 0);
    }

    /// To `insecure` and back takes an administrator longer than a challenge lives: faster than that, a late message
    /// may adopt a client behind its own back, as `docs/lifecycle.md` says.
    fn mode(&mut self, token: usize, how: u64) {
        let until = self.time() + 2 * MINUTE;
        self.run_until(until);
        let mode = match how % 4 {
            0 | 1 => RecoveryMode::Standard,
            2 => RecoveryMode::Relaxed,
            _ => RecoveryMode::Insecure,
        };
        self.tokens[token].token.spec.bound_keypair.recovery.mode = mode;
        self.apply(token);
        self.run_until(until + 2 * MINUTE);
    }
}
