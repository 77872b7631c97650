//! `server.yaml`: everything is checked, and every fault reported, before anything starts.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use boundkey_console::{Log, LogFormat};
use boundkey_document::{
    Faults, Fields, Node, Violation, format_duration, parse_duration, parse_path, parse_yaml,
};
use boundkey_files::{Owners, open_file};
use boundkey_service::serve::{ServerNames, TlsSource};
use boundkey_service::{
    AuditKeep, AutoLockRevokes, CLUSTER_NAME_ALLOWED, Lifetimes, Limits, Policy, check_cluster_name,
};

use crate::args::SettingArgs;

pub(crate) const DEFAULT_DATA_DIR: &str = "/var/lib/boundkey-server";
pub(crate) const DEFAULT_LISTEN: &str = "127.0.0.1:3443";

const DAY: Duration = Duration::from_secs(86_400);
const LISTEN_ALLOWED: &str =
    "ADDRESS:PORT, such as 0.0.0.0:443, [::]:443, [fe80::1%eth0]:443 or localhost:3443";
const PUBLIC_ALLOWED: &str = "HOST:PORT, such as server.example.com:443 or [2001:db8::1]:443";

/// The configuration, as file and flags together say it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    pub(crate) cluster_name: Option<String>,
    pub(crate) data_dir: PathBuf,
    pub(crate) listen: String,
    pub(crate) public_addrs: Vec<String>,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) policy: Policy,
    pub(crate) auto_lock_revokes: AutoLockRevokes,
    pub(crate) limits: Limits,
    pub(crate) audit: AuditKeep,
    pub(crate) admin_socket: AdminSocket,
    pub(crate) log: Log,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AdminSocket {
    /// Default: `admin.sock` in the data directory.
    pub(crate) path: Option<PathBuf>,
    pub(crate) mode: u32,
    pub(crate) group: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            cluster_name: None,
            data_dir: PathBuf::from(DEFAULT_DATA_DIR),
            listen: DEFAULT_LISTEN.to_owned(),
            public_addrs: Vec::new(),
            tls: None,
            lifetimes: Lifetimes::default(),
            policy: Policy::default(),
            auto_lock_revokes: AutoLockRevokes::Bots,
            limits: Limits::default(),
            audit: AuditKeep::default(),
            admin_socket: AdminSocket { path: None, mode: 0o600, group: None },
            log: Log::default(),
        }
    }
}

impl Settings {
    /// File, then flags.
    pub(crate) fn load(file: Option<&Path>, flags: &SettingArgs) -> anyhow::Result<Self> {
        let mut settings = match file {
            Some(path) => Self::read(path)?,
            None => Self::default(),
        };
        settings.override_with(flags)?;
        Ok(settings)
    }

    /// A file alone, that nobody but root and the server's user can change.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = read_file(path, LONGEST_CONFIG)?;
        Self::parse(&text, &path.display().to_string())
    }

    pub(crate) fn parse(text: &[u8], source: &str) -> anyhow::Result<Self> {
        let documents = match parse_yaml(text) {
            Ok(documents) => documents,
            Err(error) => bail!("{}", error.in_source(source)),
        };
        let [document] = documents.as_slice() else {
            bail!("{source}: {} documents; allowed: one", documents.len());
        };
        let faults = Faults::new(document);
        let settings = read_fields(&faults);
        let violations = faults.into_violations();
        if violations.is_empty() { Ok(settings) } else { bail!("{}", listed(&violations, source)) }
    }

    fn override_with(&mut self, flags: &SettingArgs) -> anyhow::Result<()> {
        if let Some(name) = &flags.cluster_name {
            self.cluster_name = match cluster_name(name) {
                Ok(name) => Some(name),
                Err(()) => bail!("--cluster-name: found `{name}`; allowed: {CLUSTER_NAME_ALLOWED}"),
            };
        }
        if let Some(dir) = &flags.data_dir {
            if let Some(Err(allowed)) = dir.to_str().map(parse_path) {
                bail!("--data-dir: found `{}`; allowed: {allowed}", dir.display());
            }
            self.data_dir.clone_from(dir);
        }
        if let Some(listen) = &flags.listen {
            self.listen = match listen_address(listen) {
                Ok(listen) => listen,
                Err(()) => bail!("--listen: found `{listen}`; allowed: {LISTEN_ALLOWED}"),
            };
        }
        if !flags.public_addrs.is_empty() {
            let mut addresses = Vec::new();
            for address in &flags.public_addrs {
                match public_address(address) {
                    Ok(address) => addresses.push(address),
                    Err(()) => bail!("--public-addr: found `{address}`; allowed: {PUBLIC_ALLOWED}"),
                }
            }
            self.public_addrs = addresses;
        }
        Ok(())
    }

    /// Where the certificate of the TLS port comes from, the port being known.
    pub(crate) fn tls_source(&self, listening: &str) -> TlsSource {
        match &self.tls {
            Some(files) => {
                TlsSource::Files { certificate: files.certificate.clone(), key: files.key.clone() }
            }
            None => {
                let addresses = std::iter::once(listening.to_owned()).chain(self.public_addrs.clone());
                TlsSource::Own { addresses: addresses.collect() }
            }
        }
    }

    pub(crate) fn admin_socket_path(&self) -> PathBuf {
        self.admin_socket.path.clone().unwrap_or_else(|| self.data_dir.join("admin.sock"))
    }
}

