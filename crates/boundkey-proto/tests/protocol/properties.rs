//! Whatever is changed is refused or proves nothing; whatever is made reads back.

use std::sync::LazyLock;

use boundkey_lifecycle::{
    Adoption, Hash32, Identity, InvalidState, StateClaims, StateEvidence, StateId, Trail, Uid,
};
use boundkey_proto::{
    AttemptId, Complete, Position, Request, Transcript, issue_challenge, open_state, read_challenge,
    receive_complete, result_digest, seal_state,
};
use proptest::prelude::*;
use time::OffsetDateTime;

use crate::scene::*;
use crate::{secrets, states};

/// Any other character at this place: of the alphabet, and those that careless readers skip or take for others.
fn changed(text: &str, place: prop::sample::Index, with: char) -> Option<String> {
    let place = place.index(text.len());
    let found = text[place..].chars().next()?;
    (found != with).then(|| format!("{}{with}{}", &text[..place], &text[place + found.len_utf8()..]))
}

fn character() -> impl Strategy<Value = char> {
    prop_oneof![proptest::char::range('!', '~'), Just(' '), Just('\n'), Just('\0'), Just('é')]
}

static ROTATING: LazyLock<Complete> = LazyLock::new(made_rotating);

fn rotating() -> Complete {
    ROTATING.clone()
}

fn made_rotating() -> Complete {
    let mut request = request();
    request.new_key = Some(public(NEW));
    request.join_state = Some(states::sealed());
    let mut message = message(&challenge(), &request.encode(), &[(BOUND, "bound_key"), (NEW, "new_key")]);
    message.secret_proof = Some(secrets::proof_over(&message));
    message
}

/// Does this message prove any key at all?
fn proves(message: &Complete) -> bool {
    let body = serde_json::to_vec(message).expect("JSON");
    receive_complete(&body, CLUSTER, &master(), NOW)
        .is_ok_and(|received| received.proven.current.is_some() || received.proven.new.is_some())
}

#[test]
fn the_message_that_is_changed_below_proves_both_keys_and_the_secret() {
    let body = serde_json::to_vec(&rotating()).expect("JSON");
    let received = receive_complete(&body, CLUSTER, &master(), NOW).expect("accepted");
    assert!(received.proven.has(&public(BOUND)) && received.proven.has(&public(NEW)));
    assert!(received.secret_matches(&secrets::proof_key()));
    assert!(!received.secret_matches(&[0; 32]));
    assert_eq!(received.join_state, StateEvidence::Valid(Box::new(states::claims())));
}

proptest! {
    #[test]
    fn a_changed_challenge_is_refused(place: prop::sample::Index, with in character()) {
        let mut message = rotating();
        if let Some(challenge) = changed(&message.challenge, place, with) {
            message.challenge = challenge;
            let body = serde_json::to_vec(&message).expect("JSON");
            let error = receive_complete(&body, CLUSTER, &master(), NOW).expect_err("refused");
            prop_assert_eq!(error.code(), "challenge_invalid");
        }
    }

    #[test]
    fn a_changed_request_proves_nothing(place: prop::sample::Index, with in character()) {
        let mut message = rotating();
        if let Some(request) = changed(&message.request, place, with) {
            message.request = request;
            prop_assert!(!proves(&message));
        }
    }

    #[test]
    fn a_changed_proof_takes_the_other_with_it(which in 0..2usize, place: prop::sample::Index, with in character()) {
        let mut message = rotating();
        if let Some(proof) = changed(&message.proofs[which], place, with) {
            message.proofs[which] = proof;
            prop_assert!(!proves(&message));
        }
    }

    #[test]
    fn a_changed_secret_proof_is_refused_or_wrong(place: prop::sample::Index, with in character()) {
        let mut message = rotating();
        let proof = message.secret_proof.clone().expect("a proof");
        if let Some(proof) = changed(&proof, place, with) {
            message.secret_proof = Some(proof);
            let body = serde_json::to_vec(&message).expect("JSON");
            let matches = receive_complete(&body, CLUSTER, &master(), NOW)
                .is_ok_and(|received| received.secret_matches(&secrets::proof_key()));
            prop_assert!(!matches);
        }
    }

    #[test]
    fn a_changed_join_state_is_invalid(place: prop::sample::Index, with in character()) {
        if let Some(state) = changed(&states::sealed(), place, with) {
            let found = open_state(&state, CLUSTER, &master());
            prop_assert!(matches!(found, StateEvidence::Invalid(cause) if cause != InvalidState::OtherCluster));
        }
    }

    #[test]
    fn no_bytes_make_the_server_fail(body: Vec<u8>) {
        let _ = receive_complete(&body, CLUSTER, &master(), NOW);
        let _ = Request::decode(&b64(&body));
        let _ = read_challenge(&String::from_utf8_lossy(&body), None);
        let _ = open_state(&String::from_utf8_lossy(&body), CLUSTER, &master());
        let _ = boundkey_proto::read_answer(200, &body);
        let _ = boundkey_proto::read_begin_answer(200, &body);
    }

    #[test]
    fn no_truncated_message_makes_the_server_fail_or_is_accepted(length: prop::sample::Index) {
        let body = serde_json::to_vec(&rotating()).expect("JSON");
        let cut = &body[..length.index(body.len())];
        prop_assert_eq!(receive_complete(cut, CLUSTER, &master(), NOW).expect_err("cut").code(), "malformed_request");
    }

    #[test]
    fn two_divisions_of_the_same_bytes_have_two_transcripts(text in "[A-Za-z0-9_.-]{1,200}", a: prop::sample::Index, b: prop::sample::Index) {
        let (a, b) = (a.index(text.len() + 1), b.index(text.len() + 1));
        let divided = |at: usize| Transcript::new(&text[..at], &text[at..]);
        prop_assert_eq!(divided(a) == divided(b), a == b);
    }

    #[test]
    fn a_transcript_depends_on_every_character(text in "[A-Za-z0-9_.-]{2,60}", place: prop::sample::Index, with in character()) {
        if let Some(other) = changed(&text, place, with) {
            prop_assert_ne!(Transcript::new(&text, "R"), Transcript::new(&other, "R"));
            prop_assert_ne!(Transcript::new("C", &text), Transcript::new("C", &other));
            prop_assert_ne!(Transcript::new(&text, "R"), Transcript::new("R", &text));
        }
    }

    #[test]
    fn a_result_digest_depends_on_all_three(state in "[A-Za-z0-9_.-]{0,60}", attempt: [u8; 16], seed: u8) {
        let key = public(seed).thumbprint();
        let digest = result_digest(&state, key, AttemptId(attempt));
        prop_assert_ne!(digest, result_digest(&format!("{state}A"), key, AttemptId(attempt)));
        prop_assert_ne!(digest, result_digest(&state, public(seed ^ 1).thumbprint(), AttemptId(attempt)));
        let mut other = attempt;
        other[15] ^= 1;
        prop_assert_ne!(digest, result_digest(&state, key, AttemptId(other)));
    }

    #[test]
    fn a_challenge_reads_back(nonce: [u8; 32], position: Option<[u8; 16]>, seconds in 0..4_102_444_800i64) {
        let now = OffsetDateTime::from_unix_timestamp(seconds).expect("in range");
        let challenge = issue_challenge(CLUSTER, &master(), nonce, position.map(Position), now);
        let view = read_challenge(&challenge, Some(CLUSTER)).expect("a challenge");
        prop_assert_eq!(view.nonce, nonce);
        prop_assert_eq!(view.position, position.map(Position));
        prop_assert_eq!(view.issued_at, now);
        prop_assert_eq!(view.expires_at, now + boundkey_proto::CHALLENGE_LIFE);
    }

    #[test]
    fn a_join_state_reads_back(claims in any_claims()) {
        let state = seal_state(&claims, CLUSTER, &master());
        prop_assert!(state.len() < 2048);
        prop_assert_eq!(open_state(&state, CLUSTER, &master()), StateEvidence::Valid(Box::new(claims)));
    }
}

