//! What a token's `spec.certificates` grants.

use boundkey_token::{CertificateNames, RequestedNames};

fn list(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn asked(dns: &[&str], addresses: &[&str], principals: &[&str]) -> RequestedNames {
    RequestedNames {
        dns_names: list(dns),
        ip_addresses: addresses.iter().map(|address| address.parse().expect("an address")).collect(),
        principals: list(principals),
    }
}

fn allowed(dns: &[&str], networks: &[&str], principals: &[&str]) -> CertificateNames {
    CertificateNames {
        dns_names: Some(list(dns)),
        ip_addresses: Some(networks.iter().map(|network| network.parse().expect("a network")).collect()),
        principals: Some(list(principals)),
        max_ttl: None,
    }
}

fn defaults() -> RequestedNames {
    asked(&["web-1", "web-1.example.com"], &[], &["web-1"])
}

#[test]
fn nothing_listed_and_nothing_asked_gives_the_defaults() {
    assert_eq!(CertificateNames::default().grant(&asked(&[], &[], &[]), &defaults()), Ok(defaults()));
}

#[test]
fn nothing_listed_allows_the_defaults_and_nothing_else() {
    let nothing = CertificateNames::default();
    assert_eq!(
        nothing.grant(&asked(&["WEB-1.example.com"], &[], &[]), &defaults()),
        Ok(asked(&["WEB-1.example.com"], &[], &["web-1"]))
    );
    for (request, field, value) in [
        (asked(&["web-1", "web-2"], &[], &[]), "spec.certificates.dns_names", "web-2"),
        (asked(&[], &["10.0.0.1"], &[]), "spec.certificates.ip_addresses", "10.0.0.1"),
        (asked(&[], &[], &["root"]), "spec.certificates.principals", "root"),
        (asked(&[], &[], &["WEB-1"]), "spec.certificates.principals", "WEB-1"),
    ] {
        assert_eq!(nothing.grant(&request, &defaults()), Err((field, value.to_owned())));
    }
}

#[test]
fn a_listed_field_gives_its_concrete_entries_and_replaces_the_defaults() {
    let token = allowed(
        &["*.example.com", "db.example.org"],
        &["10.0.0.0/8", "192.0.2.7/32", "fd00::1/128"],
        &["db"],
    );
    assert_eq!(
        token.grant(&asked(&[], &[], &[]), &defaults()),
        Ok(asked(&["db.example.org"], &["192.0.2.7", "fd00::1"], &["db"]))
    );
    assert_eq!(
        token.grant(&asked(&["web-1"], &[], &[]), &defaults()),
        Err(("spec.certificates.dns_names", "web-1".to_owned()))
    );
}

#[test]
fn a_wildcard_allows_one_label_in_any_letter_case() {
    let token = allowed(&["*.Example.com"], &[], &["x"]);
    for name in ["a.example.com", "A.EXAMPLE.COM", "xn--e1afmkfd.example.com", "a_b.example.com"] {
        assert_eq!(token.grant(&asked(&[name], &[], &[]), &defaults()).unwrap().dns_names, [name]);
    }
    let refused = [
        "example.com",
        ".example.com",
        "a.b.example.com",
        "*.example.com",
        "a.example.com.",
        "a.example.org",
        "-a.example.com",
        "a b.example.com",
        "a\0.example.com",
        "a.example.com\n",
        "",
        "*",
        "é.example.com",
    ];
    for name in refused {
        assert_eq!(
            token.grant(&asked(&[name], &[], &[]), &defaults()),
            Err(("spec.certificates.dns_names", name.to_owned())),
        );
    }
}

#[test]
fn a_wildcard_among_the_defaults_is_not_granted_when_asked_for() {
    let odd = asked(&["*.example.com"], &[], &["*"]);
    let nothing = CertificateNames::default();
    assert!(nothing.grant(&asked(&["*.example.com"], &[], &[]), &odd).is_err());
    assert!(nothing.grant(&asked(&[], &[], &["*"]), &odd).is_err());
}

#[test]
fn addresses_lie_within_a_network_of_their_own_family() {
    let token = allowed(&["x"], &["10.0.0.0/8", "fd00::/8"], &["x"]);
    for address in ["10.0.0.0", "10.255.255.255", "fd00::1"] {
        assert!(token.grant(&asked(&[], &[address], &[]), &defaults()).is_ok(), "{address}");
    }
    for address in ["11.0.0.0", "::ffff:10.0.0.1", "fe80::1"] {
        assert_eq!(
            token.grant(&asked(&[], &[address], &[]), &defaults()),
            Err(("spec.certificates.ip_addresses", address.to_owned()))
        );
    }
}

#[test]
fn principals_match_exactly_and_repeats_are_given_once() {
    let token = allowed(&["x"], &["10.0.0.0/8"], &["web", "db"]);
    assert_eq!(token.grant(&asked(&[], &[], &["db", "db"]), &defaults()).unwrap().principals, ["db"]);
    for principal in ["Web", "web,db", "web ", "*", ""] {
        assert!(token.grant(&asked(&[], &[], &[principal]), &defaults()).is_err(), "{principal:?}");
    }
}
