//! The states and actions that are searched.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use boundkey_lifecycle::{Code, Verb};
use boundkey_token::RecoveryMode;
use stateright::{Model, Property};

use crate::client::{File, HONEST, Hint, How, Message, SECOND, THIEF};
use crate::judge::{self, Broken, Expected};
use crate::log::{Print, quick};
use crate::scenario::{Budget, Scenario};
use crate::store::{Answer, Handled, INSTANTS, Setup, Store};

/// A request on its way. It stays there, to come again and again, until it is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Flight {
    pub(crate) message: Message,
    from: u8,
    /// The connection it came on is that of its sender's latest try.
    open: bool,
    /// A change of mode has passed since it was sent; the next one outlasts its challenge.
    old: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) store: Print<Store>,
    backups: [Option<Print<Store>>; 2],
    files: [Option<File>; 3],
    /// What the open connection's challenge names; gone with a crash.
    hints: [Option<Hint>; 3],
    net: [Option<Flight>; 2],
    clock: u8,
    left: Budget,
    /// The thief has sent something.
    thief_acted: bool,
    broken: Option<Broken>,
}

impl World {
    /// Nobody changes the mode twice within the life of one challenge.
    fn outlive_mode(&mut self, before: RecoveryMode) {
        if self.store.mode == before {
            return;
        }
        for slot in &mut self.net {
            *slot = slot.take().filter(|flight| !flight.old);
            slot.iter_mut().for_each(|flight| flight.old = true);
        }
        self.hints = [None; 3];
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// `on` an open connection, or a new one (after a crash, a time-out).
    Send {
        who: u8,
        how: How,
        on: bool,
    },
    /// The server handles it; the answer is heard or lost.
    Deliver {
        slot: u8,
        heard: bool,
    },
    Drop {
        slot: u8,
    },
    /// The thief copies this one's file.
    Steal {
        from: u8,
    },
    Backup,
    Restore {
        slot: u8,
    },
    Clock {
        to: u8,
    },
    Rotate,
    Resync {
        keep_key: bool,
    },
    Revoke,
    Grant,
    Reset,
    /// After a reset the honest machine is given the new secret.
    NewSecret,
    Lock,
    Unlock,
    Mode {
        to: RecoveryMode,
    },
}

/// What was computed once is not computed again.
struct Memo<T>(Vec<Mutex<HashMap<u64, T>>>);

impl<T: Clone> Memo<T> {
    fn new() -> Self {
        Self((0..64).map(|_| Mutex::default()).collect())
    }

    fn of(&self, key: impl Hash, make: impl FnOnce() -> T) -> T {
        let key = quick(key);
        let shard = &self.0[(key >> 58) as usize];
        if let Some(known) = shard.lock().unwrap().get(&key) {
            return known.clone();
        }
        let made = make();
        shard.lock().unwrap().insert(key, made.clone());
        made
    }
}

/// How a client that is left alone fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settled {
    In,
    Denied(Code),
    /// No end in sight.
    Stuck,
}

pub(crate) struct Lifecycle {
    pub(crate) setup: Setup,
    pub(crate) scenario: Scenario,
    /// How many states to look at.
    pub(crate) wanted: usize,
    /// Offer no action that changes nothing: random walks count those that they were offered.
    is_walk: bool,
    pub(crate) seen: AtomicUsize,
    handled: Memo<Handled>,
    ruled: Memo<Print<Store>>,
    settled: Memo<bool>,
    apart: Memo<bool>,
}

impl Lifecycle {
    pub(crate) fn new(scenario: Scenario, wanted: usize) -> Self {
        let s = &scenario;
        Self {
            setup: Setup::new(s.is_bot, s.limit, s.initial_key, s.sabotage),
            scenario,
            wanted,
            is_walk: false,
            seen: AtomicUsize::new(0),
            handled: Memo::new(),
            ruled: Memo::new(),
            settled: Memo::new(),
            apart: Memo::new(),
        }
    }

