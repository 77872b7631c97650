use std::path::{Path, PathBuf};

use boundkey_document::{Fields, Item, Node};

/// A copy of the identity, for others to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputConfig {
    /// What is written.
    pub kind: OutputKind,
    /// The directory; it is replaced as a whole.
    pub path: PathBuf,
    /// Whose the files are, and who may read them.
    pub access: FileAccess,
    /// Run by `sh -c` after the files changed.
    pub reload: Option<String>,
}

/// What an output holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputKind {
    /// `cert.pem`, `key.pem`, `chain.pem`, `ca.pem`.
    Tls {
        /// Keep the key from join to join (for programs that pin it); otherwise each join makes a new one. One join
        /// certifies one key: if any output keeps it, all have it.
        reuse_key: bool,
    },
    /// The host's OpenSSH certificate, the users' CA, the revoked keys.
    OpensshHost {
        /// The sshd host key to certify; None: one is made in the output.
        host_key: Option<PathBuf>,
    },
    /// A bot's OpenSSH key, certificate and `known_hosts`.
    OpensshUser,
}

impl OutputKind {
    /// Its word in the configuration.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Tls { .. } => "tls",
            Self::OpensshHost { .. } => "openssh_host",
            Self::OpensshUser => "openssh_user",
        }
    }
}

/// Whose files are, and who may read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileAccess {
    /// A user's name or number; None: the agent's own (root, as a rule).
    pub owner: Option<String>,
    /// A group's name or number; None: the agent's own.
    pub group: Option<String>,
    /// Permission bits of the files; 0600 unless set.
    pub mode: u32,
}

impl Default for FileAccess {
    fn default() -> Self {
        Self { owner: None, group: None, mode: 0o600 }
    }
}

#[derive(Clone, Copy)]
enum Word {
    Tls,
    Host,
    User,
}
const WORDS: [(&str, Word); 3] =
    [("tls", Word::Tls), ("openssh_host", Word::Host), ("openssh_user", Word::User)];

const DIRECTORY: &str = "the absolute path of a directory";

pub(super) fn read(top: &mut Fields<'_>, data_dir: &Path, bot: bool) -> Vec<OutputConfig> {
    let mut outputs: Vec<OutputConfig> = Vec::new();
    for item in top.list("outputs").unwrap_or_default() {
        let Some(mut fields) = item.mapping() else { continue };
        let output = read_one(&mut fields, bot);
        fields.finish();
        let Some(output) = output else { continue };
        if let Some(allowed) = clash(&output, &outputs, data_dir) {
            item.fault(format!("the path {}", output.path.display()), allowed);
        }
        if matches!(output.kind, OutputKind::OpensshHost { .. })
            && outputs.iter().any(|o| matches!(o.kind, OutputKind::OpensshHost { .. }))
        {
            item.fault("a second openssh_host output", "one: a join certifies one host key");
        }
        outputs.push(output);
    }
    outputs
}

fn read_one(fields: &mut Fields<'_>, bot: bool) -> Option<OutputConfig> {
    let word = fields.word("type", &WORDS);
    fields.missing("type", "tls, openssh_host or openssh_user");
    let path = fields.parsed("path", DIRECTORY, |text| {
        Some(PathBuf::from(text)).filter(|path| path.is_absolute() && path.file_name().is_some()).ok_or(())
    });
    fields.missing("path", DIRECTORY);
    let owner = fields.text("owner").map(ToOwned::to_owned);
    let group = fields.text("group").map(ToOwned::to_owned);
    let mode = fields.item("mode").and_then(|item| read_mode(&item)).unwrap_or(0o600);
    let reload = fields.text("reload").map(ToOwned::to_owned);
    let kind = match word? {
        Word::Tls => OutputKind::Tls { reuse_key: fields.boolean("reuse_key").unwrap_or(false) },
        Word::Host => {
            if bot {
                fields.fault(
                    "type",
                    "`openssh_host` in a bot's configuration",
                    "tls or openssh_user (enable ssh_service for a host)",
                );
            }
            OutputKind::OpensshHost { host_key: fields.text("host_key").map(PathBuf::from) }
        }
        Word::User => {
            if !bot {
                fields.fault(
                    "type",
                    "`openssh_user` in a host's configuration",
                    "tls or openssh_host (a bot has no service enabled)",
                );
            }
            OutputKind::OpensshUser
        }
    };
    Some(OutputConfig { kind, path: path?, access: FileAccess { owner, group, mode }, reload })
}

/// Octal text; a number is ambiguous (`640` is decimal, `0o640` octal).
fn read_mode(item: &Item<'_>) -> Option<u32> {
    const ALLOWED: &str =
        "\"0600\", \"0640\", \"0400\" or \"0440\" (in quotes; the files hold a private key)";
    let text = match item.node() {
        Node::Text(text) => text.as_str(),
        _ => {
            item.refuse(ALLOWED);
            return None;
        }
    };
    let octal = (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    match u32::from_str_radix(text, 8) {
        Ok(mode @ (0o600 | 0o640 | 0o400 | 0o440)) if octal => Some(mode),
        _ => {
            item.refuse(ALLOWED);
            None
        }
    }
}

/// Directories are replaced as a whole: none may hold another, nor the agent's state.
fn clash(output: &OutputConfig, others: &[OutputConfig], data_dir: &Path) -> Option<String> {
    let meets = |other: &Path| other.starts_with(&output.path) || output.path.starts_with(other);
    if meets(data_dir) {
        return Some(format!("a directory apart from data_dir ({})", data_dir.display()));
    }
    let other = others.iter().find(|other| meets(&other.path))?;
    Some(format!("a directory apart from the other outputs ({})", other.path.display()))
}
