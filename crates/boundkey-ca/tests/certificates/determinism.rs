//! A retry gets the same certificate: equal requests, equal to-be-signed bytes.

use crate::common::{both_cas, both_ssh_cas, ca_of, ed25519_key, leaf, names, ssh, strings, subject};
use boundkey_ca::{LeafProfile, SshProfile, inspect_ssh};
use boundkey_keys::sha256;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

fn to_be_signed(der: &[u8]) -> Vec<u8> {
    X509Certificate::from_der(der).unwrap().1.tbs_certificate.as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_same_request_yields_the_same_bytes_to_be_signed() {
    let (key, names) = (subject(), names());
    for (algorithm, ca) in both_cas() {
        for profile in [LeafProfile::Server, LeafProfile::Host, LeafProfile::Bot, LeafProfile::Admin] {
            let sign = || ca.sign_leaf(&leaf(profile, &key, &names)).unwrap();
            let (one, two) = (sign(), sign());
            assert_eq!(to_be_signed(&one), to_be_signed(&two), "{algorithm} {profile:?}");
            // ECDSA draws a nonce; Ed25519 repeats itself.
            assert_eq!(one == two, algorithm == "Ed25519");
        }
    }
}

#[test]
fn fractions_of_a_second_and_offsets_do_not_change_the_bytes() {
    let (key, names) = (subject(), names());
    let ca = ca_of(ed25519_key());
    let request = leaf(LeafProfile::Host, &key, &names);
    let mut other = request.clone();
    other.not_before = other.not_before.replace_nanosecond(999_999_999).unwrap();
    other.not_after = other.not_after.to_offset(time::macros::offset!(+5:30));
    assert_eq!(ca.sign_leaf(&request), ca.sign_leaf(&other));
}

/// The digest changes only with the form of certificates, which is a change of what users hold.
#[test]
fn the_form_of_a_host_leaf_is_the_recorded_one() {
    let (key, names) = (subject(), names());
    let der = ca_of(ed25519_key()).sign_leaf(&leaf(LeafProfile::Host, &key, &names)).unwrap();
    assert_eq!(hex(&sha256(&[&to_be_signed(&der)])), include_str!("data/host-leaf-tbs.sha256").trim());
}

#[test]
fn ssh_certificates_repeat_but_for_the_signature() {
    let principals = strings(&["deploy", "backup"]);
    let key = subject();
    for (algorithm, ca) in both_ssh_cas() {
        for profile in [SshProfile::Host, SshProfile::User] {
            let sign = || ca.sign(&ssh(profile, &key, &principals)).unwrap();
            let (one, two) = (sign(), sign());
            assert_eq!(inspect_ssh(&one), inspect_ssh(&two), "{algorithm}");
            assert_eq!(one == two, algorithm == "Ed25519");
            assert!(!one.ends_with(' ') && !one.contains('\n'));
        }
    }
}
