//! The administrator's verbs: they change the enrolment, never the spec.

use std::time::Duration;

use boundkey_token::{RecoveryMode, Token};
use time::OffsetDateTime;

use crate::{Enrolment, EventCode, IssuedCertificate, Sealed, SecretRecord, clock};

/// An administrator's verb on an enrolment (locks and `rm` are the service's).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// `grant-recovery`: the limit becomes the count so far plus `count`.
    GrantRecovery {
        /// So many more recoveries.
        count: u32,
    },
    /// `rotate`: a rotation is due from now, or from `at`.
    Rotate {
        /// None: at once.
        at: Option<OffsetDateTime>,
    },
    /// `resync`: opens the grant, removes the automatic lock, makes a rotation due.
    Resync {
        /// How long the grant stays open.
        ttl: Duration,
        /// Ask for no rotation.
        keep_key: bool,
    },
    /// `revoke`: the certificates of the lineage; the next join is a recovery.
    Revoke,
    /// `reset`: unbinds, a new generation. The new generated secret and its proof key, sealed by the caller.
    Reset {
        /// The secret.
        generated: Sealed,
        /// Its proof key.
        proof_key: Sealed,
    },
}

impl Verb {
    /// Its audit event.
    #[must_use]
    pub fn event_code(&self) -> EventCode {
        match self {
            Self::GrantRecovery { .. } => EventCode::RecoveryGranted,
            Self::Rotate { .. } => EventCode::RotationRequested,
            Self::Resync { .. } => EventCode::ResyncGranted,
            Self::Revoke => EventCode::CertificatesRevoked,
            Self::Reset { .. } => EventCode::TokenReset,
        }
    }
}

/// What a verb changes: all of it in one commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerbOutcome {
    /// The next enrolment; None: nothing is left to do.
    pub next: Option<Enrolment>,
    /// Certificates to revoke.
    pub revoke: Vec<IssuedCertificate>,
    /// Revoke what every instance of the shared lineage holds, and REMOVE the instance records (never mark them
    /// `revoked`, which would shut them out): they come back as recoveries.
    pub revoke_all_instances: bool,
    /// The token's automatic lock goes.
    pub remove_automatic_lock: bool,
}

/// What `verb` changes. Never fails: repeating a verb is harmless.
pub fn apply_verb(token: &Token, enrolment: &Enrolment, verb: Verb, now: OffsetDateTime) -> VerbOutcome {
    match verb {
        Verb::GrantRecovery { count } => grant_recovery(enrolment, count),
        Verb::Rotate { at } => rotate(enrolment, at, now),
        Verb::Resync { ttl, keep_key } => resync(token, enrolment, ttl, keep_key, now),
        Verb::Revoke => revoke(enrolment, now),
        Verb::Reset { generated, proof_key } => reset(token, enrolment, generated, proof_key, now),
    }
}

fn changed(enrolment: &Enrolment, change: impl FnOnce(&mut Enrolment)) -> Option<Enrolment> {
    let mut next = enrolment.clone();
    change(&mut next);
    (next != *enrolment).then_some(next)
}

fn grant_recovery(enrolment: &Enrolment, count: u32) -> VerbOutcome {
    let next = changed(enrolment, |e| e.granted_limit = e.recovery_count.saturating_add(count));
    VerbOutcome { next, ..VerbOutcome::default() }
}

fn rotate(enrolment: &Enrolment, at: Option<OffsetDateTime>, now: OffsetDateTime) -> VerbOutcome {
    let next = changed(enrolment, |e| request_rotation(e, at.unwrap_or(now), now));
    VerbOutcome { next, ..VerbOutcome::default() }
}

fn request_rotation(enrolment: &mut Enrolment, at: OffsetDateTime, now: OffsetDateTime) {
    // One that is due already stays as it is: asking again asks for nothing more.
    let is_due = |asked: &OffsetDateTime| *asked <= now && at <= now;
    if !enrolment.rotate_requested_at.as_ref().is_some_and(is_due) {
        enrolment.rotate_requested_at = Some(clock::micros(at));
    }
}

fn resync(
    token: &Token,
    enrolment: &Enrolment,
    ttl: Duration,
    keep_key: bool,
    now: OffsetDateTime,
) -> VerbOutcome {
    // Nobody holds an unbound token's key, and `insecure` asks for no state: there only the lock is left to remove.
    let has_use = enrolment.is_bound() && token.spec.bound_keypair.recovery.mode != RecoveryMode::Insecure;
    let next = if has_use {
        changed(enrolment, |e| {
            e.resync_until = Some(clock::micros(clock::after(now, ttl)));
            // Whoever copied the state has the key too: it dies when the honest client is back.
            if !keep_key {
                request_rotation(e, now, now);
            }
        })
    } else {
        None
    };
    VerbOutcome { next, remove_automatic_lock: true, ..VerbOutcome::default() }
}

fn revoke(enrolment: &Enrolment, now: OffsetDateTime) -> VerbOutcome {
    if !enrolment.is_bound() {
        return VerbOutcome::default();
    }
    VerbOutcome {
        next: changed(enrolment, |e| {
            // Once more changes nothing: what clients were given since goes with their records.
            if e.shared && !e.certificates_revoked {
                e.shared_revoked_at = Some(clock::micros(now));
            }
            e.certificates_revoked = true;
            e.issued.clear();
        }),
        revoke: unexpired(enrolment, now),
        revoke_all_instances: enrolment.shared,
        remove_automatic_lock: false,
    }
}

fn unexpired(enrolment: &Enrolment, now: OffsetDateTime) -> Vec<IssuedCertificate> {
    enrolment.issued.iter().filter(|c| c.expires_at > now).cloned().collect()
}

/// Greater than any before it, also those of resets that a restored backup does not know: else a state of one of them
/// would pass for one of this generation, ahead of it, and bring back what this reset is to shut out. By the clock, in
/// seconds, which is enough until 2106.
fn next_generation(enrolment: &Enrolment, now: OffsetDateTime) -> u32 {
    let seconds = u32::try_from(now.unix_timestamp().max(0)).unwrap_or(u32::MAX);
    enrolment.generation.saturating_add(1).max(seconds)
}

fn reset(
    token: &Token,
    enrolment: &Enrolment,
    generated: Sealed,
    proof_key: Sealed,
    now: OffsetDateTime,
) -> VerbOutcome {
    let mut secret = SecretRecord {
        generated: Some(generated),
        proof_key: Some(proof_key),
        used: false,
        spec_void: true,
        void_keys: enrolment.secret.void_keys.clone(),
    };
    // Neither the key that was bound nor the one that the spec would arm again, which was rotated away: a reset
    // mostly means that one of them leaked.
    let initial = token.spec.bound_keypair.onboarding.initial_public_key.as_ref();
    for key in initial.into_iter().chain(&enrolment.bound_public_key) {
        secret.void(key.thumbprint());
    }
    VerbOutcome {
        next: Some(Enrolment { generation: next_generation(enrolment, now), secret, ..Enrolment::default() }),
        revoke: unexpired(enrolment, now),
        revoke_all_instances: enrolment.shared,
        remove_automatic_lock: true,
    }
}
