//! `docs/vectors/results.json`: whole results, true and forged, and what the real client makes of them. What is refused
//! is refused for its own reason, and not a byte of the state changes.

mod made;
mod receipts;

use std::path::PathBuf;
use std::sync::Arc;

use boundkey_ca::{ServerNames, SshProfile};
use boundkey_keys::MasterKey;
use boundkey_keystore::{AgentState, HeldKey, Keystore as _, MemoryKeystore, PendingAttempt};
use boundkey_proto::{AttemptId, CaBundle, MachineFacts, SignedBundle};
use boundkey_token::{RequestedNames, Role, RoleSet};
use serde_json::{Value, json};
use time::Duration;

use made::*;
use receipts::{receipt, receipts, without_certificates};

use super::world::{ClientClock, CountedEntropy};
use crate::config::Credential;
use crate::join::{JoinError, JoinPlan, Joiner, SshWish};
use crate::transport::{Reply, Transport, TransportError};
use crate::trust::{Channel, Source};

fn cases() -> Vec<Value> {
    let all = [accepted(), parts(), chains(), bundles(), openssh(), receipts()].concat();
    let case = |(name, expect, answer): (&str, &str, Value)| json!({"name": name, "body": sorted(&answer).to_string(), "expect": expect});
    all.into_iter().map(case).collect()
}

type Case = (&'static str, &'static str, Value);

fn accepted() -> Vec<Case> {
    let rotated = Leaf { digest: Leaf::of(STATE, NEW, ATTEMPT).digest, ..Leaf::true_one() };
    let newer = CaBundle { version: 4, note: Some("the tls CA is being replaced".to_owned()), ..bundle(0) };
    let next_tls = vec![der(authority(OTHER_CA).certificate_der())];
    let both = CaBundle { tls: [newer.tls.clone(), next_tls].concat(), ..newer.clone() };
    vec![
        ("the result of this attempt", "accepted", honest()),
        (
            "the result of this attempt, the new key bound",
            "accepted",
            with(&[("bound_key", json!(public(NEW))), ("certificates/x509_chain", rotated.chain())]),
        ),
        ("with a later CA bundle", "accepted", with(&[("ca_bundle", signed(&newer, CA))])),
        (
            "with a CA bundle by the present and the next tls CA",
            "accepted",
            with(&[("ca_bundle", json!(SignedBundle::sign(&newer, &[&key(OTHER_CA), &key(CA)]).unwrap()))]),
        ),
        ("with a member of a later version", "accepted", with(&[("hint", json!(1))])),
        ("without certificates", "provisional", without_certificates(&[("receipt", receipt(CA, BOUND))])),
        (
            "without certificates, the new key bound",
            "provisional",
            without_certificates(&[("bound_key", json!(public(NEW))), ("receipt", receipt(CA, NEW))]),
        ),
        (
            "without certificates, with a CA bundle by the present and the next tls CA, which signed the receipt",
            "provisional",
            without_certificates(&[
                ("ca_bundle", json!(SignedBundle::sign(&both, &[&key(OTHER_CA), &key(CA)]).unwrap())),
                ("receipt", receipt(OTHER_CA, BOUND)),
            ]),
        ),
    ]
}

