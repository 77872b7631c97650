//! `answers.json`: what a client makes of answers, of challenges, and of what is no answer at all.

use boundkey_proto::{
    Answer, BeginReply, Certificates, ClientError, Identity, JoinAnswer, JoinKindName, JoinResult,
    MAX_JOIN_STATE, Problem, ResultFault, SignedBundle, build_complete, read_answer, read_begin_answer,
    read_challenge, result_digest,
};
use serde_json::{Value, json};

use crate::scene::*;
use crate::vectors::{cases, frame, text};
use crate::{secrets, states};

pub(crate) fn result() -> JoinResult {
    JoinResult {
        kind: JoinKindName::Registered,
        attempt: request().attempt,
        join_state: states::sealed(),
        bound_key: public(BOUND),
        identity: Identity::Host("6f1d0c52-9f0e-4f6f-8b42-0d6f5a3c9e11".to_owned()),
        certificates: Some(Certificates {
            x509_chain: vec!["REVS".to_owned(), "Q0E=".to_owned()],
            ssh: None,
        }),
        receipt: None,
        ca_bundle: SignedBundle(vec!["a.b.c".to_owned()]),
        renew_in_seconds: 57_600,
        server_time: NOW,
    }
}

fn admitted() -> Value {
    serde_json::to_value(JoinAnswer::Admitted(Box::new(result()))).expect("JSON")
}

fn complete_outcome(status: u16, body: &[u8]) -> Value {
    match read_answer(status, body) {
        Ok(Answer::Join(JoinAnswer::Admitted(result))) => {
            json!({"answer": "admitted", "result_digest": b64(&result.digest())})
        }
        Ok(Answer::Join(JoinAnswer::RotationRequired {})) => json!({"answer": "rotation_required"}),
        Ok(Answer::Join(JoinAnswer::Confirm { .. })) => json!({"answer": "confirm"}),
        Ok(Answer::Refused(problem)) => refusal(&problem),
        Err(_) => json!({"answer": "none"}),
    }
}

fn begin_outcome(status: u16, body: &[u8]) -> Value {
    match read_begin_answer(status, body) {
        Ok(BeginReply::Challenge(_)) => json!({"answer": "challenge"}),
        Ok(BeginReply::Refused(problem)) => refusal(&problem),
        Err(_) => json!({"answer": "none"}),
    }
}

fn refusal(problem: &Problem) -> Value {
    json!({"answer": "refused", "code": problem.code, "final": problem.is_final()})
}

fn case(name: &str, to: &str, status: u16, body: String, expect: Value) -> Value {
    json!({"name": name, "to": to, "status": status, "body": body, "expect": expect})
}

pub(crate) fn file() -> Value {
    let mut all = complete_answers();
    all.extend(begin_answers());
    all.extend(problems());
    frame(
        "Answers to begin and complete by HTTP status and body, and what a client makes of them. `none`: it counts as \
         no answer; the same attempt is tried again later. The digest is what the leaf's extension must hold.",
        json!({"bound_key": public(BOUND), "attempt": b64(&[0xa7; 16])}),
        all,
    )
}

