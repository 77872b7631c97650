use std::path::Path;

use anyhow::Context as _;
use boundkey_console::print;
use boundkey_keystore::FileKeystore;
use clap::Args;

use crate::arguments::Place;

#[derive(Debug, Args)]
#[command(
    after_help = "Keys, join state, identity and notes are removed from the data directory; outputs stay. A token \
                        that was bound by them must be reset (`boundkeyctl bound-keypair reset NAME`) or replaced."
)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Place,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let dir = options.place.data_dir()?;
    if !dir.exists() {
        print(&format!("nothing to forget: there is no {}\n", dir.display()))?;
        return Ok(());
    }
    // Holding the lock: no agent is running, and none starts meanwhile.
    let _lock = FileKeystore::open(&dir)?;
    // The state last: a crash in between leaves a machine that can still join.
    remove(&dir.join("status.json"))?;
    let identity = dir.join("identity");
    if identity.exists() {
        std::fs::remove_dir_all(&identity)
            .with_context(|| format!("cannot remove {}", identity.display()))?;
    }
    remove(&dir.join("state.json"))?;
    print(&format!("forgot the state in {}\n", dir.display()))?;
    Ok(())
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.with_context(|| format!("cannot remove {}", path.display())),
    }
}
