//! `bundles.json`: signed CA bundles, and what a client that trusts some tls CA keys makes of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boundkey_keys::{PublicKey, Signer};
use boundkey_proto::{BUNDLE_TYP, BundleError, CaBundle, SignedBundle};
use serde_json::{Value, json};

use crate::scene::*;
use crate::vectors::{cases, frame};

fn bundle() -> CaBundle {
    // What the certificates say is no matter of this crate: any bytes will do.
    let der = |text: &str| vec![STANDARD.encode(text)];
    CaBundle {
        cluster: CLUSTER.to_owned(),
        version: 3,
        tls: der("DER of the tls CA"),
        host: der("DER of the host CA"),
        bot: der("DER of the bot CA"),
        ssh_host: vec![public(CA)],
        ssh_user: vec![public(OTHER_CA)],
        note: None,
    }
}

fn payload(bundle: &CaBundle) -> String {
    serde_json::to_string(bundle).expect("JSON")
}

fn by(seeds: &[u8]) -> SignedBundle {
    let keys: Vec<_> = seeds.iter().map(|seed| key(*seed)).collect();
    let signers: Vec<&dyn Signer> = keys.iter().map(|key| key as &dyn Signer).collect();
    SignedBundle::sign(&bundle(), &signers).expect("a bundle")
}

fn word(error: &BundleError) -> &'static str {
    match error {
        BundleError::Untrusted => "untrusted",
        BundleError::Unsigned => "unsigned",
        BundleError::DifferentPayloads => "different_payloads",
        BundleError::TooLarge => "too_large",
        BundleError::NotABundle => "not_a_bundle",
        BundleError::Content(_) => "content",
        BundleError::Sign(_) => "sign",
    }
}

fn outcome(signed: &SignedBundle, trusted: &[PublicKey]) -> &'static str {
    signed.verify(trusted).map_or_else(|error| word(&error), |_| "accepted")
}

fn case(name: &str, signed: Vec<String>, trusted: &[u8], expect: &str) -> Value {
    let trusted: Vec<PublicKey> = trusted.iter().map(|seed| public(*seed)).collect();
    json!({"name": name, "bundle": signed, "trusted": trusted, "expect": expect})
}

pub(crate) fn file() -> Value {
    let honest = by(&[CA]).0;
    let text = payload(&bundle());
    let open = text.strip_suffix('}').expect("an object");
    let one = |payload: &str| vec![signed(CA, BUNDLE_TYP, payload)];
    let kid = thumbprint(CA);
    let mut other = bundle();
    other.cluster = String::new();
    let mut no_tls = bundle();
    no_tls.tls.clear();
    let mut not_base64 = bundle();
    not_base64.host = vec!["-_-_".to_owned()];
    let mut crowded = bundle();
    crowded.bot = vec![STANDARD.encode("DER"); 9];
    let forged = |alg: &str| {
        forge(&format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"{BUNDLE_TYP}"}}"#), &text, |_| vec![])
    };
    let all = vec![
        case("signed by the CA that is trusted", honest.clone(), &[CA], "accepted"),
        case("signed by one of those that are trusted", honest.clone(), &[OTHER_CA, CA], "accepted"),
        case(
            "signed by the old and the new CA, the old one trusted",
            by(&[CA, OTHER_CA]).0,
            &[CA],
            "accepted",
        ),
        case(
            "signed by the old and the new CA, the new one trusted",
            by(&[CA, OTHER_CA]).0,
            &[OTHER_CA],
            "accepted",
        ),
        case("signed by another CA", by(&[OTHER_CA]).0, &[CA], "untrusted"),
        case("nothing is trusted", honest.clone(), &[], "untrusted"),
        case("altered", vec![altered(&honest[0], 200)], &[CA], "untrusted"),
        case("truncated", vec![honest[0][..honest[0].len() - 4].to_owned()], &[CA], "untrusted"),
        case("with the typ of a proof", vec![signed(CA, "boundkey-join+jwt", &text)], &[CA], "untrusted"),
        case("with alg none", vec![forged("none")], &[CA], "untrusted"),
        case("no signature", vec![], &[CA], "unsigned"),
        case("nine signatures", vec![honest[0].clone(); 9], &[CA], "too_large"),
        case("an unknown member", one(&format!(r#"{open},"admin":[]}}"#)), &[CA], "not_a_bundle"),
        case("a repeated member", one(&format!(r#"{open},"version":4}}"#)), &[CA], "not_a_bundle"),
        case("an array", one("[]"), &[CA], "not_a_bundle"),
        case("no cluster", one(&payload(&other)), &[CA], "content"),
        case("no tls CA", one(&payload(&no_tls)), &[CA], "content"),
        case("not base64", one(&payload(&not_base64)), &[CA], "content"),
        case("nine bot CAs", one(&payload(&crowded)), &[CA], "content"),
    ];
    frame(
        "Signed CA bundles, the keys that a client trusts, and what it makes of the bundle.",
        json!({"payload": serde_json::to_value(bundle()).expect("JSON")}),
        all,
    )
}

#[test]
fn a_client_takes_the_bundles_of_the_file_and_no_other() {
    for case in cases("bundles.json") {
        let signed: SignedBundle = serde_json::from_value(case["bundle"].clone()).expect("a list");
        let trusted: Vec<PublicKey> = serde_json::from_value(case["trusted"].clone()).expect("keys");
        assert_eq!(outcome(&signed, &trusted), case["expect"], "{}", case["name"]);
    }
}

#[test]
fn a_bundle_reads_back_by_both_ways() {
    let signed = by(&[CA, OTHER_CA]);
    assert_eq!(signed.verify(&[public(OTHER_CA)]), Ok(bundle()));
    assert_eq!(signed.peek(), Ok(bundle()));
    assert_eq!(bundle().host_der(), [b"DER of the host CA".to_vec()]);
}

#[test]
fn a_peek_refuses_signatures_over_different_payloads() {
    let mut other = bundle();
    other.version = 4;
    let mixed = SignedBundle(vec![by(&[CA]).0[0].clone(), signed(OTHER_CA, BUNDLE_TYP, &payload(&other))]);
    assert_eq!(mixed.peek(), Err(BundleError::DifferentPayloads));
}

#[test]
fn a_bundle_that_clients_would_refuse_is_not_signed() {
    let mut bad = bundle();
    bad.tls.clear();
    let ca = key(CA);
    assert_eq!(SignedBundle::sign(&bad, &[&ca]), Err(BundleError::Content("tls")));
    assert_eq!(SignedBundle::sign(&bundle(), &[]), Err(BundleError::Unsigned));
}
