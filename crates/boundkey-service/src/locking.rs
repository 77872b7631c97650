//! Locks in the store: the lock itself, and the index by which a join finds it.

use boundkey_lifecycle::{LockInForce, Uid};
use boundkey_store::records::{LockIndex, LockRecord};
use boundkey_store::{Write, keys};
use boundkey_token::LockTarget;

use crate::loaded::put;

/// The index of all locks on a target: `lock-of/KIND/ID`.
pub fn index_key(target: &LockTarget) -> String {
    match target {
        LockTarget::Token(name) => keys::lock_of("token", name),
        LockTarget::Bot(name) => keys::lock_of("bot", name),
        LockTarget::Host(id) => keys::lock_of("host", id),
        LockTarget::BotInstance(id) => keys::lock_of("instance", id),
    }
}

/// The id of a token's automatic lock: one for each token, so that it cannot double.
pub fn automatic_id(uid: Uid) -> String {
    format!("auto-{uid}")
}

/// The writes that set a lock (or replace the one of the same id), given the index as it was read. The batch must be
/// conditional on that index.
pub fn set(lock: &LockRecord, index: Option<&LockIndex>) -> Vec<Write> {
    let mut index = index.cloned().unwrap_or_default();
    index.locks.retain(|present| present.id != lock.lock.id);
    index.locks.push(lock.lock.clone());
    vec![put(keys::lock(&lock.lock.id), lock), put(index_key(&lock.target), &index)]
}

/// The writes that remove a lock, given the index as it was read, under its key. The batch must be conditional on
/// that index. Nothing to do if the index does not hold it.
pub fn remove(id: &str, index_key: &str, index: &LockIndex) -> Vec<Write> {
    let rest: Vec<LockInForce> = index.locks.iter().filter(|lock| lock.id != id).cloned().collect();
    if rest.len() == index.locks.len() {
        return Vec::new();
    }
    let of_target = if rest.is_empty() {
        Write::Delete { key: index_key.to_owned() }
    } else {
        put(index_key, &LockIndex { locks: rest })
    };
    vec![Write::Delete { key: keys::lock(id) }, of_target]
}
