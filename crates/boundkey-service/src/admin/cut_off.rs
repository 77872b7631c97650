//! One rule for every request that may cut machines off: whoever asks for it first learns whom it hits, and confirms that.
//!
//! A request is planned, and each token that it touches is looked at as it was and as it would be. A machine is hit if its
//! token admitted it and no longer would, if a role that it has is taken away, if its key is unbound, or if its certificates
//! are revoked. A plan that hits somebody is not committed unless it was confirmed. What is told and what is done are one plan, on the same revisions.

use std::collections::HashMap;

use boundkey_keys::sha256;
use boundkey_lifecycle::{Identity, IssuedCertificate, View};
use boundkey_proto::{Affected, Confirmation};
use boundkey_store::keys;
use boundkey_store::records::{InstanceEntry, LockIndex, Record, TokenRecord};
use boundkey_token::{Role, RoleSet};
use serde::{Deserialize, Deserializer};
use time::OffsetDateTime;

use super::plan::{Pages, Plan};
use super::row::{self, Row};
use crate::context::hex;
use crate::join::lock_of_identity;
use crate::revocation::Marks;
use crate::{Refusal, ca_kind_text, rfc3339};

/// Tokens told in one answer.
const TOLD: usize = 20;
/// Tokens that are looked at together.
const PAGE: usize = 1000;

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

/// The tokens that a plan touches. They are looked at page by page, so that a bot may have any number of them.
pub(super) struct Watched<'a>(&'a [String]);

/// One machine behind a token.
struct Machine {
    identity: Option<Identity>,
    hostname: String,
    roles: RoleSet,
    last_joined_at: Option<OffsetDateTime>,
    certificates: Vec<IssuedCertificate>,
}

/// A token whose machines are hit.
pub(super) struct Hit {
    affected: Affected,
    /// Who is hit and how, without the times: a machine that renews meanwhile is hit in the same way.
    manner: String,
}

/// Whom a request hits, in the order of the tokens' names as they were given.
#[derive(Default)]
pub(super) struct Hits {
    tokens: usize,
    machines: u64,
    /// Of some token not all machines were counted.
    uncounted: bool,
    last_joined_at: Option<OffsetDateTime>,
    /// Those that are told.
    first: Vec<Affected>,
    /// Of who is hit and how.
    digest: [u8; 32],
}

impl<'a> Watched<'a> {
    pub(super) fn new(names: &'a [String]) -> Self {
        Self(names)
    }

    /// Whom the plan hits, as it is staged now: each token as it is in the store, and as it would be.
    pub(super) async fn hits(&self, plan: &Plan<'_>) -> Result<Hits, Refusal> {
        let mut hits = Hits::default();
        for names in self.0.chunks(PAGE) {
            let before = row::stored(plan.service, names, plan.now).await?;
            let after = row::planned(plan, names).await?;
            let after: HashMap<&str, &Row> =
                after.iter().map(|row| (row.record.token.name.as_str(), row)).collect();
            for before in before.iter().filter(|row| row.enrolment.is_bound()) {
                let after = after.get(before.record.token.name.as_str()).copied();
                if let Some(hit) = Change::new(plan, before, after).hit().await? {
                    hits.add(hit);
                }
            }
        }
        Ok(hits)
    }
}

impl Hits {
    fn add(&mut self, Hit { affected, manner }: Hit) {
        self.tokens += 1;
        self.machines += affected.machines;
        self.uncounted |= affected.machines > Affected::COUNTED;
        self.last_joined_at = self.last_joined_at.max(affected.last_joined_at);
        self.digest = sha256(&[&self.digest, affected.token.as_bytes(), b" ", manner.as_bytes()]);
        if self.first.len() < TOLD {
            self.first.push(affected);
        }
    }

    /// The same for the same machines hit in the same way. That one of them has renewed meanwhile is no other answer.
    fn tag(&self, what: &str) -> String {
        hex(&sha256(&[b"boundkey confirmation", what.as_bytes(), b"\n", &self.digest])[..16])
    }

