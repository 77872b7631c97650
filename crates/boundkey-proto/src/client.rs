use boundkey_keys::{KeyFileError, Signer, Thumbprint, hmac_sha256};
use boundkey_text::clean;
use serde::Deserialize;

use crate::encoding::encode;
use crate::limits::{MAX_BODY, MAX_CHALLENGE, MAX_JOIN_STATE};
use crate::proof::{ProofContext, ProofPurpose};
use crate::{
    BeginAnswer, ChallengeError, ChallengeView, Complete, JoinAnswer, PROTOCOL_VERSION, Problem, ProtoError,
    Request, SUPPORTED_VERSIONS, Transcript, read_challenge,
};

/// Builds and signs the message that completes a challenge. What is signed is built here from checked parts: a client
/// never signs bytes it was sent.
///
/// `view` is what [`read_challenge`] made of `challenge`; `bound` and `new` hold the keys that `request` names;
/// `secret_proof_key` comes from [`boundkey_keys::secret_proof_key`], for a registration by secret.
///
/// # Errors
///
/// [`ClientError`] when the parts do not fit together, a member is out of its bounds, or a key cannot sign. Nothing
/// must be sent then.
pub fn build_complete(
    challenge: &str,
    view: &ChallengeView,
    request: &Request,
    bound: &dyn Signer,
    new: Option<&dyn Signer>,
    secret_proof_key: Option<&[u8; 32]>,
) -> Result<Complete, ClientError> {
    if read_challenge(challenge, Some(&view.cluster))? != *view {
        return Err(ClientError::OtherChallenge);
    }
    if bound.public_key() != &request.bound_key {
        return Err(ClientError::OtherKey { member: "bound_key" });
    }
    if new.map(Signer::public_key) != request.new_key.as_ref() {
        return Err(ClientError::OtherKey { member: "new_key" });
    }
    request.check()?;
    let encoded = request.encode();
    let transcript = Transcript::new(challenge, &encoded);
    let context = ProofContext::new(&view.cluster, &view.nonce, &transcript);
    let mut proofs = vec![context.sign(bound, ProofPurpose::BoundKey)?];
    if let Some(new) = new {
        proofs.push(context.sign(new, ProofPurpose::NewKey)?);
    }
    let secret_proof = secret_proof_key.map(|key| encode(&hmac_sha256(key, &transcript.0)));
    Ok(Complete { challenge: challenge.to_owned(), request: encoded, proofs, secret_proof })
}

/// The highest version that both sides speak.
pub fn choose_version(offered: &[u32]) -> Option<u32> {
    SUPPORTED_VERSIONS.iter().copied().filter(|version| offered.contains(version)).max()
}

/// What the server said to `begin`.
#[derive(Debug)]
pub enum BeginReply {
    /// A challenge to complete.
    Challenge(BeginAnswer),
    /// A refusal.
    Refused(Problem),
}

/// What the server said to `complete`: an answer, or a refusal.
#[derive(Debug)]
pub enum Answer {
    /// HTTP 200.
    Join(JoinAnswer),
    /// HTTP 4xx or 5xx with a problem.
    Refused(Problem),
}

/// Reads the answer to `POST /v1/join/begin`.
///
/// # Errors
///
/// As [`read_answer`]; also [`ClientError::NoCommonVersion`].
pub fn read_begin_answer(status: u16, body: &[u8]) -> Result<BeginReply, ClientError> {
    if status != 200 {
        return read_problem(status, body).map(BeginReply::Refused);
    }
    let answer: BeginAnswer = read(status, body)?;
    if choose_version(&answer.versions).is_none() {
        return Err(ClientError::NoCommonVersion { offered: answer.versions.into_iter().take(16).collect() });
    }
    Ok(BeginReply::Challenge(answer))
}

