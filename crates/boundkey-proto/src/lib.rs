//! The join protocol, sans I/O: messages, transcript, challenge, proofs, join state; client and server ceremonies.
#![allow(missing_docs, unused_variables, clippy::todo, reason = "skeleton")]
mod bundle;
mod challenge;
mod client;
mod message;
mod problem;
mod server;
mod state;
mod transcript;

pub use bundle::{BundleError, CaBundle, SignedBundle};
pub use challenge::{ChallengeError, ChallengeView, issue_challenge, read_challenge};
pub use client::{Answer, ClientError, build_complete, read_answer};
pub use message::{
    Begin, BeginAnswer, Certificates, Complete, JoinAnswer, JoinKindName, JoinResult, MAX_BODY,
    PROTOCOL_VERSION, Request,
};
pub use problem::{Problem, ProblemViolation};
pub use server::{ProtoError, Received, receive_complete};
pub use state::{open_state, seal_state};
pub use transcript::{Transcript, result_digest};

// The values of lifecycle that messages carry: clients need no other crate for them.
pub use boundkey_lifecycle::{AttemptId, Identity, MachineFacts, Position};
