//! Every commit, as it happens: what it may change, and in whose name.

use boundkey_keys::Thumbprint;
use boundkey_lifecycle::{Enrolment, LockInForce, LockOrigin, TRAIL_LENGTH};
use boundkey_store::records::{EnrolmentRecord, EventRecord, InstanceEntry, LockIndex, Record, TokenRecord};
use boundkey_store::{Write, keys};
use boundkey_token::RecoveryMode;
use time::OffsetDateTime;

use super::view::{Adopted, target_of};
use super::{Joined, Judge, Label, Sent, Verdict, View};
use crate::sim::hub::ActorId;
use crate::sim::report::Report;

/// What a batch writes, decoded.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) events: Vec<EventRecord>,
    pub(super) enrolments: Vec<(String, EnrolmentRecord)>,
    /// The single clients of shared tokens.
    instances: Vec<InstanceEntry>,
    pub(super) tokens: Vec<(String, TokenRecord)>,
    pub(super) removed: Vec<String>,
    /// Of tokens.
    pub(super) locks: Vec<(String, Option<LockIndex>)>,
    /// Of hosts, bots and instances, by target.
    pub(super) other_locks: Vec<(String, Option<LockIndex>)>,
}

impl Batch {
    pub(super) fn read(writes: &[Write]) -> Result<Self, String> {
        let mut batch = Self::default();
        let bad = |e: boundkey_store::records::RecordError| e.to_string();
        for write in writes {
            let key = write.key();
            let value = match write {
                Write::Put { value, .. } | Write::PutUntil { value, .. } => Some(value.as_slice()),
                Write::Delete { .. } => None,
            };
            if let Some(target) = key.strip_prefix("lock-of/") {
                let index = value.map(LockIndex::decode).transpose().map_err(bad)?;
                match target.strip_prefix("token/") {
                    Some(name) => batch.locks.push((name.to_owned(), index)),
                    None => batch.other_locks.push((target.to_owned(), index)),
                }
            }
            let Some(value) = value else {
                batch.removed.extend(key.strip_prefix(keys::TOKEN).map(str::to_owned));
                continue;
            };
            if key.starts_with(keys::EVENT) {
                batch.events.push(EventRecord::decode(value).map_err(bad)?);
            } else if let Some(name) = key.strip_prefix(keys::ENROLMENT) {
                batch.enrolments.push((name.to_owned(), EnrolmentRecord::decode(value).map_err(bad)?));
            } else if key.starts_with("instance/") {
                batch.instances.push(InstanceEntry::decode(value).map_err(bad)?);
            } else if let Some(name) = key.strip_prefix(keys::TOKEN) {
                batch.tokens.push((name.to_owned(), TokenRecord::decode(value).map_err(bad)?));
            }
        }
        Ok(batch)
    }

    /// Whom an admission names, as in the key of the index of his locks.
    fn given(&self) -> impl Iterator<Item = String> {
        let of_lineage = self.enrolments.iter().filter_map(|(_, record)| record.enrolment.identity.as_ref());
        of_lineage.chain(self.instances.iter().map(|entry| &entry.record.identity)).map(target_of)
    }
}

const ADMISSIONS: [&str; 4] = ["registered", "renewed", "recovered", "instance_joined"];

/// An admission under judgement.
struct Case<'a> {
    before: &'a View,
    after: &'a Enrolment,
    sent: &'a Sent,
    event: &'a EventRecord,
    presented: Option<Label>,
    now: OffsetDateTime,
}

impl Case<'_> {
    fn noted(&self, note: &str) -> bool {
        self.event.notes.iter().any(|n| n.starts_with(note))
    }

    fn proven(&self) -> impl Iterator<Item = Thumbprint> {
        self.sent.disk.bound.into_iter().chain(self.sent.disk.new)
    }
}

