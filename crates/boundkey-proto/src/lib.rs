//! The join protocol, sans I/O: it makes and checks the messages by which a machine proves its key and is given
//! certificates.
//!
//! It does NOT open a socket, read a clock, make randomness, keep anything, or decide who may join: bytes, time and
//! nonces come in as arguments, checked facts go out, and `boundkey-lifecycle` decides on them.
//!
//! ```text
//!  client                                              server
//!    |-- Begin {}                                   -->| issue_challenge
//!    |<-- BeginAnswer {challenge, versions}         ---|
//!  read_begin_answer, read_challenge, build_complete   |
//!    |-- Complete {challenge, request, proofs, ..}  -->| receive_complete -> Received -> Evidence
//!    |<-- JoinAnswer, or Problem                    ---|
//!  read_answer, JoinResult::check                      |
//! ```
//!
//! | part | wire form | made by | read by |
//! |---|---|---|---|
//! | challenge | HS256 JWS | [`issue_challenge`] | [`read_challenge`], [`receive_complete`] |
//! | transcript | SHA-256 over the strings as sent | [`Transcript::new`] | both sides |
//! | proof | JWS by the bound or the new key | [`build_complete`] | [`receive_complete`] |
//! | join state | HS256 JWS, opaque to clients | [`seal_state`] | [`open_state`] |
//! | CA bundle | JWS by the cluster's tls CAs | [`SignedBundle::sign`] | [`SignedBundle::verify`] |
//! | result digest | SHA-256 in the leaf's extension | [`result_digest`] | [`JoinResult::digest`] |
//! | receipt | JWS by a tls CA over the result digest | [`sign_receipt`] | [`verify_receipt`] |
//!
//! The exact bytes, every code and the client's duties are in `docs/protocol.md`; test vectors for all of it are in
//! `docs/vectors/`.
//!
//! ```
//! use boundkey_keys::{MasterKey, PrivateKey};
//! use boundkey_proto::{
//!     AttemptId, PROTOCOL_VERSION, Request, build_complete, issue_challenge, read_challenge, receive_complete,
//! };
//! use boundkey_token::{Role, RoleSet};
//! use time::macros::datetime;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let master = MasterKey::new(1, [7; 32]);
//! let now = datetime!(2026-11-23 08:00 UTC);
//! let challenge = issue_challenge("example.com", &master, [9; 32], None, now);
//!
//! // The client's side.
//! let key = PrivateKey::ed25519_from_seed(&[1; 32]);
//! let tls_key = PrivateKey::ed25519_from_seed(&[2; 32]);
//! let view = read_challenge(&challenge, Some("example.com"))?;
//! let request = Request {
//!     version: PROTOCOL_VERSION,
//!     token: "example-token".parse()?,
//!     roles: RoleSet::new([Role::Node]),
//!     attempt: AttemptId([3; 16]),
//!     bound_key: key.public_key().clone(),
//!     new_key: None,
//!     tls_key: tls_key.public_key().clone(),
//!     ssh_key: None,
//!     names: Default::default(),
//!     ttl_seconds: None,
//!     join_state: None,
//!     facts: Default::default(),
//! };
//! let complete = build_complete(&challenge, &view, &request, &key, None, None)?;
//! let body = serde_json::to_vec(&complete)?;
//!
//! // The server's side.
//! let received = receive_complete(&body, "example.com", &master, now)?;
//! assert!(received.proven.has(key.public_key()));
//! # Ok(())
//! # }
//! ```

mod bundle;
mod challenge;
mod client;
mod encoding;
mod limits;
mod message;
mod problem;
mod proof;
mod receipt;
mod request;
mod server;
mod state;
mod transcript;

pub use bundle::{BUNDLE_TYP, BundleError, CaBundle, SignedBundle};
pub use challenge::{CHALLENGE_TYP, ChallengeError, ChallengeView, issue_challenge, read_challenge};
pub use client::{
    Answer, BeginReply, ClientError, ResultFault, build_complete, choose_version, read_answer,
    read_begin_answer,
};
pub use limits::{
    CHALLENGE_CLOCK_TOLERANCE, CHALLENGE_LIFE, MAX_BODY, MAX_CHALLENGE, MAX_CONFIRMATIONS, MAX_FACT,
    MAX_FACTS, MAX_JOIN_STATE, MAX_NAME, MAX_NAMES, MAX_PROOFS, MAX_ROLES, MAX_TTL_SECONDS, MIN_TTL_SECONDS,
};
pub use message::{
    Begin, BeginAnswer, Certificates, Complete, JoinAnswer, JoinKindName, JoinResult, PROTOCOL_VERSION,
    Request, SUPPORTED_VERSIONS,
};
pub use problem::{Affected, Confirmation, Problem, ProblemViolation};
pub use proof::PROOF_TYP;
pub use receipt::{RECEIPT_TYP, sign_receipt, verify_receipt};
pub use server::{ChallengeFault, ProtoError, Received, receive_begin, receive_complete};
pub use state::{STATE_TYP, open_state, seal_state};
pub use transcript::{Transcript, result_digest};

// The values of lifecycle that messages carry: clients need no other crate for them.
pub use boundkey_lifecycle::{AttemptId, Identity, MachineFacts, Position};
