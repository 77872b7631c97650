//! What must hold, told from the logs of what happened. Nothing here asks `decide()` or shares a line with it: where a
//! state stands is read from the two histories, not from sequences, ids and trails.

use boundkey_keys::PublicKey;
use boundkey_lifecycle::*;
use boundkey_token::RecoveryMode;

use crate::client::{File, Message};
use crate::log::{Against, Entry, Held, Log};
use crate::store::{Setup, Store, instant, key};

/// A property that one verdict broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Broken {
    AttemptTwice,
    AdmittedFromElsewhere,
    RotatedAwayKey,
    SecretTwice,
    OverTheLimit,
    LockNotLive,
    LockWithoutCause,
    RetryUnearned,
    WrongKind,
    NoEvent,
    RecordDiffers,
    SecondNewKey,
    SomebodyElse,
}

/// The number of a key that the message or its state names.
pub(crate) fn number(message: &Message, found: &PublicKey) -> u8 {
    let of_state = message.held.as_ref().map(|held| held.key);
    [Some(message.current), message.new, of_state]
        .into_iter()
        .flatten()
        .find(|n| key(*n) == found)
        .unwrap_or(u8::MAX)
}

/// Where the presented state stands, if its key is proven.
fn place(store: &Store, message: &Message) -> Option<Against> {
    let held = message.held.as_ref().filter(|held| message.proves(held.key))?;
    Some(held.against(&store.log))
}

/// The results that a file held, once it holds that of this message.
pub(crate) fn been(message: &Message) -> Vec<u8> {
    let mut been = message.held.as_ref().map(|held| held.been.clone()).unwrap_or_default();
    if !been.contains(&message.attempt) {
        been.push(message.attempt);
    }
    been
}

fn is_present(place: Option<Against>) -> bool {
    matches!(place, Some(Against::Same | Against::Returned))
}

/// Is it too late to renew for whoever shows this? What he was given in another history counts too.
fn too_late(setup: &Setup, store: &Store, held: Option<&Held>, clock: u8) -> bool {
    let elsewhere = held.filter(|held| held.against(&store.log) == Against::Returned);
    let ended = |held: &Held| store.papers.too_late_for(setup, u8::MAX, Some(held.at), false, clock);
    store.papers.too_late(setup, &store.log, clock) && elsewhere.is_none_or(ended)
}

fn is_ahead(place: Option<Against>) -> bool {
    matches!(place, Some(Against::Ahead | Against::AfterReset))
}

/// The history that a join by this message goes on from.
pub(crate) fn base(store: &Store, message: &Message) -> Log {
    match &message.held {
        Some(held) if is_ahead(place(store, message)) => held.log.clone(),
        _ => store.log.clone(),
    }
}

fn is_live(store: &Store, message: &Message) -> bool {
    message.hint.is_some_and(|hint| hint.place == store.log.place())
}

fn grant_open(store: &Store, clock: u8) -> bool {
    store.enrolment.resync_until.is_some_and(|end| end > instant(clock))
}

fn limit(setup: &Setup, store: &Store) -> u32 {
    setup.limit.max(store.enrolment.granted_limit)
}

fn last_key(log: &Log) -> Option<u8> {
    match log.last() {
        Some(Entry::Join { key, .. }) => Some(key),
        _ => None,
    }
}

/// Of one of many, this join: there it is each client's own certificates that count.
fn leaves_shared(store: &Store, message: &Message) -> bool {
    let shared_state = || message.held.as_ref().is_some_and(|held| held.log.is_shared());
    let is_current = place(store, message) == Some(Against::Same);
    store.mode != RecoveryMode::Insecure
        && (base(store, message).is_shared() || (is_current && shared_state()))
}

/// Rule 5: the owner who is not where the lineage stands, or comes too late.
fn by_grant(setup: &Setup, store: &Store, message: &Message, clock: u8) -> bool {
    let place = place(store, message);
    let owner = last_key(&store.log).is_some_and(|bound| message.proves(bound) || is_present(place));
    if store.mode == RecoveryMode::Insecure || !owner || is_ahead(place) || !grant_open(store, clock) {
        return false;
    }
    match place {
        Some(Against::Same | Against::Returned) => {
            let late = store.revoked || too_late(setup, store, message.held.as_deref(), clock);
            late && !store.log.is_shared()
        }
        _ => is_live(store, message),
    }
}

