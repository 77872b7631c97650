//! `completes.json`: whole messages as a server receives them; here the challenge, the body and the join state are bent.

use boundkey_keys::{Epoch, MacKey, MasterKey, Purpose, sign_mac_jws};
use boundkey_lifecycle::{InvalidState, StateEvidence};
use boundkey_proto::{CHALLENGE_TYP, Complete, Position, Received, issue_challenge, receive_complete};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::scene::*;
use crate::vectors::{cases, frame, text};
use crate::{secrets, states};

/// What the server makes of a body, in the words of the vectors.
pub(crate) fn outcome(body: &[u8], now: OffsetDateTime) -> Value {
    match receive_complete(body, CLUSTER, &master(), now) {
        Err(error) => json!({"code": error.code(), "status": error.problem().status}),
        Ok(received) => accepted(&received),
    }
}

fn accepted(received: &Received) -> Value {
    let mut expect = json!({
        "transcript": b64(&received.transcript.0),
        "join_state": state_word(&received.join_state),
        "proven": {},
    });
    if let Some(key) = &received.proven.current {
        expect["proven"]["bound_key"] = json!(key.thumbprint());
    }
    if let Some(key) = &received.proven.new {
        expect["proven"]["new_key"] = json!(key.thumbprint());
    }
    if let Some(position) = received.position {
        expect["position"] = json!(position);
    }
    if received.secret_proof.is_some() {
        let right = received.secret_matches(&secrets::proof_key());
        expect["secret_proof"] = json!(if right { "right" } else { "wrong" });
    }
    expect
}

pub(crate) fn state_word(state: &StateEvidence) -> &'static str {
    match state {
        StateEvidence::None => "none",
        StateEvidence::Valid(_) => "valid",
        StateEvidence::Invalid(InvalidState::Unreadable) => "unreadable",
        StateEvidence::Invalid(InvalidState::BadTag) => "bad_tag",
        StateEvidence::Invalid(InvalidState::UnknownEpoch) => "unknown_epoch",
        StateEvidence::Invalid(InvalidState::OtherCluster) => "other_cluster",
    }
}

/// What a server makes of an honest message (nothing of it is read from the code under test but the transcript).
pub(crate) fn admitted(message: &Complete, proven: Value) -> Value {
    let transcript = boundkey_proto::Transcript::new(&message.challenge, &message.request);
    json!({"transcript": b64(&transcript.0), "join_state": "none", "proven": proven})
}

pub(crate) fn refused(status: u16, code: &str) -> Value {
    json!({"code": code, "status": status})
}

pub(crate) fn case(name: &str, now: OffsetDateTime, body: String, expect: Value) -> Value {
    json!({"name": name, "now": rfc3339(now), "body": body, "expect": expect})
}

pub(crate) fn body(message: &Complete) -> String {
    serde_json::to_string(message).expect("JSON")
}

fn bound() -> Value {
    json!({"bound_key": thumbprint(BOUND)})
}

pub(crate) fn given() -> Value {
    let seeds = [("bound", BOUND), ("new", NEW), ("tls", TLS), ("ssh", SSH), ("thief", THIEF)];
    let keys: serde_json::Map<String, Value> = seeds
        .into_iter()
        .map(|(name, seed)| {
            let key = json!({
                "ed25519_seed": b64(&[seed; 32]), "public_key": public(seed), "thumbprint": thumbprint(seed),
            });
            (name.to_owned(), key)
        })
        .collect();
    json!({
        "cluster": CLUSTER, "token": TOKEN, "master_key": master_file(), "keys": keys,
        "secret": secrets::GENERATED, "secret_proof_key": b64(&secrets::proof_key()),
    })
}

pub(crate) fn file() -> Value {
    let mut all = honest();
    all.extend(challenges());
    all.extend(bodies());
    all.extend(join_states());
    frame(
        "Bodies of POST /v1/join/complete, what a server at `now` makes of each, or the code with which it refuses. \
         `proven` empty: the message proves nothing, and the client is told `denied`.",
        given(),
        all,
    )
}

