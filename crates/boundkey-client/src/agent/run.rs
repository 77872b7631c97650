use std::time::Duration;

use tokio::sync::mpsc;

use super::chores::{Chores, Which};
use super::orphans::Orphans;
use super::{Agent, AgentError, report};
use crate::backoff::{Backoff, Setback};
use crate::clock::show_time;
use crate::config::{AgentConfig, OutputKind};
use crate::join::store::read_bundle;
use crate::join::{JoinPlan, Remedy};
use crate::schedule::{Deadline, spread_at_start, wait_after_restart};

/// How often sshd's list of revoked keys is fetched between two joins.
const REFRESH: Duration = Duration::from_secs(3600);

/// Why the agent woke up.
enum Wake {
    Told(Command),
    /// Time to renew.
    Due,
    /// Time to fetch the revoked keys.
    Refresh,
    /// Time to try again what failed beside the joins.
    Chores,
}

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
        commands: mpsc::Receiver<Command>,
        mut say: impl FnMut(Event),
    ) -> Result<(), AgentError> {
        let mut backoff = Backoff::standard();
        let mut orphans = Orphans::watch(self.adopts_orphans);
        let mut inbox = Inbox { commands, later: None };
        let mut deadline = self.first_deadline()?;
        let Some(()) = inbox.unless_stopped(self.bring_up_to_date()).await else { return Ok(()) };
        let mut refresh = Deadline::after(self.clock.since_boot(), REFRESH);
        let mut ready = false;
        if !deadline.remaining(self.clock.since_boot()).is_zero() {
            say(Event::Ready);
            ready = true;
            say(Event::Status(self.plan_next(deadline)));
        }
        loop {
            let wake = match inbox.later.take() {
                Some(command) => Wake::Told(command),
                None => self.wait(deadline, refresh, &mut inbox.commands, &mut orphans).await,
            };
            match wake {
                Wake::Told(Command::Stop) => return Ok(()),
                Wake::Told(Command::Reload(config)) => self.reload(*config),
                Wake::Told(Command::Renew) | Wake::Due => {}
                Wake::Refresh => {
                    refresh = Deadline::after(self.clock.since_boot(), REFRESH);
                    match inbox.unless_stopped(self.refresh_revoked_keys()).await {
                        Some(()) => continue,
                        None => return Ok(()),
                    }
                }
                Wake::Chores => match inbox.unless_stopped(self.do_chores()).await {
                    Some(()) => continue,
                    None => return Ok(()),
                },
            }
            // Dropping a join is as good as a crash in the middle of it: the attempt is stored.
            let Some(outcome) = inbox.unless_stopped(self.join()).await else { return Ok(()) };
            // A renewal that was asked for meanwhile has just been done.
            inbox.later = inbox.later.filter(|command| !matches!(command, Command::Renew));
            let wait = match outcome {
                Ok(joined) => {
                    backoff.reset();
                    joined.log();
                    let Some(()) = inbox.unless_stopped(self.hand_out(&joined)).await else { return Ok(()) };
                    joined.renew_in
                }
                Err(error) => self.after_failure(error, &mut backoff, &mut say)?,
            };
            deadline = Deadline::after(self.clock.since_boot(), wait);
            refresh = Deadline::after(self.clock.since_boot(), REFRESH);
            if !ready {
                say(Event::Ready);
                ready = true;
            }
            say(Event::Status(self.plan_next(deadline)));
        }
    }

    /// With a stored identity the renewal waits for its time. One that is overdue waits a little at random while the certificates are valid: after a power cut the whole fleet starts. An attempt that
    /// is pending before its time goes on at once, and so does a join with another configuration.
    fn first_deadline(&mut self) -> Result<Deadline, AgentError> {
        let state = self.keystore.load()?;
        let now = self.clock.since_boot();
        let belongs = state.token.as_deref() == Some(self.plan.token.as_str());
        // Notes can be lost; the certificates are not asked for again because of that.
        let as_asked = self.notes.asked.as_ref().is_none_or(|asked| *asked == self.plan.fingerprint());
        let wait = match &state.identity {
            Some(identity) if belongs && as_asked && read_bundle(&state).is_some() => {
                let wall = self.clock.now();
                match wait_after_restart(identity.obtained_at, identity.renew_at, wall) {
                    Duration::ZERO => spread_at_start(identity.not_after - wall, self.entropy.as_ref()),
                    _ if state.pending.is_some() => Duration::ZERO,
                    wait => wait,
                }
            }
            _ => Duration::ZERO,
        };
        Ok(Deadline::after(now, wait))
    }

    /// The outputs, from what an earlier process received.
    async fn bring_up_to_date(&mut self) {
        match self.keystore.load() {
            Ok(state) if state.token.as_deref() == Some(self.plan.token.as_str()) => {
                self.distribute(&state, Which::All).await;
                self.write_notes();
            }
            // The join that is due reports it.
            _ => {}
        }
    }

    async fn wait(
        &mut self,
        deadline: Deadline,
        refresh: Deadline,
        commands: &mut mpsc::Receiver<Command>,
        orphans: &mut Orphans,
    ) -> Wake {
        let host =
            self.config.outputs.iter().any(|output| matches!(output.kind, OutputKind::OpensshHost { .. }));
        loop {
            let now = self.clock.since_boot();
            if deadline.remaining(now).is_zero() {
                return Wake::Due;
            }
            if host && refresh.remaining(now).is_zero() {
                return Wake::Refresh;
            }
            let chores = self.chores.next();
            if chores.is_some_and(|due| due.remaining(now).is_zero()) {
                return Wake::Chores;
            }
            let nap = if host { deadline.nap(now).min(refresh.nap(now)) } else { deadline.nap(now) };
            let nap = chores.map_or(nap, |due| due.nap(now).min(nap));
            orphans.reap();
            tokio::select! {
                biased;
                () = orphans.ended() => {}
                command = commands.recv() => return Wake::Told(command.unwrap_or(Command::Stop)),
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
                )
                .through(config.proxy.clone());
                self.config = config;
                self.chores = Chores::default();
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
            Setback::Final => {
                tracing::error!(code, error = text, retry_in_seconds = wait.as_secs_f64(), "join refused")
            }
            Setback::Transient(_) => {
                tracing::warn!(code, error = text, retry_in_seconds = wait.as_secs_f64(), "join failed")
            }
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

/// What the agent was told, and has not done yet.
struct Inbox {
    commands: mpsc::Receiver<Command>,
    later: Option<Command>,
}

impl Inbox {
    /// Does something that only the end of the agent interrupts: None then. The last of the other commands comes after it.
    async fn unless_stopped<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.stopped() => None,
            done = work => Some(done),
        }
    }

    async fn stopped(&mut self) {
        loop {
            match self.commands.recv().await {
                None | Some(Command::Stop) => return,
                // A new configuration is joined with anyway.
                Some(Command::Renew) if self.later.is_some() => {}
                Some(command) => self.later = Some(command),
            }
        }
    }
}
