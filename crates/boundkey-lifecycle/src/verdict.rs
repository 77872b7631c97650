//! What `decide()` answers.

use boundkey_keys::PublicKey;
use boundkey_token::{RequestedNames, RoleSet};
use time::OffsetDateTime;

use crate::{
    Code, Enrolment, EventCode, Identity, InstanceRecord, IssuedCertificate, LockPosition, Position,
    StateClaims,
};

/// The outcome of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Rule 10: commit [`Admission::write`] (conditional on all that was read), then sign and answer.
    Admit(Box<Admission>),
    /// Rule 4: the answer is given again, nothing is written.
    Retry(Box<Retry>),
    /// Rule 9: nothing is written.
    RotationRequired(RotationRequired),
    /// Only a live request may go on from here; nothing is written.
    Confirm(Confirm),
    /// Refused. Nothing is written but the event, and the lock if there is one.
    Deny(Box<Denial>),
}

/// What an admitted join was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinKind {
    /// A key became bound.
    Register,
    /// Within the renewal window: uses no recovery.
    Renew,
    /// After it, after a revocation, by grant, or as a client of a shared token that the server does not know.
    Recover,
}

/// An admitted join, and all that it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// What it was.
    pub kind: JoinKind,
    /// The record to write.
    pub write: Write,
    /// The join state to hand out.
    pub claims: StateClaims,
    /// Who the certificates name.
    pub identity: Identity,
    /// The key that is bound now.
    pub bound_key: PublicKey,
    /// The names to certify.
    pub names: RequestedNames,
    /// The roles to certify.
    pub roles: RoleSet,
    /// Whole microseconds, UTC.
    pub issued_at: OffsetDateTime,
    /// Whole seconds, UTC.
    pub certificates_expire_at: OffsetDateTime,
    /// Earlier certificates that this join revokes.
    pub revoke: Vec<IssuedCertificate>,
    /// Leaving shared operation: all other instances' certificates are revoked too (their records may go).
    pub revoke_other_instances: bool,
    /// Automatic locks that this join outlived (rule 3).
    pub remove_locks: Vec<String>,
    /// For the audit log, in the same commit.
    pub event: Event,
}

impl Admission {
    /// Fixes the serials of all certificates of this join in the record to be committed.
    pub fn record_issued(&mut self, certificates: impl IntoIterator<Item = IssuedCertificate>) {
        match &mut self.write {
            Write::Enrolment(e) => e.issued.extend(certificates),
            Write::Instance(i) => i.issued.extend(certificates),
        }
    }
}

/// What is committed: the enrolment, or (a further join of a shared lineage) one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "it lives in a boxed Admission, once for each join")]
pub enum Write {
    /// The whole enrolment.
    Enrolment(Enrolment),
    /// `instance/<uid>/<id>`; the enrolment stays as it is.
    Instance(InstanceRecord),
}

/// Rule 4: the answer to the attempt that was admitted last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// The same join state, byte for byte.
    pub claims: StateClaims,
    /// Who that join's certificates named.
    pub identity: Identity,
    /// The bound key.
    pub bound_key: PublicKey,
    /// The roles asked for: those of that join, if there are certificates.
    pub roles: RoleSet,
    /// None: provisional (expired, revoked, or asked for other keys); the client goes on at once with a new attempt.
    pub certificates: Option<RetryCertificates>,
}

/// What the same to-be-signed bytes are made from again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryCertificates {
    /// When the join was admitted.
    pub issued_at: OffsetDateTime,
    /// Their end.
    pub expire_at: OffsetDateTime,
    /// The names.
    pub names: RequestedNames,
}

/// Rule 9: the client makes a key, stores it and completes the same challenge with both proofs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotationRequired {
    /// Since when it is due.
    pub since: OffsetDateTime,
}

/// Answered with a fresh challenge that names `position`; the client completes the same attempt over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirm {
    /// Where the stored lineage stands.
    pub position: Position,
    /// Why a live request is asked for.
    pub reason: ConfirmReason,
}

/// What only a live request may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfirmReason {
    /// Condemn (rule 6). Three in a row are worth an event ([`EventCode::CloneSuspected`]).
    CloneSuspected,
    /// Use a grant (rule 5).
    Resync,
    /// Enter or leave shared operation (rule 6a).
    Shared,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The true cause: for log and audit.
    pub code: Code,
    /// Something was proven, so the client may be told the true code; else it is told `denied`.
    pub proven: bool,
    /// A human sentence: what was found, what is allowed, what to do next. For the client only if `proven`.
    pub message: String,
    /// The token is locked by this refusal.
    pub lock: Option<NewLock>,
    /// For the audit log; of a stranger, counted rather than written.
    pub event: Event,
}

impl Denial {
    /// The code that the client is told.
    #[must_use]
    pub fn public_code(&self) -> Code {
        if self.proven { self.code } else { Code::Denied }
    }
}

/// An automatic lock on the token (`lock/auto-<uid>`: a second one takes the place of the first).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLock {
    /// Where the lineage stands: a state that passed it proves later that the lock was lifted.
    pub position: LockPosition,
    /// What was found.
    pub message: String,
}

/// One audit event; the service adds time, token, source and correlation id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub code: EventCode,
    /// Particulars.
    pub notes: Vec<Note>,
}

/// A particular of an event. Its text form is in snake case, with `key=value` pairs where it has values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// Rule 3a: the server had been restored from an older backup; the client's state is ahead and was taken over.
    RollbackHealed {
        /// Where the enrolment stood.
        from_sequence: u64,
        /// Where the presented state stands.
        to_sequence: u64,
    },
    /// Rule 6: the state is of another history, and its holder had been here before that.
    Returned,
    /// Rule 3: an automatic lock came back with a backup after it had been lifted; it is removed.
    LockSuperseded {
        /// Its id.
        lock: String,
    },
    /// The bound key was replaced.
    Rotated,
    /// A rotation is due and cannot be asked for (`insecure`).
    RotationOverdue,
    /// Admitted by a resync grant.
    ByGrant,
    /// The lineage left shared operation: this client is the one that stays.
    LeftShared,
    /// The lineage became shared (`insecure`).
    EnteredShared,
    /// A client of a shared token that the server did not know.
    NewInstance,
    /// The right secret came along although it was used before.
    SecretReplayed,
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::RollbackHealed { from_sequence, to_sequence } => {
                write!(f, "rollback_healed from_sequence={from_sequence} to_sequence={to_sequence}")
            }
            Self::Returned => f.write_str("returned"),
            Self::LockSuperseded { lock } => write!(f, "lock_superseded lock={lock}"),
            Self::Rotated => f.write_str("rotated"),
            Self::RotationOverdue => f.write_str("rotation_overdue"),
            Self::ByGrant => f.write_str("by_grant"),
            Self::LeftShared => f.write_str("left_shared"),
            Self::EnteredShared => f.write_str("entered_shared"),
            Self::NewInstance => f.write_str("new_instance"),
            Self::SecretReplayed => f.write_str("secret_replayed"),
        }
    }
}
