//! Applying a token: the spec is the user's and is stored as written; the enrolment is the server's and changes only
//! while no machine is bound, and only by new onboarding values.

use std::collections::{BTreeSet, HashMap, HashSet};

use boundkey_api::Applied;
use boundkey_keys::{Secret, Thumbprint};
use boundkey_lifecycle::{Enrolment, SecretRecord, Uid};
use boundkey_proto::ProblemViolation;
use boundkey_store::keys;
use boundkey_store::records::{BotRecord, EnrolmentRecord, Record, RevokedRecord, TokenRecord};
use boundkey_token::{Resource, SpecSecret, Token};

use super::apply::may_write;
use super::plan::{Pages, Plan, token_keys};
use super::view;
use crate::{Entry, Refusal, Service, Slot};

/// Plans the creation of a token, or its update in place.
pub(super) async fn apply(plan: &mut Plan<'_>, token: &Token, update: bool) -> Result<Applied, Refusal> {
    let name = token.name.as_str();
    let (token_key, enrolment_key) = token_keys(name);
    plan.load(&[&token_key, &enrolment_key]).await?;
    let old = plan.get::<TokenRecord>(&token_key).await?;
    may_write(plan, "token", name, &token_key, token.revision.as_deref(), update)?;
    let mut warnings = token.warnings(plan.now);
    if let Some(bot) = &token.spec.bot_name
        && plan.get::<BotRecord>(&keys::bot(bot.as_str())).await?.is_none()
    {
        warnings.push(format!(
            "spec.bot_name: bot/{bot} does not exist yet; joins are denied until it does (`bots add {bot}`)"
        ));
    }
    let secret = token.spec.bound_keypair.onboarding.registration_secret.as_ref().map(|s| &s.0);
    let (record, enrolment, changed) = match &old {
        None => create(plan, token, secret).await?,
        Some(old) => change(plan, token, secret, old, &mut warnings).await?,
    };
    if changed {
        plan.put(&token_key, &record);
        plan.event(Entry {
            code: if old.is_none() { "token_created" } else { "token_updated" }.to_owned(),
            token: Some(name.to_owned()),
            detail: format!("token {name} was {}", if old.is_none() { "created" } else { "updated" }),
            ..Entry::default()
        });
    }
    let shown = enrolment.unwrap_or_default();
    let resource = view::token(plan.service, &record, &shown, plan.revision(&token_key), false)?;
    Ok(Applied { created: old.is_none(), changed, resource, warnings })
}

