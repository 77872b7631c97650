use boundkey_keys::MasterKey;
use boundkey_lifecycle::{Evidence, Hash32, Position, Proven, SecretEvidence, StateEvidence};
use boundkey_text::clean;
use serde::Deserialize;
use subtle::ConstantTimeEq as _;
use time::OffsetDateTime;

use crate::challenge::check_challenge;
use crate::encoding::{Text, decode_32, present, read_object};
use crate::limits::{MAX_BODY, MAX_CHALLENGE, MAX_PROOFS};
use crate::proof::{ProofContext, ProofPurpose};
use crate::{Begin, PROTOCOL_VERSION, Problem, Request, Transcript, open_state};

/// A complete request whose challenge, proofs and join state were checked. Only [`receive_complete`] makes one.
#[derive(Debug)]
#[non_exhaustive]
pub struct Received {
    /// Decoded once, every member within its bounds.
    pub request: Request,
    /// Of the strings as they were sent.
    pub transcript: Transcript,
    /// The keys that were proven over this very transcript; none, if any proof failed.
    pub proven: Proven,
    /// What the presented join state is worth.
    pub join_state: StateEvidence,
    /// The position that the challenge names.
    pub position: Option<Position>,
    /// As presented; compare with [`Received::secret_matches`] only.
    pub secret_proof: Option<[u8; 32]>,
    /// Digest of keys, names, roles and lifetime to be certified.
    pub certified: Hash32,
}

impl Received {
    /// Was the secret behind this proof key presented? Constant time; false if no secret proof was.
    pub fn secret_matches(&self, proof_key: &[u8; 32]) -> bool {
        let expected = boundkey_keys::hmac_sha256(proof_key, &self.transcript.0);
        self.secret_proof.is_some_and(|presented| presented.ct_eq(&expected).into())
    }

    /// What `decide` is given, with what the caller found out about the secret.
    pub fn evidence(&self, secret: SecretEvidence) -> Evidence {
        Evidence {
            proven: self.proven.clone(),
            secret,
            join_state: self.join_state.clone(),
            attempt: self.request.attempt,
            position: self.position,
            roles: self.request.roles.clone(),
            names: self.request.names.clone(),
            certified: self.certified,
            facts: self.request.facts.clone(),
        }
    }
}

/// Borrowed from the body; one parse.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CompleteBody<'a> {
    #[serde(borrow)]
    challenge: Text<'a>,
    #[serde(borrow)]
    request: Text<'a>,
    #[serde(borrow)]
    proofs: Vec<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    secret_proof: Option<Text<'a>>,
}

/// Reads the body of `POST /v1/join/begin`.
///
/// # Errors
///
/// [`ProtoError::BodyTooLarge`] or [`ProtoError::NotUnderstood`].
pub fn receive_begin(body: &[u8]) -> Result<Begin, ProtoError> {
    parse(body)
}

/// Reads and checks the body of `POST /v1/join/complete`.
///
/// In this order: sizes, the challenge's tag and life, the transcript, R (decoded once, strictly), proofs, join state.
/// Bad proofs are no error: they prove nothing (`proven.current` is None), so that everything unproven looks the same.
///
/// # Errors
///
/// [`ProtoError`] for a malformed message, or a challenge that is not of this cluster or not of this minute.
pub fn receive_complete(
    body: &[u8],
    cluster: &str,
    master: &MasterKey,
    now: OffsetDateTime,
) -> Result<Received, ProtoError> {
    let message: CompleteBody<'_> = parse(body)?;
    let (challenge, request) = (&*message.challenge.0, &*message.request.0);
    if challenge.len() > MAX_CHALLENGE {
        return Err(malformed("challenge", format!("{} bytes", challenge.len()), "at most 2048 bytes"));
    }
    if message.proofs.len() > MAX_PROOFS {
        return Err(malformed("proofs", format!("{} entries", message.proofs.len()), "at most 2"));
    }
    let view = check_challenge(challenge, cluster, master, now)?;
    let transcript = Transcript::new(challenge, request);
    let request = Request::decode(request)?;
    let secret_proof = message.secret_proof.map(|text| secret_proof(&text.0)).transpose()?;
    let context = ProofContext::new(cluster, &view.nonce, &transcript);
    let proven = prove(&context, &request, &message.proofs).unwrap_or_default();
    let join_state = match &request.join_state {
        None => StateEvidence::None,
        Some(text) => open_state(text, cluster, master),
    };
    let certified = Hash32(request.certified());
    Ok(Received { request, transcript, proven, join_state, position: view.position, secret_proof, certified })
}

