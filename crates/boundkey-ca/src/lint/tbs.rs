use std::collections::HashSet;
use std::net::IpAddr;

use x509_parser::certificate::TbsCertificate;
use x509_parser::extensions::{GeneralName, ParsedExtension, X509Extension};
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Version;

use super::{LintError, Lints, Window, hex};
use crate::extension::{decode_result, decode_roles, result_oid, roles_oid};
use crate::{LeafProfile, LeafRequest};

const DIGITAL_SIGNATURE: u16 = 1;
const KEY_CERT_SIGN_AND_CRL_SIGN: u16 = (1 << 5) | (1 << 6);

/// What a leaf's bytes are held against.
pub(crate) struct Issuer<'a> {
    pub(crate) subject_der: &'a [u8],
    pub(crate) key_id: &'a [u8],
}

/// The bytes about to be signed say what was asked for, and nothing else.
pub(crate) fn leaf_tbs(tbs: &[u8], request: &LeafRequest<'_>, issuer: &Issuer<'_>) -> Result<(), LintError> {
    let mut lints = Lints::default();
    if let Some(tbs) = read(tbs, &mut lints) {
        frame(&tbs, &request.serial, request.window(), request.public_key, &mut lints);
        lints.require(
            tbs.issuer.as_raw() == issuer.subject_der,
            "certificate.issuer",
            &tbs.issuer,
            "the CA's subject, byte for byte",
        );
        only_common_name(&tbs, request.common_name, &mut lints);
        leaf_extensions(&tbs, request, issuer, &mut lints);
    }
    lints.finish()
}

/// The bytes of a CA's own certificate about to be signed.
pub(crate) fn authority_tbs(
    tbs: &[u8],
    serial: &[u8],
    window: Window,
    key: &boundkey_keys::PublicKey,
    common_name: &str,
) -> Result<(), LintError> {
    let mut lints = Lints::default();
    if let Some(tbs) = read(tbs, &mut lints) {
        frame(&tbs, serial, window, key, &mut lints);
        lints.require(
            tbs.issuer.as_raw() == tbs.subject.as_raw(),
            "certificate.issuer",
            &tbs.issuer,
            "the subject",
        );
        only_common_name(&tbs, common_name, &mut lints);
        let mut seen = Extensions::of(&tbs, &mut lints);
        seen.expect(
            true,
            &mut lints,
            "certificate.basic_constraints",
            |e| matches!(e, ParsedExtension::BasicConstraints(c) if c.ca && c.path_len_constraint == Some(0)),
        );
        seen.expect(
            true,
            &mut lints,
            "certificate.key_usage",
            |e| matches!(e, ParsedExtension::KeyUsage(k) if k.flags == KEY_CERT_SIGN_AND_CRL_SIGN),
        );
        seen.expect(
            false,
            &mut lints,
            "certificate.subject_key_identifier",
            |e| matches!(e, ParsedExtension::SubjectKeyIdentifier(id) if id.0.len() == 20),
        );
        seen.nothing_else(&mut lints);
    }
    lints.finish()
}

fn read<'a>(tbs: &'a [u8], lints: &mut Lints) -> Option<TbsCertificate<'a>> {
    match TbsCertificate::from_der(tbs) {
        Ok(([], tbs)) => Some(tbs),
        Ok((rest, _)) => {
            lints.require(false, "certificate", format_args!("{} bytes after it", rest.len()), "none");
            None
        }
        Err(error) => {
            lints.require(false, "certificate", error, "readable DER");
            None
        }
    }
}

fn frame(
    tbs: &TbsCertificate<'_>,
    serial: &[u8],
    window: Window,
    key: &boundkey_keys::PublicKey,
    lints: &mut Lints,
) {
    lints.require(tbs.version == X509Version::V3, "certificate.version", tbs.version, "version 3");
    let asked = serial.iter().position(|byte| *byte != 0).map_or(&[][..], |first| &serial[first..]);
    let raw = tbs.raw_serial();
    lints.require(
        tbs.serial.to_bytes_be() == asked && raw.len() <= 20 && raw.first().is_some_and(|byte| *byte < 0x80),
        "certificate.serial",
        hex(raw),
        "the serial asked for, positive, of 20 bytes at most",
    );
    lints.require(
        tbs.validity.not_before.timestamp() == window.not_before
            && tbs.validity.not_after.timestamp() == window.not_after,
        "certificate.validity",
        format_args!("{} to {}", tbs.validity.not_before, tbs.validity.not_after),
        "the window asked for",
    );
    lints.require(
        key.to_spki_der().is_some_and(|spki| spki == tbs.subject_pki.raw),
        "certificate.public_key",
        hex(tbs.subject_pki.raw),
        "the key asked for",
    );
    lints.require(
        tbs.issuer_uid.is_none() && tbs.subject_uid.is_none(),
        "certificate.unique_ids",
        "an identifier",
        "none",
    );
}