/// One key in two tokens makes one machine of them, mostly by a mistake of copying. A look at all tokens, where the file
/// has keys at all.
pub(super) async fn warn_of_shared_keys(
    plan: &Plan<'_>,
    resources: &[Resource],
    applied: &mut [Applied],
) -> Result<(), Refusal> {
    let initial_key =
        |token: &Token| Some(token.spec.bound_keypair.onboarding.initial_public_key.as_ref()?.thumbprint());
    let has_key =
        |resource: &Resource| matches!(resource, Resource::Token(token) if initial_key(token).is_some());
    if !resources.iter().any(has_key) {
        return Ok(());
    }
    let mut holders: HashMap<Thumbprint, BTreeSet<String>> = HashMap::new();
    let mut hold = |token: &Token| {
        if let Some(key) = initial_key(token) {
            holders.entry(key).or_default().insert(token.name.to_string());
        }
    };
    let named: HashSet<&str> = resources.iter().map(Resource::name).collect();
    let mut pages = Pages::of(keys::TOKEN);
    while let Some(entries) = pages.next(plan.service, plan.now).await? {
        for entry in entries {
            let token = TokenRecord::decode(&entry.value)?.token;
            if !named.contains(token.name.as_str()) {
                hold(&token);
            }
        }
    }
    let tokens = || {
        resources.iter().zip(0..).filter_map(|(resource, at)| match resource {
            Resource::Token(token) => Some((token, at)),
            Resource::Bot(_) | Resource::Lock(_) => None,
        })
    };
    tokens().for_each(|(token, _)| hold(token));
    for (token, at) in tokens() {
        let Some(holders) = initial_key(token).and_then(|key| holders.get(&key)) else { continue };
        let others: Vec<&str> =
            holders.iter().map(String::as_str).filter(|name| *name != token.name.as_str()).collect();
        if let (Some(first), Some(applied)) = (others.first(), applied.get_mut::<usize>(at)) {
            let more = match others.len() - 1 {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            applied.warnings.push(format!(
                "spec.bound_keypair.onboarding.initial_public_key is also that of token/{first}{more}: give each machine a \
                 key of its own"
            ));
        }
    }
    Ok(())
}

type Planned = (TokenRecord, Option<Enrolment>, bool);

async fn create(plan: &mut Plan<'_>, token: &Token, secret: Option<&Secret>) -> Result<Planned, Refusal> {
    let mut uid = [0; 16];
    plan.service.entropy().fill(&mut uid);
    let uid = Uid(uid);
    let record = TokenRecord {
        uid,
        created_at: plan.now,
        token: without_secret(token),
        sealed_secret: secret.map(|s| plan.service.seal_secret(Slot::TokenSecret(token.name.as_str()), s)),
    };
    let secrets = secrets_in_force(plan, token, secret, &[]).await?;
    let enrolment = secrets.map(|secret| Enrolment { secret, ..Enrolment::default() });
    if let Some(enrolment) = &enrolment {
        let stored = EnrolmentRecord { uid, enrolment: enrolment.clone() };
        plan.put(keys::enrolment(token.name.as_str()), &stored);
    }
    Ok((record, enrolment, true))
}

async fn change(
    plan: &mut Plan<'_>,
    token: &Token,
    secret: Option<&Secret>,
    old: &TokenRecord,
    warnings: &mut Vec<String>,
) -> Result<Planned, Refusal> {
    let name = token.name.as_str();
    if token.spec.bot_name != old.token.spec.bot_name {
        plan.refuse_under_a_mark([&old.token, token]).await?;
    }
    let enrolment_key = keys::enrolment(name);
    let stored = plan.get::<EnrolmentRecord>(&enrolment_key).await?;
    let enrolment = stored.map(|stored| stored.enrolment);
    let held = open_spec_secret(plan.service, old)?;
    // A file without the secret leaves it as it is: `get` prints none, so what it printed may be applied again.
    let secret_changed = secret.is_some_and(|secret| held.as_ref() != Some(secret));
    let sealed_secret = match secret {
        Some(secret) if secret_changed => Some(plan.service.seal_secret(Slot::TokenSecret(name), secret)),
        _ => old.sealed_secret.clone(),
    };
    let record = TokenRecord { token: without_secret(token), sealed_secret, ..old.clone() };
    let changed = record != *old;
    let key_changed = token.spec.bound_keypair.onboarding.initial_public_key
        != old.token.spec.bound_keypair.onboarding.initial_public_key;
    if !secret_changed && !key_changed {
        return Ok((record, enrolment, changed));
    }
    if enrolment.as_ref().is_some_and(Enrolment::is_bound) {
        warnings.push(format!(
            "spec.bound_keypair.onboarding: {name} is bound, so a changed secret or initial key has no effect; to \
             bind another machine use `bound-keypair reset {name}`"
        ));
        return Ok((record, enrolment, changed));
    }
    let before = enrolment.as_ref().map(|e| e.secret.clone()).unwrap_or_default();
    // `reset` voided the spec's secret: it stays void until it is replaced, and the generated one stays in force.
    let spec_void = before.spec_void && !secret_changed;
    let in_force = secret.or(held.as_ref()).filter(|_| !spec_void);
    let secrets = match secrets_in_force(plan, token, in_force, &before.void_keys).await? {
        Some(_) if spec_void && before.generated.is_some() => before,
        secrets => SecretRecord { void_keys: before.void_keys, spec_void, ..secrets.unwrap_or_default() },
    };
    let next = Enrolment { secret: secrets, ..enrolment.unwrap_or_default() };
    plan.put(&enrolment_key, &EnrolmentRecord { uid: old.uid, enrolment: next.clone() });
    Ok((record, Some(next), changed))
}

/// What the enrolment of an unbound token has to hold: nothing if an initial key is given (it wins), else the proof key
/// of the spec's secret, else a generated secret with its proof key.
async fn secrets_in_force(
    plan: &mut Plan<'_>,
    token: &Token,
    secret: Option<&Secret>,
    void_keys: &[Thumbprint],
) -> Result<Option<SecretRecord>, Refusal> {
    let name = token.name.as_str();
    // A key that `reset` unbound registers nothing: such a token still needs a secret.
    let initial_key = token.spec.bound_keypair.onboarding.initial_public_key.as_ref();
    if initial_key.is_some_and(|key| !void_keys.contains(&key.thumbprint())) {
        return Ok(None);
    }
    let Some(secret) = secret else { return Ok(Some(generated(plan.service, name).await)) };
    let proof_key = plan.service.sealed_proof_key(name, secret).await;
    let opened = plan.service.open(Slot::ProofKey(name), &proof_key).map_err(Refusal::internal)?;
    let marks = plan.service.used_secret_keys(&opened);
    plan.load(&marks.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let mut used = false;
    for mark in &marks {
        used |= plan.get::<RevokedRecord>(mark).await?.is_some();
    }
    if used {
        let violation = ProblemViolation {
            path: "spec.bound_keypair.onboarding.registration_secret".to_owned(),
            found: "a secret that an earlier token of this name has used".to_owned(),
            allowed: "a secret that was never used, or none (one is generated)".to_owned(),
        };
        return Err(Refusal::new(
            422,
            "secret_used",
            "this registration secret was used before; choose another",
        )
        .violations(vec![violation]));
    }
    Ok(Some(SecretRecord { proof_key: Some(proof_key), ..SecretRecord::default() }))
}

/// A new generated secret, sealed, with its proof key.
pub(super) async fn generated(service: &Service, name: &str) -> SecretRecord {
    let secret = service.generate_secret();
    SecretRecord {
        generated: Some(service.seal_secret(Slot::GeneratedSecret(name), &secret)),
        proof_key: Some(service.sealed_proof_key(name, &secret).await),
        ..SecretRecord::default()
    }
}

/// A secret that was used stays known, by its fingerprint alone, when its enrolment ends: it never registers again.
pub(super) fn remember_used_secret(
    plan: &mut Plan<'_>,
    name: &str,
    enrolment: &Enrolment,
) -> Result<(), Refusal> {
    if let (true, Some(proof_key)) = (enrolment.secret.used, &enrolment.secret.proof_key) {
        let opened = plan.service.open(Slot::ProofKey(name), proof_key).map_err(Refusal::internal)?;
        let fingerprint = plan.service.secret_fingerprint(&opened);
        let marker = RevokedRecord { revoked_at: plan.now, expires_at: plan.now };
        plan.put(keys::used_secret(&fingerprint), &marker);
    }
    Ok(())
}

/// The spec's secret, opened.
pub(super) fn open_spec_secret(service: &Service, record: &TokenRecord) -> Result<Option<Secret>, Refusal> {
    let slot = Slot::TokenSecret(record.token.name.as_str());
    record
        .sealed_secret
        .as_ref()
        .map(|sealed| service.open_secret(slot, sealed))
        .transpose()
        .map_err(Refusal::internal)
}

fn without_secret(token: &Token) -> Token {
    let mut token = token.clone();
    token.revision = None;
    token.spec.bound_keypair.onboarding.registration_secret = None;
    token
}

/// The token with its secret put back, as its owner wrote it.
pub(super) fn with_secret(service: &Service, record: &TokenRecord) -> Result<Token, Refusal> {
    let mut token = record.token.clone();
    token.spec.bound_keypair.onboarding.registration_secret =
        open_spec_secret(service, record)?.map(SpecSecret);
    Ok(token)
}
