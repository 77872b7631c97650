use boundkey_keys::PublicKey;
use boundkey_lifecycle::{AttemptId, Identity, MachineFacts};
use boundkey_token::{RequestedNames, ResourceName, RoleSet};
use serde::{Deserialize, Serialize};

use crate::SignedBundle;

pub const PROTOCOL_VERSION: u32 = 1;
/// Bytes of a request or answer body.
pub const MAX_BODY: usize = 64 * 1024;

/// POST /v1/join/begin
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Begin {}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BeginAnswer {
    pub challenge: String,
    pub versions: Vec<u32>,
}

/// POST /v1/join/complete
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Complete {
    pub challenge: String,
    /// Unpadded base64url of the UTF-8 JSON of a `Request`.
    pub request: String,
    /// Compact JWS: purpose `bound_key`, then `new_key` if a new key is offered.
    pub proofs: Vec<String>,
    /// base64url of HMAC-SHA256(secret proof key, transcript).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_proof: Option<String>,
}

/// What the transcript covers. Unknown and duplicate fields are refused; every list and text is bounded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    pub version: u32,
    pub token: ResourceName,
    pub roles: RoleSet,
    pub attempt: AttemptId,
    pub bound_key: PublicKey,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_key: Option<PublicKey>,
    /// The key of the X.509 certificate.
    pub tls_key: PublicKey,
    /// The key of the OpenSSH certificate, if one is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_key: Option<PublicKey>,
    #[serde(default)]
    pub names: RequestedNames,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_state: Option<String>,
    #[serde(default)]
    pub facts: MachineFacts,
}

/// The answer (HTTP 200) to Complete; refusals are problems.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum JoinAnswer {
    Admitted(Box<JoinResult>),
    /// Make a new key, store it, complete the SAME challenge with both proofs.
    RotationRequired {},
    /// Complete the same attempt over this fresh challenge.
    Confirm {
        challenge: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinKindName {
    Registered,
    Renewed,
    Recovered,
    Retried,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JoinResult {
    pub kind: JoinKindName,
    pub attempt: AttemptId,
    pub join_state: String,
    pub bound_key: PublicKey,
    pub identity: Identity,
    /// None: provisional (rule 4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<Certificates>,
    pub ca_bundle: SignedBundle,
    pub renew_in_seconds: u64,
    #[serde(with = "time::serde::rfc3339")]
    pub server_time: time::OffsetDateTime,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificates {
    /// Leaf first, then its CA; base64 (standard, padded) DER.
    pub x509_chain: Vec<String>,
    /// One line, OpenSSH form: a host certificate for hosts, a user certificate for bots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<String>,
}
