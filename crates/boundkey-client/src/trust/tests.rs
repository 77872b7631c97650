use boundkey_keys::sha256;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use time::macros::datetime;

use super::*;

const NOW: OffsetDateTime = datetime!(2026-03-01 12:00 UTC);
const DAY: time::Duration = time::Duration::DAY;

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

fn params(name: &str, from: OffsetDateTime, until: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = from;
    params.not_after = until;
    params
}

fn ca_valid(name: &str, from: OffsetDateTime, until: OffsetDateTime) -> Ca {
    let mut params = params(name, from, until);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let der = params.self_signed(&key).unwrap().der().clone();
    Ca { issuer: Issuer::new(params, key), der }
}

fn ca(name: &str) -> Ca {
    ca_valid(name, NOW - DAY * 400, NOW + DAY * 400)
}

impl Ca {
    fn intermediate(&self, name: &str) -> Ca {
        let mut params = params(name, NOW - DAY * 400, NOW + DAY * 400);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Ca { issuer: Issuer::new(params, key), der }
    }

    fn leaf_valid(
        &self,
        names: &[&str],
        from: OffsetDateTime,
        until: OffsetDateTime,
    ) -> CertificateDer<'static> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut leaf = CertificateParams::new(names).unwrap();
        leaf.not_before = from;
        leaf.not_after = until;
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        leaf.signed_by(&key, &self.issuer).unwrap().der().clone()
    }

    fn leaf(&self, names: &[&str]) -> CertificateDer<'static> {
        self.leaf_valid(names, NOW - DAY, NOW + DAY)
    }

    fn pin(&self) -> Pin {
        Pin::of_certificate(&self.der).unwrap()
    }
}

