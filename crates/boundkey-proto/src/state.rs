use boundkey_keys::{MasterKey, Purpose, Thumbprint};
use boundkey_lifecycle::{
    Adoption, Hash32, Identity, InvalidState, StateClaims, StateEvidence, StateId, Trail, Uid,
};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::challenge::{MacFault, open_claims, seal_claims};
use crate::encoding::{present, read_object};
use crate::limits::{MAX_EXACT_INTEGER, MAX_JOIN_STATE};

/// The `typ` of a join state.
pub const STATE_TYP: &str = "boundkey-state+jwt";

/// The version of the claims; another one is not understood.
const STATE_VERSION: u32 = 1;
/// Bytes of an identity's id.
const MAX_IDENTITY: usize = 64;

/// Serialised in this order: a retry repeats the document byte for byte. Times are microseconds since 1970.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    aud: String,
    sub: Uid,
    jti: StateId,
    /// Whole seconds, as in every JWT; `issued_at` is exact.
    iat: i64,
    ver: u32,
    generation: u32,
    seq: u64,
    recovery_count: u32,
    key: Thumbprint,
    identity: Identity,
    certificates_expire_at: i64,
    issued_at: i64,
    /// Absent: a preregistered key that was never rotated.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    key_since: Option<i64>,
    trail: Trail,
    shared: bool,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    registration_attempt: Option<Hash32>,
    /// Absent: the lineage never left shared operation.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    adoption: Option<Adopted>,
    /// Absent: the trail tells all.
    #[serde(default, skip_serializing_if = "has_none")]
    passed: Trail,
}

fn has_none(trail: &Trail) -> bool {
    trail.0.is_empty()
}

/// Which of many clients stayed, and at which join.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Adopted {
    instance: Identity,
    seq: u64,
}

/// The join state that a client keeps and hands back: compact JWS, HS256, deterministic in all its arguments.
///
/// It is made under the current epoch of the master key. After a rotation of the master key a retry is therefore
/// made anew under the new epoch; the claims are the same.
///
/// # Source
///
/// `docs/protocol.md`, "Join state".
pub fn seal_state(claims: &StateClaims, cluster: &str, master: &MasterKey) -> String {
    let claims = Claims {
        iss: cluster.to_owned(),
        aud: cluster.to_owned(),
        sub: claims.uid,
        jti: claims.state_id,
        iat: claims.issued_at.unix_timestamp(),
        ver: STATE_VERSION,
        generation: claims.generation,
        seq: claims.sequence,
        recovery_count: claims.recovery_count,
        key: claims.key,
        identity: claims.identity.clone(),
        certificates_expire_at: micros(claims.certificates_expire_at),
        issued_at: micros(claims.issued_at),
        key_since: claims.key_since.map(micros),
        trail: claims.trail.clone(),
        shared: claims.shared,
        registration_attempt: claims.registration_attempt,
        adoption: claims.adoption.clone().map(|a| Adopted { instance: a.instance, seq: a.sequence }),
        passed: claims.passed.clone(),
    };
    seal_claims(&claims, STATE_TYP, Purpose::JoinState, master)
}

/// Checks a join state that a client handed back. It never expires; any epoch that the keyring derives will do.
///
/// Never an error: what it is worth is evidence for the decision, [`StateEvidence::Invalid`] with its cause included.
pub fn open_state(text: &str, cluster: &str, master: &MasterKey) -> StateEvidence {
    match open(text, cluster, master) {
        Ok(claims) => StateEvidence::Valid(Box::new(claims)),
        Err(cause) => StateEvidence::Invalid(cause),
    }
}

fn open(text: &str, cluster: &str, master: &MasterKey) -> Result<StateClaims, InvalidState> {
    if text.len() > MAX_JOIN_STATE {
        return Err(InvalidState::Unreadable);
    }
    let payload = open_claims(text, STATE_TYP, Purpose::JoinState, master).map_err(|fault| match fault {
        MacFault::Unreadable => InvalidState::Unreadable,
        MacFault::UnknownEpoch => InvalidState::UnknownEpoch,
        MacFault::BadTag => InvalidState::BadTag,
    })?;
    let claims: Claims = read_object(&payload).map_err(|_| InvalidState::Unreadable)?;
    if claims.ver != STATE_VERSION {
        return Err(InvalidState::Unreadable);
    }
    if claims.iss != cluster || claims.aud != cluster {
        return Err(InvalidState::OtherCluster);
    }
    claims.checked().ok_or(InvalidState::Unreadable)
}

impl Claims {
    fn checked(self) -> Option<StateClaims> {
        let is_sequence = |n: u64| (1..=MAX_EXACT_INTEGER).contains(&n);
        let is_identity = |identity: &Identity| identity.id().len() <= MAX_IDENTITY;
        let in_range = is_sequence(self.seq)
            && is_identity(&self.identity)
            && self.adoption.as_ref().is_none_or(|a| is_sequence(a.seq) && is_identity(&a.instance));
        if !in_range {
            return None;
        }
        Some(StateClaims {
            uid: self.sub,
            generation: self.generation,
            sequence: self.seq,
            state_id: self.jti,
            trail: self.trail,
            shared: self.shared,
            registration_attempt: self.registration_attempt,
            recovery_count: self.recovery_count,
            key: self.key,
            identity: self.identity,
            certificates_expire_at: from_micros(self.certificates_expire_at)?,
            issued_at: from_micros(self.issued_at)?,
            key_since: self.key_since.map(|m| from_micros(m).ok_or(())).transpose().ok()?,
            adoption: self.adoption.map(|a| Adoption { instance: a.instance, sequence: a.seq }),
            passed: self.passed,
        })
    }
}

/// Every `OffsetDateTime` is within 9999 years of 1970, and so within an i64 of microseconds.
fn micros(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1000)).unwrap_or(i64::MAX)
}

fn from_micros(micros: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).ok()
}
