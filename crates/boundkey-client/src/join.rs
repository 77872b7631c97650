//! The crash-safe join: what is written before something is sent, and what is checked before something is stored.
//!
//! ```text
//!   load state ──> attempt pending? ──no──> make one, SAVE
//!                        │yes                  │
//!                        └──────────┬──────────┘
//!                                   v
//!                  begin ──> complete ──┬─ confirm (3 at most) ──> complete over the fresh challenge
//!                                       ├─ rotation_required ────> make a key, SAVE, complete again
//!                                       ├─ problem ──────────────> the attempt stays pending
//!                                       └─ result ──> all checks ──> SAVE (ends the attempt) ──> outputs
//! ```

mod check;
mod error;
mod plan;
mod ssh;
pub(crate) mod store;
#[cfg(test)]
mod tests;

pub use check::ResultError;
pub use error::{JoinError, Remedy};
pub(crate) use plan::read_host_key;
pub use plan::{JoinPlan, SshWish};

use std::time::Duration;

use boundkey_keys::{Entropy, PrivateKey, Secret, Signer, secret_proof_key};
use boundkey_keystore::{AgentState, HeldKey, IdentityRecord, Keystore, PendingAttempt, TransitionError};
use boundkey_proto::{
    Answer, AttemptId, Begin, BeginReply, ChallengeError, ChallengeView, ClientError, Complete, JoinAnswer,
    JoinKindName, JoinResult, MAX_CONFIRMATIONS, PROTOCOL_VERSION, Problem, Request, build_complete,
    read_answer, read_begin_answer, read_challenge,
};
use boundkey_token::ResourceName;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::clock::{Clock, show_time};
use crate::config::Credential;
use crate::machine::check_machine;
use crate::transport::{Reply, Transport};
use crate::trust::Source;

/// A retry whose certificates ran out yields a state without certificates; the attempt after it yields both. More than a
/// few in a row are no honest server's doing.
const MOST_PROVISIONAL: usize = 3;

/// What a join gave. The state is stored already.
pub struct Joined {
    /// Which of the joins it was.
    pub kind: JoinKindName,
    /// As stored.
    pub state: AgentState,
    /// How long to wait with the next one, counted on the clock that counts from boot.
    pub renew_in: Duration,
    /// Whether the bound key was replaced.
    pub rotated: bool,
    /// The server's clock, and ours when its answer came: far apart, one of them is wrong.
    pub server_time: OffsetDateTime,
    /// Our clock.
    pub local_time: OffsetDateTime,
}

/// Clocks further apart than this are worth a warning.
const SKEW: time::Duration = time::Duration::seconds(60);

impl Joined {
    /// Says what was obtained, and whether the clocks are far apart.
    pub fn log(&self) {
        let Some(identity) = &self.state.identity else { return };
        tracing::info!(
            kind = self.kind.as_str(),
            id = identity.id,
            rotated = self.rotated,
            expires_at = show_time(identity.not_after),
            renew_in_seconds = self.renew_in.as_secs(),
            "joined"
        );
        if (self.local_time - self.server_time).abs() > SKEW {
            tracing::warn!(
                local = show_time(self.local_time),
                server = show_time(self.server_time),
                "this machine's clock and the server's are far apart: certificates may look expired or not yet valid here"
            );
        }
    }
}

/// One join procedure: the state, the way to the server, and what to ask for.
pub struct Joiner<'a, T> {
    /// The state.
    pub keystore: &'a mut dyn Keystore,
    /// The way to the server.
    pub transport: &'a mut T,
    /// What to ask for.
    pub plan: &'a JoinPlan,
    /// Time.
    pub clock: &'a dyn Clock,
    /// Randomness: attempt ids and keys.
    pub entropy: &'a dyn Entropy,
}

/// A request and the keys that prove it.
struct Signed<'s> {
    request: Request,
    bound: &'s HeldKey,
    new: Option<&'s HeldKey>,
}

/// What one try of an attempt came to.
enum Tried {
    Joined(Box<Joined>),
    /// The attempt had been admitted long ago: its state is stored, and a new attempt is due.
    Provisional(Box<AgentState>),
}

