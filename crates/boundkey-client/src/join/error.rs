use std::path::PathBuf;
use std::time::Duration;

use boundkey_keys::KeyFileError;
use boundkey_keystore::{KeystoreError, TransitionError};
use boundkey_proto::{BundleError, ClientError, Problem};

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
    /// The state is of another cluster than the server; no proof was sent.
    #[error(
        "the state belongs to the cluster `{stored}`, and this server to `{found}`: put the old server back into the \
         configuration, or run `boundkey-agent forget` and enrol this machine anew"
    )]
    OtherCluster {
        /// Of the state.
        stored: String,
        /// Of the server.
        found: String,
        /// The configuration itself names that cluster's CA (`ca_pins`, `ca_file`): it is meant so.
        configured: bool,
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
            // The same request would be refused again, and the same key would not sign.
            Self::Protocol(ClientError::Request(_) | ClientError::Sign(_)) => Remedy::Machine,
            Self::Protocol(ClientError::NoCommonVersion { .. }) => Remedy::Administrator,
            // A CA that was replaced is made known by its pin.
            Self::Result(ResultError::Bundle(BundleError::Untrusted)) => Remedy::Machine,
            Self::Transport(_) | Self::Protocol(_) | Self::Result(_) => Remedy::Wait(None),
            Self::NeverConfirmed | Self::OnlyProvisional | Self::OutOfTime(_) | Self::Transition(_) => {
                Remedy::Wait(None)
            }
            Self::NoAttempt | Self::Encoding(_) => Remedy::Wait(None),
            Self::RotationOfStaticKey | Self::RotationRefused => Remedy::Administrator,
            Self::Keystore(_) | Self::Credential(_) | Self::HostKey { .. } | Self::Key(_) => Remedy::Machine,
            // Without pins anybody whom a public CA certified may have answered: that ends no agent.
            Self::OtherCluster { configured: false, .. } => Remedy::Machine,
            Self::OtherMachine(_) | Self::OtherToken { .. } | Self::OtherCluster { .. } => {
                Remedy::MachineFirst
            }
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

/// Where the cause is found. Refusals of strangers are counted together, and of a row only the first and the last id are
/// kept; the server's log has every one.
fn correlation(problem: &Problem) -> String {
    let Some(id) = &problem.correlation_id else { return String::new() };
    let log = match (problem.status, problem.code.as_str()) {
        (403, "denied") => {
            "an administrator finds the cause with `boundkeyctl events ls --id {id}`, or in the server's log"
        }
        (403, _) => "an administrator finds more with `boundkeyctl events ls --id {id}`",
        _ => "the server's log has more under the correlation id {id}",
    };
    format!(" ({})", log.replace("{id}", id))
}

#[cfg(test)]
mod tests {
    use boundkey_keystore::FileError;
    use boundkey_proto::{ChallengeError, ProtoError};

    use super::*;

    fn problem(status: u16, code: &str) -> JoinError {
        JoinError::Refused(Box::new(Problem::new(status, code, "why")))
    }

    /// Fails to compile when there is a new variant: it belongs into the table below.
    fn kind(error: &JoinError) -> &'static str {
        match error {
            JoinError::Keystore(_) => "keystore",
            JoinError::OtherMachine(_) => "other machine",
            JoinError::OtherToken { .. } => "other token",
            JoinError::OtherCluster { .. } => "other cluster",
            JoinError::Credential(_) => "credential",
            JoinError::HostKey { .. } => "host key",
            JoinError::Key(_) => "key",
            JoinError::Transport(_) => "transport",
            JoinError::Protocol(_) => "protocol",
            JoinError::Refused(_) => "refused",
            JoinError::Result(_) => "result",
            JoinError::RotationOfStaticKey => "rotation of a static key",
            JoinError::RotationRefused => "rotation refused",
            JoinError::NeverConfirmed => "never confirmed",
            JoinError::OnlyProvisional => "only provisional",
            JoinError::Transition(_) => "transition",
            JoinError::OutOfTime(_) => "out of time",
            JoinError::NoAttempt => "no attempt",
            JoinError::Encoding(_) => "encoding",
        }
    }

    fn of_this_machine() -> Vec<(JoinError, Remedy)> {
        let other = |configured| JoinError::OtherCluster {
            stored: "example.com".to_owned(),
            found: "other.com".to_owned(),
            configured,
        };
        let other_token = JoinError::OtherToken { stored: "one".to_owned(), configured: "two".to_owned() };
        let unreadable = CredentialError::Unreadable {
            field: "static_key_path",
            path: PathBuf::from("/key"),
            reason: "gone".to_owned(),
        };
        vec![
            (OtherMachine.into(), Remedy::MachineFirst),
            (other_token, Remedy::MachineFirst),
            (other(true), Remedy::MachineFirst),
            // Nobody here named that cluster: its server may be there by mistake, or by somebody's trick.
            (other(false), Remedy::Machine),
            (KeystoreError::from(FileError::DiskFull { path: "/state".into() }).into(), Remedy::Machine),
            (unreadable.into(), Remedy::Machine),
            (JoinError::HostKey { path: "/key".into(), reason: "gone".to_owned() }, Remedy::Machine),
            (KeyFileError::NotAKey.into(), Remedy::Machine),
            (TransportError::Trust(TrustError::NothingToTrust).into(), Remedy::Machine),
            (ClientError::Sign(KeyFileError::NotAKey).into(), Remedy::Machine),
            (ClientError::Request(ProtoError::BodyTooLarge { found: 70_000 }).into(), Remedy::Machine),
            (ResultError::Bundle(BundleError::Untrusted).into(), Remedy::Machine),
        ]
    }

    fn of_others_and_of_time() -> Vec<(JoinError, Remedy)> {
        let server = || "server:443".to_owned();
        let now = time::OffsetDateTime::UNIX_EPOCH;
        let dates = TrustError::Dates { not_before: now, not_after: now, now, server_date: None };
        let lost = TransportError::Broken { server: server(), reason: "lost".to_owned() };
        let wait = Remedy::Wait(None);
        vec![
            (problem(403, "locked"), Remedy::Administrator),
            (problem(503, "unavailable"), wait),
            (JoinError::RotationOfStaticKey, Remedy::Administrator),
            (JoinError::RotationRefused, Remedy::Administrator),
            (ClientError::NoCommonVersion { offered: vec![9] }.into(), Remedy::Administrator),
            (TransportError::Trust(dates).into(), wait),
            (lost.into(), wait),
            (ClientError::UnexpectedStatus { status: 302 }.into(), wait),
            (ClientError::Challenge(ChallengeError::NotAChallenge).into(), wait),
            (ResultError::Digest.into(), wait),
            (JoinError::NeverConfirmed, wait),
            (JoinError::OnlyProvisional, wait),
            (TransitionError::KeyOffered.into(), wait),
            (JoinError::OutOfTime(Duration::from_secs(30)), wait),
            (JoinError::NoAttempt, wait),
            (JoinError::Encoding("x".to_owned()), wait),
        ]
    }

    #[test]
    fn every_error_says_who_can_act_and_whether_a_try_before_that_makes_sense() {
        let mut seen = std::collections::BTreeSet::new();
        for (error, remedy) in of_this_machine().into_iter().chain(of_others_and_of_time()) {
            assert_eq!(error.remedy(), remedy, "{}: {error}", kind(&error));
            seen.insert(kind(&error));
        }
        assert_eq!(seen.len(), 19, "every variant is in the table: {seen:?}");
    }
}
