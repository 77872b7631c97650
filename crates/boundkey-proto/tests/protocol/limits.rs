//! The bounds of the chapter "Limits": what is exactly at one passes, what is one beyond does not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boundkey_keys::Signer;
use boundkey_lifecycle::{Adoption, Identity, InvalidState, StateClaims, StateEvidence, Trail};
use boundkey_proto::{
    BundleError, CHALLENGE_TYP, CaBundle, ChallengeError, Complete, MAX_BODY, MAX_CHALLENGE, ProtoError,
    SignedBundle, open_state, read_challenge, receive_complete, seal_state,
};
use time::Duration;

use crate::scene::*;
use crate::states;

fn bundle() -> CaBundle {
    CaBundle {
        cluster: CLUSTER.to_owned(),
        version: 1,
        tls: vec![STANDARD.encode("tls")],
        host: vec![STANDARD.encode("host")],
        bot: vec![STANDARD.encode("bot")],
        ssh_host: Vec::new(),
        ssh_user: Vec::new(),
        note: None,
    }
}

fn sign(change: impl FnOnce(&mut CaBundle)) -> Result<SignedBundle, BundleError> {
    let mut bundle = bundle();
    change(&mut bundle);
    SignedBundle::sign(&bundle, &[&key(CA)])
}

#[test]
fn a_bundle_gives_back_the_certificates_of_each_kind() {
    let bundle = bundle();
    assert_eq!(bundle.tls_der(), [b"tls".to_vec()]);
    assert_eq!(bundle.host_der(), [b"host".to_vec()]);
    assert_eq!(bundle.bot_der(), [b"bot".to_vec()]);
}

#[test]
fn a_bundle_takes_eight_of_a_kind_and_a_cluster_of_253_bytes() {
    let der = || STANDARD.encode("DER");
    assert!(sign(|b| b.cluster = "c".repeat(253)).is_ok());
    assert_eq!(sign(|b| b.cluster = "c".repeat(254)), Err(BundleError::Content("cluster")));
    assert!(sign(|b| b.bot = vec![der(); 8]).is_ok());
    assert_eq!(sign(|b| b.bot = vec![der(); 9]), Err(BundleError::Content("bot")));
    assert!(sign(|b| b.ssh_host = vec![public(CA); 8]).is_ok());
    assert_eq!(sign(|b| b.ssh_host = vec![public(CA); 9]), Err(BundleError::Content("ssh_host")));
    assert!(sign(|b| b.ssh_user = vec![public(CA); 8]).is_ok());
    assert_eq!(sign(|b| b.ssh_user = vec![public(CA); 9]), Err(BundleError::Content("ssh_user")));
    // Fewer are no fault either.
    assert!(sign(|b| (b.ssh_host, b.ssh_user) = (Vec::new(), Vec::new())).is_ok());
}

#[test]
fn a_bundle_has_one_to_eight_signatures() {
    let keys: Vec<_> = (0..9).map(|n| key(40 + n)).collect();
    let signers: Vec<&dyn Signer> = keys.iter().map(|key| key as &dyn Signer).collect();
    let trusted = [public(47)];
    let eight = SignedBundle::sign(&bundle(), &signers[..8]).expect("eight may sign");
    assert_eq!(eight.verify(&trusted), Ok(bundle()));
    assert_eq!(eight.peek(), Ok(bundle()));
    assert_eq!(SignedBundle::sign(&bundle(), &signers), Err(BundleError::Unsigned));
    assert_eq!(SignedBundle::sign(&bundle(), &[]), Err(BundleError::Unsigned));
}

#[test]
fn a_bundle_is_no_longer_than_a_body() {
    let sized = |length: usize| {
        let mut signed = sign(|_| {}).expect("a bundle");
        let rest = length - signed.0[0].len();
        signed.0.push("x".repeat(rest));
        signed
    };
    assert_eq!(sized(MAX_BODY).verify(&[public(CA)]), Ok(bundle()));
    assert_eq!(sized(MAX_BODY + 1).verify(&[public(CA)]), Err(BundleError::TooLarge));
}

