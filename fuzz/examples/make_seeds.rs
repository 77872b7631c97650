//! Writes the seeds that are made by the code: run it after a format has changed, having removed the old ones
//! (`cargo run --manifest-path fuzz/Cargo.toml --example make_seeds`). What is there is kept.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use boundkey_ca::{
    AuthorityKey, LeafProfile, LeafRequest, ServerNames, SshAuthority, SshProfile, SshRequest, X509Authority,
};
use boundkey_fuzz::scene::{CLUSTER, NOW, key, master};
use boundkey_keys::{
    MacKey, PrivateKey, PublicKey, Purpose, Secret, Signer, secret_proof_key, sha256, sign_jws, sign_mac_jws,
};
use boundkey_lifecycle::{Adoption, Hash32, StateClaims, StateId, Trail, Uid};
use boundkey_proto::{
    AttemptId, CaBundle, Identity, MachineFacts, PROTOCOL_VERSION, Position, Request, SignedBundle,
    build_complete, issue_challenge, read_challenge, seal_state,
};
use boundkey_store::records::{ClusterRecord, Record, TokenRecord};
use boundkey_token::{RequestedNames, Resource, read_resources};
use serde_json::json;
use time::Duration;

const TYP: &str = "boundkey-join+jwt";
const ED25519_PKCS8_V1: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB\n-----END PRIVATE KEY-----\n";

fn put(target: &str, name: &str, bytes: impl AsRef<[u8]>) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    fs::create_dir_all(&directory).expect("the directory can be made");
    let file = directory.join(name);
    if !file.exists() {
        fs::write(file, bytes).expect("the seed can be written");
    }
}

fn main() {
    documents();
    keys();
    protocol();
    certificates();
    put("agent_state", "full.json", &*boundkey_keystore::conformance::full_state().to_json());
    put("agent_state", "empty.json", &*boundkey_keystore::AgentState::default().to_json());
    store();
}

fn documents() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/token_document");
    for file in fs::read_dir(directory).into_iter().flatten().flatten() {
        let text = fs::read(file.path()).expect("a seed is read");
        let name = file.file_name().to_string_lossy().into_owned();
        put("yaml", &name, &text);
        for (index, resource) in read_resources(&text).unwrap_or_default().iter().enumerate() {
            put("resource_json", &format!("{name}-{index}.json"), resource.to_json(true).to_string());
        }
    }
    for text in ["1h30m", "7d", "90s", "2030-01-01T12:00:00Z", "2030-01-01T12:00:00.123456+05:30"] {
        put("durations_and_times", &text.replace([':', '.', '+'], "_"), text);
    }
}

fn keys() {
    let payload = br#"{"aud":"example.com","purpose":"bound_key"}"#;
    put("jws", "ed25519", sign_jws(&key(1), TYP, payload).expect("the key signs"));
    put("jws", "another_key", sign_jws(&key(2), TYP, payload).expect("the key signs"));
    put("jws", "none", "eyJhbGciOiJub25lIn0.e30.");
    put("mac_jws", "seed", tagged(Purpose::JoinState, TYP, payload));

    let p256 = PrivateKey::generate_p256().expect("a key is made");
    for (name, key) in [("ed25519", key(1)), ("p256", p256)] {
        put("private_key", &format!("{name}.pem"), key.to_pkcs8_pem().as_bytes());
        put("private_key", &format!("{name}.openssh"), key.to_openssh_pem("a comment").as_bytes());
        put("private_key", &format!("{name}.der"), &*key.to_pkcs8_der());
        let public = key.public_key();
        put("openssh_public_key", &format!("{name}.pub"), format!("{} a comment\n", public.to_openssh()));
        put("spki", &format!("{name}.der"), public.to_spki_der().expect("it has one"));
    }
    put("private_key", "ed25519-v1.pem", ED25519_PKCS8_V1);
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/boundkey-ca/tests/certificates/data");
    put("openssh_public_key", "rsa.pub", fs::read(tests.join("rsa.pub")).expect("the key is there"));
    put("master_key", "one.json", &*master().to_json());
    put("master_key", "two.json", &*master().rotated(2, [9; 32]).expect("another id").to_json());
    put("master_key", "sealed", master().seal(b"place", [1; 12], b"plain"));
}

fn tagged(purpose: Purpose, typ: &str, payload: &[u8]) -> String {
    let (master, epoch) = (master(), master().current());
    let derived = master.derive(purpose, epoch).expect("the current epoch derives");
    sign_mac_jws(&MacKey::new(&derived), typ, &epoch.to_string(), payload)
}

