//! Locks: the resource itself, and the index by target that the join path reads.

use std::collections::HashMap;

use async_trait::async_trait;
use axum::Json;
use axum::extract::{Extension, Path, Query, State};
use boundkey_api::{LockAnswer, LockRequest, Page, Removed};
use boundkey_lifecycle::{Identity, LockInForce, LockOrigin};
use boundkey_store::keys;
use boundkey_store::records::{EnrolmentRecord, InstanceEntry, LockIndex, LockRecord, Record, TokenRecord};
use boundkey_text::is_plain;
use boundkey_token::{Lock, LockTarget};
use serde_json::Value;
use time::OffsetDateTime;

use super::bots::RemoveQuery;
use super::cut_off::{self, Confirm, Watched};
use super::plan::{Operation, Pages, Plan, carry_out};
use super::tokens::PutQuery;
use super::{Listing, body, missing, view};
use crate::context::hex;
use crate::revocation::Settled;
use crate::{Entry, Refusal, RequestContext, Service, revocation};

/// The index key of a target.
fn index_key(target: &LockTarget) -> String {
    let (kind, id) = describe(target);
    keys::lock_of(kind, id)
}

/// Kind and id of a target, as in the index and in messages.
pub(super) fn describe(target: &LockTarget) -> (&'static str, &str) {
    match target {
        LockTarget::Token(id) => ("token", id),
        LockTarget::Bot(id) => ("bot", id),
        LockTarget::Host(id) => ("host", id),
        LockTarget::BotInstance(id) => ("instance", id),
    }
}

pub(super) fn by_hand(lock: &Lock, created_at: OffsetDateTime) -> LockRecord {
    LockRecord {
        target: lock.target.clone(),
        lock: LockInForce {
            id: lock.name.to_string(),
            origin: LockOrigin::ByHand,
            message: lock.message.clone(),
            public_message: lock.public_message.clone(),
            expires: lock.expires,
        },
        created_at,
    }
}

/// Writes the lock and lists it under its target.
pub(super) async fn list(plan: &mut Plan<'_>, record: &LockRecord) -> Result<(), Refusal> {
    let key = index_key(&record.target);
    let mut index = plan.get::<LockIndex>(&key).await?.unwrap_or_default();
    index.locks.retain(|lock| lock.id != record.lock.id && lock.expires.is_none_or(|at| at > plan.now));
    index.locks.push(record.lock.clone());
    plan.put(key, &index);
    plan.put_until(keys::lock(&record.lock.id), record, record.lock.expires);
    let (kind, id) = describe(&record.target);
    plan.event(Entry {
        code: "lock_created".to_owned(),
        token: (kind == "token").then(|| id.to_owned()),
        identity: (kind != "token").then(|| id.to_owned()),
        detail: match &record.lock.message {
            Some(message) => format!("lock {} on {kind} {id}: {message}", record.lock.id),
            None => format!("lock {} on {kind} {id}", record.lock.id),
        },
        ..Entry::default()
    });
    Ok(())
}

/// Removes the lock and its entry under its target.
pub(super) async fn unlist(plan: &mut Plan<'_>, record: &LockRecord) -> Result<(), Refusal> {
    let key = index_key(&record.target);
    let mut index = plan.get::<LockIndex>(&key).await?.unwrap_or_default();
    index.locks.retain(|lock| lock.id != record.lock.id && lock.expires.is_none_or(|at| at > plan.now));
    match index.locks.is_empty() {
        true => plan.delete(key),
        false => plan.put(key, &index),
    }
    plan.delete(keys::lock(&record.lock.id));
    let (kind, id) = describe(&record.target);
    plan.event(Entry {
        code: "lock_removed".to_owned(),
        token: (kind == "token").then(|| id.to_owned()),
        identity: (kind != "token").then(|| id.to_owned()),
        detail: format!("lock {} on {kind} {id} was removed", record.lock.id),
        ..Entry::default()
    });
    Ok(())
}

/// Removes the automatic lock of a token, if there is one.
pub(super) async fn remove_automatic(plan: &mut Plan<'_>, token: &str) -> Result<bool, Refusal> {
    let index = plan.get::<LockIndex>(&keys::lock_of("token", token)).await?.unwrap_or_default();
    let automatic: Vec<String> = index
        .locks
        .iter()
        .filter(|lock| matches!(lock.origin, LockOrigin::Automatic(_)))
        .map(|lock| lock.id.clone())
        .collect();
    for id in &automatic {
        if let Some(record) = plan.get::<LockRecord>(&keys::lock(id)).await? {
            unlist(plan, &record).await?;
        }
    }
    Ok(!automatic.is_empty())
}

