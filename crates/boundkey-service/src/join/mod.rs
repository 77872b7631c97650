//! The join loop: read, decide, commit, sign. No HTTP and no runtime: a simulation may drive it on a `MemoryStore`.
//!
//! ```text
//!  body -> receive -> read (one consistent read of all that the decision depends on)
//!                       |            ^
//!                       v            | conflict: read and decide again, at most 8 times
//!                    decide -> commit (conditional on every revision that was read)
//!                                |
//!                                v
//!                     sign (serials were fixed by the commit) -> answer
//! ```

mod clients;
mod commit;
mod issue;
mod ledger;
mod read;
mod refusals;
mod secret;
mod tally;

use std::sync::Arc;
use std::time::Duration;

use boundkey_lifecycle::{Admission, BACK_DATED, Code, Denial, Input, JoinKind, Verdict, Write, decide};
use boundkey_proto::{
    BeginAnswer, JoinAnswer, JoinKindName, JoinResult, Received, SUPPORTED_VERSIONS, result_digest,
    seal_state, sign_receipt,
};
use boundkey_store::CommitError;
use time::OffsetDateTime;

use crate::admission::{Bounds, Entrance, Held, SharedShares, Source, TurnedAway, WrongProofs};
use crate::spate::Kind;
use crate::{Clock, Limits, Refusal, RequestContext, Service};
pub(crate) use clients::Clients;
use read::Snapshot;
pub(crate) use read::lock_of_identity;
#[cfg(test)]
pub(crate) use refusals::forget_refusals;
pub use refusals::{flush_all_refusals, flush_refusals};

/// How often a join that lost a race is decided anew before the client is asked to come again.
const ATTEMPTS: usize = 8;

/// What all joins of a service share; everything in it is bounded and may be lost at any time.
pub(crate) struct Joins {
    entrance: Entrance,
    limiter: WrongProofs,
    refusals: refusals::Refusals,
    derived: secret::DerivedKeys,
    messages: SharedShares,
    held: SharedShares,
    clients: Clients,
}

impl Joins {
    pub(crate) fn new(limits: &Limits, clock: Arc<dyn Clock>) -> Self {
        let bounds = Bounds {
            at_once: limits.concurrent_joins,
            queue: limits.waiting_joins,
            patience: limits.join_patience,
        };
        Self {
            entrance: Entrance::new(bounds, clock),
            limiter: WrongProofs::new(limits.wrong_proofs, limits.table),
            refusals: refusals::Refusals::new(limits.table),
            derived: secret::DerivedKeys::default(),
            messages: SharedShares::new(limits.message_bytes),
            // An answer that is held keeps its connection: half of them stay for others.
            held: SharedShares::new(limits.connections / 2),
            clients: Clients::new(limits.clients_per_token, limits.table),
        }
    }

    /// How many clients shared tokens have.
    pub(crate) fn clients(&self) -> &Clients {
        &self.clients
    }

    /// The gate of all joins.
    pub(crate) fn entrance(&self) -> &Entrance {
        &self.entrance
    }

    /// Waits, unless too many wait already: then the answer goes out at once.
    pub(crate) async fn hold(&self, source: Source, time: Duration) {
        if let Some(_held) = self.held.take(source, 1) {
            tokio::time::sleep(time).await;
        }
    }
}

/// Room in memory for a join's message of so many bytes, until it is answered.
///
/// # Errors
/// There is none: 503 with an appointment.
pub(crate) fn make_room(service: &Service, bytes: usize, context: &RequestContext) -> Result<Held, Refusal> {
    let joins = service.joins();
    joins.messages.take(Source::of(context.source), bytes).ok_or_else(|| {
        let trusted = joins.limiter.trusts(Source::of(context.source), service.now());
        overloaded(&joins.entrance.turn_away(trusted, lot(service)))
    })
}