fn claims() -> StateClaims {
    StateClaims {
        uid: Uid([1; 16]),
        generation: 0,
        sequence: 3,
        state_id: StateId([2; 16]),
        trail: Trail(vec![[2; 8], [3; 8]]),
        shared: false,
        registration_attempt: Some(Hash32([4; 32])),
        recovery_count: 1,
        key: key(1).public_key().thumbprint(),
        identity: Identity::Host("3f3e8d2c-9d3b-4b8e-a9a6-0d3a52a5a1b0".to_owned()),
        certificates_expire_at: NOW + Duration::HOUR,
        issued_at: NOW - Duration::HOUR,
        key_since: Some(NOW - Duration::DAY),
        adoption: None,
        passed: Trail::default(),
    }
}

fn request(join_state: Option<String>, new_key: Option<PublicKey>) -> Request {
    let facts = json!({"hostname": "node1", "os": "linux", "arch": "x86_64", "version": "0.1.0"});
    Request {
        version: PROTOCOL_VERSION,
        token: "example-token".parse().expect("a name"),
        roles: serde_json::from_value(json!(["Node"])).expect("roles"),
        attempt: AttemptId([5; 16]),
        bound_key: key(1).public_key().clone(),
        new_key,
        tls_key: key(3).public_key().clone(),
        ssh_key: Some(key(4).public_key().clone()),
        names: RequestedNames { dns_names: vec!["node1.example.com".to_owned()], ..Default::default() },
        ttl_seconds: Some(3600),
        join_state,
        facts: serde_json::from_value::<MachineFacts>(facts).expect("facts"),
    }
}

fn protocol() {
    put("join_begin", "empty.json", "{}");
    let state = seal_state(&claims(), CLUSTER, &master());
    put("join_state", "seed", &state);
    put("join_state_claims", "seed.json", payload_of(&state));
    let instance = Identity::Host("0b9c4a52-0d1f-4f6f-8b42-0d6f5a3c9e22".to_owned());
    let adoption = Some(Adoption { instance, sequence: 2 });
    let adopted = StateClaims { adoption, passed: Trail(vec![[2; 8], [7; 8]]), ..claims() };
    put("join_state_claims", "adopted.json", payload_of(&seal_state(&adopted, CLUSTER, &master())));
    for (name, position) in [("first", None), ("confirm", Some(Position([6; 16])))] {
        let challenge = issue_challenge(CLUSTER, &master(), [3; 32], position, NOW);
        put("challenge", &format!("{name}.jws"), &challenge);
        put("challenge", &format!("{name}.json"), payload_of(&challenge));
        let answer = json!({"challenge": challenge, "versions": [1]}).to_string();
        put("join_begin", &format!("{name}.json"), answer);
        let view = read_challenge(&challenge, Some(CLUSTER)).expect("a challenge");
        let secret = secret_proof_key(&Secret::generated([8; 32]), CLUSTER, "example-token");
        let (bound, new) = (key(1), key(2));
        let messages = [
            ("register", request(None, None), None, Some(&*secret)),
            ("renew", request(Some(state.clone()), None), None, None),
            (
                "rotate",
                request(Some(state.clone()), Some(new.public_key().clone())),
                Some(&new as &dyn Signer),
                None,
            ),
        ];
        for (what, request, new, secret) in messages {
            let complete = build_complete(&challenge, &view, &request, &bound, new, secret).expect("it fits");
            let body = serde_json::to_vec(&complete).expect("JSON");
            put("join_complete", &format!("{name}-{what}.json"), body);
            put("join_request", &format!("{what}.json"), serde_json::to_vec(&request).expect("JSON"));
        }
        answers(&challenge, &state);
    }
}

fn payload_of(compact: &str) -> Vec<u8> {
    let payload = compact.split('.').nth(1).expect("a compact JWS");
    URL_SAFE_NO_PAD.decode(payload).expect("base64url")
}

