//! What one history of the store says of a token: read from commits as they happen, never asked of the server.

use std::collections::{BTreeMap, BTreeSet};

use boundkey_keys::Thumbprint;
use boundkey_lifecycle::{Enrolment, Identity, LockInForce};
use boundkey_store::records::TokenRecord;
use boundkey_token::RecoveryMode;
use time::OffsetDateTime;

use super::{Attempt, Knowledge, Label};

/// What a history of the store has come to; copied with each backup.
#[derive(Debug, Clone, Default)]
pub(in crate::sim) struct Views {
    pub(in crate::sim) tokens: BTreeMap<String, View>,
    /// The locks on a host, bot or instance, by target as in the key of their index (`host/ID`).
    pub(super) locks: BTreeMap<String, Vec<LockInForce>>,
}

impl Views {
    /// The locks on this token, on the host or instance that its record names, and on its bot.
    pub(super) fn locks_on(&self, token: &str, now: OffsetDateTime) -> impl Iterator<Item = &LockInForce> {
        let view = self.tokens.get(token);
        let identity = view.and_then(|view| view.enrolment.identity.as_ref()).map(target_of);
        let bot = view.and_then(View::bot).map(|bot| format!("bot/{bot}"));
        let others = [identity, bot].into_iter().flatten().filter_map(|target| self.locks.get(&target));
        let locks = view.into_iter().map(|view| &view.locks).chain(others).flatten();
        locks.filter(move |lock| lock.expires.is_none_or(|end| end > now))
    }

    /// The same, and those that were set for its machine when it had another identity: it may still show that one, as
    /// may each of many clients.
    pub(in crate::sim) fn locks_for(
        &self,
        token: &str,
        now: OffsetDateTime,
    ) -> impl Iterator<Item = &LockInForce> {
        let set_for = format!("-{token}");
        let earlier = self.locks.values().flatten().filter(move |lock| lock.id.ends_with(&set_for));
        let earlier = earlier.filter(move |lock| lock.expires.is_none_or(|end| end > now));
        self.locks_on(token, now).chain(earlier)
    }
}

/// As in the key of the index of its locks.
pub(super) fn target_of(identity: &Identity) -> String {
    format!("{}/{}", if identity.is_bot() { "instance" } else { "host" }, identity.id())
}

/// One token.
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

    pub(super) fn bot(&self) -> Option<&str> {
        self.token.as_ref().and_then(|t| t.token.spec.bot_name.as_ref()).map(|name| name.as_str())
    }

    /// Several clients share it, or did.
    pub(super) fn is_one_of_many(&self) -> bool {
        let e = &self.enrolment;
        e.shared || self.mode() == RecoveryMode::Insecure || e.adoption.is_some()
    }

    /// Nobody registers by secret any more.
    pub(in crate::sim) fn registration_ended(&self, now: OffsetDateTime) -> bool {
        let spec = self.token.as_ref().map(|t| &t.token.spec.bound_keypair.onboarding);
        !self.enrolment.is_bound() && spec.and_then(|o| o.must_register_before).is_some_and(|end| end <= now)
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
            // (A machine that was given another since offers that one.)
            Some(key) => knows.keys.contains(&key) && knows.disk.bound.is_none_or(|bound| bound == key),
            None => self.secret.is_some() && self.secret == knows.secret,
        }
    }
}