/// A random number.
fn lot(service: &Service) -> u64 {
    let mut bytes = [0; 8];
    service.entropy().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

fn overloaded(told: &TurnedAway) -> Refusal {
    let (seconds, all) = (told.retry_after.as_secs(), told.all_within.as_secs());
    Refusal::new(
        503,
        "overloaded",
        format!(
            "the server works on as many joins as it may: ask again in {seconds} s; as things stand, all who were asked \
             so are served within {all} s"
        ),
    )
    .retry_after(seconds)
}

/// Whoever has to ask again for a reason that others have too must not do so together with them.
fn spread(service: &Service, refusal: Refusal) -> Refusal {
    /// Seconds, drawn by lot.
    const SPREAD: u64 = 8;
    match refusal.problem.retry_after {
        Some(1) if refusal.problem.status == 503 => refusal.retry_after(1 + lot(service) % SPREAD),
        _ => refusal,
    }
}

/// The answer to `POST /v1/join/begin`: a fresh challenge. Reads no store and keeps nothing.
pub fn begin(service: &Service, now: OffsetDateTime) -> BeginAnswer {
    BeginAnswer { challenge: challenge(service, None, now), versions: SUPPORTED_VERSIONS.to_vec() }
}

fn challenge(
    service: &Service,
    position: Option<boundkey_lifecycle::Position>,
    now: OffsetDateTime,
) -> String {
    let mut nonce = [0; 32];
    service.entropy().fill(&mut nonce);
    boundkey_proto::issue_challenge(service.cluster(), service.master(), nonce, position, now)
}

/// Answers that tell nothing go out whole steps after their messages came.
const STEP: Duration = Duration::from_millis(20);

/// From when an answer is ready until its next step: so the microseconds that it takes to look at a token that exists do
/// not show.
pub(crate) fn until_next_step(took: Duration) -> Duration {
    let over = took.as_nanos() % STEP.as_nanos();
    STEP - Duration::from_nanos(u64::try_from(over).unwrap_or(0))
}

/// A refused join: the problem to answer, and how long the answer is to be held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What the client is told.
    pub refusal: Refusal,
    /// Wrong proofs in a row are answered late; everything else at once. Whoever has sockets does the waiting.
    pub hold: Duration,
    /// The peer proved nothing: how long the answer took would tell it what was found.
    pub blur: bool,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, hold: Duration::ZERO, blur: false }
    }
}

/// The answer to `POST /v1/join/complete`.
///
/// # Errors
/// The join is refused, the message is malformed, the store does not answer, or too many joins run at a time.
pub async fn complete(
    service: &Service,
    body: &[u8],
    context: &RequestContext,
    now: OffsetDateTime,
) -> Result<JoinAnswer, Refused> {
    let joins = service.joins();
    let trusted = joins.limiter.trusts(Source::of(context.source), now);
    let _pass = joins
        .entrance
        .enter(Source::of(context.source), trusted, || lot(service))
        .await
        .map_err(|told| overloaded(&told))?;
    check_clock(service, now).map_err(|refusal| spread(service, refusal))?;
    let received = match boundkey_proto::receive_complete(body, service.cluster(), service.master(), now) {
        Ok(received) => received,
        Err(error) => {
            // An outlived challenge is a slow client's; everything else is garbage or forged.
            let hold = if Refusal::from_proto(&error).problem.is_final() {
                joins.limiter.wrong(Source::of(context.source), now)
            } else {
                Duration::ZERO
            };
            return Err(Refused { refusal: Refusal::from_proto(&error), hold, blur: false });
        }
    };
    for _ in 0..ATTEMPTS {
        match one_round(service, &received, context, now).await {
            Ok(answer) => return Ok(answer),
            Err(Lost::Race(key)) => {
                tracing::debug!(correlation_id = %context.correlation, %key, "decided anew")
            }
            Err(Lost::Refused(mut refused)) => {
                refused.refusal = spread(service, refused.refusal);
                return Err(*refused);
            }
        }
    }
    let busy = Refusal::new(503, "busy", "this token's records change too fast; ask again").retry_after(1);
    Err(spread(service, busy).into())
}

/// Outside the life of the cluster's CAs no certificate can be signed, and what a join recorded would be wrong for years.
/// It is this server's clock that is wrong, so the agent is told to wait, not that it is refused.
fn check_clock(service: &Service, now: OffsetDateTime) -> Result<(), Refusal> {
    let (from, until) = service.authorities().host.validity();
    if from <= now - BACK_DATED && now < until {
        return Ok(());
    }
    let (now, from, until) = (crate::rfc3339(now), crate::rfc3339(from), crate::rfc3339(until));
    tracing::error!(
        now,
        from,
        until,
        "no join can be answered: this server's clock is outside the life of its CAs; set it"
    );
    let detail = format!(
        "the server's clock says {now}, and the cluster's CAs are valid from {from} until {until}: set the server's clock; \
         the agent tries again by itself"
    );
    Err(Refusal::new(503, "server_clock", detail).retry_after(60))
}

