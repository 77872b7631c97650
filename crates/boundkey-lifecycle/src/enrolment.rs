//! What the server remembers. These types are stored: their serde forms are pinned by a test.

use boundkey_keys::{PublicKey, Thumbprint, sha256};
use boundkey_token::Token;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{AttemptId, Identity, MachineFacts, Position, StateClaims, StateId, Trail, Uid};

/// Bytes sealed under the master key; opaque here. serde: base64url.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sealed(#[serde(with = "crate::enrolment::base64_bytes")] pub Vec<u8>);

/// What is known of the registration secret. Sealing and proving are the service's work.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SecretRecord {
    /// The generated secret, sealed, until it is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generated: Option<Sealed>,
    /// The proof key of the secret in force, or of the one that was used, sealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof_key: Option<Sealed>,
    /// The secret in force was used (or a heal showed that it must have been).
    pub used: bool,
    /// `reset` voided the secret of the spec; a new generated secret is in force.
    pub spec_void: bool,
    /// Keys that `reset` unbound or voided (the bound one, and the spec's initial one): they never register again.
    /// The newest [`MAX_VOID_KEYS`] are kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub void_keys: Vec<Thumbprint>,
}

/// How many voided keys are remembered.
pub const MAX_VOID_KEYS: usize = 64;

/// What admits the first join of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnboardingInForce<'a> {
    /// Bound: nothing registers any more.
    Done,
    /// The preregistered key of the spec; a secret and its deadline are ignored.
    InitialKey(&'a PublicKey),
    /// A secret: the spec's, unless `reset` voided it; else the generated one.
    Secret,
}

impl SecretRecord {
    /// Remembers a key that never registers again.
    pub fn void(&mut self, key: Thumbprint) {
        if self.void_keys.contains(&key) {
            return;
        }
        if self.void_keys.len() >= MAX_VOID_KEYS {
            self.void_keys.remove(0);
        }
        self.void_keys.push(key);
    }
}

/// What the server remembers of the one lineage behind a token. `Default` = never joined.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Enrolment {
    /// How often the token was reset.
    pub generation: u32,
    /// The registration secret.
    pub secret: SecretRecord,
    /// The bound key; None: nobody registered yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_public_key: Option<PublicKey>,
    /// The host (for life) or the bot instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// Joins admitted in this generation.
    pub sequence: u64,
    /// Recoveries used, registration included.
    pub recovery_count: u32,
    /// The limit that `grant-recovery` set; 0 = none. See [`Enrolment::limit_in_force`].
    pub granted_limit: u32,
    /// `rotate`: from then on a rotation is due. Cleared by the rotation.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub rotate_requested_at: Option<OffsetDateTime>,
    /// When the certificates of the last join expire.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub certificates_expire_at: Option<OffsetDateTime>,
    /// The certificates of `certificates_expire_at` were revoked: the next join is a recovery.
    pub certificates_revoked: bool,
    /// When `revoke` did so while many clients shared the token: what one of them was given later is not revoked.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub shared_revoked_at: Option<OffsetDateTime>,
    /// Unexpired certificates of this lineage, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub issued: Vec<IssuedCertificate>,
    /// The last join of any kind.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub last_joined_at: Option<OffsetDateTime>,
    /// The last recovery (registration is none).
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub last_recovered_at: Option<OffsetDateTime>,
    /// The last rotation.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub last_rotated_at: Option<OffsetDateTime>,
    /// Since when the bound key is bound: its rotation, or a registration with a key made for it (by secret).
    /// None: a preregistered key, whose age is unknown. No `rotate_after` older than this is due.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub key_bound_at: Option<OffsetDateTime>,
    /// The last join, to answer its repetition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_attempt: Option<LastAttempt>,
    /// SHA-256(attempt id || key thumbprint) of the registration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration_attempt: Option<StateHash>,
    /// The id of the last join.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_state_id: Option<StateId>,
    /// The last ids.
    #[serde(skip_serializing_if = "trail_is_empty")]
    pub trail: Trail,
    /// Shared (`insecure`) operation: many clients at this position.
    pub shared: bool,
    /// Which of the many clients was taken over when `insecure` was left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adoption: Option<Adoption>,
    /// Where its one client has been besides: see [`StateClaims::passed`].
    #[serde(skip_serializing_if = "trail_is_empty")]
    pub passed: Trail,
    /// Until when a resync grant is open.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub resync_until: Option<OffsetDateTime>,
    /// What the agent said of its machine at its last join.
    pub facts: MachineFacts,
}

fn trail_is_empty(trail: &Trail) -> bool {
    trail.0.is_empty()
}

/// 32 bytes; serde base64url.
pub type StateHash = crate::claims::Hash32;

/// The client that a lineage was narrowed to when it left shared operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adoption {
    /// Its identity while shared: an older state with this one is a clone's, with another a fellow client's.
    pub instance: Identity,
    /// The sequence of the join that adopted it.
    pub sequence: u64,
}

