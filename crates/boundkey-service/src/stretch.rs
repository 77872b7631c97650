//! Deriving the proof key of a registration secret: slow on purpose (600,000 rounds) for secrets that people made.

use async_trait::async_trait;
use boundkey_keys::{Secret, secret_proof_key};
use zeroize::Zeroizing;

/// Where that work is done: in place (simulations, tests), or beside the threads that answer requests.
#[async_trait]
pub trait Stretch: Send + Sync {
    /// `secret_proof_key(secret, cluster, token)`.
    async fn proof_key(&self, secret: Secret, cluster: &str, token: &str) -> Zeroizing<[u8; 32]>;
}

/// In place; the future is ready at once, so that it needs no runtime.
#[derive(Debug, Clone, Copy, Default)]
pub struct InPlace;

#[async_trait]
impl Stretch for InPlace {
    async fn proof_key(&self, secret: Secret, cluster: &str, token: &str) -> Zeroizing<[u8; 32]> {
        secret_proof_key(&secret, cluster, token)
    }
}

/// On tokio's threads for blocking work, a few at a time.
#[derive(Debug)]
pub struct OnBlockingThreads {
    permits: tokio::sync::Semaphore,
}

impl OnBlockingThreads {
    /// At most `parallel` derivations at a time.
    pub fn new(parallel: usize) -> Self {
        Self { permits: tokio::sync::Semaphore::new(parallel.max(1)) }
    }
}

#[async_trait]
impl Stretch for OnBlockingThreads {
    async fn proof_key(&self, secret: Secret, cluster: &str, token: &str) -> Zeroizing<[u8; 32]> {
        if secret.is_generated_form() {
            return secret_proof_key(&secret, cluster, token);
        }
        let _permit = self.permits.acquire().await.expect("the semaphore is never closed");
        let (cluster, token) = (cluster.to_owned(), token.to_owned());
        tokio::task::spawn_blocking(move || secret_proof_key(&secret, &cluster, &token))
            .await
            .expect("the derivation of a key neither panics nor is cancelled")
    }
}
