//! Crash points, enumerated: every point of a ceremony at which a process may die or a message be lost is tried, once
//! alone and once together with every later one.

use std::collections::BTreeMap;

use boundkey_api::VerbRequest;
use boundkey_token::RecoveryMode;

use super::clock::{DAY, HOUR, MINUTE, SECOND};
use super::hub::Point;
use super::plan::{Onboard, TokenPlan};
use super::world::World;

/// The one machine.
const MACHINE: usize = 0;

/// A join of some kind, up to the machine's being in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ceremony {
    /// By secret.
    Register,
    /// By a preregistered key.
    RegisterByKey,
    /// By a preregistered key that has to be replaced at once.
    RegisterAndRotate,
    /// Within the certificates' life.
    Renew,
    /// As a rotation was asked for.
    RenewAndRotate,
    /// After expiry and grace.
    Recover,
    /// The same, as a rotation was asked for.
    RecoverAndRotate,
    /// After a resync grant, by a machine that was reverted to a snapshot.
    Resync,
    /// The same, and the key is replaced.
    ResyncAndRotate,
}

impl Ceremony {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::Register,
        Self::RegisterByKey,
        Self::RegisterAndRotate,
        Self::Renew,
        Self::RenewAndRotate,
        Self::Recover,
        Self::RecoverAndRotate,
        Self::Resync,
        Self::ResyncAndRotate,
    ];

    /// A world in which the next thing to happen is this ceremony.
    fn prepare(self) -> Result<World, String> {
        let onboard = match self {
            Self::RegisterByKey | Self::RegisterAndRotate => Onboard::Key,
            _ => Onboard::Secret,
        };
        let mut plan = TokenPlan::plain(onboard, RecoveryMode::Standard, 2);
        if self == Self::RegisterAndRotate {
            plan.token.spec.bound_keypair.rotate_after = Some(super::clock::START);
        }
        let mut world = World::with_tokens(1, vec![plan], 2, false);
        world.actors[MACHINE].lives = false;
        if matches!(self, Self::Register | Self::RegisterByKey | Self::RegisterAndRotate) {
            world.process_dies(MACHINE, 0);
            return Ok(world);
        }
        world.must_join(MACHINE)?;
        match self {
            Self::Renew | Self::RenewAndRotate => world.pass(HOUR),
            Self::Recover | Self::RecoverAndRotate => world.pass(40 * DAY),
            _ => {
                world.snapshot(MACHINE);
                world.must_join(MACHINE)?;
                world.revert(MACHINE, 0);
                if world.must_join(MACHINE).is_ok() {
                    return Err("a reverted snapshot was let in".to_owned());
                }
                let request = VerbRequest { keep_key: self == Self::Resync, ..VerbRequest::default() };
                world.verb("resync", 0, request);
                world.pass(MINUTE);
            }
        }
        if matches!(self, Self::RenewAndRotate | Self::RecoverAndRotate) {
            world.verb("rotate", 0, VerbRequest::default());
            world.pass(MINUTE);
        }
        Ok(world)
    }

    fn counts(self) -> bool {
        !matches!(self, Self::Renew | Self::RenewAndRotate | Self::Resync | Self::ResyncAndRotate)
    }

    /// The ceremony with cuts at these points (by their number); the points that were reached until the machine was in.
    ///
    /// # Errors
    /// A broken promise.
    pub fn cut(self, at: &[usize]) -> Result<Vec<Point>, String> {
        let mut world = self.prepare()?;
        let name = world.tokens[0].name.clone();
        let before = world.judge.view(&name).map(|view| view.enrolment.clone()).unwrap_or_default();
        {
            let mut hub = world.hub.lock();
            hub.cuts.on = true;
            hub.cuts.at = at.to_vec();
        }
        world.actors[MACHINE].lives = true;
        world.ended.clear();
        world.start_join(MACHINE);
        let patience = world.time() + HOUR;
        while !matches!(world.ended.get(&MACHINE), Some(Ok(()))) {
            if let Some(Err(code)) = world.ended.get(&MACHINE)
                && !code.is_empty()
            {
                return Err(format!("the machine is refused `{code}`"));
            }
            if let Some(fault) = world.fault.take() {
                return Err(fault);
            }
            if world.time() > patience || !world.one_event() {
                return Err("the machine is not in after an hour".to_owned());
            }
        }
        let reached = {
            let mut hub = world.hub.lock();
            hub.cuts.on = false;
            std::mem::take(&mut hub.cuts.reached)
        };
        let after = world.judge.view(&name).map(|view| view.enrolment.clone()).unwrap_or_default();
        let (joins, recoveries) =
            (after.sequence - before.sequence, after.recovery_count - before.recovery_count);
        // One for each attempt: the one that was cut, and at most one more if its result was stored just then.
        if !(1..=1 + at.len() as u64).contains(&joins) {
            return Err(format!("{joins} joins with {} cuts", at.len()));
        }
        if recoveries != u32::from(self.counts()) {
            return Err(format!("{recoveries} recoveries were counted"));
        }
        world.actors[MACHINE].lives = false;
        world.must_join(MACHINE).map_err(|fault| format!("in, and then: {fault}"))?;
        world.pass(2 * MINUTE);
        match world.fault.take() {
            Some(fault) => Err(fault),
            None => Ok(reached),
        }
    }
}

/// What was enumerated of a ceremony.
#[derive(Debug, Clone)]
pub struct CutReport {
    /// How often each kind of point is reached when nothing is cut.
    pub points: BTreeMap<Point, usize>,
    /// Runs with one cut.
    pub once: usize,
    /// Runs with two.
    pub twice: usize,
}

/// Every point of the ceremony, cut once; `twice`: also with every point that is reached after it.
///
/// # Errors
/// The cuts and the broken promise.
pub fn cut_everywhere(ceremony: Ceremony, twice: bool) -> Result<CutReport, String> {
    let told = |at: &[usize], fault: String| format!("{ceremony:?}, cut at {at:?}: {fault}");
    let undisturbed = ceremony.cut(&[]).map_err(|fault| told(&[], fault))?;
    let mut report = CutReport { points: BTreeMap::new(), once: 0, twice: 0 };
    for point in &undisturbed {
        *report.points.entry(*point).or_default() += 1;
    }
    for first in 0..undisturbed.len() {
        let reached = ceremony.cut(&[first]).map_err(|fault| told(&[first], fault))?;
        report.once += 1;
        if twice {
            for second in first + 1..reached.len() {
                ceremony.cut(&[first, second]).map_err(|fault| told(&[first, second], fault))?;
                report.twice += 1;
            }
        }
    }
    Ok(report)
}

impl World {
    fn pass(&mut self, time: super::clock::Micros) {
        let until = self.time() + time;
        self.run_until(until);
    }

    /// One join, undisturbed.
    fn must_join(&mut self, actor: usize) -> Result<(), String> {
        self.pass(SECOND);
        match self.joins_now(actor) {
            Some(outcome) => outcome,
            None => Err(self.fault.take().unwrap_or_default()),
        }
    }
}
