//! What the agent does beside its joins, and tries again by itself when it fails.

use std::time::Duration;

use boundkey_keys::Entropy;

use crate::backoff::{Backoff, Setback};
use crate::schedule::Deadline;

/// The shortest and the longest pause between two tries of one chore.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10 * 60));

/// One thing to do: it is done, or due again at some time.
#[derive(Debug)]
pub(super) struct Chore {
    backoff: Backoff,
    due: Option<Deadline>,
}

impl Default for Chore {
    fn default() -> Self {
        Self { backoff: Backoff::new(PAUSES.0, PAUSES.1), due: None }
    }
}

impl Chore {
    /// Failed: due again after a pause, which is returned.
    pub(super) fn failed(&mut self, since_boot: Duration, entropy: &dyn Entropy) -> Duration {
        let wait = self.backoff.next(Setback::Transient(None), entropy);
        self.due = Some(Deadline::after(since_boot, wait));
        wait
    }

    /// There is something new to do, however often it failed before.
    pub(super) fn due_at(&mut self, since_boot: Duration) {
        *self = Self { due: Some(Deadline::after(since_boot, Duration::ZERO)), ..Self::default() };
    }

    pub(super) fn done(&mut self) {
        *self = Self::default();
    }

    fn is_due(&self, since_boot: Duration) -> bool {
        self.due.is_some_and(|due| due.remaining(since_boot).is_zero())
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Chores {
    /// Writing `DATA_DIR/identity`.
    pub(super) identity: Chore,
    /// Fetching the list of revoked keys.
    pub(super) revoked_keys: Chore,
    /// Writing each output, and running its reload command; in the order of the configuration.
    pub(super) outputs: Vec<Chore>,
}

/// Which chores are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// There is something new: all of them.
    All,
    /// Those that failed and whose pause is over by this time.
    DueBy(Duration),
}

impl Which {
    pub(super) fn means(self, chore: &Chore) -> bool {
        match self {
            Self::All => true,
            Self::DueBy(since_boot) => chore.is_due(since_boot),
        }
    }
}

impl Chores {
    pub(super) fn any_due(&self, since_boot: Duration) -> bool {
        self.next().is_some_and(|due| due.remaining(since_boot).is_zero())
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Deadline> {
        let dues =
            self.outputs.iter().chain([&self.identity, &self.revoked_keys]).filter_map(|chore| chore.due);
        dues.min_by_key(|due| due.remaining(Duration::ZERO))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Zeros;
    impl Entropy for Zeros {
        fn fill(&self, out: &mut [u8]) {
            out.fill(0xff);
        }
    }

    #[test]
    fn each_chore_waits_longer_from_failure_to_failure_and_by_itself() {
        let mut chores = Chores { outputs: vec![Chore::default(), Chore::default()], ..Chores::default() };
        assert_eq!(chores.next(), None);
        let now = Duration::from_secs(1000);
        let waits: Vec<u64> =
            (0..8).map(|_| chores.outputs[0].failed(now, &Zeros).as_millis().try_into().unwrap()).collect();
        assert_eq!(waits, [3000, 9000, 27_000, 81_000, 243_000, 600_000, 600_000, 600_000]);
        assert_eq!(chores.outputs[1].failed(now, &Zeros), Duration::from_secs(3));
        assert_eq!(chores.next(), Some(Deadline::after(now, Duration::from_secs(3))));
        let which = Which::DueBy(now + Duration::from_secs(3));
        assert!(which.means(&chores.outputs[1]) && !which.means(&chores.outputs[0]));
        assert!(!which.means(&chores.identity), "what did not fail is not due");
        chores.outputs[1].done();
        assert!(!Which::DueBy(Duration::MAX).means(&chores.outputs[1]));
        assert_eq!(chores.outputs[1].failed(now, &Zeros), Duration::from_secs(3), "it begins anew");
    }
}