/// Which client this is: the attempt by which it came first.
pub(crate) fn life(setup: &Setup, store: &Store, message: &Message, kind: JoinKind) -> u8 {
    let place = place(store, message);
    let held = message.held.as_ref().filter(|_| !matches!(place, None | Some(Against::BeforeReset)));
    let one_of_many = store.mode == RecoveryMode::Insecure || store.log.is_shared();
    let renewed = setup.is_bot() && kind == JoinKind::Recover && store.mode != RecoveryMode::Insecure;
    let known = match store.log.last() {
        _ if is_ahead(place) => held.map(|held| held.life),
        Some(_) if one_of_many => held.map(|held| held.life),
        Some(Entry::Join { life, .. }) => Some(life),
        _ => None,
    };
    known.filter(|_| !renewed).unwrap_or(message.attempt)
}

/// Of an answer that is given again: whose it is, and when it was made.
pub(crate) fn given(store: &Store, message: &Message, clock: u8) -> (u8, u8) {
    match store.log.last() {
        Some(Entry::Join { attempt, life, at, .. }) if attempt == message.attempt => (life, at),
        _ => {
            again_of_many(store, message.attempt, message.held.as_deref()).unwrap_or((message.attempt, clock))
        }
    }
}

/// The client, and the instant of its last join, that made this attempt.
fn again_of_many(store: &Store, attempt: u8, held: Option<&Held>) -> Option<(u8, u8)> {
    let life = held.map_or(attempt, |held| held.life);
    let client = store.papers.client(life)?;
    (store.log.is_shared() && client.attempt == attempt).then_some((life, client.at))
}

/// What one of many got at this instant was revoked, by the clock: what it got since is good.
fn revoked_since(store: &Store, at: Option<u8>) -> bool {
    let before = |by: u8| at.is_none_or(|at| instant(at) <= instant(by));
    store.revoked && store.many_revoked.is_none_or(before)
}

/// Does this join use a recovery?
pub(crate) fn counts(setup: &Setup, store: &Store, message: &Message, clock: u8) -> bool {
    let place = place(store, message);
    let base = base(store, message);
    if base.last().is_none() {
        return true;
    }
    if store.mode == RecoveryMode::Insecure || by_grant(setup, store, message, clock) {
        return false;
    }
    if leaves_shared(store, message) {
        let held = message.held.as_ref().filter(|held| message.proves(held.key));
        let life = held.map_or(message.attempt, |held| held.life);
        let at = held.map(|held| held.at);
        let revoked = !is_ahead(place) && revoked_since(store, at);
        return store.papers.too_late_for(setup, life, at, revoked, clock);
    }
    match is_ahead(place) {
        true => store.papers.too_late(setup, &base, clock),
        false => store.revoked || too_late(setup, store, message.held.as_deref(), clock),
    }
}

/// Judges one verdict.
pub(crate) fn verdict(
    setup: &Setup,
    store: &Store,
    message: &Message,
    clock: u8,
    verdict: &Verdict,
) -> Option<Broken> {
    match verdict {
        Verdict::Admit(a) => admission(setup, store, message, clock, a),
        Verdict::Retry(_) => {
            let earned = match store.log.last() {
                Some(Entry::Join { attempt, key, .. }) => {
                    let held = message.held.as_deref();
                    let of_many = || again_of_many(store, message.attempt, held).is_some();
                    message.proves(key) && (attempt == message.attempt || of_many())
                }
                _ => false,
            };
            (!earned).then_some(Broken::RetryUnearned)
        }
        Verdict::Deny(d) => denial(store, message, d),
        Verdict::RotationRequired(_) | Verdict::Confirm(_) => None,
    }
}

