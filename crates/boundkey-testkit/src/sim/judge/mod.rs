//! Who may be in, by who knows what: a model that shares no rule with `decide()`.
//!
//! It knows of every holder (honest machine or thief) which attempts and keys are on his disk, and of every admitted join
//! which attempt made it. Whoever has the attempt that made the present state, and the key that it bound, is an *insider*
//! of the lineage; a copy makes the thief one, and the next join of either makes an outsider of the other. From this alone:
//!
//! - an insider is never refused for a reason that nobody gave, and never condemned: no honest machine needs a human;
//! - an outsider is never admitted, and when he comes with a state and its key, the token is locked: no clone stays in.
//!
//! After a restore the same holds for the position that came back; who is ahead of it, and was there by an undisturbed
//! history, is an insider too.

mod admin;
mod answer;
mod clients;
mod commit;
mod counted;
mod view;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use boundkey_keys::Thumbprint;
use boundkey_lifecycle::TRAIL_LENGTH;
use boundkey_token::RecoveryMode;
use time::OffsetDateTime;

use super::clock::Micros;
use super::hub::{ActorId, DiskView};
use super::report::Report;
pub(super) use answer::{Began, Outcome};
use counted::Counted;
use view::{Adopted, target_of};
pub(super) use view::{View, Views};

pub(super) type Attempt = [u8; 16];
/// The id of a join, as the server named it: an opaque name here.
pub(super) type Label = [u8; 16];

/// A broken promise, in a sentence.
pub(super) type Verdict = Result<(), String>;

/// What one holder has, or had, on his disk.
#[derive(Debug, Clone, Default)]
pub(super) struct Knowledge {
    pub(super) keys: BTreeSet<Thumbprint>,
    pub(super) disk: DiskView,
    /// The registration secret that he is configured with.
    pub(super) secret: Option<String>,
}

/// Somebody who joins.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    pub(super) token: String,
    pub(super) honest: bool,
    pub(super) knows: Knowledge,
}

/// A join that was admitted, in whichever history.
#[derive(Debug, Clone)]
struct Joined {
    attempt: Attempt,
    /// More than one if histories differ.
    keys: BTreeSet<Thumbprint>,
    parent: Option<Label>,
    uid: [u8; 16],
    generation: u32,
    sequence: u64,
    expires: Option<OffsetDateTime>,
    recoveries: u32,
    first_step: u64,
    /// Of a lineage that a thief registered.
    of_thief: bool,
    /// Who was adopted last, on the way to it.
    adopted: Option<Adopted>,
}

/// A join state that was given out, as far as its text tells.
#[derive(Debug, Clone)]
struct Shown {
    label: Label,
    /// Whom it names, as in the key of the index of his locks.
    identity: String,
    /// One of many clients'.
    shared: bool,
    /// Who has it made this attempt,
    attempt: Attempt,
    /// and held that state then, with its key.
    from: Option<[u8; 32]>,
}

/// What was sent, and what its sender's disk said then.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) from: ActorId,
    pub(super) step: u64,
    pub(super) disk: DiskView,
    /// It carries a proof of the registration secret.
    pub(super) with_secret: bool,
}

/// Why a token may be locked, or its machine shut out, without anybody having broken a promise.
#[derive(Debug, Clone, Default)]
pub(super) struct Taint {
    /// A thief holds a copy or the secret.
    pub(super) theft: bool,
    /// A machine was reverted to a snapshot.
    pub(super) revert: bool,
    /// Bound anew by the administrator.
    pub(super) reset: bool,
    /// Of two machines that hold one static key the second came by a resync grant, outside of shared operation. Rule 6
    /// takes the first for a clone.
    pub(super) doubled: bool,
    /// When a copy was admitted that is in use since.
    first_use: Option<Micros>,
}

