//! True results and their parts, by CAs made from seeds.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boundkey_ca::{
    AuthorityKey, LeafProfile, LeafRequest, SshAuthority, SshProfile, SshRequest, X509Authority,
};
use boundkey_keys::{PrivateKey, PublicKey};
use boundkey_proto::{AttemptId, CaBundle, SignedBundle, result_digest};
use serde_json::{Value, json};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

pub(super) const CLUSTER: &str = "example.com";
pub(super) const TOKEN: &str = "example-token";
pub(super) const NOW: OffsetDateTime = datetime!(2026-11-23 08:00 UTC);
pub(super) const ATTEMPT: [u8; 16] = [0xa7; 16];
pub(super) const HOST: &str = "6f1d0c52-9f0e-4f6f-8b42-0d6f5a3c9e11";
pub(super) const OTHER_HOST: &str = "00000000-0000-4000-8000-000000000000";
pub(super) const STATE: &str =
    "eyJhbGciOiJIUzI1NiIsImtpZCI6IjIuMyIsInR5cCI6ImJvdW5ka2V5LXN0YXRlK2p3dCJ9.e30.AAAA";
/// Seeds of keys: 32 times the same byte, as in the other files.
pub(super) const BOUND: u8 = 1;
pub(super) const NEW: u8 = 2;
pub(super) const TLS: u8 = 3;
pub(super) const SSH: u8 = 4;
pub(super) const THIEF: u8 = 5;
pub(super) const CA: u8 = 6;
pub(super) const OTHER_CA: u8 = 7;
pub(super) const HOST_CA: u8 = 8;
pub(super) const BOT_CA: u8 = 9;
pub(super) const SSH_HOST_CA: u8 = 10;
pub(super) const SSH_USER_CA: u8 = 11;
/// Added to a seed: the same key of a cluster of the same name.
pub(super) const STRANGER: u8 = 32;

pub(super) fn key(seed: u8) -> PrivateKey {
    PrivateKey::ed25519_from_seed(&[seed; 32])
}

pub(super) fn public(seed: u8) -> PublicKey {
    key(seed).public_key().clone()
}

pub(super) fn authority(seed: u8) -> X509Authority {
    let key = AuthorityKey::ed25519_from_seed(&[seed; 32]).unwrap();
    let name = format!("{CLUSTER} {} CA", if seed % 32 == CA { "tls" } else { "host" });
    let (from, to) = (NOW - Duration::days(30), NOW + Duration::days(3650));
    X509Authority::create(key, &name, [seed; 16], from, to).unwrap()
}

pub(super) fn der(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The cluster's bundle; with `offset` [`STRANGER`] that of a cluster of the same name with other keys.
pub(super) fn bundle(offset: u8) -> CaBundle {
    let certificate = |seed: u8| vec![der(authority(seed + offset).certificate_der())];
    CaBundle {
        cluster: CLUSTER.to_owned(),
        version: 3,
        tls: certificate(CA),
        host: certificate(HOST_CA),
        bot: certificate(BOT_CA),
        ssh_host: vec![public(SSH_HOST_CA + offset)],
        ssh_user: vec![public(SSH_USER_CA + offset)],
        note: None,
    }
}

pub(super) fn signed(bundle: &CaBundle, seed: u8) -> Value {
    json!(SignedBundle::sign(bundle, &[&key(seed)]).unwrap())
}

/// What the leaf says; the fields that forgeries change.
pub(super) struct Leaf {
    pub(super) ca: u8,
    pub(super) profile: LeafProfile,
    pub(super) key: u8,
    pub(super) spiffe: String,
    pub(super) digest: [u8; 32],
    pub(super) from: OffsetDateTime,
    pub(super) to: OffsetDateTime,
}

impl Leaf {
    pub(super) fn of(state: &str, bound: u8, attempt: [u8; 16]) -> Self {
        Self {
            ca: HOST_CA,
            profile: LeafProfile::Host,
            key: TLS,
            spiffe: format!("spiffe://{CLUSTER}/host/{HOST}"),
            digest: result_digest(state, public(bound).thumbprint(), AttemptId(attempt)),
            from: NOW - Duration::minutes(5),
            to: NOW + Duration::DAY,
        }
    }

    pub(super) fn true_one() -> Self {
        Self::of(STATE, BOUND, ATTEMPT)
    }

    pub(super) fn chain(&self) -> Value {
        let ca = authority(self.ca);
        let leaf = ca.sign_leaf(&LeafRequest {
            profile: self.profile,
            public_key: &public(self.key),
            common_name: "web-1",
            dns_names: &["web-1.example.com".to_owned()],
            ip_addresses: &[],
            spiffe_id: Some(&self.spiffe),
            roles: &["Node"],
            serial: [9; 20],
            not_before: self.from,
            not_after: self.to,
            result_digest: Some(self.digest),
        });
        json!([der(&leaf.unwrap()), der(ca.certificate_der())])
    }
}

pub(super) fn ssh(ca: u8, profile: SshProfile, of: u8) -> String {
    let ca = SshAuthority::new(AuthorityKey::ed25519_from_seed(&[ca; 32]).unwrap());
    let request = SshRequest {
        profile,
        public_key: &public(of),
        key_id: "token=example-token instance=6f1d roles=Node",
        principals: &["web-1.example.com".to_owned()],
        serial: 77,
        nonce: [1; 16],
        not_before: NOW - Duration::minutes(5),
        not_after: NOW + Duration::DAY,
    };
    ca.sign(&request).unwrap()
}

pub(super) fn honest() -> Value {
    json!({
        "status": "admitted",
        "kind": "renewed",
        "attempt": AttemptId(ATTEMPT),
        "join_state": STATE,
        "bound_key": public(BOUND),
        "identity": {"host": HOST},
        "certificates": {"x509_chain": Leaf::true_one().chain(), "ssh": ssh(SSH_HOST_CA, SshProfile::Host, SSH)},
        "ca_bundle": signed(&bundle(0), CA),
        "renew_in_seconds": 57_600,
        "server_time": "2026-11-23T08:00:00Z",
    })
}

/// The true result with these members changed (`/` leads inside); null takes one away.
pub(super) fn with(changes: &[(&str, Value)]) -> Value {
    let mut answer = honest();
    for (path, value) in changes {
        let (parent, member) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = if parent.is_empty() { String::new() } else { format!("/{parent}") };
        let object = answer.pointer_mut(&parent).and_then(Value::as_object_mut).expect("an object");
        match value {
            Value::Null => drop(object.remove(member)),
            value => drop(object.insert(member.to_owned(), value.clone())),
        }
    }
    answer
}

pub(super) fn with_leaf(change: impl FnOnce(&mut Leaf)) -> Value {
    let mut leaf = Leaf::true_one();
    change(&mut leaf);
    with(&[("certificates/x509_chain", leaf.chain())])
}

/// Another character of the same alphabet in the middle.
pub(super) fn altered(text: &Value) -> Value {
    let mut text = text.as_str().expect("a text").to_owned();
    let at = text.len() / 2;
    let other = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
    text.replace_range(at..=at, other);
    json!(text)
}