fn admission(
    setup: &Setup,
    store: &Store,
    message: &Message,
    clock: u8,
    admission: &Admission,
) -> Option<Broken> {
    let (place, base, insecure) =
        (place(store, message), base(store, message), store.mode == RecoveryMode::Insecure);
    let known = is_ahead(place) || is_present(place);
    let advances = matches!(admission.write, Write::Enrolment(_));
    let Some(bound) = last_key(&base) else {
        // Nobody registered in this generation.
        let initial = setup.initial_key.filter(|_| store.log.resets() == 0);
        let right = initial.map_or(message.secret == Some(store.secret), |initial| message.proves(initial));
        return if !right {
            Some(Broken::SecretTwice)
        } else if admission.kind != JoinKind::Register || admission.event.code != EventCode::Registered {
            Some(Broken::NoEvent)
        } else {
            None
        };
    };
    if admission.kind == JoinKind::Register {
        return Some(Broken::SecretTwice);
    }
    let proven = message.proves(bound) || (known && message.held.is_some());
    if !proven {
        return Some(Broken::RotatedAwayKey);
    }
    let left_shared = store.enrolment.shared && is_live(store, message);
    let by_grant = by_grant(setup, store, message, clock);
    if !(known || insecure || left_shared || by_grant) {
        return Some(Broken::AdmittedFromElsewhere);
    }
    if insecure && advances && !known && !is_live(store, message) {
        return Some(Broken::AdmittedFromElsewhere);
    }
    let again = |e: &Entry| matches!(e, Entry::Join { attempt, epoch, .. } if *attempt == message.attempt && *epoch == store.epoch);
    if advances && base.joins().iter().any(again) {
        return Some(Broken::AttemptTwice);
    }
    let counted = counts(setup, store, message, clock);
    if store.mode == RecoveryMode::Standard && counted && base.counted() >= limit(setup, store) {
        return Some(Broken::OverTheLimit);
    }
    if !insecure && !by_grant && counted != (admission.kind == JoinKind::Recover) {
        return Some(Broken::WrongKind);
    }
    let event = match admission.kind {
        _ if !advances => EventCode::InstanceJoined,
        JoinKind::Register => EventCode::Registered,
        JoinKind::Renew => EventCode::Renewed,
        JoinKind::Recover => EventCode::Recovered,
    };
    (admission.event.code != event).then_some(Broken::NoEvent)
}

fn denial(store: &Store, message: &Message, denial: &Denial) -> Option<Broken> {
    if denial.lock.is_none() {
        let said = matches!(denial.event.code, EventCode::Denied(_) | EventCode::SecretReplayed);
        return (!said).then_some(Broken::NoEvent);
    }
    if !is_live(store, message) {
        return Some(Broken::LockNotLive);
    }
    let cause = match (place(store, message), &message.held) {
        (Some(Against::Behind | Against::Forked), Some(held)) => !is_fellow(&store.log, held),
        (_, None) => registered_by(&store.log, message.attempt) && store.log.adoption().is_none(),
        _ => false,
    } && !store.log.is_shared();
    if !cause {
        return Some(Broken::LockWithoutCause);
    }
    (denial.event.code != EventCode::CloneDetected).then_some(Broken::NoEvent)
}

fn registered_by(log: &Log, by: u8) -> bool {
    matches!(log.joins().first(), Some(Entry::Join { attempt, .. }) if *attempt == by)
}

/// The record says what happened.
pub(crate) fn record(store: &Store) -> Option<Broken> {
    let (e, log) = (&store.enrolment, &store.log);
    let agrees = e.sequence == log.joins().len() as u64
        && e.generation == log.generation()
        && e.shared == log.is_shared()
        && e.recovery_count == log.counted()
        && e.bound_public_key.as_ref() == last_key(log).map(key)
        && e.secret.used != log.joins().is_empty();
    (!agrees).then_some(Broken::RecordDiffers)
}

/// What a client that is left alone with a working server must come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    In,
    Denied(Code),
    /// Refused, one way or another.
    Out,
    Anything,
}