pub(super) struct Judge {
    pub(super) holders: Vec<Holder>,
    pub(super) views: Views,
    pub(super) taints: BTreeMap<String, Taint>,
    joined: HashMap<Label, Joined>,
    states: HashMap<[u8; 32], Shown>,
    /// Whom each attempt's certificates named, so that he is known before he has a state.
    named: HashMap<Attempt, BTreeSet<String>>,
    /// The identities that one and the same bot had before: each of its recoveries makes it a new instance.
    earlier: HashMap<String, String>,
    serials: HashMap<(&'static str, Vec<u8>), [u8; 32]>,
    pub(super) step: u64,
    pub(super) now: Micros,
    pub(super) history: u64,
    commits: u64,
    /// By server.
    counted: BTreeMap<usize, Counted>,
    pub(super) graces: (std::time::Duration, std::time::Duration),
}

impl Judge {
    pub(super) fn new(graces: (std::time::Duration, std::time::Duration)) -> Self {
        Self {
            holders: Vec::new(),
            views: Views::default(),
            taints: BTreeMap::new(),
            joined: HashMap::new(),
            states: HashMap::new(),
            named: HashMap::new(),
            earlier: HashMap::new(),
            serials: HashMap::new(),
            step: 0,
            now: 0,
            history: 0,
            commits: 0,
            counted: BTreeMap::new(),
            graces,
        }
    }

    /// The store is what it was then. Of what happened since it knows no more than of any other history.
    pub(super) fn restored(&mut self, views: &Views) {
        self.views = views.clone();
        self.history += 1;
        self.commits += 1;
        self.taints.values_mut().for_each(|taint| taint.first_use = None);
    }

    pub(super) fn saved(&mut self, actor: ActorId, disk: DiskView) {
        let Some(holder) = self.holders.get_mut(actor) else { return };
        holder.knows.learn(disk);
    }

    pub(super) fn taint(&mut self, token: &str) -> &mut Taint {
        self.taints.entry(token.to_owned()).or_default()
    }

    pub(super) fn view(&self, token: &str) -> Option<&View> {
        self.views.tokens.get(token)
    }

    /// Is this the state that the holder's disk holds now?
    pub(super) fn presented(&self, disk: &DiskView) -> Option<Label> {
        self.shown(disk).map(|shown| shown.label)
    }

    fn shown(&self, disk: &DiskView) -> Option<&Shown> {
        self.states.get(&disk.state?)
    }

    /// Does this actor, with this disk, have that state, or the attempt and the key that get it by a retry?
    fn can_show(&self, actor: ActorId, disk: &DiskView, label: Label) -> bool {
        let (Some(holder), Some(joined)) = (self.holders.get(actor), self.joined.get(&label)) else {
            return false;
        };
        // The same attempt may have bound another key in another history: here it is the one on record.
        let here = self.views.tokens.get(&holder.token).filter(|view| view.label() == Some(label));
        let here = here.and_then(|view| view.enrolment.bound_public_key.as_ref()).map(|key| key.thumbprint());
        let has_key = || match here {
            Some(key) => holder.knows.keys.contains(&key),
            None => joined.keys.iter().any(|key| holder.knows.keys.contains(key)),
        };
        self.presented(disk) == Some(label) || (disk.attempt == Some(joined.attempt) && has_key())
    }

    /// Did this disk's state come, one join after the other, from the attempt that made that join, in whichever history?
    /// None: not within so many joins.
    fn has_returned(&self, disk: &DiskView, label: Label, within: usize) -> Option<bool> {
        let joined = self.joined.get(&label)?;
        let mut at = disk.state;
        for _ in 0..within {
            let Some(shown) = at.and_then(|state| self.states.get(&state)) else { return Some(false) };
            let presented = self.joined.get(&shown.label);
            if presented.is_none_or(|p| (p.uid, p.generation) != (joined.uid, joined.generation)) {
                return Some(false);
            }
            if shown.attempt == joined.attempt {
                return Some(true);
            }
            at = shown.from;
        }
        None
    }

    /// From another history, by 16 joins at most.
    fn comes_back(&self, disk: &DiskView, label: Label) -> bool {
        let is_behind = || {
            let presented = self.presented(disk);
            presented.is_some_and(|l| self.descends(label, l, usize::MAX) == Some(true))
        };
        self.has_returned(disk, label, TRAIL_LENGTH) == Some(true) && !is_behind()
    }

    fn knows(&self, actor: ActorId, label: Label) -> bool {
        self.holders.get(actor).is_some_and(|holder| self.can_show(actor, &holder.knows.disk, label))
    }

