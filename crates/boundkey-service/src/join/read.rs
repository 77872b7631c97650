//! Everything that one decision depends on, read at one revision of the store.

use std::collections::HashMap;
use std::time::Duration;

use boundkey_keys::{Purpose, hmac_sha256};
use boundkey_lifecycle::{
    AttemptId, Enrolment, Identity, IssuedCertificate, LockInForce, StateEvidence, Uid, instance_of,
};
use boundkey_proto::Received;
use boundkey_store::records::{
    BotRecord, EnrolmentRecord, InstanceEntry, LockIndex, Record, RecordError, TokenRecord,
};
use boundkey_store::{Condition, Entry, keys};
use time::OffsetDateTime;

use crate::context::hex;
use crate::revocation::{Marks, Settled, is_one_of_many};
use crate::{Refusal, Service};

/// Token and enrolment name the rest: usually everything is known at first, or after them.
const ROUNDS: usize = 4;

pub(crate) struct Snapshot {
    /// The key of every record that was read, and the entry found there.
    entries: Vec<(String, Option<Entry>)>,
    pub(super) token: Option<TokenRecord>,
    /// Zeros if there is no such token.
    pub(super) uid: Uid,
    /// A fresh one, if there is none yet, or one left by a token of the same name that was removed.
    pub(super) enrolment: Enrolment,
    /// Of a shared lineage: whose record the decision needs.
    instance_of: Identity,
    pub(super) instance: Option<InstanceEntry>,
    /// The record of that client from before all were revoked. It counts for nothing; who writes over it lists what it holds.
    pub(super) void: Option<InstanceEntry>,
    /// What is revoked and on no list yet: who writes the enrolment lists it.
    pub(super) unlisted: Vec<IssuedCertificate>,
    pub(super) bot: Option<BotRecord>,
    pub(super) indexes: Vec<(String, LockIndex)>,
    /// The identity that a new lineage or instance would get.
    pub(super) fresh: Identity,
    /// How long the certificates of this join would live.
    pub(super) lifetime: Duration,
}

impl Snapshot {
    pub(super) async fn read(
        service: &Service,
        received: &Received,
        now: OffsetDateTime,
    ) -> Result<Self, Refusal> {
        let name = received.request.token.as_str();
        let mut wanted = vec![keys::token(name), keys::enrolment(name), keys::lock_of("token", name)];
        if let Some(identity) = stated_identity(received) {
            wanted.push(lock_of_identity(identity));
        }
        for _ in 0..ROUNDS {
            let asked: Vec<&str> = wanted.iter().map(String::as_str).collect();
            let entries = service.store().get_many(&asked, now).await?;
            let entries: Vec<_> = wanted.iter().cloned().zip(entries).collect();
            let snapshot = Self::decode(service, received, entries)?;
            let missing: Vec<String> =
                snapshot.needs(received).into_iter().filter(|key| !wanted.contains(key)).collect();
            if missing.is_empty() {
                return Ok(snapshot);
            }
            wanted.extend(missing);
        }
        Err(Refusal::new(503, "busy", "this token's records change too fast; ask again").retry_after(1))
    }

    fn decode(
        service: &Service,
        received: &Received,
        entries: Vec<(String, Option<Entry>)>,
    ) -> Result<Self, Refusal> {
        let by_key: HashMap<&str, &Entry> =
            entries.iter().filter_map(|(key, entry)| Some((key.as_str(), entry.as_ref()?))).collect();
        let name = received.request.token.as_str();
        let token: Option<TokenRecord> = decode(&by_key, &keys::token(name))?;
        let uid = token.as_ref().map_or(Uid([0; 16]), |token| token.uid);
        let marks = match &token {
            Some(token) => Marks::among(uid, &token.token, |key| by_key.get(key).copied())?,
            None => Marks::default(),
        };
        let enrolment_key = keys::enrolment(name);
        let stored = decode::<EnrolmentRecord>(&by_key, &enrolment_key)?.filter(|record| record.uid == uid);
        let Settled { enrolment, unlisted } = match (stored, &token, by_key.get(enrolment_key.as_str())) {
            (Some(stored), Some(token), Some(entry)) => {
                marks.settled(&token.token, stored.enrolment, entry.revision)
            }
            _ => Settled::default(),
        };
        let bot = match token.as_ref().and_then(|t| t.token.spec.bot_name.as_ref()) {
            Some(bot) => decode(&by_key, &keys::bot(bot.as_str()))?,
            None => None,
        };
        let is_bot = token.as_ref().is_some_and(|t| t.token.spec.roles.is_bot());
        let fresh = fresh_identity(service, uid, enrolment.generation, received.request.attempt, is_bot);
        let instance_of =
            instance_of(uid, &enrolment, &received.proven, &received.join_state, &fresh).clone();
        let instance_key = instance_key(uid, &instance_of);
        let instance = decode::<InstanceEntry>(&by_key, &instance_key)?;
        let is_void = by_key.get(instance_key.as_str()).is_some_and(|entry| marks.cover(entry.revision));
        let (instance, void) = if is_void { (None, instance) } else { (instance, None) };
        let mut indexes = Vec::new();
        for (key, entry) in &entries {
            if let Some(entry) = entry.as_ref().filter(|_| key.starts_with("lock-of/")) {
                indexes.push((key.clone(), LockIndex::decode(&entry.value)?));
            }
        }
        let max_ttl = token.as_ref().and_then(|t| t.token.spec.certificates.max_ttl);
        let asked = received.request.ttl_seconds.map(Duration::from_secs);
        let lifetime = service.config().lifetimes.granted(is_bot, asked, max_ttl);
        Ok(Self {
            entries,
            token,
            uid,
            enrolment,
            instance_of,
            instance,
            void,
            unlisted,
            bot,
            indexes,
            fresh,
            lifetime,
        })
    }