fn time() -> impl Strategy<Value = OffsetDateTime> {
    (0..253_402_300_799_000_000i64).prop_map(|micros| {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).expect("in range")
    })
}

fn any_claims() -> impl Strategy<Value = StateClaims> {
    let ids = (any::<[u8; 16]>(), any::<[u8; 16]>(), prop::collection::vec(any::<[u8; 8]>(), 1..=16));
    let counts = (any::<u32>(), 1..(1u64 << 53), any::<u32>(), any::<bool>(), any::<Option<[u8; 32]>>());
    let adopted = prop::option::of(1..(1u64 << 53));
    (ids, counts, any::<u8>(), any::<bool>(), (time(), time(), time()), adopted).prop_map(
        |(
            (uid, state, trail),
            (generation, sequence, recoveries, shared, registration),
            seed,
            host,
            times,
            adopted,
        )| {
            let id = "6f1d0c52-9f0e-4f6f-8b42-0d6f5a3c9e11".to_owned();
            let name = if host { Identity::Host } else { Identity::BotInstance };
            StateClaims {
                uid: Uid(uid),
                generation,
                sequence,
                state_id: StateId(state),
                trail: Trail(trail),
                shared,
                registration_attempt: registration.map(Hash32),
                recovery_count: recoveries,
                key: public(seed).thumbprint(),
                identity: name(id),
                certificates_expire_at: times.0,
                issued_at: times.1,
                key_since: host.then_some(times.2),
                passed: Trail(if host { Vec::new() } else { vec![[seed; 8]; 16] }),
                adoption: adopted.map(|sequence| Adoption { instance: name("d".repeat(64)), sequence }),
            }
        },
    )
}

#[test]
fn what_is_certified_is_told_apart_by_every_member_and_not_by_the_order_of_roles() {
    use boundkey_token::{Role, RoleSet};
    let digest = |request: &Request| {
        let body = serde_json::to_vec(&bound_message(request)).expect("JSON");
        receive_complete(&body, CLUSTER, &master(), NOW).expect("accepted").certified
    };
    let changes: Vec<fn(&mut Request)> = vec![
        |request| request.tls_key = public(THIEF),
        |request| request.ssh_key = Some(public(THIEF)),
        |request| request.ssh_key = None,
        |request| request.ttl_seconds = None,
        |request| request.ttl_seconds = Some(3601),
        |request| request.roles = RoleSet::new([Role::App]),
        |request| request.roles = RoleSet::new([Role::Node, Role::App]),
        |request| request.names.dns_names.push("b".to_owned()),
        |request| request.names.principals.push("b".to_owned()),
        |request| request.names.principals = std::mem::take(&mut request.names.dns_names),
        |request| request.names.ip_addresses.clear(),
    ];
    let mut seen = vec![digest(&request())];
    for change in changes {
        let mut request = request();
        change(&mut request);
        let found = digest(&request);
        assert!(!seen.contains(&found), "{request:?}");
        seen.push(found);
    }
    let mut one = request();
    one.roles = RoleSet::new([Role::Node, Role::App]);
    let mut other = request();
    other.roles = RoleSet::new([Role::App, Role::Node]);
    assert_eq!(digest(&one), digest(&other));
    let mut later = request();
    later.join_state = Some("s".to_owned());
    later.facts.hostname.clear();
    assert_eq!(digest(&later), digest(&request()), "neither state nor facts are certified");
}
