mod crashes;
mod forged;
mod host_key;
mod results;
mod world;

use std::sync::Arc;
use std::time::Duration;

use boundkey_proto::{Complete, JoinKindName};
use world::{Crash, SECRET, START, World};

use super::*;
use crate::config::SecretSource;
use crate::machine::OtherMachine;
use crate::transport::TransportError;

fn presented_secret(world: &World) -> bool {
    let last = world.wire.bodies.last().unwrap();
    serde_json::from_slice::<Complete>(last).unwrap().secret_proof.is_some()
}

#[tokio::test]
async fn a_machine_registers_and_renews() {
    let mut world = World::new().await;
    let joined = world.join().await.unwrap();
    assert_eq!(joined.kind, JoinKindName::Registered);
    assert_eq!(world.wire.sent, ["/v1/join/begin", "/v1/join/complete"]);
    let state = world.state();
    let identity = state.identity.as_ref().unwrap();
    assert_eq!(identity.identity_kind, "host");
    assert_eq!(identity.x509_chain.len(), 2);
    assert_eq!(identity.not_after, START + Duration::from_secs(24 * 3600));
    assert!(identity.ssh_certificate.as_ref().unwrap().starts_with("ssh-ed25519-cert-v01@openssh.com "));
    assert_eq!(identity.renew_at, START + joined.renew_in);
    assert!(state.pending.is_none());
    assert_eq!(state.cluster.as_deref(), Some("example.com"));
    let first_ssh_key = identity.ssh_key.as_ref().unwrap().public_key().clone();

    world.clock.advance(time::Duration::hours(8));
    let joined = world.join().await.unwrap();
    assert_eq!(joined.kind, JoinKindName::Renewed);
    assert!(!joined.rotated);
    let enrolment = world.enrolment().await;
    assert_eq!((enrolment.sequence, enrolment.recovery_count), (2, 1));
    let state = world.state();
    let identity = state.identity.as_ref().unwrap();
    assert_eq!(identity.ssh_key.as_ref().unwrap().public_key(), &first_ssh_key, "a host keeps its host key");
}

/// Whichever clock is wrong: what it gave is of no use, and half a day is long to wait for better.
#[tokio::test]
async fn certificates_that_are_not_valid_by_the_local_clock_are_replaced_soon() {
    let soon = Duration::from_secs(5 * 60);
    for (offset, useful) in
        [(-6, false), (-4, true), (0, true), (24 * 60 - 1, true), (24 * 60 + 1, false), (-5_000_000, false)]
    {
        let mut world = World::new().await;
        world.client_clock.offset = time::Duration::minutes(offset);
        let joined = world.join().await.unwrap();
        assert_eq!(joined.renew_in > soon, useful, "{offset} minutes off: {:?}", joined.renew_in);
        assert!(joined.renew_in >= soon);
        let renew_at = world.state().identity.unwrap().renew_at;
        assert_eq!(renew_at, joined.local_time + joined.renew_in);
    }
}

#[tokio::test]
async fn a_clock_that_stays_wrong_is_asked_about_ever_more_rarely() {
    let mut world = World::new().await;
    world.client_clock.offset = time::Duration::hours(-3);
    let mut waits = Vec::new();
    for _ in 0..6 {
        waits.push(world.join().await.unwrap().renew_in.as_secs() / 60);
    }
    assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
    world.client_clock.offset = time::Duration::ZERO;
    let useful = world.join().await.unwrap().renew_in;
    assert!(useful > Duration::from_secs(3600), "{useful:?}");
    world.client_clock.offset = time::Duration::hours(-3);
    assert_eq!(world.join().await.unwrap().renew_in.as_secs(), 300, "from the beginning");
}

#[tokio::test]
async fn the_secret_is_presented_only_before_the_first_join() {
    let mut world = World::new().await;
    world.join().await.unwrap();
    assert!(presented_secret(&world));
    // Once bound, a missing file is no error.
    world.plan.credential = Credential::Secret(SecretSource::File("/no/such/file".into()));
    world.join().await.unwrap();
    assert!(!presented_secret(&world));
}

#[tokio::test]
async fn before_the_first_join_a_missing_secret_is_an_error_and_nothing_is_sent() {
    let mut world = World::new().await;
    world.plan.credential = Credential::Secret(SecretSource::File("/no/such/file".into()));
    let error = world.join().await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "cannot read `registration_secret_path` /no/such/file: No such file or directory (os error 2)"
    );
    assert_eq!(error.remedy(), Remedy::Machine);
    assert!(world.wire.sent.is_empty());
}

