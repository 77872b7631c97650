//! A server, or somebody in between, that answers what is not true: nothing of it is stored.

use std::sync::Arc;

use boundkey_keys::{PrivateKey, PublicKey};
use boundkey_lifecycle::CaKind;
use boundkey_proto::{BundleError, CaBundle, JoinKindName, ResultFault, SignedBundle};
use serde_json::{Value, json};

use super::world::{Crash, World, start_service};
use crate::join::{JoinError, ResultError};

/// The error of a join in which the answer was changed so; checks that nothing was stored and that the true answer to the
/// same attempt is good afterwards.
async fn refused(mut world: World, forge: impl FnMut(&mut Value) + Send + 'static) -> ResultError {
    let before = (world.state().join_state, world.state().ca_bundle);
    world.wire.forge = Some(Box::new(forge));
    let error = match world.join().await.err().expect("a forged result is refused") {
        JoinError::Result(error) => error,
        other => panic!("{other}"),
    };
    let state = world.state();
    assert!(state.pending.is_some(), "the attempt is kept");
    assert_eq!((state.join_state, state.ca_bundle), before, "nothing was stored");
    world.wire.forge = None;
    world.join().await.expect("the true answer is good");
    error
}

async fn joined_world() -> World {
    let mut world = World::new().await;
    world.join().await.unwrap();
    world.clock.advance(time::Duration::hours(8));
    world
}

#[tokio::test]
async fn another_attempt_is_refused() {
    let error =
        refused(World::new().await, |answer| answer["attempt"] = json!("AAAAAAAAAAAAAAAAAAAAAA")).await;
    assert_eq!(error, ResultError::Fault(ResultFault::OtherAttempt));
}

#[tokio::test]
async fn a_key_that_is_not_held_is_refused() {
    let key = PrivateKey::ed25519_from_seed(&[9; 32]).public_key().clone();
    let found = key.thumbprint();
    let error = refused(World::new().await, move |answer| answer["bound_key"] = json!(key)).await;
    assert_eq!(error, ResultError::Fault(ResultFault::ForeignKey { found }));
}

#[tokio::test]
async fn a_join_state_that_the_certificate_does_not_vouch_for_is_refused() {
    let error = refused(World::new().await, |answer| answer["join_state"] = json!("e30.e30.AAAA")).await;
    assert_eq!(error, ResultError::Digest);
}

#[tokio::test]
async fn an_old_result_played_again_is_refused() {
    let mut world = World::new().await;
    let old = Arc::new(std::sync::Mutex::new(Value::Null));
    let kept = Arc::clone(&old);
    world.wire.forge = Some(Box::new(move |answer| *kept.lock().unwrap() = answer.clone()));
    world.join().await.unwrap();
    world.clock.advance(time::Duration::hours(8));
    let old = old.lock().unwrap().clone();
    let whole = old.clone();
    let error = refused(world, move |answer| *answer = whole.clone()).await;
    assert_eq!(error, ResultError::Fault(ResultFault::OtherAttempt));
    // Nor do its certificates pass in a fresh result.
    let error =
        refused(joined_world().await, move |answer| answer["certificates"] = old["certificates"].clone())
            .await;
    assert!(matches!(error, ResultError::Chain { .. } | ResultError::OtherKey { what: "X.509" }), "{error}");
}

#[tokio::test]
async fn a_certificate_of_another_cas_making_is_refused() {
    let world = World::new().await;
    let stranger = start_service("example.com", Arc::clone(&world.clock), 2).await;
    // The stranger's bundle: not signed by the CA of the connection.
    let bundle = json!(stranger.authorities().bundle());
    let error = refused(world, move |answer| answer["ca_bundle"] = bundle.clone()).await;
    assert_eq!(error, ResultError::Bundle(BundleError::Untrusted));

    // A chain of the stranger's in a result with the true bundle.
    let chain = stranger_chain(&stranger);
    let error =
        refused(World::new().await, move |answer| answer["certificates"]["x509_chain"] = chain.clone()).await;
    assert!(matches!(error, ResultError::Chain { ca: "host", .. }), "{error}");
}

/// Any leaf below a CA of the stranger's: its own server certificate's CA will do.
fn stranger_chain(stranger: &boundkey_service::Service) -> Value {
    use base64::Engine as _;
    let ca = stranger.authorities().x509(CaKind::Host).unwrap().certificate_der();
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf =
        rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    let encode = |der: &[u8]| base64::engine::general_purpose::STANDARD.encode(der);
    json!([encode(leaf.der()), encode(ca)])
}

#[tokio::test]
async fn at_a_renewal_only_the_stored_ca_can_change_the_bundle() {
    let world = joined_world().await;
    let stranger = start_service("example.com", Arc::clone(&world.clock), 2).await;
    let bundle = json!(stranger.authorities().bundle());
    let error = refused(world, move |answer| answer["ca_bundle"] = bundle.clone()).await;
    assert_eq!(error, ResultError::Bundle(BundleError::Untrusted));
}

