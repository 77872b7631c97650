//! What a token's `spec.certificates` grants.

use boundkey_token::{CertificateNames, Principals::Hosts, Principals::Logins, RequestedNames};

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
    assert_eq!(CertificateNames::default().grant(&asked(&[], &[], &[]), &defaults(), Logins), Ok(defaults()));
}

#[test]
fn nothing_listed_allows_the_defaults_and_nothing_else() {
    let nothing = CertificateNames::default();
    assert_eq!(
        nothing.grant(&asked(&["WEB-1.example.com"], &[], &[]), &defaults(), Logins),
        Ok(asked(&["WEB-1.example.com"], &[], &["web-1"]))
    );
    for (request, field, value) in [
        (asked(&["web-1", "web-2"], &[], &[]), "spec.certificates.dns_names", "web-2"),
        (asked(&[], &["10.0.0.1"], &[]), "spec.certificates.ip_addresses", "10.0.0.1"),
        (asked(&[], &[], &["root"]), "spec.certificates.principals", "root"),
        (asked(&[], &[], &["WEB-1"]), "spec.certificates.principals", "WEB-1"),
    ] {
        assert_eq!(nothing.grant(&request, &defaults(), Logins), Err(vec![(field, value.to_owned())]));
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
        token.grant(&asked(&[], &[], &[]), &defaults(), Logins),
        Ok(asked(&["db.example.org"], &["192.0.2.7", "fd00::1"], &["db"]))
    );
    assert_eq!(
        token.grant(&asked(&["web-1"], &[], &[]), &defaults(), Logins),
        Err(vec![("spec.certificates.dns_names", "web-1".to_owned())])
    );
}

#[test]
fn a_wildcard_allows_one_label_in_any_letter_case() {
    let token = allowed(&["*.Example.com"], &[], &["x"]);
    for name in ["a.example.com", "A.EXAMPLE.COM", "xn--e1afmkfd.example.com", "a_b.example.com"] {
        assert_eq!(token.grant(&asked(&[name], &[], &[]), &defaults(), Logins).unwrap().dns_names, [name]);
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
            token.grant(&asked(&[name], &[], &[]), &defaults(), Logins),
            Err(vec![("spec.certificates.dns_names", name.to_owned())]),
        );
    }
}

#[test]
fn a_wildcard_among_the_defaults_is_not_granted_when_asked_for() {
    let odd = asked(&["*.example.com"], &[], &["*"]);
    let nothing = CertificateNames::default();
    assert!(nothing.grant(&asked(&["*.example.com"], &[], &[]), &odd, Logins).is_err());
    assert!(nothing.grant(&asked(&[], &[], &["*"]), &odd, Logins).is_err());
}

#[test]
fn addresses_lie_within_a_network_of_their_own_family() {
    let token = allowed(&["x"], &["10.0.0.0/8", "fd00::/8"], &["x"]);
    for address in ["10.0.0.0", "10.255.255.255", "fd00::1"] {
        assert!(token.grant(&asked(&[], &[address], &[]), &defaults(), Logins).is_ok(), "{address}");
    }
    for address in ["11.0.0.0", "::ffff:10.0.0.1", "fe80::1"] {
        assert_eq!(
            token.grant(&asked(&[], &[address], &[]), &defaults(), Logins),
            Err(vec![("spec.certificates.ip_addresses", address.to_owned())])
        );
    }
}

#[test]
fn principals_match_exactly_and_repeats_are_given_once() {
    let token = allowed(&["x"], &["10.0.0.0/8"], &["web", "db"]);
    assert_eq!(token.grant(&asked(&[], &[], &["db", "db"]), &defaults(), Logins).unwrap().principals, ["db"]);
    for principal in ["Web", "web,db", "web ", "*", ""] {
        assert!(token.grant(&asked(&[], &[], &[principal]), &defaults(), Logins).is_err(), "{principal:?}");
    }
}

#[test]
fn hosts_are_matched_in_any_letter_case_and_logins_exactly() {
    let token = allowed(&["x"], &["10.0.0.0/8"], &["Web-1"]);
    for name in ["Web-1", "web-1", "WEB-1"] {
        assert_eq!(token.grant(&asked(&[], &[], &[name]), &defaults(), Hosts).unwrap().principals, [name]);
    }
    assert_eq!(
        token.grant(&asked(&[], &[], &["web-1"]), &defaults(), Logins),
        Err(vec![("spec.certificates.principals", "web-1".to_owned())])
    );
    let nothing = CertificateNames::default();
    assert!(nothing.grant(&asked(&[], &[], &["WEB-1"]), &defaults(), Hosts).is_ok());
    assert!(nothing.grant(&asked(&[], &[], &["WEB-1"]), &defaults(), Logins).is_err());
}

#[test]
fn every_name_that_is_not_allowed_is_told_at_once() {
    let refused = CertificateNames::default().grant(
        &asked(&["web-1", "localhost", "db"], &["10.0.0.1"], &["root"]),
        &defaults(),
        Hosts,
    );
    let told = |field, name: &str| (field, name.to_owned());
    assert_eq!(
        refused,
        Err(vec![
            told("spec.certificates.dns_names", "localhost"),
            told("spec.certificates.dns_names", "db"),
            told("spec.certificates.ip_addresses", "10.0.0.1"),
            told("spec.certificates.principals", "root"),
        ])
    );
}
