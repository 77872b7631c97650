//! A server that has every key of the cluster and says anything. It knows which of its answers a client may take.

use boundkey_client::{Channel, Reply, Source, Transport, TransportError};
use boundkey_keys::PublicKey;
use boundkey_proto::{
    AttemptId, CHALLENGE_TYP, Complete, Identity, JoinAnswer, JoinKindName, JoinResult, MAX_CONFIRMATIONS,
    Request, SignedBundle,
};
use serde_json::{Value, json};

use super::super::forge::{encode, header, payload, unsigned};
use super::super::{Choices, say};
use super::said::{Bundle, ID, OTHER, Said, TLS};
use super::{Written, locked};
use crate::scene::{CLUSTER, NOW};

/// The truth about the one lineage, as an honest server keeps it.
#[derive(Default)]
pub(super) struct Lineage {
    bound: Option<PublicKey>,
    state: Option<String>,
    last: Option<(AttemptId, Option<String>)>,
    sequence: u64,
    rotation_due: bool,
    bundle_version: u64,
    /// The client took another cluster's name at its first contact, and keeps to it.
    pub(super) misled: bool,
    /// Results that were given, for other attempts later.
    old: Vec<JoinResult>,
}

impl Lineage {
    /// The client stored this: what a CA vouched for is the truth from now on.
    pub(super) fn becomes(&mut self, result: &JoinResult, cluster: &str) {
        if self.bound.as_ref() != Some(&result.bound_key) || self.state.as_ref() != Some(&result.join_state) {
            self.bound = Some(result.bound_key.clone());
            self.state = Some(result.join_state.clone());
            self.last = None;
        }
        self.misled |= cluster != CLUSTER;
    }
}

/// One answer that says that the client is admitted.
pub(super) struct Given {
    pub(super) result: JoinResult,
    /// It passes every check that the chapter on results asks for.
    pub(super) good: bool,
}

pub(super) struct Wire<'d> {
    pub(super) choices: Choices<'d>,
    pub(super) lineage: Lineage,
    pub(super) given: Vec<Given>,
    pub(super) attempts: Vec<AttemptId>,
    lies: bool,
    channel: Channel,
    written: Written,
    /// What is stored of the CA bundle.
    bundle: Option<String>,
    /// The cluster of the challenge that the client last took, if it took it.
    pub(super) cluster: String,
    exchanges: usize,
    completes: usize,
    confirms: usize,
}

impl<'d> Wire<'d> {
    pub(super) fn new(
        choices: Choices<'d>,
        lineage: Lineage,
        lies: bool,
        channel: Channel,
        bundle: Option<String>,
        written: Written,
    ) -> Self {
        Self {
            choices,
            lineage,
            given: Vec::new(),
            attempts: Vec::new(),
            lies,
            channel,
            written,
            bundle,
            cluster: CLUSTER.to_owned(),
            exchanges: 0,
            completes: 0,
            confirms: 0,
        }
    }

    /// Each attempt is begun once, and once more with the secret; two provisional results may lead to a third attempt.
    pub(super) fn within_bounds(&self) {
        assert!(self.exchanges <= 2 * (self.attempts.len() + 1), "begun {} times", self.exchanges);
        assert!(self.attempts.len() <= 3, "{} attempts in one join", self.attempts.len());
    }
}

impl Transport for Wire<'_> {
    async fn post(&mut self, path: &str, body: Vec<u8>) -> Result<Reply, TransportError> {
        let lie = if self.lies { self.choices.byte() } else { 0 };
        say((path, lie));
        if path == "/v1/join/begin" {
            return self.begin(lie);
        }
        let message: Complete = serde_json::from_slice(&body).expect("a message");
        let request = Request::decode(&message.request).expect("a request");
        self.heard(&message, &request);
        self.answer(lie, &request)
    }

    async fn get(&mut self, _path: &str, _limit: usize) -> Result<Reply, TransportError> {
        Err(broken())
    }

    fn channel(&self) -> Option<Channel> {
        Some(self.channel.clone())
    }

    fn disconnect(&mut self) {}
}

fn broken() -> TransportError {
    TransportError::Broken { server: "server:443".to_owned(), reason: "lost".to_owned() }
}

fn reply(status: u16, value: &Value) -> Reply {
    Reply { status, retry_after: None, body: value.to_string().into_bytes() }
}

