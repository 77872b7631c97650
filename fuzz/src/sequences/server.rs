use std::cell::OnceCell;
use std::collections::{BTreeMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use boundkey_keys::{
    MasterKey, PrivateKey, PublicKey, Secret, Signer, Thumbprint, secret_proof_key, sign_jws,
};
use boundkey_lifecycle::{Position, StateClaims, StateEvidence};
use boundkey_proto::{
    AttemptId, Complete, JoinAnswer, JoinKindName, PROOF_TYP, PROTOCOL_VERSION, Request, build_complete,
    issue_challenge, open_state, read_challenge, receive_complete, seal_state,
};
use boundkey_service::join;
use boundkey_token::{Role, RoleSet};

use super::world::{SECRET, Site, home, poll, token};
use super::{Choices, say};
use crate::scene::{CLUSTER, key};

const TOKENS: [&str; 2] = ["web-1", "web-2"];

thread_local! {
    static HOME: OnceCell<Site> = const { OnceCell::new() };
}

fn tokens() -> String {
    let initial = format!("initial_public_key: {}", key(30).public_key().to_openssh());
    token(TOKENS[0], &format!("registration_secret: {SECRET}"), "") + &token(TOKENS[1], &initial, "")
}

/// Messages of honest machines, and whatever can be made of their parts: members swapped between sessions, tokens,
/// attempts and clusters, cut, doubled, re-ordered, re-signed and replayed, sent to the real service. Nothing is proven
/// that was not signed for exactly this message, and what is refused changes nothing.
pub fn server_ceremony(data: &[u8]) {
    HOME.with(|site| {
        let site = site.get_or_init(|| home(&tokens()));
        site.reset();
        let mut choices = Choices::of_joins(data);
        let mut world = World::new(site);
        while choices.more() {
            world.step(&mut choices);
        }
    });
}

struct Machine {
    token: &'static str,
    bound: u8,
    new: Option<u8>,
    state: Option<String>,
    attempt: u8,
    has_secret: bool,
}

struct World<'s> {
    site: &'s Site,
    machines: Vec<Machine>,
    challenges: Vec<String>,
    messages: Vec<Complete>,
    states: Vec<String>,
    /// What was signed: by whom, over which challenge and request.
    signed: HashSet<(String, String, Thumbprint)>,
    proven_secrets: HashSet<(String, String)>,
    issued: HashSet<String>,
    sealed: HashSet<String>,
    backup: Option<boundkey_store::MemorySnapshot>,
    next_key: u8,
    nonce: u8,
}

impl<'s> World<'s> {
    fn new(site: &'s Site) -> Self {
        let machine = |token, bound, has_secret| Machine {
            token,
            bound,
            new: None,
            state: None,
            attempt: bound,
            has_secret,
        };
        Self {
            site,
            machines: vec![
                machine(TOKENS[0], 20, true),
                machine(TOKENS[1], 30, false),
                machine(TOKENS[0], 40, false),
            ],
            challenges: Vec::new(),
            messages: Vec::new(),
            states: Vec::new(),
            signed: HashSet::new(),
            proven_secrets: HashSet::new(),
            issued: HashSet::new(),
            sealed: HashSet::new(),
            backup: None,
            next_key: 60,
            nonce: 0,
        }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        let operation = choices.below(16);
        let n = choices.below(self.machines.len());
        say((operation, n));
        match operation {
            0..=2 => self.join(n, choices.below(2) == 1),
            3 => self.begin(choices),
            4 => {
                if let Some(challenge) = choices.one_of(&self.challenges).cloned() {
                    let message = self.message(n, &challenge);
                    self.messages.extend(message);
                }
            }
            5 | 6 => {
                if let Some(message) = choices.one_of(&self.messages).cloned() {
                    self.send(&message);
                }
            }
            7 | 8 => self.swap(choices),
            9 => self.cut(choices),
            10 => self.edit(choices),
            11 => self.sign_again(choices),
            12 => self.other_state(n, choices),
            13 => self.site.clock.advance(time::Duration::seconds(i64::from(choices.byte()).pow(2) * 20)),
            14 => self.administrator(n, choices),
            _ => self.raw(choices),
        }
    }

