//! The public vectors of whole sequences, `docs/vectors/sequences.json`: made by a whole service, and played against
//! another one. What comes again, what is behind and what is forked is judged by what came before it.

use boundkey_keys::PrivateKey;
use boundkey_lifecycle::Uid;
use boundkey_proto::{
    AttemptId, JoinAnswer, PROTOCOL_VERSION, Position, Request, build_complete, issue_challenge,
    read_challenge,
};
use boundkey_store::records::TokenRecord;
use boundkey_store::{Batch, MemorySnapshot, Store as _, keys};
use boundkey_token::{Role, RoleSet};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::fixture::now;
use super::vectors::{START, Site, TOKEN, bound, cases, file};
use crate::{join, put};

const NAME: &str = "sequences.json";
const UID: Uid = Uid([0x5e; 16]);

/// The cluster of the vectors; its token has the same uid wherever it is made.
fn site() -> Site {
    let site = Site::by_key();
    let token = now(site.service.load::<TokenRecord>(&keys::token(TOKEN), START)).expect("readable");
    let token = TokenRecord { uid: UID, ..token.expect("the token").record };
    let batch = Batch { conditions: Vec::new(), writes: vec![put(keys::token(TOKEN), &token)] };
    now(site.store.commit(batch, START)).expect("written");
    site
}

/// What a server answers, as far as it is the same for every server.
fn answer(site: &Site, body: &[u8], at: OffsetDateTime) -> Value {
    site.clock.set(at);
    match now(join::complete(&site.service, body, &site.service.own_context(), at)) {
        Ok(JoinAnswer::Admitted(result)) => json!({
            "status": "admitted",
            "kind": result.kind,
            "certificates": result.certificates.is_some(),
            "join_state": result.join_state,
        }),
        Ok(JoinAnswer::Confirm { challenge }) => {
            let position = position(&challenge);
            json!({ "status": "confirm", "position": position })
        }
        Ok(JoinAnswer::RotationRequired {}) => json!({ "status": "rotation_required" }),
        Err(refused) => {
            let problem = refused.refusal.problem;
            json!({ "status": problem.status, "code": problem.code })
        }
    }
}

/// The claim of a challenge that only a `confirm` has, as it stands there.
fn position(challenge: &str) -> Value {
    use base64::Engine as _;
    let payload = challenge.split('.').nth(1).expect("three parts");
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).expect("base64url");
    serde_json::from_slice::<Value>(&payload).expect("JSON")["position"].clone()
}

/// One case while it is made: each message as it is sent, with the answer that it got.
struct Sequence {
    site: Site,
    /// The store after so many messages.
    past: Vec<MemorySnapshot>,
    messages: Vec<Value>,
    answers: Vec<Value>,
    restored: Option<usize>,
}

/// What a message is made of, besides the keys, which are always the same.
#[derive(Clone, Copy)]
struct Made<'a> {
    /// Seconds from the start.
    at: i64,
    attempt: u8,
    state: Option<&'a str>,
    position: Option<Position>,
    /// The seed of the key to be certified.
    tls: u8,
}

impl<'a> Made<'a> {
    fn new(at: i64, attempt: u8, state: Option<&'a str>) -> Self {
        Self { at, attempt, state, position: None, tls: 3 }
    }
}

impl Sequence {
    fn new() -> Self {
        let site = site();
        let past = vec![site.store.snapshot()];
        Self { site, past, messages: Vec::new(), answers: Vec::new(), restored: None }
    }

    /// The server is put back to where it was after so many messages.
    fn restore(&mut self, after: usize) {
        self.site.store.restore(&self.past[after]);
        self.restored = Some(after);
    }

    fn body(&self, made: Made<'_>) -> String {
        // Every message over a challenge of its own.
        let nonce = [self.messages.len() as u8 + 1; 32];
        let at = START + time::Duration::seconds(made.at);
        let service = &self.site.service;
        let challenge = issue_challenge(service.cluster(), service.master(), nonce, made.position, at);
        let view = read_challenge(&challenge, None).expect("a challenge");
        let key = bound();
        let request = Request {
            version: PROTOCOL_VERSION,
            token: TOKEN.parse().expect("a name"),
            roles: RoleSet::new([Role::Node]),
            attempt: AttemptId([made.attempt; 16]),
            bound_key: key.public_key().clone(),
            new_key: None,
            tls_key: PrivateKey::ed25519_from_seed(&[made.tls; 32]).public_key().clone(),
            ssh_key: None,
            names: Default::default(),
            ttl_seconds: None,
            join_state: made.state.map(str::to_owned),
            facts: Default::default(),
        };
        let message = build_complete(&challenge, &view, &request, &key, None, None).expect("it fits");
        serde_json::to_string(&message).expect("JSON")
    }