#[tokio::test]
async fn a_bundle_of_another_cluster_is_refused() {
    let world = World::new().await;
    let mut bundle = world.service.authorities().bundle().peek().unwrap();
    bundle.cluster = "other.example".to_owned();
    let signed = sign(&bundle, &world);
    let error = refused(world, move |answer| answer["ca_bundle"] = json!(signed)).await;
    assert_eq!(
        error,
        ResultError::OtherCluster { expected: "example.com".to_owned(), found: "other.example".to_owned() }
    );
}

fn sign(bundle: &CaBundle, world: &World) -> SignedBundle {
    let tls = world.service.authorities().x509(CaKind::Tls).unwrap();
    SignedBundle::sign(bundle, &[tls.key()]).unwrap()
}

#[tokio::test]
async fn a_public_root_vouches_for_a_bundle_that_signs_itself_at_the_first_contact_only() {
    let mut world = World::new().await;
    let channel = world.wire.channel.as_mut().unwrap();
    channel.source = crate::trust::Source::System;
    channel.root_key = Some(PrivateKey::ed25519_from_seed(&[8; 32]).public_key().clone());
    channel.cluster = None;
    world.join().await.unwrap();
    world.clock.advance(time::Duration::hours(8));
    let stranger = start_service("example.com", Arc::clone(&world.clock), 2).await;
    let bundle = json!(stranger.authorities().bundle());
    let error = refused(world, move |answer| answer["ca_bundle"] = bundle.clone()).await;
    assert_eq!(error, ResultError::Bundle(BundleError::Untrusted));
}

#[tokio::test]
async fn a_replaced_ca_is_accepted_once_the_operator_pins_it() {
    let mut world = joined_world().await;
    // The cluster's tls CA was replaced behind the agent's back: the bundle is signed by the new one alone.
    let new = PrivateKey::ed25519_from_seed(&[3; 32]);
    let bundle = world.service.authorities().bundle().peek().unwrap();
    let signed = SignedBundle::sign(&bundle, &[&new]).unwrap();
    let forged = signed.clone();
    world.wire.forge = Some(Box::new(move |answer| answer["ca_bundle"] = json!(forged)));
    assert!(matches!(
        world.join().await,
        Err(JoinError::Result(ResultError::Bundle(BundleError::Untrusted)))
    ));
    world.wire.channel.as_mut().unwrap().root_key = Some(new.public_key().clone());
    world.join().await.unwrap();
    assert_eq!(world.state().ca_bundle, Some(serde_json::to_string(&signed).unwrap()));
}

#[tokio::test]
async fn without_a_checked_connection_nothing_is_believed() {
    let mut world = World::new().await;
    world.wire.channel = None;
    let error = world.join().await.err().unwrap();
    assert!(matches!(error, JoinError::Result(ResultError::Bundle(BundleError::Untrusted))), "{error}");
    assert!(world.state().join_state.is_none());
}

#[tokio::test]
async fn a_result_for_another_identity_is_refused() {
    let other = "00000000-0000-4000-8000-000000000000";
    let error = refused(World::new().await, move |answer| answer["identity"] = json!({"host": other})).await;
    let ResultError::OtherIdentity { expected, found } = error else { panic!("{error}") };
    assert_eq!(expected, format!("spiffe://example.com/host/{other}"));
    assert!(found.starts_with("spiffe://example.com/host/"), "{found}");
    // A host's certificate does not pass for a bot's.
    let error = refused(World::new().await, move |answer| {
        answer["identity"] = json!({"bot_instance": other});
        answer["certificates"]["ssh"] = Value::Null;
        answer["certificates"].as_object_mut().unwrap().remove("ssh");
    })
    .await;
    assert!(matches!(error, ResultError::Chain { ca: "bot", .. }), "{error}");
}

#[tokio::test]
async fn an_openssh_certificate_must_be_the_clusters_and_for_the_key_that_was_asked_for() {
    use boundkey_ca::{SshAuthority, SshProfile, SshRequest};
    let world = World::new().await;
    let own = PrivateKey::ed25519_from_seed(&[5; 32]);
    let now = super::world::START;
    let certify = |ca: &SshAuthority, key: &PublicKey, profile| {
        ca.sign(&SshRequest {
            profile,
            public_key: key,
            key_id: "forged",
            principals: &["a.example".to_owned()],
            serial: 1,
            nonce: [0; 16],
            not_before: now,
            not_after: now + time::Duration::HOUR,
        })
        .unwrap()
    };
    let ca = world.service.authorities().ssh(CaKind::SshHost).unwrap();
    let line = certify(ca, own.public_key(), SshProfile::Host);
    let error = refused(World::new().await, move |answer| answer["certificates"]["ssh"] = json!(line)).await;
    // The worlds are made alike, so the CA is the same and the key alone is wrong.
    assert_eq!(error, ResultError::OtherKey { what: "OpenSSH" });

    let lines = [("not a certificate", "it has"), ("ssh-ed25519-cert-v01@openssh.com AAAA", ""), ("", "")];
    for (line, _) in lines {
        let error =
            refused(World::new().await, move |answer| answer["certificates"]["ssh"] = json!(line)).await;
        assert!(matches!(error, ResultError::Ssh(_)), "{line}: {error}");
    }
}