fn verify(
    trust: &Trust,
    presented: &[CertificateDer<'_>],
    name: &'static str,
) -> Result<Channel, TrustError> {
    trust.verify(presented, &ServerName::try_from(name).unwrap(), NOW)
}

fn bundle_of(ca: &Ca) -> CaBundle {
    use base64::Engine as _;
    CaBundle {
        cluster: "example.com".to_owned(),
        version: 1,
        tls: vec![base64::engine::general_purpose::STANDARD.encode(&ca.der)],
        host: Vec::new(),
        bot: Vec::new(),
        ssh_host: Vec::new(),
        ssh_user: Vec::new(),
        note: None,
    }
}

#[test]
fn a_pin_may_name_any_certificate_of_the_chain() {
    let root = ca("example.com tls CA");
    let middle = root.intermediate("middle");
    let leaf = middle.leaf(&["localhost", "127.0.0.1"]);
    let chain = [leaf.clone(), middle.der.clone(), root.der.clone()];
    for pinned in &chain {
        let trust = Trust::pins(vec![Pin::of_certificate(pinned).unwrap()]);
        for name in ["localhost", "127.0.0.1"] {
            let channel = verify(&trust, &chain, name).unwrap();
            assert_eq!(channel.source, Source::Pin);
        }
    }
    let channel = verify(&Trust::pins(vec![root.pin()]), &chain, "localhost").unwrap();
    assert_eq!(channel.cluster.as_deref(), Some("example.com"));
    let root_spki = X509Certificate::from_der(&root.der).unwrap().1.public_key().raw.to_vec();
    assert_eq!(channel.root_key, PublicKey::from_spki_der(&root_spki).ok());
    assert_eq!(root.pin().to_string(), format!("sha256:{}", hex(&sha256(&[&root_spki]))));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_certificate_that_signs_itself_is_trusted_by_its_pin_alone() {
    let mut own = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (own.not_before, own.not_after) = (NOW - DAY, NOW + DAY);
    let own = own.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone();
    let trust = Trust::pins(vec![Pin::of_certificate(&own).unwrap()]);
    assert_eq!(verify(&trust, std::slice::from_ref(&own), "localhost").unwrap().source, Source::Pin);
    assert!(matches!(verify(&trust, std::slice::from_ref(&own), "other"), Err(TrustError::Name { .. })));
    assert!(verify(&Trust::pins(vec![ca("other").pin()]), &[own], "localhost").is_err());
}

#[test]
fn a_pinned_certificate_that_takes_no_part_in_the_chain_counts_nothing() {
    let (root, attacker) = (ca("example.com tls CA"), ca("example.com tls CA"));
    let leaf = attacker.leaf(&["localhost"]);
    let trust = Trust::pins(vec![root.pin()]);
    let presented = [leaf, attacker.der.clone(), root.der.clone()];
    let error = verify(&trust, &presented, "localhost").unwrap_err();
    let TrustError::NotPinned { found, pinned } = &error else { panic!("{error}") };
    assert_eq!(found.len(), 3);
    assert_eq!(pinned, &[root.pin()]);
    assert!(error.to_string().contains("if not, somebody stands in between"));
}

#[test]
fn names_are_checked_whatever_is_pinned() {
    let root = ca("example.com tls CA");
    let chain = [root.leaf(&["other.example", "10.0.0.1"]), root.der.clone()];
    let error = verify(&Trust::pins(vec![root.pin()]), &chain, "localhost").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the server's certificate is not for `localhost`; it is for `other.example`, `10.0.0.1`. Mend the address in \
         `proxy_server`, or start the server with `--public-addr localhost:PORT`"
    );
}

#[test]
fn dates_are_checked_of_every_certificate_and_the_error_names_the_clock() {
    let root = ca("example.com tls CA");
    let trust = Trust::pins(vec![root.pin()]);
    let window = [(NOW - DAY * 2, NOW - DAY), (NOW + DAY, NOW + DAY * 2)];
    for (from, until) in window {
        let chain = [root.leaf_valid(&["localhost"], from, until), root.der.clone()];
        let error = verify(&trust, &chain, "localhost").unwrap_err();
        let expected = TrustError::Dates { not_before: from, not_after: until, now: NOW, server_date: None };
        assert_eq!(error, expected);
    }
    let old = ca_valid("example.com tls CA", NOW - DAY * 20, NOW - DAY);
    let chain = [old.leaf(&["localhost"]), old.der.clone()];
    let error = verify(&Trust::pins(vec![old.pin()]), &chain, "localhost").unwrap_err();
    assert_eq!(
        error.to_string(),
        "the server's certificate is valid from 2026-02-09T12:00:00Z until 2026-02-28T12:00:00Z, and this machine's clock \
         says 2026-03-01T12:00:00Z. Set the clock of whichever is wrong; the agent tries again by itself"
    );
}

#[test]
fn a_ca_file_and_a_bundle_are_trusted_and_strangers_are_not() {
    let (root, stranger) = (ca("example.com tls CA"), ca("stranger"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, crate::der::pem_certificate(&root.der)).unwrap();
    let by_file = Trust::ca_file(&file).unwrap();
    let by_bundle = Trust::pins(vec![stranger.pin()]).with_bundle(&bundle_of(&root));
    let good = [root.leaf(&["localhost"])];
    assert_eq!(verify(&by_file, &good, "localhost").unwrap().source, Source::CaFile);
    assert_eq!(verify(&by_bundle, &good, "localhost").unwrap().source, Source::Bundle);
    let bad = [stranger.leaf(&["localhost"]), stranger.der.clone()];
    let error = verify(&by_file, &bad, "localhost").unwrap_err();
    assert!(matches!(&error, TrustError::UnknownIssuer { found } if found.len() == 2), "{error}");
    // What the operator pins counts beside the bundle: that is how a replaced CA is made known.
    assert_eq!(verify(&by_bundle, &bad, "localhost").unwrap().source, Source::Pin);
}

#[test]
fn a_certificate_of_the_cluster_that_is_no_servers_does_not_pass_for_one() {
    let root = ca("example.com tls CA");
    let mut client = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    client.not_before = NOW - DAY;
    client.not_after = NOW + DAY;
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let leaf = client.signed_by(&KeyPair::generate().unwrap(), &root.issuer).unwrap().der().clone();
    let error = verify(&Trust::pins(vec![root.pin()]), &[leaf, root.der.clone()], "localhost").unwrap_err();
    assert!(matches!(error, TrustError::Unusable(_)), "{error}");
    let error =
        verify(&Trust::pins(vec![root.pin()]), std::slice::from_ref(&root.der), "localhost").unwrap_err();
    assert!(matches!(error, TrustError::Unusable(_)), "{error}");
    assert!(matches!(verify(&Trust::pins(vec![root.pin()]), &[], "localhost"), Err(TrustError::Unusable(_))));
}

#[test]
fn a_file_without_certificates_is_refused_with_what_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    let shown = file.display();
    let error = Trust::ca_file(&file).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot read `ca_file` {shown}: No such file or directory (os error 2)")
    );
    std::fs::write(&file, "nothing").unwrap();
    let error = Trust::ca_file(&file).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("`ca_file` {shown} holds no PEM certificate (`-----BEGIN CERTIFICATE-----`)")
    );
}

#[test]
fn without_anything_to_trust_nothing_is_trusted() {
    let root = ca("example.com tls CA");
    let chain = [root.leaf(&["localhost"]), root.der.clone()];
    assert!(matches!(verify(&Trust::default(), &chain, "localhost"), Err(TrustError::UnknownIssuer { .. })));
}
