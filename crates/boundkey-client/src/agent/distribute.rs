use boundkey_keystore::AgentState;

use super::chores::{Chore, Chores, Which};
use super::{Agent, report};
use crate::config::{FileAccess, OutputConfig, OutputKind};
use crate::join::store::read_bundle;
use crate::outputs::{
    AccessError, Material, Outcome, OutputError, Replaced, Wanted, Written, identity_dir, resolve_access,
    run_reload, write_identity, write_output,
};
use crate::status::OutputNote;
use crate::transport::Transport as _;

/// The longest list of revoked keys that is taken over: of some four million certificates.
const MOST_REVOKED: usize = 32 * 1024 * 1024;
const REVOKED_KEYS: &str = "revoked_keys";

impl Agent {
    /// Hosts only: sshd reads the list. On a failure the last one stays in force, and it is asked for again soon.
    pub(super) async fn fetch_revoked_keys(&mut self) {
        if self.plan.roles.is_bot() {
            return;
        }
        let error = match self.transport.get("/v1/krl", MOST_REVOKED).await {
            Ok(reply) if reply.status == 200 => {
                self.chores.revoked_keys.done();
                self.notes.revoked_keys_error = None;
                self.revoked_keys = Some(reply.body);
                return;
            }
            Ok(reply) => format!("the server answers with status {}", reply.status),
            Err(error) => report(&error),
        };
        self.no_revoked_keys(error);
    }

    /// The list in force: as fetched, else as an earlier process left it. Whatever can be read of it is better than none: an
    /// empty list lets every revoked key in again.
    fn revoked_keys_in_force(&self) -> Vec<u8> {
        let outputs = self.config.outputs.iter().filter(|output| output.kind.holds_revoked_keys());
        let places = std::iter::once(identity_dir(&self.config.data_dir))
            .chain(outputs.map(|output| output.path.clone()));
        // The number of a list stands behind eight letters and the number of its format.
        let number = |list: &Vec<u8>| list.get(12..20).map(<[u8]>::to_vec);
        let kept =
            || places.filter_map(|place| std::fs::read(place.join(REVOKED_KEYS)).ok()).max_by_key(number);
        self.revoked_keys.clone().or_else(kept).unwrap_or_default()
    }

    fn no_revoked_keys(&mut self, error: String) {
        let wait = self.chores.revoked_keys.failed(self.clock.since_boot(), self.entropy.as_ref());
        tracing::warn!(
            error,
            retry_in_seconds = wait.as_secs_f64(),
            "no list of revoked keys; the last one stays in force"
        );
        self.notes.revoked_keys_error = Some(error);
    }

    /// Between two joins: a revoked key is to be refused soon, not at the next renewal.
    pub(super) async fn refresh_revoked_keys(&mut self) {
        if let Err(error) = self.renew_trust() {
            self.no_revoked_keys(report(&error));
            self.write_notes();
            return;
        }
        let before = self.revoked_keys_in_force();
        self.fetch_revoked_keys().await;
        self.transport.disconnect();
        if self.revoked_keys.as_ref().is_some_and(|list| *list != before) {
            match self.keystore.load() {
                Ok(state) => self.distribute(&state, Which::All).await,
                Err(error) => self.no_revoked_keys(report(&error)),
            }
        }
        self.write_notes();
    }

    /// What failed and whose pause is over.
    pub(super) async fn do_chores(&mut self) {
        let which = Which::DueBy(self.clock.since_boot());
        if !self.chores.any_due(self.clock.since_boot()) {
            return;
        }
        if which.means(&self.chores.revoked_keys) {
            self.refresh_revoked_keys().await;
        }
        match self.keystore.load() {
            Ok(state) => {
                self.distribute(&state, which).await;
                self.write_notes();
            }
            Err(error) => {
                // A damaged state is the next join's to report; until then nothing can be written.
                tracing::warn!(error = %report(&error), "outputs not written");
                self.chores.outputs.iter_mut().for_each(Chore::done);
                self.chores.identity.done();
            }
        }
    }

    /// Writes the identity and the outputs. The state holds everything, so what fails here is done later; it is reported and
    /// never stops the agent.
    ///
    /// Where there is something new the reload commands become chores that are due at once: all files are in place before the
    /// first command runs, and whoever waits for the files waits for no command.
    ///
    /// The caller writes the notes.
    pub(super) async fn distribute(&mut self, state: &AgentState, which: Which) {
        let (Some(identity), Some(bundle)) = (&state.identity, read_bundle(state)) else {
            // There is nothing to write, so nothing is owed.
            self.chores = Chores::default();
            return;
        };
        let revoked_keys = self.revoked_keys_in_force();
        let material = Material { identity, bundle: &bundle, revoked_keys: &revoked_keys };
        if which.means(&self.chores.identity) {
            self.hand_over_identity(&material);
        }
        let count = self.config.outputs.len();
        self.chores.outputs.resize_with(count, Chore::default);
        let meant: Vec<bool> = self.chores.outputs.iter().map(|chore| which.means(chore)).collect();
        let wanted = if meant.contains(&true) { self.resolve_accesses().await } else { Vec::new() };
        let mut notes: Vec<OutputNote> =
            self.config.outputs.iter().map(|output| self.note_of(output)).collect();
        for (index, note) in notes.iter_mut().enumerate().filter(|(index, _)| meant[*index]) {
            let outcome = wanted[index].clone().map_err(OutputError::from).and_then(|wanted| {
                write_output(&self.config.outputs[index], &wanted, &material, &note.digests)
            });
            self.note_write(index, note, outcome);
        }
        self.notes.outputs = notes;
        for index in (0..count).filter(|index| meant[*index]) {
            match which {
                Which::All => self.note_reload(index),
                Which::DueBy(_) => self.reload_after(index).await,
            }
        }
    }

