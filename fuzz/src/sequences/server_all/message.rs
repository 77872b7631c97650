//! Messages out of anything: each part is a value that can be bent, and what is over it is made anew.

use boundkey_keys::{Secret, hmac_sha256, secret_proof_key};
use boundkey_proto::{CHALLENGE_TYP, Complete, JoinAnswer, STATE_TYP, Transcript};
use serde_json::{Value, json};

use super::super::Choices;
use super::super::forge::{KEYS, bend, encode, header, payload, proof_header, public, unsigned};
use super::super::world::SECRET;
use super::{TOKENS, World};
use crate::scene::CLUSTER;

/// What a message is made of. What signs what follows from it when it is sent.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    challenge: String,
    request: Value,
    proofs: Vec<Proof>,
    /// Of which text, for which token.
    secret: Option<(String, &'static str)>,
}

#[derive(Debug, Clone)]
struct Proof {
    /// Whose header it has.
    by: usize,
    purpose: &'static str,
    /// One member of its payload says something else.
    bent: Option<(&'static str, String)>,
}

impl Proof {
    fn of(by: usize, purpose: &'static str) -> Self {
        Self { by, purpose, bent: None }
    }
}

impl Parts {
    fn complete(&self) -> Complete {
        let request = encode(self.request.to_string());
        let transcript = Transcript::new(&self.challenge, &request);
        let claims = payload(&self.challenge).unwrap_or_default();
        let proof = |proof: &Proof| {
            let mut said = json!({
                "aud": CLUSTER,
                "nonce": claims["nonce"].as_str().unwrap_or_default(),
                "transcript": encode(transcript.0),
                "purpose": proof.purpose,
            });
            if let Some((member, text)) = &proof.bent {
                said[*member] = json!(text);
            }
            unsigned(proof_header(proof.by), &said)
        };
        let secret = self.secret.as_ref().map(|(text, token)| {
            let key = secret_proof_key(&Secret::new(text.clone()), CLUSTER, token);
            encode(hmac_sha256(&*key, &transcript.0))
        });
        Complete {
            challenge: self.challenge.clone(),
            proofs: self.proofs.iter().map(proof).collect(),
            secret_proof: secret,
            request,
        }
    }
}

impl World<'_> {
    /// What machine `n` sends, by the book.
    pub(super) fn honest(&self, n: usize, challenge: &str) -> Parts {
        let machine = &self.machines[n];
        let mut request = json!({
            "version": 1,
            "token": TOKENS[machine.token],
            "roles": [if machine.token == 3 { "Bot" } else { "Node" }],
            "attempt": attempt(machine.attempt),
            "bound_key": public(machine.bound),
            "tls_key": public(usize::from(machine.attempt) % 40),
        });
        let mut proofs = vec![Proof::of(machine.bound, "bound_key")];
        if let Some(new) = machine.new {
            request["new_key"] = json!(public(new));
            proofs.push(Proof::of(new, "new_key"));
        }
        let secret = match &machine.state {
            Some(state) => {
                request["join_state"] = json!(state);
                None
            }
            None => self.book.secrets.get(machine.token).map(|text| (text.clone(), TOKENS[machine.token])),
        };
        Parts { challenge: challenge.to_owned(), request, proofs, secret }
    }

    /// A challenge for a message of machine `n`: the usual one, a live one, an old one, or one that says anything.
    pub(super) fn challenge(&mut self, n: usize, choices: &mut Choices<'_>) -> String {
        let (token, now) = (TOKENS[self.machines[n].token], self.site.now());
        let live = |claims: &mut Value| {
            let position = self.site.enrolment(token).map(|found| found.enrolment.position(found.uid));
            if let Some(position) = position {
                claims["position"] = json!(position);
            }
        };
        let mut claims = json!({
            "iss": CLUSTER,
            "aud": CLUSTER,
            "iat": now.unix_timestamp(),
            "exp": now.unix_timestamp() + 60,
            "nonce": encode([choices.byte(); 32]),
        });
        match choices.below(8) {
            0..=2 => live(&mut claims),
            3 | 4 => {}
            5 => {
                live(&mut claims);
                let other = self.challenges.last().and_then(|text| payload(text)).unwrap_or_default();
                bend(&mut claims, &other, choices);
            }
            6 => claims["position"] = json!(encode([choices.byte(); 16])),
            _ => {
                if let Some(old) = choices.one_of(&self.challenges) {
                    return old.clone();
                }
            }
        }
        let challenge = unsigned(&self.sealed_header(CHALLENGE_TYP, choices), &claims);
        if self.challenges.len() < 24 {
            self.challenges.push(challenge.clone());
        }
        challenge
    }

    /// Of what only the cluster makes; now and then of an epoch that is not there.
    fn sealed_header(&self, typ: &str, choices: &mut Choices<'_>) -> String {
        let kid = self.site.service.master().current().to_string();
        match choices.byte() {
            255 => header("HS256", "9.9", typ),
            254 => header("HS256", "1.7", typ),
            253 => header("EdDSA", &kid, typ),
            _ => header("HS256", &kid, typ),
        }
    }

