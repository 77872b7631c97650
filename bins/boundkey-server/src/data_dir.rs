//! The data directory: made, checked, locked; and the master key in it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use boundkey_files::{
    Owners, look_for_directory, look_for_file, make_directory, make_private, open_directory, open_file,
    remove_leftovers, write_atomically,
};
use boundkey_service::{Entropy, MasterKey};
use boundkey_text::clean;
use zeroize::Zeroizing;

/// What this program puts there.
const OURS: &[&str] = &["server.lock", "master.key", "store.sqlite"];
/// The environment variable that may hold the master key's file, and the systemd credential's name.
const MASTER_VARIABLE: &str = "BOUNDKEY_MASTER_KEY";
const MASTER_FILE: &str = "master.key";
/// A master key has some hundred bytes.
const LONGEST_KEY_FILE: usize = 64 * 1024;

/// A directory that this process alone uses, as long as this value lives.
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if it is not there, refuses one that others could exchange or that holds something else, and
    /// locks it. What is ours and others may write is taken from them.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        match look_for_directory(path, &Owners::of_process()).with_context(|| unusable(path))? {
            Some(found) => {
                check(path)?;
                // Others may look into it: a socket that is for a group may lie there.
                tighten(&found, path, 0o755)?;
                open_directory(path, &Owners::of_process()).with_context(|| unusable(path))?;
            }
            None => {
                make_directory(path, &Owners::of_process(), 0o700).with_context(|| unusable(path))?;
            }
        }
        let lock = lock(path)?;
        // Of a first start that was killed: half a master key, which is nobody's.
        remove_leftovers(path)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path.join("store.sqlite")
    }

    /// Whether there is a master key, here or in the environment.
    pub(crate) fn has_master_key(&self) -> anyhow::Result<bool> {
        Ok(self.path.join(MASTER_FILE).exists() || given_master_key()?.is_some())
    }

    /// The master key: from the environment or a systemd credential if one is given, else from the directory; made
    /// there on the first start.
    pub(crate) fn master_key(&self, entropy: &dyn Entropy) -> anyhow::Result<MasterKey> {
        let path = self.path.join(MASTER_FILE);
        let given = given_master_key()?;
        match (given, path.exists()) {
            (Some((source, _)), true) => bail!(
                "two master keys: {source} and {}; keep the one that belongs to the store and move the other away",
                path.display()
            ),
            (Some((source, text)), false) => parse_master_key(&text, &source),
            (None, true) => read_master_key(&path),
            (None, false) if self.store().exists() => bail!(
                "{} is missing, but {} is there: put back the master key that the store was made with",
                path.display(),
                self.store().display()
            ),
            (None, false) => make_master_key(&path, entropy),
        }
    }
}

fn unusable(path: &Path) -> String {
    format!("cannot use the data directory {}; mend it, or choose another with --data-dir", path.display())
}

/// A platform may have opened it at this start (Kubernetes' `fsGroup`): that asks for no human.
fn tighten(open: impl std::os::fd::AsFd, path: &Path, allowed: u32) -> anyhow::Result<()> {
    if let Some(mode) = make_private(open, path, allowed)? {
        tracing::warn!(
            path = %path.display(),
            was = format!("{mode:04o}"),
            "this was open to other users, and is not any more; consider who was on this machine"
        );
    }
    Ok(())
}

/// Refuses a directory that holds something else.
fn check(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    let entries =
        std::fs::read_dir(path).with_context(|| format!("cannot read the data directory {shown}"))?;
    let mut stranger = None;
    for entry in entries {
        let name = entry.with_context(|| format!("cannot read the data directory {shown}"))?.file_name();
        let name = clean(&name.to_string_lossy(), 255);
        if OURS.contains(&name.as_str()) {
            return Ok(());
        }
        if !name.starts_with('.') && name != "lost+found" && name != "server.yaml" {
            stranger.get_or_insert(name);
        }
    }
    match stranger {
        None => Ok(()),
        Some(name) => bail!(
            "{shown} is not a data directory of boundkey-server (it holds `{name}`): choose an empty or a new one \
             with --data-dir"
        ),
    }
}

fn lock(path: &Path) -> anyhow::Result<File> {
    let place = path.join("server.lock");
    let unwritable = || {
        format!(
            "cannot write into the data directory {}; free or mend it, or choose another with --data-dir",
            path.display()
        )
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&place)
        .with_context(unwritable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = clean(holder.trim(), 20);
            let holder =
                if holder.is_empty() { "another process".to_owned() } else { format!("process {holder}") };
            bail!(
                "the data directory {} is used by a boundkey-server that runs ({holder}): stop it, or choose another \
                 directory with --data-dir",
                path.display()
            );
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("cannot lock {}", place.display()));
        }
    }
    file.set_len(0).with_context(unwritable)?;
    writeln!(file, "{}", std::process::id()).with_context(unwritable)?;
    Ok(file)
}

/// A variable of the environment; an empty one is not set.
fn set(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name).filter(|text| !text.is_empty())
}

/// The master key that the environment gives, and the name of its source.
fn given_master_key() -> anyhow::Result<Option<(String, Zeroizing<Vec<u8>>)>> {
    let variable = set(MASTER_VARIABLE)
        .map(|text| (MASTER_VARIABLE.to_owned(), Zeroizing::new(text.into_encoded_bytes())));
    let credential = match set("CREDENTIALS_DIRECTORY") {
        None => None,
        Some(directory) => {
            let path = Path::new(&directory).join(MASTER_FILE);
            match open_file(&path, &Owners::of_process()) {
                Ok(file) => Some((path.display().to_string(), read_bounded(file, &path)?)),
                Err(error) if error.is_absent() => None,
                Err(error) => return Err(error).with_context(|| format!("cannot use {}", path.display())),
            }
        }
    };
    match (variable, credential) {
        (Some((one, _)), Some((other, _))) => bail!("two master keys: {one} and {other}; give one"),
        (one, other) => Ok(one.or(other)),
    }
}

fn parse_master_key(text: &[u8], source: &str) -> anyhow::Result<MasterKey> {
    MasterKey::from_json(text).with_context(|| format!("{source} holds no usable master key"))
}

fn read_master_key(path: &Path) -> anyhow::Result<MasterKey> {
    let shown = path.display();
    // First what is ours: a platform may have opened it to a group.
    let unusable = || format!("cannot use {shown}");
    if let Some(found) = look_for_file(path, &Owners::of_process()).with_context(unusable)? {
        tighten(&found, path, 0o600)?;
    }
    let file = open_file(path, &Owners::of_process()).with_context(unusable)?;
    let text = read_bounded(file, path)?;
    parse_master_key(&text, &shown.to_string())
}

fn read_bounded(file: File, path: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let shown = path.display();
    // Room for everything at once: a growing buffer would leave unwiped copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(LONGEST_KEY_FILE + 1));
    file.take(LONGEST_KEY_FILE as u64 + 1)
        .read_to_end(&mut text)
        .with_context(|| format!("cannot read {shown}"))?;
    if text.len() > LONGEST_KEY_FILE {
        bail!("{shown} holds no master key: it has more than {LONGEST_KEY_FILE} bytes");
    }
    Ok(text)
}

/// There is never half a master key.
fn make_master_key(path: &Path, entropy: &dyn Entropy) -> anyhow::Result<MasterKey> {
    let mut bytes = Zeroizing::new([0; 32]);
    entropy.fill(bytes.as_mut());
    let key = MasterKey::new(1, *bytes);
    write_atomically(path, &key.to_json(), 0o600)
        .with_context(|| format!("cannot write the master key {}", path.display()))?;
    Ok(key)
}