fn parts() -> Vec<Case> {
    let other = AttemptId([0xa8; 16]);
    let of_other = Leaf::of(STATE, BOUND, other.0);
    let long = format!("{STATE}{}", "A".repeat(8193 - STATE.len()));
    let older = "eyJhbGciOiJIUzI1NiIsImtpZCI6IjIuMiIsInR5cCI6ImJvdW5ka2V5LXN0YXRlK2p3dCJ9.e30.BBBB";
    vec![
        (
            "another attempt's result, whole",
            "other_attempt",
            with(&[("attempt", json!(other)), ("certificates/x509_chain", of_other.chain())]),
        ),
        ("another attempt's id", "other_attempt", with(&[("attempt", json!(other))])),
        (
            "another attempt's result under this attempt's id",
            "digest",
            with(&[("certificates/x509_chain", of_other.chain())]),
        ),
        (
            "another attempt's certificates, for another key",
            "other_key",
            with(&[("certificates/x509_chain", Leaf { key: THIEF, ..of_other }.chain())]),
        ),
        (
            "without certificates, another attempt's id",
            "other_attempt",
            with(&[("certificates", Value::Null), ("attempt", json!(other))]),
        ),
        ("a bound key that is not held", "foreign_key", with(&[("bound_key", json!(public(THIEF)))])),
        (
            "a bound key that is not held, certified",
            "foreign_key",
            with(&[
                ("bound_key", json!(public(THIEF))),
                ("certificates/x509_chain", Leaf::of(STATE, THIEF, ATTEMPT).chain()),
            ]),
        ),
        (
            "without certificates, a bound key that is not held",
            "foreign_key",
            with(&[("certificates", Value::Null), ("bound_key", json!(public(THIEF)))]),
        ),
        (
            "the other key of the attempt as the bound one",
            "digest",
            with(&[("bound_key", json!(public(NEW)))]),
        ),
        ("an older join state", "digest", with(&[("join_state", json!(older))])),
        ("an altered join state", "digest", with(&[("join_state", altered(&json!(STATE)))])),
        ("a truncated join state", "digest", with(&[("join_state", json!(&STATE[..STATE.len() - 1]))])),
        ("an empty join state", "digest", with(&[("join_state", json!(""))])),
        (
            "a join state that is too long to be handed back",
            "join_state",
            with(&[("join_state", json!(long))]),
        ),
        ("another host's id", "other_identity", with(&[("identity", json!({"host": OTHER_HOST}))])),
        (
            "a bot's id beside a host's certificate",
            "chain",
            with(&[("identity", json!({"bot_instance": HOST}))]),
        ),
    ]
}

fn chains() -> Vec<Case> {
    let tls = authority(CA);
    let names = ServerNames::new(["web-1.example.com"]).unwrap();
    let server = tls.sign_server(&names, &public(TLS), [8; 20], NOW, NOW + Duration::DAY).unwrap();
    let honest_chain = Leaf::true_one().chain();
    let stranger = Leaf { ca: HOST_CA + STRANGER, ..Leaf::true_one() };
    vec![
        ("a foreign CA's certificate", "chain", with_leaf(|leaf| leaf.ca = HOST_CA + STRANGER)),
        (
            "a foreign CA's certificate, with its CA bundle",
            "bundle",
            with(&[
                ("certificates/x509_chain", stranger.chain()),
                ("ca_bundle", signed(&bundle(STRANGER), CA + STRANGER)),
            ]),
        ),
        (
            "a foreign CA's certificate below the cluster's CA",
            "chain",
            with(&[("certificates/x509_chain", json!([stranger.chain()[0], honest_chain[1]]))]),
        ),
        ("a certificate of the tls CA", "chain", with_leaf(|leaf| leaf.ca = CA)),
        ("a certificate of the bot CA", "chain", with_leaf(|leaf| leaf.ca = BOT_CA)),
        (
            "a server's certificate",
            "chain",
            with(&[("certificates/x509_chain", json!([der(&server), der(tls.certificate_der())]))]),
        ),
        (
            "an altered certificate",
            "chain",
            with(&[("certificates/x509_chain", json!([altered(&honest_chain[0]), honest_chain[1]]))]),
        ),
        ("an empty chain", "chain", with(&[("certificates/x509_chain", json!([]))])),
        ("a chain that is not base64", "chain", with(&[("certificates/x509_chain", json!(["*"]))])),
        (
            "the CA before the leaf",
            "chain",
            with(&[("certificates/x509_chain", json!([honest_chain[1], honest_chain[0]]))]),
        ),
        (
            "a certificate that had ended by the server's clock",
            "chain",
            with_leaf(|leaf| (leaf.from, leaf.to) = (NOW - Duration::days(2), NOW - Duration::DAY)),
        ),
        (
            "a certificate that is not yet valid by the server's clock",
            "chain",
            with_leaf(|leaf| leaf.from = NOW + Duration::HOUR),
        ),
        ("a certificate for another key", "other_key", with_leaf(|leaf| leaf.key = THIEF)),
        ("a certificate for the bound key", "other_key", with_leaf(|leaf| leaf.key = BOUND)),
        ("a certificate with another digest", "digest", with_leaf(|leaf| leaf.digest[31] ^= 1)),
        (
            "a certificate for another host",
            "other_identity",
            with_leaf(|leaf| leaf.spiffe = format!("spiffe://{CLUSTER}/host/{OTHER_HOST}")),
        ),
        (
            "a certificate for a host of another cluster",
            "other_identity",
            with_leaf(|leaf| leaf.spiffe = format!("spiffe://example.org/host/{HOST}")),
        ),
    ]
}

