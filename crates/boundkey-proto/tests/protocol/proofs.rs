//! `proofs.json`: messages whose proofs are bent; they prove nothing, and nobody is told why.

use boundkey_keys::hmac_sha256;
use boundkey_proto::{Complete, PROOF_TYP, Transcript};
use serde_json::{Value, json};

use crate::completes::{admitted, body, case, given, non_canonical, refused};
use crate::foreign;
use crate::scene::*;
use crate::vectors::frame;

pub(crate) fn file() -> Value {
    let mut all = bent_proofs();
    all.extend(pairs());
    all.extend(foreign::cases());
    frame(
        "Bodies of POST /v1/join/complete whose proofs are made in other ways. With `proven` empty the message proves \
         nothing. The last ones are by keys and libraries of others (ECDSA and RSA signatures are not repeatable).",
        given(),
        all,
    )
}

fn plain() -> (Complete, Transcript) {
    let message = bound_message(&request());
    let transcript = Transcript::new(&message.challenge, &message.request);
    (message, transcript)
}

fn with_proofs(name: &str, proofs: Vec<String>) -> Value {
    let (mut message, _) = plain();
    message.proofs = proofs;
    case(name, NOW, body(&message), admitted(&message, json!({})))
}

fn bent_proofs() -> Vec<Value> {
    let (message, transcript) = plain();
    let honest = message.proofs[0].clone();
    let payload = proof_payload(&transcript, "bound_key");
    let parts: Vec<&str> = honest.split('.').collect();
    let kid = thumbprint(BOUND);
    let header = format!(r#"{{"alg":"EdDSA","kid":"{kid}","typ":"{PROOF_TYP}"}}"#);
    let by_bound = |header: &str, payload: &str| {
        forge(header, payload, |input| key(BOUND).sign(input).expect("an Ed25519 signature"))
    };
    let open = header.strip_suffix('}').expect("an object").to_owned();
    let bound_bytes = unb64(&jwk_x(BOUND));
    let other_aud = payload.replace(CLUSTER, "example.org");
    let other_nonce = payload.replace(&b64(&NONCE), &b64(&[0; 32]));
    let relayed = {
        let mut request = request();
        request.tls_key = public(THIEF);
        proof_payload(&Transcript::new(&message.challenge, &request.encode()), "bound_key")
    };
    let later = {
        let other = boundkey_proto::issue_challenge(CLUSTER, &master(), [0x5b; 32], None, NOW);
        proof_payload(&Transcript::new(&other, &message.request), "bound_key")
    };
    let payload_open = payload.strip_suffix('}').expect("an object").to_owned();
    let own = |payload: &str| signed(BOUND, PROOF_TYP, payload);
    let all: Vec<(&str, Vec<String>)> = vec![
        ("no proof", vec![]),
        ("empty proof", vec![String::new()]),
        ("proof with an altered payload", vec![altered(&honest, parts[0].len() + 30)]),
        ("proof with an altered signature", vec![altered(&honest, honest.len() - 10)]),
        ("proof truncated", vec![honest[..honest.len() - 4].to_owned()]),
        (
            "proof signed by another key",
            vec![forge(&header, &payload, |input| key(THIEF).sign(input).expect("a signature"))],
        ),
        ("proof by another key under its own kid", vec![signed(THIEF, PROOF_TYP, &payload)]),
        ("proof with another kid", vec![by_bound(&header.replace(&kid, &thumbprint(THIEF)), &payload)]),
        ("proof without kid", vec![by_bound(&header.replace(&format!(r#""kid":"{kid}","#), ""), &payload)]),
        ("proof with typ JWT", vec![signed(BOUND, "JWT", &payload)]),
        ("proof with the typ of a CA bundle", vec![signed(BOUND, "boundkey-ca-bundle+jwt", &payload)]),
        (
            "proof without typ",
            vec![by_bound(&header.replace(&format!(r#","typ":"{PROOF_TYP}""#), ""), &payload)],
        ),
        ("proof with alg none", vec![forge(&header.replace("EdDSA", "none"), &payload, |_| Vec::new())]),
        ("proof with alg none and a signature", vec![by_bound(&header.replace("EdDSA", "none"), &payload)]),
        (
            "proof with alg HS256 keyed with the public key",
            vec![forge(&header.replace("EdDSA", "HS256"), &payload, |input| {
                hmac_sha256(&bound_bytes, input).to_vec()
            })],
        ),
        (
            "proof with alg ES256 by an Ed25519 key",
            vec![by_bound(&header.replace("EdDSA", "ES256"), &payload)],
        ),
        ("proof with alg in lower case", vec![by_bound(&header.replace("EdDSA", "eddsa"), &payload)]),
        ("proof with crit", vec![by_bound(&format!(r#"{open},"crit":["b64"],"b64":true}}"#), &payload)]),
        (
            "proof with an embedded jwk",
            vec![by_bound(
                &format!(r#"{open},"jwk":{{"crv":"Ed25519","kty":"OKP","x":"{}"}}}}"#, jwk_x(BOUND)),
                &payload,
            )],
        ),
        (
            "proof with a repeated header member",
            vec![by_bound(&format!(r#"{open},"alg":"EdDSA"}}"#), &payload)],
        ),
        (
            "proof with an unknown header member",
            vec![by_bound(&format!(r#"{open},"x5u":"https://a"}}"#), &payload)],
        ),
        (
            "proof with a header that is an array",
            vec![by_bound(&format!(r#"["EdDSA","{kid}","{PROOF_TYP}"]"#), &payload)],
        ),
        ("proof with an unknown payload member", vec![own(&format!(r#"{payload_open},"iat":1795420800}}"#))]),
        (
            "proof with a repeated payload member",
            vec![own(&format!(r#"{payload_open},"purpose":"bound_key"}}"#))],
        ),
        (
            "proof with a payload that is an array",
            vec![own(&format!(r#"["{CLUSTER}","{}","{}","bound_key"]"#, b64(&NONCE), b64(&transcript.0)))],
        ),
        ("proof without purpose", vec![own(&payload.replace(r#","purpose":"bound_key""#, ""))]),
        (
            "proof with aud as a list",
            vec![own(&payload.replace(&format!(r#""{CLUSTER}""#), &format!(r#"["{CLUSTER}"]"#)))],
        ),
        ("proof for another cluster", vec![own(&other_aud)]),
        ("proof with another nonce", vec![own(&other_nonce)]),
        ("proof over a request with another tls_key", vec![own(&relayed)]),
        ("proof over another challenge", vec![own(&later)]),
        ("proof with the purpose new_key", vec![own(&proof_payload(&transcript, "new_key"))]),
        ("proof with an unknown purpose", vec![own(&proof_payload(&transcript, "admin"))]),
        ("proof with a padded signature", vec![format!("{honest}==")]),
        ("proof with a non-canonical signature", vec![non_canonical(&honest)]),
        ("proof with a detached payload", vec![format!("{}..{}", parts[0], parts[2])]),
        (
            "proof in the JSON serialisation",
            vec![json!({"protected": parts[0], "payload": parts[1], "signature": parts[2]}).to_string()],
        ),
        ("proof of four parts", vec![format!("{honest}.{}", parts[2])]),
        ("proof with a line feed at its end", vec![format!("{honest}\n")]),
        ("two proofs without a new key", vec![honest.clone(), honest.clone()]),
    ];
    let mut cases: Vec<Value> = all.into_iter().map(|(name, proofs)| with_proofs(name, proofs)).collect();
    let spread = signed(BOUND, PROOF_TYP, &reordered(&transcript));
    let (mut message, _) = plain();
    message.proofs = vec![spread];
    let proven = json!({"bound_key": thumbprint(BOUND)});
    cases.push(case(
        "proof with its payload in another order",
        NOW,
        body(&message),
        admitted(&message, proven),
    ));
    cases
}

fn reordered(transcript: &Transcript) -> String {
    format!(
        "{{ \"purpose\": \"bound_key\",\n \"transcript\": \"{}\", \"nonce\": \"{}\", \"aud\": \"{CLUSTER}\" }}",
        b64(&transcript.0),
        b64(&NONCE)
    )
}

fn jwk_x(seed: u8) -> String {
    use base64::Engine as _;
    let line = public(seed).to_openssh();
    let blob = line.split(' ').nth(1).expect("type and base64");
    let blob = base64::engine::general_purpose::STANDARD.decode(blob).expect("base64");
    b64(&blob[blob.len() - 32..])
}

/// Messages that offer a new key.
fn pairs() -> Vec<Value> {
    let mut request = request();
    request.new_key = Some(public(NEW));
    let encoded = request.encode();
    let honest = message(&challenge(), &encoded, &[(BOUND, "bound_key"), (NEW, "new_key")]);
    let (bound, new) = (honest.proofs[0].clone(), honest.proofs[1].clone());
    let thief = message(&challenge(), &encoded, &[(THIEF, "bound_key"), (THIEF, "new_key")]).proofs;
    let transcript = Transcript::new(&honest.challenge, &honest.request);
    let wrong_purpose = signed(NEW, PROOF_TYP, &proof_payload(&transcript, "bound_key"));
    let nothing: Vec<(&str, Vec<String>)> = vec![
        ("new key: proofs swapped", vec![new.clone(), bound.clone()]),
        ("new key: its proof is missing", vec![bound.clone()]),
        ("new key: only its proof is there", vec![new.clone()]),
        ("new key: the bound key's proof twice", vec![bound.clone(), bound.clone()]),
        ("new key: its proof has the purpose bound_key", vec![bound.clone(), wrong_purpose]),
        ("new key: its proof is by another key", vec![bound.clone(), thief[1].clone()]),
        ("new key: the bound key's proof is by another key", vec![thief[0].clone(), new.clone()]),
        ("new key: its proof is altered", vec![bound.clone(), altered(&new, new.len() - 9)]),
    ];
    let mut all: Vec<Value> = nothing
        .into_iter()
        .map(|(name, proofs)| {
            let mut message = honest.clone();
            message.proofs = proofs;
            case(name, NOW, body(&message), admitted(&message, json!({})))
        })
        .collect();
    request.new_key = Some(public(BOUND));
    let same = message(&challenge(), &request.encode(), &[(BOUND, "bound_key"), (BOUND, "new_key")]);
    all.push(case("new key: it is the bound key", NOW, body(&same), refused(400, "malformed_request")));
    all
}
