//! What a service is configured with. The binary reads files and environment and hands this over, checked.

use std::time::Duration;

use boundkey_lifecycle::Policy;

/// Everything that can be told to a service. `ServiceConfig::new` has the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceConfig {
    /// The cluster's name: in every challenge, certificate and state; fixed for good by the first start.
    pub cluster: String,
    /// `HOST:PORT` under which machines reach this server; in the server's certificate and in `install.sh`.
    pub public_addrs: Vec<String>,
    /// Where it listens, for `GET /v1/status` only.
    pub listen: String,
    /// The store's kind, for `GET /v1/status` only.
    pub store_kind: String,
    /// How long certificates live.
    pub lifetimes: Lifetimes,
    /// Renewal grace.
    pub policy: Policy,
    /// What an automatic lock revokes at once.
    pub auto_lock_revokes: AutoLockRevokes,
    /// Bounds on what strangers can make the server do.
    pub limits: Limits,
    /// How much of the audit log is kept.
    pub audit: AuditKeep,
}

impl ServiceConfig {
    /// The defaults, for a cluster of this name.
    pub fn new(cluster: impl Into<String>) -> Self {
        Self {
            cluster: cluster.into(),
            public_addrs: Vec::new(),
            listen: String::new(),
            store_kind: "memory".to_owned(),
            lifetimes: Lifetimes::default(),
            policy: Policy::default(),
            auto_lock_revokes: AutoLockRevokes::Bots,
            limits: Limits::default(),
            audit: AuditKeep::default(),
        }
    }
}

/// `audit`: how much of the audit log is kept. What is over either bound goes, the oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditKeep {
    /// Events that are older go, a day later; none: nothing goes for its age. Default 90 d.
    pub age: Option<Duration>,
    /// Bytes of keys and records; a log that is larger is cut to nine tenths of it. None: no size is too large. Default
    /// 1 GiB.
    pub bytes: Option<u64>,
}

impl Default for AuditKeep {
    fn default() -> Self {
        Self { age: Some(Duration::from_secs(90 * 86_400)), bytes: Some(1024 * 1024 * 1024) }
    }
}

/// Lifetimes of certificates: what is given when nothing is asked for, and the bounds of what may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// A host's certificates, when the agent asks for no lifetime. Default 24 h.
    pub host: Duration,
    /// A bot's. Default 1 h.
    pub bot: Duration,
    /// The longest a host may ask for. Default 7 d.
    pub host_max: Duration,
    /// The longest a bot may ask for. Default 24 h.
    pub bot_max: Duration,
    /// The shortest anybody may ask for. Default 1 min.
    pub min: Duration,
    /// The server's own certificate. Default 30 d.
    pub server: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            host: Duration::from_secs(24 * 3600),
            bot: Duration::from_secs(3600),
            host_max: Duration::from_secs(7 * 86_400),
            bot_max: Duration::from_secs(24 * 3600),
            min: Duration::from_secs(60),
            server: Duration::from_secs(30 * 86_400),
        }
    }
}

impl Lifetimes {
    /// The lifetime of a join's certificates: what was asked for, within the floor, the cap and the token's `max_ttl`.
    /// The token's cap is the administrator's word and wins over the floor.
    pub fn granted(&self, bot: bool, asked: Option<Duration>, max_ttl: Option<Duration>) -> Duration {
        let (default, cap) = if bot { (self.bot, self.bot_max) } else { (self.host, self.host_max) };
        let within = asked.unwrap_or(default).max(self.min).min(cap);
        max_ttl.map_or(within, |cap| within.min(cap)).max(Duration::from_secs(1))
    }
}

/// `lifecycle.auto_lock_revokes`: whose certificates an automatic lock revokes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutoLockRevokes {
    /// Nobody's: the lock stops joins alone.
    None,
    /// Bots' (the default): a reverted snapshot of a machine takes none of its services down.
    Bots,
    /// Everybody's.
    All,
}

/// Bounds on what strangers can make the server do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Joins that are worked on at a time; more wait. Default 64: enough to keep processors and a store's shared syncs
    /// busy, and few enough that handshakes, by which machines are told when to come, get their share of the processor.
    pub concurrent_joins: usize,
    /// Joins that wait, at most; over it 503 with an appointment (`Retry-After`). Default 1024.
    pub waiting_joins: usize,
    /// How long a join waits before it is given an appointment. Default 5 s.
    pub join_patience: Duration,
    /// Bytes of join messages in memory at a time; over it 503 with an appointment. Default 64 MiB.
    pub message_bytes: usize,
    /// TLS handshakes at a time; further ones wait in turn, network by network. Default 256.
    pub concurrent_handshakes: usize,
    /// Open connections. When there are so many, whoever keeps the server waiting longest gives up its place to a newcomer.
    /// Default 10,000.
    pub connections: usize,
    /// A handshake that takes longer is given up. Default 10 s.
    pub handshake_timeout: Duration,
    /// A connection without a request for so long ends; a request's body that takes longer is given up; and in each
    /// stretch of this length 16 KiB of an answer have to leave. Default 15 s.
    pub read_timeout: Duration,
    /// An older connection takes no new request, and ends `request_timeout` later at the latest. Default 10 min.
    pub connection_age: Duration,
    /// A request that is not answered in this time is answered 503. Default 60 s (long polls wait no longer than five sixths of it).
    pub request_timeout: Duration,
    /// Proofs that a network may get wrong in ten minutes before its wrong ones are answered late. Default 5.
    pub wrong_proofs: u32,
    /// How many networks the limiter remembers, and (token, code) pairs the table of refusals: half of them
    /// of holders, half of strangers. Default 10,000.
    pub table: usize,
    /// Clients that a shared token may have on record; a new one over it is answered 503. At least 1; each further server on
    /// one store may add a tenth. Default 100,000.
    pub clients_per_token: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            concurrent_joins: 64,
            waiting_joins: 1024,
            join_patience: Duration::from_secs(5),
            message_bytes: 64 * 1024 * 1024,
            concurrent_handshakes: 256,
            connections: 10_000,
            handshake_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(15),
            connection_age: Duration::from_secs(600),
            request_timeout: Duration::from_secs(60),
            wrong_proofs: 5,
            table: 10_000,
            clients_per_token: 100_000,
        }
    }
}
