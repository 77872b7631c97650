//! What a token may do next, given what was proven: [`decide()`], its inputs and its verdicts.
//!
//! A token is bound to ONE client, its lineage. This crate is the memory of that lineage and the rules by which it
//! goes on: who may register, what is a renewal and what a recovery, when a key has to be replaced, how a lost answer
//! is given again, how a clone is found out, and how a client is let back in after the server itself was restored from a
//! backup.
//!
//! ```text
//!               +-----------+   facts, never bytes   +----------+   one verdict
//!   request --> | protocol, | ---------------------> |          | ---> Admit: the next enrolment, what to certify
//!               | service   |   token, enrolment,    | decide() |      Retry: the last answer again
//!               |           |   locks, clock         |          |      RotationRequired, Confirm: go on
//!               +-----------+ ---------------------> +----------+      Deny: code, sentence, perhaps a lock
//! ```
//!
//! It does NOT check signatures, read or write records, read a clock, make random numbers or sign certificates: all
//! of that is done around it, so that the rules can be read in one sitting, model-checked, fuzzed and embedded.
//! It never panics, whatever the input.
//!
//! The rules with their reasons: `docs/lifecycle.md`. Their code: one file for each group under `src/decide/`.
//!
//! ```
//! use std::time::Duration;
//!
//! use boundkey_lifecycle::*;
//! use time::macros::datetime;
//!
//! // A stranger asks to join with a token that does not exist.
//! let evidence = Evidence {
//!     proven: Proven::default(),
//!     secret: SecretEvidence::NotPresented,
//!     join_state: StateEvidence::None,
//!     attempt: AttemptId([1; 16]),
//!     position: None,
//!     roles: boundkey_token::RoleSet::new([boundkey_token::Role::Node]),
//!     names: Default::default(),
//!     certified: Hash32([0; 32]),
//!     facts: MachineFacts::default(),
//! };
//! let verdict = decide(&Input {
//!     cluster: "example.com",
//!     token: None,
//!     enrolment: &Enrolment::default(),
//!     instance: None,
//!     bot: None,
//!     evidence: &evidence,
//!     locks: &[],
//!     fresh: &Identity::Host("0196-example".to_owned()),
//!     lifetime: Duration::from_secs(24 * 3600),
//!     policy: &Policy::default(),
//!     now: datetime!(2026-01-01 00:00 UTC),
//! });
//! let Verdict::Deny(denial) = verdict else { panic!("there is nothing to join") };
//! assert_eq!(denial.code, Code::TokenNotFound); // for the audit log
//! assert_eq!(denial.public_code(), Code::Denied); // for the stranger
//! ```
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
pub use decide::{BACK_DATED, Input, Policy, decide, instance_of};
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
pub use view::{Clients, Explanation, LifecycleState, NextStep, View};