impl<T: Transport> Joiner<'_, T> {
    /// Joins: registers, renews or recovers as the server decides; a rotation that is due is part of it.
    ///
    /// # Errors
    /// [`JoinError`]. Whatever it is, an attempt that was sent stays pending, and the next call goes on with it.
    pub async fn join(&mut self) -> Result<Joined, JoinError> {
        let mut state = self.keystore.load()?;
        self.check_belonging(&mut state)?;
        for _ in 0..MOST_PROVISIONAL {
            self.ensure_attempt(&mut state)?;
            match self.try_with_fallbacks(state).await? {
                Tried::Joined(joined) => return Ok(*joined),
                Tried::Provisional(stored) => state = *stored,
            }
        }
        Err(JoinError::OnlyProvisional)
    }

    /// The state must be of this machine and this token: everything else would look like a clone to the server.
    fn check_belonging(&self, state: &mut AgentState) -> Result<(), JoinError> {
        state.machine =
            check_machine(state.machine.as_deref(), self.plan.machine.as_deref(), self.plan.accept_machine)?;
        check_token(state, &self.plan.token)?;
        state.token = Some(self.plan.token.as_str().to_owned());
        if let Credential::StaticKey(source) = &self.plan.credential {
            state.use_static_key(HeldKey::new(source.read()?));
        }
        Ok(())
    }

    /// Written before anything is sent.
    fn ensure_attempt(&self, state: &mut AgentState) -> Result<(), JoinError> {
        if state.bound_key.is_none() {
            state.adopt_key(HeldKey::new(self.make_ed25519()))?;
        }
        self.follow_host_key(state);
        if state.pending.is_none() {
            let mut attempt = [0; 16];
            self.entropy.fill(&mut attempt);
            let tls_key = match &state.identity {
                Some(identity) if self.plan.reuse_tls_key => identity.tls_key.duplicate(),
                // P-256: the one kind that every TLS client and server takes in a certificate.
                _ => PrivateKey::generate_p256()?,
            };
            let (ssh_key, ssh_public_key) = self.ssh_key(state)?;
            state.begin_attempt(PendingAttempt {
                attempt,
                started_at: self.clock.now(),
                tls_key,
                ssh_key,
                ssh_public_key,
                new_key: None,
            })?;
        }
        Ok(())
    }

    /// The host's key may be another one by now (a corrected `host_key`, keys made anew). The attempt stays what it is: at
    /// worst its answer comes without certificates, and the next attempt asks for them.
    fn follow_host_key(&self, state: &mut AgentState) {
        let (Some(pending), SshWish::HostKeyFile(path)) = (&mut state.pending, &self.plan.ssh) else {
            return;
        };
        if let Ok(key) = plan::read_host_key(path) {
            (pending.ssh_key, pending.ssh_public_key) = (None, Some(key));
        }
    }

    fn ssh_key(
        &self,
        state: &AgentState,
    ) -> Result<(Option<PrivateKey>, Option<boundkey_keys::PublicKey>), JoinError> {
        let key = match &self.plan.ssh {
            SshWish::None => return Ok((None, None)),
            SshWish::HostKeyFile(path) => return Ok((None, Some(plan::read_host_key(path)?))),
            // A host keeps its key for life, as sshd's own.
            SshWish::Host => {
                state.identity.as_ref().and_then(|i| i.ssh_key.as_ref()).map(PrivateKey::duplicate)
            }
            SshWish::User => None,
        };
        let key = key.unwrap_or_else(|| self.make_ed25519());
        let public = key.public_key().clone();
        Ok((Some(key), Some(public)))
    }

    fn make_ed25519(&self) -> PrivateKey {
        let mut seed = Zeroizing::new([0; 32]);
        self.entropy.fill(&mut *seed);
        PrivateKey::ed25519_from_seed(&seed)
    }

    /// One cause of a refusal can be mended by this side alone, once.
    async fn try_with_fallbacks(&mut self, mut state: AgentState) -> Result<Tried, JoinError> {
        let mut secret = if state.join_state.is_none() { self.read_secret()? } else { None };
        self.keystore.save(&state)?;
        loop {
            let refusal = match self.exchange(&mut state, secret.as_ref()).await {
                Err(JoinError::Refused(problem)) if problem.is_final() => problem,
                Err(error) => return Err(error),
                Ok((result, view)) => return self.accept(state, *result, &view),
            };
            // The token may have been reset or made anew, and the configuration may hold its new secret. One that cannot
            // be read is not needed by a machine that was bound.
            let again = secret.is_none() && matches!(refusal.code.as_str(), "denied" | "token_recreated");
            secret = if again { self.read_secret().ok().flatten() } else { None };
            if secret.is_none() {
                return Err(JoinError::Refused(refusal));
            }
        }
    }

    fn read_secret(&self) -> Result<Option<Secret>, JoinError> {
        match &self.plan.credential {
            Credential::Secret(source) => Ok(Some(source.read()?)),
            Credential::StoredKey | Credential::StaticKey(_) => Ok(None),
        }
    }

    /// begin, complete, and whatever the server asks for in between.
    async fn exchange(
        &mut self,
        state: &mut AgentState,
        secret: Option<&Secret>,
    ) -> Result<(Box<JoinResult>, ChallengeView), JoinError> {
        let body = to_json(&Begin {})?;
        let reply = self.transport.post("/v1/join/begin", body).await?;
        let begin = match read_begin_answer(reply.status, &reply.body)? {
            BeginReply::Challenge(answer) => answer,
            BeginReply::Refused(problem) => return Err(refused(problem, &reply)),
        };
        let mut challenge = begin.challenge;
        let mut view = self.read_challenge(&challenge, state)?;
        let proof_key =
            secret.map(|secret| secret_proof_key(secret, &view.cluster, self.plan.token.as_str()));
        let mut confirmations = 0;
        loop {
            let complete = self.complete(&challenge, &view, state, proof_key.as_deref())?;
            let reply = self.transport.post("/v1/join/complete", to_json(&complete)?).await?;
            match read_answer(reply.status, &reply.body)? {
                Answer::Refused(problem) => return Err(refused(problem, &reply)),
                Answer::Join(JoinAnswer::Admitted(result)) => return Ok((result, view)),
                Answer::Join(JoinAnswer::Confirm { challenge: fresh }) => {
                    confirmations += 1;
                    if confirmations > MAX_CONFIRMATIONS {
                        return Err(JoinError::NeverConfirmed);
                    }
                    view = read_challenge(&fresh, Some(&view.cluster)).map_err(ClientError::from)?;
                    challenge = fresh;
                }
                Answer::Join(JoinAnswer::RotationRequired {}) => self.offer_new_key(state)?,
            }
        }
    }

    fn read_challenge(&self, challenge: &str, state: &AgentState) -> Result<ChallengeView, JoinError> {
        let channel = self.transport.channel();
        let source = channel.as_ref().map(|channel| channel.source);
        let named = channel.and_then(|channel| channel.cluster);
        let cluster = state.cluster.as_deref().or(named.as_deref());
        read_challenge(challenge, cluster).map_err(|error| match (error, &state.cluster) {
            // Whoever names another cluster's CA in the configuration wants to go there, and the state does not.
            (ChallengeError::OtherCluster { found, .. }, Some(stored)) if source != Some(Source::Bundle) => {
                let configured = matches!(source, Some(Source::Pin | Source::CaFile));
                JoinError::OtherCluster { stored: stored.clone(), found, configured }
            }
            (error, _) => ClientError::from(error).into(),
        })
    }

    fn complete(
        &self,
        challenge: &str,
        view: &ChallengeView,
        state: &AgentState,
        proof_key: Option<&[u8; 32]>,
    ) -> Result<Complete, JoinError> {
        let Signed { request, bound, new } = self.request(state)?;
        let new = new.map(|key| key as &dyn Signer);
        Ok(build_complete(challenge, view, &request, bound, new, proof_key)?)
    }

    fn request<'s>(&self, state: &'s AgentState) -> Result<Signed<'s>, JoinError> {
        let (Some(pending), Some(bound)) = (&state.pending, &state.bound_key) else {
            return Err(JoinError::NoAttempt);
        };
        let request = Request {
            version: PROTOCOL_VERSION,
            token: self.plan.token.clone(),
            roles: self.plan.roles.clone(),
            attempt: AttemptId(pending.attempt),
            bound_key: bound.public_key().clone(),
            new_key: pending.new_key.as_ref().map(|key| key.public_key().clone()),
            tls_key: pending.tls_key.public_key().clone(),
            ssh_key: pending.ssh_public_key.clone(),
            names: self.plan.names.clone(),
            ttl_seconds: self.plan.ttl.map(|ttl| ttl.as_secs()),
            join_state: state.join_state.clone(),
            facts: self.plan.facts.clone(),
        };
        Ok(Signed { request, bound, new: pending.new_key.as_ref() })
    }

    /// The new key is written before it is offered.
    fn offer_new_key(&mut self, state: &mut AgentState) -> Result<(), JoinError> {
        if matches!(self.plan.credential, Credential::StaticKey(_)) {
            return Err(JoinError::RotationOfStaticKey);
        }
        let key = HeldKey::new(self.make_ed25519());
        match state.offer_new_key(key) {
            Ok(()) => Ok(self.keystore.save(state)?),
            Err(TransitionError::KeyOffered) => Err(JoinError::RotationRefused),
            Err(error) => Err(error.into()),
        }
    }

    /// One atomic write ends the attempt; before it, nothing of the result counts.
    fn accept(
        &mut self,
        mut state: AgentState,
        result: JoinResult,
        view: &ChallengeView,
    ) -> Result<Tried, JoinError> {
        let request = self.request(&state)?.request;
        let checked = check::check(&result, &request, &state, view, self.transport.channel().as_ref())?;
        let now = self.clock.now();
        let before = state.bound_key.as_ref().map(|key| key.public_key().thumbprint());
        let rotated = before != Some(result.bound_key.thumbprint());
        let Some(certified) = checked.certified else {
            store::accept_provisional(&mut state, &result)?;
            self.keystore.save(&state)?;
            return Ok(Tried::Provisional(Box::new(state)));
        };
        let mut renew_in = bounded_wait(result.renew_in_seconds, certified.not_after - result.server_time);
        if !(certified.not_before..certified.not_after).contains(&now) {
            // One of the two clocks is wrong: what it gave is of no use until it is right, or else when it is.
            renew_in = renew_in.min(wait_for_right_clock(state.identity.as_ref()));
        }
        store::accept_result(&mut state, &result, certified, now, now + renew_in)?;
        state.cluster = Some(view.cluster.clone());
        self.keystore.save(&state)?;
        Ok(Tried::Joined(Box::new(Joined {
            kind: result.kind,
            state,
            renew_in,
            rotated,
            server_time: result.server_time,
            local_time: now,
        })))
    }
}

