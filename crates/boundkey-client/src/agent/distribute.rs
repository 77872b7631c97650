use boundkey_keystore::AgentState;

use super::{Agent, report};
use crate::config::{OutputConfig, OutputKind};
use crate::join::store::read_bundle;
use crate::outputs::{
    FileByFile, Material, Replaced, Written, identity_dir, run_reload, write_identity, write_output,
};
use crate::status::OutputNote;
use crate::transport::Transport as _;

/// The longest list of revoked keys that is taken over.
const MOST_REVOKED: usize = 4 * 1024 * 1024;
const REVOKED_KEYS: &str = "revoked_keys";

impl Agent {
    /// Hosts only: sshd reads the list.
    pub(super) async fn fetch_revoked_keys(&mut self) -> Option<Vec<u8>> {
        if self.plan.roles.is_bot() {
            return None;
        }
        match self.transport.get("/v1/krl", MOST_REVOKED).await {
            Ok(reply) if reply.status == 200 => Some(reply.body),
            Ok(reply) => {
                tracing::warn!(status = reply.status, "no list of revoked keys; the last one stays in force");
                None
            }
            Err(error) => {
                tracing::warn!(error = %report(&error), "no list of revoked keys; the last one stays in force");
                None
            }
        }
    }

    /// Between two joins: a revoked key is to be refused soon, not at the next renewal.
    pub(super) async fn refresh_revoked_keys(&mut self) {
        if let Err(error) = self.renew_trust() {
            tracing::warn!(error = %report(&error), "no list of revoked keys; the last one stays in force");
            return;
        }
        let fetched = self.fetch_revoked_keys().await;
        self.transport.disconnect();
        let Some(revoked_keys) = fetched else { return };
        let stored = std::fs::read(identity_dir(&self.config.data_dir).join(REVOKED_KEYS)).ok();
        if stored.as_ref() == Some(&revoked_keys) {
            return;
        }
        match self.keystore.load() {
            Ok(state) => self.distribute(&state, Some(revoked_keys)).await,
            Err(error) => tracing::warn!(error = %report(&error), "revoked keys not written"),
        }
    }

    /// Writes the identity and the outputs. The state holds everything, so what fails here is done at the next start or
    /// join; it is reported and never stops the agent.
    pub(super) async fn distribute(&mut self, state: &AgentState, revoked_keys: Option<Vec<u8>>) {
        let (Some(identity), Some(bundle)) =
            (&state.identity, state.ca_bundle.as_deref().and_then(read_bundle))
        else {
            return;
        };
        let revoked_keys = revoked_keys
            .or_else(|| std::fs::read(identity_dir(&self.config.data_dir).join(REVOKED_KEYS)).ok())
            .unwrap_or_default();
        let material = Material { identity, bundle: &bundle, revoked_keys: &revoked_keys };
        let host_key = self.config.outputs.iter().find_map(|output| match &output.kind {
            OutputKind::OpensshHost { host_key } => host_key.as_deref(),
            _ => None,
        });
        self.notes.identity_error =
            write_identity(&self.config.data_dir, &material, host_key).err().map(|error| {
                let error = report(&error);
                tracing::error!(error, "the identity directory cannot be written");
                error
            });
        let mut notes = Vec::with_capacity(self.config.outputs.len());
        for output in &self.config.outputs {
            notes.push(self.write_and_reload(output, &material).await);
        }
        self.notes.outputs = notes;
        self.write_notes();
    }

    async fn write_and_reload(&self, output: &OutputConfig, material: &Material<'_>) -> OutputNote {
        let before = self.notes.outputs.iter().find(|note| note.path == output.path);
        let mut note = OutputNote {
            kind: output.kind.word().to_owned(),
            path: output.path.clone(),
            written: before.and_then(|note| note.written.clone()),
            reloaded: before.and_then(|note| note.reloaded.clone()),
            ..OutputNote::default()
        };
        match write_output(output, material) {
            Ok(Written::Unchanged) => {}
            Ok(Written::Replaced(how)) => {
                tracing::info!(path = %output.path.display(), how = words(how), "output written");
                note.written = Some(words(how).to_owned());
            }
            Err(error) => {
                let error = report(&error);
                tracing::error!(path = %output.path.display(), error, "output not written");
                note.error = Some(error);
                return note;
            }
        }
        // By content, not by "was it written just now": a crash in between is made good at the next start.
        let content = material.fingerprint();
        if let Some(command) = &output.reload
            && note.reloaded.as_ref() != Some(&content)
        {
            match run_reload(command).await {
                Ok(()) => note.reloaded = Some(content),
                Err(error) => {
                    tracing::error!(path = %output.path.display(), error = %report(&error), "reload failed");
                    note.reload_error = Some(error.to_string());
                }
            }
        }
        note
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
        Replaced::InTwoSteps => "replaced in two steps: the file system cannot exchange directories",
        Replaced::FileByFile(FileByFile::MountPoint) => "file by file, key last: it is a mount point",
        Replaced::FileByFile(FileByFile::OtherFiles) => "file by file, key last: it holds other files",
    }
}
