//! Where random bytes come from.

use boundkey_keys::Entropy;
use ring::rand::{SecureRandom, SystemRandom};

/// The operating system's randomness, by ring.
#[derive(Debug, Clone)]
pub struct SystemEntropy(SystemRandom);

impl SystemEntropy {
    /// The operating system's randomness.
    pub fn new() -> Self {
        Self(SystemRandom::new())
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, out: &mut [u8]) {
        self.0.fill(out).expect("the operating system gives random bytes once it has booted");
    }
}

impl Default for SystemEntropy {
    fn default() -> Self {
        Self::new()
    }
}
