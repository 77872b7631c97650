//! One request, seen against one enrolment: every fact that more than one rule asks for, found once.

use std::borrow::Cow;

use boundkey_keys::PublicKey;
use boundkey_token::{RecoveryMode, Token};

use super::{Early, Input, instance_of, refuse};
use crate::{Enrolment, Identity, InstanceRecord, OnboardingInForce, SecretEvidence, StateEvidence};
use crate::{InvalidState, StateClaims, StateId, Uid};

/// Where a presented state stands against the enrolment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// No state presented.
    Nothing,
    /// Not a state of this cluster.
    Invalid(InvalidState),
    /// Of a token that had this name before, or of another one.
    OtherToken,
    /// Of this token, before its last reset.
    EarlierGeneration,
    /// Of this lineage, but another join was admitted since: at a greater sequence, or at the same one.
    Overtaken,
    /// The present one.
    Current,
    /// Another history's, of whoever made the present join here, and went on there.
    Returned,
    /// Of this token, greater, and nothing speaks against the enrolment being its past.
    Ahead,
    /// Greater, but its trail has another id where the enrolment stands.
    AheadForked,
}

impl Standing {
    /// Nobody else has joined since.
    pub(super) fn is_present(self) -> bool {
        matches!(self, Self::Current | Self::Returned)
    }
}

pub(super) struct Case<'a> {
    pub(super) input: &'a Input<'a>,
    pub(super) uid: Uid,
    pub(super) token: &'a Token,
    pub(super) mode: RecoveryMode,
    /// The enrolment as stored; after rule 3a, as healed.
    pub(super) base: Cow<'a, Enrolment>,
    /// Rule 3a applied.
    pub(super) healed: bool,
    pub(super) standing: Standing,
    /// The presented state, if valid, whosever it is.
    pub(super) claims: Option<&'a StateClaims>,
    /// The proven key that the presented state (of this token) names.
    pub(super) named: Option<&'a PublicKey>,
    /// 2(a): the bound key, proven.
    pub(super) bound: Option<&'a PublicKey>,
    /// 2(c): attempt and proven key are those of the registration.
    pub(super) registrant: bool,
    /// The initial key in force, proven.
    pub(super) initial: Option<&'a PublicKey>,
    /// The right secret, used or not, where one is in force.
    pub(super) secret: bool,
    /// Whom a numbered or shared join would name, but for a bot's recovery.
    pub(super) subject: &'a Identity,
}

impl<'a> Case<'a> {
    pub(super) fn new(input: &'a Input<'a>) -> Result<Self, Early> {
        let Some((uid, token)) = input.token else { return Err(refuse::no_token()) };
        let (enrolment, evidence) = (input.enrolment, input.evidence);
        let (standing, claims) = standing(uid, enrolment, &evidence.join_state);
        let of_token = !matches!(standing, Standing::OtherToken | Standing::EarlierGeneration);
        let named =
            claims.filter(|_| of_token).and_then(|s| evidence.proven.find(|k| k.thumbprint() == s.key));
        // The current state wins: after a restore the same attempt may have bound another key than the one
        // that the enrolment knows, and the client holds what the state says.
        let bound = match &enrolment.bound_public_key {
            Some(_) if standing.is_present() && named.is_some() => named,
            Some(key) => evidence.proven.find(|k| k == key),
            None => None,
        };
        let registrant = enrolment.is_bound()
            && standing == Standing::Nothing
            && enrolment.registration_attempt.is_some_and(|of_registration| {
                let by = |k: &PublicKey| {
                    Enrolment::registration_hash(evidence.attempt, k.thumbprint()) == of_registration
                };
                evidence.proven.find(by).is_some()
            });
        let onboarding = enrolment.onboarding(token);
        let initial = match onboarding {
            OnboardingInForce::InitialKey(key) => evidence.proven.find(|k| k == key),
            OnboardingInForce::Secret | OnboardingInForce::Done => None,
        };
        let secret = !matches!(onboarding, OnboardingInForce::InitialKey(_))
            && matches!(evidence.secret, SecretEvidence::Proven | SecretEvidence::ProvenAlreadyUsed);
        let mut case = Self {
            input,
            uid,
            token,
            mode: token.spec.bound_keypair.recovery.mode,
            base: Cow::Borrowed(enrolment),
            healed: false,
            standing,
            claims,
            named,
            bound,
            registrant,
            initial,
            secret,
            subject: input.fresh,
        };
        case.subject = case.find_subject();
        Ok(case)
    }

