//! The agent itself: joins, writes outputs, waits, renews.

mod chores;
mod distribute;
mod orphans;
mod run;

pub use run::{Command, Event};

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use boundkey_keys::Entropy;
use boundkey_keystore::{FileKeystore, Keystore, KeystoreError};

use crate::agent::chores::{Chores, Which};
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::config::AgentConfig;
use crate::join::store::{read_bundle, stored_bundle};
use crate::join::{JoinError, JoinPlan, Joined, Joiner, Remedy};
use crate::machine::{OtherMachine, check_machine};
use crate::status::Notes;
use crate::transport::{HttpsTransport, Timeouts, Transport as _};
use crate::trust::CaFileError;

/// An agent on its data directory, which it holds locked.
pub struct Agent {
    config: AgentConfig,
    plan: JoinPlan,
    keystore: Box<dyn Keystore>,
    transport: HttpsTransport,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    notes: Notes,
    chores: Chores,
    /// As fetched last.
    revoked_keys: Option<Vec<u8>>,
    adopts_orphans: bool,
    version: String,
}

/// Why an agent does not start, or does not join.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The state.
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    /// The file with CA certificates.
    #[error(transparent)]
    CaFile(#[from] CaFileError),
    /// The state is of another machine.
    #[error(transparent)]
    OtherMachine(#[from] OtherMachine),
    /// The join.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// A reload of the configuration that would need another data directory.
    #[error("`data_dir` cannot change while the agent runs: restart it")]
    OtherDataDir,
}

impl Agent {
    /// Takes the data directory's lock and checks all that can be checked without the server.
    ///
    /// # Errors
    /// [`AgentError`]; nothing was sent.
    pub fn open(
        config: AgentConfig,
        version: &str,
        accept_machine: bool,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, AgentError> {
        let keystore = FileKeystore::open(&config.data_dir)?;
        warn_if_tightened(&keystore);
        Self::with_keystore(config, version, accept_machine, Box::new(keystore), clock, entropy)
    }

    /// The same over any keystore: for programs that embed an agent and keep its state elsewhere.
    ///
    /// # Errors
    /// As [`Agent::open`].
    pub fn with_keystore(
        mut config: AgentConfig,
        version: &str,
        accept_machine: bool,
        mut keystore: Box<dyn Keystore>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, AgentError> {
        let mut plan = JoinPlan::of_config(&mut config, version);
        plan.accept_machine = accept_machine;
        let mut state = keystore.load()?;
        let machine = check_machine(state.machine.as_deref(), plan.machine.as_deref(), accept_machine)?;
        if state.machine.is_some() && state.machine != machine {
            // At once, so that the next start needs no flag, whenever the next join is.
            state.machine = machine;
            keystore.save(&state)?;
        }
        if let Err(error) = stored_bundle(&state) {
            tracing::error!(%error, "the CA bundle is not used");
        }
        let trust = config.trust.load()?;
        let transport =
            HttpsTransport::new(config.server.clone(), trust, Arc::clone(&clock), Timeouts::default())
                .through(config.proxy.clone());
        let notes = Notes::read(&config.data_dir);
        Ok(Self {
            config,
            plan,
            keystore,
            transport,
            clock,
            entropy,
            notes,
            chores: Chores::default(),
            revoked_keys: None,
            adopts_orphans: false,
            version: version.to_owned(),
        })
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.config.data_dir
    }

    /// Reap every child that ends, whoever started it: for a program that is process 1 of a container and has no children
    /// of its own.
    pub fn adopt_orphans(&mut self) {
        self.adopts_orphans = true;
    }

    /// Exactly one join, then the outputs. What does not go into an output is reported in the notes and the log.
    ///
    /// # Errors
    /// [`AgentError`]; noted in the state too.
    pub async fn join_once(&mut self) -> Result<Joined, AgentError> {
        let joined = self.join().await?;
        self.hand_out(&joined).await;
        self.write_notes();
        self.do_chores().await;
        Ok(joined)
    }

    /// One join, tried again after transient failures until `limit` has passed; then the outputs, which have limits of their
    /// own.
    ///
    /// # Errors
    /// As [`Agent::join_once`]: the last one.
    pub async fn join_within(&mut self, limit: Duration) -> Result<Joined, AgentError> {
        let joined = self.join_in_time(limit).await?;
        self.hand_out(&joined).await;
        self.write_notes();
        self.do_chores().await;
        Ok(joined)
    }

    async fn join_in_time(&mut self, limit: Duration) -> Result<Joined, AgentError> {
        let started = self.clock.since_boot();
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut last = None;
        loop {
            let left = limit.saturating_sub(self.clock.since_boot().saturating_sub(started));
            let outcome = tokio::time::timeout(left.max(Duration::from_secs(1)), self.join()).await;
            let error = match outcome {
                Ok(Ok(joined)) => return Ok(joined),
                Ok(Err(error)) => error,
                // Dropped in the middle: the attempt is stored, so nothing is lost. What an earlier try met says more than
                // that the last one was cut short.
                Err(_) => {
                    self.transport.disconnect();
                    let error = last.unwrap_or_else(|| JoinError::OutOfTime(limit).into());
                    self.note_failure(&error);
                    return Err(error);
                }
            };
            let (AgentError::Join(failed), true) = (&error, is_transient(&error)) else { return Err(error) };
            let wait = backoff.next(failed.setback(), self.entropy.as_ref());
            let left = limit.saturating_sub(self.clock.since_boot().saturating_sub(started));
            if wait >= left {
                return Err(error);
            }
            tracing::warn!(error = %report(&error), retry_in_seconds = wait.as_secs_f64(), "join failed");
            last = Some(error);
            tokio::time::sleep(wait).await;
        }
    }

    /// The join alone: afterwards its result is in the state.
    async fn join(&mut self) -> Result<Joined, AgentError> {
        match self.try_join().await {
            Ok(joined) => {
                self.plan.accept_machine = false;
                self.notes.asked = Some(self.plan.fingerprint());
                self.notes.proxy = self.config.proxy.as_ref().map(ToString::to_string);
                Ok(joined)
            }
            Err(error) => {
                self.transport.disconnect();
                self.note_failure(&error);
                Err(error)
            }
        }
    }

    async fn try_join(&mut self) -> Result<Joined, AgentError> {
        self.renew_trust()?;
        let mut joiner = Joiner {
            keystore: self.keystore.as_mut(),
            transport: &mut self.transport,
            plan: &self.plan,
            clock: self.clock.as_ref(),
            entropy: self.entropy.as_ref(),
        };
        Ok(joiner.join().await?)
    }

    /// What a join gave, to those who use it.
    async fn hand_out(&mut self, joined: &Joined) {
        self.fetch_revoked_keys().await;
        self.transport.disconnect();
        self.distribute(&joined.state, Which::All).await;
    }

    /// What is trusted changes with each result, and a CA file may change beside us.
    fn renew_trust(&mut self) -> Result<(), AgentError> {
        let state = self.keystore.load()?;
        let mut trust = self.config.trust.load()?;
        if let Some(bundle) = read_bundle(&state) {
            trust = trust.with_bundle(&bundle);
        }
        self.transport.set_trust(trust);
        Ok(())
    }

    /// How the outputs were written last.
    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    /// For `status`; a state that cannot be written is reported by the next join.
    fn note_failure(&mut self, error: &AgentError) {
        // Neither a state that cannot be written nor one that is not ours.
        if let AgentError::Keystore(_)
        | AgentError::Join(
            JoinError::Keystore(_) | JoinError::OtherMachine(_) | JoinError::OtherToken { .. },
        ) = error
        {
            return;
        }
        let noted = self.keystore.load().and_then(|mut state| {
            state.last_error = Some(report(error));
            state.last_error_at = Some(self.clock.now());
            self.keystore.save(&state)
        });
        if let Err(error) = noted {
            tracing::warn!(error = %report(&error), "the failure cannot be noted");
        }
    }
}

/// Says once what was open to others, after a data directory was opened. A platform may have opened it (Kubernetes'
/// `fsGroup`), or somebody by mistake.
pub fn warn_if_tightened(keystore: &FileKeystore) {
    let tightened = keystore.tightened();
    if tightened.is_empty() {
        return;
    }
    let was: Vec<String> =
        tightened.iter().map(|one| format!("{} {:04o}", one.path.display(), one.mode)).collect();
    tracing::warn!(
        was = was.join(", "),
        "the agent's files were open to other users, and are private again; if others were on this machine, replace the key \
         (`boundkeyctl bound-keypair rotate NAME`)"
    );
}

/// Whether time alone may mend it.
fn is_transient(error: &AgentError) -> bool {
    matches!(error, AgentError::Join(error) if matches!(error.remedy(), Remedy::Wait(_)))
}

/// An error with its causes, on one line.
pub fn report(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}
