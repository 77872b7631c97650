//! `secrets.json`: proof keys of registration secrets, transcripts, and proofs of secrets.

use boundkey_keys::{Secret, hmac_sha256, secret_proof_key};
use boundkey_proto::{Complete, Transcript};
use serde_json::{Value, json};

use crate::scene::*;
use crate::vectors::{cases, frame, text};

/// 32 bytes of 0xc3 in the generated form.
pub(crate) const GENERATED: &str = "w8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8PDw8M";

pub(crate) fn proof_key() -> [u8; 32] {
    *secret_proof_key(&Secret::new(GENERATED.to_owned()), CLUSTER, TOKEN)
}

pub(crate) fn proof_over(message: &Complete) -> String {
    b64(&hmac_sha256(&proof_key(), &Transcript::new(&message.challenge, &message.request).0))
}

fn made(secret: &str, cluster: &str, token: &str, challenge: &str, request: &str) -> Value {
    let key = secret_proof_key(&Secret::new(secret.to_owned()), cluster, token);
    let transcript = Transcript::new(challenge, request);
    json!({
        "proof_key": b64(key.as_slice()),
        "transcript": b64(&transcript.0),
        "secret_proof": b64(&hmac_sha256(key.as_slice(), &transcript.0)),
    })
}

pub(crate) fn file() -> Value {
    let plain = (challenge(), request().encode());
    let all: Vec<(&str, &str, &str, &str, &str, &str)> = vec![
        ("generated secret", GENERATED, CLUSTER, TOKEN, &plain.0, &plain.1),
        ("the same secret for another token", GENERATED, CLUSTER, "other-token", &plain.0, &plain.1),
        ("the same secret in another cluster", GENERATED, "example.org", TOKEN, &plain.0, &plain.1),
        ("chosen secret", "correct horse battery staple", CLUSTER, TOKEN, &plain.0, &plain.1),
        ("chosen secret beyond ASCII", "grüße aus köln", CLUSTER, TOKEN, &plain.0, &plain.1),
        ("chosen secret of 42 characters", &GENERATED[..42], CLUSTER, TOKEN, &plain.0, &plain.1),
        ("short strings", GENERATED, CLUSTER, TOKEN, "C", "R"),
        ("the same bytes, divided elsewhere", GENERATED, CLUSTER, TOKEN, "", "CR"),
    ];
    let all = all.into_iter().map(|(name, secret, cluster, token, challenge, request)| {
        json!({
            "name": name, "secret": secret, "cluster": cluster, "token": token,
            "challenge": challenge, "request": request,
            "expect": made(secret, cluster, token, challenge, request),
        })
    });
    frame(
        "The proof key of a registration secret, the transcript of a challenge and a request (as strings), and the \
         proof of the secret over it. All values in base64url.",
        json!({}),
        all.collect(),
    )
}

#[test]
fn secrets_prove_what_the_file_says() {
    for case in cases("secrets.json") {
        let [secret, cluster, token] = ["secret", "cluster", "token"].map(|member| text(&case, member));
        let found = made(secret, cluster, token, text(&case, "challenge"), text(&case, "request"));
        assert_eq!(found, case["expect"], "{}", case["name"]);
    }
}