struct SetLock<'a> {
    id: String,
    request: &'a LockRequest,
    confirm: Confirm,
}

#[async_trait]
impl Operation for SetLock<'_> {
    type Answer = LockAnswer;

    async fn plan(&self, plan: &mut Plan<'_>) -> Result<LockAnswer, Refusal> {
        let expires = self.request.ttl_seconds.map(|ttl| expiry(plan.now, ttl)).transpose()?;
        let record = LockRecord {
            target: self.request.target.clone(),
            lock: LockInForce {
                id: self.id.clone(),
                origin: LockOrigin::ByHand,
                message: self.request.message.clone(),
                public_message: self.request.public_message.clone(),
                expires,
            },
            created_at: plan.now,
        };
        let reach = Reach::of(plan, std::slice::from_ref(&record.target)).await?;
        let tokens = reach.tokens(&record.target);
        let watched = Watched::new(tokens);
        list(plan, &record).await?;
        if self.request.revoke {
            revoke_target(plan, &record.target, tokens).await?;
        }
        let hits = watched.hits(plan).await?;
        cut_off::require(&self.confirm, &self.typed(), &hits)?;
        let mut warnings: Vec<String> =
            nobody_there(plan, &record.target, tokens).await?.into_iter().collect();
        if expires.is_some_and(|end| end <= plan.now) {
            warnings.push("ttl_seconds is 0: this lock keeps nobody out".to_owned());
        }
        let message = format!(
            "lock/{id} created{}{}; it is lifted by: boundkeyctl rm lock/{id}",
            cut_off::outcome(&hits),
            plan.listing(),
            id = self.id
        );
        Ok(LockAnswer { lock: view::lock(&record, None), message, warnings })
    }
}

impl SetLock<'_> {
    fn typed(&self) -> String {
        let (kind, id) = describe(&self.request.target);
        let option = if kind == "instance" { "bot-instance" } else { kind };
        format!("lock --{option} {id}{}", if self.request.revoke { " --revoke" } else { "" })
    }
}

/// A lock on a mistyped name would look like one that works.
pub(super) async fn nobody_there(
    plan: &Plan<'_>,
    target: &LockTarget,
    tokens: &[String],
) -> Result<Option<String>, Refusal> {
    let (name, key) = match target {
        LockTarget::Token(name) => (name, keys::token(name)),
        LockTarget::Bot(name) => (name, keys::bot(name)),
        LockTarget::Host(id) | LockTarget::BotInstance(id) => {
            return match tokens.is_empty() {
                true => Ok(Some(no_such_machine(plan, target, id).await?)),
                false => Ok(None),
            };
        }
    };
    if plan.peek(&[&key]).await?.contains_key(&key) {
        return Ok(None);
    }
    let kind = describe(target).0;
    Ok(Some(format!("there is no {kind} `{name}`: the lock keeps nobody out until one has this name")))
}

/// A hostname is easily taken for the id that the lock needs.
async fn no_such_machine(plan: &Plan<'_>, target: &LockTarget, id: &str) -> Result<String, Refusal> {
    let is_host = matches!(target, LockTarget::Host(_));
    let mut named = Vec::new();
    let mut pages = Pages::of(keys::ENROLMENT);
    while let Some(entries) = pages.next(plan.service, plan.now).await? {
        for entry in entries {
            let enrolment = EnrolmentRecord::decode(&entry.value)?.enrolment;
            if let Some(identity) = enrolment.identity.filter(|_| enrolment.facts.hostname == id)
                && identity.is_bot() != is_host
                && named.len() < HOSTS_TOLD
            {
                named.push(identity.id().to_owned());
            }
        }
    }
    let (what, shows) = match is_host {
        true => ("host", "`nodes ls` shows the ids"),
        false => ("bot instance", "`tokens ls --format json` shows the ids"),
    };
    let meant = match named.is_empty() {
        true => shows.to_owned(),
        false => format!("it is the hostname of {}", named.join(", ")),
    };
    Ok(format!("no {what} has the id `{id}`, so the lock keeps nobody out; {meant}"))
}

/// Machines of one hostname that are told.
const HOSTS_TOLD: usize = 10;

/// When a lock of so many seconds ends.
fn expiry(now: OffsetDateTime, ttl_seconds: u64) -> Result<OffsetDateTime, Refusal> {
    let end = i64::try_from(ttl_seconds).ok().and_then(|ttl| now.checked_add(time::Duration::seconds(ttl)));
    end.ok_or_else(|| {
        let detail = format!(
            "ttl_seconds is {ttl_seconds}; allowed: less, or none for a lock that stays until it is removed"
        );
        Refusal::new(422, "invalid_request", detail)
    })
}

