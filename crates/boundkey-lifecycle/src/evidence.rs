use boundkey_keys::{ProvenKey, PublicKey};
use boundkey_token::{RequestedNames, RoleSet};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::claims::Hash32;
use crate::{AttemptId, Position, StateClaims, StateId};

/// Facts that the protocol layer checked; never raw bytes.
#[derive(Debug, Clone)]
pub struct Evidence {
    pub proven: Proven,
    pub secret: SecretEvidence,
    pub join_state: StateEvidence,
    pub attempt: AttemptId,
    /// The position that the challenge names, if any: makes the request live if it is the present one.
    pub position: Option<Position>,
    pub roles: RoleSet,
    pub names: RequestedNames,
    /// Digest of what is to be certified (keys, names, roles, ttl).
    pub certified: Hash32,
    pub facts: MachineFacts,
}

/// Keys proven over this very transcript. `current` is None when the request proved nothing at all.
#[derive(Debug, Clone, Default)]
pub struct Proven {
    pub current: Option<ProvenKey>,
    pub new: Option<ProvenKey>,
}
impl Proven {
    /// Is this key proven, as current or as new?
    pub fn has(&self, key: &PublicKey) -> bool {
        self.find(|k| k == key).is_some()
    }
    pub fn find(&self, f: impl Fn(&PublicKey) -> bool) -> Option<&PublicKey> {
        self.current.iter().chain(&self.new).map(ProvenKey::public_key).find(|k| f(k))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretEvidence {
    NotPresented,
    Proven,
    ProvenAlreadyUsed,
    Wrong,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateEvidence {
    None,
    Invalid(InvalidState),
    Valid(Box<StateClaims>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidState {
    Unreadable,
    BadTag,
    UnknownEpoch,
    OtherCluster,
}

/// What the agent says of its machine; at most 1 KiB.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MachineFacts {
    pub hostname: String,
    pub os: String,
    pub arch: String,
    pub version: String,
    pub roles: RoleSet,
}

/// Locks that stand on the token, host, bot instance or bot; expired ones are ignored by `decide`.
pub type Locks<'a> = &'a [LockInForce];

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockInForce {
    pub id: String,
    pub origin: LockOrigin,
    pub message: Option<String>,
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub expires: Option<OffsetDateTime>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockOrigin {
    ByHand,
    Automatic(LockPosition),
}

/// Where the lineage stood when an automatic lock was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockPosition {
    pub generation: u32,
    pub sequence: u64,
    pub state_id: Option<StateId>,
}