    /// One sentence: whoever shows it makes lines of `confirmation.affected` where there are several.
    fn told(&self, what: &str) -> String {
        if let ([affected], 1) = (self.first.as_slice(), self.tokens) {
            return format!("`{what}` cuts off {affected}: {}", affected.consequence);
        }
        let last = self.last_joined_at.map(|at| format!(", of which one joined at {}", rfc3339(at)));
        let last = last.unwrap_or_default();
        format!("`{what}` cuts off {} machines of {} tokens{last}", self.counted(), self.tokens)
    }

    /// `12`, or `more than 1000` where not all were counted.
    fn counted(&self) -> String {
        match self.uncounted {
            true => format!("more than {}", self.machines - 1),
            false => self.machines.to_string(),
        }
    }
}

/// Refuses what hits somebody and was not confirmed. `what`: the request, as it is typed.
pub(super) fn require(confirm: &Confirm, what: &str, hits: &Hits) -> Result<(), Refusal> {
    if hits.tokens == 0 || *confirm == Confirm::Anybody {
        return Ok(());
    }
    let tag = hits.tag(what);
    if matches!(confirm, Confirm::Told(told) if *told == tag) {
        return Ok(());
    }
    let mut refusal = Refusal::new(409, "confirmation_required", hits.told(what));
    let affected = hits.first.clone();
    refusal.problem.confirmation = Some(Confirmation { tag, machines: hits.machines, affected });
    Err(refusal)
}

/// A token as it was and as it would be.
struct Change<'a> {
    plan: &'a Plan<'a>,
    before: &'a Row,
    after: Option<&'a Row>,
    /// It let machines in.
    admitted: bool,
    /// Whoever holds it is hit.
    whole: bool,
    /// What it was issued, or its clients, is revoked by a mark that the plan sets.
    voided: bool,
}

/// Who of a token's machines is hit.
#[derive(Default)]
struct Struck {
    machines: u64,
    /// If it is one.
    one: Option<Machine>,
    ids: Vec<String>,
    last_joined_at: Option<OffsetDateTime>,
    revoked: bool,
    locked: bool,
    role: Option<Role>,
    /// Others are not hit.
    spares: bool,
}

impl<'a> Change<'a> {
    fn new(plan: &'a Plan<'a>, before: &'a Row, after: Option<&'a Row>) -> Self {
        let admits = |row: &Row| row.view(plan.service, plan.now).state().admits();
        let admitted = admits(before);
        let whole = match after {
            None => true,
            Some(after) => !after.enrolment.is_bound() || (admitted && !admits(after)),
        };
        let TokenRecord { uid, token, .. } = &before.record;
        let voided = Marks::keys(*uid, token, true).iter().any(|key| plan.marks.contains(key));
        Self { plan, before, after, admitted, whole, voided }
    }

    async fn hit(&self) -> Result<Option<Hit>, Refusal> {
        let before = self.before;
        let struck = self.struck().await?;
        if struck.machines == 0 {
            return Ok(None);
        }
        let next_join = self.next_join(&struck);
        let certificates = certificates(before, struck.revoked, self.plan.now);
        let manner = format!("revoked={} {next_join} {}", struck.revoked, self.who(&struck));
        let (identity, hostname) = match struck.one {
            Some(one) => (one.identity.map(|identity| identity.id().to_owned()), one.hostname),
            None => (None, String::new()),
        };
        let affected = Affected {
            token: before.record.token.name.to_string(),
            machines: struck.machines,
            identity,
            hostname: Some(hostname).filter(|hostname| !hostname.is_empty()),
            bot: before.record.token.spec.bot_name.as_ref().map(ToString::to_string),
            last_joined_at: struck.last_joined_at,
            consequence: format!("{certificates}; next join: {next_join}"),
        };
        Ok(Some(Hit { affected, manner }))
    }

    /// Of a shared token anybody who holds the key can add a machine at any time: a yes to all of them is one to these too.
    fn who(&self, struck: &Struck) -> String {
        let all = self.whole || !struck.spares || struck.machines > Affected::COUNTED;
        if self.before.is_one_of_many() && all {
            return "all instances".to_owned();
        }
        let mut ids: Vec<&str> = struck.ids.iter().map(String::as_str).collect();
        ids.sort_unstable();
        ids.join(" ")
    }

