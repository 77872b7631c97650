use std::time::Duration;

use tokio::sync::mpsc;

use super::{Agent, AgentError, report};
use crate::backoff::{Backoff, Setback};
use crate::clock::show_time;
use crate::config::AgentConfig;
use crate::join::{JoinPlan, Remedy};
use crate::schedule::{Deadline, wait_after_restart};

/// What a running agent may be told.
#[derive(Debug)]
pub enum Command {
    /// Join now.
    Renew,
    /// Go on with another configuration, and join with it.
    Reload(Box<AgentConfig>),
    /// End.
    Stop,
}

/// What a running agent has to say, for a service manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// There is an identity, or the first try to get one failed.
    Ready,
    /// What it does now, in a sentence.
    Status(String),
}

impl Agent {
    /// Joins and renews until it is told to stop.
    ///
    /// # Errors
    /// Only what no further try can mend before somebody acts: a state of another machine or of another token.
    pub async fn run(
        &mut self,
        mut commands: mpsc::Receiver<Command>,
        mut say: impl FnMut(Event),
    ) -> Result<(), AgentError> {
        let mut backoff = Backoff::standard();
        let mut deadline = self.first_deadline().await?;
        let mut ready = false;
        if !deadline.remaining(self.clock.since_boot()).is_zero() {
            say(Event::Ready);
            ready = true;
            say(Event::Status(self.plan_next(deadline)));
        }
        loop {
            match self.wait(deadline, &mut commands).await {
                Command::Stop => return Ok(()),
                Command::Reload(config) => self.reload(*config),
                Command::Renew => {}
            }
            let mut reload = None;
            let wait = tokio::select! {
                // Dropping a join is as good as a crash in the middle of it: the attempt is stored.
                biased;
                () = stopped(&mut commands, &mut reload) => return Ok(()),
                outcome = self.join_once() => match outcome {
                    Ok(joined) => {
                        backoff.reset();
                        joined.log();
                        joined.renew_in
                    }
                    Err(error) => self.after_failure(error, &mut backoff, &mut say)?,
                },
            };
            deadline = Deadline::after(self.clock.since_boot(), wait);
            if let Some(config) = reload {
                self.reload(config);
                deadline = Deadline::after(self.clock.since_boot(), Duration::ZERO);
            }
            if !ready {
                say(Event::Ready);
                ready = true;
            }
            say(Event::Status(self.plan_next(deadline)));
        }
    }

    /// With a stored identity the outputs are brought up to date, and the renewal waits for its time; an attempt that is
    /// pending goes on at once.
    async fn first_deadline(&mut self) -> Result<Deadline, AgentError> {
        let state = self.keystore.load()?;
        let now = self.clock.since_boot();
        let belongs = state.token.as_deref() == Some(self.plan.token.as_str());
        let wait = match &state.identity {
            Some(identity) if belongs && state.pending.is_none() => {
                wait_after_restart(identity.obtained_at, identity.renew_at, self.clock.now())
            }
            _ => Duration::ZERO,
        };
        if belongs {
            self.distribute(&state, None).await;
        }
        Ok(Deadline::after(now, wait))
    }

    /// Until the deadline (then it is time to renew) or a command.
    async fn wait(&self, deadline: Deadline, commands: &mut mpsc::Receiver<Command>) -> Command {
        loop {
            let nap = deadline.nap(self.clock.since_boot());
            if nap.is_zero() {
                return Command::Renew;
            }
            tokio::select! {
                biased;
                command = commands.recv() => return command.unwrap_or(Command::Stop),
                () = tokio::time::sleep(nap) => {}
            }
        }
    }

    fn reload(&mut self, mut config: AgentConfig) {
        if config.data_dir != self.config.data_dir {
            tracing::error!(error = %AgentError::OtherDataDir, "the configuration stays as it was");
            return;
        }
        match config.trust.load() {
            Ok(_) => {
                self.plan = JoinPlan::of_config(&mut config, &self.version);
                self.transport = crate::transport::HttpsTransport::new(
                    config.server.clone(),
                    crate::trust::Trust::default(),
                    std::sync::Arc::clone(&self.clock),
                    crate::transport::Timeouts::default(),
                );
                self.config = config;
                tracing::info!("configuration reloaded");
            }
            Err(error) => tracing::error!(error = %report(&error), "the configuration stays as it was"),
        }
    }

    fn after_failure(
        &mut self,
        error: AgentError,
        backoff: &mut Backoff,
        say: &mut impl FnMut(Event),
    ) -> Result<Duration, AgentError> {
        let setback = match &error {
            AgentError::Join(failed) if failed.remedy() == Remedy::MachineFirst => return Err(error),
            AgentError::Join(failed) => failed.setback(),
            _ => Setback::Transient(None),
        };
        let wait = backoff.next(setback, self.entropy.as_ref());
        let text = report(&error);
        let code = if let AgentError::Join(failed) = &error { failed.code() } else { None };
        match setback {
            Setback::Final => tracing::error!(code, error = text, retry_in = ?wait, "join refused"),
            Setback::Transient(_) => tracing::warn!(code, error = text, retry_in = ?wait, "join failed"),
        }
        say(Event::Status(text));
        Ok(wait)
    }

    fn plan_next(&mut self, deadline: Deadline) -> String {
        let at = self.clock.now() + deadline.remaining(self.clock.since_boot());
        self.notes.next_try_at = Some(at.replace_nanosecond(0).unwrap_or(at));
        let at = show_time(at);
        self.write_notes();
        match self.keystore.load() {
            Ok(state) => match (&state.last_error, &state.identity) {
                (Some(error), _) => format!("{error}; next try at {at}"),
                (None, Some(identity)) => {
                    format!("joined as {} {}; next renewal at {at}", identity.identity_kind, identity.id)
                }
                (None, None) => format!("not joined yet; next try at {at}"),
            },
            Err(error) => report(&error),
        }
    }
}

/// While a join is under way, only the end of the agent interrupts it: a renewal asked for is under way already, and a new
/// configuration comes after it.
async fn stopped(commands: &mut mpsc::Receiver<Command>, reload: &mut Option<AgentConfig>) {
    loop {
        match commands.recv().await {
            None | Some(Command::Stop) => return,
            Some(Command::Renew) => {}
            Some(Command::Reload(config)) => *reload = Some(*config),
        }
    }
}