/// The last admitted join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastAttempt {
    /// SHA-256 of the attempt id.
    pub attempt: StateHash,
    /// The state that the admitted request presented (any that was valid).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presented: Option<StateId>,
    /// Who its certificates named.
    pub identity: Identity,
    /// When it was admitted.
    #[serde(with = "time::serde::rfc3339")]
    pub issued_at: OffsetDateTime,
    /// Digest of what was asked for (keys, names, roles, ttl): a retry for other keys gets no certificates.
    pub certified: StateHash,
    /// Digest of the names that were granted: were they others by now (a bot's logins changed), then the same
    /// serials would be signed over other bytes.
    pub granted: StateHash,
}

/// Which CA signed a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaKind {
    /// The server's own certificate.
    Tls,
    /// X.509, hosts.
    Host,
    /// X.509, bots.
    Bot,
    /// OpenSSH host certificates.
    SshHost,
    /// OpenSSH user certificates.
    SshUser,
}

/// One certificate that was issued: enough to revoke it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedCertificate {
    /// Its CA.
    pub ca: CaKind,
    /// Hex; X.509 serial (20 bytes at most) or SSH serial (u64).
    pub serial: String,
    /// Its end.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
}

/// One of the many clients of a shared (`insecure`) lineage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceRecord {
    /// Its identity: the record's key.
    pub identity: Identity,
    /// Its last join, to answer its repetition.
    pub last_attempt: LastAttempt,
    /// When the certificates of that join expire.
    #[serde(with = "time::serde::rfc3339")]
    pub certificates_expire_at: OffsetDateTime,
    /// An administrator locked this one client out for good (`lock --revoke`). `revoke NAME` is another thing: it
    /// removes the records, so that the clients come back as new ones.
    #[serde(default)]
    pub revoked: bool,
    /// Its unexpired certificates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issued: Vec<IssuedCertificate>,
    /// When it joined last.
    #[serde(with = "time::serde::rfc3339")]
    pub last_joined_at: OffsetDateTime,
    /// What it said of its machine.
    #[serde(default)]
    pub facts: MachineFacts,
    /// Where it has been: see [`StateClaims::passed`].
    #[serde(default, skip_serializing_if = "trail_is_empty")]
    pub passed: Trail,
}

impl Enrolment {
    /// Where the lineage stands.
    pub fn position(&self, uid: Uid) -> Position {
        Position::derive(uid, self.generation, self.sequence, self.last_state_id)
    }

    /// Did a key register?
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.bound_public_key.is_some()
    }

    /// The recovery limit in force: the greater of the spec's and the granted one.
    #[must_use]
    pub fn limit_in_force(&self, token: &Token) -> u32 {
        token.spec.bound_keypair.recovery.limit.max(self.granted_limit)
    }

    /// What would admit the first join.
    #[must_use]
    pub fn onboarding<'a>(&'a self, token: &'a Token) -> OnboardingInForce<'a> {
        let onboarding = &token.spec.bound_keypair.onboarding;
        if self.is_bound() {
            return OnboardingInForce::Done;
        }
        if let Some(key) = &onboarding.initial_public_key
            && !self.secret.void_keys.contains(&key.thumbprint())
        {
            return OnboardingInForce::InitialKey(key);
        }
        OnboardingInForce::Secret
    }

    /// The join state of the present position: deterministic, so that a retry repeats it byte for byte. None
    /// before the first join.
    pub fn claims(&self, uid: Uid) -> Option<StateClaims> {
        Some(StateClaims {
            uid,
            generation: self.generation,
            sequence: self.sequence,
            state_id: self.last_state_id?,
            trail: self.trail.clone(),
            shared: self.shared,
            registration_attempt: self.registration_attempt,
            recovery_count: self.recovery_count,
            key: self.bound_public_key.as_ref()?.thumbprint(),
            identity: self.identity.clone()?,
            certificates_expire_at: self.certificates_expire_at?,
            issued_at: self.last_joined_at?,
            key_since: self.key_bound_at,
            adoption: self.adoption.clone(),
            passed: self.passed.clone(),
        })
    }

    /// The join state that one client of a shared lineage holds.
    pub fn instance_claims(&self, uid: Uid, instance: &InstanceRecord) -> Option<StateClaims> {
        Some(StateClaims {
            identity: instance.identity.clone(),
            certificates_expire_at: instance.certificates_expire_at,
            issued_at: instance.last_joined_at,
            passed: instance.passed.clone(),
            ..self.claims(uid)?
        })
    }

    /// What `last_attempt` keeps of an attempt id.
    pub fn attempt_hash(attempt: AttemptId) -> StateHash {
        crate::Hash32(sha256(&[&attempt.0]))
    }

    /// What `registration_attempt` keeps of the registration: it recognises its sender when he has no state yet.
    pub fn registration_hash(attempt: AttemptId, key: Thumbprint) -> StateHash {
        crate::Hash32(sha256(&[&attempt.0, &key.0]))
    }
}

pub(crate) mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde::Deserialize as _;

    pub(crate) fn serialize<S: serde::Serializer>(v: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&URL_SAFE_NO_PAD.encode(v))
    }

    pub(crate) fn deserialize<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(d)?;
        URL_SAFE_NO_PAD.decode(text).map_err(|_| serde::de::Error::custom("not base64url"))
    }
}
