//! What a token may do next, given what was proven: `decide()`, its inputs and its verdicts. Pure.
#![allow(missing_docs, unused_variables, clippy::todo, reason = "skeleton")]
mod claims;
mod clock;
mod code;
mod decide;
mod enrolment;
mod evidence;
mod ids;
mod verbs;
mod verdict;
mod view;

pub use claims::{Hash32, StateClaims};
pub use code::{Code, EventCode};
pub use decide::{Input, Policy, decide, instance_of};
pub use enrolment::{
    Adoption, CaKind, Enrolment, InstanceRecord, IssuedCertificate, LastAttempt, MAX_VOID_KEYS,
    OnboardingInForce, Sealed, SecretRecord, StateHash,
};
pub use evidence::{
    Evidence, InvalidState, LockInForce, LockOrigin, LockPosition, Locks, MachineFacts, Proven,
    SecretEvidence, StateEvidence,
};
pub use ids::{AttemptId, IdError, Identity, Position, StateId, TRAIL_LENGTH, Trail, Uid};
pub use verbs::{Verb, VerbOutcome, apply_verb};
pub use verdict::{
    Admission, Confirm, ConfirmReason, Denial, Event, JoinKind, NewLock, Note, Retry, RetryCertificates,
    RotationRequired, Verdict, Write,
};
pub use view::{Explanation, LifecycleState, explain, lifecycle_state};
