//! One rule for every request that may cut machines off: whoever asks for it first learns whom it hits, and confirms that.
//!
//! A request is planned, and each token that it touches is looked at as it was and as it would be. A machine is hit if its
//! token admitted it and no longer would, if its key is unbound, or if its certificates are revoked. A plan that hits
//! somebody is not committed unless it was confirmed. What is told and what is done are one plan, on the same revisions.

use std::collections::HashMap;

use boundkey_keys::sha256;
use boundkey_lifecycle::{Identity, IssuedCertificate, View};
use boundkey_proto::{Affected, Confirmation};
use boundkey_store::keys;
use boundkey_store::records::{InstanceEntry, LockIndex, Record};
use boundkey_token::RecoveryMode;
use serde::{Deserialize, Deserializer};
use time::OffsetDateTime;

use super::plan::{Plan, every};
use super::row::{self, Row};
use crate::context::hex;
use crate::join::lock_of_identity;
use crate::{Refusal, ca_kind_text, rfc3339};

/// Tokens told in one answer.
const TOLD: usize = 20;

/// `?confirm=`: whom a request may hit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Confirm {
    /// Nobody.
    #[default]
    No,
    /// Whomever it hits: `true`.
    Anybody,
    /// Exactly those that an answer named, by its tag.
    Told(String),
}

impl<'de> Deserialize<'de> for Confirm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(match text.as_str() {
            "false" => Self::No,
            "true" => Self::Anybody,
            _ => Self::Told(text),
        })
    }
}

/// The bound tokens that a plan touches, as they were before it.
pub(super) struct Watched(Vec<(Row, Vec<Machine>)>);

/// One machine behind a token.
struct Machine {
    identity: Option<Identity>,
    hostname: String,
    last_joined_at: Option<OffsetDateTime>,
    certificates: Vec<IssuedCertificate>,
}

/// A token whose machines are hit.
pub(super) struct Hit {
    affected: Affected,
    /// Who is hit and how, without the times: a machine that renews meanwhile is hit in the same way.
    manner: String,
}

impl Watched {
    /// To be called before the plan stages anything.
    pub(super) async fn before(plan: &Plan<'_>, names: &[String]) -> Result<Self, Refusal> {
        let mut watched = Vec::new();
        for row in row::planned(plan, names).await?.into_iter().filter(|row| row.enrolment.is_bound()) {
            let machines = machines(plan, &row).await?;
            watched.push((row, machines));
        }
        Ok(Self(watched))
    }

    /// Whom the plan hits, as it is staged now.
    pub(super) async fn hits(&self, plan: &Plan<'_>) -> Result<Vec<Hit>, Refusal> {
        let names: Vec<String> = self.0.iter().map(|(row, _)| row.record.token.name.to_string()).collect();
        let after = row::planned(plan, &names).await?;
        let after: HashMap<&str, &Row> =
            after.iter().map(|row| (row.record.token.name.as_str(), row)).collect();
        let mut hits = Vec::new();
        for (before, machines) in &self.0 {
            let after = after.get(before.record.token.name.as_str()).copied();
            hits.extend(hit(plan, before, machines, after)?);
        }
        Ok(hits)
    }
}

/// Refuses what hits somebody and was not confirmed. `what`: the request, as it is typed.
pub(super) fn require(confirm: &Confirm, what: &str, hits: &[Hit]) -> Result<(), Refusal> {
    if hits.is_empty() || *confirm == Confirm::Anybody {
        return Ok(());
    }
    let tag = tag(what, hits);
    if matches!(confirm, Confirm::Told(told) if *told == tag) {
        return Ok(());
    }
    let machines = hits.iter().map(|hit| hit.affected.machines).sum();
    let mut refusal = Refusal::new(409, "confirmation_required", told(what, hits, machines));
    let affected = hits.iter().take(TOLD).map(|hit| hit.affected.clone()).collect();
    refusal.problem.confirmation = Some(Confirmation { tag, machines, affected });
    Err(refusal)
}

/// The same for the same machines hit in the same way. That one of them has renewed meanwhile is no other answer.
fn tag(what: &str, hits: &[Hit]) -> String {
    let mut text = what.to_owned();
    for Hit { affected, manner } in hits {
        text.push_str(&format!("\n{} {manner}", affected.token));
    }
    hex(&sha256(&[b"boundkey confirmation", text.as_bytes()])[..16])
}

/// One sentence: whoever shows it makes lines of `confirmation.affected` where there are several.
fn told(what: &str, hits: &[Hit], machines: u64) -> String {
    if let [Hit { affected, .. }] = hits {
        return format!("`{what}` cuts off {affected}: {}", affected.consequence);
    }
    let last = hits.iter().filter_map(|hit| hit.affected.last_joined_at).max();
    let last = last.map(|at| format!(", of which one joined at {}", rfc3339(at))).unwrap_or_default();
    format!("`{what}` cuts off {machines} machines of {} tokens{last}", hits.len())
}