#[tokio::test]
async fn the_secret_is_nowhere_in_what_is_sent_or_stored() {
    let mut world = World::new().await;
    world.join().await.unwrap();
    let stored = world.state().to_json();
    for bytes in world.wire.bodies.iter().map(Vec::as_slice).chain([stored.as_slice()]) {
        assert!(!String::from_utf8_lossy(bytes).contains(SECRET));
    }
}

#[tokio::test]
async fn a_due_rotation_is_completed_in_the_same_join() {
    let mut world = World::new().await;
    let before = world.join().await.unwrap().state.bound_key.unwrap().public_key().clone();
    world.clock.advance(time::Duration::hours(1));
    world.change(|enrolment| enrolment.rotate_requested_at = Some(START + time::Duration::minutes(30))).await;
    let joined = world.join().await.unwrap();
    assert!(joined.rotated);
    assert_eq!(world.wire.sent.len(), 3, "the same challenge is completed again");
    let after = joined.state.bound_key.as_ref().unwrap().public_key();
    assert_ne!(after, &before);
    assert_eq!(world.enrolment().await.bound_public_key.as_ref(), Some(after));
    assert_eq!(joined.state.superseded[0].key.public_key(), &before);
}

#[tokio::test]
async fn a_static_key_is_never_rotated_and_the_error_says_who_can_act() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    let key = PrivateKey::ed25519_from_seed(&[7; 32]);
    std::fs::write(&file, key.to_openssh_pem("").as_bytes()).unwrap();
    let mut world = World::with_token(&format!(
        "kind: token\nversion: v2\nmetadata: {{name: {}}}\nspec:\n  roles: [Node]\n  join_method: bound_keypair\n  \
         bound_keypair:\n    onboarding: {{initial_public_key: {}}}\n",
        world::TOKEN,
        key.public_key().to_openssh()
    ))
    .await;
    world.plan.credential = Credential::StaticKey(crate::config::StaticKeySource::File(file));
    let joined = world.join().await.unwrap();
    assert_eq!(joined.state.bound_key.unwrap().public_key(), key.public_key());
    world.clock.advance(time::Duration::hours(1));
    world.change(|enrolment| enrolment.rotate_requested_at = Some(START + time::Duration::minutes(30))).await;
    let error = world.join().await.err().unwrap();
    assert!(matches!(error, JoinError::RotationOfStaticKey), "{error}");
    assert_eq!(error.remedy(), Remedy::Administrator);
    assert!(world.state().pending.is_some(), "the attempt is kept");
}

#[tokio::test]
async fn a_state_of_another_machine_or_token_sends_nothing() {
    let mut world = World::new().await;
    world.join().await.unwrap();
    world.plan.machine = Some("another".to_owned());
    assert!(matches!(world.join().await, Err(JoinError::OtherMachine(OtherMachine))));
    assert!(world.wire.sent.is_empty());
    world.plan.accept_machine = true;
    world.join().await.unwrap();
    world.plan.accept_machine = false;
    world.join().await.unwrap();
    world.plan.token = "other-token".parse().unwrap();
    let error = world.join().await.err().unwrap();
    assert!(error.to_string().starts_with(
        "the state belongs to the token `example-token`, and the configuration says `other-token`"
    ));
    assert_eq!(error.remedy(), Remedy::MachineFirst);
    assert!(world.wire.sent.is_empty());
}

#[tokio::test]
async fn a_refusal_carries_the_servers_code_and_keeps_the_attempt() {
    let mut world = World::new().await;
    world.plan.credential = Credential::Secret(SecretSource::Given(Secret::new(
        "BAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8".to_owned(),
    )));
    let error = world.join().await.err().unwrap();
    assert_eq!(error.code(), Some("denied"));
    assert_eq!(error.remedy(), Remedy::Administrator);
    let attempt = world.state().pending.unwrap().attempt;
    // The same attempt goes on once the configuration is mended.
    world.plan.credential = Credential::Secret(SecretSource::Given(Secret::new(SECRET.to_owned())));
    world.join().await.unwrap();
    let sent = String::from_utf8(world.wire.bodies.pop().unwrap()).unwrap();
    let complete: Complete = serde_json::from_str(&sent).unwrap();
    assert_eq!(Request::decode(&complete.request).unwrap().attempt, AttemptId(attempt));
}