fn honest() -> Vec<Value> {
    let plain = bound_message(&request());
    let mut with_secret = plain.clone();
    with_secret.secret_proof = Some(secrets::proof_over(&plain));
    let mut wrong_secret = plain.clone();
    wrong_secret.secret_proof = Some(b64(&[0; 32]));
    let mut rotating = request();
    rotating.new_key = Some(public(NEW));
    let rotating = message(&challenge(), &rotating.encode(), &[(BOUND, "bound_key"), (NEW, "new_key")]);
    let position = Position([0x70; 16]);
    let live = message(&challenge_at(position), &request().encode(), &[(BOUND, "bound_key")]);
    let both = json!({"bound_key": thumbprint(BOUND), "new_key": thumbprint(NEW)});
    let expect = |message: &Complete, member: &str, value: Value| {
        let mut expect = admitted(message, bound());
        expect[member] = value;
        expect
    };
    let spread = bound_message_over(&serde_json::to_string_pretty(&request_json()).expect("JSON"));
    let escaped =
        bound_message_over(&request_json().to_string().replace("example-token", "example\\u002dtoken"));
    let escaped_body = body(&plain).replace('.', "\\u002e");
    vec![
        case("proof by the bound key", NOW, body(&plain), admitted(&plain, bound())),
        case(
            "with the registration secret",
            NOW,
            body(&with_secret),
            expect(&plain, "secret_proof", "right".into()),
        ),
        case("with a wrong secret", NOW, body(&wrong_secret), expect(&plain, "secret_proof", "wrong".into())),
        case("with a new key", NOW, body(&rotating), admitted(&rotating, both)),
        case("over a confirm challenge", NOW, body(&live), expect(&live, "position", json!(position))),
        case("the request's JSON is spread over lines", NOW, body(&spread), admitted(&spread, bound())),
        case("the request's JSON holds an escape", NOW, body(&escaped), admitted(&escaped, bound())),
        case("the body's JSON holds escapes", NOW, escaped_body, admitted(&plain, bound())),
    ]
}

/// A challenge with these claims as they stand, under this keyring's current key.
fn challenge_with(claims: &str, typ: &str, master: &MasterKey) -> String {
    let epoch = master.current();
    let key = master.derive(Purpose::Challenge, epoch).expect("current");
    sign_mac_jws(&MacKey::new(&key), typ, &epoch.to_string(), claims.as_bytes())
}

fn claims_json(extra: &str) -> String {
    let iat = NOW.unix_timestamp();
    format!(
        r#"{{"iss":"{CLUSTER}","aud":"{CLUSTER}","iat":{iat},"exp":{},"nonce":"{}"{extra}}}"#,
        iat + 60,
        b64(&NONCE)
    )
}

fn over(challenge: &str) -> String {
    body(&message(challenge, &request().encode(), &[(BOUND, "bound_key")]))
}