fn bundles() -> Vec<Case> {
    let elsewhere = CaBundle { cluster: "example.org".to_owned(), ..bundle(0) };
    let whole = signed(&bundle(0), CA);
    vec![
        ("a CA bundle by a foreign CA", "bundle", with(&[("ca_bundle", signed(&bundle(0), CA + STRANGER))])),
        (
            "a foreign CA bundle by a foreign CA",
            "bundle",
            with(&[("ca_bundle", signed(&bundle(STRANGER), CA + STRANGER))]),
        ),
        ("a CA bundle by the host CA", "bundle", with(&[("ca_bundle", signed(&bundle(0), HOST_CA))])),
        ("an altered CA bundle", "bundle", with(&[("ca_bundle", json!([altered(&whole[0])]))])),
        ("no CA bundle", "bundle", with(&[("ca_bundle", json!([]))])),
        ("a CA bundle of another cluster", "other_cluster", with(&[("ca_bundle", signed(&elsewhere, CA))])),
        (
            "without certificates, a CA bundle by a foreign CA",
            "bundle",
            with(&[("certificates", Value::Null), ("ca_bundle", signed(&bundle(0), CA + STRANGER))]),
        ),
    ]
}

fn openssh() -> Vec<Case> {
    let line = |ca, profile, of| with(&[("certificates/ssh", json!(ssh(ca, profile, of)))]);
    let honest = json!(ssh(SSH_HOST_CA, SshProfile::Host, SSH));
    vec![
        ("an OpenSSH certificate for another key", "other_key", line(SSH_HOST_CA, SshProfile::Host, THIEF)),
        (
            "an OpenSSH certificate by a foreign CA",
            "ssh",
            line(SSH_HOST_CA + STRANGER, SshProfile::Host, SSH),
        ),
        ("an OpenSSH certificate by the user CA", "ssh", line(SSH_USER_CA, SshProfile::Host, SSH)),
        ("an OpenSSH user certificate for a host", "ssh", line(SSH_HOST_CA, SshProfile::User, SSH)),
        ("an altered OpenSSH certificate", "ssh", with(&[("certificates/ssh", altered(&honest))])),
        (
            "an OpenSSH certificate that is none",
            "ssh",
            with(&[("certificates/ssh", json!("ssh-ed25519 AAAA"))]),
        ),
        (
            "no OpenSSH certificate although one was asked for",
            "ssh",
            with(&[("certificates/ssh", Value::Null)]),
        ),
    ]
}

fn file() -> Value {
    let all = cases();
    let mut names: Vec<_> = all.iter().map(|case| case["name"].as_str().expect("a name")).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all.len(), "every case has a name of its own");
    json!({
        "about": "Whole results, true and forged, as the answer to a client that trusts `trusted` and has made `request`. \
                  `accepted` and `provisional` are stored; any other word is the check of the chapter \"Result\" that \
                  refuses it, and nothing is stored. All keys are made from seeds, so every byte can be repeated.",
        "chapter": "docs/protocol.md",
        "given": {
            "cluster": CLUSTER,
            "trusted": [public(CA)],
            "request": {
                "attempt": AttemptId(ATTEMPT), "bound_key": public(BOUND), "new_key": public(NEW),
                "tls_key": public(TLS), "ssh_key": public(SSH),
            },
        },
        "cases": all,
    })
}

/// Members in alphabetical order, whatever order this build of the JSON library keeps.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|a, b| a.0.cmp(b.0));
            Value::Object(members.into_iter().map(|(name, value)| (name.clone(), sorted(value))).collect())
        }
        Value::Array(entries) => Value::Array(entries.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/vectors/results.json")
}

#[test]
fn the_file_of_results_is_what_this_code_makes() {
    let text = serde_json::to_string_pretty(&sorted(&file())).unwrap() + "\n";
    if std::env::var_os("BOUNDKEY_WRITE_VECTORS").is_some() {
        std::fs::write(path(), text).unwrap();
    } else {
        let found = std::fs::read_to_string(path()).unwrap();
        assert!(found == text, "results.json: to be written anew by BOUNDKEY_WRITE_VECTORS=1");
    }
}

/// Gives the one answer to `complete`, and then none.
struct Canned(Option<Vec<u8>>);

