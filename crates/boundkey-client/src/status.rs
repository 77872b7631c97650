//! What an agent holds and does, for `boundkey-agent status`: from the state, the notes that the agent leaves beside it,
//! and the lock.

use std::path::{Path, PathBuf};

use boundkey_files::{FileError, peek_file, write_atomically};
use boundkey_keystore::{AgentState, FileKeystore, KeystoreError};
use boundkey_token::ResourceName;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::config::AgentConfig;
use crate::join::check_token;
use crate::join::store::stored_bundle;
use crate::machine::{check_machine, machine_hash};
use crate::outputs::Digests;
use crate::running::lock_holder;

const NOTES: &str = "status.json";
/// The longest notes that are read.
const MOST_NOTES: usize = 1024 * 1024;
/// Characters of a text in them.
const MOST_SHOWN: usize = 4096;
/// A renewal may be this late before it counts as overdue.
const SLACK: time::Duration = time::Duration::minutes(5);

/// What the running agent notes about itself: nothing secret, and nothing that it cannot do without.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notes {
    /// When the next try is planned.
    #[serde(with = "time::serde::rfc3339::option")]
    pub next_try_at: Option<OffsetDateTime>,
    /// What the last join asked for: another configuration is a reason to join at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
    /// `HOST:PORT` of the proxy by way of which the last join went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// Why the identity directory could not be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_error: Option<String>,
    /// Why the list of revoked keys could not be fetched; the last one is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_keys_error: Option<String>,
    /// How each output was written last.
    pub outputs: Vec<OutputNote>,
}

/// How an output was written last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutputNote {
    /// `tls`, `openssh_host` or `openssh_user`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The directory.
    pub path: PathBuf,
    /// `created`, `replaced as a whole`, `file by file, ...`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written: Option<String>,
    /// Why it could not be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why its reload command failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reload_error: Option<String>,
    /// The content for which the reload command succeeded: another one is due for a reload, also after a crash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reloaded: Option<String>,
    /// What somebody should look at although the files are in place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What was written, by file: whatever was put on these files since is kept. For the agent itself.
    #[serde(skip_serializing_if = "Digests::is_empty")]
    pub digests: Digests,
}

impl OutputNote {
    /// Names what was written: another content means that the reload command is due.
    pub(crate) fn content(&self) -> String {
        let files: Vec<String> =
            self.digests.iter().map(|(name, digest)| format!("{name} {digest}\n")).collect();
        crate::outputs::digest_of(files.concat().as_bytes())
    }
}

impl Notes {
    /// Those left in a data directory; none if there are none or they cannot be read: they are notes, no more.
    pub fn read(data_dir: &Path) -> Self {
        let text = peek_file(&data_dir.join(NOTES), MOST_NOTES).unwrap_or_default();
        serde_json::from_slice::<Self>(&text).unwrap_or_default().cleaned()
    }

    /// What whoever wrote them said, as it may be shown anywhere.
    fn cleaned(mut self) -> Self {
        let mut texts: Vec<&mut String> =
            [&mut self.proxy, &mut self.identity_error, &mut self.revoked_keys_error]
                .into_iter()
                .flatten()
                .collect();
        for output in &mut self.outputs {
            texts.push(&mut output.kind);
            texts.extend(
                [&mut output.written, &mut output.error, &mut output.reload_error].into_iter().flatten(),
            );
            texts.extend(&mut output.warnings);
        }
        texts.into_iter().for_each(|text| *text = boundkey_text::clean(text, MOST_SHOWN));
        self
    }

    /// Leaves them in a data directory.
    ///
    /// # Errors
    /// As [`write_atomically`].
    pub fn write(&self, data_dir: &Path) -> Result<(), FileError> {
        let text = serde_json::to_vec(self).unwrap_or_default();
        write_atomically(&data_dir.join(NOTES), &text, 0o600)
    }
}

/// What an agent holds and does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Nothing below is a reason to act.
    pub healthy: bool,
    /// Why not, one sentence each.
    pub problems: Vec<String>,
    /// The data directory.
    pub data_dir: PathBuf,
    /// The agent's process id, if one is running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// The cluster's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The token's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The bound key, OpenSSH form; the key to be bound before the first join.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// `host` or `bot`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// The host id or bot instance id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// When the certificates were obtained.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub obtained_at: Option<OffsetDateTime>,
    /// When they end.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub certificates_expire_at: Option<OffsetDateTime>,
    /// When the next renewal is planned.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub next_renewal_at: Option<OffsetDateTime>,
    /// `HOST:PORT` of the proxy by way of which the last join went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// What went wrong last; none after a success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When that was.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub last_error_at: Option<OffsetDateTime>,
    /// Why the identity directory could not be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_error: Option<String>,
    /// Why the list of revoked keys could not be fetched; the last one is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_keys_error: Option<String>,
    /// How each output was written last.
    pub outputs: Vec<OutputNote>,
}

