//! Applying resources: several at once, all or nothing; creates what is absent, updates in place what exists.

use std::collections::BTreeSet;

use async_trait::async_trait;
use boundkey_api::Applied;
use boundkey_store::keys;
use boundkey_store::records::{BotRecord, LockRecord};
use boundkey_token::{Bot, Lock, LockTarget, Resource};
use time::OffsetDateTime;

use super::cut_off::{self, Confirm, Watched};
use super::locks::Reach;
use super::plan::{Operation, Plan};
use super::{apply_token, locks, view};
use crate::{Entry, Refusal};

/// What is to be applied. `update`: existing resources are updated in place; without it they are refused.
pub(super) struct Apply<'a> {
    pub(super) resources: &'a [Resource],
    pub(super) update: bool,
    pub(super) confirm: Confirm,
}

#[async_trait]
impl Operation for Apply<'_> {
    type Answer = Vec<Applied>;

    async fn plan(&self, plan: &mut Plan<'_>) -> Result<Vec<Applied>, Refusal> {
        let mut names = BTreeSet::new();
        let mut applied = Vec::with_capacity(self.resources.len());
        for resource in self.resources {
            let (kind, name) = identify(resource);
            if !names.insert((kind, name)) {
                return Err(Refusal::new(
                    422,
                    "repeated_resource",
                    format!("{kind}/{name} stands twice in this file; leave one of them out"),
                ));
            }
        }
        let targets = self.targets(plan.now);
        let reach = Reach::of(plan, &targets).await?;
        let touched = self.touched(&targets, &reach);
        let watched = Watched::new(&touched);
        // Bots first: a token of the same file may name one.
        for resource in self.resources.iter().filter(|resource| matches!(resource, Resource::Bot(_))) {
            self.one(plan, resource, &reach).await?;
        }
        for resource in self.resources {
            applied.push(self.one(plan, resource, &reach).await?);
        }
        let what = if self.update { "create -f" } else { "create" };
        cut_off::require(&self.confirm, what, &watched.hits(plan).await?)?;
        apply_token::warn_of_shared_keys(plan, self.resources, &mut applied).await?;
        Ok(applied)
    }
}

impl Apply<'_> {
    /// Whatever the locks of the file are about, and the bots whose tokens it shuts out.
    fn targets(&self, now: OffsetDateTime) -> Vec<LockTarget> {
        let target = |resource: &Resource| match resource {
            Resource::Lock(lock) => Some(lock.target.clone()),
            Resource::Bot(bot) if self.update && bot.expires.is_some_and(|end| end <= now) => {
                Some(LockTarget::Bot(bot.name.to_string()))
            }
            Resource::Bot(_) | Resource::Token(_) => None,
        };
        self.resources.iter().filter_map(target).collect()
    }

    /// The tokens whose next join may come to something else by this: those of the file, and those of its targets. Nothing
    /// that is created touches a token that there is, but a lock.
    fn touched(&self, targets: &[LockTarget], reach: &Reach) -> Vec<String> {
        let tokens = self.resources.iter().filter_map(|resource| match resource {
            Resource::Token(token) if self.update => Some(token.name.to_string()),
            Resource::Token(_) | Resource::Bot(_) | Resource::Lock(_) => None,
        });
        let reached = targets.iter().flat_map(|target| reach.tokens(target)).cloned();
        tokens.chain(reached).collect::<BTreeSet<_>>().into_iter().collect()
    }

    async fn one(&self, plan: &mut Plan<'_>, resource: &Resource, reach: &Reach) -> Result<Applied, Refusal> {
        match resource {
            Resource::Token(token) => apply_token::apply(plan, token, self.update).await,
            Resource::Bot(bot) => apply_bot(plan, bot, self.update).await,
            Resource::Lock(lock) => apply_lock(plan, lock, self.update, reach.tokens(&lock.target)).await,
        }
    }
}

fn identify(resource: &Resource) -> (&'static str, &str) {
    match resource {
        Resource::Token(token) => ("token", token.name.as_str()),
        Resource::Bot(bot) => ("bot", bot.name.as_str()),
        Resource::Lock(lock) => ("lock", lock.name.as_str()),
    }
}

/// Refuses what exists (unless it may be updated) and what was read at another revision.
pub(super) fn may_write(
    plan: &Plan<'_>,
    kind: &str,
    name: &str,
    key: &str,
    revision: Option<&str>,
    update: bool,
) -> Result<(), Refusal> {
    let Some(current) = plan.revision(key) else { return Ok(()) };
    if !update {
        return Err(Refusal::new(
            409,
            "already_exists",
            format!("{kind}/{name} exists; to update it in place use `create -f`"),
        ));
    }
    match revision {
        Some(revision) if revision != current.0.to_string() => Err(stale(kind, name)),
        _ => Ok(()),
    }
}

pub(super) fn stale(kind: &str, name: &str) -> Refusal {
    Refusal::new(
        412,
        "stale_revision",
        format!(
            "{kind}/{name} was changed since this revision was read; get it anew and repeat the change, or leave \
             metadata.revision out to overwrite it"
        ),
    )
}

async fn apply_bot(plan: &mut Plan<'_>, bot: &Bot, update: bool) -> Result<Applied, Refusal> {
    let name = bot.name.as_str();
    let key = keys::bot(name);
    let staged = plan.is_staged(&key);
    let old = plan.get::<BotRecord>(&key).await?;
    if !staged {
        may_write(plan, "bot", name, &key, bot.revision.as_deref(), update)?;
    }
    let created_at = old.as_ref().map_or(plan.now, |old| old.created_at);
    let record = BotRecord { bot: Bot { revision: None, ..bot.clone() }, created_at };
    let created = plan.revision(&key).is_none();
    let changed = old.as_ref() != Some(&record) || staged;
    if changed && !staged {
        plan.put(&key, &record);
        plan.event(Entry {
            code: if created { "bot_created" } else { "bot_updated" }.to_owned(),
            identity: Some(name.to_owned()),
            detail: format!("bot {name} was {}", if created { "created" } else { "updated" }),
            ..Entry::default()
        });
    }
    let warnings = bot.warnings(plan.now);
    Ok(Applied { created, changed, resource: view::bot(&record, plan.revision(&key)), warnings })
}

async fn apply_lock(
    plan: &mut Plan<'_>,
    lock: &Lock,
    update: bool,
    tokens: &[String],
) -> Result<Applied, Refusal> {
    let name = lock.name.as_str();
    let key = keys::lock(name);
    let old = plan.get::<LockRecord>(&key).await?;
    may_write(plan, "lock", name, &key, lock.revision.as_deref(), update)?;
    if old.as_ref().is_some_and(|old| matches!(old.lock.origin, boundkey_lifecycle::LockOrigin::Automatic(_)))
    {
        return Err(Refusal::new(
            409,
            "automatic_lock",
            format!(
                "lock/{name} was made by the server; remove it with `rm lock/{name}` or heal it with `resync`"
            ),
        ));
    }
    let record = locks::by_hand(lock, old.as_ref().map_or(plan.now, |old| old.created_at));
    let changed = old.as_ref() != Some(&record);
    if changed {
        if let Some(old) = &old {
            locks::unlist(plan, old).await?;
        }
        locks::list(plan, &record).await?;
    }
    let mut warnings = lock.warnings(plan.now);
    warnings.extend(locks::nobody_there(plan, &lock.target, tokens).await?);
    Ok(Applied {
        created: old.is_none(),
        changed,
        resource: view::lock(&record, plan.revision(&key)),
        warnings,
    })
}
