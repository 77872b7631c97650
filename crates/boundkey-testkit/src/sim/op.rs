//! What happens to a world: a list of steps, generated from the seed, which can be printed, read, and shortened.
//!
//! Machines live by themselves (they join, renew, back off and restart as agents do); steps are what disturbs them. Every
//! step makes sense in every world, so that any part of a list is a list.

use std::fmt;
use std::str::FromStr;

use super::clock::{DAY, HOUR, MINUTE, Micros, SECOND};
use super::rng::Rng;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $weight:literal;)+) => {
        /// What a step does. `a` mostly picks a machine or token, `b` how.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind { $($(#[$doc])* $name,)+ }

        impl Kind {
            const ALL: &'static [(Kind, u64)] = &[$((Kind::$name, $weight),)+];

            /// As it is printed.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }

        impl FromStr for Kind {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok(Self::$name),)+
                    other => Err(format!("`{other}` is no kind of step")),
                }
            }
        }
    };
}

kinds! {
    /// Nothing; time passes.
    Wait = "wait", 14;
    /// The machine's process dies now.
    Crash = "crash", 8;
    /// The machine's process dies before or after its next save but so many.
    CrashAtSave = "crash_at_save", 8;
    /// A replica dies and comes back.
    ServerCrash = "server_crash", 6;
    /// All replicas are away for a while.
    Outage = "outage", 3;
    /// How bad the network is.
    Network = "network", 6;
    /// How often the store fails.
    StoreFaults = "store_faults", 2;
    /// The machine is off for a while.
    Offline = "offline", 4;
    /// The clock of all replicas is stepped (or set right).
    StepServers = "step_servers", 3;
    /// A replica's clock is off by a little.
    SkewReplica = "skew_replica", 2;
    /// The machine's clock is stepped.
    StepMachine = "step_machine", 3;
    /// A backup of the store.
    Backup = "backup", 4;
    /// The store is restored from a backup, or goes forth to an abandoned branch.
    Restore = "restore", 3;
    /// A snapshot of the machine's disk.
    Snapshot = "snapshot", 2;
    /// The machine is reverted to a snapshot.
    Revert = "revert", 1;
    /// A thief copies the machine's disk.
    Steal = "steal", 3;
    /// A thief joins with what was copied.
    Thief = "thief", 4;
    /// A thief with the registration secret joins.
    StealSecret = "steal_secret", 1;
    /// A lock by hand.
    Lock = "lock", 2;
    /// A lock by hand on the token's host or instance, or on its bot.
    LockIdentity = "lock_identity", 1;
    /// The locks by hand go.
    Unlock = "unlock", 3;
    /// A rotation is asked for.
    Rotate = "rotate", 5;
    /// The spec asks for a rotation.
    RotateAfter = "rotate_after", 2;
    /// The certificates are revoked.
    Revoke = "revoke", 2;
    /// A resync grant.
    Resync = "resync", 1;
    /// More recoveries.
    Grant = "grant", 2;
    /// Unbinds; the machine is given the new secret.
    Reset = "reset", 1;
    /// Another recovery mode.
    Mode = "mode", 1;
    /// Another recovery limit.
    Limit = "limit", 1;
    /// The token expires, or is revived.
    Expire = "expire", 1;
    /// A time until which a machine has to register, or none.
    Deadline = "deadline", 1;
    /// The token is removed; or, if it is, created again for the same machine.
    Remove = "remove", 1;
    /// All replicas get a new master key, and keep the old ones.
    MasterKey = "master_key", 1;
    /// The same spec is applied again.
    Reapply = "reapply", 3;
    /// The machine is told to join now.
    Renew = "renew", 10;
    /// The administrator does what the docs say, where something is locked or used up.
    Heal = "heal", 4;
}

/// One step, and how long the world goes on before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Virtual time before it, in microseconds.
    pub after: Micros,
    /// What it does.
    pub kind: Kind,
    /// Mostly which machine or token.
    pub a: u64,
    /// Mostly how.
    pub b: u64,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.after, self.kind.as_str(), self.a, self.b)
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let mut words = line.split_whitespace();
        let mut word = |what: &str| words.next().ok_or_else(|| format!("`{line}` lacks its {what}"));
        let number = |text: &str| text.parse::<u64>().map_err(|e| format!("`{line}`: {e}"));
        let after = word("time")?.parse().map_err(|e| format!("`{line}`: {e}"))?;
        let kind = word("kind")?.parse()?;
        Ok(Self { after, kind, a: number(word("first number")?)?, b: number(word("second number")?)? })
    }
}

/// So many steps, drawn from a seed.
pub(super) fn generate(seed: u64, length: usize) -> Vec<Step> {
    let mut rng = Rng::of(seed, &[0x0b]);
    // Some worlds know no clones, no administrator or no restores, so that what is left is seen undisturbed.
    let without_theft = rng.chance(400);
    let without_admin = rng.chance(300);
    let without_restore = rng.chance(400);
    let total: u64 = Kind::ALL.iter().map(|(_, weight)| weight).sum();
    let mut steps = Vec::with_capacity(length);
    while steps.len() < length {
        let kind = pick(rng.below(total));
        let skip = match kind {
            Kind::Steal | Kind::Thief | Kind::StealSecret | Kind::Revert => without_theft,
            Kind::Lock
            | Kind::LockIdentity
            | Kind::Revoke
            | Kind::Reset
            | Kind::Remove
            | Kind::Mode
            | Kind::Resync
            | Kind::Deadline
            | Kind::Expire => without_admin,
            Kind::Restore => without_restore,
            _ => false,
        };
        let after = gap(&mut rng);
        let step = Step { after, kind, a: rng.below(1 << 20), b: rng.below(1 << 20) };
        if !skip {
            steps.push(step);
        }
    }
    steps
}

fn pick(mut ticket: u64) -> Kind {
    for (kind, weight) in Kind::ALL {
        match ticket.checked_sub(*weight) {
            Some(rest) => ticket = rest,
            None => return *kind,
        }
    }
    Kind::Wait
}

/// Mostly close to the step before, so that they meet in flight; sometimes far enough to expire things.
fn gap(rng: &mut Rng) -> Micros {
    let unit = match rng.below(100) {
        0..30 => 20_000,
        30..55 => SECOND,
        55..70 => 20 * SECOND,
        70..80 => 10 * MINUTE,
        80..97 => 4 * HOUR,
        97..99 => DAY,
        _ => 12 * DAY,
    };
    let draw = i64::try_from(rng.below(3 * 1_000_000)).unwrap_or(0);
    unit / 1_000_000 * draw + unit % 1_000_000 * draw / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_reads_back_as_it_was_printed() {
        for step in generate(7, 500) {
            assert_eq!(step.to_string().parse(), Ok(step));
        }
    }

    #[test]
    fn a_line_that_is_no_step_is_refused_with_what_it_lacks() {
        assert_eq!("5 wait 1".parse::<Step>(), Err("`5 wait 1` lacks its second number".to_owned()));
        assert_eq!("5 dance 1 2".parse::<Step>(), Err("`dance` is no kind of step".to_owned()));
    }
}