impl Status {
    /// Looks at a data directory; the agent may be running. With its configuration, what would keep an agent from starting
    /// is a problem too.
    ///
    /// # Errors
    /// If the state cannot be read.
    pub fn of_data_dir(
        data_dir: &Path,
        config: Option<&AgentConfig>,
        now: OffsetDateTime,
    ) -> Result<Self, KeystoreError> {
        let state = FileKeystore::peek(data_dir)?;
        let mut status = Self::of(&state, Notes::read(data_dir), data_dir, lock_holder(data_dir), now);
        let here = config.is_none_or(|config| config.machine_check).then(machine_hash).flatten();
        status.problems.extend(unfit(&state, config.map(|config| &config.token), here.as_deref()));
        status.healthy = status.problems.is_empty();
        Ok(status)
    }

    fn of(state: &AgentState, notes: Notes, data_dir: &Path, pid: Option<i32>, now: OffsetDateTime) -> Self {
        let identity = state.identity.as_ref();
        let next = notes.next_try_at.filter(|_| pid.is_some()).or(identity.map(|i| i.renew_at));
        let mut status = Self {
            healthy: true,
            problems: Vec::new(),
            data_dir: data_dir.to_owned(),
            pid,
            cluster: state.cluster.clone(),
            token: state.token.clone(),
            public_key: state.bound_key.as_ref().map(|key| key.public_key().to_openssh()),
            identity: identity.map(|i| i.identity_kind.clone()),
            id: identity.map(|i| i.id.clone()),
            obtained_at: identity.map(|i| i.obtained_at),
            certificates_expire_at: identity.map(|i| i.not_after),
            next_renewal_at: next,
            last_error: state.last_error.as_deref().map(|error| boundkey_text::clean(error, MOST_SHOWN)),
            last_error_at: state.last_error_at,
            proxy: notes.proxy,
            identity_error: notes.identity_error,
            revoked_keys_error: notes.revoked_keys_error,
            outputs: notes.outputs,
        };
        status.outputs.iter_mut().for_each(|output| output.digests.clear());
        status.find_problems(now);
        status
    }

    fn find_problems(&mut self, now: OffsetDateTime) {
        let mut problems = Vec::new();
        match self.certificates_expire_at {
            None => problems.push("this machine has not joined yet".to_owned()),
            Some(end) if end <= now => problems.push("the certificates have expired".to_owned()),
            Some(_) if self.next_renewal_at.is_some_and(|due| due + SLACK < now) => {
                let hint = if self.pid.is_none() { ": no agent is running" } else { "" };
                problems.push(format!("the renewal is overdue{hint}"));
            }
            Some(_) => {}
        }
        problems.extend(self.last_error.iter().map(|error| format!("the last try failed: {error}")));
        problems.extend(self.identity_error.iter().map(|error| format!("the identity directory: {error}")));
        problems
            .extend(self.revoked_keys_error.iter().map(|error| format!("the list of revoked keys: {error}")));
        for output in &self.outputs {
            let path = output.path.display();
            problems.extend(output.error.iter().map(|error| format!("output {path}: {error}")));
            problems.extend(output.reload_error.iter().map(|error| format!("reload after {path}: {error}")));
        }
        self.healthy = problems.is_empty();
        self.problems = problems;
    }
}