    /// The keys that the decision depends on, as far as they are known by what was read.
    fn needs(&self, received: &Received) -> Vec<String> {
        let mut needed = Vec::new();
        let Some(token) = &self.token else { return needed };
        needed.extend(stated_identity(received).map(lock_of_identity));
        if let Some(bot) = &token.token.spec.bot_name {
            needed.push(keys::bot(bot.as_str()));
            needed.push(keys::lock_of("bot", bot.as_str()));
        }
        let is_one_of_many = is_one_of_many(&token.token, &self.enrolment);
        needed.extend(Marks::keys(self.uid, &token.token, is_one_of_many));
        if is_one_of_many {
            // Of this one client alone: the enrolment names whoever joined first, and a lock on him stops no other.
            needed.push(instance_key(self.uid, &self.instance_of));
            needed.push(lock_of_identity(&self.instance_of));
        } else {
            needed.extend(self.enrolment.identity.as_ref().map(lock_of_identity));
        }
        needed
    }

    /// All locks on the token, the identities and the bot.
    pub(super) fn locks(&self) -> Vec<LockInForce> {
        let mut locks: Vec<LockInForce> = Vec::new();
        for lock in self.indexes.iter().flat_map(|(_, index)| &index.locks) {
            if !locks.contains(lock) {
                locks.push(lock.clone());
            }
        }
        locks
    }

    /// That every record still is as it was read.
    pub(super) fn conditions(&self) -> Vec<Condition> {
        self.entries
            .iter()
            .map(|(key, entry)| match entry {
                Some(entry) => Condition::At { key: key.clone(), revision: entry.revision },
                None => Condition::Absent { key: key.clone() },
            })
            .collect()
    }
}

fn decode<R: Record>(by_key: &HashMap<&str, &Entry>, key: &str) -> Result<Option<R>, RecordError> {
    by_key.get(key).map(|entry| R::decode(&entry.value)).transpose()
}

/// Whom the presented join state names.
fn stated_identity(received: &Received) -> Option<&Identity> {
    match &received.join_state {
        StateEvidence::Valid(claims) => Some(&claims.identity),
        StateEvidence::None | StateEvidence::Invalid(_) => None,
    }
}

fn instance_key(uid: Uid, identity: &Identity) -> String {
    keys::instance(&uid.to_string(), identity.id())
}

/// Where the locks on this host or bot instance are.
pub(crate) fn lock_of_identity(identity: &Identity) -> String {
    match identity {
        Identity::Host(id) => keys::lock_of("host", id),
        Identity::BotInstance(id) => keys::lock_of("instance", id),
    }
}

/// The same attempt gets the same id on every replica and after every restore; nobody without the master key can
/// foretell it. UUID-shaped, version 8 (RFC 9562, section 5.8).
fn fresh_identity(
    service: &Service,
    uid: Uid,
    generation: u32,
    attempt: AttemptId,
    is_bot: bool,
) -> Identity {
    let master = service.master();
    let key = master
        .derive(Purpose::InstanceId, master.current())
        .expect("the current epoch of a keyring is never retired");
    let mut message = Vec::with_capacity(36);
    message.extend_from_slice(&uid.0);
    message.extend_from_slice(&generation.to_be_bytes());
    message.extend_from_slice(&attempt.0);
    let tag = hmac_sha256(key.as_bytes(), &message);
    let mut id = [0; 16];
    id.copy_from_slice(&tag[..16]);
    id[6] = (id[6] & 0x0f) | 0x80;
    id[8] = (id[8] & 0x3f) | 0x80;
    let text = hex(&id);
    let text = format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]);
    if is_bot { Identity::BotInstance(text) } else { Identity::Host(text) }
}
