//! What one history of the store says of a token: read from commits as they happen, never asked of the server.

use std::collections::{BTreeMap, BTreeSet};

use boundkey_keys::Thumbprint;
use boundkey_lifecycle::{Enrolment, Identity, IssuedCertificate, LockInForce};
use boundkey_store::records::TokenRecord;
use boundkey_token::RecoveryMode;
use time::OffsetDateTime;

use super::{Attempt, Knowledge, Label};
use crate::sim::hub::DiskView;

/// What a history of the store has come to; copied with each backup.
#[derive(Debug, Clone, Default)]
pub(in crate::sim) struct Views {
    pub(in crate::sim) tokens: BTreeMap<String, View>,
    /// The locks on a host, bot or instance, by target as in the key of their index (`host/ID`).
    pub(super) locks: BTreeMap<String, Vec<LockInForce>>,
    /// What each client of a shared token holds, by the key of its record; those that were revoked together are not in it.
    pub(super) clients: BTreeMap<String, Vec<IssuedCertificate>>,
    /// Certificates of clients that were revoked together, by the key under which they have to be listed in the end.
    pub(in crate::sim) owed: BTreeMap<String, IssuedCertificate>,
}

impl Views {
    /// The locks in force on this token, on its bot, and on these hosts or instances.
    pub(super) fn locks_on<'a>(
        &'a self,
        token: &str,
        identities: &'a BTreeSet<String>,
        now: OffsetDateTime,
    ) -> impl Iterator<Item = &'a LockInForce> {
        let view = self.tokens.get(token);
        let bot = view.and_then(View::bot).map(|bot| format!("bot/{bot}"));
        let bot = bot.and_then(|bot| self.locks.get(&bot));
        let others = identities.iter().filter_map(|target| self.locks.get(target)).chain(bot);
        let locks = view.into_iter().map(|view| &view.locks).chain(others).flatten();
        locks.filter(move |lock| lock.expires.is_none_or(|end| end > now))
    }

    /// What an administrator finds who looks for the locks on this token, on its bot, and on whatever hosts or instances
    /// its machines were.
    pub(in crate::sim) fn locks_for(
        &self,
        token: &str,
        now: OffsetDateTime,
    ) -> impl Iterator<Item = &LockInForce> {
        let set_for = format!("-{token}");
        let view = self.tokens.get(token);
        let bot = view.and_then(View::bot).and_then(|bot| self.locks.get(&format!("bot/{bot}")));
        let locks = view.into_iter().map(|view| &view.locks).chain(bot).flatten();
        let others = self.locks.values().flatten().filter(move |lock| lock.id.ends_with(&set_for));
        locks.chain(others).filter(move |lock| lock.expires.is_none_or(|end| end > now))
    }
}

/// As in the key of the index of its locks.
pub(super) fn target_of(identity: &Identity) -> String {
    format!("{}/{}", if identity.is_bot() { "instance" } else { "host" }, identity.id())
}

/// The client that a shared lineage was narrowed to.
#[derive(Debug, Clone)]
pub(super) struct Adopted {
    /// As which client it came.
    pub(super) identity: String,
    /// Of the join that adopted it.
    pub(super) sequence: u64,
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
    /// Since the lineage was shared.
    pub(super) adopted: Option<Adopted>,
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

    /// Several clients share it, or it waits for the first of them to come back.
    pub(in crate::sim) fn is_one_of_many(&self) -> bool {
        self.enrolment.shared || self.mode() == RecoveryMode::Insecure
    }

    /// Does who has this disk prove the bound key?
    pub(super) fn is_key_of(&self, disk: &DiskView) -> bool {
        let bound = self.enrolment.bound_public_key.as_ref().map(|key| key.thumbprint());
        bound.is_some() && [disk.bound, disk.new].contains(&bound)
    }

    /// Nobody registers by secret any more.
    pub(in crate::sim) fn registration_ended(&self, now: OffsetDateTime) -> bool {
        let spec = self.token.as_ref().map(|t| &t.token.spec.bound_keypair.onboarding);
        !self.enrolment.is_bound() && spec.and_then(|o| o.must_register_before).is_some_and(|end| end <= now)
    }

    /// Unbound: who holds the initial key or the secret in force may.
    pub(super) fn may_register(&self, knows: &Knowledge) -> bool {
        let Some(record) = &self.token else { return false };
        let initial = record.token.spec.bound_keypair.onboarding.initial_public_key.as_ref();
        let initial =
            initial.map(|key| key.thumbprint()).filter(|key| !self.enrolment.secret.void_keys.contains(key));
        match initial {
            // (A machine that was given another since offers that one.)
            Some(key) => knows.keys.contains(&key) && knows.disk.bound.is_none_or(|bound| bound == key),
            None => self.secret.is_some() && self.secret == knows.secret,
        }
    }
}
