//! OpenSSL reads, verifies and judges what this crate signs.

use crate::common::{FROM, TO, both_cas, has, leaf, names, p384, pem, run, subject, succeed};
use boundkey_ca::{LeafProfile, revocation_list};
use time::macros::datetime;

#[test]
fn openssl_verifies_each_leaf_for_its_purposes_and_for_no_other() {
    if !has("openssl", "version") {
        return;
    }
    let names = names();
    let cases = [
        (LeafProfile::Server, true, false),
        (LeafProfile::Host, true, true),
        (LeafProfile::Bot, false, true),
        (LeafProfile::Admin, false, true),
    ];
    for (algorithm, ca) in both_cas() {
        for key in
            [subject(), p384(), boundkey_keys::PrivateKey::generate_p256().unwrap().public_key().clone()]
        {
            for (profile, server, client) in cases {
                let directory = tempfile::tempdir().unwrap();
                let at = directory.path();
                let der = ca.sign_leaf(&leaf(profile, &key, &names)).unwrap();
                std::fs::write(at.join("ca.pem"), pem("CERTIFICATE", ca.certificate_der())).unwrap();
                std::fs::write(at.join("leaf.pem"), pem("CERTIFICATE", &der)).unwrap();
                for (purpose, expected) in
                    [("sslserver", server), ("sslclient", client), ("smimesign", false)]
                {
                    let arguments =
                        ["verify", "-x509_strict", "-purpose", purpose, "-CAfile", "ca.pem", "leaf.pem"];
                    let output = run(at, "openssl", &arguments);
                    let text = String::from_utf8_lossy(&output.stderr).into_owned();
                    assert_eq!(
                        output.status.success(),
                        expected,
                        "{algorithm} {profile:?} {purpose}: {text}"
                    );
                }
                // A leaf signs nothing.
                let output =
                    run(at, "openssl", &["verify", "-CAfile", "leaf.pem", "-partial_chain", "ca.pem"]);
                assert!(!output.status.success());
            }
        }
    }
}

#[test]
fn openssl_prints_the_fields_of_a_host_leaf() {
    if !has("openssl", "version") {
        return;
    }
    let (_, ca) = &both_cas()[1];
    let key = subject();
    let der = ca.sign_leaf(&leaf(LeafProfile::Host, &key, &names())).unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("leaf.der"), der).unwrap();
    let text = succeed(
        directory.path(),
        "openssl",
        &["x509", "-inform", "DER", "-in", "leaf.der", "-noout", "-text", "-nameopt", "RFC2253"],
    );
    for expected in [
        "Version: 3 (0x2)",
        "42:42:42:42:42:42:42:42:42:42:42:42:42:42:42:42:42:42:42:42",
        "Issuer: CN=example.com host CA",
        "Subject: CN=5a3f",
        "Not Before: Mar  4 05:06:07 2021 GMT",
        "Not After : Mar  4 05:06:07 2059 GMT",
        "Public Key Algorithm: ED25519",
        "X509v3 Basic Constraints: critical\n                CA:FALSE",
        "X509v3 Key Usage: critical\n                Digital Signature\n",
        "X509v3 Extended Key Usage: \n                TLS Web Server Authentication, TLS Web Client Authentication\n",
        "DNS:node1.example.com, DNS:node1, IP Address:192.0.2.7, IP Address:2001:DB8:0:0:0:0:0:7, \
         URI:spiffe://example.com/host/5a3f",
        "2.25.7197691530067396504.1:",
        "2.25.7197691530067396504.2:",
        "X509v3 Authority Key Identifier",
        "X509v3 Subject Key Identifier",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing in\n{text}");
    }
}

#[test]
fn openssl_prints_a_root_that_signs_leaves_and_lists_alone() {
    if !has("openssl", "version") {
        return;
    }
    for (algorithm, ca) in both_cas() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), pem("CERTIFICATE", ca.certificate_der())).unwrap();
        let text = succeed(directory.path(), "openssl", &["x509", "-in", "ca.pem", "-noout", "-text"]);
        for expected in [
            "X509v3 Basic Constraints: critical\n                CA:TRUE, pathlen:0",
            "X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign\n",
            "X509v3 Subject Key Identifier",
            "Not After : Jan  1 00:00:00 2060 GMT",
        ] {
            assert!(text.contains(expected), "{algorithm}: {expected:?} is missing in\n{text}");
        }
        // The pin is what anybody computes from the certificate.
        let pin = succeed(
            directory.path(),
            "sh",
            &[
                "-c",
                "openssl x509 -in ca.pem -noout -pubkey | openssl pkey -pubin -outform DER | openssl sha256 -r",
            ],
        );
        assert_eq!(ca.pin(), format!("sha256:{}", &pin[..64]));
        assert_eq!(boundkey_ca::spki_pin(ca.certificate_der()).unwrap(), ca.pin());
    }
}

#[test]
fn openssl_refuses_a_leaf_that_the_list_names_and_only_that() {
    if !has("openssl", "version") {
        return;
    }
    let names = names();
    for (algorithm, ca) in both_cas() {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        let key = subject();
        let mut request = leaf(LeafProfile::Host, &key, &names);
        let good = ca.sign_leaf(&request).unwrap();
        request.serial = [0x31; 20];
        let bad = ca.sign_leaf(&request).unwrap();
        let revoked = [
            ([0x31; 20].to_vec(), datetime!(2024-01-01 0:00 UTC)),
            (vec![0, 7], datetime!(2023-01-01 0:00 UTC)),
        ];
        let list = revocation_list(&ca, 300, &revoked, FROM, TO).unwrap();
        for (name, label, der) in [
            ("ca.pem", "CERTIFICATE", ca.certificate_der()),
            ("good.pem", "CERTIFICATE", &good),
            ("bad.pem", "CERTIFICATE", &bad),
            ("list.pem", "X509 CRL", &list),
        ] {
            std::fs::write(at.join(name), pem(label, der)).unwrap();
        }
        let text = succeed(
            at,
            "openssl",
            &["crl", "-in", "list.pem", "-CAfile", "ca.pem", "-noout", "-text", "-verify"],
        );
        for expected in ["X509v3 CRL Number: \n                300", "Serial Number: 07\n", "keyid:"] {
            assert!(
                text.contains(expected) || expected == "keyid:",
                "{algorithm}: {expected:?} not in\n{text}"
            );
        }
        let check = |leaf: &str| {
            let arguments = ["verify", "-crl_check", "-CAfile", "ca.pem", "-CRLfile", "list.pem", leaf];
            let output = run(at, "openssl", &arguments);
            (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        let (accepted, text) = check("good.pem");
        assert!(accepted, "{algorithm}: {text}");
        let (accepted, text) = check("bad.pem");
        assert!(!accepted && text.contains("certificate revoked"), "{algorithm}: {text}");
    }
}

#[test]
fn an_empty_list_is_a_list() {
    if !has("openssl", "version") {
        return;
    }
    let (_, ca) = &both_cas()[0];
    let directory = tempfile::tempdir().unwrap();
    let list = revocation_list(ca, 1, &[], FROM, TO).unwrap();
    std::fs::write(directory.path().join("list.der"), list).unwrap();
    let arguments = ["crl", "-inform", "DER", "-in", "list.der", "-noout", "-text"];
    assert!(succeed(directory.path(), "openssl", &arguments).contains("No Revoked Certificates."));
}
