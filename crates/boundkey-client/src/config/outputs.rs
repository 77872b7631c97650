use std::path::{Path, PathBuf};

use boundkey_document::{Fields, Item, Node, quoted};

/// A copy of the identity, for others to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputConfig {
    /// What is written.
    pub kind: OutputKind,
    /// The directory; its files change all at once.
    pub path: PathBuf,
    /// Whose the files are, and who may read them.
    pub access: FileAccess,
    /// Run by `sh -c` after the files changed.
    pub reload: Option<String>,
    /// Further hosts that the cluster's host CA speaks for, as patterns of `known_hosts`; beside the cluster's own names.
    pub hosts: Vec<String>,
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
    /// Whether sshd finds the list of revoked keys there.
    pub(crate) fn holds_revoked_keys(&self) -> bool {
        matches!(self, Self::OpensshHost { .. })
    }

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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileAccess {
    /// A user's name or number; None: the agent's own (root, as a rule), or whoever an administrator gave the files to.
    pub owner: Option<String>,
    /// A group's name or number; None: likewise.
    pub group: Option<String>,
    /// Permission bits of the files; None: 0600, or what an administrator set.
    pub mode: Option<u32>,
}

#[derive(Clone, Copy)]
enum Word {
    Tls,
    Host,
    User,
}
const WORDS: [(&str, Word); 3] =
    [("tls", Word::Tls), ("openssh_host", Word::Host), ("openssh_user", Word::User)];

const DIRECTORY: &str = "the absolute path of a directory, without control characters";
const SSHD_PATH: &str =
    "an absolute path that sshd_config can hold: without control characters, `\"`, `\\`, `*`, `?` and `[`";
const HOSTS: &str = "a pattern of known_hosts: letters, digits, `.`, `-`, `_`, `:`, `*` and `?`, for example *.corp.example.net";
/// Patterns of one output.
const MOST_HOSTS: usize = 64;

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
    let (allowed, plain): (_, fn(&str) -> bool) = match word {
        Some(Word::Host) => (SSHD_PATH, for_sshd),
        _ => (DIRECTORY, |text| !text.contains(char::is_control)),
    };
    let path = place(fields, "path", allowed, plain);
    fields.missing("path", DIRECTORY);
    let owner = fields.text("owner").map(ToOwned::to_owned);
    let group = fields.text("group").map(ToOwned::to_owned);
    let mode = fields.item("mode").and_then(|item| read_mode(&item));
    let reload = fields.parsed("reload", "a command for sh, such as systemctl reload nginx", |text| {
        Some(text.to_owned()).filter(|text| !text.trim().is_empty() && !text.contains('\0')).ok_or(())
    });
    let hosts = match word {
        Some(Word::Host | Word::User) => read_hosts(fields),
        _ => Vec::new(),
    };
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
            OutputKind::OpensshHost { host_key: place(fields, "host_key", SSHD_PATH, for_sshd) }
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
    Some(OutputConfig { kind, path: path?, access: FileAccess { owner, group, mode }, reload, hosts })
}

/// An absolute path of which the text holds no more than it may.
fn place(
    fields: &mut Fields<'_>,
    key: &'static str,
    allowed: &str,
    plain: fn(&str) -> bool,
) -> Option<PathBuf> {
    let path = fields.file_path(key)?;
    let good = path.is_absolute() && path.file_name().is_some() && path.to_str().is_some_and(plain);
    if !good {
        fields.fault(key, quoted(&path.display().to_string()), allowed);
    }
    good.then_some(path)
}

/// What sshd reads back unchanged from between double quotes, and takes for no pattern in `Include`.
pub(super) fn for_sshd(text: &str) -> bool {
    !text.contains(|c: char| c.is_control() || "\"\\*?[".contains(c))
}

fn read_hosts(fields: &mut Fields<'_>) -> Vec<String> {
    let items = fields.list("hosts").unwrap_or_default();
    if items.len() > MOST_HOSTS {
        fields.fault("hosts", format!("{} entries", items.len()), format!("at most {MOST_HOSTS}"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:*?".contains(c);
    // `*` alone would let the cluster speak for every host there is.
    let good = |text: &str| text.chars().all(plain) && text.chars().any(|c| c.is_ascii_alphanumeric());
    items
        .iter()
        .filter_map(|item| item.parsed(HOSTS, |text| good(text).then(|| text.to_ascii_lowercase()).ok_or(())))
        .collect()
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

/// None may hold another, nor the agent's state.
fn clash(output: &OutputConfig, others: &[OutputConfig], data_dir: &Path) -> Option<String> {
    let meets = |other: &Path| other.starts_with(&output.path) || output.path.starts_with(other);
    if meets(data_dir) {
        return Some(format!("a directory apart from data_dir ({})", data_dir.display()));
    }
    let other = others.iter().find(|other| meets(&other.path))?;
    Some(format!("a directory apart from the other outputs ({})", other.path.display()))
}
