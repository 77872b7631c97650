//! Words and small print: titles of problems, texts of errors, what is certified, claims that contradict each other.

use boundkey_keys::{MacKey, Purpose, sign_mac_jws};
use boundkey_lifecycle::{InvalidState, StateEvidence};
use boundkey_proto::{ClientError, Problem, Request, STATE_TYP, open_state, read_answer, receive_complete};
use boundkey_token::{Role, RoleSet};

use crate::scene::*;
use crate::states;

#[test]
fn a_problem_has_the_title_of_its_status() {
    let titles = [
        (400, "Bad Request"),
        (401, "Unauthorized"),
        (403, "Forbidden"),
        (404, "Not Found"),
        (405, "Method Not Allowed"),
        (408, "Request Timeout"),
        (409, "Conflict"),
        (412, "Precondition Failed"),
        (413, "Content Too Large"),
        (415, "Unsupported Media Type"),
        (418, "Bad Request"),
        (422, "Unprocessable Content"),
        (428, "Precondition Required"),
        (429, "Too Many Requests"),
        (500, "Internal Server Error"),
        (501, "Server Error"),
        (502, "Server Error"),
        (503, "Service Unavailable"),
        (504, "Gateway Timeout"),
        (599, "Server Error"),
        (600, "Bad Request"),
    ];
    for (status, title) in titles {
        let problem = Problem::new(status, "a_code", "a sentence");
        assert_eq!((problem.title.as_str(), problem.kind.as_str()), (title, "about:blank"), "{status}");
    }
    let read: Problem = serde_json::from_str(r#"{"title":"x","status":403,"code":"denied","detail":"y"}"#)
        .expect("a problem");
    assert_eq!(read.kind, "about:blank");
}

#[test]
fn an_error_says_what_was_expected() {
    let text = |body: &str| {
        let error = receive_complete(body.as_bytes(), CLUSTER, &master(), NOW).expect_err("refused");
        error.to_string()
    };
    let found = text("[]");
    assert!(found.contains("invalid type: sequence, expected an object"), "{found}");
    let found = text(r#"{"challenge":1,"request":"","proofs":[]}"#);
    assert!(found.contains("invalid type: integer `1`, expected a string"), "{found}");
}

#[test]
fn what_is_no_answer_is_quoted_in_part() {
    let begins = |body: &str| match read_answer(200, body.as_bytes()) {
        Err(ClientError::NotJson { status: 200, begins }) => begins,
        other => panic!("{other:?}"),
    };
    let sixty = "h".repeat(60);
    assert_eq!(begins(&sixty), sixty);
    assert_eq!(begins(&"h".repeat(61)), format!("{sixty}..."));
    assert_eq!(begins(&"h".repeat(500)), format!("{sixty}..."));
    assert_eq!(begins("a\u{1b}[31mb"), "a\\u{1b}[31mb");
}

fn certified(change: impl FnOnce(&mut Request)) -> [u8; 32] {
    let mut request = request();
    change(&mut request);
    let body = serde_json::to_vec(&bound_message(&request)).expect("JSON");
    receive_complete(&body, CLUSTER, &master(), NOW).expect("received").certified.0
}

/// A retry gets the certificates of its join only if it asks for the same; so whatever differs has another digest.
#[test]
fn whatever_is_certified_is_in_the_digest() {
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let all = [
        certified(|_| {}),
        certified(|r| r.tls_key = public(NEW)),
        certified(|r| r.ssh_key = None),
        certified(|r| r.ssh_key = Some(public(NEW))),
        certified(|r| r.names.dns_names = Vec::new()),
        certified(|r| r.names.dns_names = names(&["ab"])),
        certified(|r| r.names.dns_names = names(&["a", "b"])),
        certified(|r| r.names.dns_names = names(&["b", "a"])),
        certified(|r| r.names.ip_addresses = Vec::new()),
        certified(|r| r.names.principals = names(&["web-1.example.com"])),
        certified(|r| (r.names.dns_names, r.names.principals) = (Vec::new(), names(&["web-1.example.com"]))),
        certified(|r| r.roles = RoleSet::new([Role::Node, Role::App])),
        certified(|r| r.ttl_seconds = None),
        certified(|r| r.ttl_seconds = Some(3601)),
    ];
    for (i, digest) in all.iter().enumerate() {
        assert_eq!(all.iter().position(|other| other == digest), Some(i), "two requests, one digest");
    }
    // What is not certified is not in it: a retry may say more of its machine, or come from another state.
    let same = certified(|r| {
        (r.attempt.0, r.join_state, r.facts.hostname) = ([1; 16], Some("x".to_owned()), String::new())
    });
    assert_eq!(same, all[0]);
    let roles = |list: &[Role]| {
        let list = list.to_vec();
        certified(move |r| r.roles = RoleSet::new(list))
    };
    assert_eq!(roles(&[Role::Node, Role::App]), roles(&[Role::App, Role::Node]), "roles are a set");
}

#[test]
fn a_request_at_its_bounds_is_decoded() {
    let decoded = |change: fn(&mut Request)| {
        let mut request = request();
        change(&mut request);
        Request::decode(&request.encode()).map(|found| assert_eq!(found, request)).is_ok()
    };
    assert!(decoded(|r| r.join_state = Some("s".repeat(8192))));
    assert!(!decoded(|r| r.join_state = Some("s".repeat(8193))));
    assert!(decoded(|r| r.names.dns_names = vec!["n".repeat(253); 64]));
    assert!(!decoded(|r| r.names.dns_names = vec!["n".to_owned(); 65]));
    assert!(!decoded(|r| r.names.dns_names = vec!["n".repeat(254)]));
    let facts = |r: &mut Request, last: usize| {
        r.facts.hostname = "h".repeat(256);
        r.facts.os = "o".repeat(256);
        r.facts.arch = "a".repeat(256);
        // `Node` counts too: 4 bytes.
        r.facts.roles = RoleSet::new([Role::Node]);
        r.facts.version = "v".repeat(last);
    };
    assert!({
        let mut request = request();
        facts(&mut request, 252);
        Request::decode(&request.encode()).is_ok()
    });
    assert!({
        let mut request = request();
        facts(&mut request, 253);
        Request::decode(&request.encode()).is_err()
    });
}

/// The cluster's own tag over claims that no server makes.
#[test]
fn a_state_must_name_this_cluster_twice() {
    let master = master();
    let key = master.derive(Purpose::JoinState, master.current()).expect("the current epoch");
    let made = |iss: &str, aud: &str| {
        let sealed = states::sealed();
        let payload = String::from_utf8(unb64(sealed.split('.').nth(1).expect("a payload"))).expect("JSON");
        let payload = payload
            .replace(r#""iss":"example.com""#, &format!(r#""iss":"{iss}""#))
            .replace(r#""aud":"example.com""#, &format!(r#""aud":"{aud}""#));
        let text =
            sign_mac_jws(&MacKey::new(&key), STATE_TYP, &master.current().to_string(), payload.as_bytes());
        open_state(&text, CLUSTER, &master)
    };
    assert!(matches!(made(CLUSTER, CLUSTER), StateEvidence::Valid(_)));
    for (iss, aud) in [("example.org", CLUSTER), (CLUSTER, "example.org"), ("example.org", "example.org")] {
        assert_eq!(made(iss, aud), StateEvidence::Invalid(InvalidState::OtherCluster), "{iss} {aud}");
    }
}