impl Judge {
    /// A join's commit. `events`: how many it wrote, for the answer to be held against.
    pub(in crate::sim) fn join_committed(
        &mut self,
        sent: &Sent,
        writes: &[Write],
        now: OffsetDateTime,
        report: &mut Report,
    ) -> Result<Vec<String>, String> {
        let batch = Batch::read(writes)?;
        self.commits += 1;
        self.clients_committed(writes, now)?;
        let token = self.holders.get(sent.from).map(|h| h.token.clone()).unwrap_or_default();
        let [event] = batch.events.as_slice() else {
            return Err(format!("{token}: a join's commit has {} audit events, not one", batch.events.len()));
        };
        if event.token.as_deref() != Some(&token) || event.actor != "join" {
            return Err(format!("{token}: the audit event names {:?} and {}", event.token, event.actor));
        }
        let codes = vec![event.code.clone()];
        let before = self.views.tokens.get(&token).cloned().unwrap_or_default();
        if ADMISSIONS.contains(&event.code.as_str()) {
            self.unlocked(&token, &before, sent, &batch, now)?;
            report.joins += 1;
            report.admitted(&event.code, &event.notes);
            match batch.enrolments.as_slice() {
                [(name, record)] if *name == token => {
                    let presented = self.presented(&sent.disk);
                    let after = &record.enrolment;
                    let case = Case { before: &before, after, sent, event, presented, now };
                    self.admitted(&case).map_err(|fault| format!("{token}: {fault}"))?;
                    self.install(&case, record, &token);
                    let of_one = self.views.tokens.get(&token).is_some_and(|view| !view.is_one_of_many());
                    if of_one && event.code != "registered" {
                        self.admitted_to_one(sent.from, &token);
                    }
                }
                [] if event.code == "instance_joined" => {
                    if before.mode() != RecoveryMode::Insecure || !before.enrolment.shared {
                        return Err(format!("{token}: one of many joined a token that is not shared"));
                    }
                    if !before.is_key_of(&sent.disk) {
                        return Err(format!("{token}: somebody without the shared key joined"));
                    }
                }
                _ => return Err(format!("{token}: `{}` changes no enrolment, or several", event.code)),
            }
            let attempt = sent.disk.attempt.unwrap_or_default();
            self.named.entry(attempt).or_default().extend(batch.given());
        } else {
            self.denied(&token, &before, sent, &batch, now, report)?;
        }
        if let (Some(view), Some((_, index))) = (self.views.tokens.get_mut(&token), batch.locks.last()) {
            view.locks = index.clone().map(|index| index.locks).unwrap_or_default();
        }
        Ok(codes)
    }

    /// Nobody is admitted past a lock on whoever he is or was, on his bot or his token; an automatic one may go with the
    /// admission.
    fn unlocked(
        &self,
        token: &str,
        before: &View,
        sent: &Sent,
        batch: &Batch,
        now: OffsetDateTime,
    ) -> Verdict {
        let mut identities = self.identities(before, &sent.disk);
        identities.extend(batch.given());
        let stays = |lock: &&LockInForce| {
            let left = batch.locks.iter().flat_map(|(_, index)| index).flat_map(|index| &index.locks);
            let written = batch.locks.iter().any(|(name, _)| name == token);
            lock.origin == LockOrigin::ByHand || !written || left.clone().any(|other| other.id == lock.id)
        };
        match self.views.locks_on(token, &identities, now).find(stays) {
            Some(lock) => Err(format!("{token}: admitted past lock {}", lock.id)),
            None => Ok(()),
        }
    }

