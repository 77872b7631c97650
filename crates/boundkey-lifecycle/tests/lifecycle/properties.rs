//! The properties of the lifecycle, under random operations: lost, doubled and late messages, crashes, thieves,
//! restored backups, clock steps and administrator's verbs.
//!
//! A late message may come as late as it likes here (a real challenge lives 60 s), so the faults are harsher than any
//! network's. The one mercy: no live message outlasts a change of mode, which no administrator makes twice a minute.

use std::time::Duration;

use boundkey_lifecycle::*;
use boundkey_token::RecoveryMode::{self, Insecure, Relaxed, Standard};
use boundkey_token::Role;
use proptest::prelude::*;

use crate::scene::*;

#[derive(Debug, Clone)]
enum Op {
    /// A whole join of this client.
    Join(usize),
    /// So many messages get through; the answer to the last is lost, or the machine stops before it is stored.
    Lose(usize, usize),
    /// A message is written to disk and on its way; nothing arrives yet.
    Delay(usize),
    /// Whatever was sent once arrives again.
    Late(prop::sample::Index),
    /// The first client's file is copied.
    Steal,
    Backup,
    Restore(prop::sample::Index),
    /// The server's clock steps by so many hours.
    Clock(i64),
    Rotate,
    RotateAfter,
    Revoke,
    Grant(u32),
    Limit(u32),
    Resync(bool),
    Mode(RecoveryMode),
}

struct World {
    server: Server,
    clients: Vec<Client>,
    net: Vec<Message>,
    backups: Vec<Server>,
    stolen: bool,
    /// A backup was restored: what is true of one history need not be of two.
    restored: bool,
}

impl World {
    fn new(server: Server, clients: usize) -> Self {
        let first = Client::new(1_000_000, &server);
        let clients = (0..clients as u32).map(|n| first.copied((n + 1) * 1_000_000)).collect();
        Self {
            backups: vec![server.clone()],
            server,
            clients,
            net: Vec::new(),
            stolen: false,
            restored: false,
        }
    }

    fn run(&mut self, ops: &[Op]) -> Result<(), TestCaseError> {
        for op in ops {
            self.step(op)?;
        }
        Ok(())
    }

    fn step(&mut self, op: &Op) -> Result<(), TestCaseError> {
        match op {
            Op::Join(n) => {
                let n = n % self.clients.len();
                self.steps(n, 8)?;
            }
            Op::Lose(n, through) => {
                let n = n % self.clients.len();
                self.steps(n, *through)?;
            }
            Op::Delay(n) => {
                let n = n % self.clients.len();
                self.clients[n].begin();
                self.net.push(self.clients[n].message(None));
            }
            Op::Late(which) if !self.net.is_empty() => {
                let message = which.get(&self.net).clone();
                self.handle(&message)?;
            }
            Op::Steal if !self.stolen => {
                self.stolen = true;
                let thief = self.clients[0].copied(900_000_000);
                self.clients.push(thief);
            }
            Op::Late(_) | Op::Steal => {}
            Op::Backup => self.backups.push(self.server.clone()),
            Op::Restore(which) => {
                let backup = which.get(&self.backups).clone();
                self.server.restore(&backup);
                self.restored = true;
            }
            Op::Clock(hours) => self.server.now += time::Duration::hours(*hours),
            Op::Rotate => drop(self.server.verb(Verb::Rotate { at: None })),
            Op::RotateAfter => self.server.spec().rotate_after = Some(self.server.now),
            Op::Revoke => drop(self.server.verb(Verb::Revoke)),
            Op::Grant(count) => drop(self.server.verb(Verb::GrantRecovery { count: *count })),
            Op::Limit(limit) => self.server.spec().recovery.limit = *limit,
            Op::Resync(keep_key) => {
                drop(self.server.verb(Verb::Resync { ttl: Duration::from_secs(7200), keep_key: *keep_key }));
            }
            Op::Mode(mode) => {
                self.server.mode(*mode);
                self.net.retain(|message| message.position.is_none());
            }
        }
        Ok(())
    }

    /// At most `through` messages of the client's join get through; the answer to the last one is lost, unless the
    /// join ended before.
    fn steps(&mut self, n: usize, through: usize) -> Result<Option<Outcome>, TestCaseError> {
        self.clients[n].begin();
        let mut position = None;
        for sent in 1..=through.max(1) {
            let message = self.clients[n].message(position);
            self.net.push(message.clone());
            let verdict = self.handle(&message)?;
            if sent == through {
                return Ok(None);
            }
            let client = &mut self.clients[n];
            match verdict {
                Verdict::Admit(a) => {
                    client.store(&a.claims);
                    return Ok(Some(Outcome::Admitted(a.kind)));
                }
                Verdict::Retry(r) => {
                    client.store(&r.claims);
                    return Ok(Some(Outcome::Retried));
                }
                Verdict::RotationRequired(_) => client.make_key(),
                Verdict::Confirm(c) => position = Some(c.position),
                Verdict::Deny(d) => return Ok(Some(Outcome::Denied(d.code))),
            }
        }
        Ok(Some(Outcome::Stuck))
    }