/// What `start` says of this state, in its words.
fn unfit(state: &AgentState, token: Option<&ResourceName>, here: Option<&str>) -> Vec<String> {
    let machine = check_machine(state.machine.as_deref(), here, false).err().map(|error| error.to_string());
    let token = token.and_then(|token| check_token(state, token).err()).map(|error| error.to_string());
    let bundle = stored_bundle(state).err().map(|error| error.to_string());
    [machine, token, bundle].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use boundkey_keys::PrivateKey;
    use boundkey_keystore::IdentityRecord;
    use time::macros::datetime;

    fn joined() -> AgentState {
        AgentState {
            identity: Some(IdentityRecord {
                identity_kind: "host".to_owned(),
                id: "id".to_owned(),
                tls_key: PrivateKey::ed25519_from_seed(&[1; 32]),
                ssh_key: None,
                x509_chain: Vec::new(),
                ssh_certificate: None,
                obtained_at: datetime!(2026-01-01 0:00 UTC),
                not_after: datetime!(2026-01-02 0:00 UTC),
                renew_at: datetime!(2026-01-01 12:00 UTC),
            }),
            ..AgentState::default()
        }
    }

    fn problems(state: &AgentState, notes: Notes, pid: Option<i32>, now: OffsetDateTime) -> Vec<String> {
        let status = Status::of(state, notes, Path::new("/data"), pid, now);
        assert_eq!(status.healthy, status.problems.is_empty());
        status.problems
    }

    #[test]
    fn notes_and_errors_are_shown_as_plain_text_whoever_wrote_them() {
        let dir = tempfile::tempdir().unwrap();
        let bad = || Some("a\u{1b}[2J\u{202e}\nb".to_owned());
        let output = OutputNote {
            error: bad(),
            reload_error: bad(),
            warnings: bad().into_iter().collect(),
            ..OutputNote::default()
        };
        let notes = Notes { proxy: bad(), identity_error: bad(), outputs: vec![output], ..Notes::default() };
        std::fs::write(dir.path().join(NOTES), serde_json::to_vec(&notes).unwrap()).unwrap();
        let state = AgentState { last_error: bad(), ..joined() };
        std::fs::write(dir.path().join("state.json"), state.to_json()).unwrap();
        std::fs::set_permissions(
            dir.path().join("state.json"),
            std::os::unix::fs::PermissionsExt::from_mode(0o600),
        )
        .unwrap();
        let status = Status::of_data_dir(dir.path(), None, datetime!(2026-01-01 6:00 UTC)).unwrap();
        let plain = "a\\u{1b}[2J\\u{202e}\\nb";
        assert_eq!(status.last_error.as_deref(), Some(plain));
        assert_eq!((status.proxy.as_deref(), status.outputs[0].error.as_deref()), (Some(plain), Some(plain)));
        let shown = serde_json::to_string(&status).unwrap();
        assert!(
            !shown.contains("\u{202e}") && !shown.contains("\\u001b") && !shown.contains("a\\n"),
            "{shown}"
        );
        assert_eq!(Notes::read(dir.path()).cleaned(), Notes::read(dir.path()), "once is enough");
    }

    #[test]
    fn every_reason_to_act_is_named() {
        let (early, late, after) =
            (datetime!(2026-01-01 6:00 UTC), datetime!(2026-01-01 13:00 UTC), datetime!(2026-01-02 0:00 UTC));
        let none = Vec::<String>::new();
        assert_eq!(problems(&joined(), Notes::default(), None, early), none);
        assert_eq!(
            problems(&AgentState::default(), Notes::default(), None, early),
            ["this machine has not joined yet"]
        );
        assert_eq!(
            problems(&joined(), Notes::default(), None, late),
            ["the renewal is overdue: no agent is running"]
        );
        let retrying = Notes { next_try_at: Some(datetime!(2026-01-01 13:01 UTC)), ..Notes::default() };
        assert_eq!(
            problems(&joined(), retrying.clone(), Some(7), late),
            none,
            "the next try is still to come"
        );
        assert_eq!(problems(&joined(), retrying, Some(7), after), ["the certificates have expired"]);
        let failed = AgentState { last_error: Some("locked: ask".to_owned()), ..joined() };
        assert_eq!(problems(&failed, Notes::default(), None, early), ["the last try failed: locked: ask"]);
        let note = OutputNote {
            path: "/out".into(),
            error: Some("full".to_owned()),
            reload_error: Some("no such unit".to_owned()),
            ..OutputNote::default()
        };
        let identity_error = Some("full".to_owned());
        assert_eq!(
            problems(
                &joined(),
                Notes { outputs: vec![note], identity_error, ..Notes::default() },
                None,
                early
            ),
            ["the identity directory: full", "output /out: full", "reload after /out: no such unit"]
        );
    }

    #[test]
    fn what_keeps_an_agent_from_starting_is_said_in_the_same_words() {
        let state = AgentState {
            machine: Some("one".to_owned()),
            token: Some("web-1".to_owned()),
            join_state: Some("state".to_owned()),
            ca_bundle: Some("[]".to_owned()),
            ..AgentState::default()
        };
        let (same, other) = ("web-1".parse().unwrap(), "web-2".parse().unwrap());
        let bundle = stored_bundle(&state).unwrap_err().to_string();
        assert_eq!(
            unfit(&state, Some(&other), Some("two")),
            [
                crate::OtherMachine.to_string(),
                check_token(&state, &other).unwrap_err().to_string(),
                bundle.clone()
            ]
        );
        assert_eq!(unfit(&state, Some(&same), Some("one")), std::slice::from_ref(&bundle));
        assert_eq!(unfit(&state, None, None), [bundle], "nothing to compare with");
        assert_eq!(unfit(&AgentState::default(), Some(&other), Some("two")), Vec::<String>::new());
    }

    #[test]
    fn notes_read_back_and_damaged_ones_are_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Notes::read(dir.path()), Notes::default());
        let notes = Notes {
            next_try_at: Some(datetime!(2026-01-01 12:00 UTC)),
            asked: Some("hash".to_owned()),
            proxy: Some("proxy.example:3128".to_owned()),
            identity_error: Some("full".to_owned()),
            revoked_keys_error: Some("no answer".to_owned()),
            outputs: vec![OutputNote {
                kind: "tls".to_owned(),
                path: "/out".into(),
                ..OutputNote::default()
            }],
        };
        notes.write(dir.path()).unwrap();
        assert_eq!(Notes::read(dir.path()), notes);
        std::fs::write(dir.path().join(NOTES), b"{").unwrap();
        assert_eq!(Notes::read(dir.path()), Notes::default());
    }
}