/// More than the parser takes.
const LONGEST_CONFIG: usize = 1024 * 1024;

/// What the server acts on: whoever can change it says what the server does.
pub(crate) fn read_file(path: &Path, most: usize) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    open_file(path, &Owners::of_process())
        .map_err(|error| anyhow::anyhow!("{}", error.reason()))
        .and_then(|file| Ok(file.take(most as u64 + 1).read_to_end(&mut text)?))
        .with_context(|| format!("cannot read {}", path.display()))?;
    if text.len() > most {
        bail!("{} is larger than {most} bytes", path.display());
    }
    Ok(text)
}

fn listed(violations: &[Violation], source: &str) -> String {
    violations.iter().map(|v| v.in_source(source).to_string()).collect::<Vec<_>>().join("\n")
}

fn read_fields(faults: &Faults<'_>) -> Settings {
    let mut settings = Settings::default();
    let mut top = Fields::root(faults);
    settings.cluster_name = top.parsed("cluster_name", CLUSTER_NAME_ALLOWED, cluster_name);
    if let Some(dir) = top.file_path("data_dir") {
        settings.data_dir = dir;
    }
    if let Some(listen) = top.parsed("listen", LISTEN_ALLOWED, listen_address) {
        settings.listen = listen;
    }
    if let Some(list) = top.list("public_addrs") {
        settings.public_addrs =
            list.iter().filter_map(|item| item.parsed(PUBLIC_ALLOWED, public_address)).collect();
    }
    settings.tls = read_tls(&mut top);
    read_lifetimes(&mut top, &mut settings.lifetimes);
    read_lifecycle(&mut top, &mut settings);
    read_limits(&mut top, &mut settings.limits);
    read_audit(&mut top, &mut settings.audit);
    read_admin_socket(&mut top, &mut settings.admin_socket);
    let mut log = top.section("log");
    let levels = ["error", "warn", "info", "debug", "trace"].map(|level| (level, level));
    if let Some(level) = log.word("level", &levels) {
        settings.log.level = level.to_owned();
    }
    if let Some(format) = log.word("format", &[("text", LogFormat::Text), ("json", LogFormat::Json)]) {
        settings.log.format = format;
    }
    log.finish();
    top.finish();
    settings
}

fn read_tls(top: &mut Fields<'_>) -> Option<TlsFiles> {
    let mut tls = top.mapping("tls")?;
    let certificate = tls.file_path("cert_file");
    tls.missing("cert_file", "the path of a PEM file");
    let key = tls.file_path("key_file");
    tls.missing("key_file", "the path of a PEM file");
    tls.finish();
    Some(TlsFiles { certificate: certificate?, key: key? })
}

fn read_lifetimes(top: &mut Fields<'_>, lifetimes: &mut Lifetimes) {
    let mut section = top.section("lifetimes");
    let range = Duration::from_secs(1)..=DAY * 366;
    for (key, place) in [
        ("host", &mut lifetimes.host),
        ("bot", &mut lifetimes.bot),
        ("host_max", &mut lifetimes.host_max),
        ("bot_max", &mut lifetimes.bot_max),
        ("min", &mut lifetimes.min),
        ("server", &mut lifetimes.server),
    ] {
        if let Some(time) = section.duration_in(key, range.clone()) {
            *place = time;
        }
    }
    for (key, given, cap_key, cap) in [
        ("host", lifetimes.host, "host_max", lifetimes.host_max),
        ("bot", lifetimes.bot, "bot_max", lifetimes.bot_max),
    ] {
        if given > cap {
            section.fault(
                key,
                format_duration(given),
                format!("at most `lifetimes.{cap_key}`, which is {}", format_duration(cap)),
            );
        }
        if given < lifetimes.min {
            section.fault(
                key,
                format_duration(given),
                format!("at least `lifetimes.min`, which is {}", format_duration(lifetimes.min)),
            );
        }
    }
    section.finish();
}

