//! `backup` and `restore`: the store as one file. The master key is never part of it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use boundkey_console::{ask, print};
use boundkey_service::{
    Clock as _, InPlace, MasterKey, Parts, Service, ServiceConfig, SystemClock, SystemEntropy,
    remembered_cluster,
};
use boundkey_store::records::{EnrolmentRecord, Record as _, TokenRecord};
use boundkey_store::{Store, keys};
use boundkey_store_sqlite::SqliteStore;

use crate::args::{BackupArgs, PlaceArgs, RestoreArgs, SettingArgs};
use crate::config::Settings;
use crate::data_dir::DataDir;

/// Where `restore` keeps the store that was there.
const KEPT: &str = "store.sqlite.before-restore";
/// The copy that is being looked at.
const COMING: &str = ".store.sqlite.coming";

/// Works while the server runs: SQLite gives one consistent snapshot, and the server waits for nothing.
pub(crate) fn backup(args: &BackupArgs) -> anyhow::Result<()> {
    let directory = data_dir_of(&args.place)?;
    let store = directory.join("store.sqlite");
    if !store.is_file() {
        bail!("{} is not there: name the server's data directory with --data-dir", store.display());
    }
    let to = &args.file;
    runtime()?.block_on(async {
        let store = SqliteStore::open(&store)?;
        store.backup_to(to).await.with_context(|| format!("cannot back up to {}", to.display()))
    })?;
    say(&format!(
        "{}: the whole store, without the master key: keep {} apart from it",
        to.display(),
        directory.join("master.key").display()
    ))
}

/// Only while no server runs. Everything is checked before anything is replaced, and what was there is kept.
pub(crate) fn restore(args: &RestoreArgs) -> anyhow::Result<()> {
    let path = data_dir_of(&args.place)?;
    let directory = DataDir::open(&path)?;
    if !directory.has_master_key()? {
        bail!(
            "{} is missing: put back the master key of the cluster first; without it the backup is of no use",
            path.join("master.key").display()
        );
    }
    let master = directory.master_key(&SystemEntropy::new())?;
    let coming = Coming::copy(&args.file, &path.join(COMING))?;
    let live = runtime()?.block_on(async {
        let store = std::sync::Arc::new(SqliteStore::open(&coming.0)?);
        check(store.clone(), master)
            .await
            .with_context(|| format!("{} cannot be restored", args.file.display()))?;
        live_secrets(&*store, SystemClock.now()).await
    })?;
    match args.yes {
        true => say(&warnings(&live))?,
        false => ask(&warnings(&live))?,
    }
    put_in_place(&path, &coming)?;
    say(&format!("restored; the store that was there is kept as {}", path.join(KEPT).display()))
}

fn data_dir_of(place: &PlaceArgs) -> anyhow::Result<PathBuf> {
    let flags = SettingArgs { data_dir: place.data_dir.clone(), ..SettingArgs::default() };
    Ok(Settings::load(place.config.as_deref(), &flags)?.data_dir)
}

/// Opens every sealed CA: a backup under another master key ends here, and so does a store without a cluster.
async fn check(store: std::sync::Arc<SqliteStore>, master: MasterKey) -> anyhow::Result<()> {
    let cluster = remembered_cluster(&*store, SystemClock.now()).await?;
    let cluster = cluster.context("it holds no cluster")?;
    let parts = Parts {
        store,
        master,
        config: ServiceConfig::new(cluster),
        clock: std::sync::Arc::new(SystemClock),
        entropy: std::sync::Arc::new(SystemEntropy::new()),
        stretch: std::sync::Arc::new(InPlace),
    };
    Ok(Service::start(parts).await.map(drop)?)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")
}

fn say(text: &str) -> anyhow::Result<()> {
    print(&format!("{text}\n"))
}

/// The tokens that nobody has registered with, by the backup, and whose secret would be good again.
async fn live_secrets(store: &dyn Store, now: time::OffsetDateTime) -> anyhow::Result<Vec<String>> {
    let mut live = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.range(keys::TOKEN, after.as_deref(), 500, now).await?;
        for entry in &page.entries {
            let name = entry.key.strip_prefix(keys::TOKEN).unwrap_or(&entry.key);
            let token = TokenRecord::decode(&entry.value)?;
            let found = store.get_many(&[&keys::enrolment(name)], now).await?;
            let record = match found.first().and_then(Option::as_ref) {
                Some(entry) => Some(EnrolmentRecord::decode(&entry.value)?),
                None => None,
            };
            let enrolment = record.filter(|record| record.uid == token.uid).map(|record| record.enrolment);
            let unused = enrolment.as_ref().is_none_or(|enrolment| {
                let by_spec = token.sealed_secret.is_some() && !enrolment.secret.spec_void;
                !enrolment.is_bound()
                    && !enrolment.secret.used
                    && (by_spec || enrolment.secret.generated.is_some())
            });
            if unused {
                live.push(name.to_owned());
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(live);
        }
    }
}

fn warnings(live: &[String]) -> String {
    let mut text =
        "Locks and grants made after this backup will be gone. Machines that joined after it come back by \
                    themselves."
            .to_owned();
    if !live.is_empty() {
        text.push_str(&format!(
            "\nThe registration secrets of {} tokens are live again, also if they were used after this backup; each until \
             its machine is back. Remove or `bound-keypair reset` those that you do not expect:\n  {}",
            live.len(),
            live.join("\n  ")
        ));
    }
    text
}

/// A copy in the data directory that goes when it is not used.
struct Coming(PathBuf);

impl Coming {
    fn copy(from: &Path, to: &Path) -> anyhow::Result<Self> {
        let shown = from.display();
        let coming = Self(to.to_owned());
        coming.remove();
        std::fs::copy(from, to).with_context(|| format!("cannot copy {shown} to {}", to.display()))?;
        std::fs::File::open(to)?.sync_all().with_context(|| format!("cannot copy {shown}"))?;
        Ok(coming)
    }

    fn remove(&self) {
        for suffix in ["", "-wal", "-shm"] {
            // Not there, mostly.
            let _ = std::fs::remove_file(with(&self.0, suffix));
        }
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.remove();
    }
}

fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// One rename makes it the store. What was there has its second name by then, with all that is in its log; and no log
/// lies beside the new one that is another's.
fn put_in_place(directory: &Path, coming: &Coming) -> anyhow::Result<()> {
    let (store, kept) = (directory.join("store.sqlite"), directory.join(KEPT));
    if store.exists() {
        // An orderly opening and closing empties the log of a server that was killed. A damaged store keeps its own.
        drop(SqliteStore::open(&store));
        for suffix in ["-shm", "-wal", ""] {
            let (from, to) = (with(&store, suffix), with(&kept, suffix));
            let _ = std::fs::remove_file(&to);
            if suffix.is_empty() {
                std::fs::hard_link(&from, &to)
                    .or_else(|_| std::fs::copy(&from, &to).map(drop))
                    .with_context(|| format!("cannot keep {}", from.display()))?;
            } else if from.exists() {
                std::fs::rename(&from, &to).with_context(|| format!("cannot keep {}", from.display()))?;
            }
        }
    }
    std::fs::rename(&coming.0, &store)
        .and_then(|()| std::fs::File::open(directory)?.sync_all())
        .with_context(|| format!("cannot replace {}", store.display()))
}