    fn next_join(&self, struck: &Struck) -> String {
        match (self.after, struck.role) {
            _ if struck.locked && !self.whole => "refused: a lock stands".to_owned(),
            (None, _) => "refused: there is no such token".to_owned(),
            (Some(after), _) if !after.enrolment.is_bound() => {
                "only with the new registration secret: its key is unbound".to_owned()
            }
            (Some(_), Some(role)) if !self.whole => {
                format!("refused: role {role} is not in spec.roles any more")
            }
            (Some(after), _) => after.view(self.plan.service, self.plan.now).next_join(),
        }
    }

    /// Looks at each machine, until there are more than are counted.
    async fn struck(&self) -> Result<Struck, Refusal> {
        let mut struck = Struck::default();
        let e = &self.before.enrolment;
        let mut known = Some(Machine {
            identity: e.identity.clone(),
            hostname: e.facts.hostname.clone(),
            roles: e.facts.roles.clone(),
            last_joined_at: e.last_joined_at,
            certificates: e.issued.clone(),
        });
        let TokenRecord { uid, token, .. } = &self.before.record;
        let is_one_of_many = self.before.is_one_of_many();
        let prefix = keys::instances(&uid.to_string());
        let mut pages = is_one_of_many.then(|| Pages::of(&prefix));
        let (service, now) = (self.plan.service, self.plan.now);
        let marks = service.marks(*uid, token, is_one_of_many, now).await?;
        while let Some(pages) = &mut pages
            && let Some(entries) = pages.next(service, now).await?
        {
            for entry in entries.iter().filter(|entry| !marks.cover(entry.revision)) {
                let record = InstanceEntry::decode(&entry.value)?.record;
                let mut machine = Machine {
                    identity: Some(record.identity),
                    hostname: record.facts.hostname,
                    roles: record.facts.roles,
                    last_joined_at: Some(record.last_joined_at),
                    certificates: record.issued,
                };
                if let Some(known) = known.take_if(|known| known.identity == machine.identity) {
                    machine.certificates.extend(known.certificates);
                }
                self.look_at(machine, &mut struck)?;
                if struck.machines > Affected::COUNTED {
                    return Ok(struck);
                }
            }
        }
        if let Some(known) = known {
            self.look_at(known, &mut struck)?;
        }
        Ok(struck)
    }

    fn look_at(&self, machine: Machine, struck: &mut Struck) -> Result<(), Refusal> {
        let plan = self.plan;
        let is_revoked = |certificate: &IssuedCertificate| {
            is_listed(plan, certificate) || (self.voided && certificate.expires_at > plan.now)
        };
        let revoked = machine.certificates.iter().any(is_revoked);
        let locked = self.before.is_one_of_many() && is_locked_by(plan, machine.identity.as_ref())?;
        let role = self.lost_role(&machine.roles);
        if !self.whole && !revoked && !locked && role.is_none() {
            struck.spares = true;
            return Ok(());
        }
        struck.machines += 1;
        struck.revoked |= revoked;
        struck.locked |= locked;
        struck.role = struck.role.or(role);
        struck.last_joined_at = struck.last_joined_at.max(machine.last_joined_at);
        struck.ids.extend(machine.identity.as_ref().map(|identity| identity.id().to_owned()));
        struck.one = (struck.machines == 1).then_some(machine);
        Ok(())
    }

    /// A role that it ran at its last join, which the token allowed and would not any more.
    fn lost_role(&self, roles: &RoleSet) -> Option<Role> {
        let allowed = |row: &Row| roles.first_not_in(&row.record.token.spec.roles);
        self.after.and_then(allowed).filter(|_| self.admitted && allowed(self.before).is_none())
    }
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
pub(super) fn outcome(hits: &Hits) -> String {
    match (hits.tokens, hits.first.as_slice()) {
        (0, _) => String::new(),
        (1, [affected]) if affected.machines == 1 => format!("; {}", affected.consequence),
        _ => format!("; {} machines are cut off", hits.counted()),
    }
}

fn is_listed(plan: &Plan<'_>, certificate: &IssuedCertificate) -> bool {
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
