//! One attack: the measurements before it, during it and after it.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use super::honest::{self, Waits};
use super::{Attack, Effort, Stage, Target};
use crate::machine::Machine;
use crate::meter::{processor_time, resident};

/// How honest ones work.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Joins under way at a time.
    pub lanes: usize,
    /// Between two of one lane.
    pub pause: Duration,
    /// A join or a look that takes longer has failed.
    pub patience: Duration,
}

/// How long and beside whom.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Lines of `server.yaml`.
    pub config: String,
    /// Honest machines, which take turns.
    pub machines: usize,
    /// How they work.
    pub pace: Pace,
    /// As long is measured before the attack.
    pub before: Duration,
    /// As long is measured once the attacker has all that he wants.
    pub during: Duration,
    /// As long he is given to get it.
    pub warm_up: Duration,
}

/// What it came to.
#[derive(Debug, Clone)]
pub struct Measured {
    /// The attack.
    pub name: String,
    /// Connections that the attacker made, requests, and connections that were ended.
    pub effort: (u64, u64, u64),
    /// Joins of the attacker's that were admitted.
    pub admitted: u64,
    /// What the attacker says of it.
    pub note: String,
    /// Joins of honest machines before.
    pub before: Waits,
    /// And during the attack.
    pub during: Waits,
    /// Looks at `status` during the attack.
    pub status: Waits,
    /// The most memory that the server had resident, in bytes.
    pub resident: usize,
    /// The same before the attack.
    pub resident_before: usize,
    /// Of one processor, during the attack.
    pub processor: f64,
    /// Rows that the audit log has more, without those of honest joins.
    pub events: u64,
    /// Bytes that the store has more.
    pub bytes: u64,
}

/// Runs one attack against a server of its own.
///
/// # Panics
/// If the server does not start or does not stop: that no attack may come to.
pub fn run(attack: &mut dyn Attack, settings: &Settings) -> Measured {
    let mut stage = Stage::start("attack", &settings.config);
    let machines = Machine::enrol(&stage.cluster, "honest", settings.machines);
    attack.arm(&mut stage);
    // Once for each, so that what is measured is a renewal.
    let (machines, _) = honest_for(machines, settings, settings.before);
    let (events, bytes) = stage.weigh();
    let (machines, before) = honest_for(machines, settings, settings.before);
    let pid = stage.cluster.server().id();
    let resident_before = resident(pid);
    let target = Target::of(&stage.cluster);
    let socket = stage.cluster.data_dir().join("admin.sock");
    let over = Arc::new(AtomicBool::new(false));
    let (joining, looking) = (Arc::clone(&over), Arc::clone(&over));
    let pace = settings.pace;
    let joins = std::thread::spawn(move || honest::join(machines, pace, &joining).1);
    let looks = std::thread::spawn(move || honest::look(&socket, pace, &looking));
    let (started, used) = (Instant::now(), processor_time(pid));
    let effort = attack_for(attack, target, settings);
    let processor = (processor_time(pid) - used).as_secs_f64() / started.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    let during = joins.join().expect("the machines' thread ends");
    let status = looks.join().expect("the administrator's thread ends");
    let resident = resident(pid);
    let (events_after, bytes_after) = stage.weigh();
    let honest = u64::try_from(before.count() + during.count()).unwrap_or(u64::MAX);
    Measured {
        name: attack.name(),
        effort: (effort.connections.get(), effort.requests.get(), effort.ended.get()),
        admitted: effort.admitted.get(),
        note: effort.note.take(),
        before,
        during,
        status,
        resident,
        resident_before,
        processor,
        events: events_after.saturating_sub(events).saturating_sub(honest),
        bytes: bytes_after.saturating_sub(bytes),
    }
}

fn honest_for(machines: Vec<Machine>, settings: &Settings, time: Duration) -> (Vec<Machine>, Waits) {
    let over = Arc::new(AtomicBool::new(false));
    let (joining, pace) = (Arc::clone(&over), settings.pace);
    let joins = std::thread::spawn(move || honest::join(machines, pace, &joining));
    std::thread::sleep(time);
    over.store(true, Ordering::Relaxed);
    joins.join().expect("the machines' thread ends")
}

/// Until the time is up; with him all his connections go.
fn attack_for(attack: &dyn Attack, target: Target, settings: &Settings) -> Effort {
    let effort = Rc::new(Effort::default());
    block_on(LocalSet::new().run_until(async {
        let measured = async {
            let ready = async {
                while !effort.ready.get() {
                    sleep(Duration::from_millis(10)).await;
                }
            };
            drop(timeout(settings.warm_up, ready).await);
            sleep(settings.during).await;
        };
        tokio::select! {
            () = attack.run(target, Rc::clone(&effort)) => {}
            () = measured => {}
        }
    }));
    Rc::into_inner(effort).expect("whoever counted is gone")
}

/// On a runtime of this thread alone.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(future)
}
