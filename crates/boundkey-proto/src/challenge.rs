use boundkey_keys::{MacKey, MasterKey, Purpose, mac_jws_kid, sign_mac_jws, verify_mac_jws};
use boundkey_lifecycle::Position;
use boundkey_text::{clean, is_plain};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::encoding::{decode, decode_32, encode, present, read_object};
use crate::limits::{CHALLENGE_CLOCK_TOLERANCE, CHALLENGE_LIFE, MAX_CHALLENGE, MAX_CLUSTER};
use crate::server::ChallengeFault;

/// The `typ` of a challenge.
pub const CHALLENGE_TYP: &str = "boundkey-challenge+jwt";

/// A client also reads challenges of a server that gives more time than this one.
const MAX_LIFE_SECONDS: i64 = 600;

/// Serialised in this order, so that the vectors can pin the bytes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    aud: String,
    iat: i64,
    exp: i64,
    nonce: String,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    position: Option<Position>,
}

/// A fresh challenge, valid for [`CHALLENGE_LIFE`] from `now`; nothing has to be remembered of it.
///
/// `nonce` is random and never used twice. `position` is set in the answer `confirm` only. Times are in whole seconds.
///
/// # Panics
///
/// If the master key cannot derive its own current epoch, which its constructors rule out.
///
/// # Source
///
/// `docs/protocol.md`, "Challenge".
pub fn issue_challenge(
    cluster: &str,
    master: &MasterKey,
    nonce: [u8; 32],
    position: Option<Position>,
    now: OffsetDateTime,
) -> String {
    let iat = now.unix_timestamp();
    let claims = Claims {
        iss: cluster.to_owned(),
        aud: cluster.to_owned(),
        iat,
        exp: iat + CHALLENGE_LIFE.as_secs() as i64,
        nonce: encode(&nonce),
        position,
    };
    seal_claims(&claims, CHALLENGE_TYP, Purpose::Challenge, master)
}

/// What a client reads from a challenge (it cannot check the tag, and need not: it signs what it built itself).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChallengeView {
    /// The cluster that made it, and for which the proofs are made.
    pub cluster: String,
    /// Goes into every proof.
    pub nonce: [u8; 32],
    /// By the server's clock, in whole seconds.
    pub issued_at: OffsetDateTime,
    /// By the server's clock, in whole seconds.
    pub expires_at: OffsetDateTime,
    /// Set in the challenges of a `confirm` answer.
    pub position: Option<Position>,
}

/// Reads a challenge on the client's side.
///
/// `cluster` is the name that the client expects: from the stored identity, or from the CA certificate that was
/// trusted; None only at a first contact that names none.
///
/// # Errors
///
/// [`ChallengeError`] when it is no challenge, or one of another cluster: the client sends nothing.
pub fn read_challenge(text: &str, cluster: Option<&str>) -> Result<ChallengeView, ChallengeError> {
    if text.len() > MAX_CHALLENGE {
        return Err(ChallengeError::TooLong { found: text.len(), allowed: MAX_CHALLENGE });
    }
    mac_jws_kid(text, CHALLENGE_TYP).map_err(|_| ChallengeError::NotAChallenge)?;
    let payload = text.split('.').nth(1).and_then(decode).ok_or(ChallengeError::NotAChallenge)?;
    let claims: Claims = read_object(&payload).map_err(|_| ChallengeError::NotAChallenge)?;
    let view = claims.view().ok_or(ChallengeError::NotAChallenge)?;
    match cluster {
        Some(expected) if view.cluster != expected => Err(ChallengeError::OtherCluster {
            found: clean(&view.cluster, MAX_CLUSTER),
            expected: expected.to_owned(),
        }),
        _ => Ok(view),
    }
}

impl Claims {
    /// None: members that contradict each other or are out of range.
    fn view(self) -> Option<ChallengeView> {
        let well_formed = !self.iss.is_empty()
            && self.iss.len() <= MAX_CLUSTER
            && self.iss.chars().all(is_plain)
            && self.iss == self.aud
            && self.exp.checked_sub(self.iat).is_some_and(|life| (1..=MAX_LIFE_SECONDS).contains(&life));
        if !well_formed {
            return None;
        }
        Some(ChallengeView {
            nonce: decode_32(&self.nonce)?,
            issued_at: OffsetDateTime::from_unix_timestamp(self.iat).ok()?,
            expires_at: OffsetDateTime::from_unix_timestamp(self.exp).ok()?,
            position: self.position,
            cluster: self.iss,
        })
    }
}

/// The server's check: tag, cluster and life.
pub(crate) fn check_challenge(
    text: &str,
    cluster: &str,
    master: &MasterKey,
    now: OffsetDateTime,
) -> Result<ChallengeView, ChallengeFault> {
    let payload =
        open_claims(text, CHALLENGE_TYP, Purpose::Challenge, master).map_err(|fault| match fault {
            MacFault::Unreadable => ChallengeFault::NotAChallenge,
            MacFault::UnknownEpoch => ChallengeFault::UnknownKey,
            MacFault::BadTag => ChallengeFault::BadTag,
        })?;
    let claims: Claims = read_object(&payload).map_err(|_| ChallengeFault::NotAChallenge)?;
    let view = claims.view().ok_or(ChallengeFault::NotAChallenge)?;
    if view.cluster != cluster {
        return Err(ChallengeFault::OtherCluster);
    }
    if now >= view.expires_at {
        return Err(ChallengeFault::Expired { expired_at: view.expires_at, now });
    }
    if now + CHALLENGE_CLOCK_TOLERANCE < view.issued_at {
        return Err(ChallengeFault::NotYetValid { issued_at: view.issued_at, now });
    }
    Ok(view)
}

/// Why a document under the cluster's own MAC is not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MacFault {
    Unreadable,
    UnknownEpoch,
    BadTag,
}

/// A compact JWS over these claims under the current epoch's key.
pub(crate) fn seal_claims(
    claims: &impl Serialize,
    typ: &str,
    purpose: Purpose,
    master: &MasterKey,
) -> String {
    let epoch = master.current();
    let key = master.derive(purpose, epoch).expect("a master key derives its own current epoch");
    let payload = serde_json::to_vec(claims).expect("claims of strings and integers are always JSON");
    sign_mac_jws(&MacKey::new(&key), typ, &epoch.to_string(), &payload)
}

/// Its payload, when any epoch that the keyring derives made it.
pub(crate) fn open_claims(
    text: &str,
    typ: &str,
    purpose: Purpose,
    master: &MasterKey,
) -> Result<Vec<u8>, MacFault> {
    let kid = mac_jws_kid(text, typ).map_err(|_| MacFault::Unreadable)?;
    let epoch = kid.parse().map_err(|_| MacFault::Unreadable)?;
    let key = master.derive(purpose, epoch).ok_or(MacFault::UnknownEpoch)?;
    verify_mac_jws(text, typ, &MacKey::new(&key)).map_err(|_| MacFault::BadTag)
}

/// Why a client does not answer a challenge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeError {
    /// Longer than any challenge.
    #[error("the challenge has {found} bytes; at most {allowed} are allowed")]
    TooLong {
        /// Bytes.
        found: usize,
        /// Bytes.
        allowed: usize,
    },
    /// Not a compact JWS of the right type with the right claims.
    #[error("the server sent something that is no challenge of this protocol")]
    NotAChallenge,
    /// A proof for it would be one for another cluster.
    #[error("the challenge is of cluster `{found}`, this client belongs to `{expected}`")]
    OtherCluster {
        /// The cluster in the challenge.
        found: String,
        /// The cluster that the client knows.
        expected: String,
    },
}
