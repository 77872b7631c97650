//! The one place that knows how keys are spelt.
pub const TOKEN: &str = "token/";
pub const ENROLMENT: &str = "enrolment/";
pub const BOT: &str = "bot/";
pub const LOCK: &str = "lock/";
pub const EVENT: &str = "event/";
pub fn token(name: &str) -> String {
    format!("token/{name}")
}
/// By token name, so that the join path reads token and enrolment at once; removed with its token.
pub fn enrolment(token: &str) -> String {
    format!("enrolment/{token}")
}
pub fn instances(uid: &str) -> String {
    format!("instance/{uid}/")
}
pub fn instance(uid: &str, id: &str) -> String {
    format!("instance/{uid}/{id}")
}
pub fn bot(name: &str) -> String {
    format!("bot/{name}")
}
pub fn lock(id: &str) -> String {
    format!("lock/{id}")
}
/// `kind`: token, host, instance, bot. Holds every lock on that target (`LockIndex`); absence is a condition too.
pub fn lock_of(kind: &str, id: &str) -> String {
    format!("lock-of/{kind}/{id}")
}
/// Sortable: microseconds since 1970 in 20 digits, then the correlation id.
pub fn event(micros: i128, id: &str) -> String {
    format!("event/{micros:020}-{id}")
}
pub fn revoked(ca: &str, expires_unix: i64, serial: &str) -> String {
    format!("revoked/{ca}/{expires_unix:012}/{serial}")
}
pub fn authority(kind: &str) -> String {
    format!("ca/{kind}")
}
/// The cluster's name and the fingerprint of its master key.
pub const CLUSTER: &str = "meta/cluster";
/// Secrets that were used by a token since removed: they never register again.
pub fn used_secret(fingerprint: &str) -> String {
    format!("used-secret/{fingerprint}")
}