/// Why a round gave no answer.
enum Lost {
    /// A record that was read had changed when the decision was to be written.
    Race(String),
    Refused(Box<Refused>),
}

impl From<Refusal> for Lost {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal.into()))
    }
}

async fn one_round(
    service: &Service,
    received: &Received,
    context: &RequestContext,
    now: OffsetDateTime,
) -> Result<JoinAnswer, Lost> {
    let snapshot = Snapshot::read(service, received, now).await?;
    let secret = secret::evidence(service, received, &snapshot, now).await?;
    let evidence = received.evidence(secret);
    let locks = snapshot.locks();
    let verdict = decide(&Input {
        cluster: service.cluster(),
        token: snapshot.token.as_ref().map(|t| (t.uid, &t.token)),
        enrolment: &snapshot.enrolment,
        instance: snapshot.instance.as_ref().map(|i| &i.record),
        bot: snapshot.bot.as_ref().map(|b| &b.bot),
        evidence: &evidence,
        locks: &locks,
        fresh: &snapshot.fresh,
        lifetime: snapshot.lifetime,
        policy: &service.config().policy,
        now,
    });
    let joining = Joining { service, received, snapshot: &snapshot, context, now };
    match verdict {
        Verdict::Admit(mut admission) => {
            service.joins().limiter.right(Source::of(context.source), now);
            let planned = issue::Planned::of_admission(&joining, &admission)?;
            planned.check(&joining).map_err(|error| {
                Refusal::new(
                    422,
                    "certificate_refused",
                    format!("no certificate for this can be made: {error}"),
                )
            })?;
            let is_counted = joining.make_room(&admission).await?;
            admission.record_issued(planned.to_record());
            let committed = joining.commit(commit::admission(&joining, &admission)).await;
            if committed.is_err() && is_counted {
                service.joins().clients().give_back(snapshot.uid);
            }
            committed?;
            service.joins().refusals.forget_confirms(snapshot.uid);
            let kind = match admission.kind {
                JoinKind::Register => JoinKindName::Registered,
                JoinKind::Renew => JoinKindName::Renewed,
                JoinKind::Recover => JoinKindName::Recovered,
            };
            tracing::info!(
                correlation_id = %context.correlation, token = %received.request.token, kind = kind.as_str(),
                identity = admission.identity.id(), sequence = admission.claims.sequence, "joined"
            );
            Ok(joining.result(kind, &admission.claims, &admission.bound_key, Some(&planned))?)
        }
        Verdict::Retry(retry) => {
            let planned = issue::Planned::of_retry(&joining, &retry)?;
            Ok(joining.result(JoinKindName::Retried, &retry.claims, &retry.bound_key, planned.as_ref())?)
        }
        Verdict::RotationRequired(_) => Ok(JoinAnswer::RotationRequired {}),
        Verdict::Confirm(confirm) => {
            joining.count_confirm(&confirm);
            Ok(JoinAnswer::Confirm { challenge: challenge(service, Some(confirm.position), now) })
        }
        Verdict::Deny(denial) => Err(joining.refuse(*denial).await?),
    }
}

/// One round of one join, with all that it read.
pub(crate) struct Joining<'a> {
    service: &'a Service,
    received: &'a Received,
    snapshot: &'a Snapshot,
    context: &'a RequestContext,
    now: OffsetDateTime,
}

