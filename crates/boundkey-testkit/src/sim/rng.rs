//! The one seed of a world: streams of numbers that depend on nothing else, and the randomness that is made of them.

use std::sync::atomic::{AtomicU64, Ordering};

use boundkey_keys::Entropy;

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A stream of numbers.
#[derive(Debug, Clone)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(mix(seed.wrapping_add(GOLDEN)))
    }

    /// A stream of its own for a purpose: what else happens in the world does not move it, so that a scenario from
    /// which something was taken out goes on as before.
    pub(super) fn of(seed: u64, purpose: &[u64]) -> Self {
        Self::new(purpose.iter().fold(seed, |seed, part| mix(seed ^ part.wrapping_add(GOLDEN))))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// Uniform below `n`; 0 if `n` is 0.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        let scaled = (u128::from(self.next()) * u128::from(n)) >> 64;
        u64::try_from(scaled).unwrap_or(0)
    }

    /// An index below `n`; 0 if `n` is 0.
    pub(super) fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).unwrap_or(0)
    }

    /// True so many times in a thousand.
    pub(super) fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1000) < u64::from(per_mille)
    }
}

/// Random bytes of one machine or server.
#[derive(Debug)]
pub(super) struct SimEntropy(AtomicU64);

impl SimEntropy {
    pub(super) fn new(seed: u64, who: u64) -> Self {
        Self(AtomicU64::new(Rng::of(seed, &[0xe7, who]).0))
    }
}

impl Entropy for SimEntropy {
    fn fill(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let word = mix(self.0.fetch_add(GOLDEN, Ordering::Relaxed)).to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}
