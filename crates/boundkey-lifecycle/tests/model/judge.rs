//! What must hold, told from the logs of what happened. Nothing here asks `decide()` or shares a line with it: where a
//! state stands is read from the two histories, not from sequences, ids and trails.

use boundkey_keys::PublicKey;
use boundkey_lifecycle::*;
use boundkey_token::RecoveryMode;

use crate::client::{File, Message};
use crate::log::{Against, Entry, Log};
use crate::store::{LIFETIME, Setup, Store, instant, key};

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
    Some(held.log.against(&store.log))
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

/// Too late to renew what was issued at that instant?
fn is_late(setup: &Setup, log: &Log, clock: u8) -> bool {
    match log.last() {
        Some(Entry::Join { at, .. }) => instant(clock) >= instant(at) + LIFETIME + setup.policy.host_grace,
        _ => true,
    }
}

fn was_shared(log: &Log) -> bool {
    log.joins().iter().any(|e| matches!(e, Entry::Join { shared: true, .. }))
}

fn last_key(log: &Log) -> Option<u8> {
    match log.last() {
        Some(Entry::Join { key, .. }) => Some(key),
        _ => None,
    }
}

/// Does this join use a recovery?
pub(crate) fn counts(setup: &Setup, store: &Store, message: &Message, clock: u8, kind: JoinKind) -> bool {
    let place = place(store, message);
    if base(store, message).last().is_none() {
        return true;
    }
    if store.mode == RecoveryMode::Insecure {
        return false;
    }
    if was_shared(&store.log) {
        return kind == JoinKind::Recover;
    }
    match &message.held {
        Some(held) if is_ahead(place) => is_late(setup, &held.log, clock),
        _ if place == Some(Against::Same) => store.revoked || is_late(setup, &store.log, clock),
        _ => false,
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
                Some(Entry::Join { attempt, key, .. }) => attempt == message.attempt && message.proves(key),
                _ => false,
            };
            (!earned && !store.enrolment.shared).then_some(Broken::RetryUnearned)
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
    let known = is_ahead(place) || place == Some(Against::Same);
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
    let by_grant = !known && grant_open(store, clock) && is_live(store, message);
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
    let counted = counts(setup, store, message, clock, admission.kind);
    if store.mode == RecoveryMode::Standard && counted && base.counted() >= limit(setup, store) {
        return Some(Broken::OverTheLimit);
    }
    let numbered = known && !insecure && !was_shared(&base);
    if numbered && counted != (admission.kind == JoinKind::Recover) {
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
        (Some(Against::Behind | Against::Forked), _) => true,
        (_, None) => registered_by(&store.log, message.attempt),
        _ => false,
    };
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
        && e.generation as usize == log.resets()
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
    let stands = match file.held {
        Some(_) => mine.against(&store.log),
        None => Against::Behind,
    };
    if let Some((_, at)) = &store.auto_lock {
        let outlived =
            file.held.is_some() && matches!(mine.against(at), Against::Ahead | Against::AfterReset);
        if !outlived {
            return Expected::Out;
        }
    }
    let insecure = store.mode == RecoveryMode::Insecure;
    let is_late_now = |log: &Log, revoked: bool| {
        let none_left = store.mode == RecoveryMode::Standard && log.counted() >= limit(setup, store);
        if none_left && (revoked || is_late(setup, log, clock)) {
            Expected::Denied(Code::RecoveryLimitReached)
        } else {
            Expected::In
        }
    };
    if file.held.is_some() && matches!(stands, Against::Ahead | Against::AfterReset) {
        return if was_shared(mine) { Expected::Anything } else { is_late_now(mine, false) };
    }
    let Some(bound) = last_key(&store.log) else {
        let initial = setup.initial_key.filter(|_| store.log.resets() == 0);
        let right = initial.map_or(file.secret == Some(store.secret), |initial| file.key == initial);
        // A reset that came while a rotation was under way voided the one new key that the attempt can offer.
        let offers_void = file
            .pending
            .and_then(|pending| pending.new)
            .is_some_and(|new| store.enrolment.secret.void_keys.contains(&key(new).thumbprint()));
        return match right {
            true if offers_void => Expected::Denied(Code::NewKeyNotNew),
            true => Expected::In,
            false => Expected::Out,
        };
    };
    let holds =
        |key: u8| file.key == key || file.pending.is_some_and(|p| p.current == key || p.new == Some(key));
    if insecure {
        let known = file.held.is_some() && stands == Against::Same;
        return if known || holds(bound) { Expected::In } else { Expected::Anything };
    }
    if store.enrolment.shared || was_shared(&store.log) || was_shared(mine) {
        return Expected::Anything;
    }
    if stands == Against::Same {
        return is_late_now(&store.log, store.revoked);
    }
    // The answer to what was admitted last is given again, and a new attempt goes on from there.
    let again = file.pending.is_some_and(
        |pending| matches!(store.log.last(), Some(Entry::Join { attempt, .. }) if attempt == pending.attempt),
    );
    if again && holds(bound) {
        return is_late_now(&store.log, store.revoked);
    }
    if grant_open(store, clock) && holds(bound) {
        return Expected::In;
    }
    match stands {
        Against::BeforeReset => Expected::Out,
        _ if file.held.is_some() => Expected::Denied(Code::CloneDetected),
        _ if file.pending.is_some_and(|p| registered_by(&store.log, p.attempt)) => {
            Expected::Denied(Code::CloneDetected)
        }
        // Stolen before its first use.
        _ => Expected::Out,
    }
}
