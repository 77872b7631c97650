//! rustls' path validation judges what this crate signs.

use crate::common::{CA_FROM, CA_TO, FROM, TO, both_cas, leaf, names, subject};
use ::webpki::{EndEntityCert, Error, KeyUsage, anchor_from_trusted_cert, ring};
use boundkey_ca::{LeafProfile, ServerNames, X509Authority, revocation_list};
use rustls_pki_types::{CertificateDer, ServerName, SignatureVerificationAlgorithm, UnixTime};
use time::OffsetDateTime;
use time::macros::datetime;

const NOW: OffsetDateTime = datetime!(2030-01-01 0:00 UTC);
const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[ring::ECDSA_P256_SHA256, ring::ED25519];

fn unix(time: OffsetDateTime) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(time.unix_timestamp().try_into().unwrap()))
}

fn verify(ca: &X509Authority, leaf: &[u8], usage: KeyUsage, now: OffsetDateTime) -> Result<(), Error> {
    let (leaf, root) = (CertificateDer::from(leaf), CertificateDer::from(ca.certificate_der()));
    let anchors = [anchor_from_trusted_cert(&root).unwrap()];
    EndEntityCert::try_from(&leaf)?
        .verify_for_usage(ALGORITHMS, &anchors, &[], unix(now), usage, None, None)
        .map(|_| ())
}

fn valid_for(leaf: &[u8], name: &str) -> bool {
    let leaf = CertificateDer::from(leaf);
    let name = ServerName::try_from(name).unwrap();
    EndEntityCert::try_from(&leaf).unwrap().verify_is_valid_for_subject_name(&name).is_ok()
}

#[test]
fn each_profile_passes_for_its_side_of_tls_and_for_no_other() {
    let (names, key) = (names(), subject());
    for (algorithm, ca) in both_cas() {
        for (profile, server, client) in [
            (LeafProfile::Server, true, false),
            (LeafProfile::Host, true, true),
            (LeafProfile::Bot, false, true),
            (LeafProfile::Admin, false, true),
        ] {
            let der = ca.sign_leaf(&leaf(profile, &key, &names)).unwrap();
            let as_server = verify(&ca, &der, KeyUsage::server_auth(), NOW);
            let as_client = verify(&ca, &der, KeyUsage::client_auth(), NOW);
            assert_eq!(as_server.is_ok(), server, "{algorithm} {profile:?} {as_server:?}");
            assert_eq!(as_client.is_ok(), client, "{algorithm} {profile:?} {as_client:?}");
        }
    }
}

#[test]
fn the_window_and_the_issuer_count() {
    let (names, key) = (names(), subject());
    let [(_, ca), (_, other)] = both_cas();
    let der = ca.sign_leaf(&leaf(LeafProfile::Host, &key, &names)).unwrap();
    let usage = || KeyUsage::client_auth();
    assert!(matches!(
        verify(&ca, &der, usage(), FROM - time::Duration::SECOND),
        Err(Error::CertNotValidYet { .. })
    ));
    assert!(matches!(
        verify(&ca, &der, usage(), TO + time::Duration::SECOND),
        Err(Error::CertExpired { .. })
    ));
    // Same name, other key.
    assert!(verify(&other, &der, usage(), NOW).is_err());
}

#[test]
fn names_of_a_server_leaf_are_those_that_were_asked_for() {
    let (_, ca) = &both_cas()[1];
    let names = ServerNames::new(["server.example.com:443", "203.0.113.9:443"]).unwrap();
    let der = ca.sign_server(&names, &subject(), [5; 20], FROM, TO).unwrap();
    assert_eq!(verify(ca, &der, KeyUsage::server_auth(), NOW), Ok(()));
    for name in ["localhost", "127.0.0.1", "::1", "server.example.com", "203.0.113.9"] {
        assert!(valid_for(&der, name), "{name}");
    }
    for name in ["example.com", "other.example.com", "203.0.113.8"] {
        assert!(!valid_for(&der, name), "{name}");
    }
    let view = boundkey_ca::inspect_leaf(&der).unwrap();
    assert!(names.fit(&view));
    assert!(!ServerNames::new(["server.example.com"]).unwrap().fit(&view));
}

#[test]
fn a_revoked_leaf_is_refused_through_the_list() {
    let (names, key) = (names(), subject());
    for (algorithm, ca) in both_cas() {
        let der = ca.sign_leaf(&leaf(LeafProfile::Host, &key, &names)).unwrap();
        let check = |serial: [u8; 20]| {
            let list = revocation_list(&ca, 1, &[(serial.to_vec(), FROM)], FROM, TO).unwrap();
            let list = webpki::OwnedCertRevocationList::from_der(&list).unwrap().into();
            let lists = [&list];
            let revocation = webpki::RevocationOptionsBuilder::new(&lists).unwrap().build();
            let (leaf, root) = (CertificateDer::from(&der[..]), CertificateDer::from(ca.certificate_der()));
            let anchors = [anchor_from_trusted_cert(&root).unwrap()];
            let usage = KeyUsage::client_auth();
            EndEntityCert::try_from(&leaf)
                .unwrap()
                .verify_for_usage(ALGORITHMS, &anchors, &[], unix(NOW), usage, Some(revocation), None)
                .map(|_| ())
        };
        assert_eq!(check([0x42; 20]), Err(Error::CertRevoked), "{algorithm}");
        assert_eq!(check([0x41; 20]), Ok(()), "{algorithm}");
    }
}

#[test]
fn a_leaf_may_live_as_long_as_its_ca_to_the_second() {
    let (names, key) = (names(), subject());
    let (_, ca) = &both_cas()[0];
    let mut request = leaf(LeafProfile::Host, &key, &names);
    (request.not_before, request.not_after) = (CA_FROM, CA_TO);
    let der = ca.sign_leaf(&request).unwrap();
    assert_eq!(verify(ca, &der, KeyUsage::server_auth(), CA_TO), Ok(()));
}

#[test]
fn a_name_that_a_reader_does_not_like_does_not_spoil_the_others() {
    let key = subject();
    let (_, ca) = &both_cas()[0];
    let names = crate::common::Names {
        dns: ["a.1", "a_b.example", "twice.example", "TWICE.example", "ok.example"]
            .map(str::to_owned)
            .to_vec(),
        ip: vec![],
    };
    let der = ca.sign_leaf(&leaf(LeafProfile::Host, &key, &names)).unwrap();
    assert_eq!(verify(ca, &der, KeyUsage::server_auth(), NOW), Ok(()));
    assert!(
        valid_for(&der, "ok.example") && valid_for(&der, "twice.example") && valid_for(&der, "a_b.example")
    );
}