impl Joining<'_> {
    async fn commit(&self, batch: boundkey_store::Batch) -> Result<(), Lost> {
        match self.service.store().commit(batch, self.now).await {
            Ok(_) => Ok(()),
            Err(CommitError::Conflict { key }) => Err(Lost::Race(key)),
            // It may have happened: the client comes again with the same attempt, and rule 4 answers.
            Err(error) => Err(Refusal::unavailable(error).into()),
        }
    }

    fn result(
        &self,
        kind: JoinKindName,
        claims: &boundkey_lifecycle::StateClaims,
        bound_key: &boundkey_keys::PublicKey,
        planned: Option<&issue::Planned>,
    ) -> Result<JoinAnswer, Refusal> {
        let join_state = seal_state(claims, self.service.cluster(), self.service.master());
        let certificates = planned
            .map(|planned| planned.sign(self, &join_state, bound_key))
            .transpose()
            .map_err(Refusal::internal)?;
        let attempt = self.received.request.attempt;
        let receipt = match certificates {
            Some(_) => None,
            None => {
                let digest = result_digest(&join_state, bound_key.thumbprint(), attempt);
                let signer = self.service.authorities().tls.key();
                Some(sign_receipt(signer, self.service.cluster(), digest).map_err(Refusal::internal)?)
            }
        };
        Ok(JoinAnswer::Admitted(Box::new(JoinResult {
            kind,
            attempt,
            join_state,
            bound_key: bound_key.clone(),
            identity: claims.identity.clone(),
            certificates,
            receipt,
            ca_bundle: self.service.authorities().bundle().clone(),
            renew_in_seconds: planned.map_or(0, |planned| planned.renew_in(self.now).as_secs()),
            server_time: self.now,
        })))
    }

    /// A new client of a shared token needs a record, and of those there is a bound: more machines than it may have is the
    /// mark of a key that leaked. Whoever has a record goes on. It is not this client's fault, and passes by itself as
    /// records expire: it is told to come again. True: it was counted as a new one.
    async fn make_room(&self, admission: &Admission) -> Result<bool, Refusal> {
        let snapshot = self.snapshot;
        let is_new = matches!(admission.write, Write::Instance(_));
        if !is_new || snapshot.instance.is_some() || snapshot.void.is_some() {
            return Ok(false);
        }
        let clients = self.service.joins().clients();
        let Err(count) = clients.admit(self.service, snapshot.uid, self.now).await? else { return Ok(true) };
        let name = self.received.request.token.as_str();
        self.count_full();
        let seconds = FULL + lot(self.service) % FULL;
        let limit = clients.limit();
        let detail = format!(
            "token/{name} has {count} clients on record and may have {limit} (limits.clients_per_token of the server): no new \
             one is let in until some have expired; ask again in {seconds} s"
        );
        Err(Refusal::new(503, "too_many_clients", detail).retry_after(seconds))
    }

    /// A denial that sets a lock commits with its event. Of others where something was proven the first few are events of
    /// their own, and what comes after them is counted. One of a stranger is always counted, and takes the same path
    /// through the answer.
    async fn refuse(&self, denial: Denial) -> Result<Lost, Lost> {
        let code = denial.code;
        let kind = if denial.proven { Kind::Proven } else { Kind::Unproven };
        if denial.lock.is_some() || self.service.may_log(kind) {
            tracing::info!(
                correlation_id = %self.context.correlation, source = self.context.source.map(tracing::field::display),
                token = %self.received.request.token, code = denial.event.code.as_str(), refusal = code.as_str(),
                proven = denial.proven, "join refused"
            );
        }
        let mut hold = Duration::ZERO;
        if denial.proven {
            self.service.joins().limiter.right(Source::of(self.context.source), self.now);
            let (token, event) = (self.received.request.token.as_str(), denial.event.code.as_str());
            let refusals = &self.service.joins().refusals;
            if denial.lock.is_some() {
                self.commit(commit::denial(self, &denial)).await?;
            } else if refusals.ledger().takes_own(token, event, self.now) {
                let committed = self.commit(commit::denial(self, &denial)).await;
                committed.inspect_err(|_| refusals.ledger().give_back(token, event))?;
            } else {
                self.count_refusal(&denial);
            }
        } else {
            self.count_refusal(&denial);
            hold = self.service.joins().limiter.wrong(Source::of(self.context.source), self.now);
        }
        let refusal = if denial.proven {
            Refusal::new(403, code.as_str(), denial.message)
        } else {
            Refusal::new(403, Code::Denied.as_str(), DENIED)
        }
        .because(code.as_str());
        Ok(Lost::Refused(Box::new(Refused { refusal, hold, blur: !denial.proven })))
    }
}

/// Seconds after which a new client of a full token comes again, at the earliest; at the latest twice as many.
const FULL: u64 = 60;

/// What whoever proved nothing is told, whatever the cause: always the same words.
const DENIED: &str = "the join is denied: check the token's name, the registration secret or key, and whether the token \
                      is still valid";
