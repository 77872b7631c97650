//! Proofs by keys and a library of others: ECDSA P-256 and P-384, RSA. Their signatures are not repeatable, so they are
//! kept in `foreign.json` beside this file, made once over the fixed challenge and request of the scene.

use boundkey_proto::{Complete, PROOF_TYP, Transcript};
use serde_json::{Value, json};

use crate::completes::{admitted, body, case};
use crate::scene::*;

fn kept() -> Value {
    serde_json::from_str(include_str!("foreign.json")).expect("JSON")
}

/// An RSA key of 2048 bits, OpenSSH form.
pub(crate) fn rsa_public_key() -> String {
    kept()["RS256"]["public_key"].as_str().expect("a key").to_owned()
}

/// What has to be signed for this algorithm: the JWS's first two parts.
fn input(alg: &str, public_key: &str) -> (Complete, String, String) {
    let bound = boundkey_keys::PublicKey::from_openssh(public_key).expect("a key");
    let mut request = request();
    request.bound_key = bound.clone();
    let message = message(&challenge(), &request.encode(), &[]);
    let transcript = Transcript::new(&message.challenge, &message.request);
    let header = format!(r#"{{"alg":"{alg}","kid":"{}","typ":"{PROOF_TYP}"}}"#, bound.thumbprint());
    let payload = proof_payload(&transcript, "bound_key");
    let input = format!("{}.{}", b64(header.as_bytes()), b64(payload.as_bytes()));
    (message, input, bound.thumbprint().to_string())
}

pub(crate) fn cases() -> Vec<Value> {
    let kept = kept();
    let mut all = Vec::new();
    for alg in ["ES256", "ES384", "RS256"] {
        let entry = &kept[alg];
        let (mut message, input, thumbprint) = input(alg, entry["public_key"].as_str().expect("a key"));
        let signature = entry["signature"].as_str().expect("a signature");
        message.proofs = vec![format!("{input}.{signature}")];
        let proven = admitted(&message, json!({"bound_key": thumbprint}));
        all.push(case(&format!("proof by an {alg} key"), NOW, body(&message), proven));
        message.proofs = vec![altered(&message.proofs[0], input.len() + 12)];
        let name = format!("proof by an {alg} key with an altered signature");
        all.push(case(&name, NOW, body(&message), admitted(&message, json!({}))));
        if let Some(der) = entry["der_signature"].as_str() {
            message.proofs = vec![format!("{input}.{der}")];
            let name = format!("proof by an {alg} key with its signature in DER");
            all.push(case(&name, NOW, body(&message), admitted(&message, json!({}))));
        }
    }
    all
}

/// Prints what has to be signed anew if the scene ever changes: `--nocapture what_others_sign`.
#[test]
fn what_others_sign_is_over_the_challenge_and_request_of_the_scene() {
    let kept = kept();
    let inputs = ["ES256", "ES384", "RS256"].map(|alg| {
        let (_, input, _) = input(alg, kept[alg]["public_key"].as_str().expect("a key"));
        println!("{alg} {input}");
        (alg, json!(b64(&boundkey_keys::sha256(&[input.as_bytes()]))))
    });
    for (alg, digest) in inputs {
        assert_eq!(kept[alg]["sha256_of_input"], digest, "{alg}: to be signed anew");
    }
}
