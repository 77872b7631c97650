use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use boundkey_client::SystemEntropy;
use boundkey_client::agent::warn_if_tightened;
use boundkey_console::{FormatOption, print_as};
use boundkey_files::{Owners, open_file, write_atomically};
use boundkey_keys::{Entropy as _, PrivateKey, PublicKey};
use boundkey_keystore::{FileKeystore, HeldKey, Keystore as _};
use clap::{Args, Subcommand};
use serde::Serialize;
use zeroize::Zeroizing;

/// The most that is read of a key's file.
const LONGEST_KEY: u64 = 64 * 1024;

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a key, and print its public half for `initial_public_key` of a token
    Create(Create),
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("kind").required(true).args(["storage", "static_key"]))]
#[command(
    after_help = "A key that is there already is kept and printed, unless --overwrite is given.\n\nExamples:\n  \
                        boundkey-agent keypair create --storage /var/lib/boundkey\n  boundkey-agent keypair create \
                        --static --static-key-path ci.key"
)]
struct Create {
    /// Into the data directory of an agent
    #[arg(long, value_name = "DIR", value_parser = new_directory)]
    storage: Option<PathBuf>,
    /// A static key, for machines without storage of their own (CI)
    #[arg(long = "static", id = "static_key")]
    static_key: bool,
    /// Write the static key to this file, instead of printing it
    #[arg(long, value_name = "PATH", requires = "static_key")]
    static_key_path: Option<PathBuf>,
    /// Replace a key that is there already
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    format: FormatOption,
}

/// It is made if it is not there: never by the name of `~` or of a variable.
fn new_directory(text: &str) -> Result<PathBuf, String> {
    boundkey_client::parse_path(text).map_err(|allowed| format!("allowed: {allowed}"))
}

#[derive(Serialize)]
struct Created {
    public_key: String,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "plain")]
    private_key: Option<Zeroizing<String>>,
}

fn plain<S: serde::Serializer>(key: &Option<Zeroizing<String>>, to: S) -> Result<S::Ok, S::Error> {
    key.as_ref().map(|key| key.as_str()).serialize(to)
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let Verb::Create(options) = &options.verb;
    let created = match (&options.storage, &options.static_key_path) {
        (Some(dir), _) => public(&in_storage(dir, options.overwrite)?),
        (None, Some(path)) => public(&in_file(path, options.overwrite)?),
        (None, None) => {
            let key = make();
            Created { private_key: Some(key.to_openssh_pem("boundkey")), ..public(key.public_key()) }
        }
    };
    print_as(options.format.format, &created, || {
        let private = created.private_key.as_ref().map(|key| key.as_str()).unwrap_or_default();
        let how = if options.static_key {
            next_steps(&created, options.static_key_path.as_deref())
        } else {
            String::new()
        };
        format!("{private}{}\n{how}", created.public_key)
    })?;
    Ok(())
}

/// What to do with a static key: the token to create and the agent's config, ready but for what is written in capitals.
fn next_steps(created: &Created, file: Option<&Path>) -> String {
    let key = match file {
        Some(file) => {
            let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
            format!("    bound_keypair:\n      static_key_path: {}\n", serde_json::Value::from(file.to_string_lossy()))
        }
        None => "    # and the private key above in the environment: BOUNDKEY_STATIC_KEY=\"$(base64 -w0 KEY_FILE)\"\n".to_owned(),
    };
    format!(
        "
# The token, for `boundkeyctl create`; its bot is added by `boundkeyctl bots add example`.
# For hosts `roles: [Node]` without `bot_name`, and no bot:
kind: token
version: v2
metadata:
  name: example
spec:
  roles: [Bot]
  bot_name: example
  join_method: bound_keypair
  bound_keypair:
    onboarding:
      initial_public_key: \"{}\"
    recovery:
      mode: insecure

# The agent's config; for hosts a line more, `ssh_service: {{enabled: true}}`:
version: v3
agent:
  proxy_server: SERVER:443
  # The server's CA pin, as `boundkeyctl status` prints it; without this line only the system's roots are trusted:
  ca_pins: [\"sha256:PIN\"]
  join_params:
    token_name: example
    method: bound_keypair
{key}",
        created.public_key
    )
}

fn public(key: &PublicKey) -> Created {
    Created { public_key: key.to_openssh(), private_key: None }
}

fn make() -> PrivateKey {
    let mut seed = Zeroizing::new([0; 32]);
    SystemEntropy::new().fill(&mut *seed);
    PrivateKey::ed25519_from_seed(&seed)
}

fn in_storage(dir: &Path, overwrite: bool) -> anyhow::Result<PublicKey> {
    let mut keystore = FileKeystore::open(dir)?;
    warn_if_tightened(&keystore);
    let mut state = keystore.load()?;
    if let Some(key) = &state.bound_key {
        if !overwrite {
            return Ok(key.public_key().clone());
        }
        if state.join_state.is_some() || state.pending.is_some() {
            bail!(
                "the key in {} is bound to a cluster: replacing it would lock this machine out. Let an administrator \
                 rotate it (`boundkeyctl bound-keypair rotate`), or run `boundkey-agent forget` first",
                dir.display()
            );
        }
    }
    let key = make();
    let public = key.public_key().clone();
    state.bound_key = Some(HeldKey::new(key));
    keystore.save(&state)?;
    Ok(public)
}

fn in_file(path: &Path, overwrite: bool) -> anyhow::Result<PublicKey> {
    let exists = std::fs::symlink_metadata(path).is_ok();
    if exists && !overwrite {
        let mut text = Zeroizing::new(Vec::with_capacity(4096));
        open_file(path, &Owners::of_process())?
            .take(LONGEST_KEY)
            .read_to_end(&mut text)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let key = PrivateKey::from_pem(&text).with_context(|| {
            format!(
                "{} is there already and is no key that can be used (--overwrite replaces it)",
                path.display()
            )
        })?;
        return Ok(key.public_key().clone());
    }
    let key = make();
    write_atomically(path, key.to_openssh_pem("boundkey").as_bytes(), 0o600)?;
    Ok(key.public_key().clone())
}
