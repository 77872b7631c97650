//! `start`: everything that can fail fails before the ready line.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use boundkey_console::{
    Level, Log, LogOptions, Notice, need_descriptors, raise_descriptors, start_log, tell_service_manager,
};
use boundkey_service::admin::apply_resources;
use boundkey_service::serve::{ADMIN_DESCRIPTORS, Listeners, ServerTls, bind_admin_socket, serve};
use boundkey_service::{
    MAX_RESOURCE_FILE, OnBlockingThreads, Parts, ResourceFile, Service, ServiceConfig, StartError,
    SystemClock, SystemEntropy, remembered_cluster,
};
use boundkey_store_sqlite::SqliteStore;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::args::StartArgs;
use crate::config::{Settings, read_file};
use crate::data_dir::DataDir;

/// Kept back from the connections of machines: for the runtime, the signals, the store, the listeners, what reads a file for
/// a moment, and administration.
const KEPT_BACK: usize = 63 + ADMIN_DESCRIPTORS;
/// With fewer connections than these there is no point in a server.
const FEWEST: usize = 16;

pub(crate) fn run(args: &StartArgs, log: &LogOptions) -> anyhow::Result<()> {
    let descriptors = raise_descriptors();
    need_descriptors(KEPT_BACK + FEWEST)?;
    let mut settings = Settings::load(args.config.as_deref(), &args.settings)?;
    let level = start_log(&log.over(settings.log.clone()));
    // Before anything is derived from it: shares, queues, held answers.
    fit_connections(&mut settings.limits.connections, descriptors);
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start threads")?
        .block_on(start(settings, args, log, level))
}

/// A connection is a descriptor: no more of them are taken than there are.
fn fit_connections(connections: &mut usize, descriptors: usize) {
    let most = descriptors.saturating_sub(KEPT_BACK).max(FEWEST);
    if *connections > most {
        tracing::warn!(
            configured = *connections,
            connections = most,
            descriptors,
            "limits.connections is {connections}, and this process may have {descriptors} open files: {most} connections are \
             taken; raise the hard limit (LimitNOFILE= of the unit, `ulimit -Hn`), or lower limits.connections"
        );
        *connections = most;
    }
}

async fn start(settings: Settings, args: &StartArgs, log: &LogOptions, level: Level) -> anyhow::Result<()> {
    // Asked for first, so that a signal during the start is not lost.
    let mut signals = Signals::new()?;
    let to_apply = args.apply.iter().map(|file| read_apply(file)).collect::<anyhow::Result<Vec<_>>>()?;
    let directory = DataDir::open(&settings.data_dir)?;
    let tls = listen(&settings.listen).await?;
    let local = tls.local_addr().context("cannot tell the address that is listened on")?;
    let service = open_service(&settings, &directory, &local).await?;
    for (file, resources) in args.apply.iter().zip(to_apply) {
        apply(&service, file, resources).await?;
    }
    let certificate = ServerTls::new(&service, settings.tls_source(&local.to_string()))?;
    let socket = settings.admin_socket_path();
    let admin = bind_admin_socket(&socket, settings.admin_socket.mode)?;
    give_to_group(&socket, settings.admin_socket.group.as_deref())?;
    announce(&service, &settings, &local);

    let listeners = Listeners { tls, certificate: certificate.clone(), admin: Some(admin) };
    let until = async {
        while signals.next().await == Asked::Reload {
            reload(&service, &certificate, args, &|log_of_file| level.change(&log.over(log_of_file).level));
        }
        tracing::info!("stopping: running requests may end");
        tell_service_manager(Notice::Stopping);
    };
    serve(service.clone(), listeners, until).await?;
    // A socket left behind would look like a server that was killed.
    let _ = std::fs::remove_file(&socket);
    Ok(())
}

/// Resources of an `--apply` file that are applied at once.
const PAGE: usize = 1000;

/// The resources of an `--apply` file, checked.
fn read_apply(file: &Path) -> anyhow::Result<ResourceFile> {
    let shown = file.display().to_string();
    let text = read_file(file, MAX_RESOURCE_FILE)?;
    ResourceFile::check(text).map_err(|error| anyhow::anyhow!("{}", error.lines(&shown).join("\n")))
}

/// As `boundkeyctl create -f FILE`: all of a page or nothing of it, after the whole file was checked.
async fn apply(service: &Service, file: &Path, resources: ResourceFile) -> anyhow::Result<()> {
    let shown = file.display();
    for warning in resources.warnings() {
        tracing::warn!("{shown}: {warning}");
    }
    let (sender, mut pages) = mpsc::channel(1);
    tokio::task::spawn_blocking(move || resources.pages(PAGE, |page| sender.blocking_send(page)));
    while let Some(page) = pages.recv().await {
        let applied = apply_resources(service, &service.own_context(), &page, true)
            .await
            .map_err(|refusal| anyhow::anyhow!("{shown}: {}", refusal.problem.detail))?;
        for warning in applied.iter().flat_map(|one| &one.warnings) {
            tracing::warn!("{shown}: {warning}");
        }
    }
    Ok(())
}

