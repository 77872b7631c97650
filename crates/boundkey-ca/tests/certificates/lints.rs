//! What is refused, and that nothing refused is ever signed.

use std::net::IpAddr;

use crate::common::{
    BOT_ID, CA_FROM, CA_TO, FROM, HOST_ID, Names, TO, both_cas, both_ssh_cas, ca_of, ed25519_key, leaf,
    names, ssh, strings, subject,
};
use boundkey_ca::{
    AuthorityKey, CaError, LeafProfile, LeafRequest, SshOptions, SshPermission, SshProfile, X509Authority,
    inspect_leaf, inspect_ssh, is_dns_name, is_principal, revocation_list,
};
use boundkey_keys::PublicKey;
use proptest::prelude::*;
use time::{Duration, OffsetDateTime};

/// The fields that a refusal names.
fn fields<T: std::fmt::Debug>(result: Result<T, CaError>) -> Vec<String> {
    match result {
        Err(CaError::Refused(error)) => {
            error.violations().iter().map(|violation| violation.field.clone()).collect()
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
}

const PROFILES: [LeafProfile; 4] =
    [LeafProfile::Server, LeafProfile::Host, LeafProfile::Bot, LeafProfile::Admin];

type Change = fn(&mut LeafRequest<'_>);

#[test]
fn each_broken_rule_is_named() {
    let ca = ca_of(ed25519_key());
    let (key, names) = (subject(), names());
    let cases: &[(&str, Change, &[&str])] = &[
        ("validity", |r| r.not_after = r.not_before, &["not_after"]),
        ("before the CA", |r| r.not_before = CA_FROM - Duration::SECOND, &["not_after"]),
        ("after the CA", |r| r.not_after = CA_TO + Duration::SECOND, &["not_after"]),
        ("zero serial", |r| r.serial = [0; 20], &["serial"]),
        ("negative serial", |r| r.serial = [0x80; 20], &["serial"]),
        ("no name", |r| r.common_name = "", &["common_name"]),
        ("control", |r| r.common_name = "a\nb", &["common_name"]),
        ("no SPIFFE ID", |r| r.spiffe_id = None, &["spiffe_id"]),
        ("a bot's", |r| r.spiffe_id = Some(BOT_ID), &["spiffe_id"]),
        ("no digest", |r| r.result_digest = None, &["result_digest"]),
        ("no word", |r| r.roles = &["Node", "a,b"], &["roles[1]"]),
        ("two", |r| (r.serial, r.common_name) = ([0; 20], ""), &["serial", "common_name"]),
    ];
    for (name, change, expected) in cases {
        let mut request = leaf(LeafProfile::Host, &key, &names);
        change(&mut request);
        assert_eq!(fields(ca.sign_leaf(&request)), *expected, "{name}");
    }
}

#[test]
fn names_are_checked_one_by_one() {
    let ca = ca_of(ed25519_key());
    let key = subject();
    let names = Names {
        dns: strings(&["ok.example", "*.example", "", "10.0.0.1"]),
        ip: ["0.0.0.0", "192.0.2.1", "::"].map(|text| text.parse::<IpAddr>().unwrap()).to_vec(),
    };
    let expected = ["dns_names[1]", "dns_names[2]", "dns_names[3]", "ip_addresses[0]", "ip_addresses[2]"];
    let request = leaf(LeafProfile::Host, &key, &names);
    assert_eq!(fields(ca.sign_leaf(&request)), expected);
    assert_eq!(fields(ca.check_leaf(&request).map_err(CaError::from)), expected);
}

#[test]
fn each_profile_has_what_is_its_own_and_nothing_else() {
    let ca = ca_of(ed25519_key());
    let (key, names) = (subject(), names());
    for profile in PROFILES {
        assert!(ca.sign_leaf(&leaf(profile, &key, &names)).is_ok());
    }
    let none = Names { dns: vec![], ip: vec![] };
    assert_eq!(fields(ca.sign_leaf(&leaf(LeafProfile::Server, &key, &none))), ["dns_names"]);
    let mut server = leaf(LeafProfile::Server, &key, &names);
    (server.spiffe_id, server.roles, server.result_digest) = (Some(HOST_ID), &["Node"], Some([1; 32]));
    assert_eq!(fields(ca.sign_leaf(&server)), ["spiffe_id", "result_digest", "roles"]);
    let mut admin = leaf(LeafProfile::Admin, &key, &names);
    (admin.dns_names, admin.roles) = (&names.dns, &[]);
    assert_eq!(fields(ca.sign_leaf(&admin)), ["dns_names", "roles"]);
}

#[test]
fn an_rsa_key_gets_no_tls_certificate() {
    let ca = ca_of(ed25519_key());
    let line = include_str!("data/rsa.pub");
    let key = PublicKey::from_openssh(line.trim()).unwrap();
    assert_eq!(fields(ca.sign_leaf(&leaf(LeafProfile::Host, &key, &names()))), ["public_key"]);
}

#[test]
fn a_refusal_says_what_was_found_and_what_is_allowed() {
    let ca = ca_of(ed25519_key());
    let key = subject();
    let names = Names { dns: strings(&["*.example.com"]), ip: vec![] };
    let error = ca.sign_leaf(&leaf(LeafProfile::Host, &key, &names)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "certificate refused: dns_names[0]: found *.example.com; allowed: a host name of letters, digits, '-' and \
         '_', without wildcards"
    );
}

#[test]
fn a_root_has_a_name_a_serial_and_a_window() {
    let create = |name: &str, serial, from, to| {
        X509Authority::create(ed25519_key(), name, serial, from, to).map(|ca| ca.pin())
    };
    assert_eq!(fields(create("", [1; 16], CA_FROM, CA_TO)), ["common_name"]);
    assert_eq!(fields(create(&"x".repeat(65), [1; 16], CA_FROM, CA_TO)), ["common_name"]);
    assert_eq!(fields(create("a", [0; 16], CA_FROM, CA_TO)), ["serial"]);
    assert_eq!(fields(create("a", [1; 16], CA_TO, CA_FROM)), ["not_after"]);
    let before_1970 = OffsetDateTime::UNIX_EPOCH - Duration::SECOND;
    assert_eq!(fields(create("a", [1; 16], before_1970, CA_TO)), ["not_before"]);
    assert!(create("ä, b=c host CA", [0xff; 16], CA_FROM, CA_TO).is_ok());
}

#[test]
fn a_ca_is_taken_up_again_only_from_its_own_certificate() {
    let load =
        |certificate: &[u8]| X509Authority::load(ed25519_key(), certificate.to_vec()).map(|ca| ca.pin());
    let ca = ca_of(ed25519_key());
    assert_eq!(load(ca.certificate_der()), Ok(ca.pin()));

    let other = ca_of(AuthorityKey::generate_p256().unwrap());
    let error = load(other.certificate_der()).unwrap_err();
    assert_eq!(error, CaError::OtherKey { found: other.pin(), expected: ca.pin() });

    let own = ed25519_key();
    let leaf = ca.sign_leaf(&leaf(LeafProfile::Host, own.public_key(), &names())).unwrap();
    assert!(matches!(load(&leaf), Err(CaError::NotAnAuthority { .. })));

    let mut tampered = ca.certificate_der().to_vec();
    *tampered.last_mut().unwrap() ^= 1;
    let reason = "its signature over itself does not verify";
    assert_eq!(load(&tampered), Err(CaError::NotAnAuthority { reason }));

    let mut tail = ca.certificate_der().to_vec();
    tail.push(0);
    for bytes in [&tail[..], &tail[..100], b"", b"-----BEGIN CERTIFICATE-----"] {
        assert!(matches!(load(bytes), Err(CaError::Unreadable { .. })));
    }
}

#[test]
fn a_reloaded_ca_signs_the_same_bytes() {
    let (key, names) = (subject(), names());
    let ca = ca_of(ed25519_key());
    let again = AuthorityKey::from_pkcs8(&ca.key().to_pkcs8()).unwrap();
    let again = X509Authority::load(again, ca.certificate_der().to_vec()).unwrap();
    let request = leaf(LeafProfile::Bot, &key, &names);
    assert_eq!(ca.sign_leaf(&request), again.sign_leaf(&request));
}

#[test]
fn lists_refuse_serials_that_no_certificate_has() {
    let ca = ca_of(ed25519_key());
    let list = |serial: Vec<u8>| revocation_list(&ca, 1, &[(serial, FROM)], FROM, TO);
    for serial in [vec![], vec![0], vec![0x80; 20], vec![1; 21]] {
        assert_eq!(fields(list(serial)), ["revoked[0].serial"]);
    }
    assert_eq!(list(vec![0, 0, 9]), list(vec![9]));
    assert_eq!(fields(revocation_list(&ca, 1, &[], TO, FROM)), ["not_after"]);
}

#[test]
fn ssh_requests_are_checked_field_by_field() {
    let (_, ca) = &both_ssh_cas()[0];
    let key = subject();
    let good = strings(&["node1"]);
    for profile in [SshProfile::Host, SshProfile::User] {
        let sign = |principals: &[String]| ca.sign(&ssh(profile, &key, principals));
        assert!(sign(&good).is_ok());
        assert_eq!(fields(sign(&[])), ["principals"]);
        assert_eq!(fields(sign(&strings(&["a", "*", ""]))), ["principals[1]", "principals[2]"]);
        let many: Vec<String> = (0..257).map(|number| format!("p{number}")).collect();
        assert_eq!(fields(sign(&many)), ["principals"]);
        let mut request = ssh(profile, &key, &good);
        (request.serial, request.key_id, request.not_after) = (0, "a\nb", FROM);
        assert_eq!(fields(ca.sign(&request)), ["not_after", "serial", "key_id"]);
        assert_eq!(fields(ca.check(&request).map_err(CaError::from)), ["not_after", "serial", "key_id"]);
    }
}

#[test]
fn hosts_have_no_options_and_users_only_sane_ones() {
    let (_, ca) = &both_ssh_cas()[0];
    let key = subject();
    let principals = strings(&["node1"]);
    let host = ssh(SshProfile::Host, &key, &principals);
    assert_eq!(fields(ca.sign_with(&host, &SshOptions::default())), ["options"]);
    let networks = ["10.0.0.1/8".parse().unwrap()];
    let options = SshOptions {
        source_addresses: &networks,
        force_command: Some(""),
        permissions: &[SshPermission::Pty, SshPermission::Pty],
    };
    let user = ssh(SshProfile::User, &key, &principals);
    assert_eq!(
        fields(ca.sign_with(&user, &options)),
        ["options.force_command", "options.source_addresses[0]", "options.permissions"]
    );
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9]{1,8}(\\.[a-z0-9-]{1,8}){0,3}",
        "[*?!a-zA-Z0-9._-]{0,12}",
        any::<String>(),
        Just("x".repeat(64)),
    ]
}

fn seconds() -> impl Strategy<Value = OffsetDateTime> {
    prop_oneof![
        any::<i64>(),
        -1i64..4_000_000_000,
        CA_FROM.unix_timestamp() - 2..CA_FROM.unix_timestamp() + 2,
        CA_TO.unix_timestamp() - 2..CA_TO.unix_timestamp() + 2,
    ]
    .prop_map(|seconds| OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Whatever is asked: it is refused by the lint of the request, or the leaf says exactly that, within the rules.
    #[test]
    fn a_signed_leaf_keeps_the_rules(
        profile in proptest::sample::select(&PROFILES),
        common_name in text(),
        dns in proptest::collection::vec(text(), 0..4),
        ip in proptest::collection::vec(any::<IpAddr>(), 0..3),
        spiffe_id in proptest::option::of(prop_oneof![
            Just(HOST_ID.to_owned()),
            Just(BOT_ID.to_owned()),
            text().prop_map(|text| format!("spiffe://example.com/host/{text}")),
            text(),
        ]),
        roles in proptest::collection::vec(prop_oneof![Just("Node".to_owned()), text()], 0..3),
        serial in any::<[u8; 20]>(),
        not_before in seconds(),
        not_after in seconds(),
        result_digest in any::<Option<[u8; 32]>>(),
    ) {
        let ca = ca_of(ed25519_key());
        let key = subject();
        let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
        let request = LeafRequest {
            profile,
            public_key: &key,
            common_name: &common_name,
            dns_names: &dns,
            ip_addresses: &ip,
            spiffe_id: spiffe_id.as_deref(),
            roles: &roles,
            serial,
            not_before,
            not_after,
            result_digest,
        };
        match ca.sign_leaf(&request) {
            Ok(der) => {
                let view = inspect_leaf(&der).unwrap();
                prop_assert!(serial[0] < 0x80);
                prop_assert!(dns.iter().all(|name| is_dns_name(name)));
                prop_assert!(CA_FROM <= not_before && not_before < not_after && not_after <= CA_TO);
                prop_assert_eq!(view.dns_names, dns);
                prop_assert_eq!(view.ip_addresses, ip);
                prop_assert_eq!(view.spiffe_id, spiffe_id);
                prop_assert_eq!(view.roles, roles);
                prop_assert_eq!(view.result_digest, result_digest);
                prop_assert_eq!(view.common_name, common_name);
                prop_assert_eq!(view.not_before, not_before);
                prop_assert_eq!(view.not_after, not_after);
                prop_assert_eq!(view.public_key, key);
            }
            Err(CaError::Refused(error)) => {
                let late = error.violations().iter().find(|violation| violation.field.starts_with("certificate"));
                prop_assert_eq!(late, None, "the request's lint let something through");
            }
            Err(error) => prop_assert!(false, "{error}"),
        }
    }

    /// Nearly right requests, so that many are signed.
    #[test]
    fn a_plausible_leaf_is_signed(
        dns in proptest::collection::hash_set("[a-z][a-z0-9]{0,8}(\\.[a-z][a-z0-9]{0,8}){0,3}", 0..5),
        id in "[a-zA-Z0-9][a-zA-Z0-9._-]{0,40}",
        serial in 1u8..0x80,
        life in 1i64..100_000_000,
    ) {
        let ca = ca_of(ed25519_key());
        let (key, spiffe) = (subject(), format!("spiffe://example.com/host/{id}"));
        let names = Names { dns: dns.into_iter().collect(), ip: vec![] };
        let mut request = leaf(LeafProfile::Host, &key, &names);
        request.spiffe_id = Some(&spiffe);
        request.serial[0] = serial;
        request.not_after = request.not_before + Duration::seconds(life);
        prop_assert!(ca.sign_leaf(&request).is_ok());
    }

    #[test]
    fn a_signed_ssh_certificate_keeps_the_rules(
        host in any::<bool>(),
        key_id in text(),
        principals in proptest::collection::vec(text(), 0..4),
        serial in any::<u64>(),
        nonce in any::<[u8; 16]>(),
        not_before in seconds(),
        not_after in seconds(),
    ) {
        let (_, ca) = &both_ssh_cas()[0];
        let key = subject();
        let profile = if host { SshProfile::Host } else { SshProfile::User };
        let mut request = ssh(profile, &key, &principals);
        request.key_id = &key_id;
        (request.serial, request.nonce) = (serial, nonce);
        (request.not_before, request.not_after) = (not_before, not_after);
        match ca.sign(&request) {
            Ok(line) => {
                let view = inspect_ssh(&line).unwrap();
                prop_assert!(!view.principals.is_empty() && view.principals.iter().all(|name| is_principal(name)));
                prop_assert_eq!(view.principals, principals);
                prop_assert!(view.valid_after < view.valid_before);
                prop_assert_eq!(view.profile, profile);
            }
            Err(CaError::Refused(error)) => {
                let late = error.violations().iter().find(|violation| violation.field.starts_with("certificate"));
                prop_assert_eq!(late, None, "the request's lint let something through");
            }
            Err(error) => prop_assert!(false, "{error}"),
        }
    }

    #[test]
    fn bytes_of_any_kind_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), flip in any::<(u16, u8)>()) {
        let _ = inspect_leaf(&bytes);
        let (_, ca) = &both_cas()[0];
        let mut der = ca.certificate_der().to_vec();
        let place = usize::from(flip.0) % der.len();
        der[place] ^= flip.1;
        let _ = inspect_leaf(&der);
        let _ = X509Authority::load(ed25519_key(), der);
    }
}
