//! The agent's configuration: the guide's YAML, checked as a whole before anything starts.

mod check;
mod outputs;
mod read;
#[cfg(test)]
mod tests;

pub use outputs::{FileAccess, OutputConfig, OutputKind};

use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use boundkey_document::{SyntaxError, Violation};
use boundkey_files::{Owners, open_file};
use boundkey_keys::{KeyFileError, NoSecret, PrivateKey, Secret};
use boundkey_token::{RequestedNames, ResourceName, RoleSet};
use zeroize::Zeroizing;

use crate::transport::{Proxy, ProxyVariables, ServerAddress};
use crate::trust::{CaFileError, Pin, Trust};

/// Where the state lives unless the configuration says otherwise.
pub const DEFAULT_DATA_DIR: &str = "/var/lib/boundkey";
/// The environment variable with the registration secret.
pub const SECRET_VARIABLE: &str = "BOUNDKEY_REGISTRATION_SECRET";
/// The environment variable with a static key: base64 of the key file's bytes.
pub const STATIC_KEY_VARIABLE: &str = "BOUNDKEY_STATIC_KEY";
/// The longest secret or key file that is read.
const LONGEST_FILE: u64 = 64 * 1024;

/// What an agent does, and with what.
#[derive(Debug)]
pub struct AgentConfig {
    /// State and identity; [`DEFAULT_DATA_DIR`] unless set.
    pub data_dir: PathBuf,
    /// The token to join with.
    pub token: ResourceName,
    /// What proves the right to join for the first time.
    pub credential: Credential,
    /// Where the cluster is.
    pub server: ServerAddress,
    /// The proxy by way of which it is reached; none: directly.
    pub proxy: Option<Proxy>,
    /// How the server is known before the first join.
    pub trust: TrustConfig,
    /// One role for each enabled service; `Bot` if there is none.
    pub roles: RoleSet,
    /// Names to ask for; none: what the token allows by default.
    pub names: RequestedNames,
    /// The certificates' life to ask for; none: what the server gives by default.
    pub ttl: Option<Duration>,
    /// Copies of the identity for others to use.
    pub outputs: Vec<OutputConfig>,
    /// Whether a state of another machine is refused.
    pub machine_check: bool,
    /// Whether the server is told hostname, operating system and architecture.
    pub facts: bool,
}

/// What proves the right to join for the first time.
#[derive(Debug)]
pub enum Credential {
    /// The key in the data directory, whose public half an administrator put into the token.
    StoredKey,
    /// A registration secret.
    Secret(SecretSource),
    /// A key that is given at each start.
    StaticKey(StaticKeySource),
}

/// Where the registration secret is.
#[derive(Debug)]
pub enum SecretSource {
    /// In the configuration or the environment.
    Given(Secret),
    /// In a file, read only when the secret is needed.
    File(PathBuf),
    /// What stands in the configuration or the environment is no secret. A machine that is bound needs none.
    Unusable(CredentialError),
}

/// Where the static key is.
pub enum StaticKeySource {
    /// In a file.
    File(PathBuf),
    /// In the environment: the key file's bytes.
    Given(Zeroizing<Vec<u8>>),
}

impl fmt::Debug for StaticKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Given(_) => f.write_str("Given(..)"),
        }
    }
}

/// How the server is known before the first join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustConfig {
    /// By the system's roots.
    System,
    /// By a certificate of its chain.
    Pins(Vec<Pin>),
    /// By the certificates of a file.
    CaFile(PathBuf),
}

/// What the environment says; an empty variable is unset.
#[derive(Debug, Default)]
pub struct Environment {
    /// [`SECRET_VARIABLE`].
    pub registration_secret: Option<Secret>,
    /// [`STATIC_KEY_VARIABLE`].
    pub static_key: Option<Secret>,
    /// `HTTPS_PROXY` and its like.
    pub proxies: ProxyVariables,
}

impl Environment {
    /// This process's environment.
    pub fn of_process() -> Self {
        // Bytes that are no text are kept as such marks: the value is set, and it is named as unusable.
        let read = |name| {
            let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
            Some(Secret::new(value.to_string_lossy().into_owned()))
        };
        Self {
            registration_secret: read(SECRET_VARIABLE),
            static_key: read(STATIC_KEY_VARIABLE),
            proxies: ProxyVariables::of_process(),
        }
    }
}

/// Why a configuration is refused. All of these are for whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {reason}", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// It is no YAML.
    #[error("{file}: {error}")]
    Syntax {
        /// The file's name.
        file: String,
        /// Where and what.
        error: SyntaxError,
    },
    /// More than one document.
    #[error("{file}: found {found} YAML documents; allowed: one")]
    Documents {
        /// The file's name.
        file: String,
        /// How many there are.
        found: usize,
    },
    /// Every fault in it.
    #[error("{}", lines(.file, .violations))]
    Violations {
        /// The file's name.
        file: String,
        /// All of them, in the order of the text.
        violations: Vec<Violation>,
    },
    /// A variable of the environment.
    #[error("{variable}: found {found}; allowed: {allowed}")]
    Environment {
        /// Its name.
        variable: &'static str,
        /// What is wrong, without the value.
        found: String,
        /// What is allowed.
        allowed: &'static str,
    },
}

fn lines(file: &str, violations: &[Violation]) -> String {
    violations.iter().map(|fault| fault.in_source(file).to_string()).collect::<Vec<_>>().join("\n")
}