fn problem(status: u16, code: &str) -> Result<Reply, TransportError> {
    Ok(reply(status, &json!({"title": "no", "status": status, "code": code, "detail": "no"})))
}

impl Wire<'_> {
    fn begin(&mut self, lie: u8) -> Result<Reply, TransportError> {
        self.exchanges += 1;
        (self.completes, self.confirms) = (0, 0);
        match lie {
            0..220 => {
                let challenge = self.challenge(lie >= 200);
                let versions = if lie == 219 { json!([2]) } else { json!([1, 2]) };
                Ok(reply(200, &json!({"challenge": challenge, "versions": versions})))
            }
            220..230 => problem(503, "overloaded"),
            230..240 => problem(403, "denied"),
            240..248 => Ok(reply(200, &json!({"challenge": "a.b.c", "versions": [1]}))),
            _ => Err(broken()),
        }
    }

    fn challenge(&mut self, bent: bool) -> String {
        let mut claims = json!({
            "iss": CLUSTER,
            "aud": CLUSTER,
            "iat": NOW.unix_timestamp(),
            "exp": NOW.unix_timestamp() + 60,
            "nonce": encode([self.choices.byte(); 32]),
        });
        if bent {
            match self.choices.below(4) {
                0 => claims["exp"] = json!(NOW.unix_timestamp() + 601),
                1 => claims["nonce"] = json!("short"),
                2 => claims["iss"] = json!(OTHER),
                _ => (claims["iss"], claims["aud"]) = (json!(OTHER), json!(OTHER)),
            }
        }
        unsigned(&header("HS256", "1.0", CHALLENGE_TYP), &claims)
    }

    /// What holds of every message: it was written before it was sent, and there are not too many.
    fn heard(&mut self, message: &Complete, request: &Request) {
        self.completes += 1;
        let most = 1 + usize::try_from(MAX_CONFIRMATIONS).expect("a small number") + 1;
        assert!(self.completes <= most, "{} messages of one exchange", self.completes);
        let confirmed = u64::try_from(self.confirms).unwrap_or(u64::MAX);
        assert!(confirmed <= u64::from(MAX_CONFIRMATIONS), "{confirmed} challenges answered");
        let written = locked(&self.written);
        let state = written.last().expect("what was there before");
        let pending = state.pending.as_ref().expect("an attempt is sent that was not written");
        assert_eq!(pending.attempt, request.attempt.0);
        assert_eq!(pending.tls_key.public_key(), &request.tls_key);
        assert_eq!(pending.new_key.as_ref().map(|key| key.public_key()), request.new_key.as_ref());
        assert_eq!(state.bound_key.as_ref().map(|key| key.public_key()), Some(&request.bound_key));
        assert_eq!(state.join_state, request.join_state);
        assert_eq!(message.proofs.len(), 1 + usize::from(request.new_key.is_some()));
        let claims = payload(&message.challenge).expect("claims");
        let challenged = claims["iss"].as_str().expect("a name").to_owned();
        if let Some(cluster) = state.cluster.as_ref().or(self.channel.cluster.as_ref()) {
            assert_eq!(&challenged, cluster, "a challenge of another cluster was answered");
        }
        drop(written);
        self.cluster = challenged;
        if self.attempts.last() != Some(&request.attempt) {
            self.attempts.push(request.attempt);
        }
    }

    fn answer(&mut self, lie: u8, request: &Request) -> Result<Reply, TransportError> {
        let honest = self.honest(request);
        match lie {
            0..80 => self.tell(honest, request, 0),
            80..90 => Err(broken()),
            90..180 => {
                let times = 1 + self.choices.below(2);
                self.tell(honest, request, times)
            }
            180..200 => {
                self.confirms += 1;
                let challenge = self.challenge(lie >= 195);
                Ok(reply(200, &json!({"status": "confirm", "challenge": challenge})))
            }
            200..212 => Ok(reply(200, &json!({"status": "rotation_required"}))),
            212..236 => {
                const CODES: [&str; 6] = [
                    "denied",
                    "join_state_invalid",
                    "token_recreated",
                    "locked",
                    "clone_detected",
                    "unheard_of",
                ];
                problem(403, CODES[self.choices.below(6)])
            }
            236..242 => problem(503, "overloaded"),
            242..248 => problem(400, "challenge_expired"),
            248..252 => Ok(Reply { status: 200, retry_after: None, body: b"<html>log in first".to_vec() }),
            _ => Ok(Reply { status: 302, retry_after: None, body: Vec::new() }),
        }
    }

    /// What an honest server answers. Its refusals are rare: it stands for one that lost nothing.
    fn honest(&mut self, request: &Request) -> Result<JoinResult, Value> {
        let lineage = &mut self.lineage;
        let presented = request.join_state.clone();
        let again = lineage.last == Some((request.attempt, presented.clone()));
        if self.lies && self.choices.below(16) == 15 {
            lineage.rotation_due = true;
        }
        if !again {
            let refusal = |code: &str| json!({"title": "no", "status": 403, "code": code, "detail": "no"});
            if presented != lineage.state {
                return Err(refusal("join_state_invalid"));
            }
            let proven = [Some(&request.bound_key), request.new_key.as_ref()];
            if lineage.bound.is_some() && !proven.contains(&lineage.bound.as_ref()) {
                return Err(refusal("denied"));
            }
            if lineage.rotation_due && request.new_key.is_none() {
                return Err(json!({"status": "rotation_required"}));
            }
            lineage.rotation_due &= request.new_key.is_none();
            lineage.bound = Some(request.new_key.as_ref().unwrap_or(&request.bound_key).clone());
            lineage.sequence += 1;
            lineage.state = Some(format!("state-{}", lineage.sequence));
            lineage.last = Some((request.attempt, presented));
        }
        let (Some(bound), Some(state)) = (&lineage.bound, &lineage.state) else {
            unreachable!("it was admitted")
        };
        Ok(JoinResult {
            kind: if again { JoinKindName::Retried } else { JoinKindName::Renewed },
            attempt: request.attempt,
            join_state: state.clone(),
            bound_key: bound.clone(),
            identity: Identity::Host(ID.to_owned()),
            certificates: None,
            receipt: None,
            ca_bundle: SignedBundle(Vec::new()),
            renew_in_seconds: 3600,
            server_time: NOW,
        })
    }

    /// The honest answer, of which so many things say something else.
    fn tell(
        &mut self,
        honest: Result<JoinResult, Value>,
        request: &Request,
        lies: usize,
    ) -> Result<Reply, TransportError> {
        let result = match honest {
            Ok(result) => result,
            Err(value) => {
                let status = value["code"].as_str().map_or(200, |_| 403);
                return Ok(reply(status, &value));
            }
        };
        let mut said = Said::new(result, self.lineage.bundle_version, self.trusted().unwrap_or(1));
        for _ in 0..lies {
            said.bend(request, &self.lineage.old, &mut self.choices);
        }
        self.lineage.bundle_version = said.bundle.version;
        let good = said.vouch(request) && self.believes(&said);
        let result = said.result;
        if self.lineage.old.len() < 12 {
            self.lineage.old.push(result.clone());
        }
        let answer = reply(200, &json!(JoinAnswer::Admitted(Box::new(result.clone()))));
        self.given.push(Given { result, good });
        Ok(answer)
    }

    fn trusted(&self) -> Option<usize> {
        self.bundle.as_deref().map(Bundle::trusted)
    }

    /// Chapters "CA bundle" and "Result" 4.
    fn believes(&self, said: &Said) -> bool {
        let bundle = said.bundle;
        let signed_by = |mask: usize| bundle.signers & mask != 0;
        let root = (0..TLS.len())
            .find(|n| Some(TLS[*n].key().public_key()) == self.channel.root_key.as_ref())
            .map_or(0, |n| 1 << n);
        let trusted = match (&self.bundle, self.trusted()) {
            (Some(text), Some(stored)) => {
                let same = serde_json::to_string(&said.result.ca_bundle).is_ok_and(|said| said == *text);
                let pinned = matches!(self.channel.source, Source::Pin | Source::CaFile);
                same || signed_by(stored | if pinned { root } else { 0 })
            }
            _ if root & bundle.tls != 0 => signed_by(root),
            _ => self.channel.cluster.is_none() && signed_by(bundle.tls),
        };
        trusted && bundle.tls != 0 && bundle.cluster == self.cluster
    }
}