    fn denied(
        &mut self,
        token: &str,
        before: &View,
        sent: &Sent,
        batch: &Batch,
        now: OffsetDateTime,
        report: &mut Report,
    ) -> Verdict {
        let code = batch.events.first().map(|event| event.code.as_str()).unwrap_or_default();
        let locks = batch
            .locks
            .iter()
            .any(|(_, index)| index.as_ref().is_some_and(|i| i.locks.len() > before.locks.len()));
        if code != "clone_detected" {
            if locks || !batch.enrolments.is_empty() {
                return Err(format!("{token}: `{code}` changed the lineage or locked it"));
            }
            return self.rightly(token, before, sent, code, now).map_err(|f| format!("{token}: {f}"));
        }
        if !locks {
            return Err(format!("{token}: a clone was detected and nothing locked"));
        }
        if let Some((_, record)) = batch.enrolments.first()
            && let Some(view) = self.views.tokens.get_mut(token)
        {
            // `auto_lock_revokes`: the certificates go, and nothing else.
            let expected =
                Enrolment { certificates_revoked: true, issued: Vec::new(), ..before.enrolment.clone() };
            if record.enrolment != expected {
                return Err(format!("{token}: the lock changed more of the enrolment than its certificates"));
            }
            view.enrolment = expected;
        }
        report.locks += 1;
        if before.enrolment.shared || before.mode() == RecoveryMode::Insecure {
            return Err(format!("{token}: locked while it is shared"));
        }
        if self.is_clean(token) {
            return Err(format!("{token}: locked, and there was no clone and no reverted snapshot"));
        }
        let Some(label) = before.label() else {
            return Err(format!("{token}: locked before anybody joined"));
        };
        if self.comes_back(&sent.disk, label)
            || self.knows(sent.from, label)
            || self.can_show(sent.from, &sent.disk, label)
        {
            return Err(format!("{token}: locked by a holder of the present state (actor {})", sent.from));
        }
        if self.is_fellow(before, &sent.disk) {
            return Err(format!("{token}: locked by a fellow client of shared times (actor {})", sent.from));
        }
        if self.joined.get(&label).is_some_and(|joined| sent.step <= joined.first_step) {
            return Err(format!(
                "{token}: locked by a message that was signed before the join that condemns it"
            ));
        }
        self.detected(token, report);
        Ok(())
    }

    /// Refusals whose cause is in the records: as the commit found them.
    pub(super) fn rightly(
        &self,
        token: &str,
        before: &View,
        sent: &Sent,
        code: &str,
        now: OffsetDateTime,
    ) -> Verdict {
        let from = sent.from;
        match code {
            "denied_locked" => {
                let identities = self.identities(before, &sent.disk);
                let own = self.views.locks_on(token, &identities, now).next();
                own.map(|_| ()).ok_or(format!("actor {from} is refused for a lock that is not on him"))
            }
            // Until one was adopted: whoever has no state of shared times.
            "denied_shared_token" if before.enrolment.shared => match self.shown(&sent.disk) {
                Some(shown) if shown.shared && before.is_key_of(&sent.disk) => {
                    Err(format!("actor {from} is one of many, none was adopted, and it is refused"))
                }
                _ => Ok(()),
            },
            "denied_shared_token"
                if !self.is_fellow(before, &sent.disk) && !self.had_another_name(before, &sent.disk) =>
            {
                Err(format!("actor {from} is taken for a fellow client, and is none"))
            }
            _ => Ok(()),
        }
    }