/// By the histories of the store and of the file, and nothing else.
pub(crate) fn expected(setup: &Setup, store: &Store, file: &File, clock: u8) -> Expected {
    if store.hand_lock {
        return Expected::Out;
    }
    let empty = Log::default();
    let mine = file.held.as_ref().map_or(&empty, |held| &held.log);
    let stands = file.held.as_ref().map_or(Against::Behind, |held| held.against(&store.log));
    if let Some((_, at)) = &store.auto_lock {
        let outlived =
            file.held.is_some() && matches!(mine.against(at), Against::Ahead | Against::AfterReset);
        if !outlived {
            return Expected::Out;
        }
    }
    let insecure = store.mode == RecoveryMode::Insecure;
    let unless_late = |log: &Log, late: bool| {
        let none_left = store.mode == RecoveryMode::Standard && log.counted() >= limit(setup, store);
        if none_left && late { Expected::Denied(Code::RecoveryLimitReached) } else { Expected::In }
    };
    // The one who stays of many: by what that client got.
    let adopted = |log: &Log, life: u8, at: u8, known: bool| {
        let revoked = known && revoked_since(store, Some(at));
        unless_late(log, store.papers.too_late_for(setup, life, Some(at), revoked, clock))
    };
    if let Some(held) = file.held.as_ref().filter(|_| matches!(stands, Against::Ahead | Against::AfterReset))
    {
        return match mine.is_shared() {
            _ if insecure => Expected::In,
            true => adopted(mine, held.life, held.at, false),
            false => unless_late(mine, store.papers.too_late(setup, mine, clock)),
        };
    }
    let Some(bound) = last_key(&store.log) else {
        let initial = setup.initial_key.filter(|_| store.log.resets() == 0);
        let right = initial.map_or(file.secret == Some(store.secret), |initial| file.key == initial);
        // Two resets that came while a rotation was under way voided both keys that the attempt can offer.
        let is_void = |n: u8| store.enrolment.secret.void_keys.contains(&key(n).thumbprint());
        let offers_void = file.pending.is_some_and(|p| is_void(p.current) && p.new.is_some_and(is_void));
        return match right {
            true if offers_void => Expected::Denied(Code::NewKeyNotNew),
            true => Expected::In,
            false => Expected::Out,
        };
    };
    let holds =
        |key: u8| file.key == key || file.pending.is_some_and(|p| p.current == key || p.new == Some(key));
    if insecure {
        let known = file.held.is_some() && is_present(Some(stands));
        return if known || holds(bound) { Expected::In } else { Expected::Anything };
    }
    let granted = grant_open(store, clock);
    let stays = || {
        let late = store.revoked || too_late(setup, store, file.held.as_deref(), clock);
        unless_late(&store.log, late && !granted)
    };
    let fellow = !store.log.is_shared() && file.held.as_ref().is_some_and(|held| is_fellow(&store.log, held));
    if stands == Against::Returned && !store.log.is_shared() {
        return stays();
    }
    if let Some(held) = file.held.as_ref().filter(|_| is_present(Some(stands))) {
        return match store.log.is_shared() || mine.is_shared() {
            // Another one registered alone with the same attempt, in a later history.
            true if fellow => Expected::Denied(Code::SharedToken),
            true => adopted(&store.log, held.life, held.at, true),
            false => stays(),
        };
    }
    // The answer to what was admitted last is given again, and a new attempt goes on from there.
    let again = |attempt: u8| match store.log.last() {
        Some(Entry::Join { attempt: last, life, at, .. }) if last == attempt => Some((life, at)),
        _ => again_of_many(store, attempt, file.held.as_deref()),
    };
    if let Some((life, at)) = file.pending.and_then(|p| again(p.attempt)).filter(|_| holds(bound)) {
        return match store.log.is_shared() {
            true => adopted(&store.log, life, at, true),
            false => stays(),
        };
    }
    if granted && holds(bound) && !fellow {
        return Expected::In;
    }
    let registered = file.pending.is_some_and(|p| registered_by(&store.log, p.attempt));
    match &file.held {
        _ if stands == Against::BeforeReset => Expected::Out,
        Some(held) if store.log.is_shared() => match mine.is_shared() && holds(bound) {
            true => adopted(&store.log, held.life, held.at, true),
            false => Expected::Denied(Code::SharedToken),
        },
        Some(held) if is_fellow(&store.log, held) => Expected::Denied(Code::SharedToken),
        Some(_) => Expected::Denied(Code::CloneDetected),
        None if registered && store.log.is_shared() => Expected::Out,
        None if registered && store.log.adoption().is_some() => Expected::Denied(Code::SharedToken),
        None if registered => Expected::Denied(Code::CloneDetected),
        // Stolen before its first use.
        None => Expected::Out,
    }
}

/// Of two honest machines with one key: nothing tells this one from a clone. Either the token was never a shared one and
/// is another's, or after a restore each of the two is the one client in a history of its own.
pub(crate) fn is_alone_elsewhere(store: &Store, file: &File) -> bool {
    let Some(Entry::Join { attempt, life, .. }) = store.log.last() else { return false };
    let held = file.held.as_deref();
    let is_own =
        held.is_some_and(|held| held.life == life) || file.pending.is_some_and(|p| p.attempt == attempt);
    let elsewhere = |held: &Held| held.log.against(&store.log) == Against::Forked && !held.log.ever_shared();
    let who = |e: &Entry| matches!(e, Entry::Join { attempt, .. } if attempt / 64 != life / 64);
    let is_of_both = store.log.joins().iter().any(who);
    held.is_some_and(elsewhere) || (!store.log.ever_shared() && (!is_own || is_of_both))
}

/// A client of shared times that is not the one who stayed, though it may be that in a history of its own.
fn is_fellow(log: &Log, held: &Held) -> bool {
    let Some(Entry::Join { first, attempt, life, .. }) = log.last() else { return false };
    let adoption = log.adoption();
    let of_many = held.log.ever_shared() || adoption.is_some();
    let is_his = held.been.contains(&attempt)
        || held.first() == first
        || held.life == life
        || adoption.is_some_and(|(_, adopted)| held.first() == adopted);
    of_many && !is_his
}
