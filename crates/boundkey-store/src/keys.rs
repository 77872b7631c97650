//! The one place that knows how keys are spelt.

/// Prefix of all tokens.
pub const TOKEN: &str = "token/";
/// Prefix of all enrolments.
pub const ENROLMENT: &str = "enrolment/";
/// Prefix of all bots.
pub const BOT: &str = "bot/";
/// Prefix of all locks.
pub const LOCK: &str = "lock/";
/// Prefix of what is locked.
pub const LOCK_OF: &str = "lock-of/";
/// Prefix of the audit log.
pub const EVENT: &str = "event/";
/// Prefix of all revoked certificates.
pub const REVOKED: &str = "revoked/";
/// The cluster's name and the fingerprint of its master key.
pub const CLUSTER: &str = "meta/cluster";
/// The signed CA bundle.
pub const CA_BUNDLE: &str = "meta/ca-bundle";

/// A token, by its name.
pub fn token(name: &str) -> String {
    format!("{TOKEN}{name}")
}

/// By token name, so that the join path reads token and enrolment at once; removed with its token.
pub fn enrolment(token: &str) -> String {
    format!("{ENROLMENT}{token}")
}

/// Prefix of all instances of a shared token, by its uid.
pub fn instances(uid: &str) -> String {
    format!("instance/{uid}/")
}

/// One instance of a shared token.
pub fn instance(uid: &str, id: &str) -> String {
    format!("instance/{uid}/{id}")
}

/// Prefix of all marks by which something was revoked as a whole, and is not swept yet.
pub const VOID: &str = "void/";
/// Prefix of those on tokens, by uid.
pub const VOID_TOKEN: &str = "void/token/";
/// Prefix of those on bots, by name.
pub const VOID_BOT: &str = "void/bot/";

/// The mark on the clients of a shared token, by its uid.
pub fn void_token(uid: &str) -> String {
    format!("{VOID_TOKEN}{uid}")
}

/// The mark on everything that the tokens of a bot were issued.
pub fn void_bot(name: &str) -> String {
    format!("{VOID_BOT}{name}")
}

/// How far the sweep behind a mark has come, by the mark's key.
pub fn swept(mark: &str) -> String {
    format!("swept/{}", mark.strip_prefix(VOID).unwrap_or(mark))
}

/// A bot, by its name.
pub fn bot(name: &str) -> String {
    format!("{BOT}{name}")
}

/// A lock, by its id.
pub fn lock(id: &str) -> String {
    format!("{LOCK}{id}")
}

/// `kind`: token, host, instance, bot. Holds every lock on that target
/// ([`LockIndex`](crate::records::LockIndex)); absence is a condition too.
pub fn lock_of(kind: &str, id: &str) -> String {
    format!("{LOCK_OF}{kind}/{id}")
}

/// Sortable: microseconds since 1970 in 20 digits, then the correlation id.
pub fn event(micros: i128, id: &str) -> String {
    format!("{EVENT}{micros:020}-{id}")
}

/// When an event happened, by its key.
pub fn event_time(key: &str) -> Option<time::OffsetDateTime> {
    let (micros, _) = key.strip_prefix(EVENT)?.split_once('-')?;
    time::OffsetDateTime::from_unix_timestamp_nanos(micros.parse::<i128>().ok()?.checked_mul(1000)?).ok()
}

/// A revoked certificate, sorted by the second in which it expires.
pub fn revoked(ca: &str, expires_unix: i64, serial: &str) -> String {
    format!("{REVOKED}{ca}/{expires_unix:012}/{serial}")
}

/// The key of a certificate authority, by its kind.
pub fn authority(kind: &str) -> String {
    format!("ca/{kind}")
}

/// Secrets that were used by a token since removed: they never register again.
pub fn used_secret(fingerprint: &str) -> String {
    format!("used-secret/{fingerprint}")
}
