//! Join messages of whoever is no honest client: every part of them is chosen.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use boundkey_client::SystemEntropy;
use boundkey_keys::{Entropy as _, PrivateKey, Secret, secret_proof_key};
use boundkey_proto::{
    Answer, AttemptId, BeginReply, ChallengeView, JoinAnswer, MachineFacts, PROTOCOL_VERSION, Request,
    build_complete, read_answer, read_begin_answer, read_challenge,
};
use boundkey_token::{RequestedNames, Role, RoleSet};

use super::{Http1, Target};

/// A challenge is good for a minute.
const CHALLENGE_KEPT: Duration = Duration::from_secs(30);

/// One connection for join messages. One challenge serves many of them.
pub struct Forger {
    http: Http1,
    entropy: SystemEntropy,
    challenge: String,
    view: ChallengeView,
    begun_at: Instant,
}

/// What a join message claims.
pub struct Claim {
    /// The token's name.
    pub token: String,
    /// The key that it is signed with.
    pub key: PrivateKey,
    /// The registration secret, if it is to prove one.
    pub secret: Option<Secret>,
    /// The join state.
    pub state: Option<String>,
}

impl Claim {
    /// By a key and secret that were made up.
    pub fn made_up(token: &str, with_secret: bool) -> Self {
        let secret = with_secret.then(|| Secret::generated(drawn()));
        Self { token: token.to_owned(), key: PrivateKey::ed25519_from_seed(&drawn()), secret, state: None }
    }
}

/// Random bytes.
pub(super) fn drawn<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemEntropy::new().fill(&mut bytes);
    bytes
}

impl Forger {
    /// A connection from this address, with a challenge.
    ///
    /// # Errors
    /// The connection's.
    pub async fn connect(target: &Target, from: IpAddr) -> io::Result<Self> {
        let mut http = target.http1(from).await?;
        let (challenge, view) = begin(&mut http).await?;
        Ok(Self { http, entropy: SystemEntropy::new(), challenge, view, begun_at: Instant::now() })
    }

    /// Sends a new attempt; status and body of the answer.
    ///
    /// # Errors
    /// The connection's.
    ///
    /// # Panics
    /// If the claim's token has no name that a token may have.
    pub async fn send(&mut self, claim: &Claim) -> io::Result<(u16, Vec<u8>)> {
        if self.begun_at.elapsed() > CHALLENGE_KEPT {
            (self.challenge, self.view) = begin(&mut self.http).await?;
            self.begun_at = Instant::now();
        }
        let mut attempt = [0; 16];
        self.entropy.fill(&mut attempt);
        let roles = RoleSet::new([Role::Node]);
        let request = Request {
            version: PROTOCOL_VERSION,
            token: claim.token.parse().expect("a name"),
            roles: roles.clone(),
            attempt: AttemptId(attempt),
            bound_key: claim.key.public_key().clone(),
            new_key: None,
            tls_key: claim.key.public_key().clone(),
            ssh_key: None,
            names: RequestedNames::default(),
            ttl_seconds: None,
            join_state: claim.state.clone(),
            facts: MachineFacts { hostname: "attacker".to_owned(), roles, ..MachineFacts::default() },
        };
        let proof =
            claim.secret.as_ref().map(|secret| secret_proof_key(secret, &self.view.cluster, &claim.token));
        let complete =
            build_complete(&self.challenge, &self.view, &request, &claim.key, None, proof.as_deref())
                .map_err(io::Error::other)?;
        let body = serde_json::to_vec(&complete).map_err(io::Error::other)?;
        self.http.ask("POST", "/v1/join/complete", &body).await
    }

    /// Joins, and keeps the state for the next time. Says the code of a refusal.
    ///
    /// # Errors
    /// The connection's.
    pub async fn join(&mut self, claim: &mut Claim) -> io::Result<Result<(), String>> {
        // A server that is not sure of the state asks for a confirmation over a fresh challenge.
        for _ in 0..4 {
            let (status, body) = self.send(claim).await?;
            match read_answer(status, &body).map_err(io::Error::other)? {
                Answer::Join(JoinAnswer::Admitted(result)) => {
                    claim.state = Some(result.join_state);
                    return Ok(Ok(()));
                }
                Answer::Join(JoinAnswer::Confirm { challenge }) => {
                    self.view = read_challenge(&challenge, None).map_err(io::Error::other)?;
                    self.challenge = challenge;
                }
                Answer::Join(JoinAnswer::RotationRequired {}) => return Ok(Err("rotation".to_owned())),
                Answer::Refused(problem) => return Ok(Err(problem.code)),
            }
        }
        Ok(Err("confirm".to_owned()))
    }
}

async fn begin(http: &mut Http1) -> io::Result<(String, ChallengeView)> {
    let (status, body) = http.ask("POST", "/v1/join/begin", b"{}").await?;
    match read_begin_answer(status, &body).map_err(io::Error::other)? {
        BeginReply::Challenge(answer) => {
            let view = read_challenge(&answer.challenge, None).map_err(io::Error::other)?;
            Ok((answer.challenge, view))
        }
        BeginReply::Refused(problem) => Err(io::Error::other(problem.code)),
    }
}
