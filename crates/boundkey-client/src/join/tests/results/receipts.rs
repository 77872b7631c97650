//! Results without certificates: with the receipt that vouches for them, and with others.

use boundkey_keys::Signer as _;
use boundkey_proto::AttemptId;
use serde_json::{Value, json};

use super::Case;
use super::made::*;

pub(super) fn receipt(ca: u8, bound: u8) -> Value {
    receipt_of(
        ca,
        CLUSTER,
        boundkey_proto::result_digest(STATE, public(bound).thumbprint(), AttemptId(ATTEMPT)),
    )
}

fn receipt_of(ca: u8, cluster: &str, digest: [u8; 32]) -> Value {
    json!(boundkey_proto::sign_receipt(&key(ca), cluster, digest).unwrap())
}

pub(super) fn without_certificates(changes: &[(&str, Value)]) -> Value {
    let mut all = vec![("certificates", Value::Null)];
    all.extend(changes.iter().cloned());
    with(&all)
}

pub(super) fn receipts() -> Vec<Case> {
    let digest = |state: &str, bound: u8, attempt: [u8; 16]| {
        boundkey_proto::result_digest(state, public(bound).thumbprint(), AttemptId(attempt))
    };
    let honest = digest(STATE, BOUND, ATTEMPT);
    let by_host_ca = receipt_of(HOST_CA, CLUSTER, honest);
    let as_bundle = key(CA).sign_jws("boundkey-ca-bundle+jwt", b"{}").unwrap();
    let cases = [
        ("stripped of its certificates", Value::Null),
        ("without certificates, an altered receipt", altered(&receipt(CA, BOUND))),
        ("without certificates, a stranger's receipt", receipt(CA + STRANGER, BOUND)),
        ("without certificates, a receipt by the host CA", by_host_ca),
        ("without certificates, the receipt of another cluster", receipt_of(CA, "example.org", honest)),
        (
            "without certificates, the receipt of another attempt",
            receipt_of(CA, CLUSTER, digest(STATE, BOUND, [0xa8; 16])),
        ),
        (
            "without certificates, the receipt of another join state",
            receipt_of(CA, CLUSTER, digest("e30.e30.BBBB", BOUND, ATTEMPT)),
        ),
        ("without certificates, the receipt of the other key of the attempt", receipt(CA, NEW)),
        ("without certificates, another signed document for a receipt", json!(as_bundle)),
    ];
    cases
        .into_iter()
        .map(|(name, receipt)| (name, "receipt", without_certificates(&[("receipt", receipt)])))
        .collect()
}
