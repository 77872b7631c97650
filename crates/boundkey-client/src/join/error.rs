use std::path::PathBuf;
use std::time::Duration;

use boundkey_keys::KeyFileError;
use boundkey_keystore::{KeystoreError, TransitionError};
use boundkey_proto::{ClientError, Problem};

use super::ResultError;
use crate::backoff::Setback;
use crate::config::CredentialError;
use crate::machine::OtherMachine;
use crate::transport::TransportError;
use crate::trust::TrustError;

/// Why a join gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The state cannot be read or written.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The state is of another machine; nothing was sent.
    #[error(transparent)]
    OtherMachine(#[from] OtherMachine),
    /// The state is of another token; nothing was sent.
    #[error(
        "the state belongs to the token `{stored}`, and the configuration says `{configured}`: put the old name back, or \
         run `boundkey-agent forget` and enrol this machine anew"
    )]
    OtherToken {
        /// Of the state.
        stored: String,
        /// Of the configuration.
        configured: String,
    },
    /// The secret or key that the configuration names cannot be used.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The host key that is to be certified.
    #[error("cannot use the host key {}: {reason} (`ssh-keygen -A` makes the usual ones; without `host_key` one is made here)", .path.display())]
    HostKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A key cannot be made or used.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// No answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// An answer that is none.
    #[error(transparent)]
    Protocol(#[from] ClientError),
    /// The server said no.
    #[error("{}: {}{}", .0.code, .0.detail, correlation(.0))]
    Refused(Box<Problem>),
    /// The server's result does not hold together; nothing of it was stored.
    #[error(transparent)]
    Result(#[from] ResultError),
    /// A rotation is due, and the key is not ours to replace.
    #[error(
        "the cluster demands a new key, and this agent has a static one: make a new one with `boundkey-agent keypair create \
         --static`, and let an administrator put it into the token (`boundkeyctl bound-keypair reset`)"
    )]
    RotationOfStaticKey,
    /// A new key was offered and the server still wants one.
    #[error("the server demands a new key although one was offered; the attempt is kept")]
    RotationRefused,
    /// The lineage moved between each two messages.
    #[error(
        "the server asked for confirmation {} times in a row: another client joins with the same identity",
        boundkey_proto::MAX_CONFIRMATIONS
    )]
    NeverConfirmed,
    /// Results without certificates, again and again.
    #[error("the server gave no certificates in several attempts")]
    OnlyProvisional,
    /// A step that does not fit the state: a new key that is none, mostly.
    #[error(transparent)]
    Transition(#[from] TransitionError),
    /// A time limit of the caller's.
    #[error("no answer within {0:?}; the attempt is stored and goes on at the next start")]
    OutOfTime(Duration),
    /// A bug of this crate.
    #[error("there is no attempt to complete")]
    NoAttempt,
    /// A bug of this crate.
    #[error("a message cannot be encoded: {0}")]
    Encoding(String),
}

/// Who can do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Time: the same attempt is tried again.
    Wait(Option<Duration>),
    /// An administrator of the cluster: the answer is a typed refusal.
    Administrator,
    /// Whoever runs this machine: its configuration, files or trust.
    Machine,
    /// Whoever runs this machine, and no try before that makes sense.
    MachineFirst,
}

impl JoinError {
    /// Who can do something about it.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Refused(problem) if problem.is_final() => Remedy::Administrator,
            Self::Refused(problem) => Remedy::Wait(problem.retry_after.map(Duration::from_secs)),
            Self::Transport(TransportError::Trust(TrustError::Dates { .. })) => Remedy::Wait(None),
            Self::Transport(TransportError::Trust(_)) => Remedy::Machine,
            Self::Transport(_) | Self::Protocol(_) | Self::Result(_) => Remedy::Wait(None),
            Self::NeverConfirmed | Self::OnlyProvisional | Self::OutOfTime(_) | Self::Transition(_) => {
                Remedy::Wait(None)
            }
            Self::NoAttempt | Self::Encoding(_) => Remedy::Wait(None),
            Self::RotationOfStaticKey | Self::RotationRefused => Remedy::Administrator,
            Self::Keystore(_) | Self::Credential(_) | Self::HostKey { .. } | Self::Key(_) => Remedy::Machine,
            Self::OtherMachine(_) | Self::OtherToken { .. } => Remedy::MachineFirst,
        }
    }

    /// How long to wait, as far as the error says.
    pub fn setback(&self) -> Setback {
        match self.remedy() {
            Remedy::Wait(asked) => Setback::Transient(asked),
            Remedy::Machine | Remedy::MachineFirst => Setback::Transient(None),
            Remedy::Administrator => Setback::Final,
        }
    }

    /// The stable code of a refusal.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(problem) => Some(&problem.code),
            _ => None,
        }
    }
}

fn correlation(problem: &Problem) -> String {
    problem.correlation_id.as_ref().map(|id| format!(" (correlation id {id})")).unwrap_or_default()
}