/// Revokes what the target holds now, so that the lock takes its certificates too. What many hold is revoked by a mark.
async fn revoke_target(plan: &mut Plan<'_>, target: &LockTarget, tokens: &[String]) -> Result<(), Refusal> {
    if let LockTarget::Bot(name) = target {
        plan.void_bot(name);
        return Ok(());
    }
    let whole = matches!(target, LockTarget::Token(_));
    for name in tokens {
        let Some(record) = plan.get::<TokenRecord>(&keys::token(name)).await? else { continue };
        let Some(Settled { mut enrolment, unlisted }) = plan.enrolment(&record).await? else { continue };
        let is_one_of_many = revocation::is_one_of_many(&record.token, &enrolment);
        if whole || is_target(enrolment.identity.as_ref(), target) {
            plan.list(&unlisted);
            plan.revoke(&std::mem::take(&mut enrolment.issued));
            // Of many clients only this one: the others' certificates are not in question.
            enrolment.certificates_revoked |= whole || !enrolment.shared;
            plan.put(keys::enrolment(name), &EnrolmentRecord { uid: record.uid, enrolment });
        }
        if whole {
            if is_one_of_many || plan.has_clients(record.uid).await? {
                plan.void_clients(record.uid, name);
            }
        } else if is_one_of_many {
            revoke_client(plan, &record, describe(target).1).await?;
        }
    }
    Ok(())
}

/// Not marked as revoked: the lock keeps it out while it stands, and no longer.
async fn revoke_client(plan: &mut Plan<'_>, record: &TokenRecord, id: &str) -> Result<(), Refusal> {
    let key = keys::instance(&record.uid.to_string(), id);
    let Some(mut instance) = plan.get::<InstanceEntry>(&key).await? else { return Ok(()) };
    plan.list(&std::mem::take(&mut instance.record.issued));
    let marks = plan.marks(record.uid, &record.token, true).await?;
    // One that is void already must not come back by being written anew.
    match plan.revision(&key).is_some_and(|written| marks.cover(written)) {
        true => plan.delete(key),
        false => plan.stage(revocation::put_instance(record.uid, &instance)),
    }
    Ok(())
}

fn is_target(identity: Option<&Identity>, target: &LockTarget) -> bool {
    identity.is_some_and(|identity| target_of(identity) == *target)
}

/// The tokens that a target is about: itself, those of a bot, those whose lineage (or a shared instance of it) it is.
pub(super) struct Reach(HashMap<LockTarget, Vec<String>>);

impl Reach {
    /// One scan for all targets, for a rare request.
    pub(super) async fn of(plan: &Plan<'_>, targets: &[LockTarget]) -> Result<Self, Refusal> {
        let mut reach = Self(HashMap::new());
        for target in targets {
            let known = match target {
                LockTarget::Token(name) => vec![name.clone()],
                LockTarget::Bot(_) | LockTarget::Host(_) | LockTarget::BotInstance(_) => Vec::new(),
            };
            reach.0.insert(target.clone(), known);
        }
        if targets.iter().all(|target| matches!(target, LockTarget::Token(_))) {
            return Ok(reach);
        }
        let mut pages = Pages::of(keys::TOKEN);
        while let Some(entries) = pages.next(plan.service, plan.now).await? {
            let tokens = entries.iter().map(|entry| TokenRecord::decode(&entry.value));
            reach.scan(plan, tokens.collect::<Result<Vec<_>, _>>()?).await?;
        }
        Ok(reach)
    }

    async fn scan(&mut self, plan: &Plan<'_>, tokens: Vec<TokenRecord>) -> Result<(), Refusal> {
        let enrolments: Vec<String> =
            tokens.iter().map(|record| keys::enrolment(record.token.name.as_str())).collect();
        let wanted: Vec<&str> = enrolments.iter().map(String::as_str).collect();
        let read = plan.service.store().get_many(&wanted, plan.now).await?;
        for (record, entry) in tokens.iter().zip(read) {
            let name = record.token.name.as_str();
            if let Some(bot) = &record.token.spec.bot_name {
                self.add(&LockTarget::Bot(bot.to_string()), name);
            }
            let Some(entry) = entry else { continue };
            let enrolment = EnrolmentRecord::decode(&entry.value)?.enrolment;
            if let Some(identity) = &enrolment.identity {
                self.add(&target_of(identity), name);
            }
            if revocation::is_one_of_many(&record.token, &enrolment) {
                self.add_instances(plan, record).await?;
            }
        }
        Ok(())
    }