fn complete_answers() -> Vec<Value> {
    let digest = result_digest(&states::sealed(), public(BOUND).thumbprint(), request().attempt);
    let yes = json!({"answer": "admitted", "result_digest": b64(&digest)});
    let none = json!({"answer": "none"});
    let plain = admitted();
    let open = plain.to_string().strip_suffix('}').expect("an object").to_owned();
    let mut provisional = plain.clone();
    provisional.as_object_mut().expect("an object").remove("certificates");
    let with = |member: &str, value: Value| {
        let mut answer = plain.clone();
        answer[member] = value;
        answer.to_string()
    };
    let confirm = json!({"status": "confirm", "challenge": challenge()}).to_string();
    let long = json!({"status": "confirm", "challenge": "c".repeat(2049)}).to_string();
    vec![
        case("admitted", "complete", 200, plain.to_string(), yes.clone()),
        case("admitted, provisional", "complete", 200, provisional.to_string(), yes.clone()),
        case("admitted, with a member of a later version", "complete", 200, with("hint", json!(1)), yes),
        case("rotation required", "complete", 200, r#"{"status":"rotation_required"}"#.to_owned(), {
            json!({"answer": "rotation_required"})
        }),
        case("confirm", "complete", 200, confirm, json!({"answer": "confirm"})),
        case("confirm with too long a challenge", "complete", 200, long, none.clone()),
        case("an unknown answer", "complete", 200, r#"{"status":"please_wait"}"#.to_owned(), none.clone()),
        case("a repeated status", "complete", 200, format!(r#"{open},"status":"confirm"}}"#), none.clone()),
        case("a repeated member", "complete", 200, format!(r#"{open},"join_state":"x"}}"#), none.clone()),
        case("cut short", "complete", 200, open, none.clone()),
        case("a text for a number", "complete", 200, with("renew_in_seconds", json!("1h")), none.clone()),
        case("a negative number", "complete", 200, with("renew_in_seconds", json!(-1)), none.clone()),
        case(
            "a time without a zone",
            "complete",
            200,
            with("server_time", json!("2026-11-23T08:00:00")),
            none.clone(),
        ),
        case(
            "a key that is none",
            "complete",
            200,
            with("bound_key", json!("ssh-ed25519 AAAA")),
            none.clone(),
        ),
        case(
            "an unknown kind of identity",
            "complete",
            200,
            with("identity", json!({"user": "root"})),
            none.clone(),
        ),
        case("admitted under another status", "complete", 201, plain.to_string(), none.clone()),
        case("a redirect", "complete", 302, String::new(), none.clone()),
        case(
            "a captive portal",
            "complete",
            200,
            "<!DOCTYPE html><title>Sign in</title>".to_owned(),
            none.clone(),
        ),
        case("a proxy's error page", "complete", 502, "<html>Bad Gateway</html>".to_owned(), none.clone()),
        case("nothing", "complete", 200, String::new(), none),
    ]
}

fn begin_answers() -> Vec<Value> {
    let with = |versions: Value| json!({"challenge": challenge(), "versions": versions}).to_string();
    let none = json!({"answer": "none"});
    vec![
        case("a challenge", "begin", 200, with(json!([1])), json!({"answer": "challenge"})),
        case(
            "a challenge of a newer server",
            "begin",
            200,
            with(json!([3, 2, 1])),
            json!({"answer": "challenge"}),
        ),
        case("no common version", "begin", 200, with(json!([2])), none.clone()),
        case("no version", "begin", 200, with(json!([])), none.clone()),
        case("no challenge", "begin", 200, r#"{"versions":[1]}"#.to_owned(), none),
        case("busy", "begin", 503, problem_json(503, "overloaded"), {
            json!({"answer": "refused", "code": "overloaded", "final": false})
        }),
    ]
}

fn problem_json(status: u16, code: &str) -> String {
    serde_json::to_string(&Problem::new(status, code, "a sentence")).expect("JSON")
}

fn problems() -> Vec<Value> {
    let refused = |code: &str, is_final: bool| json!({"answer": "refused", "code": code, "final": is_final});
    let extended = problem_json(403, "denied").replace(r#""code""#, r#""balance":30,"code""#);
    vec![
        case("denied", "complete", 403, problem_json(403, "denied"), refused("denied", true)),
        case("locked", "complete", 403, problem_json(403, "locked"), refused("locked", true)),
        case(
            "a code of a later version",
            "complete",
            403,
            problem_json(403, "too_old"),
            refused("too_old", true),
        ),
        case("a problem with more members", "complete", 403, extended, refused("denied", true)),
        case(
            "malformed",
            "complete",
            400,
            problem_json(400, "malformed_request"),
            refused("malformed_request", true),
        ),
        case("expired challenge", "complete", 400, problem_json(400, "challenge_expired"), {
            refused("challenge_expired", false)
        }),
        case("too many", "complete", 429, problem_json(429, "too_many"), refused("too_many", false)),
        case("internal", "complete", 500, problem_json(500, "internal"), refused("internal", false)),
        case(
            "a problem of another status",
            "complete",
            503,
            problem_json(403, "denied"),
            json!({"answer": "none"}),
        ),
        case(
            "a problem without a code",
            "complete",
            403,
            r#"{"title":"Forbidden","status":403}"#.to_owned(),
            json!({"answer": "none"}),
        ),
    ]
}

#[test]
fn a_client_makes_of_every_answer_what_the_file_says() {
    for case in cases("answers.json") {
        let status = u16::try_from(case["status"].as_u64().expect("a status")).expect("a status");
        let body = text(&case, "body").as_bytes();
        let found = match text(&case, "to") {
            "begin" => begin_outcome(status, body),
            _ => complete_outcome(status, body),
        };
        assert_eq!(found, case["expect"], "{}", case["name"]);
    }
}

#[test]
fn a_captive_portal_is_named_for_what_it_is() {
    let error = read_answer(200, b"\n<!DOCTYPE html>\n<title>Sign in</title>").expect_err("no answer");
    assert_eq!(
        error.to_string(),
        "the answer (HTTP 200) is not from a boundkey server, it begins with `<!DOCTYPE html>\\n<title>Sign in</title>`: \
         a proxy or a captive portal stands in between, or the address is wrong"
    );
    let error = read_answer(200, &vec![b'{'; 65_537]).expect_err("no answer");
    assert_eq!(error, ClientError::TooLarge { found: 65_537 });
}

#[test]
fn a_client_answers_no_challenge_of_another_cluster() {
    let challenge = boundkey_proto::issue_challenge("example.org", &master(), NONCE, None, NOW);
    let error = read_challenge(&challenge, Some(CLUSTER)).expect_err("another cluster");
    assert_eq!(
        error.to_string(),
        "the challenge is of cluster `example.org`, this client belongs to `example.com`"
    );
    assert_eq!(read_challenge(&challenge, None).expect("a first contact").cluster, "example.org");
    assert!(read_challenge(&states::sealed(), None).is_err(), "a join state is no challenge");
    assert!(read_challenge("", None).is_err());
}

#[test]
fn a_client_builds_what_the_vectors_hold() {
    let challenge = challenge();
    let view = read_challenge(&challenge, Some(CLUSTER)).expect("a challenge");
    let key_of_secret = secrets::proof_key();
    let built = build_complete(&challenge, &view, &request(), &key(BOUND), None, Some(&key_of_secret))
        .expect("built");
    let mut expected = bound_message(&request());
    expected.secret_proof = Some(secrets::proof_over(&expected));
    assert_eq!(built, expected);
}

#[test]
fn a_client_sends_nothing_that_does_not_fit_together() {
    let challenge = challenge();
    let view = read_challenge(&challenge, None).expect("a challenge");
    let build = |request: &boundkey_proto::Request, seed: u8, new: Option<u8>| {
        let new = new.map(key);
        let new = new.as_ref().map(|key| key as &dyn boundkey_keys::Signer);
        build_complete(&challenge, &view, request, &key(seed), new, None)
    };
    assert_eq!(build(&request(), THIEF, None), Err(ClientError::OtherKey { member: "bound_key" }));
    assert_eq!(build(&request(), BOUND, Some(NEW)), Err(ClientError::OtherKey { member: "new_key" }));
    let mut rotating = request();
    rotating.new_key = Some(public(NEW));
    assert_eq!(build(&rotating, BOUND, None), Err(ClientError::OtherKey { member: "new_key" }));
    assert!(build(&rotating, BOUND, Some(NEW)).is_ok());
    let mut crowded = request();
    crowded.ttl_seconds = Some(1);
    let error = build(&crowded, BOUND, None).expect_err("out of bounds");
    let cause = std::error::Error::source(&error).expect("a cause").to_string();
    assert_eq!(error.to_string(), "the request would be refused");
    assert_eq!(cause, "`ttl_seconds`: found 1; allowed: 60 to 31622400 (366 days)");
    let other = boundkey_proto::issue_challenge(CLUSTER, &master(), [1; 32], None, NOW);
    let found = build_complete(&other, &view, &request(), &key(BOUND), None, None);
    assert_eq!(found, Err(ClientError::OtherChallenge));
}

#[test]
fn a_result_must_end_this_attempt_and_bind_a_key_that_is_held() {
    let holds = |found| found == public(BOUND).thumbprint();
    assert_eq!(result().check(&request(), holds), Ok(()));
    let mut other = request();
    other.attempt.0[0] ^= 1;
    assert_eq!(result().check(&other, holds), Err(ResultFault::OtherAttempt));
    let foreign = ResultFault::ForeignKey { found: public(BOUND).thumbprint() };
    assert_eq!(result().check(&request(), |_| false), Err(foreign));
    let of =
        |length: usize| JoinResult { join_state: "s".repeat(length), ..result() }.check(&request(), holds);
    assert_eq!(of(MAX_JOIN_STATE), Ok(()));
    assert_eq!(of(MAX_JOIN_STATE + 1), Err(ResultFault::LongState { bytes: 8193 }));
    let certificates = result().certificates.expect("certificates");
    assert_eq!(certificates.chain_der(), Ok(vec![b"DER".to_vec(), b"CA".to_vec()]));
    let empty = Certificates { x509_chain: vec![], ssh: None };
    assert_eq!(empty.chain_der(), Err(ResultFault::Chain));
}