/// A state that was bound by one token is of no use to another.
///
/// # Errors
/// [`JoinError::OtherToken`].
pub(crate) fn check_token(state: &AgentState, token: &ResourceName) -> Result<(), JoinError> {
    match &state.token {
        Some(stored) if stored != token.as_str() && state.join_state.is_some() => {
            Err(JoinError::OtherToken { stored: stored.clone(), configured: token.as_str().to_owned() })
        }
        _ => Ok(()),
    }
}

/// When to join again if the certificates are not valid by this machine's clock: soon, for they are of no use, then later
/// each time, for a clock may stay wrong for long and a fleet's server may be the one that has it.
fn wait_for_right_clock(before: Option<&IdentityRecord>) -> Duration {
    const FIRST: Duration = Duration::from_secs(5 * 60);
    const LONGEST: Duration = Duration::from_secs(60 * 60);
    match before.filter(|identity| !check::was_valid_when_obtained(identity)) {
        Some(useless) => {
            let waited = Duration::try_from(useless.renew_at - useless.obtained_at).unwrap_or(FIRST);
            waited.saturating_mul(2).clamp(FIRST, LONGEST)
        }
        None => FIRST,
    }
}

/// What the server proposes, but neither so soon that it spins nor so late that the certificates are gone.
fn bounded_wait(seconds: u64, lifetime: time::Duration) -> Duration {
    const SOONEST: Duration = Duration::from_secs(5);
    let lifetime = Duration::try_from(lifetime).unwrap_or(Duration::ZERO);
    Duration::from_secs(seconds).min(lifetime * 9 / 10).max(SOONEST)
}

fn refused(mut problem: Problem, reply: &Reply) -> JoinError {
    problem.retry_after = problem.retry_after.or(reply.retry_after.map(|wait| wait.as_secs()));
    JoinError::Refused(Box::new(problem))
}

fn to_json(message: &impl serde::Serialize) -> Result<Vec<u8>, JoinError> {
    serde_json::to_vec(message).map_err(|e| JoinError::Encoding(e.to_string()))
}