impl Transport for Canned {
    async fn post(&mut self, path: &str, _body: Vec<u8>) -> Result<Reply, TransportError> {
        let lost = TransportError::Broken { server: "server:443".to_owned(), reason: "lost".to_owned() };
        let body = if path == "/v1/join/begin" {
            let master = MasterKey::new(1, [7; 32]);
            let challenge = boundkey_proto::issue_challenge(CLUSTER, &master, [0x5a; 32], None, NOW);
            json!({"challenge": challenge, "versions": [1]}).to_string().into_bytes()
        } else {
            self.0.take().ok_or(lost)?
        };
        Ok(Reply { status: 200, retry_after: None, body })
    }

    async fn get(&mut self, _path: &str, _limit: usize) -> Result<Reply, TransportError> {
        unreachable!("a join gets nothing")
    }

    fn channel(&self) -> Option<Channel> {
        let cluster = Some(CLUSTER.to_owned());
        Some(Channel { source: Source::Bundle, root_key: Some(public(CA)), cluster })
    }

    fn disconnect(&mut self) {}
}

/// A machine in the middle of a renewal that offers a new key.
fn state() -> AgentState {
    AgentState {
        machine: Some("machine".to_owned()),
        cluster: Some(CLUSTER.to_owned()),
        token: Some(TOKEN.to_owned()),
        bound_key: Some(HeldKey::new(key(BOUND))),
        join_state: Some("the state before".to_owned()),
        ca_bundle: Some(signed(&bundle(0), CA).to_string()),
        ca_bundle_signer: Some(public(CA)),
        pending: Some(PendingAttempt {
            attempt: ATTEMPT,
            started_at: NOW,
            tls_key: key(TLS),
            ssh_public_key: Some(public(SSH)),
            ssh_key: Some(key(SSH)),
            new_key: Some(HeldKey::new(key(NEW))),
        }),
        ..AgentState::default()
    }
}

async fn outcome(body: &str, keystore: &mut MemoryKeystore) -> &'static str {
    let roles = RoleSet::new([Role::Node]);
    let plan = JoinPlan {
        token: TOKEN.parse().unwrap(),
        credential: Credential::StoredKey,
        facts: MachineFacts { roles: roles.clone(), ..MachineFacts::default() },
        roles,
        names: RequestedNames::default(),
        ttl: None,
        ssh: SshWish::Host,
        reuse_tls_key: false,
        machine: Some("machine".to_owned()),
        accept_machine: false,
    };
    let clock = Arc::new(boundkey_service::ManualClock::new(NOW));
    let mut joiner = Joiner {
        keystore,
        transport: &mut Canned(Some(body.as_bytes().to_vec())),
        plan: &plan,
        clock: &ClientClock { clock, offset: Duration::ZERO },
        entropy: &CountedEntropy::default(),
    };
    match joiner.join().await {
        Ok(_) => "accepted",
        Err(JoinError::Result(error)) => error.code(),
        // It goes on at once with a new attempt, which is not answered here.
        Err(JoinError::Transport(_)) => "provisional",
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn every_forged_result_of_the_vectors_is_refused_for_its_own_reason_and_changes_no_byte() {
    let mut refused = 0;
    for case in cases() {
        let (name, expect) = (case["name"].as_str().unwrap(), case["expect"].as_str().unwrap());
        let mut keystore = MemoryKeystore::default();
        keystore.save(&state()).unwrap();
        let before = keystore.load().unwrap().to_json();
        let found = outcome(case["body"].as_str().unwrap(), &mut keystore).await;
        assert_eq!(found, expect, "{name}");
        let after = keystore.load().unwrap();
        match expect {
            "accepted" => {
                assert!(after.pending.is_none(), "{name}");
                assert_eq!(after.join_state.as_deref(), Some(STATE), "{name}");
            }
            "provisional" => {
                let bound =
                    serde_json::from_str::<Value>(case["body"].as_str().unwrap()).unwrap()["bound_key"]
                        .clone();
                assert_eq!(after.join_state.as_deref(), Some(STATE), "{name}");
                assert_eq!(
                    json!(after.bound_key.as_ref().map(|key| key.public_key().clone())),
                    bound,
                    "{name}"
                );
            }
            _ => {
                assert!(after.to_json() == before, "{name}: the state has changed");
                refused += 1;
            }
        }
    }
    assert!(refused > 40, "{refused}");
}
