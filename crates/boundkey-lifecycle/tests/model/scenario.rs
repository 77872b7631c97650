//! Which faults are possible, and how often; running one scenario.

use std::sync::atomic::Ordering;

use boundkey_token::RecoveryMode;
use stateright::{Checker, HasDiscoveries, Model, UniformChooser};

use crate::sanity::Sabotage;
use crate::world::{Lifecycle, SEEN};

/// How often each thing may still happen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    /// New attempts of the honest client, the second one, the thief.
    pub(crate) attempts: [u8; 3],
    /// The honest client offers a new key unasked.
    pub(crate) own_rotations: u8,
    pub(crate) steals: u8,
    pub(crate) backups: u8,
    pub(crate) restores: u8,
    pub(crate) clocks: u8,
    pub(crate) rotates: u8,
    pub(crate) resyncs: u8,
    pub(crate) revokes: u8,
    pub(crate) grants: u8,
    pub(crate) resets: u8,
    pub(crate) locks: u8,
    pub(crate) modes: u8,
}

/// Small worlds, each about one thing.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) mode: RecoveryMode,
    pub(crate) limit: u32,
    pub(crate) clients: u8,
    pub(crate) is_bot: bool,
    pub(crate) initial_key: Option<u8>,
    pub(crate) is_static: bool,
    pub(crate) thief_knows_secret: bool,
    pub(crate) backup_before_registration: bool,
    /// Nothing is lost, doubled or late.
    pub(crate) is_orderly: bool,
    /// The modes that an administrator changes to.
    pub(crate) modes: &'static [RecoveryMode],
    pub(crate) budget: Budget,
    pub(crate) sabotage: Option<Sabotage>,
}

impl Scenario {
    /// An honest client of a standard token with recoveries to spare.
    pub(crate) fn new(name: &'static str, budget: Budget) -> Self {
        Self {
            name,
            mode: RecoveryMode::Standard,
            limit: 1000,
            clients: 1,
            is_bot: false,
            initial_key: None,
            is_static: false,
            thief_knows_secret: false,
            backup_before_registration: false,
            is_orderly: false,
            modes: &[RecoveryMode::Standard, RecoveryMode::Relaxed, RecoveryMode::Insecure],
            budget,
            sabotage: None,
        }
    }

    /// Breadth first until the space is exhausted or as many states were looked at as asked for, then random walks.
    pub(crate) fn check(self) {
        let wanted = states();
        let name = self.name;
        let checker = Lifecycle::new(self.clone(), wanted)
            .checker()
            .finish_when(HasDiscoveries::Any)
            .spawn_bfs()
            .join();
        let seen = checker.model().seen.load(Ordering::Relaxed);
        report(&checker);
        let unique = checker.unique_state_count();
        let depth = checker.max_depth();
        let enough = checker.discoveries().contains_key(SEEN);
        let how = if enough { "and there are more" } else { "all there are" };
        assert!(enough || seen == unique, "{name}: {seen} of {unique} states were looked at");
        println!("{name}: {seen} states looked at, {how}, to depth {depth} ({unique} known)");
        drop(checker);

        let walks = Lifecycle::new(self, usize::MAX)
            .walking()
            .checker()
            .finish_when(HasDiscoveries::Any)
            .target_state_count(wanted / 8)
            .spawn_simulation(1, UniformChooser)
            .join();
        report(&walks);
        println!("{name}: {} more in random walks, to depth {}", walks.state_count(), walks.max_depth());
    }

    /// The properties that break first, if any do within so many states.
    pub(crate) fn first_broken(self, wanted: usize) -> Vec<&'static str> {
        let checker =
            Lifecycle::new(self, wanted).checker().finish_when(HasDiscoveries::Any).spawn_bfs().join();
        checker.discoveries().keys().copied().filter(|name| *name != SEEN).collect()
    }
}

/// Fails with the whole way to what broke.
fn report(checker: &impl Checker<Lifecycle>) {
    let broken = checker.discoveries().into_iter().find(|(name, _)| *name != SEEN);
    if let Some((property, path)) = broken {
        let name = checker.model().scenario.name;
        let world = checker.model().tell(path.last_state());
        let way: Vec<String> = path.into_actions().iter().map(|action| format!("  {action:?}")).collect();
        panic!("{name}: broken: {property}\n{}\n{world}", way.join("\n"));
    }
}

/// `BOUNDKEY_MODEL_STATES`, or few enough for an unoptimized build.
fn states() -> usize {
    let asked = std::env::var("BOUNDKEY_MODEL_STATES").ok();
    asked.map_or(2_000, |n| n.parse().expect("BOUNDKEY_MODEL_STATES is a number"))
}