    pub(crate) fn walking(self) -> Self {
        Self { is_walk: true, ..self }
    }

    fn handle(&self, store: &Print<Store>, message: &Message, clock: u8) -> Handled {
        self.handled.of((store.mark(), message, clock), || Store::handle(&self.setup, store, message, clock))
    }

    /// A client is left alone with the server: no faults, no administrator, until it is in or refused.
    fn settle(&self, store: &mut Print<Store>, file: &mut File, clock: u8) -> Settled {
        // An answer given again is no join of its own, so the client goes on with a new attempt.
        for _ in 0..2 {
            if file.begin(How::GoOn).is_none() {
                return Settled::Stuck;
            }
            let mut hint = None;
            let again = 'attempt: {
                for _ in 0..6 {
                    let handled = Store::handle(&self.setup, store, &file.message(hint), clock);
                    *store = handled.store;
                    if !file.hear(&handled.answer, &mut hint) {
                        return Settled::Stuck;
                    }
                    match handled.answer {
                        Answer::Result { .. } if file.pending.is_some() => return Settled::Stuck,
                        Answer::Result { again, .. } => break 'attempt again,
                        Answer::Denied(code) => return Settled::Denied(code),
                        Answer::Rotate | Answer::Confirm(_) => {}
                    }
                }
                return Settled::Stuck;
            };
            if !again {
                return Settled::In;
            }
        }
        Settled::Stuck
    }

    /// Properties 1, 2 and 4: the honest clients come to what the histories say they must.
    fn settles_well(&self, world: &World) -> bool {
        self.settled.of((world.store.mark(), &world.files, world.clock, world.thief_acted), || {
            let (store, clock) = (&world.store, world.clock);
            let honest = [HONEST, SECOND].into_iter().filter_map(|n| world.files[usize::from(n)].as_ref());
            let (mut any_in, mut any_late) = (false, false);
            for file in honest.clone() {
                let expected = judge::expected(&self.setup, store, file, clock);
                let found = self.settle(&mut store.clone(), &mut file.clone(), clock);
                any_in |= found == Settled::In;
                any_late |= found == Settled::Denied(Code::RecoveryLimitReached);
                let well = match expected {
                    Expected::In => found == Settled::In,
                    Expected::Denied(code) => found == Settled::Denied(code),
                    Expected::Out => matches!(found, Settled::Denied(_)),
                    Expected::Anything => found != Settled::Stuck,
                };
                // Without a thief nobody is ever in doubt.
                let undisturbed = match found {
                    _ if world.thief_acted => true,
                    Settled::Denied(Code::CloneDetected) => {
                        self.scenario.clients > 1 && judge::is_alone_elsewhere(store, file)
                    }
                    Settled::Denied(Code::WrongKey | Code::JoinStateRequired) => self.scenario.clients > 1,
                    _ => true,
                };
                if !well || !undisturbed {
                    return false;
                }
            }
            // Of many honest clients of one key, one at least is let in.
            let closed = store.hand_lock || store.auto_lock.is_some() || any_late || world.thief_acted;
            self.scenario.clients < 2 || any_in || closed
        })
    }

    /// Property 2: two holders take turns, and do not both stay in.
    fn do_not_both_stay(&self, world: &World) -> bool {
        if world.store.mode == RecoveryMode::Insecure {
            return true;
        }
        let holders: Vec<&File> = world.files.iter().flatten().collect();
        let mut pairs =
            holders.iter().enumerate().flat_map(|(n, a)| holders[n + 1..].iter().map(move |b| (*a, *b)));
        pairs.all(|(one, other)| self.one_gives_way(world, one, other))
    }

    fn one_gives_way(&self, world: &World, one: &File, other: &File) -> bool {
        self.apart.of((world.store.mark(), one, other, world.clock), || {
            let mut store = world.store.clone();
            let mut files = [one.clone(), other.clone()];
            let mut admitted = [0; 2];
            for round in 0..3 {
                for (file, count) in files.iter_mut().zip(&mut admitted) {
                    let found = self.settle(&mut store, file, world.clock);
                    *count += i32::from(round > 0 && found == Settled::In);
                }
            }
            admitted[0] == 0 || admitted[1] == 0
        })
    }

    /// For whoever reads of a failure.
    pub(crate) fn tell(&self, world: &World) -> String {
        let mut out = format!("{:?}, in {}\n", world.broken, world.store.mode);
        out.push_str(&format!("  store: {:?}\n", world.store.log.0));
        if let Some((_, at)) = &world.store.auto_lock {
            out.push_str(&format!("  locked by itself at: {:?}\n", at.0));
        }
        for file in world.files.iter().flatten() {
            let log = file.held.as_ref().map(|held| &held.log.0);
            out.push_str(&format!("  {}: key {}, {:?}, {log:?}\n", file.who, file.key, file.pending));
            let expected = judge::expected(&self.setup, &world.store, file, world.clock);
            let found = self.settle(&mut world.store.clone(), &mut file.clone(), world.clock);
            out.push_str(&format!("     alone it comes to {found:?}; the histories say {expected:?}\n"));
        }
        out
    }

    fn send(&self, world: &World, who: u8, how: How, on: bool) -> Option<World> {
        let n = usize::from(who);
        let slot = world.net.iter().position(Option::is_none);
        let mut next = world.clone();
        let file = next.files[n].as_mut()?;
        let before = file.pending;
        file.begin(how)?;
        if file.pending.map(|p| p.attempt) != before.map(|p| p.attempt) {
            next.left.attempts[n] = next.left.attempts[n].checked_sub(1)?;
        }
        if how == How::GoOnRotating && who != THIEF {
            next.left.own_rotations = next.left.own_rotations.checked_sub(1)?;
        }
        if !on {
            next.hints[n] = None;
        }
        let message = file.message(next.hints[n]);
        for flight in next.net.iter_mut().flatten().filter(|flight| flight.from == who) {
            flight.open = false;
        }
        if let Some(same) = next.net.iter_mut().flatten().find(|f| f.from == who && f.message == message) {
            same.open = true;
        } else {
            next.net[slot?] = Some(Flight { message, from: who, open: true, old: false });
        }
        next.thief_acted |= who == THIEF;
        Some(next)
    }

    fn deliver(&self, world: &World, slot: u8, heard: bool) -> Option<World> {
        let flight = world.net[usize::from(slot)].as_ref()?;
        let n = usize::from(flight.from);
        let handled = self.handle(&world.store, &flight.message, world.clock);
        let mut next = world.clone();
        next.broken = handled.broken;
        next.store = handled.store;
        if heard {
            let file = next.files[n].as_mut()?;
            if !file.hear(&handled.answer, &mut next.hints[n]) && flight.from == HONEST && !file.is_static {
                next.broken = next.broken.or(Some(Broken::SecondNewKey));
            }
            // The connection has had its answer.
            next.net[usize::from(slot)].as_mut()?.open = false;
            if self.scenario.is_orderly {
                next.net[usize::from(slot)] = None;
            }
        }
        Some(next)
    }

    fn administer(&self, world: &World, action: Action) -> Option<World> {
        let store = self.ruled.of((world.store.mark(), action, world.clock), || {
            Print::new(self.rule(&world.store, action, world.clock))
        });
        if store == world.store {
            return None;
        }
        let mut next = world.clone();
        next.store = store;
        let left = &mut next.left;
        let budget = match action {
            Action::Rotate => &mut left.rotates,
            Action::Resync { .. } => &mut left.resyncs,
            Action::Revoke => &mut left.revokes,
            Action::Grant => &mut left.grants,
            Action::Reset => &mut left.resets,
            Action::Lock => &mut left.locks,
            Action::Mode { .. } => &mut left.modes,
            _ => return Some(next),
        };
        *budget = budget.checked_sub(1)?;
        next.outlive_mode(world.store.mode);
        Some(next)
    }

    fn rule(&self, store: &Store, action: Action, clock: u8) -> Store {
        let verb = match action {
            Action::Rotate => Verb::Rotate { at: None },
            Action::Resync { keep_key } => Store::resync(keep_key),
            Action::Revoke => Verb::Revoke,
            Action::Grant => Verb::GrantRecovery { count: 1 },
            Action::Reset => Store::reset(),
            Action::Mode { to } => return store.with_mode(to),
            Action::Lock => return Store { hand_lock: true, ..store.clone() },
            _ => return Store { hand_lock: false, ..store.clone() },
        };
        store.verb(&self.setup, verb, clock)
    }

    fn sends(&self, world: &World, actions: &mut Vec<Action>) {
        for who in [HONEST, SECOND, THIEF] {
            let Some(file) = &world.files[usize::from(who)] else { continue };
            let is_thief = who == THIEF;
            let connections: &[bool] =
                if world.hints[usize::from(who)].is_some() { &[true, false] } else { &[false] };
            for &on in connections {
                let mut push = |how| actions.push(Action::Send { who, how, on });
                push(How::GoOn);
                if is_thief || world.left.own_rotations > 0 {
                    push(How::GoOnRotating);
                }
                if is_thief && file.pending.is_some() {
                    push(How::Anew);
                    push(How::AnewRotating);
                }
            }
        }
    }
}

