use boundkey_keys::{PublicKey, Thumbprint};
use boundkey_lifecycle::{AttemptId, Identity, MachineFacts};
use boundkey_token::{RequestedNames, ResourceName, Role, RoleSet};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::encoding::{decode_standard, object, present};
use crate::limits::{MAX_JOIN_STATE, MAX_ROLES};
use crate::{ResultFault, SignedBundle, result_digest};

/// The version that this crate speaks; fields are only ever added with a new version.
pub const PROTOCOL_VERSION: u32 = 1;
/// What a server offers in [`BeginAnswer::versions`].
pub const SUPPORTED_VERSIONS: &[u32] = &[PROTOCOL_VERSION];

/// The body of `POST /v1/join/begin`: an empty object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Begin {}

/// The answer to [`Begin`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeginAnswer {
    /// To be completed within 60 s; read with [`crate::read_challenge`].
    pub challenge: String,
    /// The versions that the server speaks; the client uses the highest that it knows too.
    pub versions: Vec<u32>,
}

/// The body of `POST /v1/join/complete`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Complete {
    /// As received.
    pub challenge: String,
    /// Unpadded base64url of the UTF-8 JSON of a [`Request`].
    pub request: String,
    /// Compact JWS: purpose `bound_key`, then `new_key` if a new key is offered.
    pub proofs: Vec<String>,
    /// base64url of HMAC-SHA256(secret proof key, transcript).
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub secret_proof: Option<String>,
}

/// What the transcript covers: everything the answer depends on. Unknown and duplicate members are refused, every
/// list, text and number is bounded (`docs/protocol.md`, "Limits").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// [`PROTOCOL_VERSION`].
    pub version: u32,
    /// The token to join with.
    pub token: ResourceName,
    /// At least one, without repeats.
    #[serde(deserialize_with = "distinct_roles")]
    pub roles: RoleSet,
    /// Stored by the client before anything is sent; one attempt admits at most one join.
    pub attempt: AttemptId,
    /// The key that the client takes for the bound one, or wants to be bound. The only one that may be RSA.
    pub bound_key: PublicKey,
    /// The key that is to replace it; never the same one.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub new_key: Option<PublicKey>,
    /// The key of the X.509 certificate.
    pub tls_key: PublicKey,
    /// The key of the OpenSSH certificate, if one is wanted.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub ssh_key: Option<PublicKey>,
    /// Names to be certified; empty: what the token allows by default.
    #[serde(default, deserialize_with = "object")]
    pub names: RequestedNames,
    /// The lifetime asked for, in seconds; the server has caps and floors of its own.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    /// The join state of the last result, as received.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub join_state: Option<String>,
    /// What the machine says of itself; 1 KiB at most.
    #[serde(default, deserialize_with = "object")]
    pub facts: MachineFacts,
}

/// A [`RoleSet`] alone would forgive repeats, and take any number of them.
fn distinct_roles<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RoleSet, D::Error> {
    let roles = Vec::<Role>::deserialize(deserializer)?;
    let repeated = roles.iter().enumerate().any(|(i, role)| roles.iter().take(i).any(|other| other == role));
    if roles.len() > MAX_ROLES || repeated {
        return Err(D::Error::custom("`roles` are 1 to 8 roles, each once"));
    }
    Ok(RoleSet::new(roles))
}

/// An id stands in logs and in `status`, whatever the server wrote into it.
fn shown_identity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Identity, D::Error> {
    let identity = Identity::deserialize(deserializer)?;
    let id = identity.id();
    if !(1..=64).contains(&id.len()) || !id.chars().all(boundkey_text::is_plain) {
        return Err(D::Error::custom("`identity` holds an id of 1 to 64 bytes without invisible characters"));
    }
    Ok(identity)
}

/// The answer (HTTP 200) to [`Complete`]; refusals are problems.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum JoinAnswer {
    /// The join is done.
    Admitted(Box<JoinResult>),
    /// Make a new key, store it, complete the SAME challenge with both proofs.
    RotationRequired {},
    /// Complete the same attempt over this fresh challenge, at once.
    Confirm {
        /// Names a position (see [`crate::ChallengeView::position`]).
        challenge: String,
    },
}

/// Which of the joins it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinKindName {
    /// The first: a key became bound.
    Registered,
    /// Before the certificates' expiry and its grace.
    Renewed,
    /// After it; one recovery was consumed.
    Recovered,
    /// The answer of an earlier try of this attempt, given again.
    Retried,
}

impl JoinKindName {
    /// The word, as on the wire and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Renewed => "renewed",
            Self::Recovered => "recovered",
            Self::Retried => "retried",
        }
    }
}

/// What an admitted client receives. It stores nothing of it before the checks of `docs/protocol.md`, "Result".
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JoinResult {
    /// Informational.
    pub kind: JoinKindName,
    /// The attempt that this result ends.
    pub attempt: AttemptId,
    /// To be stored with `bound_key` and handed back at the next join.
    pub join_state: String,
    /// The key that is bound now: the current or the new one of the request.
    pub bound_key: PublicKey,
    /// The host's id or the bot instance's.
    #[serde(deserialize_with = "shown_identity")]
    pub identity: Identity,
    /// None: provisional (the attempt's certificates expired); go on at once with a new attempt. Then there is a receipt.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub certificates: Option<Certificates>,
    /// Of a provisional result: a tls CA's signature over its digest, see [`crate::sign_receipt`].
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// The CAs to trust from now on, if a CA that is trusted already signed it.
    pub ca_bundle: SignedBundle,
    /// Seconds until the next renewal, counted by the client's boot-time clock.
    pub renew_in_seconds: u64,
    /// The server's clock, RFC 3339.
    #[serde(with = "time::serde::rfc3339")]
    pub server_time: time::OffsetDateTime,
}

impl JoinResult {
    /// What the leaf's private extension must hold.
    pub fn digest(&self) -> [u8; 32] {
        result_digest(&self.join_state, self.bound_key.thumbprint(), self.attempt)
    }

    /// The checks that need no certificate: it ends the attempt of `request`, its bound key is one that the client
    /// holds, and its join state one that can be handed back. Chain, digest and keys of the certificates are the caller's part.
    ///
    /// # Errors
    ///
    /// [`ResultFault`]: nothing of this result may be stored; the attempt stays pending.
    pub fn check(&self, request: &Request, holds: impl Fn(Thumbprint) -> bool) -> Result<(), ResultFault> {
        if self.attempt != request.attempt {
            return Err(ResultFault::OtherAttempt);
        }
        if !holds(self.bound_key.thumbprint()) {
            return Err(ResultFault::ForeignKey { found: self.bound_key.thumbprint() });
        }
        if self.join_state.len() > MAX_JOIN_STATE {
            return Err(ResultFault::LongState { bytes: self.join_state.len() });
        }
        Ok(())
    }
}

/// The certificates of a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificates {
    /// Leaf first, then its CA; base64 (standard, padded) DER.
    pub x509_chain: Vec<String>,
    /// One line, OpenSSH form: a host certificate for hosts, a user certificate for bots.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub ssh: Option<String>,
}

impl Certificates {
    /// The chain as DER, leaf first.
    ///
    /// # Errors
    ///
    /// [`ResultFault::Chain`] when it is empty or not base64.
    pub fn chain_der(&self) -> Result<Vec<Vec<u8>>, ResultFault> {
        let chain: Option<Vec<_>> = self.x509_chain.iter().map(|text| decode_standard(text)).collect();
        chain.filter(|chain| !chain.is_empty()).ok_or(ResultFault::Chain)
    }
}