    /// Does `label` come after `earlier` in one line, whose last so many joins can be told?
    fn descends(&self, label: Label, earlier: Label, within: usize) -> Option<bool> {
        let mut at = Some(label);
        for _ in 0..within {
            match at {
                Some(label) if label == earlier => return Some(true),
                Some(label) => at = self.joined.get(&label).and_then(|joined| joined.parent),
                None => return Some(false),
            }
        }
        None
    }

    /// May this holder get in, as far as identity goes?
    pub(super) fn is_insider(&self, actor: ActorId) -> bool {
        let Some(holder) = self.holders.get(actor) else { return false };
        let Some(view) = self.views.tokens.get(&holder.token) else { return false };
        let ahead = self.is_ahead(actor, view);
        match view.label() {
            // Whoever proves the key.
            Some(_) if view.mode() == RecoveryMode::Insecure && view.is_key_of(&holder.knows.disk) => true,
            Some(label) => ahead || self.knows(actor, label) || self.comes_back(&holder.knows.disk, label),
            None => ahead || view.may_register(&holder.knows),
        }
    }

    /// A client of the time when the token was shared, and not the one that was adopted since, nor a copy of him.
    fn is_fellow(&self, view: &View, disk: &DiskView) -> bool {
        let Some(shown) = self.shown(disk) else {
            // It registered in shared times, and its answer never came.
            let made = disk.attempt.and_then(|attempt| self.named.get(&attempt));
            let made = made.filter(|_| view.adopted.is_some());
            return made.is_some_and(|made| !made.iter().any(|identity| self.is_own(view, identity)));
        };
        let Some(joined) = self.joined.get(&shown.label) else { return false };
        let of_lineage = joined.uid == view.uid && joined.generation == view.enrolment.generation;
        let own = joined.adopted.as_ref().filter(|_| !shown.shared);
        let of_many = shown.shared || own.is_some() || view.adopted.is_some();
        let returned = view.label().is_some_and(|l| self.has_returned(disk, l, usize::MAX) == Some(true));
        let came_as = own.map_or(&shown.identity, |adopted| &adopted.identity);
        let is_own = self.is_own(view, &shown.identity) || self.is_own(view, came_as);
        of_lineage && of_many && !returned && !is_own
    }

    /// A bot's state from before its token was shared, under a name that it has had since neither in shared times nor now:
    /// nothing tells it from a fellow's once its marks are gone.
    fn had_another_name(&self, view: &View, disk: &DiskView) -> bool {
        let Some(shown) = self.shown(disk).filter(|shown| view.is_bot() && !shown.shared) else {
            return false;
        };
        let (Some(joined), Some(adopted)) = (self.joined.get(&shown.label), &view.adopted) else {
            return false;
        };
        let present = view.enrolment.identity.as_ref().map(target_of);
        joined.sequence < adopted.sequence
            && adopted.identity != shown.identity
            && present.as_ref() != Some(&shown.identity)
    }

    /// Is it one of the names that this lineage's one client has, or had?
    fn is_own(&self, view: &View, identity: &str) -> bool {
        let adopted = view.adopted.as_ref().map(|adopted| adopted.identity.clone());
        let present = view.enrolment.identity.as_ref().map(target_of);
        [adopted, present].into_iter().flatten().any(|name| {
            let lives = std::iter::successors(Some(&name), |name| self.earlier.get(*name));
            lives.take(self.earlier.len() + 1).any(|life| life == identity)
        })
    }

    /// Whom a holder with this disk may be taken for: whom his state names, whom his attempt made, and, of a lineage of
    /// one, whom the record names.
    fn identities(&self, view: &View, disk: &DiskView) -> BTreeSet<String> {
        let mut found: BTreeSet<String> =
            disk.attempt.and_then(|attempt| self.named.get(&attempt)).cloned().unwrap_or_default();
        found.extend(self.shown(disk).map(|shown| shown.identity.clone()));
        if !view.is_one_of_many() {
            found.extend(view.enrolment.identity.as_ref().map(target_of));
        }
        found
    }

    /// Holds a state that the store has forgotten, in one line with what it knows.
    fn is_ahead(&self, actor: ActorId, view: &View) -> bool {
        let Some(holder) = self.holders.get(actor) else { return false };
        let presented = self.presented(&holder.knows.disk);
        let Some((label, joined)) = presented.and_then(|l| Some((l, self.joined.get(&l)?))) else {
            return false;
        };
        let enrolment = &view.enrolment;
        let ahead = joined.uid == view.uid
            && (joined.generation, joined.sequence) > (enrolment.generation, enrolment.sequence);
        let forked = joined.generation == enrolment.generation
            && view.label().is_some_and(|stands| self.descends(label, stands, usize::MAX) == Some(false));
        ahead && !forked
    }

