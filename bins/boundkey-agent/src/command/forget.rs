use std::path::Path;

use anyhow::Context as _;
use boundkey_client::config::Credential;
use boundkey_console::{ask, print};
use boundkey_keystore::{AgentState, FileKeystore, Keystore as _, KeystoreError};
use clap::Args;
use time::format_description::well_known::Rfc3339;

use crate::arguments::Place;

#[derive(Debug, Args)]
#[command(
    after_help = "Keys, join state, identity and notes are removed from the data directory; outputs stay. A token \
                        that was bound by them must be reset (`boundkeyctl bound-keypair reset NAME`) or replaced."
)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Place,
    /// Do not ask, whatever is wiped
    #[arg(short, long)]
    yes: bool,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let dir = options.place.data_dir()?;
    // For the words of the question alone.
    let config = options.place.look().ok().and_then(|(_, config)| config);
    if !dir.exists() {
        print(&format!("nothing to forget: there is no {}\n", dir.display()))?;
        return Ok(());
    }
    // Holding the lock: no agent is running, and none starts meanwhile.
    let mut keystore = FileKeystore::open(&dir)?;
    let (state, identity) = (dir.join("state.json"), dir.join("identity"));
    if !state.exists() && !identity.exists() {
        remove(&dir.join("status.json"))?;
        print(&format!("nothing to forget in {}\n", dir.display()))?;
        return Ok(());
    }
    if !options.yes {
        let is_static = config.is_some_and(|config| matches!(config.credential, Credential::StaticKey(_)));
        ask(&told(&dir, is_static, keystore.load()))?;
    }
    // The state last: a crash in between leaves a machine that can still join.
    remove(&dir.join("status.json"))?;
    if identity.exists() {
        std::fs::remove_dir_all(&identity)
            .with_context(|| format!("cannot remove {}", identity.display()))?;
    }
    remove(&state)?;
    print(&format!("forgot the state in {}\n", dir.display()))?;
    Ok(())
}

/// What is wiped, and what the machine needs afterwards.
fn told(dir: &Path, is_static: bool, state: Result<AgentState, KeystoreError>) -> String {
    let dir = dir.display();
    let state = match state {
        Ok(state) => state,
        Err(error) => return format!("this wipes the state in {dir}, which cannot be read: {error}"),
    };
    let mut text = format!("this wipes the keys in {dir}");
    if let Some(identity) = &state.identity {
        let end = identity.not_after.replace_nanosecond(0).unwrap_or(identity.not_after);
        let end = end.format(&Rfc3339).unwrap_or_else(|_| end.to_string());
        text.push_str(&format!(
            " and the identity of {} {}, whose certificates are valid until {end}",
            identity.identity_kind, identity.id
        ));
    }
    if let Some(token) = &state.token {
        text.push_str(&format!(" (token {token})"));
    }
    let token = state.token.as_deref().unwrap_or("NAME");
    match state.join_state {
        // In mode `insecure` that is all; elsewhere the server asks for the join state, which is wiped.
        Some(_) if is_static => text.push_str(&format!(
            "; the static key itself stays. Unless the token's mode is insecure, this machine joins again only after \
             `boundkeyctl bound-keypair resync {token} --keep-key`"
        )),
        Some(_) => text.push_str(&format!(
            "; this machine joins again only after `boundkeyctl bound-keypair reset {token}`, with the new registration secret"
        )),
        None => text.push_str("; they are bound to no token yet, as far as this machine knows"),
    }
    text
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.with_context(|| format!("cannot remove {}", path.display())),
    }
}