/// A challenge of that length, by a server whose tags are as long as they like: to clients they mean nothing.
fn challenge_of(length: usize) -> String {
    let payload = format!(
        r#"{{"iss":"{CLUSTER}","aud":"{CLUSTER}","iat":1795420800,"exp":1795420860,"nonce":"{}"}}"#,
        b64(&NONCE)
    );
    (1..6)
        .flat_map(|kid| (1..2048).map(move |tag| (kid, tag)))
        .map(|(kid, tag)| {
            let header = format!(r#"{{"alg":"HS256","kid":"{}","typ":"{CHALLENGE_TYP}"}}"#, "k".repeat(kid));
            forge(&header, &payload, |_| vec![0; tag])
        })
        .find(|challenge| challenge.len() == length)
        .expect("there is one of this length")
}

#[test]
fn a_challenge_has_at_most_2048_bytes() {
    assert!(read_challenge(&challenge_of(MAX_CHALLENGE), Some(CLUSTER)).is_ok());
    let found = read_challenge(&challenge_of(MAX_CHALLENGE + 1), Some(CLUSTER));
    assert_eq!(found, Err(ChallengeError::TooLong { found: 2049, allowed: 2048 }));
    // To the server a long one is out of bounds before it is looked at.
    let code = |length: usize| {
        let message = Complete { challenge: "c".repeat(length), ..bound_message(&request()) };
        let body = serde_json::to_vec(&message).expect("JSON");
        receive_complete(&body, CLUSTER, &master(), NOW).map(drop).map_err(|error| error.code())
    };
    assert_eq!(code(MAX_CHALLENGE), Err("challenge_invalid"));
    assert_eq!(code(MAX_CHALLENGE + 1), Err("malformed_request"));
}

/// By the client's reading: the life of the challenge and the name of its cluster.
#[test]
fn a_challenge_lives_one_second_to_ten_minutes_and_names_a_cluster() {
    let read = |cluster: &str, life: i64| {
        let payload = format!(
            r#"{{"iss":"{cluster}","aud":"{cluster}","iat":1795420800,"exp":{},"nonce":"{}"}}"#,
            1_795_420_800 + life,
            b64(&NONCE)
        );
        let header = format!(r#"{{"alg":"HS256","kid":"2.3","typ":"{CHALLENGE_TYP}"}}"#);
        read_challenge(&forge(&header, &payload, |_| vec![0; 32]), None)
    };
    let long = "c".repeat(253);
    for (cluster, life) in [(CLUSTER, 1), (CLUSTER, 600), (long.as_str(), 60)] {
        let view = read(cluster, life).expect("a challenge");
        assert_eq!(
            (view.cluster.as_str(), view.expires_at - view.issued_at),
            (cluster, Duration::seconds(life))
        );
        assert_eq!(view.issued_at, NOW);
        assert_eq!((view.nonce, view.position), (NONCE, None));
    }
    let longer = "c".repeat(254);
    for (cluster, life) in [(CLUSTER, 0), (CLUSTER, -1), (CLUSTER, 601), ("", 60), (longer.as_str(), 60)] {
        assert_eq!(read(cluster, life), Err(ChallengeError::NotAChallenge), "{cluster} {life}");
    }
}

#[test]
fn a_body_has_at_most_65536_bytes() {
    let body = |length: usize| {
        let mut body = serde_json::to_vec(&bound_message(&request())).expect("JSON");
        body.resize(length, b' ');
        receive_complete(&body, CLUSTER, &master(), NOW).map(drop)
    };
    assert_eq!(body(MAX_BODY), Ok(()));
    assert_eq!(body(MAX_BODY + 1), Err(ProtoError::BodyTooLarge { found: 65_537 }));
    assert!(boundkey_proto::receive_begin(b"{}").is_ok());
    let mut padded = b"{}".to_vec();
    padded.resize(MAX_BODY, b' ');
    assert!(boundkey_proto::receive_begin(&padded).is_ok());
    padded.push(b' ');
    assert!(boundkey_proto::receive_begin(&padded).is_err());
    assert!(boundkey_proto::receive_begin(b"[]").is_err());
}

#[test]
fn a_join_state_keeps_to_its_ranges() {
    let opened = |change: fn(&mut boundkey_lifecycle::StateClaims)| {
        let mut claims = states::claims();
        change(&mut claims);
        match open_state(&seal_state(&claims, CLUSTER, &master()), CLUSTER, &master()) {
            StateEvidence::Valid(found) => {
                assert_eq!(*found, claims);
                Ok(())
            }
            StateEvidence::Invalid(cause) => Err(cause),
            StateEvidence::None => unreachable!("a state was presented"),
        }
    };
    let refused = Err(InvalidState::Unreadable);
    assert_eq!(opened(|_| {}), Ok(()));
    assert_eq!(opened(|s| s.sequence = 1), Ok(()));
    assert_eq!(opened(|s| s.sequence = 0), refused);
    assert_eq!(opened(|s| s.sequence = (1 << 53) - 1), Ok(()));
    assert_eq!(opened(|s| s.sequence = 1 << 53), refused);
    assert_eq!(opened(|s| s.trail = Trail(vec![[1; 8]; 16])), Ok(()));
    assert_eq!(opened(|s| s.trail = Trail(vec![[1; 8]; 17])), refused);
    assert_eq!(opened(|s| s.identity = Identity::Host("h".repeat(64))), Ok(()));
    assert_eq!(opened(|s| s.identity = Identity::Host("h".repeat(65))), refused);
    assert_eq!(opened(|s| s.key_since = None), Ok(()));
    assert_eq!(opened(|s| s.passed = Trail(vec![[1; 8]; 16])), Ok(()));
    assert_eq!(opened(|s| s.passed = Trail(vec![[1; 8]; 17])), refused);
    let adopted = |sequence, length| {
        let instance = Identity::BotInstance("b".repeat(length));
        let claims = StateClaims { adoption: Some(Adoption { instance, sequence }), ..states::claims() };
        open_state(&seal_state(&claims, CLUSTER, &master()), CLUSTER, &master())
            == StateEvidence::Valid(Box::new(claims))
    };
    assert!(adopted(1, 64) && adopted((1 << 53) - 1, 1));
    assert!(!adopted(0, 64) && !adopted(1 << 53, 64) && !adopted(1, 65));
}

#[test]
fn an_answer_has_at_most_65536_bytes_and_its_challenge_2048() {
    let padded = |length: usize| {
        let mut body = br#"{"status":"rotation_required"}"#.to_vec();
        body.resize(length, b' ');
        boundkey_proto::read_answer(200, &body).map(drop)
    };
    assert_eq!(padded(MAX_BODY), Ok(()));
    assert_eq!(padded(MAX_BODY + 1), Err(boundkey_proto::ClientError::TooLarge { found: 65_537 }));
    let confirm = |length: usize| {
        let body = format!(r#"{{"status":"confirm","challenge":"{}"}}"#, "c".repeat(length));
        boundkey_proto::read_answer(200, body.as_bytes()).is_ok()
    };
    assert_eq!((confirm(MAX_CHALLENGE), confirm(MAX_CHALLENGE + 1)), (true, false));
}

#[test]
fn a_join_state_has_at_most_8192_bytes() {
    let opened = |length: usize| {
        let sealed = states::sealed();
        let padding = "A".repeat(length - sealed.len());
        open_state(&(sealed + &padding), CLUSTER, &master())
    };
    // Up to the bound its tag is looked at.
    assert_eq!(opened(8192), StateEvidence::Invalid(InvalidState::BadTag));
    assert_eq!(opened(8193), StateEvidence::Invalid(InvalidState::Unreadable));
}