impl Model for Lifecycle {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let s = &self.scenario;
        let secret = s.initial_key.is_none().then_some(200);
        let file = |who: u8| {
            let key = s.initial_key.unwrap_or(who * 64);
            File { is_static: s.is_static, ..File::new(who, key, secret) }
        };
        let store = Print::new(Store::new(s.mode, secret.is_some()));
        vec![World {
            // The empty store is a backup too: from before the registration.
            backups: [s.backup_before_registration.then(|| store.clone()), None],
            store,
            files: [
                Some(file(HONEST)),
                (s.clients > 1).then(|| file(SECOND)),
                s.thief_knows_secret.then(|| file(THIEF)),
            ],
            hints: [None; 3],
            net: [None, None],
            clock: 0,
            left: s.budget,
            thief_acted: false,
            broken: None,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let left = &world.left;
        let is_orderly = self.scenario.is_orderly;
        for slot in 0..2 {
            if is_orderly && world.net[usize::from(slot)].is_some() {
                actions.push(Action::Deliver { slot, heard: true });
            } else if let Some(flight) = &world.net[usize::from(slot)] {
                actions.push(Action::Deliver { slot, heard: false });
                if flight.open {
                    actions.push(Action::Deliver { slot, heard: true });
                }
                if world.net.iter().all(Option::is_some) {
                    actions.push(Action::Drop { slot });
                }
            }
        }
        if !is_orderly || world.net == [None, None] {
            self.sends(world, actions);
        }
        if left.steals > 0 {
            actions.extend((0..self.scenario.clients).map(|from| Action::Steal { from }));
        }
        if left.backups > 0 {
            actions.push(Action::Backup);
        }
        if left.restores > 0 {
            actions.extend([0, 1].map(|slot| Action::Restore { slot }));
        }
        if left.clocks > 0 {
            actions.extend((0..INSTANTS.len() as u8).map(|to| Action::Clock { to }));
        }
        let verbs = [
            (left.rotates, Action::Rotate),
            (left.revokes, Action::Revoke),
            (left.grants, Action::Grant),
            (left.resets, Action::Reset),
        ];
        actions.extend(verbs.into_iter().filter(|(left, _)| *left > 0).map(|(_, action)| action));
        if left.resyncs > 0 {
            actions.push(Action::Resync { keep_key: true });
            // A key that is not the agent's to change would have to be changed by a person.
            if !self.scenario.is_static {
                actions.push(Action::Resync { keep_key: false });
            }
        }
        if world.store.log.resets() > 0 {
            actions.push(Action::NewSecret);
        }
        if world.store.hand_lock {
            actions.push(Action::Unlock);
        } else if left.locks > 0 {
            actions.push(Action::Lock);
        }
        if left.modes > 0 {
            actions.extend(self.scenario.modes.iter().map(|to| Action::Mode { to: *to }));
        }
        if self.is_walk {
            actions.retain(|action| self.next_state(world, *action).is_some());
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        if world.broken.is_some() {
            return None;
        }
        let mut next = match action {
            Action::Send { who, how, on } => self.send(world, who, how, on)?,
            Action::Deliver { slot, heard } => self.deliver(world, slot, heard)?,
            Action::Drop { slot } => {
                let mut next = world.clone();
                next.net[usize::from(slot)] = None;
                next
            }
            Action::Steal { from } => {
                let mut next = world.clone();
                next.left.steals = next.left.steals.checked_sub(1)?;
                let made = world.files[usize::from(THIEF)].as_ref().map_or(0, |file| file.made);
                let copy = File { who: THIEF, made, ..next.files[usize::from(from)].clone()? };
                next.files[usize::from(THIEF)] = Some(copy);
                next.hints[usize::from(THIEF)] = None;
                next
            }
            Action::Backup => {
                let mut next = world.clone();
                next.left.backups = next.left.backups.checked_sub(1)?;
                let slot = next.backups.iter().position(Option::is_none)?;
                next.backups[slot] = Some(next.store.clone());
                next
            }
            Action::Restore { slot } => {
                let mut next = world.clone();
                next.left.restores = next.left.restores.checked_sub(1)?;
                next.store = Store::swept(next.backups[usize::from(slot)].as_ref()?, world.clock);
                next.outlive_mode(world.store.mode);
                next
            }
            Action::Clock { to } => {
                let mut next = world.clone();
                next.left.clocks = next.left.clocks.checked_sub(1)?;
                next.clock = to;
                next.store = Store::swept(&world.store, to);
                next
            }
            Action::NewSecret => {
                let mut next = world.clone();
                next.files[usize::from(HONEST)].as_mut()?.secret = Some(world.store.secret);
                next
            }
            verb => self.administer(world, verb)?,
        };
        // Two requests on their way have no order.
        if let [Some(a), b] = &next.net
            && b.as_ref().is_none_or(|b| quick(a) > quick(b))
        {
            next.net.swap(0, 1);
        }
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        macro_rules! never {
            ($name:literal, $broken:ident) => {
                Property::always($name, |_: &Self, w: &World| w.broken != Some(Broken::$broken))
            };
        }
        vec![
            never!("1: no attempt advances a lineage twice", AttemptTwice),
            never!("1: no attempt is asked for a second new key", SecondNewKey),
            Property::always("1, 2, 4: everybody comes to what the histories say", Self::settles_well),
            never!("2: who is admitted comes from where the lineage stands", AdmittedFromElsewhere),
            Property::always("2, 4: two holders do not both stay in", Self::do_not_both_stay),
            never!("2: only a live request locks", LockNotLive),
            never!("2: only a state that was overtaken locks", LockWithoutCause),
            Property::always("2, 6: nothing locks unless a copy was used", |m: &Self, w: &World| {
                w.thief_acted || m.scenario.clients > 1 || w.store.auto_lock.is_none()
            }),
            never!("3: a secret registers one lineage", SecretTwice),
            never!("3: no recovery above the limit", OverTheLimit),
            never!("4: an answer is given again only to who earned it", RetryUnearned),
            never!("5: a key that was rotated away admits nobody", RotatedAwayKey),
            never!("6: a join within the grace is a renewal, a later one a recovery", WrongKind),
            never!("6a: a client stays who it is", SomebodyElse),
            never!("7: every verdict has its event", NoEvent),
            never!("the record says what happened", RecordDiffers),
            Property::sometimes(SEEN, |m: &Self, _| m.seen.fetch_add(1, Ordering::Relaxed) + 1 >= m.wanted),
        ]
    }
}

/// Ends the search.
pub(crate) const SEEN: &str = "as many states as were asked for";
