//! Resources as administrators see them.

use boundkey_api::{Node, TokenSummary};
use boundkey_lifecycle::{Enrolment, Identity, LifecycleState, LockInForce, LockOrigin, View};
use boundkey_store::Revision;
use boundkey_store::records::{BotRecord, InstanceEntry, LockRecord, TokenRecord};
use boundkey_token::{RecoveryMode, Token};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::apply_token::with_secret;
use crate::{Refusal, Service, Slot};

/// A token with its status, as `get` prints it.
pub(super) fn token(
    service: &Service,
    record: &TokenRecord,
    enrolment: &Enrolment,
    revision: Option<Revision>,
    secrets: bool,
) -> Result<Value, Refusal> {
    let mut value = match secrets {
        true => with_secret(service, record)?.to_json(true),
        false => record.token.to_json(false),
    };
    set_revision(&mut value, revision);
    let mut status = status(enrolment);
    if secrets && let Some(sealed) = enrolment.secret.generated.as_ref().filter(|_| !enrolment.secret.used) {
        let slot = Slot::GeneratedSecret(record.token.name.as_str());
        let secret = service.open_secret(slot, sealed).map_err(Refusal::internal)?;
        status.insert("registration_secret".to_owned(), Value::from(secret.expose()));
    }
    value["status"] = json!({ "bound_keypair": status });
    Ok(value)
}

/// Facts of the enrolment alone: nothing that depends on the spec or the clock.
fn status(enrolment: &Enrolment) -> Map<String, Value> {
    let mut status = Map::new();
    let instance = match &enrolment.identity {
        Some(Identity::BotInstance(id)) => id.as_str(),
        _ => "",
    };
    status.insert("bound_bot_instance_id".to_owned(), instance.into());
    if let Some(Identity::Host(id)) = &enrolment.identity {
        status.insert("bound_host_id".to_owned(), id.as_str().into());
    }
    let key = enrolment.bound_public_key.as_ref().map(ToString::to_string).unwrap_or_default();
    status.insert("bound_public_key".to_owned(), key.into());
    status.insert("recovery_count".to_owned(), enrolment.recovery_count.into());
    if enrolment.granted_limit > 0 {
        status.insert("granted_limit".to_owned(), enrolment.granted_limit.into());
    }
    if enrolment.shared {
        status.insert("shared".to_owned(), true.into());
    }
    let times = [
        ("certificates_expire_at", enrolment.certificates_expire_at),
        ("last_joined_at", enrolment.last_joined_at),
        ("last_recovered_at", enrolment.last_recovered_at),
        ("last_rotated_at", enrolment.last_rotated_at),
        ("resync_until", enrolment.resync_until),
        ("rotate_requested_at", enrolment.rotate_requested_at),
    ];
    for (field, time) in times {
        if let Some(time) = time {
            status.insert(field.to_owned(), rfc3339(time).into());
        }
    }
    status
}

pub(super) fn rfc3339(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_else(|_| time.to_string())
}

fn set_revision(value: &mut Value, revision: Option<Revision>) {
    if let Some(revision) = revision {
        value["metadata"]["revision"] = revision.0.to_string().into();
    }
}

pub(super) fn bot(record: &BotRecord, revision: Option<Revision>) -> Value {
    let mut value = record.bot.to_json();
    set_revision(&mut value, revision);
    value
}

pub(super) fn lock(record: &LockRecord, revision: Option<Revision>) -> Value {
    let mut spec = Map::new();
    spec.insert("target".to_owned(), json!(record.target));
    let LockInForce { message, public_message, .. } = &record.lock;
    for (member, message) in [("message", message), ("public_message", public_message)] {
        if let Some(message) = message {
            spec.insert(member.to_owned(), message.as_str().into());
        }
    }
    if let Some(expires) = record.lock.expires {
        spec.insert("expires".to_owned(), rfc3339(expires).into());
    }
    let origin = match record.lock.origin {
        LockOrigin::ByHand => "by_hand",
        LockOrigin::Automatic(_) => "automatic",
    };
    let mut value = json!({
        "kind": "lock",
        "version": "v2",
        "metadata": { "name": record.lock.id },
        "spec": spec,
        "status": { "created_at": rfc3339(record.created_at), "origin": origin },
    });
    set_revision(&mut value, revision);
    value
}

/// A row of `tokens ls`.
pub(super) fn summary(view: &View<'_>) -> TokenSummary {
    let (token, enrolment) = (view.token, view.enrolment);
    let recovery = token.spec.bound_keypair.recovery;
    let limit = recovery.limit.max(enrolment.granted_limit);
    let counts = recovery.mode == RecoveryMode::Standard;
    let id = |wanted: fn(&Identity) -> Option<&String>| enrolment.identity.as_ref().and_then(wanted).cloned();
    TokenSummary {
        name: token.name.to_string(),
        roles: token.spec.roles.iter().map(|role| role.to_string()).collect(),
        state: view.state().as_str().to_owned(),
        bot_name: token.spec.bot_name.as_ref().map(ToString::to_string),
        mode: mode(recovery.mode).to_owned(),
        recovery_count: enrolment.recovery_count,
        recovery_limit: limit,
        recoveries_left: counts.then(|| limit.saturating_sub(enrolment.recovery_count)),
        host_id: id(|identity| match identity {
            Identity::Host(id) => Some(id),
            Identity::BotInstance(_) => None,
        }),
        bot_instance_id: id(|identity| match identity {
            Identity::BotInstance(id) => Some(id),
            Identity::Host(_) => None,
        }),
        hostname: Some(enrolment.facts.hostname.clone()).filter(|hostname| !hostname.is_empty()),
        last_joined_at: enrolment.last_joined_at,
        certificates_expire_at: enrolment.certificates_expire_at,
        expires: token.expires,
        runs_out: view.running_out(),
        labels: token.labels.clone(),
    }
}

fn mode(mode: RecoveryMode) -> &'static str {
    match mode {
        RecoveryMode::Standard => "standard",
        RecoveryMode::Relaxed => "relaxed",
        RecoveryMode::Insecure => "insecure",
    }
}

/// The host of a lineage, if it is one and has joined.
pub(super) fn node(token: &Token, enrolment: &Enrolment, state: LifecycleState) -> Option<Node> {
    let Some(Identity::Host(host_id)) = &enrolment.identity else { return None };
    Some(Node {
        token: token.name.to_string(),
        host_id: host_id.clone(),
        state: state.as_str().to_owned(),
        hostname: enrolment.facts.hostname.clone(),
        roles: enrolment.facts.roles.iter().map(|role| role.to_string()).collect(),
        version: enrolment.facts.version.clone(),
        last_joined_at: enrolment.last_joined_at?,
        certificates_expire_at: enrolment.certificates_expire_at,
        labels: token.labels.clone(),
    })
}

/// A further host of a shared lineage.
pub(super) fn shared_node(token: &Token, instance: &InstanceEntry, state: LifecycleState) -> Option<Node> {
    let Identity::Host(host_id) = &instance.record.identity else { return None };
    Some(Node {
        token: token.name.to_string(),
        host_id: host_id.clone(),
        state: state.as_str().to_owned(),
        hostname: instance.record.facts.hostname.clone(),
        roles: instance.record.facts.roles.iter().map(|role| role.to_string()).collect(),
        version: instance.record.facts.version.clone(),
        last_joined_at: instance.record.last_joined_at,
        certificates_expire_at: Some(instance.record.certificates_expire_at),
        labels: token.labels.clone(),
    })
}