fn answers(challenge: &str, state: &str) {
    let answer = |status: u16, body: serde_json::Value| {
        let mut bytes = status.to_be_bytes().to_vec();
        bytes.extend_from_slice(body.to_string().as_bytes());
        bytes
    };
    let (ca, leaf, _) = x509();
    let bundle = CaBundle {
        cluster: CLUSTER.to_owned(),
        version: 1,
        tls: vec![STANDARD.encode(ca.certificate_der())],
        host: vec![STANDARD.encode(ca.certificate_der())],
        bot: Vec::new(),
        ssh_host: vec![key(6).public_key().clone()],
        ssh_user: vec![key(7).public_key().clone()],
        note: None,
    };
    put("ca_bundle", "content.json", serde_json::to_vec(&bundle).expect("JSON"));
    let signed = SignedBundle::sign(&bundle, &[&key(1)]);
    let signed = signed.map(|signed| serde_json::to_value(signed).expect("JSON")).unwrap_or(json!(["a.b.c"]));
    put("ca_bundle", "signed.json", signed.to_string());
    let admitted = json!({
        "status": "admitted",
        "kind": "registered",
        "attempt": AttemptId([5; 16]),
        "join_state": state,
        "bound_key": key(1).public_key(),
        "identity": {"host": "3f3e8d2c-9d3b-4b8e-a9a6-0d3a52a5a1b0"},
        "certificates": {"x509_chain": [STANDARD.encode(leaf), STANDARD.encode(ca.certificate_der())]},
        "ca_bundle": signed,
        "renew_in_seconds": 3600,
        "server_time": "2030-01-01T12:00:00Z",
    });
    put("join_answer", "admitted", answer(0, admitted));
    put("join_answer", "confirm", answer(0, json!({"status": "confirm", "challenge": challenge})));
    put("join_answer", "rotation", answer(0, json!({"status": "rotation_required"})));
    let problem = json!({
        "type": "about:blank", "title": "Denied", "status": 403, "code": "denied",
        "detail": "the join was denied", "retry_after": 5, "correlation_id": "c",
    });
    put("join_answer", "denied", answer(1, problem));
}

fn x509() -> (X509Authority, Vec<u8>, Vec<u8>) {
    let ca_key = AuthorityKey::ed25519_from_seed(&[1; 32]).expect("a key");
    let (from, to) = (NOW - Duration::DAY, NOW + Duration::days(3650));
    let ca = X509Authority::create(ca_key, "example.com host CA", [7; 16], from, to).expect("a CA");
    let digest = sha256(&[b"digest"]);
    let leaf = ca.sign_leaf(&LeafRequest {
        profile: LeafProfile::Host,
        public_key: key(3).public_key(),
        common_name: "node1",
        dns_names: &["node1.example.com".to_owned()],
        ip_addresses: &["192.0.2.1".parse().expect("an address"), "2001:db8::1".parse().expect("an address")],
        spiffe_id: Some("spiffe://example.com/host/5a3f"),
        roles: &["Node", "App"],
        serial: [9; 20],
        not_before: NOW,
        not_after: NOW + Duration::DAY,
        result_digest: Some(digest),
    });
    let names = ServerNames::new(["server.example.com:443"]).expect("names");
    let server =
        ca.sign_server(&names, key(4).public_key(), [8; 20], NOW, NOW + Duration::DAY).expect("a leaf");
    (ca, leaf.expect("a leaf"), server)
}

fn certificates() {
    let (ca, leaf, server) = x509();
    put("certificate", "ca.der", ca.certificate_der());
    put("certificate", "host.der", leaf);
    put("certificate", "server.der", server);
    put("server_names", "mixed", "server.example.com:443\n[2001:db8::1]:3443\n192.0.2.1\nlocalhost\n");
    for (name, profile) in [("host", SshProfile::Host), ("user", SshProfile::User)] {
        let ca = SshAuthority::new(AuthorityKey::ed25519_from_seed(&[6; 32]).expect("a key"));
        let line = ca.sign(&SshRequest {
            profile,
            public_key: key(4).public_key(),
            key_id: "token=example-token instance=5a3f roles=Node",
            principals: &["node1".to_owned(), "node1.example.com".to_owned()],
            serial: 77,
            nonce: [1; 16],
            not_before: NOW,
            not_after: NOW + Duration::DAY,
        });
        put("ssh_certificate", name, line.expect("a certificate"));
    }
}

fn store() {
    let cluster = ClusterRecord {
        cluster: CLUSTER.to_owned(),
        master_fingerprint: master().fingerprint(),
        created_at: NOW,
    };
    put("stored_record", "cluster.json", cluster.encode());
    let text = include_bytes!("../seeds/token_document/full.yaml");
    for resource in read_resources(text).expect("the seed is a resource") {
        if let Resource::Token(token) = resource {
            let record = TokenRecord { uid: Uid([1; 16]), created_at: NOW, token, sealed_secret: None };
            put("stored_record", "token.json", record.encode());
        }
    }
}
