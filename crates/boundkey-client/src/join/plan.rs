use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use boundkey_files::{Owners, open_file};
use boundkey_keys::{Algorithm, PublicKey};
use boundkey_proto::MachineFacts;
use boundkey_token::{RequestedNames, ResourceName, RoleSet};

use super::JoinError;
use crate::config::{AgentConfig, Credential, OutputKind};
use crate::machine::{machine_facts, machine_hash};

/// The most that is read of a public key's file.
const LONGEST_KEY: u64 = 64 * 1024;

/// What a join asks for.
#[derive(Debug)]
pub struct JoinPlan {
    /// The token to join with.
    pub token: ResourceName,
    /// What proves the right to join for the first time.
    pub credential: Credential,
    /// All that are asked for at once.
    pub roles: RoleSet,
    /// Names to be certified; none: what the token allows by default.
    pub names: RequestedNames,
    /// Lifetime to ask for.
    pub ttl: Option<Duration>,
    /// The OpenSSH key to be certified.
    pub ssh: SshWish,
    /// Certify the same TLS key again at each join.
    pub reuse_tls_key: bool,
    /// What the machine says of itself.
    pub facts: MachineFacts,
    /// Hash of this machine's id.
    pub machine: Option<String>,
    /// Take a state of another machine.
    pub accept_machine: bool,
}

/// The OpenSSH key to be certified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SshWish {
    /// A host key that is made here, once.
    Host,
    /// The public half of an sshd's own host key; its private half is never touched.
    HostKeyFile(PathBuf),
    /// A bot's key, made for each join.
    User,
    /// No OpenSSH certificate at all.
    None,
}

impl JoinPlan {
    /// The plan that a configuration describes, on this machine. The credential moves into it.
    pub fn of_config(config: &mut AgentConfig, version: &str) -> Self {
        let host_key = config.outputs.iter().find_map(|output| match &output.kind {
            OutputKind::OpensshHost { host_key } => host_key.clone(),
            _ => None,
        });
        let ssh = match host_key {
            Some(path) => SshWish::HostKeyFile(path),
            None if config.roles.is_bot() => SshWish::User,
            None => SshWish::Host,
        };
        let reuse_tls_key =
            config.outputs.iter().any(|output| matches!(output.kind, OutputKind::Tls { reuse_key: true }));
        Self {
            token: config.token.clone(),
            credential: std::mem::replace(&mut config.credential, Credential::StoredKey),
            roles: config.roles.clone(),
            names: config.names.clone(),
            ttl: config.ttl,
            ssh,
            reuse_tls_key,
            facts: machine_facts(version, &config.roles, config.facts),
            machine: config.machine_check.then(machine_hash).flatten(),
            accept_machine: false,
        }
    }

    /// Names what is asked for: another one means that the certificates held are not the ones wanted.
    pub fn fingerprint(&self) -> String {
        let ssh = format!("{:?}", self.ssh);
        let asked = (&self.token, &self.roles, &self.names, self.ttl.map(|ttl| ttl.as_secs()), ssh);
        let text = serde_json::to_vec(&asked).unwrap_or_default();
        base64::Engine::encode(
            &base64::engine::general_purpose::URL_SAFE_NO_PAD,
            boundkey_keys::sha256(&[&text]),
        )
    }
}

/// The public half of an sshd host key, from the `.pub` file beside it.
pub(crate) fn read_host_key(path: &Path) -> Result<PublicKey, JoinError> {
    let mut public = path.as_os_str().to_owned();
    public.push(".pub");
    let public = PathBuf::from(public);
    let host_key = |reason: String| JoinError::HostKey { path: public.clone(), reason };
    let file = open_file(&public, &Owners::of_process()).map_err(|e| host_key(e.reason()))?;
    let mut text = String::new();
    file.take(LONGEST_KEY).read_to_string(&mut text).map_err(|e| host_key(e.to_string()))?;
    let key = PublicKey::from_openssh(text.trim()).map_err(|e| host_key(e.to_string()))?;
    if key.algorithm() == Algorithm::Rsa {
        let reason = "found an RSA key; allowed: the host's Ed25519 or ECDSA key";
        return Err(host_key(reason.to_owned()));
    }
    Ok(key)
}