    /// Sends these bytes; gives back the join state of the answer, if it has one.
    fn send(&mut self, what: &str, at: i64, body: &str) -> String {
        let at = START + time::Duration::seconds(at);
        let answer = answer(&self.site, body.as_bytes(), at);
        let mut message = json!({ "what": what, "now": crate::rfc3339(at), "body": body });
        if let Some(after) = self.restored.take() {
            message["restored_to_after_message"] = json!(after);
        }
        let state = answer["join_state"].as_str().unwrap_or_default().to_owned();
        self.messages.push(message);
        self.answers.push(answer);
        self.past.push(self.site.store.snapshot());
        state
    }

    fn make(&mut self, what: &str, made: Made<'_>) -> String {
        let body = self.body(made);
        self.send(what, made.at, &body)
    }

    /// The position that the last answer wants to be confirmed.
    fn confirmed(&self) -> Option<Position> {
        serde_json::from_value(self.answers.last().expect("an answer")["position"].clone()).ok()
    }

    /// The body that was sent as this message, counted from 1.
    fn sent(&self, number: usize) -> String {
        self.messages[number - 1]["body"].as_str().expect("a body").to_owned()
    }

    /// A registration and a renewal; their join states.
    fn two_joins(&mut self) -> (String, String) {
        let first = self.make("registers", Made::new(0, 1, None));
        let second = self.make("renews", Made::new(10, 2, Some(&first)));
        (first, second)
    }

    fn end(self, name: &str) -> Value {
        json!({ "name": name, "messages": self.messages, "expect": self.answers })
    }
}

fn replays() -> Vec<Value> {
    let mut life = Sequence::new();
    life.make("registers", Made::new(0, 1, None));
    for (at, what) in [(30, "the same bytes"), (59, "the same bytes"), (60, "the same bytes, too late")] {
        life.send(what, at, &life.sent(1));
    }

    let mut late = Sequence::new();
    let (_, second) = late.two_joins();
    late.send("the registration's bytes again", 20, &late.sent(1));
    late.make("the machine goes on", Made::new(30, 3, Some(&second)));

    let mut renewal = Sequence::new();
    let (_, second) = renewal.two_joins();
    renewal.send("the renewal's bytes again", 15, &renewal.sent(2));
    let third = renewal.make("renews", Made::new(20, 3, Some(&second)));
    renewal.send("the earlier renewal's bytes again", 30, &renewal.sent(2));
    renewal.make("the machine goes on", Made::new(40, 4, Some(&third)));

    let mut lost = Sequence::new();
    let first = lost.make("registers; the answer is lost", Made::new(0, 1, None));
    lost.make("the same attempt over a new challenge", Made::new(40, 1, None));
    lost.make("the same attempt for another key", Made { tls: 6, ..Made::new(50, 1, None) });
    lost.make("the same attempt after the certificates' end", Made::new(86_400, 1, None));
    lost.make("the machine goes on", Made::new(86_410, 2, Some(&first)));
    vec![
        life.end("an accepted message comes again within its challenge's life, and after it"),
        late.end("an accepted registration comes again after the next join"),
        renewal.end("an accepted renewal comes again, before and after the next one"),
        lost.end("an attempt is repeated because its answer was lost"),
    ]
}

fn behind() -> Vec<Value> {
    let mut behind = Sequence::new();
    let (first, second) = behind.two_joins();
    let copy = Made::new(20, 9, Some(&first));
    behind.make("a copy with the state of before the renewal", copy);
    let position = behind.confirmed();
    behind.make("the copy confirms", Made { at: 21, position, ..copy });
    behind.make("the machine, with the current state", Made::new(30, 3, Some(&second)));

    let mut overtaken = Sequence::new();
    let (first, second) = overtaken.two_joins();
    let copy = Made::new(20, 9, Some(&first));
    overtaken.make("a copy with the state of before the renewal", copy);
    let position = overtaken.confirmed();
    overtaken.make("the machine renews meanwhile", Made::new(22, 3, Some(&second)));
    let stale = Made { at: 24, position, ..copy };
    overtaken.make("the copy confirms a position that the lineage has left", stale);
    let position = overtaken.confirmed();
    overtaken.make("the copy confirms the present one", Made { at: 25, position, ..copy });
    vec![
        behind.end("a genuine state that is behind"),
        overtaken.end("a genuine state that is behind, and a confirmation that comes too late"),
    ]
}

