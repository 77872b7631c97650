//! `docs/protocol.md` names every code.

use boundkey_proto::{ChallengeFault, ProtoError};

use crate::scene::NOW;
use crate::vectors::path;

fn chapter() -> String {
    std::fs::read_to_string(path("protocol.md")).expect("docs/protocol.md")
}

/// Every variant; the match below fails to compile when one is added.
fn every_error() -> Vec<ProtoError> {
    let all = vec![
        ProtoError::BodyTooLarge { found: 70_000 },
        ProtoError::NotUnderstood {
            what: "body",
            place: "no JSON, at line 1, column 1".to_owned(),
            cause: "expected value at line 1 column 1".to_owned(),
        },
        ProtoError::MalformedRequest {
            member: "roles",
            found: "0 entries".to_owned(),
            allowed: "1 to 8 roles",
        },
        ProtoError::UnsupportedVersion { found: 2 },
        ProtoError::Challenge(ChallengeFault::NotAChallenge),
        ProtoError::Challenge(ChallengeFault::UnknownKey),
        ProtoError::Challenge(ChallengeFault::BadTag),
        ProtoError::Challenge(ChallengeFault::OtherCluster),
        ProtoError::Challenge(ChallengeFault::Expired { expired_at: NOW, now: NOW }),
        ProtoError::Challenge(ChallengeFault::NotYetValid { issued_at: NOW, now: NOW }),
    ];
    for error in &all {
        match error {
            ProtoError::BodyTooLarge { .. }
            | ProtoError::NotUnderstood { .. }
            | ProtoError::MalformedRequest { .. }
            | ProtoError::UnsupportedVersion { .. } => {}
            ProtoError::Challenge(fault) => match fault {
                ChallengeFault::NotAChallenge
                | ChallengeFault::UnknownKey
                | ChallengeFault::BadTag
                | ChallengeFault::OtherCluster
                | ChallengeFault::Expired { .. }
                | ChallengeFault::NotYetValid { .. } => {}
            },
        }
    }
    all
}

#[test]
fn every_refusal_of_a_message_has_a_code_in_the_chapter() {
    let chapter = chapter();
    for error in every_error() {
        let problem = error.problem();
        assert_eq!(problem.code, error.code());
        assert!(
            chapter.contains(&format!("| `{}` | {} |", problem.code, problem.status)),
            "{}",
            problem.code
        );
    }
}

#[test]
fn a_client_is_not_told_why_a_challenge_is_not_of_this_cluster() {
    let details: Vec<String> = [
        ChallengeFault::NotAChallenge,
        ChallengeFault::UnknownKey,
        ChallengeFault::BadTag,
        ChallengeFault::OtherCluster,
    ]
    .map(|fault| ProtoError::Challenge(fault).problem().detail)
    .into();
    assert!(details.iter().all(|detail| *detail == details[0]));
}

#[test]
fn every_denial_has_a_code_in_the_chapter() {
    let chapter = chapter();
    for code in boundkey_lifecycle::Code::ALL {
        assert!(chapter.contains(&format!("| `{code}` | 403 |")), "{code}");
    }
}

#[test]
fn the_chapter_states_the_limits_that_are_in_force() {
    use boundkey_proto::*;
    let chapter = chapter();
    for line in [
        format!("| body of a request or answer | {MAX_BODY} bytes |"),
        format!("| challenge | {MAX_CHALLENGE} bytes |"),
        format!("| join state | {MAX_JOIN_STATE} bytes |"),
        format!("| proofs | {MAX_PROOFS} |"),
        format!("| roles | {MAX_ROLES} |"),
        format!("| names in each list | {MAX_NAMES} |"),
        format!("| a name | {MAX_NAME} bytes |"),
        format!("| a fact, all facts | {MAX_FACT} bytes, {MAX_FACTS} bytes |"),
        format!("| lifetime asked for | {MIN_TTL_SECONDS} s to {} days |", MAX_TTL_SECONDS / 86_400),
        format!("| life of a challenge | {} s |", CHALLENGE_LIFE.as_secs()),
        format!("| replicas' clocks | {} s apart |", CHALLENGE_CLOCK_TOLERANCE.as_secs()),
        format!("| `confirm` in a row | {MAX_CONFIRMATIONS} |"),
    ] {
        assert!(chapter.contains(&line), "{line}");
    }
}

#[test]
fn what_a_parser_says_is_for_the_log_alone() {
    let master = boundkey_keys::MasterKey::new(1, [7; 32]);
    let body = br#"{"challenge": "tea", "milk": 1}"#;
    let error =
        boundkey_proto::receive_complete(body, "example.com", &master, NOW).expect_err("not a message");
    assert!(error.to_string().contains("milk"), "the log has it: {error}");
    let told = error.problem().detail;
    assert!(told.starts_with("the body is JSON of another form, at line 1, column "), "{told}");
    assert!(!told.contains("milk") && !told.contains("expected"), "{told}");
    let error = boundkey_proto::receive_begin(b"{tea").expect_err("no JSON");
    assert!(error.problem().detail.starts_with("the body is no JSON, at line 1, column 2"), "{error:?}");
}