    /// The promises about an admission that moves the lineage.
    fn admitted(&self, case: &Case<'_>) -> Verdict {
        let (before, after, event) = (case.before, case.after, case.event);
        let (healed, by_grant) = (case.noted("rollback_healed"), case.noted("by_grant"));
        let left_shared = case.noted("left_shared");
        let stood = &before.enrolment;
        let presented = case.presented.and_then(|label| self.joined.get(&label));

        // One step at a time.
        let base = if healed {
            let Some(joined) = presented else {
                return Err("healed by a state that was never made".to_owned());
            };
            (joined.generation, joined.sequence)
        } else {
            (stood.generation, stood.sequence)
        };
        if (after.generation, after.sequence) != (base.0, base.1 + 1) {
            let found = (after.generation, after.sequence);
            return Err(format!("{}: from {base:?} to {found:?}, not one step", event.code));
        }
        let attempt = case.sent.disk.attempt.unwrap_or_default();
        if before.advanced.contains(&attempt) {
            return Err("one attempt advanced the lineage twice".to_owned());
        }

        // Who.
        let returned = case.noted("returned");
        if returned {
            self.returned(case)?;
        }
        // The same attempt may have bound another key in another history: the state says which.
        let named = presented.filter(|_| case.presented == before.label());
        let by_state = named.is_some_and(|joined| case.proven().any(|key| joined.keys.contains(&key)));
        if case.proven().all(|key| before.dead.contains(&key)) && !healed && !returned && !by_state {
            return Err("a key that was rotated away was admitted".to_owned());
        }
        if event.code == "registered" {
            if stood.is_bound() || before.registered.contains(&stood.generation) {
                return Err("registered twice".to_owned());
            }
        } else if healed {
            let Some(label) = case.presented else { return Err("healed without a state".to_owned()) };
            let forked = stood.generation == after.generation
                && before
                    .label()
                    .is_some_and(|stands| self.descends(label, stands, TRAIL_LENGTH) == Some(false));
            if forked {
                return Err("a state of another history was taken for a newer one".to_owned());
            }
            if !self.can_show(case.sent.from, &case.sent.disk, label) {
                return Err("healed by somebody who never had that state".to_owned());
            }
        } else if by_grant {
            if !before.granted {
                return Err("admitted by a grant that nobody opened, or that was used".to_owned());
            }
        } else if before.mode() == RecoveryMode::Insecure {
            if !before.is_key_of(&case.sent.disk) && case.presented != before.label() {
                return Err("somebody without the shared key joined".to_owned());
            }
        } else if left_shared {
            let shown = self.shown(&case.sent.disk);
            if !shown.is_some_and(|shown| shown.shared) && case.presented != before.label() && !returned {
                return Err("adopted without a state of shared times".to_owned());
            }
        } else {
            let label = before.label().ok_or("admitted to a lineage without a first join")?;
            if returned {
                return self.counted(case, healed, by_grant, presented);
            }
            if !self.can_show(case.sent.from, &case.sent.disk, label) {
                let honest = self.holders.get(case.sent.from).is_some_and(|holder| holder.honest);
                let who = if honest { "the owner" } else { "the clone" };
                return Err(format!("{who} was admitted after the other holder had gone on: both stay in"));
            }
            if case.presented != Some(label) {
                return Err("admitted without the present join state".to_owned());
            }
        }
        self.counted(case, healed, by_grant, presented)
    }

    /// It has been where the lineage stands, and comes from another history: one that this one went on from is behind.
    fn returned(&self, case: &Case<'_>) -> Verdict {
        let stands = case.before.label().ok_or("returned to a lineage without a first join")?;
        if self.has_returned(&case.sent.disk, stands, usize::MAX) != Some(true) {
            return Err("admitted as one who had been here, and was not".to_owned());
        }
        let gone_on = case.presented.and_then(|label| self.descends(stands, label, TRAIL_LENGTH));
        if gone_on == Some(true) {
            return Err(
                "admitted as one who had been here, with a state that this history went on from".to_owned()
            );
        }
        Ok(())
    }

    /// Recoveries: how many, and whether this one had to be.
    fn counted(&self, case: &Case<'_>, healed: bool, by_grant: bool, presented: Option<&Joined>) -> Verdict {
        let (before, after, code) = (case.before, case.after, case.event.code.as_str());
        let stood = &before.enrolment;
        let counts =
            code == "registered" || (code == "recovered" && !by_grant && !case.noted("entered_shared"));
        if counts && before.mode() == RecoveryMode::Standard && after.recovery_count > before.limit() {
            return Err(format!("recovery {} of {} was admitted", after.recovery_count, before.limit()));
        }
        if !healed && after.recovery_count != stood.recovery_count + u32::from(counts) {
            return Err(format!(
                "`{code}` took the count of recoveries from {} to {}",
                stood.recovery_count, after.recovery_count
            ));
        }
        let grace = if before.is_bot() { self.graces.1 } else { self.graces.0 };
        // Each of many clients has an expiry of its own, which the lineage's record does not hold.
        let one_of_many = before.mode() == RecoveryMode::Insecure || case.noted("left_shared");
        let numbered = !one_of_many && !case.noted("entered_shared") && !by_grant;
        let last =
            if healed { presented.and_then(|joined| joined.expires) } else { stood.certificates_expire_at };
        // Certificates of earlier joins that nobody revoked; but for those of a clock that was ahead.
        let mut ends: Vec<_> = stood.issued.iter().map(|certificate| certificate.expires_at).collect();
        ends.retain(|end| *end - case.now <= grace);
        // Where it comes back from it was given some, too.
        let returned = presented.filter(|_| case.noted("returned"));
        ends.extend(returned.and_then(|joined| joined.expires));
        let expires = last.map(|last| ends.into_iter().fold(last, Ord::max));
        let revoked = !healed && stood.certificates_revoked;
        if let Some(expires) = expires.filter(|_| numbered && code != "registered") {
            let late = case.now >= expires + grace || revoked;
            if late != (code == "recovered") {
                return Err(format!(
                    "`{code}` at {}, with certificates until {expires} (revoked: {revoked})",
                    case.now
                ));
            }
        }
        Ok(())
    }