fn only_common_name(tbs: &TbsCertificate<'_>, common_name: &str, lints: &mut Lints) {
    let mut attributes = tbs.subject.iter_attributes();
    let first = attributes.next().filter(|attribute| {
        *attribute.attr_type() == x509_parser::oid_registry::OID_X509_COMMON_NAME
            && attribute.as_str().is_ok_and(|text| text == common_name)
    });
    lints.require(
        first.is_some() && attributes.next().is_none(),
        "certificate.subject",
        &tbs.subject,
        "the common name asked for, alone",
    );
}

fn leaf_extensions(
    tbs: &TbsCertificate<'_>,
    request: &LeafRequest<'_>,
    issuer: &Issuer<'_>,
    lints: &mut Lints,
) {
    let mut seen = Extensions::of(tbs, lints);
    seen.expect(false, lints, "certificate.authority_key_identifier", |e| {
        matches!(e, ParsedExtension::AuthorityKeyIdentifier(id)
            if id.key_identifier.as_ref().is_some_and(|id| id.0 == issuer.key_id))
    });
    seen.expect(
        false,
        lints,
        "certificate.subject_key_identifier",
        |e| matches!(e, ParsedExtension::SubjectKeyIdentifier(id) if id.0.len() == 20),
    );
    seen.expect(
        true,
        lints,
        "certificate.basic_constraints",
        |e| matches!(e, ParsedExtension::BasicConstraints(c) if !c.ca && c.path_len_constraint.is_none()),
    );
    seen.expect(
        true,
        lints,
        "certificate.key_usage",
        |e| matches!(e, ParsedExtension::KeyUsage(k) if k.flags == DIGITAL_SIGNATURE),
    );
    let server = matches!(request.profile, LeafProfile::Server | LeafProfile::Host);
    let client = request.profile != LeafProfile::Server;
    seen.expect(false, lints, "certificate.extended_key_usage", |e| {
        matches!(e, ParsedExtension::ExtendedKeyUsage(usage)
            if usage.server_auth == server && usage.client_auth == client && !usage.any && !usage.code_signing
                && !usage.email_protection && !usage.time_stamping && !usage.ocsp_signing && usage.other.is_empty())
    });
    let names =
        request.dns_names.len() + request.ip_addresses.len() + usize::from(request.spiffe_id.is_some());
    if names > 0 {
        seen.expect(false, lints, "certificate.subject_alternative_name", |e| {
            matches!(e, ParsedExtension::SubjectAlternativeName(san) if same_names(&san.general_names, request))
        });
    }
    if request.result_digest.is_some() {
        seen.private(&result_oid(), lints, "certificate.result_digest", |value| {
            decode_result(value) == request.result_digest
        });
    }
    if !request.roles.is_empty() {
        seen.private(&roles_oid(), lints, "certificate.roles", |value| {
            decode_roles(value).is_some_and(|roles| roles == request.roles)
        });
    }
    seen.nothing_else(lints);
}

fn same_names(found: &[GeneralName<'_>], request: &LeafRequest<'_>) -> bool {
    let dns = request.dns_names.iter().map(|name| GeneralName::DNSName(name));
    let octets: Vec<Vec<u8>> = request
        .ip_addresses
        .iter()
        .map(|address| match address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        })
        .collect();
    let ip = octets.iter().map(|octets| GeneralName::IPAddress(octets));
    let uri = request.spiffe_id.map(GeneralName::URI);
    dns.chain(ip).chain(uri).eq(found.iter().cloned())
}

/// The extensions not yet accounted for.
struct Extensions<'a, 'b> {
    left: Vec<&'b X509Extension<'a>>,
}

impl<'a, 'b> Extensions<'a, 'b> {
    fn of(tbs: &'b TbsCertificate<'a>, lints: &mut Lints) -> Self {
        let mut seen = HashSet::new();
        for extension in tbs.extensions() {
            lints.require(
                seen.insert(extension.oid.clone()),
                "certificate.extensions",
                &extension.oid,
                "each extension once",
            );
        }
        Self { left: tbs.extensions().iter().collect() }
    }