    fn hand_over_identity(&mut self, material: &Material<'_>) {
        let host_key = self.config.outputs.iter().find_map(|output| match &output.kind {
            OutputKind::OpensshHost { host_key } => host_key.as_deref(),
            _ => None,
        });
        match write_identity(&self.config.data_dir, material, host_key) {
            Ok(_) => {
                self.chores.identity.done();
                self.notes.identity_error = None;
            }
            Err(error) => {
                let error = report(&error);
                let wait = self.chores.identity.failed(self.clock.since_boot(), self.entropy.as_ref());
                tracing::error!(
                    error,
                    retry_in_seconds = wait.as_secs_f64(),
                    "the identity directory cannot be written"
                );
                self.notes.identity_error = Some(error);
            }
        }
    }

    /// What is known of an output from before.
    fn note_of(&self, output: &OutputConfig) -> OutputNote {
        let known = self.notes.outputs.iter().find(|note| note.path == output.path);
        let fresh = OutputNote { path: output.path.clone(), ..OutputNote::default() };
        OutputNote { kind: output.kind.word().to_owned(), ..known.cloned().unwrap_or(fresh) }
    }

    /// Beside the agent's own thread: a directory service that is asked may be slow.
    async fn resolve_accesses(&self) -> Vec<Result<Wanted, AccessError>> {
        let accesses: Vec<FileAccess> =
            self.config.outputs.iter().map(|output| output.access.clone()).collect();
        let silent = vec![Err(AccessError::Unasked); accesses.len()];
        let asked = tokio::task::spawn_blocking(move || accesses.iter().map(resolve_access).collect());
        asked.await.unwrap_or(silent)
    }

    fn note_write(&mut self, index: usize, note: &mut OutputNote, outcome: Result<Outcome, OutputError>) {
        let path = self.config.outputs[index].path.display();
        match outcome {
            Ok(outcome) => {
                if let Written::Replaced(how) = outcome.written {
                    tracing::info!(%path, how = words(how), "output written");
                    note.written = Some(words(how).to_owned());
                }
                for warning in outcome.warnings.iter().filter(|warning| !note.warnings.contains(warning)) {
                    tracing::warn!(%path, "{warning}");
                }
                note.error = None;
                note.digests = outcome.digests;
                note.warnings = outcome.warnings;
            }
            Err(error) => {
                let error = report(&error);
                let wait = self.chores.outputs[index].failed(self.clock.since_boot(), self.entropy.as_ref());
                tracing::error!(%path, error, retry_in_seconds = wait.as_secs_f64(), "output not written");
                note.error = Some(error);
            }
        }
    }

    /// By content, not by "was it written just now": a crash in between is made good at the next start.
    fn reload_due(&self, index: usize) -> Option<&str> {
        let note = &self.notes.outputs[index];
        let command = self.config.outputs[index].reload.as_deref()?;
        (note.error.is_none() && note.reloaded.as_ref() != Some(&note.content())).then_some(command)
    }

    fn note_reload(&mut self, index: usize) {
        if self.reload_due(index).is_some() {
            self.chores.outputs[index].due_at(self.clock.since_boot());
        } else if self.notes.outputs[index].error.is_none() {
            self.chores.outputs[index].done();
            self.notes.outputs[index].reload_error = None;
        }
    }

    async fn reload_after(&mut self, index: usize) {
        if self.notes.outputs[index].error.is_some() {
            return;
        }
        let outcome = match self.reload_due(index) {
            Some(command) => run_reload(command).await,
            None => Ok(()),
        };
        let (output, note) = (&self.config.outputs[index], &mut self.notes.outputs[index]);
        let chore = &mut self.chores.outputs[index];
        match outcome {
            Ok(()) => {
                chore.done();
                note.reload_error = None;
                note.reloaded = Some(note.content());
            }
            Err(error) => {
                let wait = chore.failed(self.clock.since_boot(), self.entropy.as_ref());
                tracing::error!(path = %output.path.display(), error = %error, retry_in_seconds = wait.as_secs_f64(), "reload failed");
                note.reload_error = Some(error.to_string());
            }
        }
    }

    pub(super) fn write_notes(&self) {
        if let Err(error) = self.notes.write(&self.config.data_dir) {
            tracing::warn!(error = %report(&error), "the status cannot be noted");
        }
    }
}

fn words(how: Replaced) -> &'static str {
    match how {
        Replaced::Created => "created",
        Replaced::Whole => "replaced as a whole",
        Replaced::FileByFile => "file by file, key last: the file system has no links",
    }
}
