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

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    RollbackHealed { from_sequence: u64, to_sequence: u64 },
    LockSuperseded { lock: String },
    Rotated,
    RotationOverdue,
    ByGrant,
    LeftShared,
    EnteredShared,
    NewInstance,
    SecretReplayed,
}