#[tokio::test]
async fn after_a_reset_the_secret_of_the_configuration_is_tried() {
    let mut world = World::new().await;
    world.join().await.unwrap();
    // As `reset` leaves it, but for the secret, which is the one that the configuration holds.
    world
        .change(|enrolment| {
            *enrolment = boundkey_lifecycle::Enrolment {
                generation: enrolment.generation + 1,
                secret: enrolment.secret.clone(),
                ..Default::default()
            };
            enrolment.secret.used = false;
        })
        .await;
    let joined = world.join().await.unwrap();
    assert_eq!(joined.kind, JoinKindName::Registered);
    assert!(presented_secret(&world));
    let enrolment = world.enrolment().await;
    assert_eq!((enrolment.generation, enrolment.sequence), (1, 1));
}

#[tokio::test]
async fn retry_after_is_taken_from_the_header_where_the_problem_has_none() {
    let mut world = World::new().await;
    let body =
        br#"{"title":"Service Unavailable","status":503,"code":"overloaded","detail":"later"}"#.to_vec();
    let reply = Reply { status: 503, retry_after: Some(Duration::from_secs(7)), body };
    world.wire.canned.insert(1, Ok(reply));
    let error = world.join().await.err().unwrap();
    assert_eq!(error.to_string(), "overloaded: later");
    assert_eq!(error.remedy(), Remedy::Wait(Some(Duration::from_secs(7))));
    assert!(world.state().pending.is_some());
}

#[tokio::test]
async fn what_is_no_answer_of_this_protocol_is_said_plainly_and_tried_again() {
    let mut world = World::new().await;
    let reply = Reply { status: 200, retry_after: None, body: b"<html>Welcome to the hotel".to_vec() };
    world.wire.canned.insert(1, Ok(reply));
    let error = world.join().await.err().unwrap();
    assert!(error.to_string().contains("begins with `<html>Welcome to the hotel`"), "{error}");
    assert_eq!(error.remedy(), Remedy::Wait(None));
    world.join().await.unwrap();
}

#[tokio::test]
async fn a_clock_that_is_off_costs_nothing_but_a_note() {
    for years in [-10, 10] {
        let mut world = World::new().await;
        world.client_clock.offset = time::Duration::days(365 * years);
        let joined = world.join().await.unwrap();
        assert_eq!(joined.local_time - joined.server_time, world.client_clock.offset);
        world.client_clock.offset = time::Duration::ZERO;
        world.join().await.unwrap();
        assert!(!world.is_locked().await);
        assert_eq!(world.enrolment().await.recovery_count, 1);
    }
}

#[tokio::test]
async fn a_server_that_wants_confirmation_for_ever_is_left_alone() {
    let mut world = World::new().await;
    world.join().await.unwrap();
    let service = world.service.clone();
    world.wire.forge = Some(Box::new(move |answer| {
        let challenge = boundkey_service::join::begin(&service, service.now()).challenge;
        *answer = serde_json::json!({"status": "confirm", "challenge": challenge});
    }));
    let error = world.join().await.err().unwrap();
    assert!(matches!(error, JoinError::NeverConfirmed), "{error}");
    assert_eq!(world.wire.sent.len(), 1 + 1 + 3);
}

