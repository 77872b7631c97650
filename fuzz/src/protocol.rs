use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use boundkey_keys::{MacKey, Purpose, sign_jws, sign_mac_jws};
use boundkey_lifecycle::StateEvidence;
use boundkey_proto::{
    Answer, BUNDLE_TYP, CHALLENGE_TYP, Complete, JoinAnswer, STATE_TYP, SignedBundle, issue_challenge,
    open_state, read_answer, read_begin_answer, read_challenge, receive_begin, receive_complete, seal_state,
};

use crate::scene::{CLUSTER, NOW, key, master};

/// The first message, and the answer to it.
pub fn join_begin(data: &[u8]) {
    let _ = receive_begin(data);
    let _ = read_begin_answer(200, data);
    let _ = read_begin_answer(403, data);
}

/// The second message as a stranger may send it. Nothing can be proven without a signature over the challenge.
pub fn join_complete(data: &[u8]) {
    let _ = receive_complete(data, CLUSTER, &master(), NOW);
}

/// The second message with a good challenge and any request: what strangers reach beyond the tag.
pub fn join_request(data: &[u8]) {
    let message = Complete {
        challenge: issue_challenge(CLUSTER, &master(), [3; 32], None, NOW),
        request: URL_SAFE_NO_PAD.encode(data),
        proofs: vec!["a.b.c".to_owned()],
        secret_proof: Some(URL_SAFE_NO_PAD.encode([4; 32])),
    };
    let body = serde_json::to_vec(&message).expect("a message is JSON");
    if let Ok(received) = receive_complete(&body, CLUSTER, &master(), NOW) {
        assert!(received.proven.current.is_none() && received.proven.new.is_none(), "nothing was proven");
        let again =
            boundkey_proto::Request::decode(&received.request.encode()).expect("what was written is read");
        assert_eq!(again, received.request);
    }
}

/// What a server answers, after two bytes of HTTP status.
pub fn join_answer(data: &[u8]) {
    let Some((status, body)) = data.split_first_chunk() else { return };
    let status = match u16::from_be_bytes(*status) % 4 {
        0 => 200,
        1 => 403,
        2 => 503,
        _ => u16::from_be_bytes(*status),
    };
    if let Ok(Answer::Join(JoinAnswer::Admitted(result))) = read_answer(status, body) {
        let _ = result.digest();
        let _ = result.ca_bundle.peek();
        if let Some(certificates) = &result.certificates {
            for der in certificates.chain_der().unwrap_or_default() {
                let _ = boundkey_ca::inspect_leaf(&der);
            }
        }
    }
}

/// A challenge: as text, and as claims under a good tag.
pub fn challenge(data: &[u8]) {
    let _ = read_challenge(crate::text(data), Some(CLUSTER));
    let challenge = tagged(Purpose::Challenge, CHALLENGE_TYP, data);
    if let Ok(view) = read_challenge(&challenge, None) {
        assert_eq!(read_challenge(&challenge, Some(&view.cluster)), Ok(view));
    }
    let message = Complete { challenge, request: String::new(), proofs: Vec::new(), secret_proof: None };
    let body = serde_json::to_vec(&message).expect("a message is JSON");
    assert!(receive_complete(&body, CLUSTER, &master(), NOW).is_err(), "there is no request");
}

/// A join state as text. Whatever is valid has one form.
pub fn join_state(data: &[u8]) {
    let text = crate::text(data);
    if let StateEvidence::Valid(claims) = open_state(text, CLUSTER, &master()) {
        assert_eq!(seal_state(&claims, CLUSTER, &master()), text);
    }
}

/// Claims of a join state under a good tag.
pub fn join_state_claims(data: &[u8]) {
    let text = tagged(Purpose::JoinState, STATE_TYP, data);
    if let StateEvidence::Valid(claims) = open_state(&text, CLUSTER, &master()) {
        let again = seal_state(&claims, CLUSTER, &master());
        assert_eq!(open_state(&again, CLUSTER, &master()), StateEvidence::Valid(claims));
    }
}

/// A CA bundle: as JSON, and as content under a good signature.
pub fn ca_bundle(data: &[u8]) {
    let trusted = [key(1).public_key().clone()];
    if let Ok(bundle) = serde_json::from_slice::<SignedBundle>(data) {
        let _ = bundle.verify(&trusted);
        let _ = bundle.peek();
    }
    let Ok(signed) = sign_jws(&key(1), BUNDLE_TYP, data) else { return };
    let signed = SignedBundle(vec![signed]);
    let bundle = signed.verify(&trusted);
    assert_eq!(bundle, signed.peek(), "verified or not, the content is the same");
    if let Ok(bundle) = bundle {
        let again = SignedBundle::sign(&bundle, &[&key(1)]).expect("what was read is signed");
        assert_eq!(again.verify(&trusted), Ok(bundle));
    }
}

fn tagged(purpose: Purpose, typ: &str, payload: &[u8]) -> String {
    let master = master();
    let epoch = master.current();
    let derived = master.derive(purpose, epoch).expect("the current epoch derives");
    sign_mac_jws(&MacKey::new(&derived), typ, &epoch.to_string(), payload)
}