    /// Takes the admission over into what is known.
    fn install(&mut self, case: &Case<'_>, record: &EnrolmentRecord, token: &str) {
        let (before, after) = (case.before, case.after);
        let healed = case.noted("rollback_healed");
        let Some(label) = after.last_state_id.map(|id| id.0) else { return };
        let attempt = case.sent.disk.attempt.unwrap_or_default();
        let parent = if healed { case.presented } else { before.label() };
        let key = after.bound_public_key.as_ref().map(|key| key.thumbprint());
        let step = self.step;
        let came_as = case.presented.and_then(|presented| self.joined.get(&presented));
        let adopted = if case.noted("left_shared") {
            let identity = self.shown(&case.sent.disk).map(|shown| shown.identity.clone());
            let identity = identity.or(after.identity.as_ref().map(target_of)).unwrap_or_default();
            Some(Adopted { identity, sequence: after.sequence })
        } else if healed {
            came_as.and_then(|joined| joined.adopted.clone())
        } else {
            before.adopted.clone()
        };
        let of_thief = match parent.and_then(|parent| self.joined.get(&parent)) {
            Some(parent) if case.event.code != "registered" => parent.of_thief,
            _ => self.holders.get(case.sent.from).is_some_and(|holder| !holder.honest),
        };
        self.remember_life(case);
        if self.doubles(case, token) {
            self.taint(token).doubled = true;
        }
        let joined = self.joined.entry(label).or_insert_with(|| Joined {
            attempt,
            keys: Default::default(),
            parent,
            uid: record.uid.0,
            generation: after.generation,
            sequence: after.sequence,
            expires: None,
            recoveries: 0,
            first_step: step,
            of_thief,
            adopted: None,
        });
        joined.adopted.clone_from(&adopted);
        joined.keys.extend(key);
        joined.expires = after.certificates_expire_at;
        joined.recoveries = after.recovery_count;
        let replaced = healed.then(|| case.presented.and_then(|l| self.joined.get(&l))).flatten();
        let mut dead: Vec<Thumbprint> =
            replaced.map(|joined| joined.keys.iter().copied().collect()).unwrap_or_default();
        dead.extend(before.enrolment.bound_public_key.as_ref().map(|key| key.thumbprint()));
        let Some(view) = self.views.tokens.get_mut(token) else { return };
        view.dead.extend(dead.into_iter().filter(|dead| Some(*dead) != key));
        view.dead.retain(|dead| Some(*dead) != key);
        view.advanced.insert(attempt);
        if case.event.code == "registered" {
            view.registered.insert(after.generation);
        }
        view.granted = false;
        view.adopted = adopted;
        view.enrolment = after.clone();
        if case.noted("left_shared") || case.noted("entered_shared") {
            view.advanced.clear();
        }
    }

    /// Does this one become the one client by a grant, where other machines have the key too?
    fn doubles(&self, case: &Case<'_>, token: &str) -> bool {
        let other = |(actor, holder): (ActorId, &super::Holder)| {
            actor != case.sent.from && holder.honest && holder.token == token
        };
        let behind = case.before.label().is_some_and(|label| case.presented != Some(label));
        case.noted("by_grant")
            && !case.before.enrolment.shared
            && behind
            && self.holders.iter().enumerate().any(other)
    }

    /// A bot that recovers is a new instance, and still the same bot.
    fn remember_life(&mut self, case: &Case<'_>) {
        let Some(now) = case.after.identity.as_ref().map(target_of) else { return };
        let was = match self.shown(&case.sent.disk) {
            Some(shown) => Some(shown.identity.clone()),
            None => case.before.enrolment.identity.as_ref().map(target_of),
        };
        if let Some(was) = was.filter(|was| *was != now && case.event.code == "recovered") {
            self.earlier.insert(now, was);
        }
    }
}