    /// A join state of which one or two claims say something else.
    fn made_up(&self, choices: &mut Choices<'_>) -> Option<String> {
        let mut claims = payload(choices.one_of(&self.states)?)?;
        let other = choices.one_of(&self.states).and_then(|text| payload(text)).unwrap_or_default();
        for _ in 0..=choices.below(2) {
            bend(&mut claims, &other, choices);
        }
        if choices.flag() {
            // Of a key that can be proven.
            claims["key"] = json!(public(choices.below(KEYS)).thumbprint());
        }
        Some(unsigned(&self.sealed_header(STATE_TYP, choices), &claims))
    }

    fn any_state(&self, n: usize, choices: &mut Choices<'_>) -> Option<String> {
        match choices.below(5) {
            0 => self.machines[n].state.clone(),
            1 => None,
            2 => choices.one_of(&self.states).cloned(),
            _ => self.made_up(choices),
        }
    }

    /// Every part from anywhere.
    pub(super) fn composed(&mut self, n: usize, choices: &mut Choices<'_>) -> Parts {
        let challenge = self.challenge(n, choices);
        let mut parts = self.honest(n, &challenge);
        let token = self.machines[n].token;
        match self.any_state(n, choices) {
            Some(state) => parts.request["join_state"] = json!(state),
            None => drop(parts.request.as_object_mut().and_then(|request| request.remove("join_state"))),
        }
        let known = match choices.below(4) {
            0 => self.machines[n].bound,
            1 => choices.below(KEYS),
            2 => self.machines.iter().map(|machine| machine.bound).nth(choices.below(6)).unwrap_or_default(),
            _ => {
                // The key that the presented state names, wherever that came from.
                let named = parts.request["join_state"].as_str().and_then(payload).unwrap_or_default();
                let text = named["key"].as_str().unwrap_or_default();
                (0..KEYS).find(|n| public(*n).thumbprint().to_string() == text).unwrap_or_default()
            }
        };
        parts.request["bound_key"] = json!(public(known));
        parts.proofs = vec![Proof::of(known, "bound_key")];
        if choices.below(3) == 0 {
            let new = choices.below(KEYS);
            parts.request["new_key"] = json!(public(new));
            parts.proofs.push(Proof::of(new, "new_key"));
        }
        parts.request["attempt"] = json!(attempt(u16::from(choices.byte()) % 24));
        parts.secret = match choices.below(4) {
            0 => self.book.secrets.get(token).map(|text| (text.clone(), TOKENS[token])),
            1 => Some((SECRET.to_owned(), TOKENS[choices.below(4)])),
            _ => None,
        };
        if choices.below(4) == 0 {
            parts.request["ssh_key"] = json!(public(choices.below(KEYS)));
        }
        if choices.below(4) == 0 {
            self.bent(&mut parts, choices);
        }
        parts
    }

    /// One thing of a message says something else; whatever is over it is made anew.
    pub(super) fn bent(&mut self, parts: &mut Parts, choices: &mut Choices<'_>) {
        let n = choices.below(self.machines.len());
        match choices.below(12) {
            0 => parts.challenge = self.challenge(n, choices),
            1..=3 => {
                let other = choices.one_of(&self.messages).map(|m| m.request.clone()).unwrap_or_default();
                bend(&mut parts.request, &other, choices);
            }
            4 => parts.request["join_state"] = json!(self.any_state(n, choices)),
            5 => parts.request["token"] = json!(TOKENS[choices.below(5)]),
            6 => parts.request["bound_key"] = json!(public(choices.below(KEYS))),
            7 => parts.proofs.reverse(),
            8 => {
                let by = choices.below(KEYS);
                let purpose = if choices.flag() { "bound_key" } else { "new_key" };
                match choices.one_of(&[0, 1, 2]) {
                    Some(0) => parts.proofs.push(Proof::of(by, purpose)),
                    Some(1) => drop(parts.proofs.pop()),
                    _ => parts.proofs.first_mut().into_iter().for_each(|proof| proof.by = by),
                }
            }
            9 => {
                let member = ["aud", "nonce", "transcript", "purpose"][choices.below(4)];
                let text = match choices.below(3) {
                    0 => "other.example".to_owned(),
                    1 => encode([choices.byte(); 32]),
                    _ => "new_key".to_owned(),
                };
                parts
                    .proofs
                    .last_mut()
                    .into_iter()
                    .for_each(|proof| proof.bent = Some((member, text.clone())));
            }
            10 => {
                parts.request["names"] = match choices.below(4) {
                    0 => json!({"dns_names": [TOKENS[0]]}),
                    1 => json!({"dns_names": ["web-1.example.com", "x y"]}),
                    2 => json!({"ip_addresses": ["192.0.2.7"]}),
                    _ => json!({"principals": ["root"]}),
                };
            }
            _ => {
                parts.secret = match choices.below(3) {
                    0 => None,
                    1 => Some((SECRET.to_owned(), TOKENS[choices.below(4)])),
                    _ => Some(("a-word-that-is-43-bytes-of-base64url-form-0".to_owned(), TOKENS[0])),
                };
            }
        }
    }

    pub(super) fn send(&mut self, parts: &Parts) -> Option<JoinAnswer> {
        self.deliver(&parts.complete())
    }
}

fn attempt(number: u16) -> String {
    let mut bytes = [9; 16];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    encode(bytes)
}
