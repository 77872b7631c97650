//! A machine as the server sees it: an address, a waiting agent, and what it was promised.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use boundkey_client::{Backoff, Deadline, Setback};
use boundkey_keys::Entropy;
use boundkey_service::admission::Source;

/// Splitmix64: deterministic, and good enough to spread machines.
#[derive(Debug)]
pub(super) struct Mixed(AtomicU64);

impl Mixed {
    pub(super) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    pub(super) fn next(&self) -> u64 {
        let z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`.
    pub(super) fn below(&self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(super) fn up_to(&self, longest: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(longest.as_micros()).unwrap_or(u64::MAX) + 1))
    }
}

impl Entropy for Mixed {
    fn fill(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// One agent.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) source: Source,
    backoff: Backoff,
    pub(super) hostile: bool,
    /// Since when the machine wants to join and somebody is there.
    pub(super) came: Option<Duration>,
    pub(super) served: Option<Duration>,
    /// By when it was to be served, as it was told when it was first turned away.
    pub(super) promised: Option<Duration>,
    /// And when it was last turned away.
    pub(super) told: Option<Duration>,
    pub(super) turned_away: u32,
}

impl Machine {
    pub(super) fn honest(number: usize, networks: usize, dice: &Mixed) -> Self {
        // A tenth of all live behind one network, half of these behind one address.
        let (network, host) = match number % 20 {
            0 => (0, 1),
            1 => (0, 2 + dice.below(250)),
            _ => (1 + dice.below(networks as u64), 1 + dice.below(250)),
        };
        Self::at(address(10, network, host), false)
    }

    pub(super) fn hostile(dice: &Mixed) -> Self {
        Self::at(address(11, 0, 1 + dice.below(250)), true)
    }

    fn at(address: IpAddr, hostile: bool) -> Self {
        Self {
            source: Source::of(Some(address)),
            backoff: Backoff::standard(),
            hostile,
            came: None,
            served: None,
            promised: None,
            told: None,
            turned_away: 0,
        }
    }

    /// When it tries again after a failure, by the agent's own clockwork.
    pub(super) fn after_failure(&mut self, now: Duration, asked: Option<Duration>, dice: &Mixed) -> Duration {
        if self.hostile {
            return now + Duration::from_millis(50);
        }
        let wait = self.backoff.next(Setback::Transient(asked), dice);
        now + Deadline::after(now, wait).remaining(now)
    }
}

fn address(first: u8, network: u64, host: u64) -> IpAddr {
    let byte = |n: u64| u8::try_from(n % 256).unwrap_or(0);
    IpAddr::V4(Ipv4Addr::new(first, byte(network / 256), byte(network), byte(host)))
}
