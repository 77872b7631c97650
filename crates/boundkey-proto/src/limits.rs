//! Every bound of the protocol, in one place.

use std::time::Duration;

/// Bytes of a request or answer body.
pub const MAX_BODY: usize = 64 * 1024;
/// Bytes of a challenge.
pub const MAX_CHALLENGE: usize = 2048;
/// Bytes of a join state that a request hands back.
pub const MAX_JOIN_STATE: usize = 8192;
/// Proofs of one message: the bound key's and the new key's.
pub const MAX_PROOFS: usize = 2;
/// Roles of one request.
pub const MAX_ROLES: usize = 8;
/// Entries in each list of requested names.
pub const MAX_NAMES: usize = 64;
/// Bytes of one requested name (DNS name or principal).
pub const MAX_NAME: usize = 253;
/// Bytes of one fact (hostname, operating system, architecture, version).
pub const MAX_FACT: usize = 256;
/// Bytes of all facts together.
pub const MAX_FACTS: usize = 1024;
/// The shortest lifetime of certificates that may be asked for, in seconds.
pub const MIN_TTL_SECONDS: u64 = 60;
/// The longest lifetime of certificates that may be asked for, in seconds (366 days); the server's caps are lower.
pub const MAX_TTL_SECONDS: u64 = 366 * 86_400;
/// How long a challenge may be completed.
pub const CHALLENGE_LIFE: Duration = Duration::from_secs(60);
/// How far ahead the clock of the replica that made a challenge may be.
pub const CHALLENGE_CLOCK_TOLERANCE: Duration = Duration::from_secs(10);
/// How often a client completes `confirm` challenges for one attempt on one connection before it backs off.
pub const MAX_CONFIRMATIONS: u32 = 3;

/// Bytes of the name of a cluster.
pub(crate) const MAX_CLUSTER: usize = 253;
/// The greatest whole number that every JSON reader keeps exactly.
pub(crate) const MAX_EXACT_INTEGER: u64 = (1 << 53) - 1;