    async fn add_instances(&mut self, plan: &Plan<'_>, record: &TokenRecord) -> Result<(), Refusal> {
        let uid = record.uid.to_string();
        let asked =
            self.0.keys().filter(|target| matches!(target, LockTarget::Host(_) | LockTarget::BotInstance(_)));
        let asked: Vec<LockTarget> = asked.cloned().collect();
        let of_asked: Vec<String> =
            asked.iter().map(|target| keys::instance(&uid, describe(target).1)).collect();
        let wanted: Vec<&str> = of_asked.iter().map(String::as_str).collect();
        let read = plan.service.store().get_many(&wanted, plan.now).await?;
        for (target, entry) in asked.iter().zip(read) {
            if entry.is_some() {
                self.add(target, record.token.name.as_str());
            }
        }
        Ok(())
    }

    fn add(&mut self, target: &LockTarget, name: &str) {
        if let Some(names) = self.0.get_mut(target)
            && names.last().is_none_or(|last| last != name)
        {
            names.push(name.to_owned());
        }
    }

    /// The tokens of one of the targets.
    pub(super) fn tokens(&self, target: &LockTarget) -> &[String] {
        self.0.get(target).map_or(&[], Vec::as_slice)
    }
}

fn target_of(identity: &Identity) -> LockTarget {
    match identity {
        Identity::Host(id) => LockTarget::Host(id.clone()),
        Identity::BotInstance(id) => LockTarget::BotInstance(id.clone()),
    }
}

/// Of a target or a message, in bytes.
const MAX_TEXT: usize = 1024;

/// `POST /v1/locks`
pub(super) async fn set(
    State(service): State<Service>,
    Extension(context): Extension<RequestContext>,
    Query(query): Query<PutQuery>,
    bytes: axum::body::Bytes,
) -> Result<Json<LockAnswer>, Refusal> {
    let request: LockRequest = body(&bytes)?;
    let LockRequest { target, message, public_message, .. } = &request;
    let texts = [Some(describe(target).1), message.as_deref(), public_message.as_deref()];
    if texts.into_iter().flatten().any(|text| text.len() > MAX_TEXT || !text.chars().all(is_plain)) {
        return Err(Refusal::new(
            422,
            "invalid_resource",
            "spec.target, spec.message and spec.public_message are one line each, of at most 1024 bytes, without control or invisible characters",
        ));
    }
    if describe(&request.target).1.is_empty() {
        return Err(Refusal::new(
            422,
            "invalid_resource",
            "spec.target names nothing; give the name or id to lock",
        ));
    }
    let mut id = [0; 8];
    service.entropy().fill(&mut id);
    let operation = SetLock { id: format!("lock-{}", hex(&id)), request: &request, confirm: query.confirm };
    Ok(Json(carry_out(&service, &context, &operation).await?))
}

/// `GET /v1/locks`
pub(super) async fn all(
    State(service): State<Service>,
    listing: Listing,
) -> Result<Json<Page<Value>>, Refusal> {
    let page = listing.page(&service, keys::LOCK).await?;
    let mut items = Vec::with_capacity(page.entries.len());
    for entry in &page.entries {
        items.push(view::lock(&LockRecord::decode(&entry.value)?, Some(entry.revision)));
    }
    Ok(Json(Page::new(items, Listing::next(&page, keys::LOCK))))
}

/// `GET /v1/locks/ID`
pub(super) async fn one(
    State(service): State<Service>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let loaded = service.load::<LockRecord>(&keys::lock(&id), service.now()).await?;
    let Some(loaded) = loaded else { return Err(missing(&service, "lock", &id).await) };
    Ok(Json(view::lock(&loaded.record, Some(loaded.revision))))
}

/// Removes a lock: nobody is cut off, so nothing is to be confirmed.
pub(super) struct RemoveLock<'a> {
    pub(super) id: &'a str,
    pub(super) dry_run: bool,
}

#[async_trait]
impl Operation for RemoveLock<'_> {
    type Answer = ();

    async fn plan(&self, plan: &mut Plan<'_>) -> Result<(), Refusal> {
        plan.dry_run = self.dry_run;
        let Some(record) = plan.get::<LockRecord>(&keys::lock(self.id)).await? else {
            return Err(missing(plan.service, "lock", self.id).await);
        };
        unlist(plan, &record).await
    }
}

/// `DELETE /v1/locks/ID`
pub(super) async fn remove(
    State(service): State<Service>,
    Extension(context): Extension<RequestContext>,
    Path(id): Path<String>,
    Query(query): Query<RemoveQuery>,
) -> Result<Json<Removed>, Refusal> {
    carry_out(&service, &context, &RemoveLock { id: &id, dry_run: query.dry_run }).await?;
    Ok(Json(Removed { removed: format!("lock/{id}"), message: format!("lock/{id} removed") }))
}
