//! The fixed parts of every vector: a cluster, its keyring, keys from seeds, a minute.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use boundkey_keys::{MasterKey, PrivateKey, PublicKey, sign_jws};
use boundkey_proto::{
    Complete, MachineFacts, PROOF_TYP, PROTOCOL_VERSION, Position, Request, Transcript, issue_challenge,
};
use boundkey_token::{RequestedNames, Role, RoleSet};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::datetime;

pub(crate) const CLUSTER: &str = "example.com";
pub(crate) const TOKEN: &str = "example-token";
pub(crate) const NOW: OffsetDateTime = datetime!(2026-11-23 08:00:00 UTC);
pub(crate) const NONCE: [u8; 32] = [0x5a; 32];

/// Seeds of the keys in the vectors: 32 times the same byte.
pub(crate) const BOUND: u8 = 1;
pub(crate) const NEW: u8 = 2;
pub(crate) const TLS: u8 = 3;
pub(crate) const SSH: u8 = 4;
pub(crate) const THIEF: u8 = 5;
pub(crate) const CA: u8 = 6;
pub(crate) const OTHER_CA: u8 = 7;

pub(crate) fn key(seed: u8) -> PrivateKey {
    PrivateKey::ed25519_from_seed(&[seed; 32])
}

pub(crate) fn public(seed: u8) -> PublicKey {
    key(seed).public_key().clone()
}

/// The cluster's keyring: an older master key and the current one, whose epochs below 2 are retired.
pub(crate) fn master_file() -> Value {
    json!({
        "version": 1,
        "keys": [{"id": 2, "key": b64(&[0x22; 32])}, {"id": 1, "key": b64(&[0x11; 32])}],
        "epoch": 3,
        "retired_below": 2,
    })
}

pub(crate) fn keyring(file: &Value) -> MasterKey {
    MasterKey::from_json(file.to_string().as_bytes()).expect("a keyring of the vectors")
}

pub(crate) fn master() -> MasterKey {
    keyring(&master_file())
}

/// A keyring with one key only, current at `epoch`.
pub(crate) fn keyring_at(id: u32, byte: u8, epoch: u32) -> MasterKey {
    keyring(&json!({
        "version": 1, "keys": [{"id": id, "key": b64(&[byte; 32])}], "epoch": epoch, "retired_below": 0,
    }))
}

pub(crate) fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn unb64(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).expect("base64url")
}

pub(crate) fn rfc3339(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).expect("a time")
}

pub(crate) fn time_of(value: &Value) -> OffsetDateTime {
    OffsetDateTime::parse(value.as_str().expect("a time"), &Rfc3339).expect("a time")
}

pub(crate) fn challenge() -> String {
    issue_challenge(CLUSTER, &master(), NONCE, None, NOW)
}

pub(crate) fn challenge_at(position: Position) -> String {
    issue_challenge(CLUSTER, &master(), NONCE, Some(position), NOW)
}

pub(crate) fn request() -> Request {
    Request {
        version: PROTOCOL_VERSION,
        token: TOKEN.parse().expect("a name"),
        roles: RoleSet::new([Role::Node]),
        attempt: boundkey_proto::AttemptId([0xa7; 16]),
        bound_key: public(BOUND),
        new_key: None,
        tls_key: public(TLS),
        ssh_key: Some(public(SSH)),
        names: RequestedNames {
            dns_names: vec!["web-1.example.com".to_owned()],
            ip_addresses: vec!["192.0.2.7".parse().expect("an address")],
            principals: Vec::new(),
        },
        ttl_seconds: Some(3600),
        join_state: None,
        facts: MachineFacts {
            hostname: "web-1".to_owned(),
            os: "Debian GNU/Linux 12".to_owned(),
            arch: "x86_64".to_owned(),
            version: "0.1.0".to_owned(),
            roles: RoleSet::default(),
        },
    }
}

pub(crate) fn request_json() -> Value {
    serde_json::to_value(request()).expect("JSON")
}

/// The payload of an honest proof, written by hand: not by the code under test.
pub(crate) fn proof_payload(transcript: &Transcript, purpose: &str) -> String {
    format!(
        r#"{{"aud":"{CLUSTER}","nonce":"{}","transcript":"{}","purpose":"{purpose}"}}"#,
        b64(&NONCE),
        b64(&transcript.0)
    )
}

/// A JWS put together by hand, for what no signer makes.
pub(crate) fn forge(header: &str, payload: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let input = format!("{}.{}", b64(header.as_bytes()), b64(payload.as_bytes()));
    let signature = sign(input.as_bytes());
    format!("{input}.{}", b64(&signature))
}

pub(crate) fn signed(seed: u8, typ: &str, payload: &str) -> String {
    sign_jws(&key(seed), typ, payload.as_bytes()).expect("an Ed25519 signature")
}

/// A message with honest proofs over any R whatever.
pub(crate) fn message(challenge: &str, request: &str, seeds: &[(u8, &str)]) -> Complete {
    let transcript = Transcript::new(challenge, request);
    let proofs = seeds
        .iter()
        .map(|(seed, purpose)| signed(*seed, PROOF_TYP, &proof_payload(&transcript, purpose)))
        .collect();
    Complete { challenge: challenge.to_owned(), request: request.to_owned(), proofs, secret_proof: None }
}

/// A message by the bound key over this request.
pub(crate) fn bound_message(request: &Request) -> Complete {
    message(&challenge(), &request.encode(), &[(BOUND, "bound_key")])
}

/// A message by the bound key over this text as the request's JSON.
pub(crate) fn bound_message_over(json: &str) -> Complete {
    message(&challenge(), &b64(json.as_bytes()), &[(BOUND, "bound_key")])
}

/// The thumbprint as text.
pub(crate) fn thumbprint(seed: u8) -> String {
    key(seed).public_key().thumbprint().to_string()
}

/// Another character of the same alphabet at this place.
pub(crate) fn altered(text: &str, place: usize) -> String {
    let mut bytes = text.as_bytes().to_vec();
    bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
    String::from_utf8(bytes).expect("ASCII")
}
