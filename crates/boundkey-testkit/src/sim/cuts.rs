//! Crash points, enumerated: every point of a ceremony at which a process may die or a message be lost is tried, once
//! alone and once together with every later one.

mod ceremony;

use std::collections::{BTreeMap, BTreeSet};

use boundkey_store::Store as _;
pub use ceremony::Ceremony;
use ceremony::{Lives, Moves};

use super::clock::{HOUR, MINUTE, SECOND};
use super::hub::Point;
use super::server::at_once;
use super::world::World;

impl Ceremony {
    /// The ceremony with cuts at these points (by their number); the points that were reached until the machine was in.
    ///
    /// # Errors
    /// A broken promise.
    pub fn cut(self, at: &[usize]) -> Result<Vec<Point>, String> {
        let course = self.course();
        let machine = course.machine;
        let mut world = course.prepare()?;
        let name = world.tokens[0].name.clone();
        let before = world.judge.view(&name).map(|view| view.enrolment.clone()).unwrap_or_default();
        let (was, admitted) = (world.identity_of(machine), world.report.joins);
        {
            let mut hub = world.hub.lock();
            hub.cuts.on = true;
            hub.cuts.at = at.to_vec();
        }
        world.actors[machine].lives = true;
        world.ended.clear();
        world.start_join(machine);
        let patience = world.time() + HOUR;
        while !matches!(world.ended.get(&machine), Some(Ok(()))) {
            if let Some(Err(code)) = world.ended.get(&machine)
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
        let joins = world.report.joins - admitted;
        // One for each attempt: the one that was cut, and at most one more if its result was stored just then.
        if !(1..=1 + at.len() as u64).contains(&joins) {
            return Err(format!("{joins} joins with {} cuts", at.len()));
        }
        let moved = match course.moves {
            Moves::Each => joins,
            Moves::Once => 1,
            Moves::Not => 0,
        };
        if after.sequence - before.sequence != moved {
            let moved = after.sequence - before.sequence;
            return Err(format!("{joins} joins moved the lineage by {moved}"));
        }
        let recoveries = after.recovery_count - before.recovery_count;
        if recoveries != course.recoveries {
            return Err(format!("{recoveries} recoveries were counted"));
        }
        let is = world.identity_of(machine);
        world.actors[machine].lives = false;
        world.must_join(machine).map_err(|fault| format!("in, and then: {fault}"))?;
        let stayed = world.identity_of(machine);
        let right = match course.lives {
            Lives::First => was.is_none() && is.is_some(),
            Lives::On => was.is_some() && is == was,
            Lives::Anew => was.is_some() && is.is_some() && is != was,
        };
        if !right || stayed != is {
            return Err(format!("it was {was:?}, came in as {is:?} and renewed as {stayed:?}"));
        }
        if let Some(fellow) = course.leaves {
            world.must_be_refused(fellow, "shared_token")?;
            world.must_join(machine).map_err(|fault| format!("after its fellow was refused: {fault}"))?;
        }
        world.pass(2 * MINUTE);
        if let Some(fault) = world.fault.take() {
            return Err(fault);
        }
        world.sweep_all();
        if let Some(fault) = world.fault.take() {
            return Err(fault);
        }
        let instances = world.instances();
        if instances.len() != course.instances {
            return Err(format!("{instances:?} are left, not {} clients", course.instances));
        }
        Ok(reached)
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

    fn must_be_refused(&mut self, actor: usize, code: &str) -> Result<(), String> {
        match self.must_join(actor) {
            Err(refused) if refused == code => Ok(()),
            outcome => Err(format!("machine {actor} comes to {outcome:?}, not to `{code}`")),
        }
    }

    /// Who the machine's certificates say that it is.
    fn identity_of(&self, actor: usize) -> Option<String> {
        self.actors[actor].disk.load().ok()?.identity.map(|identity| identity.id)
    }

    /// The single clients of shared tokens.
    fn instances(&self) -> BTreeSet<String> {
        let now = boundkey_service::Clock::now(&*self.servers[0].clock);
        let page = at_once(self.store.range("instance/", None, usize::MAX, now));
        page.map(|page| page.entries.into_iter().map(|entry| entry.key).collect()).unwrap_or_default()
    }
}