    /// A challenge of ours, or of a cluster that is not.
    fn begin(&mut self, choices: &mut Choices<'_>) {
        self.nonce = self.nonce.wrapping_add(1);
        let (nonce, now) = ([self.nonce; 32], self.site.now());
        let here = |position| issue_challenge(CLUSTER, self.site.service.master(), nonce, position, now);
        let challenge = match choices.below(6) {
            0 | 1 => here(None),
            2 => {
                let position =
                    self.site.enrolment(TOKENS[0]).map(|found| found.enrolment.position(found.uid));
                here(position)
            }
            3 => here(Some(Position([choices.byte(); 16]))),
            4 => issue_challenge("other.example", self.site.service.master(), nonce, None, now),
            _ => issue_challenge(CLUSTER, &MasterKey::new(9, [9; 32]), nonce, None, now),
        };
        if open_here(self.site, &challenge) {
            self.issued.insert(challenge.clone());
        }
        self.challenges.push(challenge);
    }

    fn message(&mut self, n: usize, challenge: &str) -> Option<Complete> {
        let machine = &self.machines[n];
        // A client answers no challenge of another cluster.
        let view = read_challenge(challenge, Some(CLUSTER)).ok()?;
        let (bound, new) = (key(machine.bound), machine.new.map(key));
        let request = Request {
            version: PROTOCOL_VERSION,
            token: machine.token.parse().expect("a name"),
            roles: RoleSet::new([Role::Node]),
            attempt: AttemptId([machine.attempt; 16]),
            bound_key: bound.public_key().clone(),
            new_key: new.as_ref().map(|key| key.public_key().clone()),
            tls_key: key(machine.attempt.wrapping_add(1)).public_key().clone(),
            ssh_key: None,
            names: Default::default(),
            ttl_seconds: None,
            join_state: machine.state.clone(),
            facts: Default::default(),
        };
        let secret = machine
            .has_secret
            .then(|| secret_proof_key(&Secret::new(SECRET.to_owned()), CLUSTER, machine.token));
        let signer = new.as_ref().map(|key| key as &dyn Signer);
        let message =
            build_complete(challenge, &view, &request, &bound, signer, secret.as_deref()).expect("it fits");
        self.signs(&message, &bound);
        if let Some(new) = &new {
            self.signs(&message, new);
        }
        if machine_has_secret(&self.machines[n]) {
            self.proven_secrets.insert((message.challenge.clone(), message.request.clone()));
        }
        Some(message)
    }

    fn signs(&mut self, message: &Complete, by: &PrivateKey) {
        let name = by.public_key().thumbprint();
        self.signed.insert((message.challenge.clone(), message.request.clone(), name));
    }

    /// A whole join; its answer may be lost.
    fn join(&mut self, n: usize, loses: bool) {
        let mut challenge = join::begin(&self.site.service, self.site.now()).challenge;
        self.issued.insert(challenge.clone());
        for _ in 0..5 {
            let Some(message) = self.message(n, &challenge) else { return };
            if self.messages.len() < 24 {
                self.messages.push(message.clone());
                self.challenges.push(challenge.clone());
            }
            match self.send(&message) {
                Some(JoinAnswer::Admitted(result)) if !loses => {
                    let machine = &mut self.machines[n];
                    if let Some(new) = machine.new.take()
                        && *key(new).public_key() == result.bound_key
                    {
                        machine.bound = new;
                    }
                    machine.state = Some(result.join_state);
                    machine.attempt = machine.attempt.wrapping_add(7);
                    machine.has_secret = false;
                    return;
                }
                Some(JoinAnswer::Confirm { challenge: fresh }) => challenge = fresh,
                Some(JoinAnswer::RotationRequired {}) if self.machines[n].new.is_none() => {
                    self.next_key = self.next_key.wrapping_add(1);
                    self.machines[n].new = Some(self.next_key);
                }
                _ => return,
            }
        }
    }

    /// A member of one message in another.
    fn swap(&mut self, choices: &mut Choices<'_>) {
        let (Some(one), Some(other)) =
            (choices.one_of(&self.messages).cloned(), choices.one_of(&self.messages).cloned())
        else {
            return;
        };
        let mut made = one;
        match choices.below(7) {
            0 => made.challenge = other.challenge,
            1 => made.request = other.request,
            2 => made.proofs = other.proofs,
            3 => made.secret_proof = other.secret_proof,
            4 => made.proofs.reverse(),
            5 => made.proofs.extend(other.proofs.into_iter().take(1)),
            _ => {
                if let Some(challenge) = choices.one_of(&self.challenges) {
                    made.challenge.clone_from(challenge);
                }
            }
        }
        self.send(&made);
        self.messages.push(made);
    }

