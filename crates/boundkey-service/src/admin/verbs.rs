//! The administrator's verbs on an enrolment: they change what the server remembers, never the spec.

use std::time::Duration;

use async_trait::async_trait;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, Query, State};
use boundkey_api::{ExplainAnswer, NextStep, VerbAnswer, VerbRequest};
use boundkey_lifecycle::{Verb, View, apply_verb};
use boundkey_store::records::{EnrolmentRecord, TokenRecord};
use boundkey_token::RecoveryMode;
use serde::Deserialize;

use super::cut_off::{self, Confirm, Watched};
use super::plan::{Operation, Plan, carry_out, token_keys};
use super::{apply_token, body, locks, missing, row};
use crate::revocation::Settled;
use crate::{Entry, Refusal, RequestContext, Service, Slot};

/// How long a resync grant stays open unless told.
const RESYNC_TTL: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    GrantRecovery,
    Rotate,
    Resync,
    Revoke,
    Reset,
}

impl Kind {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "grant-recovery" => Self::GrantRecovery,
            "rotate" => Self::Rotate,
            "resync" => Self::Resync,
            "revoke" => Self::Revoke,
            "reset" => Self::Reset,
            _ => return None,
        })
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::GrantRecovery => "grant-recovery",
            Self::Rotate => "rotate",
            Self::Resync => "resync",
            Self::Revoke => "revoke",
            Self::Reset => "reset",
        }
    }
}

struct Carry<'a> {
    name: &'a str,
    kind: Kind,
    request: &'a VerbRequest,
    query: &'a VerbQuery,
}

#[async_trait]
impl Operation for Carry<'_> {
    type Answer = VerbAnswer;

    async fn plan(&self, plan: &mut Plan<'_>) -> Result<VerbAnswer, Refusal> {
        let (token_key, enrolment_key) = token_keys(self.name);
        plan.load(&[&token_key, &enrolment_key]).await?;
        let Some(record) = plan.get::<TokenRecord>(&token_key).await? else {
            return Err(missing(plan.service, "token", self.name).await);
        };
        let names = [self.name.to_owned()];
        let watched = Watched::new(&names);
        let Settled { enrolment, unlisted } = plan.enrolment(&record).await?.unwrap_or_default();
        let (verb, secret) = self.verb(plan).await?;
        let identity = enrolment.identity.as_ref().map(|identity| identity.id().to_owned());
        let code = verb.event_code();
        let outcome = apply_verb(&record.token, &enrolment, verb, plan.now);
        if self.kind == Kind::Reset {
            apply_token::remember_used_secret(plan, self.name, &enrolment)?;
        }
        let mut changed = false;
        if outcome.remove_automatic_lock {
            changed |= locks::remove_automatic(plan, self.name).await?;
        }
        plan.revoke(&outcome.revoke);
        if let Some(next) = outcome.next {
            changed = true;
            plan.list(&unlisted);
            plan.put(&enrolment_key, &EnrolmentRecord { uid: record.uid, enrolment: next });
        }
        // Once more revokes whoever has joined since; without anybody there is nothing to do.
        if outcome.revoke_all_instances && (changed || plan.has_clients(record.uid).await?) {
            changed = true;
            plan.void_clients(record.uid, self.name);
        }
        let what = format!("bound-keypair {} {}", self.kind.as_str(), self.name);
        cut_off::require(&self.query.confirm, &what, &watched.hits(plan).await?)?;
        let after = row::planned(plan, &names).await?;
        let mut message = self.message(changed, after.first().map(|row| row.view(plan.service, plan.now)));
        message.push_str(plan.listing());
        if changed {
            plan.event(Entry {
                code: code.as_str().to_owned(),
                token: Some(self.name.to_owned()),
                identity,
                detail: self.done(),
                ..Entry::default()
            });
        }
        let registration_secret = secret.filter(|_| self.query.secrets && changed);
        Ok(VerbAnswer { changed, message, registration_secret })
    }
}