async fn listen(address: &str) -> anyhow::Result<TcpListener> {
    match TcpListener::bind(numbered_zone(address)?).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => bail!(
            "cannot listen on {address}: the address is in use; stop the program that has it, or choose another with \
             --listen"
        ),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => bail!(
            "cannot listen on {address}: {error}; ports below 1024 need the capability CAP_NET_BIND_SERVICE, or \
             choose another with --listen"
        ),
        Err(error) => Err(error).with_context(|| format!("cannot listen on {address}")),
    }
}

/// `[fe80::1%eth0]:443` with the interface's number in place of its name, as sockets have it.
fn numbered_zone(address: &str) -> anyhow::Result<String> {
    use rustix::net::{AddressFamily, SocketType, netdevice, socket};
    let zone = address.split_once('%').and_then(|(_, rest)| rest.split_once(']')).map(|(zone, _)| zone);
    let Some(zone) = zone.filter(|zone| zone.parse::<u32>().is_err()) else { return Ok(address.to_owned()) };
    let number = socket(AddressFamily::INET6, SocketType::DGRAM, None)
        .and_then(|any| netdevice::name_to_index(&any, zone))
        .with_context(|| format!("cannot listen on {address}: this machine has no interface `{zone}`"))?;
    Ok(address.replacen(&format!("%{zone}]"), &format!("%{number}]"), 1))
}

async fn open_service(
    settings: &Settings,
    directory: &DataDir,
    local: &SocketAddr,
) -> anyhow::Result<Service> {
    let entropy = SystemEntropy::new();
    let first_start = || {
        anyhow::anyhow!(
            "this is the first start in {}: name the cluster, for instance with --cluster-name example.com",
            settings.data_dir.display()
        )
    };
    if settings.cluster_name.is_none() && !directory.store().exists() {
        return Err(first_start());
    }
    let master = directory.master_key(&entropy)?;
    let store = Arc::new(SqliteStore::open(&directory.store())?);
    let clock = SystemClock;
    let remembered = remembered_cluster(&*store, boundkey_service::Clock::now(&clock)).await?;
    let cluster = settings.cluster_name.clone().or(remembered).ok_or_else(first_start)?;
    let config = ServiceConfig {
        public_addrs: settings.public_addrs.clone(),
        listen: local.to_string(),
        store_kind: "sqlite".to_owned(),
        lifetimes: settings.lifetimes,
        policy: settings.policy,
        auto_lock_revokes: settings.auto_lock_revokes,
        limits: settings.limits,
        audit: settings.audit,
        ..ServiceConfig::new(cluster)
    };
    let parts = Parts {
        store,
        master,
        config,
        clock: Arc::new(clock),
        entropy: Arc::new(entropy),
        stretch: Arc::new(OnBlockingThreads::new(2)),
    };
    Service::start(parts).await.map_err(|error| match error {
        StartError::OtherCluster { .. } => anyhow::Error::from(error)
            .context(format!("{} holds another cluster", settings.data_dir.display())),
        other => other.into(),
    })
}

/// The ready line, for people and scripts; then systemd.
fn announce(service: &Service, settings: &Settings, local: &SocketAddr) {
    let pins = service.ca_pins().join(", ");
    boundkey_console::announce(format!(
        "ready: https://{local} cluster {} ca pin {pins}\n",
        service.cluster()
    ));
    if is_loopback(local.ip()) {
        tracing::warn!(
            "only this machine can reach {local}; for others: --listen 0.0.0.0:443 --public-addr HOST:PORT"
        );
    } else if settings.public_addrs.is_empty() && settings.tls.is_none() {
        tracing::warn!(
            "no --public-addr: machines can check the server's certificate by address only if it is {local}"
        );
    }
    tell_service_manager(Notice::Ready);
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// SIGHUP: the certificate's files and the log's level, nothing else. What cannot be read leaves things as they are.
fn reload(
    service: &Service,
    certificate: &ServerTls,
    args: &StartArgs,
    level: &impl Fn(Log) -> Result<(), String>,
) {
    match Settings::load(args.config.as_deref(), &args.settings) {
        Ok(settings) => {
            if let Err(error) = level(settings.log) {
                tracing::error!("the log level stays as it is: {error}");
            }
        }
        Err(error) => tracing::error!("the configuration is not read again: {error:#}"),
    }
    match certificate.reload(service) {
        Ok(()) => tracing::info!("read the certificate and the log level again"),
        Err(error) => tracing::error!("the certificate stays as it is: {:#}", anyhow::Error::from(error)),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Stop,
    Reload,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen to signals");
        // A file that may not grow (`ulimit -f`) is a write that fails; with nobody to take the signal it ends the process.
        drop(listen(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?);
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }
}

/// `admin_socket.group`: a name of /etc/group, or a number.
fn give_to_group(socket: &Path, group: Option<&str>) -> anyhow::Result<()> {
    let Some(group) = group else { return Ok(()) };
    let gid = match group.parse::<u32>() {
        Ok(gid) => gid,
        Err(_) => {
            let table = std::fs::read_to_string("/etc/group").context("cannot read /etc/group")?;
            let found = table.lines().find_map(|line| {
                let mut fields = line.split(':');
                if fields.next() == Some(group) { fields.nth(1)?.parse().ok() } else { None }
            });
            match found {
                Some(gid) => gid,
                None => bail!("admin_socket.group: there is no group `{group}` in /etc/group"),
            }
        }
    };
    std::os::unix::fs::chown(socket, None, Some(gid))
        .with_context(|| format!("cannot give {} to the group {group}", socket.display()))
}