fn restored() -> Vec<Value> {
    let mut ahead = Sequence::new();
    let (_, second) = ahead.two_joins();
    ahead.restore(1);
    let third = ahead
        .make("the machine, with a state that the server has forgotten", Made::new(20, 3, Some(&second)));
    ahead.send("the forgotten renewal's bytes again", 30, &ahead.sent(2));
    ahead.make("the machine goes on", Made::new(40, 4, Some(&third)));

    let mut same = Sequence::new();
    let (_, second) = same.two_joins();
    same.restore(1);
    same.send("the forgotten renewal's bytes again: the same state", 20, &same.sent(2));
    same.make("the machine goes on", Made::new(30, 3, Some(&second)));

    let fork = |joins: u8| {
        let mut fork = Sequence::new();
        let (first, mut state) = fork.two_joins();
        for n in 0..joins {
            state = fork.make("renews", Made::new(12 + i64::from(n), 3 + n, Some(&state)));
        }
        fork.restore(1);
        let other = fork.make("a copy with the state of before the renewal", Made::new(20, 9, Some(&first)));
        let machine = Made::new(30, 7, Some(&state));
        fork.make("the machine, with a state of the other history", machine);
        let position = fork.confirmed();
        fork.make("the machine confirms", Made { at: 31, position, ..machine });
        fork.make("the copy, with the current state", Made::new(40, 10, Some(&other)));
        fork
    };
    vec![
        ahead.end("a restored server and a genuine state that is ahead"),
        same.end("a restored server and a message from before"),
        fork(0).end("a genuine state that is forked: the same sequence, another id"),
        fork(1).end("a genuine state that is forked: ahead, and its trail has another id"),
    ]
}

fn made() -> Value {
    let given = file("completes.json")["given"].clone();
    let cases = [replays(), behind(), restored()].concat();
    json!({
        "about": "Messages one after another to a server with this one token, and the answer to each. The bodies are those of \
                  POST /v1/join/complete as they arrive at `now`; a message with `restored_to_after_message` finds the \
                  server's store as it was after so many messages (0: before the first). `confirm` names the position of \
                  its challenge; the message that confirms it stands in the file, over a challenge made by the keyring. \
                  `certificates` says whether the answer has any. A server whose host ids or lifetimes are others makes \
                  other join states; everything else is the same.",
        "chapter": "docs/protocol.md",
        "given": {
            "cluster": given["cluster"],
            "master_key": given["master_key"],
            "token": {
                "name": TOKEN, "uid": UID, "roles": ["Node"],
                "initial_public_key": bound().public_key().to_openssh(),
                "recovery": { "mode": "standard", "limit": 1 },
            },
            "certificate_lifetime_seconds": 86_400,
            "renewal_grace_seconds": 30 * 86_400,
            "keys": { "bound": given["keys"]["bound"], "tls": given["keys"]["tls"] },
        },
        "cases": cases,
    })
}

/// Members in alphabetical order, whatever order this build of the JSON library keeps.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|a, b| a.0.cmp(b.0));
            Value::Object(members.into_iter().map(|(name, value)| (name.clone(), sorted(value))).collect())
        }
        Value::Array(entries) => Value::Array(entries.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

#[test]
fn the_file_of_sequences_is_what_this_service_makes() {
    let text = serde_json::to_string_pretty(&sorted(&made())).expect("JSON") + "\n";
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/vectors").join(NAME);
    if std::env::var_os("BOUNDKEY_WRITE_VECTORS").is_some() {
        std::fs::write(path, text).expect("written");
    } else {
        let found = std::fs::read_to_string(path).expect("the file is there");
        assert!(found == text, "{NAME}: to be written anew by BOUNDKEY_WRITE_VECTORS=1");
    }
}

/// One word for each answer: the kind of a result (with a star if it has no certificates), `confirm`, or the code.
fn words(answers: &[Value]) -> String {
    let word = |answer: &Value| match answer["status"].as_str() {
        Some("admitted") => {
            let star = if answer["certificates"] == true { "" } else { "*" };
            format!("{}{star}", answer["kind"].as_str().expect("a kind"))
        }
        Some(status) => status.to_owned(),
        None => answer["code"].as_str().expect("a code").to_owned(),
    };
    answers.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_sequence_of_the_vectors_gets_the_answers_that_the_file_says() {
    let mut found = Vec::new();
    for case in cases(&file(NAME)) {
        let name = case["name"].as_str().expect("a name");
        let site = site();
        let mut past = vec![site.store.snapshot()];
        let mut answers = Vec::new();
        for message in case["messages"].as_array().expect("messages") {
            if let Some(after) = message["restored_to_after_message"].as_u64() {
                site.store.restore(&past[usize::try_from(after).expect("a number")]);
            }
            let at =
                OffsetDateTime::parse(message["now"].as_str().expect("a time"), &Rfc3339).expect("a time");
            answers.push(answer(&site, message["body"].as_str().expect("a body").as_bytes(), at));
            past.push(site.store.snapshot());
        }
        assert_eq!(case["expect"], Value::Array(answers.clone()), "{name}");
        found.push(words(&answers));
    }
    // What the file says is not only what the service does, but what it has to do.
    assert_eq!(
        found,
        [
            "registered retried retried challenge_expired",
            "registered renewed confirm renewed",
            "registered renewed retried renewed confirm renewed",
            "registered retried retried* retried* renewed",
            "registered renewed confirm clone_detected locked",
            "registered renewed confirm renewed confirm clone_detected",
            "registered renewed renewed confirm renewed",
            "registered renewed renewed renewed",
            "registered renewed renewed confirm clone_detected locked",
            "registered renewed renewed renewed confirm clone_detected locked",
        ]
    );
}