    /// One message, and what must hold whatever it is.
    fn handle(&mut self, message: &Message) -> Result<Verdict, TestCaseError> {
        let before = self.server.enrolment.clone();
        let was_live = message.position == Some(before.position(UID));
        let verdict = self.server.handle(message);
        let next = &self.server.enrolment;
        match &verdict {
            Verdict::Admit(a) => {
                let healed = a.event.notes.iter().any(|note| matches!(note, Note::RollbackHealed { .. }));
                let proves = |k: &boundkey_keys::PublicKey| {
                    [message.current, message.new].iter().flatten().any(|n| key(*n) == *k)
                };
                // Property 5, in one history: a key that was rotated away admits nobody.
                if let Some(bound) = before.bound_public_key.as_ref().filter(|_| !self.restored) {
                    prop_assert!(proves(bound), "admitted without the bound key: {:?}", message);
                }
                // Property 3: nobody is recovered past the limit, and a secret registers once.
                let token = self.server.token.clone().unwrap();
                let from = match &message.state {
                    StateEvidence::Valid(s) if healed => s.recovery_count,
                    _ => before.recovery_count,
                };
                if token.spec.bound_keypair.recovery.mode == Standard && next.recovery_count > from {
                    prop_assert!(next.recovery_count <= next.limit_in_force(&token));
                }
                prop_assert!(self.server.registrations <= 1);
                // Property 1: no attempt advances a lineage twice, unless an administrator opened another way for it
                // meanwhile: a grant, or shared operation.
                let reopened =
                    |note: &Note| matches!(note, Note::ByGrant | Note::LeftShared | Note::EnteredShared);
                if matches!(a.write, Write::Enrolment(_)) && !a.event.notes.iter().any(reopened) {
                    let count = self.server.advanced.iter().filter(|n| **n == message.attempt).count();
                    prop_assert_eq!(count, 1, "an attempt was admitted twice");
                }
                // Outside `insecure` it takes the current state, a heal, or a live request. In one history nobody returns,
                // as far as its trail tells.
                let returned = a.event.notes.contains(&Note::Returned);
                let untold = before.sequence > TRAIL_LENGTH as u64;
                prop_assert!(!returned || self.restored || untold, "returned, and there was no restore");
                let current = matches!(&message.state, StateEvidence::Valid(s) if Some(s.state_id) == before.last_state_id);
                let insecure = token.spec.bound_keypair.recovery.mode == Insecure;
                prop_assert!(current || healed || returned || was_live || insecure || !before.is_bound());
            }
            Verdict::Deny(d) => {
                // Property 2: no lock by a message that was not signed after the lineage got where it stands.
                prop_assert!(d.lock.is_none() || was_live);
                prop_assert_eq!(&before, next);
            }
            Verdict::Retry(_) | Verdict::RotationRequired(_) | Verdict::Confirm(_) => {
                prop_assert_eq!(&before, next);
            }
        }
        Ok(verdict)
    }

    /// A join without faults, as often as it takes to have a result of one's own.
    fn join(&mut self, n: usize) -> Result<Outcome, TestCaseError> {
        match self.steps(n, 8)? {
            Some(Outcome::Retried) => Ok(self.steps(n, 8)?.unwrap_or(Outcome::Stuck)),
            outcome => Ok(outcome.unwrap_or(Outcome::Stuck)),
        }
    }

    /// The honest client gets in, at once and again.
    fn honest_is_in(&mut self) -> Result<(), TestCaseError> {
        prop_assert!(!self.server.is_locked());
        for _ in 0..2 {
            let outcome = self.join(0)?;
            prop_assert!(matches!(outcome, Outcome::Admitted(_)), "{:?}", outcome);
        }
        Ok(())
    }

    /// The owner and the thief take turns: they do not both stay in.
    fn not_both_in(&mut self) -> Result<(), TestCaseError> {
        for n in 0..2 {
            self.join(n)?;
        }
        let mut admitted = [0, 0];
        for _ in 0..2 {
            for (n, count) in admitted.iter_mut().enumerate() {
                *count += i32::from(matches!(self.join(n)?, Outcome::Admitted(_)));
            }
        }
        prop_assert!(admitted[0] == 0 || admitted[1] == 0, "both stayed in: {:?}", admitted);
        Ok(())
    }
}