    fn take(
        &mut self,
        critical: bool,
        lints: &mut Lints,
        field: &'static str,
        is: impl Fn(&X509Extension<'_>) -> bool,
    ) {
        match self.left.iter().position(|extension| is(extension)) {
            Some(index) => {
                let extension = self.left.swap_remove(index);
                let found = if extension.critical { "critical" } else { "not critical" };
                lints.require(extension.critical == critical, field, found, "the criticality of the profile");
            }
            None => lints.require(false, field, "nothing that fits", "the value of the profile"),
        }
    }

    fn expect(
        &mut self,
        critical: bool,
        lints: &mut Lints,
        field: &'static str,
        is: impl Fn(&ParsedExtension<'_>) -> bool,
    ) {
        self.take(critical, lints, field, |extension| is(extension.parsed_extension()));
    }

    fn private(
        &mut self,
        oid: &x509_parser::asn1_rs::Oid<'_>,
        lints: &mut Lints,
        field: &'static str,
        is: impl Fn(&[u8]) -> bool,
    ) {
        self.take(false, lints, field, |extension| extension.oid == *oid && is(extension.value));
    }

    fn nothing_else(self, lints: &mut Lints) {
        for extension in self.left {
            lints.require(false, "certificate.extensions", &extension.oid, "those of the profile");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use boundkey_keys::PrivateKey;
    use time::macros::datetime;

    use super::*;
    use crate::{AuthorityKey, X509Authority};

    /// What the second check says about the leaf made for `made` when `asked` was asked for.
    fn compare(made: &LeafRequest<'_>, asked: &LeafRequest<'_>) -> Vec<String> {
        let key = AuthorityKey::ed25519_from_seed(&[1; 32]).unwrap();
        let (from, to) = (datetime!(2020-01-01 0:00 UTC), datetime!(2050-01-01 0:00 UTC));
        let ca = X509Authority::create(key, "ca", [1; 16], from, to).unwrap();
        let der = ca.sign_leaf(made).unwrap();
        let (_, leaf) = x509_parser::parse_x509_certificate(&der).unwrap();
        let (_, root) = x509_parser::parse_x509_certificate(ca.certificate_der()).unwrap();
        let issuer = Issuer { subject_der: root.subject().as_raw(), key_id: ca.key_id() };
        match leaf_tbs(leaf.tbs_certificate.as_ref(), asked, &issuer) {
            Ok(()) => Vec::new(),
            Err(error) => error.violations().iter().map(|violation| violation.field.clone()).collect(),
        }
    }

    #[test]
    fn every_difference_between_request_and_bytes_is_seen() {
        let key = PrivateKey::ed25519_from_seed(&[2; 32]).public_key().clone();
        let other_key = PrivateKey::ed25519_from_seed(&[3; 32]).public_key().clone();
        let (names, other_names) = (["a.example".to_owned()], ["b.example".to_owned()]);
        let request = LeafRequest {
            profile: LeafProfile::Host,
            public_key: &key,
            common_name: "id",
            dns_names: &names,
            ip_addresses: &[],
            spiffe_id: Some("spiffe://e/host/a"),
            roles: &["Node"],
            serial: [5; 20],
            not_before: datetime!(2030-01-01 0:00 UTC),
            not_after: datetime!(2030-01-02 0:00 UTC),
            result_digest: Some([6; 32]),
        };
        assert_eq!(compare(&request, &request), [""; 0]);

        let seen: RefCell<Vec<(String, Vec<String>)>> = RefCell::default();
        let check = |name: &str, asked: LeafRequest<'_>| {
            seen.borrow_mut().push((name.to_owned(), compare(&request, &asked)));
        };
        check("serial", LeafRequest { serial: [4; 20], ..request.clone() });
        check("validity", LeafRequest { not_after: datetime!(2030-01-02 0:00:01 UTC), ..request.clone() });
        check("public_key", LeafRequest { public_key: &other_key, ..request.clone() });
        check("subject", LeafRequest { common_name: "other", ..request.clone() });
        check("subject_alternative_name", LeafRequest { dns_names: &other_names, ..request.clone() });
        check("subject_alternative_name", LeafRequest { dns_names: &[], ..request.clone() });
        check("subject_alternative_name", LeafRequest { spiffe_id: None, ..request.clone() });
        check("extended_key_usage", LeafRequest { profile: LeafProfile::Bot, ..request.clone() });
        check("result_digest", LeafRequest { result_digest: Some([7; 32]), ..request.clone() });
        check("roles", LeafRequest { roles: &["App"], ..request.clone() });
        for (name, fields) in seen.into_inner() {
            // What does not fit is left over as an extension too many.
            let expected = format!("certificate.{name}");
            assert_eq!(fields.first(), Some(&expected), "{fields:?}");
            assert!(fields[1..].iter().all(|field| field == "certificate.extensions"), "{fields:?}");
        }
        let without = LeafRequest { result_digest: None, ..request.clone() };
        assert_eq!(compare(&request, &without), ["certificate.extensions"]);
    }

    #[test]
    fn a_cas_own_certificate_is_no_leaf_and_the_other_way_round() {
        let key = AuthorityKey::ed25519_from_seed(&[1; 32]).unwrap();
        let public_key = key.public_key().clone();
        let (from, to) = (datetime!(2020-01-01 0:00 UTC), datetime!(2050-01-01 0:00 UTC));
        let ca = X509Authority::create(key, "ca", [1; 16], from, to).unwrap();
        let (_, root) = x509_parser::parse_x509_certificate(ca.certificate_der()).unwrap();
        let tbs = root.tbs_certificate.as_ref();
        let window = Window::new(from, to);
        assert_eq!(authority_tbs(tbs, &[1; 16], window, &public_key, "ca"), Ok(()));
        let error = authority_tbs(tbs, &[2; 16], window, &public_key, "cb").unwrap_err();
        let fields: Vec<_> = error.violations().iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["certificate.serial", "certificate.subject"]);
        assert!(authority_tbs(&tbs[1..], &[1; 16], window, &public_key, "ca").is_err());
    }
}
