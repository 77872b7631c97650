//! What one history of the store says of a token: read from commits as they happen, never asked of the server.

use std::collections::BTreeSet;

use boundkey_keys::Thumbprint;
use boundkey_lifecycle::{Enrolment, LockInForce};
use boundkey_store::records::TokenRecord;
use boundkey_token::RecoveryMode;
use time::OffsetDateTime;

use super::{Attempt, Knowledge, Label};

#[derive(Debug, Clone, Default)]
pub(in crate::sim) struct View {
    pub(super) uid: [u8; 16],
    pub(in crate::sim) token: Option<TokenRecord>,
    pub(in crate::sim) enrolment: Enrolment,
    pub(in crate::sim) locks: Vec<LockInForce>,
    /// The secret that the administrator gave out last.
    pub(in crate::sim) secret: Option<String>,
    /// Keys that were replaced.
    pub(super) dead: BTreeSet<Thumbprint>,
    /// Attempts that advanced the lineage since an administrator last opened another way for them.
    pub(super) advanced: BTreeSet<Attempt>,
    /// Generations in which somebody registered.
    pub(super) registered: BTreeSet<u32>,
    /// A resync grant that nobody used yet.
    pub(super) granted: bool,
}

impl View {
    pub(super) fn label(&self) -> Option<Label> {
        self.enrolment.last_state_id.map(|id| id.0)
    }

    pub(in crate::sim) fn mode(&self) -> RecoveryMode {
        self.token.as_ref().map_or(RecoveryMode::Standard, |t| t.token.spec.bound_keypair.recovery.mode)
    }

    pub(in crate::sim) fn is_bot(&self) -> bool {
        self.token.as_ref().is_some_and(|t| t.token.spec.roles.is_bot())
    }

    pub(in crate::sim) fn limit(&self) -> u32 {
        let spec = self.token.as_ref().map_or(1, |t| t.token.spec.bound_keypair.recovery.limit);
        spec.max(self.enrolment.granted_limit)
    }

    pub(in crate::sim) fn is_expired(&self, now: OffsetDateTime) -> bool {
        self.token.as_ref().and_then(|t| t.token.expires).is_some_and(|end| end <= now)
    }

    pub(in crate::sim) fn has_lock(&self, now: OffsetDateTime) -> bool {
        self.locks_in_force(now).next().is_some()
    }

    pub(in crate::sim) fn locks_in_force(&self, now: OffsetDateTime) -> impl Iterator<Item = &LockInForce> {
        self.locks.iter().filter(move |lock| lock.expires.is_none_or(|end| end > now))
    }

    /// Unbound: who holds the initial key or the secret in force may.
    pub(super) fn may_register(&self, knows: &Knowledge) -> bool {
        let initial = self
            .token
            .as_ref()
            .and_then(|t| t.token.spec.bound_keypair.onboarding.initial_public_key.as_ref());
        let initial =
            initial.map(|key| key.thumbprint()).filter(|key| !self.enrolment.secret.void_keys.contains(key));
        match initial {
            Some(key) => knows.keys.contains(&key),
            None => self.secret.is_some() && self.secret == knows.secret,
        }
    }
}