fn faults() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => Just(Op::Join(0)),
        3 => (1..4_usize).prop_map(|through| Op::Lose(0, through)),
        1 => Just(Op::Delay(0)),
        3 => any::<prop::sample::Index>().prop_map(Op::Late),
    ]
}

fn verbs() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => Just(Op::Rotate),
        1 => Just(Op::RotateAfter),
        1 => Just(Op::Revoke),
        1 => (0..3_u32).prop_map(Op::Grant),
        1 => any::<bool>().prop_map(Op::Resync),
        2 => (-3000..3000_i64).prop_map(Op::Clock),
        2 => (1..40_i64).prop_map(Op::Clock),
    ]
}

fn restores() -> impl Strategy<Value = Op> {
    prop_oneof![Just(Op::Backup), any::<prop::sample::Index>().prop_map(Op::Restore)]
}

fn many(op: impl Strategy<Value = Op>) -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op, 1..40)
}

/// Any client, the thief too.
fn anyone() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..4_usize).prop_map(Op::Join),
        3 => (0..4_usize, 1..4_usize).prop_map(|(n, through)| Op::Lose(n, through)),
        1 => (0..4_usize).prop_map(Op::Delay),
        2 => any::<prop::sample::Index>().prop_map(Op::Late),
    ]
}

/// Enough recoveries for whatever happens, where the budget is not what is tested.
const PLENTY: u32 = 1_000_000;