    fn cut(&mut self, choices: &mut Choices<'_>) {
        let Some(mut made) = choices.one_of(&self.messages).cloned() else { return };
        let member = match choices.below(4) {
            0 => &mut made.challenge,
            1 => &mut made.request,
            2 => made.secret_proof.get_or_insert_with(String::new),
            _ => match made.proofs.last_mut() {
                Some(proof) => proof,
                None => return,
            },
        };
        let at = member.len() * usize::from(choices.byte()) / 256;
        if choices.flag() {
            member.truncate(at);
        } else if at < member.len() {
            // Another character of the same alphabet.
            let with = if member.as_bytes()[at] == b'A' { "B" } else { "A" };
            member.replace_range(at..=at, with);
        }
        self.send(&made);
    }

    /// The request says something else than what was signed.
    fn edit(&mut self, choices: &mut Choices<'_>) {
        let (Some(mut made), Some(other)) =
            (choices.one_of(&self.messages).cloned(), choices.one_of(&self.messages).cloned())
        else {
            return;
        };
        let (Ok(mut request), Ok(other)) = (Request::decode(&made.request), Request::decode(&other.request))
        else {
            return;
        };
        match choices.below(7) {
            0 => request.token = other.token,
            1 => request.attempt = AttemptId([choices.byte(); 16]),
            2 => request.join_state = choices.one_of(&self.states).cloned(),
            3 => request.tls_key = other.bound_key,
            4 => request.bound_key = other.bound_key,
            5 => request.new_key = Some(key(choices.byte()).public_key().clone()),
            _ => request.ttl_seconds = Some(60 + u64::from(choices.byte())),
        }
        made.request = request.encode();
        self.send(&made);
        self.messages.push(made);
    }