fn challenges() -> Vec<Value> {
    let plain = bound_message(&request());
    let honest = body(&plain);
    let fine = admitted(&plain, bound());
    let later = |seconds| NOW + Duration::seconds(seconds);
    let mut all = vec![
        case("challenge in its last second", later(59), honest.clone(), fine.clone()),
        case("challenge expired", later(60), honest.clone(), refused(400, "challenge_expired")),
        case("challenge of a replica whose clock is 10 s ahead", later(-10), honest.clone(), fine),
        case("challenge of a replica whose clock is 11 s ahead", later(-11), honest, {
            refused(400, "challenge_not_yet_valid")
        }),
    ];
    let challenge = challenge();
    let parts: Vec<&str> = challenge.split('.').collect();
    let current = master().current();
    let key = master().derive(Purpose::Challenge, current).expect("current");
    let header =
        |extra: &str| format!(r#"{{"alg":"HS256","kid":"{current}","typ":"{CHALLENGE_TYP}"{extra}}}"#);
    let mac = |header: &str, claims: &str| {
        forge(header, claims, |input| boundkey_keys::hmac_sha256(key.as_bytes(), input).to_vec())
    };
    let state = states::sealed();
    let bent: Vec<(&str, String)> = vec![
        ("challenge with an altered claim", altered(&challenge, parts[0].len() + 20)),
        ("challenge with an altered tag", altered(&challenge, challenge.len() - 5)),
        ("challenge truncated", challenge[..challenge.len() - 4].to_owned()),
        ("challenge without a tag", format!("{}.{}.", parts[0], parts[1])),
        ("challenge of two parts", format!("{}.{}", parts[0], parts[1])),
        ("challenge of four parts", format!("{challenge}.AAAA")),
        ("challenge with padding", format!("{challenge}=")),
        ("challenge with a non-canonical tag", non_canonical(&challenge)),
        ("challenge is empty", String::new()),
        ("challenge under another master key of the same id", {
            issue_challenge(CLUSTER, &keyring_at(2, 0x99, 3), NONCE, None, NOW)
        }),
        ("challenge of a cluster that shares the master key", {
            issue_challenge("example.org", &master(), NONCE, None, NOW)
        }),
        ("challenge under a master key that is unknown here", {
            issue_challenge(CLUSTER, &keyring_at(9, 0x22, 0), NONCE, None, NOW)
        }),
        (
            "challenge under a retired epoch",
            issue_challenge(CLUSTER, &keyring_at(2, 0x22, 1), NONCE, None, NOW),
        ),
        ("a join state in the place of the challenge", state),
        (
            "challenge with the typ of a join state",
            challenge_with(&claims_json(""), "boundkey-state+jwt", &master()),
        ),
        ("challenge made with the join state key", {
            let key = master().derive(Purpose::JoinState, current).expect("current");
            sign_mac_jws(&MacKey::new(&key), CHALLENGE_TYP, &current.to_string(), claims_json("").as_bytes())
        }),
        ("challenge with alg none", {
            let header = header("").replace("HS256", "none");
            forge(&header, &claims_json(""), |_| Vec::new())
        }),
        ("challenge with crit", mac(&header(r#","crit":["exp"]"#), &claims_json(""))),
        (
            "challenge with an embedded jwk",
            mac(&header(r#","jwk":{"kty":"oct","k":"AA"}"#), &claims_json("")),
        ),
        ("challenge with a repeated header member", mac(&header(r#","alg":"HS256""#), &claims_json(""))),
        ("challenge with an unknown claim", mac(&header(""), &claims_json(r#","admin":true"#))),
        ("challenge with a repeated claim", mac(&header(""), &claims_json(r#","exp":4102444800"#))),
        (
            "challenge that never expires",
            mac(&header(""), &claims_json("").replace("\"exp\":17", "\"exp\":97")),
        ),
    ];
    all.extend(
        bent.into_iter().map(|(name, bent)| case(name, NOW, over(&bent), refused(400, "challenge_invalid"))),
    );
    let long = format!("{challenge}{}", "A".repeat(2048));
    all.push(case("challenge too long", NOW, over(&long), refused(400, "malformed_request")));
    // Any epoch that is not retired is derived, known before or not; so is the older key's.
    for (name, master) in [
        ("challenge under a later epoch", keyring_at(2, 0x22, 4)),
        ("challenge under an earlier epoch that is not retired", keyring_at(2, 0x22, 2)),
        ("challenge under an older master key of the keyring", keyring_at(1, 0x11, 2)),
    ] {
        let challenge = issue_challenge(CLUSTER, &master, NONCE, None, NOW);
        let message = message(&challenge, &request().encode(), &[(BOUND, "bound_key")]);
        all.push(case(name, NOW, body(&message), admitted(&message, bound())));
    }
    all
}

/// The same bytes for a careless decoder: the last character's unused bits are set.
pub(crate) fn non_canonical(text: &str) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = *text.as_bytes().last().expect("not empty");
    let value = ALPHABET.iter().position(|c| *c == last).expect("base64url");
    format!("{}{}", &text[..text.len() - 1], char::from(ALPHABET[value | 1]))
}

fn bodies() -> Vec<Value> {
    let honest = body(&bound_message(&request()));
    let open = honest.strip_suffix('}').expect("an object");
    let plain = bound_message(&request());
    let bent: Vec<(&str, String)> = vec![
        ("body is empty", String::new()),
        ("body is not JSON", "<!DOCTYPE html><title>Sign in</title>".to_owned()),
        (
            "body is an array of the members",
            json!([plain.challenge, plain.request, plain.proofs]).to_string(),
        ),
        ("body with an unknown member", format!(r#"{open},"debug":true}}"#)),
        ("body with a repeated member", format!(r#"{open},"request":"e30"}}"#)),
        ("body with something after it", format!("{honest}{{}}")),
        ("body cut short", open.to_owned()),
        ("body without proofs", honest.replace("\"proofs\"", "\"proof\"")),
        ("secret proof is null", format!(r#"{open},"secret_proof":null}}"#)),
        ("secret proof is empty", format!(r#"{open},"secret_proof":""}}"#)),
        ("secret proof is too short", format!(r#"{open},"secret_proof":"{}"}}"#, b64(&[0; 31]))),
        ("secret proof is not canonical", format!(r#"{open},"secret_proof":"{}B"}}"#, "A".repeat(42))),
        ("three proofs", {
            let mut message = plain.clone();
            message.proofs = vec![plain.proofs[0].clone(); 3];
            body(&message)
        }),
        ("deeply nested", format!(r#"{{"challenge":{}{}}}"#, "[".repeat(2000), "]".repeat(2000))),
    ];
    let mut all: Vec<Value> = bent
        .into_iter()
        .map(|(name, body)| case(name, NOW, body, refused(400, "malformed_request")))
        .collect();
    let long = format!("{honest}{}", " ".repeat(65536 - honest.len() + 1));
    assert_eq!(outcome(long.as_bytes(), NOW), refused(413, "body_too_large"));
    let just = format!("{honest}{}", " ".repeat(65536 - honest.len()));
    assert_eq!(outcome(just.as_bytes(), NOW), admitted(&plain, bound()));
    all.push(json!({
        "name": "body one byte too long", "now": rfc3339(NOW), "body": honest, "pad_with_spaces_to": 65537,
        "expect": refused(413, "body_too_large"),
    }));
    all
}

fn join_states() -> Vec<Value> {
    let with = |name: &str, state: &str, word: &str| {
        let mut request = request();
        request.join_state = Some(state.to_owned());
        let message = bound_message(&request);
        let mut expect = admitted(&message, bound());
        expect["join_state"] = json!(word);
        case(name, NOW, body(&message), expect)
    };
    let state = states::sealed();
    vec![
        with("with a join state", &state, "valid"),
        with("with an altered join state", &altered(&state, state.len() - 5), "bad_tag"),
        with("with a join state of another cluster", &states::sealed_for("example.org"), "other_cluster"),
        with("with the challenge in the place of the join state", &challenge(), "unreadable"),
        with("with an empty join state", "", "unreadable"),
    ]
}

#[test]
fn a_server_does_with_every_message_what_the_file_says() {
    for file in ["completes.json", "proofs.json"] {
        for case in cases(file) {
            let mut body = text(&case, "body").to_owned();
            if let Some(length) = case["pad_with_spaces_to"].as_u64() {
                body.extend(std::iter::repeat_n(' ', length as usize - body.len()));
            }
            assert_eq!(
                outcome(body.as_bytes(), time_of(&case["now"])),
                case["expect"],
                "{file}: {}",
                case["name"]
            );
        }
    }
}

#[test]
fn the_epoch_of_the_vectors_is_the_third_of_the_second_key() {
    assert_eq!(master().current(), Epoch { master: 2, epoch: 3 });
}