proptest! {
    #![proptest_config(ProptestConfig::default())]

    /// Properties 1, 4 and 6: faults, verbs, clock steps and restored backups; an honest client never needs anybody.
    #[test]
    fn an_honest_client_always_gets_back_in(
        ops in many(prop_oneof![4 => faults(), 2 => verbs(), 2 => restores()]),
        relaxed in any::<bool>(), bot in any::<bool>(), preregistered in any::<bool>(),
    ) {
        let mut server = Server::new(if bot { &[Role::Bot] } else { &[Role::Node] });
        server.mode(if relaxed { Relaxed } else { Standard });
        server.spec().recovery.limit = PLENTY;
        if preregistered {
            server.spec().onboarding.initial_public_key = Some(key(1_000_000));
        }
        let mut world = World::new(server, 1);
        for op in &ops {
            world.step(op)?;
            prop_assert!(!world.server.is_locked(), "locked by {:?}", op);
        }
        world.honest_is_in()?;
    }

    /// Property 1, the budget: whatever is lost or comes late, as many recoveries are used as joins were recoveries.
    #[test]
    fn faults_use_no_recovery(ops in many(prop_oneof![5 => faults(), 1 => (1..20_i64).prop_map(Op::Clock)])) {
        let mut world = World::new(Server::host(Standard, 1), 1);
        for op in &ops {
            // Within the grace: property 6.
            if let Op::Clock(_) = op {
                world.join(0)?;
            }
            world.step(op)?;
        }
        world.honest_is_in()?;
        prop_assert_eq!(world.server.enrolment.recovery_count, 1);
    }

    /// Property 6: the server's clock steps to and fro within the grace, and nothing is used or locked.
    #[test]
    fn clock_steps_within_the_grace_use_no_recovery(hours in prop::collection::vec(-300..300_i64, 1..30)) {
        let mut world = World::new(Server::host(Standard, 1), 1);
        world.join(0)?;
        for step in hours {
            world.server.now += time::Duration::hours(step);
            prop_assert_eq!(world.join(0)?, Outcome::Admitted(JoinKind::Renew));
        }
        prop_assert_eq!(world.server.enrolment.recovery_count, 1);
    }

    /// Property 2: a copy is made at any moment, in the middle of an attempt too, and used in any way.
    #[test]
    fn two_holders_do_not_both_stay_in(
        before in many(faults()), after in many(prop_oneof![4 => anyone(), 1 => Just(Op::Rotate), 1 => (1..40_i64).prop_map(Op::Clock)]),
        relaxed in any::<bool>(), bot in any::<bool>(),
    ) {
        let mut server = Server::new(if bot { &[Role::Bot] } else { &[Role::Node] });
        server.mode(if relaxed { Relaxed } else { Standard });
        server.spec().recovery.limit = PLENTY;
        let mut world = World::new(server, 1);
        world.run(&before)?;
        world.step(&Op::Steal)?;
        world.run(&after)?;
        world.not_both_in()?;
    }

    /// Property 2, the lock: both hold a state of the lineage; once the copy was used, the next join of the other
    /// locks the token.
    #[test]
    fn the_next_join_of_the_other_holder_locks(
        before in many(faults()), rotates in any::<bool>(), thief_first in any::<bool>(), more in 1..20_usize,
    ) {
        let mut world = World::new(Server::host(Standard, PLENTY), 1);
        world.run(&before)?;
        // A registration whose answer is on its way counts too: 2(c).
        world.step(&Op::Steal)?;
        if world.clients[0].state.is_none() && world.clients[0].pending.is_none() {
            return Ok(());
        }
        let (first, second) = if thief_first { (1, 0) } else { (0, 1) };
        for n in [first, second] {
            // Whatever was pending gives both the same result.
            if world.clients[n].pending.is_some() {
                let outcome = world.steps(n, 8)?;
                prop_assert!(matches!(outcome, Some(Outcome::Admitted(_) | Outcome::Retried)), "{:?}", outcome);
            }
        }
        if rotates {
            world.step(&Op::Rotate)?;
        }
        for _ in 0..more {
            let outcome = world.join(first)?;
            prop_assert!(matches!(outcome, Outcome::Admitted(_)), "{:?}", outcome);
        }
        prop_assert_eq!(world.join(second)?, Outcome::Denied(Code::CloneDetected));
        prop_assert!(world.server.is_locked());
        prop_assert_eq!(world.join(first)?, Outcome::Denied(Code::Locked));
    }

    /// Property 4, the second half: a clone that gets in by a restored backup does not stay beside the owner.
    #[test]
    fn a_restore_lets_no_clone_stay(
        before in many(prop_oneof![4 => faults(), 1 => Just(Op::Backup)]),
        after in many(prop_oneof![4 => anyone(), 1 => Just(Op::Rotate), 2 => restores()]),
    ) {
        let mut world = World::new(Server::host(Standard, PLENTY), 1);
        world.run(&before)?;
        world.step(&Op::Steal)?;
        world.run(&after)?;
        world.not_both_in()?;
    }

    /// Property 3 under everything at once: thieves, restores, verbs, limits and modes.
    #[test]
    fn nobody_is_recovered_past_the_limit(
        ops in many(prop_oneof![
            5 => anyone(),
            2 => verbs(),
            1 => restores(),
            1 => Just(Op::Steal),
            1 => (1..4_u32).prop_map(Op::Limit),
            1 => prop_oneof![Just(Standard), Just(Relaxed), Just(Insecure)].prop_map(Op::Mode),
        ]),
    ) {
        let mut world = World::new(Server::host(Standard, 2), 1);
        world.run(&ops)?;
    }

    /// `insecure`: many clients with one key, to and fro between the modes; nobody is ever locked, and in `insecure`
    /// everybody gets in.
    #[test]
    fn clients_of_one_key_never_lock_each_other(
        ops in many(prop_oneof![
            5 => anyone(),
            1 => prop_oneof![Just(Standard), Just(Insecure)].prop_map(Op::Mode),
            1 => (1..100_i64).prop_map(Op::Clock),
            1 => Just(Op::Revoke),
        ]),
    ) {
        let mut world = World::new(Server::host(Insecure, PLENTY), 3);
        for n in 0..3 {
            world.join(n)?;
        }
        for op in &ops {
            world.step(op)?;
            prop_assert!(!world.server.is_locked(), "locked by {:?}", op);
        }
        world.step(&Op::Mode(Insecure))?;
        for n in 0..3 {
            let outcome = world.join(n)?;
            prop_assert!(matches!(outcome, Outcome::Admitted(_)), "{:?}", outcome);
        }
        // Left for good: one stays, the others are turned away.
        world.step(&Op::Mode(Standard))?;
        let in_it: Vec<Outcome> = (0..3).map(|n| world.join(n)).collect::<Result<_, _>>()?;
        prop_assert_eq!(in_it.iter().filter(|o| matches!(o, Outcome::Admitted(_))).count(), 1);
        prop_assert_eq!(in_it.iter().filter(|o| **o == Outcome::Denied(Code::SharedToken)).count(), 2);
        prop_assert!(!world.server.is_locked());
    }

    /// The same with restored backups, `insecure` throughout.
    #[test]
    fn clients_of_one_key_outlive_restored_backups(ops in many(prop_oneof![4 => anyone(), 2 => restores()])) {
        let mut world = World::new(Server::host(Insecure, PLENTY), 3);
        world.run(&ops)?;
        for n in 0..3 {
            let outcome = world.join(n)?;
            prop_assert!(matches!(outcome, Outcome::Admitted(_)), "{:?}", outcome);
        }
        world.step(&Op::Mode(Standard))?;
        let in_it: Vec<Outcome> = (0..3).map(|n| world.join(n)).collect::<Result<_, _>>()?;
        prop_assert_eq!(in_it.iter().filter(|o| matches!(o, Outcome::Admitted(_))).count(), 1, "{:?}", in_it);
        prop_assert!(!world.server.is_locked());
    }
}