    /// Holds a state of an earlier generation than the other one does: his machine was taken back to before a reset.
    pub(super) fn is_older_than_a_reset(&self, owner: ActorId, other: ActorId) -> bool {
        let generation = |actor: ActorId| {
            let presented = self.presented(&self.holders.get(actor)?.knows.disk)?;
            Some(self.joined.get(&presented)?.generation)
        };
        generation(owner) < generation(other)
    }

    /// Holds a lineage that a thief began, with a secret or key that he had stolen before its first use.
    pub(super) fn is_registrant(&self, thief: ActorId) -> bool {
        let presented = self.holders.get(thief).and_then(|holder| self.presented(&holder.knows.disk));
        presented.and_then(|label| self.joined.get(&label)).is_some_and(|joined| joined.of_thief)
    }

    /// The recoveries that have to be granted so that this token's machine gets in, if that is what it lacks: counted from
    /// what the store knows. (Where it was restored, the machine's own state tells how far the lineage had got.)
    pub(super) fn recoveries_needed(&self, token: &str, now: OffsetDateTime) -> Option<u32> {
        let view = self.views.tokens.get(token)?;
        let e = &view.enrolment;
        let grace = if view.is_bot() { self.graces.1 } else { self.graces.0 };
        let mut owners = (0..self.holders.len()).filter(|actor| {
            let holder = &self.holders[*actor];
            holder.honest && holder.token == token && self.is_ahead(*actor, view)
        });
        let ahead = owners.next().and_then(|actor| self.presented(&self.holders[actor].knows.disk));
        let (used, expires, revoked) = match ahead.and_then(|label| self.joined.get(&label)) {
            Some(joined) => (joined.recoveries, joined.expires, false),
            None if e.is_bound() => (e.recovery_count, e.certificates_expire_at, e.certificates_revoked),
            None => return None,
        };
        let late = revoked || expires.is_some_and(|end| now >= end + grace);
        (late && used >= view.limit()).then(|| used - e.recovery_count.min(used) + 1)
    }

    /// Nobody holds this token's key but its own machine, as it was left.
    fn is_clean(&self, token: &str) -> bool {
        self.taints
            .get(token)
            .is_none_or(|taint| !taint.theft && !taint.revert && !taint.reset && !taint.doubled)
    }

    /// No thief and no administrator had a hand in this holder's lineage.
    pub(super) fn is_untouched(&self, actor: ActorId) -> bool {
        self.holders.get(actor).is_some_and(|holder| self.is_clean(&holder.token))
    }

    /// Somebody was admitted to a lineage of one. If it was a thief, a copy is in use; if it was the owner (by a grant, with
    /// a state that the store had forgotten, or with the very attempt that the thief had copied), the copy is out.
    fn admitted_to_one(&mut self, actor: ActorId, token: &str) {
        let honest = self.holders.get(actor).is_some_and(|holder| holder.honest);
        let now = self.now;
        let taint = self.taint(token);
        taint.first_use = if honest { None } else { taint.first_use.or(Some(now)) };
    }

    fn detected(&mut self, token: &str, report: &mut Report) {
        let now = self.now;
        let Some(taint) = self.taints.get_mut(token).filter(|taint| taint.theft) else { return };
        report.detections += 1;
        // None: the owner had gone on, and the copy was found out as it was used.
        let time = taint.first_use.take().map_or(0, |first| now - first);
        report.slowest_detection = report.slowest_detection.max(time);
    }
}

impl Knowledge {
    /// A key that is not on the disk but beside it.
    pub(super) fn learn_key(&mut self, key: Thumbprint) {
        self.keys.insert(key);
    }

    pub(super) fn learn(&mut self, disk: DiskView) {
        self.keys.extend(disk.bound);
        self.keys.extend(disk.new);
        self.disk = disk;
    }

    /// A thief who throws the pending attempt away.
    pub(super) fn drop_attempt(&mut self) {
        self.disk.attempt = None;
    }
}