    /// The proof's payload, signed by another key that names itself; or the whole message by somebody else.
    fn sign_again(&mut self, choices: &mut Choices<'_>) {
        let Some(mut made) = choices.one_of(&self.messages).cloned() else { return };
        let by = key([20, 30, 40, choices.byte()][choices.below(4)]);
        let at = choices.below(made.proofs.len());
        let payload = made.proofs.get(at).and_then(|proof| proof.split('.').nth(1));
        let Some(payload) = payload.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()) else { return };
        let Ok(proof) = sign_jws(&by, PROOF_TYP, &payload) else { return };
        made.proofs[at] = proof;
        // Whoever signs the payload of this very message has signed this message.
        if let Ok(view) = read_challenge(&made.challenge, None) {
            let transcript = boundkey_proto::Transcript::new(&made.challenge, &made.request).0;
            let text = String::from_utf8_lossy(&payload).into_owned();
            let encoded = URL_SAFE_NO_PAD.encode(transcript);
            if text.contains(&encoded) && text.contains(&view.cluster) {
                self.signs(&made, &by);
            }
        }
        self.send(&made);
    }

    /// The machine presents a state that is not its own.
    fn other_state(&mut self, n: usize, choices: &mut Choices<'_>) {
        let state = match choices.below(4) {
            0 => None,
            1 => choices.one_of(&self.states).cloned(),
            kind => choices.one_of(&self.states).and_then(|state| {
                let master = self.site.service.master();
                let StateEvidence::Valid(claims) = open_state(state, CLUSTER, master) else { return None };
                let claims: StateClaims = *claims;
                Some(match kind {
                    2 => seal_state(&claims, "other.example", master),
                    _ => seal_state(&claims, CLUSTER, &MasterKey::new(9, [9; 32])),
                })
            }),
        };
        self.machines[n].state = state;
    }

    fn administrator(&mut self, n: usize, choices: &mut Choices<'_>) {
        let (name, now) = (self.machines[n].token, self.site.now());
        match choices.below(5) {
            0 => self.site.change(name, |enrolment| enrolment.rotate_requested_at = Some(now)),
            1 => self.site.change(name, |e| e.resync_until = Some(now + time::Duration::HOUR)),
            2 => self.backup = Some(self.site.store.snapshot()),
            3 => {
                if let Some(backup) = &self.backup {
                    self.site.store.restore(backup);
                }
            }
            _ => self.machines[n].has_secret = !self.machines[n].has_secret,
        }
    }

    /// The bytes of the body.
    fn raw(&mut self, choices: &mut Choices<'_>) {
        let Some(message) = choices.one_of(&self.messages) else { return };
        let mut body = serde_json::to_vec(message).expect("JSON");
        let at = body.len() * usize::from(choices.byte()) / 256;
        match choices.below(4) {
            0 => body.truncate(at),
            1 => body[at] ^= 1 << (choices.byte() % 8),
            2 => body.extend_from_within(at..),
            _ => body.insert(at, choices.byte()),
        }
        self.deliver(&body);
    }

    fn send(&mut self, message: &Complete) -> Option<JoinAnswer> {
        self.deliver(&serde_json::to_vec(message).expect("JSON"))
    }

    /// One body to the real service, and what must hold of every answer.
    fn deliver(&mut self, body: &[u8]) -> Option<JoinAnswer> {
        let (service, now) = (&self.site.service, self.site.now());
        self.only_what_was_signed(body);
        self.site.write_counted();
        let (before, events) = self.site.records();
        let answer = poll(join::complete(service, body, &service.own_context(), now));
        let (after, events_after) = self.site.records();
        let changed = changed(&before, &after);
        say((&answer, &changed));
        match answer {
            Ok(answer) => {
                match &answer {
                    JoinAnswer::Admitted(result) if result.kind != JoinKindName::Retried => {
                        assert!(changed.contains("enrolment"), "admitted, and nothing stored: {changed:?}");
                        assert!(!changed.contains("token") && !changed.contains("ca"), "{changed:?}");
                        assert_eq!(events_after, events + 1, "an admission has its event");
                        self.sealed.insert(result.join_state.clone());
                        if self.states.len() < 24 {
                            self.states.push(result.join_state.clone());
                        }
                    }
                    JoinAnswer::Admitted(result) => {
                        assert!(self.sealed.contains(&result.join_state), "a retry told of another state");
                        assert!(changed.is_empty() && events == events_after, "a retry changed {changed:?}");
                    }
                    JoinAnswer::Confirm { challenge } => {
                        self.issued.insert(challenge.clone());
                        assert!(changed.is_empty() && events == events_after);
                    }
                    JoinAnswer::RotationRequired {} => {
                        assert!(changed.is_empty() && events == events_after);
                    }
                }
                Some(answer)
            }
            Err(refused) => {
                let code = refused.refusal.problem.code;
                let allowed: &[&str] = if code == "clone_detected" { &["lock", "lock-of"] } else { &[] };
                assert!(changed.iter().all(|kind| allowed.contains(kind)), "{code} changed {changed:?}");
                let told = refused.refusal.problem.status == 403 && code != "denied";
                let own = events_after - events;
                assert!(own <= usize::from(told), "{code}: {own} events");
                // It has an event, or a row that counts it. Strangers are counted too.
                let counted = self.site.write_counted();
                assert!(!told || own + counted == 1, "{code}: {own} events, {counted} rows");
                None
            }
        }
    }

    /// The judgement of the protocol layer, against the book that is kept here.
    fn only_what_was_signed(&self, body: &[u8]) {
        let (service, now) = (&self.site.service, self.site.now());
        let Ok(received) = receive_complete(body, CLUSTER, service.master(), now) else { return };
        let message: Complete = serde_json::from_slice(body).expect("what was received is a message");
        assert!(self.issued.contains(&message.challenge), "a challenge that was not issued here");
        let by = |key: &PublicKey| (message.challenge.clone(), message.request.clone(), key.thumbprint());
        for key in received.proven.current.iter().chain(&received.proven.new) {
            assert!(self.signed.contains(&by(key.public_key())), "proven without a signature");
        }
        if received.proven.current.is_some() {
            assert_eq!(received.proven.new.is_some(), received.request.new_key.is_some());
        }
        let secret = secret_proof_key(&Secret::new(SECRET.to_owned()), CLUSTER, TOKENS[0]);
        if received.secret_matches(&secret) {
            assert!(
                self.proven_secrets.contains(&(message.challenge, message.request)),
                "a secret by chance"
            );
        }
        if let StateEvidence::Valid(_) = received.join_state {
            let state = received.request.join_state.expect("there is one");
            assert!(self.sealed.contains(&state), "a join state that was not issued here");
        }
    }
}

fn machine_has_secret(machine: &Machine) -> bool {
    machine.has_secret
}

fn open_here(site: &Site, challenge: &str) -> bool {
    let message = Complete {
        challenge: challenge.to_owned(),
        request: String::new(),
        proofs: Vec::new(),
        secret_proof: None,
    };
    let body = serde_json::to_vec(&message).expect("JSON");
    match receive_complete(&body, CLUSTER, site.service.master(), site.now()) {
        Ok(_) => true,
        Err(error) => !error.code().starts_with("challenge_"),
    }
}

/// The kinds of the records that differ: the first word of their keys.
fn changed<'r>(
    before: &'r BTreeMap<String, Vec<u8>>,
    after: &'r BTreeMap<String, Vec<u8>>,
) -> HashSet<&'r str> {
    let differs = |key: &&String| before.get(*key) != after.get(*key);
    let keys = before.keys().chain(after.keys());
    keys.filter(differs).map(|key| key.split('/').next().unwrap_or(key)).collect()
}
