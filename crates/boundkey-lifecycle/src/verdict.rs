use boundkey_keys::PublicKey;
use boundkey_token::{RequestedNames, RoleSet};
use time::OffsetDateTime;

use crate::{
    Code, Enrolment, EventCode, Identity, InstanceRecord, IssuedCertificate, LockPosition, Position,
    StateClaims,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Admit(Box<Admission>),
    /// Rule 4: the answer is given again, nothing is written.
    Retry(Box<Retry>),
    RotationRequired(RotationRequired),
    Confirm(Confirm),
    Deny(Box<Denial>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinKind {
    Register,
    Renew,
    Recover,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    pub kind: JoinKind,
    pub write: Write,
    pub claims: StateClaims,
    pub identity: Identity,
    pub bound_key: PublicKey,
    pub names: RequestedNames,
    pub roles: RoleSet,
    pub issued_at: OffsetDateTime,
    pub certificates_expire_at: OffsetDateTime,
    /// Earlier certificates that this join revokes.
    pub revoke: Vec<IssuedCertificate>,
    /// Leaving shared operation: all other instances' certificates are revoked too.
    pub revoke_other_instances: bool,
    pub remove_locks: Vec<String>,
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
pub enum Write {
    Enrolment(Enrolment),
    Instance(InstanceRecord),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    pub claims: StateClaims,
    pub identity: Identity,
    pub bound_key: PublicKey,
    pub roles: RoleSet,
    /// None: provisional (expired, or asked for other keys); the client goes on at once with a new attempt.
    pub certificates: Option<RetryCertificates>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryCertificates {
    pub issued_at: OffsetDateTime,
    pub expire_at: OffsetDateTime,
    pub names: RequestedNames,
}

/// Rule 9: the client makes a key, stores it and completes the same challenge with both proofs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotationRequired {
    /// Since when it is due.
    pub since: OffsetDateTime,
    /// The key that is bound now: prove this one as current. When the client has offered it as its NEW key (an
    /// earlier try of the attempt got through), that key becomes its current one, and it makes another.
    pub bound_key: boundkey_keys::Thumbprint,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirm {
    pub position: Position,
    pub reason: ConfirmReason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfirmReason {
    CloneSuspected,
    Resync,
    Shared,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The true cause: for log and audit.
    pub code: Code,
    /// Something was proven, so the client may be told the true code; else it is told `denied`.
    pub proven: bool,
    /// A human sentence: what was found, what is allowed, what to do next.
    pub message: String,
    pub lock: Option<NewLock>,
    pub event: Event,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLock {
    pub position: LockPosition,
    pub message: String,
}

/// One audit event; the service adds time, token, source and correlation id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub code: EventCode,
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