/// Reads the answer to `POST /v1/join/complete`, strictly: by HTTP status, then content.
///
/// # Errors
///
/// [`ClientError`] for anything that the protocol does not know: a captive portal's page, a redirect, half a body.
/// It counts as no answer at all: the same attempt is tried again later.
pub fn read_answer(status: u16, body: &[u8]) -> Result<Answer, ClientError> {
    if status != 200 {
        return read_problem(status, body).map(Answer::Refused);
    }
    let answer: JoinAnswer = read(status, body)?;
    if let JoinAnswer::Confirm { challenge } = &answer
        && challenge.len() > MAX_CHALLENGE
    {
        return Err(ClientError::Challenge(ChallengeError::TooLong {
            found: challenge.len(),
            allowed: MAX_CHALLENGE,
        }));
    }
    Ok(Answer::Join(answer))
}

fn read_problem(status: u16, body: &[u8]) -> Result<Problem, ClientError> {
    if !(400..600).contains(&status) {
        return Err(ClientError::UnexpectedStatus { status });
    }
    let problem: Problem = read(status, body)?;
    if problem.status != status {
        return Err(ClientError::Malformed {
            status,
            reason: format!("its problem speaks of status {}", problem.status),
        });
    }
    Ok(problem)
}

fn read<'a, T: Deserialize<'a>>(status: u16, body: &'a [u8]) -> Result<T, ClientError> {
    if body.len() > MAX_BODY {
        return Err(ClientError::TooLarge { found: body.len() });
    }
    if body.trim_ascii_start().first() != Some(&b'{') {
        let begins = clean(String::from_utf8_lossy(body.get(..200).unwrap_or(body)).trim_start(), 60);
        return Err(ClientError::NotJson { status, begins });
    }
    serde_json::from_slice(body)
        .map_err(|error| ClientError::Malformed { status, reason: clean(&error.to_string(), 200) })
}

/// Why a client sends nothing, or takes what it received for no answer. Never a denial: the attempt stays pending.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The challenge is not to be answered.
    #[error(transparent)]
    Challenge(#[from] ChallengeError),
    /// The view was read from another challenge (a bug of the caller).
    #[error("the challenge is not the one that was read")]
    OtherChallenge,
    /// A signer is not of the key that the request names (a bug of the caller).
    #[error("the signer is not of the request's `{member}`")]
    OtherKey {
        /// The member of the request.
        member: &'static str,
    },
    /// The request is out of its bounds (configuration: names, lifetime, facts).
    #[error("the request would be refused")]
    Request(#[from] ProtoError),
    /// A key cannot sign.
    #[error("a proof cannot be signed")]
    Sign(#[from] KeyFileError),
    /// Longer than any answer.
    #[error("the answer has {found} bytes; at most 65536 are allowed")]
    TooLarge {
        /// Bytes.
        found: usize,
    },
    /// Not from a server of this protocol.
    #[error(
        "the answer (HTTP {status}) is not from a boundkey server, it begins with `{begins}`: \
         a proxy or a captive portal stands in between, or the address is wrong"
    )]
    NotJson {
        /// The HTTP status.
        status: u16,
        /// The first characters.
        begins: String,
    },
    /// JSON, but no answer of this protocol.
    #[error("the answer (HTTP {status}) is not understood: {reason}")]
    Malformed {
        /// The HTTP status.
        status: u16,
        /// What the parser said.
        reason: String,
    },
    /// A redirect or another status that the protocol does not use.
    #[error(
        "the server answered with HTTP {status}, which this protocol does not use; redirects are not followed"
    )]
    UnexpectedStatus {
        /// The HTTP status.
        status: u16,
    },
    /// The server is too old or too new.
    #[error(
        "the server speaks protocol versions {offered:?}, this client {PROTOCOL_VERSION}: upgrade the older one"
    )]
    NoCommonVersion {
        /// What the server offered.
        offered: Vec<u32>,
    },
}

/// Why a result must not be stored. The attempt stays pending.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResultFault {
    /// It ends another attempt.
    #[error("the result is of another attempt")]
    OtherAttempt,
    /// Its bound key is not one that this client holds.
    #[error("the result binds a key that is not held here: {found}")]
    ForeignKey {
        /// The thumbprint.
        found: Thumbprint,
    },
    /// Its join state could never be handed back.
    #[error("the result's join state has {bytes} bytes; allowed: {MAX_JOIN_STATE}")]
    LongState {
        /// What was found.
        bytes: usize,
    },
    /// The chain is empty or not base64.
    #[error("the result's certificate chain is not readable")]
    Chain,
}
