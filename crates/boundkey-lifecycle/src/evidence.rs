//! What was proven, and the locks that stand: the facts that `decide()` judges.

use boundkey_keys::{ProvenKey, PublicKey};
use boundkey_token::{RequestedNames, RoleSet};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::claims::Hash32;
use crate::{AttemptId, Position, StateClaims, StateId};

/// Facts that the protocol layer checked; never raw bytes.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// The keys.
    pub proven: Proven,
    /// The registration secret.
    pub secret: SecretEvidence,
    /// The join state.
    pub join_state: StateEvidence,
    /// The attempt.
    pub attempt: AttemptId,
    /// The position that the challenge names, if any: makes the request live if it is the present one.
    pub position: Option<Position>,
    /// The roles asked for.
    pub roles: RoleSet,
    /// The names asked for; empty: the token's defaults.
    pub names: RequestedNames,
    /// Digest of what is to be certified (keys, names, roles, ttl).
    pub certified: Hash32,
    /// What the agent says of its machine.
    pub facts: MachineFacts,
}

/// Keys proven over this very transcript. `current` is None when the request proved nothing at all.
#[derive(Debug, Clone, Default)]
pub struct Proven {
    /// The key proven as the bound one (at registration: the one to be bound).
    pub current: Option<ProvenKey>,
    /// The key offered to replace it.
    pub new: Option<ProvenKey>,
}
impl Proven {
    /// Is this key proven, as current or as new?
    pub fn has(&self, key: &PublicKey) -> bool {
        self.find(|k| k == key).is_some()
    }
    /// The first proven key for which `f` holds, the current one first.
    pub fn find(&self, f: impl Fn(&PublicKey) -> bool) -> Option<&PublicKey> {
        self.current.iter().chain(&self.new).map(ProvenKey::public_key).find(|k| f(k))
    }
}

/// What the secret proof is worth against the secret in force, or the one that was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretEvidence {
    /// There was none.
    NotPresented,
    /// Right, and not used yet.
    Proven,
    /// Right, and used (by this token, or by one that was removed since).
    ProvenAlreadyUsed,
    /// Wrong, or there is no secret to compare with.
    Wrong,
}

/// What the presented join state is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateEvidence {
    /// There was none.
    None,
    /// One that this cluster did not make, or cannot read.
    Invalid(InvalidState),
    /// Made by this cluster: of this lineage or of any other.
    Valid(Box<StateClaims>),
}

/// Why a join state is no state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidState {
    /// Not of the form.
    Unreadable,
    /// Its tag does not hold.
    BadTag,
    /// Its key is retired or was never there.
    UnknownEpoch,
    /// Of another cluster.
    OtherCluster,
}

/// What the agent says of its machine; at most 1 KiB.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MachineFacts {
    /// Its hostname.
    pub hostname: String,
    /// Its operating system.
    pub os: String,
    /// Its processor architecture.
    pub arch: String,
    /// The agent's version.
    pub version: String,
    /// The roles it runs.
    pub roles: RoleSet,
}

/// Locks that stand on the token, host, bot instance or bot; expired ones are ignored by `decide`.
pub type Locks<'a> = &'a [LockInForce];

/// A lock that applies to the token of the request. Stored: its serde form is pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockInForce {
    /// Its name (`auto-<uid>` for automatic ones).
    pub id: String,
    /// By hand, or automatic.
    pub origin: LockOrigin,
    /// Why: for administrators.
    pub message: Option<String>,
    /// What whoever is locked out is told besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_message: Option<String>,
    /// When it ends by itself.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub expires: Option<OffsetDateTime>,
}

/// Who made a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LockOrigin {
    /// An administrator: it stands until it is removed or ends.
    ByHand,
    /// Rule 6: it goes with a `resync`, a `reset`, by hand, or when a later state proves that it had gone.
    Automatic(LockPosition),
}

/// Where the lineage stood when an automatic lock was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockPosition {
    /// Generation.
    pub generation: u32,
    /// Sequence.
    pub sequence: u64,
    /// The last state id.
    pub state_id: Option<StateId>,
}