#[tokio::test]
async fn any_changed_byte_of_the_openssh_certificate_is_noticed() {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD;
    for place in [40, 60, 120, 200, 300] {
        let engine = engine.clone();
        let error = refused(World::new().await, move |answer| {
            let line = answer["certificates"]["ssh"].as_str().unwrap().to_owned();
            let mut words = line.split(' ');
            let algorithm = words.next().unwrap();
            let mut bytes = engine.decode(words.next().unwrap()).unwrap();
            bytes[place] ^= 1;
            answer["certificates"]["ssh"] = json!(format!("{algorithm} {}", engine.encode(bytes)));
        })
        .await;
        assert!(matches!(error, ResultError::Ssh(_) | ResultError::OtherKey { .. }), "byte {place}: {error}");
    }
}

/// Whoever sits between could else end an attempt that was admitted, with the old key for the new one, or with a state of
/// which the server knows nothing: the true ones would be lost with it.
#[tokio::test]
async fn a_result_stripped_of_its_certificates_is_no_answer() {
    for bend in [None, Some("join_state"), Some("bound_key")] {
        let mut world = joined_world().await;
        world
            .change(|enrolment| enrolment.rotate_requested_at = Some(enrolment.last_joined_at.unwrap()))
            .await;
        let before = public_key(&mut world);
        let mut first = true;
        world.wire.forge = Some(Box::new(move |answer| {
            if answer["status"] == "admitted" && std::mem::take(&mut first) {
                answer.as_object_mut().unwrap().remove("certificates");
                match bend {
                    Some("bound_key") => answer["bound_key"] = json!(before),
                    Some(member) => answer[member] = json!("e30.e30.AAAA"),
                    None => {}
                }
            }
        }));
        let Err(JoinError::Result(error)) = world.join().await else { panic!("{bend:?}") };
        assert_eq!(error, ResultError::Receipt, "{bend:?}");
        let pending = world.state().pending.expect("the attempt stays");
        world.wire.forge = None;
        let joined = world.join().await.unwrap();
        assert_eq!(joined.kind, JoinKindName::Retried, "{bend:?}: the true answer to the same attempt");
        assert!(joined.state.pending.is_none() && joined.rotated);
        assert_eq!(
            joined.state.bound_key.map(|key| key.public_key().clone()),
            pending.new_key.map(|key| key.public_key().clone())
        );
        assert_eq!(world.enrolment().await.sequence, 2);
        assert!(!world.is_locked().await);
    }
}

/// A receipt is of one result: that of another attempt, or of the same with another key or state, is none.
#[tokio::test]
async fn a_receipt_vouches_for_one_result_alone() {
    for bend in ["receipt", "join_state", "bound_key", "certificates"] {
        let mut world = joined_world().await;
        assert!(world.join_and_crash(Crash::AfterMessage(2)).await);
        world.clock.advance(time::Duration::days(3));
        let stranger = PrivateKey::ed25519_from_seed(&[77; 32]);
        let receipt = boundkey_proto::sign_receipt(&stranger, "example.com", [7; 32]).unwrap();
        let before = public_key(&mut world);
        let mut first = true;
        world.wire.forge = Some(Box::new(move |answer| {
            if answer.get("receipt").is_some() && std::mem::take(&mut first) {
                match bend {
                    "receipt" => answer["receipt"] = json!(receipt),
                    "bound_key" => {
                        answer["receipt"] = json!(format!("{}AA", answer["receipt"].as_str().unwrap()))
                    }
                    "certificates" => drop(answer.as_object_mut().unwrap().remove("receipt")),
                    member => answer[member] = json!("e30.e30.AAAA"),
                }
            }
        }));
        let Err(JoinError::Result(error)) = world.join().await else { panic!("{bend}") };
        assert_eq!(error, ResultError::Receipt, "{bend}");
        assert_eq!(public_key(&mut world), before);
        world.wire.forge = None;
        assert_eq!(world.join().await.unwrap().kind, JoinKindName::Renewed, "{bend}");
        assert_eq!(world.enrolment().await.recovery_count, 1);
        assert!(!world.is_locked().await);
    }
}

fn public_key(world: &mut World) -> boundkey_keys::PublicKey {
    world.state().bound_key.unwrap().public_key().clone()
}
