//! What the server answers to changes and questions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

/// What became of one resource that was applied.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Applied {
    /// It did not exist before.
    pub created: bool,
    /// Something was written; false when the resource was so already.
    pub changed: bool,
    /// The resource as `get` shows it, without secrets.
    pub resource: Value,
    /// What is allowed but likely not meant, a sentence each.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// The answer to `POST /v1/apply`, in the order of the request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ApplyAnswer {
    /// One for each resource.
    pub applied: Vec<Applied>,
}

/// The answer to a verb. Verbs may be repeated.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VerbAnswer {
    /// False: nothing was left to do.
    pub changed: bool,
    /// A sentence for people.
    pub message: String,
    /// After `reset`, when asked for with `?secrets=true`: the new registration secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration_secret: Option<String>,
}

/// The answer to `explain`: what would happen at the next join of the machine that holds the token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExplainAnswer {
    /// As in [`TokenSummary::state`](crate::TokenSummary::state).
    pub state: String,
    /// What would happen.
    pub next_join: String,
    /// Why.
    pub reasons: Vec<String>,
    /// What runs out, or has no effect.
    pub warnings: Vec<String>,
    /// What is to be done, in every state.
    pub next_step: NextStep,
}

/// What an administrator does next.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NextStep {
    /// A sentence. Where nothing is to be done, it says so.
    pub text: String,
    /// In this order; as typed into a shell.
    pub commands: Vec<String>,
}

/// The answer to `POST /v1/locks`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LockAnswer {
    /// The lock as `get` shows it.
    pub lock: Value,
    /// What it comes to: a sentence for people.
    pub message: String,
    /// What is allowed but likely not meant, a sentence each.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// The answer to `DELETE`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Removed {
    /// KIND/NAME
    pub removed: String,
    /// What it comes to: a sentence for people.
    pub message: String,
}

/// `GET /v1/status`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServerStatus {
    /// The version of the server's program.
    pub server_version: String,
    /// The cluster's name, fixed at the first start.
    pub cluster_name: String,
    /// When this process started.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// `ADDRESS:PORT` that is listened on.
    pub listen: String,
    /// `HOST:PORT` under which machines reach the server, as configured.
    #[serde(default)]
    pub public_addrs: Vec<String>,
    /// `sha256:` and lower-case hex of the SHA-256 of a CA's SubjectPublicKeyInfo.
    pub ca_pins: Vec<String>,
    /// The kind of store: `sqlite`, `memory`.
    pub store: String,
    /// How many tokens there are.
    pub tokens: u64,
    /// How many of them are in each state, as `tokens ls` counts them; states of none are left out.
    #[serde(default)]
    pub states: BTreeMap<String, u64>,
    /// What was revoked as a whole and is not on the revocation lists in full yet: the first hundred. No join is let in by it.
    #[serde(default)]
    pub being_listed: Vec<BeingListed>,
}

/// What was revoked together, and how far its certificates are on the lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeingListed {
    /// `token` or `bot`.
    pub kind: String,
    /// Which.
    pub name: String,
    /// When it was revoked.
    #[serde(with = "time::serde::rfc3339")]
    pub revoked_at: OffsetDateTime,
    /// Machines whose certificates are on the lists.
    pub machines: u64,
    /// Their certificates.
    pub certificates: u64,
    /// Of a shared token: records of clients at present, with those that joined since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients_left: Option<u64>,
}

/// `GET /v1/webapi/find`: what a machine needs to know before it trusts the server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Find {
    /// The version of the server's program.
    pub server_version: String,
    /// The cluster's name.
    pub cluster_name: String,
    /// As [`ServerStatus::ca_pins`].
    pub ca_pins: Vec<String>,
    /// The algorithms that agents make keys of.
    pub signature_suite: String,
}