impl AgentConfig {
    /// Reads a file that nobody but root and this process's user can change: its `reload` commands run as this user.
    ///
    /// # Errors
    /// [`ConfigError`], with every fault of the file at once.
    pub fn load(file: &Path, environment: Environment) -> Result<Self, ConfigError> {
        let unreadable = |reason| ConfigError::Unreadable { file: file.to_owned(), reason };
        let given = environment.registration_secret.is_some() || environment.static_key.is_some();
        let mut open = open_file(file, &Owners::of_process()).map_err(|e| unreadable(e.reason()))?;
        let mut text = Zeroizing::new(Vec::new());
        open.read_to_end(&mut text).map_err(|e| unreadable(e.to_string()))?;
        let config = Self::parse(&text, &file.display().to_string(), environment)?;
        if !given && matches!(config.credential, Credential::Secret(SecretSource::Given(_))) {
            warn_if_readable(file, &open);
        }
        Ok(config)
    }

    /// Reads a file whoever may change it: for looking, not for acting on what it says.
    ///
    /// # Errors
    /// As [`AgentConfig::load`].
    pub fn look_at(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read(file).map_err(|e| {
            let hint = match e.kind() {
                std::io::ErrorKind::PermissionDenied => ": run this as root or as the file's owner",
                _ => "",
            };
            ConfigError::Unreadable { file: file.to_owned(), reason: format!("{e}{hint}") }
        })?;
        Self::parse(&Zeroizing::new(text), &file.display().to_string(), Environment::default())
    }

    /// Reads a text; `file` is its name in errors.
    ///
    /// # Errors
    /// As [`AgentConfig::load`].
    pub fn parse(text: &[u8], file: &str, environment: Environment) -> Result<Self, ConfigError> {
        let documents = boundkey_document::parse_yaml(text)
            .map_err(|error| ConfigError::Syntax { file: file.to_owned(), error })?;
        let [document] = documents.as_slice() else {
            return Err(ConfigError::Documents { file: file.to_owned(), found: documents.len() });
        };
        read::read(document, file, environment)
    }
}

impl TrustConfig {
    /// The trust it describes.
    ///
    /// # Errors
    /// If the CA file cannot be used.
    pub fn load(&self) -> Result<Trust, CaFileError> {
        match self {
            Self::System => Ok(Trust::system()),
            Self::Pins(pins) => Ok(Trust::pins(pins.clone())),
            Self::CaFile(path) => Trust::ca_file(path),
        }
    }
}

/// Why a secret or key that the configuration names cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The file cannot be read.
    #[error("cannot read `{field}` {}: {reason}", .path.display())]
    Unreadable {
        /// The field that names it.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// There is far too much in it.
    #[error("`{field}` {} holds more than 64 KiB; allowed: a secret or a key", .path.display())]
    TooLong {
        /// The field that names it.
        field: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// What stands where the secret should is none.
    #[error("{origin} holds {found}; allowed: the registration secret on one line")]
    NoSecret {
        /// The file, variable or place in the configuration.
        origin: String,
        /// What it is.
        found: NoSecret,
    },
    /// The key is none that can be used.
    #[error("the static key from {origin} cannot be used")]
    Key {
        /// The file or variable.
        origin: String,
        /// What is wrong with it.
        source: KeyFileError,
    },
}

impl SecretSource {
    /// The secret in a text of the configuration or the environment; `origin` names its place in errors.
    pub fn written(text: &[u8], origin: String) -> Self {
        match Secret::from_written(text) {
            Ok(secret) => Self::Given(secret),
            Err(found) => Self::Unusable(CredentialError::NoSecret { origin, found }),
        }
    }

    /// The secret: from memory, or from its file at this moment.
    ///
    /// # Errors
    /// If the file cannot be read, or what was given is no secret.
    pub fn read(&self) -> Result<Secret, CredentialError> {
        const FIELD: &str = "registration_secret_path";
        match self {
            Self::Given(secret) => Ok(secret.duplicate()),
            Self::Unusable(error) => Err(error.clone()),
            Self::File(path) => Secret::from_written(&read_bounded(FIELD, path)?).map_err(|found| {
                CredentialError::NoSecret { origin: format!("`{FIELD}` {}", path.display()), found }
            }),
        }
    }
}

impl StaticKeySource {
    /// The key.
    ///
    /// # Errors
    /// If the file cannot be read, or is no unencrypted Ed25519 or P-256 key.
    pub fn read(&self) -> Result<PrivateKey, CredentialError> {
        let (bytes, origin) = match self {
            Self::Given(bytes) => (bytes.clone(), STATIC_KEY_VARIABLE.to_owned()),
            Self::File(path) => (read_bounded("static_key_path", path)?, path.display().to_string()),
        };
        PrivateKey::from_pem(&bytes).map_err(|source| CredentialError::Key { origin, source })
    }
}

fn warn_if_readable(path: &Path, file: &std::fs::File) {
    let mode = file.metadata().map_or(0, |found| found.permissions().mode());
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), mode = format!("{:04o}", mode & 0o7777), "other users may read this secret: `chmod 600` it");
    }
}

fn read_bounded(field: &'static str, path: &Path) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
    let unreadable = |e: std::io::Error| CredentialError::Unreadable {
        field,
        path: path.to_owned(),
        reason: e.to_string(),
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    let file = open_file(path, &Owners::of_process()).map_err(|e| CredentialError::Unreadable {
        field,
        path: path.to_owned(),
        reason: e.reason(),
    })?;
    warn_if_readable(path, &file);
    file.take(LONGEST_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(CredentialError::TooLong { field, path: path.to_owned() });
    }
    Ok(bytes)
}