impl Carry<'_> {
    async fn verb(&self, plan: &Plan<'_>) -> Result<(Verb, Option<String>), Refusal> {
        Ok(match self.kind {
            Kind::GrantRecovery => {
                let count = self.request.count.unwrap_or(1);
                if count == 0 {
                    return Err(Refusal::new(422, "invalid_request", "count is 0; allowed: 1 or more"));
                }
                (Verb::GrantRecovery { count }, None)
            }
            Kind::Rotate => (Verb::Rotate { at: self.request.at }, None),
            Kind::Resync => {
                let ttl = self.request.ttl_seconds.map_or(RESYNC_TTL, Duration::from_secs);
                (Verb::Resync { ttl, keep_key: self.request.keep_key }, None)
            }
            Kind::Revoke => (Verb::Revoke, None),
            Kind::Reset => {
                let fresh = apply_token::generated(plan.service, self.name).await;
                let (Some(generated), Some(proof_key)) = (fresh.generated, fresh.proof_key) else {
                    return Err(Refusal::internal("a generated secret has both its parts"));
                };
                let slot = Slot::GeneratedSecret(self.name);
                let secret = plan.service.open_secret(slot, &generated).map_err(Refusal::internal)?;
                (Verb::Reset { generated, proof_key }, Some(secret.expose().to_owned()))
            }
        })
    }

    /// What was done, and what the next join comes to now.
    fn message(&self, changed: bool, after: Option<View<'_>>) -> String {
        let name = self.name;
        let done = if changed { self.done() } else { format!("nothing was left to do for token/{name}") };
        match after {
            Some(after) => {
                format!("{done}; {}{}", cut_off::next_join(&after), self.of_static_keys(changed, &after))
            }
            None => done,
        }
    }

    /// Nothing that is on record tells whether a key is static. In `insecure` no rotation stops one.
    fn of_static_keys(&self, changed: bool, after: &View<'_>) -> &'static str {
        let stops = after.token.spec.bound_keypair.recovery.mode != RecoveryMode::Insecure;
        match self.kind {
            Kind::Rotate if changed && stops => {
                "; a machine with a static key is refused then, for it makes no key by itself"
            }
            Kind::Resync if changed && stops && !self.request.keep_key => {
                "; a machine with a static key is refused, for it makes no key by itself: for one, say --keep-key from the start"
            }
            _ => "",
        }
    }

    fn done(&self) -> String {
        let name = self.name;
        match self.kind {
            Kind::GrantRecovery => match self.request.count.unwrap_or(1) {
                1 => format!("token/{name} may recover once more"),
                count => format!("token/{name} may recover {count} more times"),
            },
            Kind::Rotate => match self.request.at {
                Some(at) => format!(
                    "token/{name} rotates its key at the first join after {}",
                    super::view::rfc3339(at)
                ),
                None => format!("token/{name} rotates its key at the next join"),
            },
            Kind::Resync => format!("the next live join with the bound key of token/{name} is taken back"),
            Kind::Revoke => {
                format!("the certificates of token/{name} are revoked")
            }
            Kind::Reset => format!(
                "token/{name} is unbound and all it was issued is revoked; a new registration secret is in force \
                 (`get token/{name} --with-secrets`)"
            ),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct VerbQuery {
    secrets: bool,
    confirm: Confirm,
}

impl VerbQuery {
    /// Whomever it hits; and the new secret is told.
    pub(super) fn confirmed() -> Self {
        Self { secrets: true, confirm: Confirm::Anybody }
    }
}

/// `POST /v1/tokens/NAME/{grant-recovery|rotate|resync|revoke|reset}`
pub(super) async fn verb(
    State(service): State<Service>,
    Extension(context): Extension<RequestContext>,
    Path((name, verb)): Path<(String, String)>,
    Query(query): Query<VerbQuery>,
    bytes: Bytes,
) -> Result<Json<VerbAnswer>, Refusal> {
    let request: VerbRequest = body(&bytes)?;
    Ok(Json(carry(&service, &context, &name, &verb, &request, &query).await?))
}

pub(super) async fn carry(
    service: &Service,
    context: &RequestContext,
    name: &str,
    verb: &str,
    request: &VerbRequest,
    query: &VerbQuery,
) -> Result<VerbAnswer, Refusal> {
    let kind = Kind::parse(verb).ok_or_else(|| {
        Refusal::new(
            404,
            "not_found",
            format!("{verb} is not a verb; allowed: grant-recovery, rotate, resync, revoke, reset, explain"),
        )
    })?;
    carry_out(service, context, &Carry { name, kind, request, query }).await
}

/// `POST /v1/tokens/NAME/explain`: what would happen at the next join, and why. Changes nothing.
pub(super) async fn explain(
    State(service): State<Service>,
    Path(name): Path<String>,
) -> Result<Json<ExplainAnswer>, Refusal> {
    let now = service.now();
    let Some(row) = row::of_token(&service, &name, now).await? else {
        return Err(missing(&service, "token", &name).await);
    };
    let explained = row.view(&service, now).explain();
    Ok(Json(ExplainAnswer {
        state: explained.state.as_str().to_owned(),
        next_join: explained.next_join,
        reasons: explained.reasons,
        warnings: explained.warnings,
        next_step: NextStep { text: explained.next_step.text, commands: explained.next_step.commands },
    }))
}