    /// Rule 3a will apply: a state of this token, ahead, that names a proven key.
    pub(super) fn heals(&self) -> bool {
        self.standing == Standing::Ahead && self.named.is_some()
    }

    /// Something was proven, so the client may know why it is refused.
    pub(super) fn proven(&self) -> bool {
        self.bound.is_some()
            || self.named.is_some()
            || self.registrant
            || self.initial.is_some()
            || self.secret
    }

    /// The request was signed after the lineage got where the STORED enrolment stands: only such a one may
    /// condemn, use a grant, or enter or leave shared operation.
    pub(super) fn is_live(&self) -> bool {
        self.input.evidence.position.is_some_and(|p| p == self.input.enrolment.position(self.uid))
    }

    /// By its own marks the presented state's holder is whoever made the present join.
    pub(super) fn has_been_here(&self) -> bool {
        self.claims.is_some_and(|s| has_been_at(self.input.enrolment, s))
    }

    /// The id of the presented state, whosever it is: part of what makes a repetition one.
    pub(super) fn presented(&self) -> Option<StateId> {
        self.claims.map(|s| s.state_id)
    }

    /// The record of the client of a shared lineage that this request is of.
    pub(super) fn instance(&self) -> Option<&'a InstanceRecord> {
        self.input.instance.filter(|record| record.identity == *self.instance_id())
    }

    fn instance_id(&self) -> &'a Identity {
        let evidence = self.input.evidence;
        instance_of(self.uid, self.input.enrolment, &evidence.proven, &evidence.join_state, self.input.fresh)
    }

    fn find_subject(&self) -> &'a Identity {
        let enrolment = self.input.enrolment;
        let one_of_many = self.mode == RecoveryMode::Insecure || enrolment.shared;
        let subject = if self.heals() || (enrolment.is_bound() && one_of_many) {
            Some(self.instance_id())
        } else if enrolment.is_bound() {
            enrolment.identity.as_ref()
        } else {
            None
        };
        // A token whose roles changed between host and bot names nobody yet.
        subject.filter(|id| id.is_bot() == self.input.fresh.is_bot()).unwrap_or(self.input.fresh)
    }
}

fn standing<'a>(
    uid: Uid,
    enrolment: &Enrolment,
    state: &'a StateEvidence,
) -> (Standing, Option<&'a StateClaims>) {
    let s = match state {
        StateEvidence::None => return (Standing::Nothing, None),
        StateEvidence::Invalid(cause) => return (Standing::Invalid(*cause), None),
        StateEvidence::Valid(s) => s.as_ref(),
    };
    let at = (enrolment.generation, enrolment.sequence);
    let standing = if s.uid != uid {
        Standing::OtherToken
    } else if (s.generation, s.sequence) > at {
        // A greater generation began with a reset, which forgets all before it: there is nothing to compare.
        let passed = (s.generation == enrolment.generation)
            .then(|| s.trail.at(s.sequence, enrolment.sequence))
            .flatten();
        match (passed, enrolment.last_state_id) {
            (Some(passed), Some(id)) if passed == id.short() => Standing::Ahead,
            (Some(_), Some(_)) if has_returned(enrolment, s) => Standing::Returned,
            (Some(_), Some(_)) => Standing::AheadForked,
            _ => Standing::Ahead,
        }
    } else if s.generation < enrolment.generation {
        Standing::EarlierGeneration
    } else if s.sequence == enrolment.sequence && enrolment.last_state_id == Some(s.state_id) {
        Standing::Current
    } else if has_returned(enrolment, s) {
        Standing::Returned
    } else {
        Standing::Overtaken
    };
    (standing, Some(s))
}

/// The state is of another history, and its holder has been where the lineage stands, before that history took it
/// elsewhere. Of all who have been here, the first to join goes on.
///
/// A state that this history went on from is none of that, whatever its marks: in `insecure` an attempt makes many joins.
fn has_returned(enrolment: &Enrolment, s: &StateClaims) -> bool {
    let id = enrolment.trail.at(enrolment.sequence, s.sequence);
    id.is_none_or(|id| id != s.state_id.short()) && has_been_at(enrolment, s)
}

/// By its marks its holder made the present join, or held its state.
fn has_been_at(enrolment: &Enrolment, s: &StateClaims) -> bool {
    let of_id = enrolment.last_state_id.map(StateId::short);
    let of_attempt = enrolment.last_attempt.as_ref().map(|last| last.attempt.short());
    s.passed.0.iter().any(|mark| Some(*mark) == of_id || Some(*mark) == of_attempt)
}