#[tokio::test]
async fn a_server_that_wants_a_new_key_for_ever_gets_one() {
    let mut world = World::new().await;
    world.join().await.unwrap();
    let again = Reply { status: 200, retry_after: None, body: br#"{"status":"rotation_required"}"#.to_vec() };
    world.wire.canned.extend([(2, Ok(again.clone())), (3, Ok(again))]);
    let error = world.join().await.err().unwrap();
    assert!(matches!(error, JoinError::RotationRefused), "{error}");
    assert_eq!(world.wire.sent.len(), 3);
    let offered = world.state().pending.unwrap().new_key.unwrap().public_key().clone();
    let joined = world.join().await.unwrap();
    assert_eq!(
        joined.state.bound_key.unwrap().public_key(),
        &offered,
        "the key that was offered is offered again"
    );
}

#[tokio::test]
async fn a_challenge_of_another_cluster_is_not_answered() {
    let mut world = World::new().await;
    world.wire.channel.as_mut().unwrap().cluster = Some("other.example".to_owned());
    let error = world.join().await.err().unwrap();
    assert!(error.to_string().contains("other.example"), "{error}");
    assert_eq!(world.wire.sent, ["/v1/join/begin"]);
}

#[test]
fn the_wait_is_the_servers_but_neither_none_nor_longer_than_the_certificates() {
    let hour = time::Duration::HOUR;
    assert_eq!(bounded_wait(600, hour), Duration::from_secs(600));
    assert_eq!(bounded_wait(0, hour), Duration::from_secs(5));
    assert_eq!(bounded_wait(u64::MAX, hour), Duration::from_secs(3240));
    assert_eq!(bounded_wait(600, -hour), Duration::from_secs(5));
}

#[tokio::test]
async fn a_transport_error_is_passed_on() {
    let mut world = World::new().await;
    assert!(world.join_and_crash(Crash::BeforeMessage(1)).await);
    let lost = TransportError::Broken { server: "server:443".to_owned(), reason: "lost".to_owned() };
    world.wire.canned.insert(1, Err(lost.clone()));
    match world.join().await.err().unwrap() {
        JoinError::Transport(error) => assert_eq!(error, lost),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_server_of_another_cluster_ends_the_agent_only_if_the_configuration_names_it() {
    for (source, remedy) in [
        (Source::Pin, Some(Remedy::MachineFirst)),
        (Source::CaFile, Some(Remedy::MachineFirst)),
        (Source::System, Some(Remedy::Machine)),
        // Its own cluster's CA vouched for the server: what it says makes no sense, and may next time.
        (Source::Bundle, None),
    ] {
        let mut world = World::new().await;
        world.join().await.unwrap();
        let before = world.state().to_json();
        let other = world::start_service("other.com", Arc::clone(&world.clock), 2).await;
        let mut channel = world::channel_of(&other);
        channel.source = source;
        world.wire.turn_to(other, channel);
        let error = world.join().await.err().unwrap();
        assert_eq!(world.wire.sent, ["/v1/join/begin"], "no proof is sent");
        match remedy {
            Some(remedy) => {
                assert_eq!(
                    error.to_string(),
                    "the state belongs to the cluster `example.com`, and this server to `other.com`: put the old server \
                     back into the configuration, or run `boundkey-agent forget` and enrol this machine anew"
                );
                assert_eq!(error.remedy(), remedy, "{source:?}");
            }
            None => assert_eq!(error.remedy(), Remedy::Wait(None)),
        }
        let state = AgentState { pending: None, ..world.state() };
        assert!(state.to_json() == before, "only the attempt is kept");
    }
}

#[tokio::test]
async fn a_stored_bundle_that_was_changed_is_not_used_and_the_next_join_gets_the_true_one() {
    type Change<'a> = Box<dyn Fn(&mut AgentState) + 'a>;
    let mut world = World::new().await;
    world.join().await.unwrap();
    let true_state = world.state();
    assert!(store::read_bundle(&true_state).is_some());
    let stranger = world::start_service("example.com", Arc::clone(&world.clock), 2).await;
    let foreign = stranger.authorities().bundle();
    let signed: boundkey_proto::SignedBundle =
        serde_json::from_str(true_state.ca_bundle.as_deref().unwrap()).unwrap();
    // A user CA of somebody else's in the cluster's bundle, signed by him.
    let mut mixed = signed.peek().unwrap();
    mixed.ssh_user = foreign.peek().unwrap().ssh_user;
    let thief = PrivateKey::ed25519_from_seed(&[9; 32]);
    let mixed = boundkey_proto::SignedBundle::sign(&mixed, &[&thief]).unwrap();
    let text = |signed: &boundkey_proto::SignedBundle| serde_json::to_string(signed).ok();
    let changes: [(&str, Change<'_>); 6] = [
        ("it is not understood", Box::new(|state| state.ca_bundle = Some("{".to_owned()))),
        ("nobody vouched for it", Box::new(|state| state.ca_bundle_signer = None)),
        (
            "its signature is not of the CA that vouched for it",
            Box::new(|state| state.ca_bundle = text(&mixed)),
        ),
        (
            "its signature is not of the CA that vouched for it",
            Box::new(|state| state.ca_bundle = text(foreign)),
        ),
        (
            "its CAs did not issue the stored certificate",
            Box::new(|state| {
                state.ca_bundle = text(foreign);
                state.ca_bundle_signer = Some(world::tls_key(&stranger));
            }),
        ),
        ("it is of another cluster", Box::new(|state| state.cluster = Some("other.com".to_owned()))),
    ];
    for (reason, change) in changes {
        let mut state = world.state();
        change(&mut state);
        let error = store::stored_bundle(&state).unwrap_err().to_string();
        assert!(error.starts_with("the stored CA bundle is not the one that was accepted"), "{error}");
        assert!(error.contains(reason), "{error}");
        assert!(store::read_bundle(&state).is_none());
        if state.cluster.as_deref() == Some("example.com") {
            world.disk.save(&state).unwrap();
            world.clock.advance(time::Duration::hours(1));
            world.join().await.unwrap();
        }
        assert!(store::read_bundle(&world.state()).is_some(), "{reason}");
        assert_eq!(world.state().ca_bundle, true_state.ca_bundle);
    }
}