/// None unless there is a proof for each key, in order, and every one holds.
fn prove(context: &ProofContext<'_>, request: &Request, proofs: &[Text<'_>]) -> Option<Proven> {
    let (bound_proof, new_proof) = match (proofs, &request.new_key) {
        ([bound], None) => (bound, None),
        ([bound, new], Some(key)) => (bound, Some((new, key))),
        _ => return None,
    };
    let current = context.check(&bound_proof.0, &request.bound_key, ProofPurpose::BoundKey)?;
    let new = match new_proof {
        None => None,
        Some((proof, key)) => Some(context.check(&proof.0, key, ProofPurpose::NewKey)?),
    };
    Some(Proven { current: Some(current), new })
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ProtoError> {
    if body.len() > MAX_BODY {
        return Err(ProtoError::BodyTooLarge { found: body.len() });
    }
    read_object(body).map_err(|error| not_understood("body", &error))
}

fn secret_proof(text: &str) -> Result<[u8; 32], ProtoError> {
    decode_32(text).ok_or_else(|| {
        malformed("secret_proof", format!("{} bytes", text.len()), "43 characters of canonical base64url")
    })
}

fn malformed(member: &'static str, found: String, allowed: &'static str) -> ProtoError {
    ProtoError::MalformedRequest { member, found, allowed }
}

/// What a JSON parser did not take.
pub(crate) fn not_understood(what: &'static str, error: &serde_json::Error) -> ProtoError {
    let form = if error.is_data() { "JSON of another form" } else { "no JSON" };
    let place = format!("{form}, at line {}, column {}", error.line(), error.column());
    ProtoError::NotUnderstood { what, place, cause: clean(&error.to_string(), 200) }
}

/// Why a message is refused before anything is decided. All but a fault of the clocks are the client's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtoError {
    /// Longer than [`MAX_BODY`].
    #[error("the body has {found} bytes; at most 65536 are allowed")]
    BodyTooLarge {
        /// Bytes.
        found: usize,
    },
    /// Not the JSON of the message.
    #[error("the {what} is not understood: {cause}")]
    NotUnderstood {
        /// `body`, or `request` for the one inside of it.
        what: &'static str,
        /// Where, in our own words: the peer is told this.
        place: String,
        /// The parser's words, which may quote the message: for logs.
        cause: String,
    },
    /// A member that is out of its bounds.
    #[error("`{member}`: found {found}; allowed: {allowed}")]
    MalformedRequest {
        /// Its path.
        member: &'static str,
        /// What was found.
        found: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A protocol version that this server does not speak.
    #[error("protocol version {found} is not spoken here; spoken: {PROTOCOL_VERSION}")]
    UnsupportedVersion {
        /// The version of the request.
        found: u32,
    },
    /// The challenge will not do.
    #[error(transparent)]
    Challenge(#[from] ChallengeFault),
}

/// Why a server does not accept a challenge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeFault {
    /// Not a compact JWS of the right type with the right claims.
    #[error("the challenge is not one of this protocol")]
    NotAChallenge,
    /// Made under a master key or epoch that is unknown here.
    #[error("the challenge was made with a key that is unknown here")]
    UnknownKey,
    /// Altered, or made with another key.
    #[error("the challenge was not made by this cluster")]
    BadTag,
    /// Made by a cluster of another name with the same master key.
    #[error("the challenge is of another cluster")]
    OtherCluster,
    /// Outlived: begin again.
    #[error("the challenge expired at {expired_at}, it is {now}: begin again")]
    Expired {
        /// By the clock of the replica that made it.
        expired_at: OffsetDateTime,
        /// By this server's clock.
        now: OffsetDateTime,
    },
    /// From the future: the clocks of the replicas differ by more than ten seconds.
    #[error("the challenge was made at {issued_at}, but it is {now} here: the servers' clocks differ")]
    NotYetValid {
        /// By the clock of the replica that made it.
        issued_at: OffsetDateTime,
        /// By this server's clock.
        now: OffsetDateTime,
    },
}

impl ProtoError {
    /// Stable, for a problem.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::NotUnderstood { .. } | Self::MalformedRequest { .. } => "malformed_request",
            Self::UnsupportedVersion { .. } => "unsupported_version",
            Self::Challenge(ChallengeFault::Expired { .. }) => "challenge_expired",
            Self::Challenge(ChallengeFault::NotYetValid { .. }) => "challenge_not_yet_valid",
            Self::Challenge(_) => "challenge_invalid",
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::BodyTooLarge { .. } => 413,
            _ => 400,
        }
    }

    /// What the client is told: less than the log of what a parser says, and of a challenge that was not made here, which
    /// may be a probe.
    pub fn problem(&self) -> Problem {
        let detail = match self {
            Self::Challenge(
                ChallengeFault::NotAChallenge
                | ChallengeFault::UnknownKey
                | ChallengeFault::BadTag
                | ChallengeFault::OtherCluster,
            ) => "the challenge is not one that this cluster accepts: begin again".to_owned(),
            Self::NotUnderstood { what, place, .. } => {
                format!("the {what} is {place}; its members are described at /v1/openapi.json")
            }
            other => other.to_string(),
        };
        Problem::new(self.status(), self.code(), detail)
    }
}
