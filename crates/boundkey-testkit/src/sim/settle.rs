//! The end of every world: faults off, messages drained; then every honest machine has to be in, and every copy out.

use boundkey_token::RecoveryMode;

use super::clock::{HOUR, MINUTE};
use super::hub::ActorId;
use super::judge::View;
use super::network::Rates;
use super::plan::Onboard;
use super::world::World;

/// Remedies in a row that one machine may need: a lock by hand, an expiry, a budget, a clone, each once or twice.
const REMEDIES: usize = 8;

impl World {
    pub(super) fn settle(&mut self) {
        self.note(|| "settle".to_owned());
        self.rates = Rates::default();
        {
            let mut hub = self.hub.lock();
            hub.store_faults = 0;
            hub.armed.clear();
        }
        for server in 0..self.servers.len() {
            self.servers[server].clock.set_offset(0);
            self.server_up(server);
        }
        for actor in 0..self.actors.len() {
            self.actors[actor].clock.set_offset(0);
            if !self.actors[actor].honest {
                (self.actors[actor].lives, self.actors[actor].tries) = (false, 0);
                self.process_dies(actor, 0);
            }
        }
        let drained = self.time() + 10 * MINUTE;
        self.run_until(drained);
        for token in 0..self.tokens.len() {
            if self.tokens[token].onboard == Onboard::Static {
                self.tokens[token].token.spec.bound_keypair.recovery.mode = RecoveryMode::Insecure;
                self.apply(token);
            }
        }
        let applied = self.time() + MINUTE;
        self.run_until(applied);
        for actor in 0..self.actors.len() {
            if self.actors[actor].honest && self.fault.is_none() {
                self.settle_machine(actor);
            }
        }
        for actor in 0..self.actors.len() {
            if !self.actors[actor].honest && self.fault.is_none() {
                self.settle_copy(actor);
            }
        }
        if self.fault.is_none() {
            self.sweep_all();
        }
        for server in 0..self.servers.len() {
            self.flush_all(server);
        }
        let told = self.time() + MINUTE;
        self.run_until(told);
        if let Err(fault) = self.judge.all_is_told() {
            self.fail(fault);
        }
        self.report.simulated = self.time();
        self.report.worlds = 1;
        let failures = self.hub.lock().store_failures;
        if failures > 0 {
            *self.report.faults.entry("store failed or left it open").or_default() += failures;
        }
    }

    fn settle_machine(&mut self, actor: ActorId) {
        let token = self.actors[actor].token;
        let mut helped = false;
        self.report.judged_machines += 1;
        for _ in 0..REMEDIES {
            let refused = match self.joins_now(actor) {
                Some(Ok(())) => {
                    // And it stays in.
                    if !matches!(self.joins_now(actor), Some(Ok(()))) && self.fault.is_none() {
                        self.fail(format!("actor {actor} got in and could not renew at once"));
                    }
                    if helped {
                        self.report.shut_out += 1;
                    } else {
                        self.report.machines += 1;
                    }
                    return;
                }
                Some(Err(code)) => code,
                None => return,
            };
            helped = true;
            let cause = match self.heal(token) {
                Some(cause) => cause,
                // Nothing is locked or used up: bound to somebody else by a thief or by the administrator.
                None => {
                    let name = self.tokens[token].name.clone();
                    let taint = self.judge.taint(&name).clone();
                    if !(taint.theft || taint.revert || taint.reset) {
                        self.fail(format!("actor {actor} needs a human: it is refused `{refused}`"));
                        return;
                    }
                    if self.tokens[token].onboard == Onboard::Static && taint.theft {
                        // Only while the mode was another one: the remedy is a new key for all of them.
                        *self.report.helped.entry("a shared key that a thief replaced").or_default() += 1;
                        self.report.shut_out += 1;
                        return;
                    }
                    if self.tokens[token].onboard == Onboard::Static {
                        self.fail(format!(
                            "actor {actor} is refused `{refused}` for a token that all may use"
                        ));
                        return;
                    }
                    self.verb("reset", token, Default::default());
                    "bound to another: reset"
                }
            };
            *self.report.helped.entry(cause).or_default() += 1;
            let done = self.time() + MINUTE;
            self.run_until(done);
        }
        self.fail(format!("actor {actor} is still out after {REMEDIES} remedies"));
    }

    /// Whoever holds a copy comes once more, now that the owner is in: he may be ahead of a restored store by so much that
    /// nothing tells him from the owner. But then the owner's next join locks, and the copy is out all the same.
    fn settle_copy(&mut self, thief: ActorId) {
        let token = self.actors[thief].token;
        self.report.judged_copies += 1;
        let is_in = self.copy_joins(thief);
        if self.fault.is_some() {
            return;
        }
        let name = self.tokens[token].name.clone();
        if self.judge.view(&name).is_some_and(View::is_one_of_many) {
            // He has the key of a token that all may use who have it.
            self.report.copies_of_many += 1;
            return;
        }
        if is_in {
            let owner =
                (0..self.actors.len()).find(|a| self.actors[*a].honest && self.actors[*a].token == token);
            let owner_is_in = matches!(owner.and_then(|owner| self.joins_now(owner)), Some(Ok(())));
            if !owner_is_in
                && self.fault.is_none()
                && owner.is_some_and(|owner| self.judge.is_older_than_a_reset(owner, thief))
            {
                // Both server and machine forgot a reset, and the copy is of after it: it looks like the machine that the
                // reset was for. A reset, of which the machine is told, is the remedy.
                self.verb("reset", token, Default::default());
                let done = self.time() + MINUTE;
                self.run_until(done);
                *self.report.helped.entry("a snapshot older than a reset: reset").or_default() += 1;
                if !owner.is_some_and(|owner| matches!(self.joins_now(owner), Some(Ok(())))) {
                    self.fail(format!("the owner of what actor {thief} copied is still out after a reset"));
                    return;
                }
            }
            if self.fault.is_none() && self.copy_joins(thief) {
                if !owner_is_in && self.judge.is_registrant(thief) {
                    self.report.copies_first += 1;
                } else {
                    let beside = if owner_is_in { "beside" } else { "in place of" };
                    self.fail(format!("actor {thief} holds a copy and stays in {beside} the owner"));
                }
                return;
            }
        }
        self.report.copies_out += u64::from(self.fault.is_none());
    }

    /// One try of a thief, who does not insist.
    fn copy_joins(&mut self, thief: ActorId) -> bool {
        self.process_dies(thief, 0);
        self.ended.remove(&thief);
        self.start_join(thief);
        while !self.ended.contains_key(&thief) && self.fault.is_none() && self.one_event() {}
        matches!(self.ended.remove(&thief), Some(Ok(())))
    }

    /// A join to its end; transient failures are tried again.
    pub(super) fn joins_now(&mut self, actor: ActorId) -> Option<Result<(), String>> {
        for _ in 0..6 {
            self.process_dies(actor, 0);
            self.ended.remove(&actor);
            self.start_join(actor);
            let patience = self.time() + HOUR;
            while !self.ended.contains_key(&actor) && self.fault.is_none() && self.time() < patience {
                if !self.one_event() {
                    break;
                }
            }
            if self.fault.is_some() {
                return None;
            }
            match self.ended.remove(&actor) {
                Some(Err(transient)) if transient.is_empty() => {}
                Some(end) => return Some(end),
                None => break,
            }
        }
        self.fail(format!("actor {actor} gets no answer although nothing is wrong any more"));
        None
    }
}