fn read_lifecycle(top: &mut Fields<'_>, settings: &mut Settings) {
    let mut lifecycle = top.section("lifecycle");
    let mut grace = lifecycle.section("renewal_grace");
    let range = Duration::ZERO..=DAY * 366;
    if let Some(time) = grace.duration_in("hosts", range.clone()) {
        settings.policy.host_grace = time;
    }
    if let Some(time) = grace.duration_in("bots", range) {
        settings.policy.bot_grace = time;
    }
    grace.finish();
    let words =
        [("none", AutoLockRevokes::None), ("bots", AutoLockRevokes::Bots), ("all", AutoLockRevokes::All)];
    if let Some(whose) = lifecycle.word("auto_lock_revokes", &words) {
        settings.auto_lock_revokes = whose;
    }
    lifecycle.finish();
}

fn read_limits(top: &mut Fields<'_>, limits: &mut Limits) {
    let mut section = top.section("limits");
    for (key, place) in [
        ("concurrent_joins", &mut limits.concurrent_joins),
        ("waiting_joins", &mut limits.waiting_joins),
        ("concurrent_handshakes", &mut limits.concurrent_handshakes),
        ("connections", &mut limits.connections),
        ("clients_per_token", &mut limits.clients_per_token),
    ] {
        if let Some(number) = section.integer(key, 1..=1_000_000_u32) {
            *place = number as usize;
        }
    }
    if let Some(mebibytes) = section.integer("message_memory_mib", 1..=65_536_u32) {
        limits.message_bytes = mebibytes as usize * 1024 * 1024;
    }
    // An agent waits 30 s for an answer.
    if let Some(time) = section.duration_in("join_patience", Duration::from_secs(1)..=Duration::from_secs(20))
    {
        limits.join_patience = time;
    }
    let range = Duration::from_secs(1)..=Duration::from_secs(3600);
    for (key, place) in [
        ("handshake_timeout", &mut limits.handshake_timeout),
        ("read_timeout", &mut limits.read_timeout),
        ("request_timeout", &mut limits.request_timeout),
    ] {
        if let Some(time) = section.duration_in(key, range.clone()) {
            *place = time;
        }
    }
    if let Some(time) = section.duration_in("connection_age", Duration::from_secs(10)..=DAY) {
        limits.connection_age = time;
    }
    section.finish();
}

fn read_audit(top: &mut Fields<'_>, audit: &mut AuditKeep) {
    const MIB: u64 = 1024 * 1024;
    let mut section = top.section("audit");
    let ages = DAY..=DAY * 3660;
    let allowed = "a duration such as 90d, from 1d to 3660d, or forever";
    if let Some(age) = section.parsed("keep", allowed, |text| match text {
        "forever" => Ok(None),
        _ => parse_duration(text).filter(|age| ages.contains(age)).map(Some).ok_or(()),
    }) {
        audit.age = age;
    }
    let sizes = 16..=1_048_576_u32;
    if let Some(size) = section.item("keep_mib") {
        let allowed = "a whole number from 16 to 1048576 without quotes, or unlimited";
        match size.node() {
            Node::Integer(_) => {
                if let Some(mebibytes) = size.integer(sizes) {
                    audit.bytes = Some(u64::from(mebibytes) * MIB);
                }
            }
            Node::Text(text) if text == "unlimited" => audit.bytes = None,
            _ => size.refuse(allowed),
        }
    }
    section.finish();
}

fn read_admin_socket(top: &mut Fields<'_>, socket: &mut AdminSocket) {
    let mut section = top.section("admin_socket");
    socket.path = section.file_path("path");
    socket.group = section.text("group").map(str::to_owned);
    let allowed = "an octal mode in quotes that gives others nothing, such as \"0600\" or \"0660\"";
    if let Some(mode) = section.parsed("mode", allowed, |text| {
        u32::from_str_radix(text, 8).ok().filter(|mode| mode & !0o770 == 0 && mode & 0o600 == 0o600).ok_or(())
    }) {
        socket.mode = mode;
    }
    section.finish();
}

fn cluster_name(text: &str) -> Result<String, ()> {
    check_cluster_name(text).map(|()| text.to_owned()).map_err(|_| ())
}

fn listen_address(text: &str) -> Result<String, ()> {
    let (host, port) = text.rsplit_once(':').ok_or(())?;
    port.parse::<u16>().map_err(|_| ())?;
    if host.is_empty() || (host.contains(':') && !(host.starts_with('[') && host.ends_with(']'))) {
        return Err(());
    }
    ServerNames::new([text]).map(|_| text.to_owned()).map_err(|_| ())
}

fn public_address(text: &str) -> Result<String, ()> {
    let address = listen_address(text)?;
    if address.ends_with(":0") || address.contains('%') { Err(()) } else { Ok(address) }
}