fn hit(
    plan: &Plan<'_>,
    before: &Row,
    machines: &[Machine],
    after: Option<&Row>,
) -> Result<Option<Hit>, Refusal> {
    let (service, now) = (plan.service, plan.now);
    let admits = |row: &Row| row.view(service, now).state().admits();
    let whole = match after {
        None => true,
        Some(after) => !after.enrolment.is_bound() || (admits(before) && !admits(after)),
    };
    let (mut hit, mut any_revoked, mut any_locked) = (Vec::new(), false, false);
    for machine in machines {
        let revoked = machine.certificates.iter().any(|certificate| is_revoked(plan, certificate));
        let locked = is_one_of_many(before) && is_locked_by(plan, machine.identity.as_ref())?;
        if whole || revoked || locked {
            hit.push(machine);
        }
        any_revoked |= revoked;
        any_locked |= locked;
    }
    if hit.is_empty() {
        return Ok(None);
    }
    let next_join = match after {
        _ if any_locked && !whole => "refused: a lock stands".to_owned(),
        None => "refused: there is no such token".to_owned(),
        Some(after) if !after.enrolment.is_bound() => {
            "only with the new registration secret: its key is unbound".to_owned()
        }
        Some(after) => after.view(service, now).next_join(),
    };
    let consequence = format!("{}; next join: {next_join}", certificates(before, any_revoked, now));
    let one = if let [one] = hit.as_slice() { Some(*one) } else { None };
    let hostname = one.map(|machine| machine.hostname.clone()).filter(|hostname| !hostname.is_empty());
    let mut ids: Vec<&str> =
        hit.iter().filter_map(|machine| machine.identity.as_ref()).map(Identity::id).collect();
    ids.sort_unstable();
    let manner = format!("revoked={any_revoked} {next_join} {}", ids.join(" "));
    let affected = Affected {
        token: before.record.token.name.to_string(),
        machines: hit.len() as u64,
        identity: one.and_then(|machine| machine.identity.as_ref()).map(|identity| identity.id().to_owned()),
        hostname,
        bot: before.record.token.spec.bot_name.as_ref().map(ToString::to_string),
        last_joined_at: hit.iter().filter_map(|machine| machine.last_joined_at).max(),
        consequence,
    };
    Ok(Some(Hit { affected, manner }))
}

/// What becomes of its certificates.
fn certificates(before: &Row, revoked: bool, now: OffsetDateTime) -> String {
    let e = &before.enrolment;
    let until = e.certificates_expire_at.filter(|end| *end > now && !e.certificates_revoked);
    match (revoked, until) {
        (true, _) => "its certificates are revoked at once".to_owned(),
        (false, Some(end)) => format!("its certificates are valid until {}", rfc3339(end)),
        (false, None) => "it has no valid certificates".to_owned(),
    }
}

/// What an administrator is told after the act: the next join as the server sees it now, and the remedy if it is refused.
pub(super) fn next_join(view: &View<'_>) -> String {
    let next = format!("next join: {}", view.next_join());
    if view.state().admits() {
        return next;
    }
    let step = view.explain().next_step;
    format!("{next}; to let it in, {}: `{}`", step.text, step.commands.join("`, `"))
}

/// What is told of hits that were confirmed.
pub(super) fn outcome(hits: &[Hit]) -> String {
    match hits {
        [] => String::new(),
        [Hit { affected, .. }] if affected.machines == 1 => format!("; {}", affected.consequence),
        several => {
            let machines: u64 = several.iter().map(|hit| hit.affected.machines).sum();
            format!("; {machines} machines are cut off")
        }
    }
}

/// Several machines may hold it, each under an identity of its own.
fn is_one_of_many(row: &Row) -> bool {
    row.enrolment.shared || row.record.token.spec.bound_keypair.recovery.mode == RecoveryMode::Insecure
}

async fn machines(plan: &Plan<'_>, row: &Row) -> Result<Vec<Machine>, Refusal> {
    let e = &row.enrolment;
    let mut machines = Vec::new();
    if is_one_of_many(row) {
        let prefix = keys::instances(&row.record.uid.to_string());
        for entry in every(plan.service, &prefix, usize::MAX, plan.now).await? {
            let record = InstanceEntry::decode(&entry.value)?.record;
            machines.push(Machine {
                identity: Some(record.identity),
                hostname: record.facts.hostname,
                last_joined_at: Some(record.last_joined_at),
                certificates: record.issued,
            });
        }
    }
    match machines.iter_mut().find(|machine| machine.identity == e.identity) {
        Some(machine) => machine.certificates.extend(e.issued.iter().cloned()),
        None => machines.push(Machine {
            identity: e.identity.clone(),
            hostname: e.facts.hostname.clone(),
            last_joined_at: e.last_joined_at,
            certificates: e.issued.clone(),
        }),
    }
    Ok(machines)
}

fn is_revoked(plan: &Plan<'_>, certificate: &IssuedCertificate) -> bool {
    let expires = certificate.expires_at.unix_timestamp();
    plan.is_staged(&keys::revoked(ca_kind_text(certificate.ca), expires, &certificate.serial))
}

/// Does the plan lock this one, which no lock kept out before?
fn is_locked_by(plan: &Plan<'_>, identity: Option<&Identity>) -> Result<bool, Refusal> {
    let Some(key) = identity.map(lock_of_identity).filter(|key| plan.is_staged(key)) else {
        return Ok(false);
    };
    let stands = |value: Option<&[u8]>| -> Result<bool, Refusal> {
        let index = value.map(LockIndex::decode).transpose()?.unwrap_or_default();
        Ok(index.locks.iter().any(|lock| lock.expires.is_none_or(|end| end > plan.now)))
    };
    Ok(stands(plan.staged(&key))? && !stands(plan.before(&key))?)
}
