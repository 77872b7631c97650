use std::cell::RefCell;

use boundkey_keys::PublicKey;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, IsCa, Issuer, KeyIdMethod,
    KeyUsagePurpose, PublicKeyData, SignatureAlgorithm, SigningKey,
};
use time::OffsetDateTime;
use x509_parser::asn1_rs::Tag;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use crate::inspect::pin_of_spki;
use crate::key::{AuthorityKey, SubjectKey};
use crate::lint::{self, LintError, Lints, Window, is_common_name};
use crate::x509::{base_params, leaf_params};
use crate::{CaError, LeafProfile, LeafRequest, ServerNames};

/// An X.509 CA (tls, host or bot): its key and its certificate.
///
/// Sharing one between threads is safe; each signature stands for itself.
pub struct X509Authority {
    key: AuthorityKey,
    certificate: Vec<u8>,
    pin: String,
    window: Window,
    subject_der: Vec<u8>,
    key_id: Vec<u8>,
    /// Subject and key identifier, as the encoder wants an issuer.
    issuer: CertificateParams,
}

impl X509Authority {
    /// Makes a self-signed root: CA true, path length 0, keyCertSign and cRLSign (all critical), and a subject
    /// key identifier.
    ///
    /// `common_name` such as `example.com host CA` has 1 to 64 characters; `serial` is random (its top bit may
    /// be set) and not zero. Leaves must lie within the window: back-date `not_before` by at least as much as
    /// the leaves are back-dated. Times are cut to seconds.
    ///
    /// # Errors
    /// [`CaError::Refused`] for a name, serial or window that breaks these rules.
    pub fn create(
        key: AuthorityKey,
        common_name: &str,
        serial: [u8; 16],
        not_before: OffsetDateTime,
        not_after: OffsetDateTime,
    ) -> Result<Self, CaError> {
        let window = Window::new(not_before, not_after);
        let mut lints = Lints::default();
        window.lint(&mut lints);
        lints.require(
            is_common_name(common_name),
            "common_name",
            lint::display_name(common_name),
            "1 to 64 characters without control characters",
        );
        lints.require(serial != [0; 16], "serial", "0", "a positive number");
        lints.finish()?;

        let mut params = base_params(common_name, &serial, window);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let public_key = key.public_key().clone();
        let signer = LintedSigner::new(&key, |tbs| {
            lint::authority_tbs(tbs, &serial, window, &public_key, common_name)
        });
        let certificate = params.self_signed(&signer).map_err(|error| signer.error(error))?.der().to_vec();
        Self::load(key, certificate)
    }

    /// Takes a CA up again from its key and its certificate.
    ///
    /// # Errors
    /// [`CaError::Unreadable`]; [`CaError::OtherKey`]; [`CaError::NotAnAuthority`] if the certificate may not
    /// sign certificates and lists, has no subject key identifier, carries a broken self-signature, or has a
    /// subject that the encoder cannot repeat byte for byte (leaves would name another issuer).
    pub fn load(key: AuthorityKey, certificate_der: Vec<u8>) -> Result<Self, CaError> {
        let (rest, certificate) = X509Certificate::from_der(&certificate_der)
            .map_err(|error| CaError::unreadable("certificate", error))?;
        if !rest.is_empty() {
            return Err(CaError::unreadable("certificate", format_args!("{} bytes after it", rest.len())));
        }
        let expected = pin_of_spki(&key.subject_public_key_info());
        let pin = pin_of_spki(certificate.public_key().raw);
        if pin != expected {
            return Err(CaError::OtherKey { found: pin, expected });
        }
        let key_id = authority_key_id(&certificate)?;
        if certificate.issuer().as_raw() == certificate.subject().as_raw()
            && certificate.verify_signature(None).is_err()
        {
            return Err(CaError::NotAnAuthority { reason: "its signature over itself does not verify" });
        }
        let mut issuer = CertificateParams::default();
        issuer.distinguished_name = subject_of(certificate.subject())?;
        issuer.key_identifier_method = KeyIdMethod::PreSpecified(key_id.clone());
        issuer.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let subject_der = certificate.subject().as_raw().to_vec();
        if encoded_subject(&issuer, &key)? != subject_der {
            return Err(CaError::NotAnAuthority { reason: UNREPEATABLE });
        }
        let validity = certificate.validity();
        let window =
            Window { not_before: validity.not_before.timestamp(), not_after: validity.not_after.timestamp() };
        Ok(Self { key, pin, window, subject_der, key_id, issuer, certificate: certificate_der })
    }

    /// The CA's certificate.
    pub fn certificate_der(&self) -> &[u8] {
        &self.certificate
    }

    /// From when until when it can sign certificates that anybody takes for valid.
    pub fn validity(&self) -> (OffsetDateTime, OffsetDateTime) {
        (lint::utc(self.window.not_before), lint::utc(self.window.not_after))
    }

    /// The CA's key: for JWS under the same key as the certificates.
    pub fn key(&self) -> &AuthorityKey {
        &self.key
    }

    /// `sha256:` + lower-case hex of the SPKI's SHA-256.
    pub fn pin(&self) -> String {
        self.pin.clone()
    }

    /// Whether [`X509Authority::sign_leaf`] would sign this: to be asked before anything is promised.
    ///
    /// # Errors
    /// Everything that is wrong with the request.
    pub fn check_leaf(&self, request: &LeafRequest<'_>) -> Result<(), LintError> {
        lint::leaf_request(request, self.window)
    }

    /// Lints the request, encodes, lints the encoded bytes, signs. DER.
    ///
    /// # Errors
    /// [`CaError::Refused`] with everything that is wrong; nothing was signed then.
    pub fn sign_leaf(&self, request: &LeafRequest<'_>) -> Result<Vec<u8>, CaError> {
        self.check_leaf(request)?;
        let subject = SubjectKey::new(request.public_key)
            .ok_or_else(|| CaError::encoding("this public key has no X.509 form"))?;
        let issuer = lint::Issuer { subject_der: &self.subject_der, key_id: &self.key_id };
        let signer = LintedSigner::new(&self.key, |tbs| lint::leaf_tbs(tbs, request, &issuer));
        let issuer = Issuer::from_params(&self.issuer, &signer);
        match leaf_params(request)?.signed_by(&subject, &issuer) {
            Ok(certificate) => Ok(certificate.der().to_vec()),
            Err(error) => Err(signer.error(error)),
        }
    }

    /// The cluster's own server certificate: profile Server for `names`.
    ///
    /// # Errors
    /// As [`X509Authority::sign_leaf`].
    pub fn sign_server(
        &self,
        names: &ServerNames,
        public_key: &PublicKey,
        serial: [u8; 20],
        not_before: OffsetDateTime,
        not_after: OffsetDateTime,
    ) -> Result<Vec<u8>, CaError> {
        self.sign_leaf(&LeafRequest {
            profile: LeafProfile::Server,
            public_key,
            common_name: names.common_name(),
            dns_names: names.dns_names(),
            ip_addresses: names.ip_addresses(),
            spiffe_id: None,
            roles: &[],
            serial,
            not_before,
            not_after,
            result_digest: None,
        })
    }

    /// Name and key of this CA as the encoder of revocation lists wants them.
    pub(crate) fn issuer(&self) -> Issuer<'_, &AuthorityKey> {
        Issuer::from_params(&self.issuer, &self.key)
    }

    pub(crate) fn key_id(&self) -> &[u8] {
        &self.key_id
    }
}

const UNREPEATABLE: &str = "its subject cannot be repeated byte for byte as an issuer";

/// Signs only what the lint lets pass, and remembers why it did not: the encoder's error type cannot say.
struct LintedSigner<'a, F> {
    key: &'a AuthorityKey,
    lint: F,
    refusal: RefCell<Option<CaError>>,
}

impl<'a, F: Fn(&[u8]) -> Result<(), LintError>> LintedSigner<'a, F> {
    fn new(key: &'a AuthorityKey, lint: F) -> Self {
        Self { key, lint, refusal: RefCell::new(None) }
    }

    fn error(&self, error: rcgen::Error) -> CaError {
        self.refusal.take().unwrap_or_else(|| CaError::encoding(error))
    }
}

impl<F> PublicKeyData for LintedSigner<'_, F> {
    fn der_bytes(&self) -> &[u8] {
        self.key.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.key.algorithm()
    }
}

impl<F: Fn(&[u8]) -> Result<(), LintError>> SigningKey for LintedSigner<'_, F> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signed = (self.lint)(message)
            .map_err(CaError::from)
            .and_then(|()| self.key.sign_x509(message).map_err(CaError::from));
        signed.map_err(|error| {
            self.refusal.replace(Some(error));
            rcgen::Error::RemoteKeyError
        })
    }
}

/// The subject key identifier of a certificate that may sign certificates and lists.
fn authority_key_id(certificate: &X509Certificate<'_>) -> Result<Vec<u8>, CaError> {
    let refuse = |reason| CaError::NotAnAuthority { reason };
    let constraints = certificate.basic_constraints().ok().flatten();
    if !constraints.is_some_and(|constraints| constraints.critical && constraints.value.ca) {
        return Err(refuse("it lacks the critical basic constraint CA: true"));
    }
    let usage = certificate.key_usage().ok().flatten();
    if !usage.is_some_and(|usage| usage.value.key_cert_sign() && usage.value.crl_sign()) {
        return Err(refuse("its key usage lacks keyCertSign or cRLSign"));
    }
    let key_id = certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) if !id.0.is_empty() => Some(id.0.to_vec()),
        _ => None,
    });
    key_id.ok_or_else(|| refuse("it has no subject key identifier"))
}

fn subject_of(name: &X509Name<'_>) -> Result<DistinguishedName, CaError> {
    let refuse = || CaError::NotAnAuthority { reason: UNREPEATABLE };
    let mut subject = DistinguishedName::new();
    for attribute in name.iter_attributes() {
        let oid: Vec<u64> = attribute.attr_type().iter().ok_or_else(refuse)?.collect();
        // The encoder panics on names that X.660 does not allow, which the parser lets through.
        if !matches!(oid[..], [0 | 1, ..40, ..] | [2, _, ..]) {
            return Err(refuse());
        }
        let text = attribute.as_str().map_err(|_| refuse())?;
        let value = match attribute.attr_value().tag() {
            Tag::Utf8String => DnValue::Utf8String(text.to_owned()),
            Tag::PrintableString => DnValue::PrintableString(text.try_into().map_err(|_| refuse())?),
            Tag::Ia5String => DnValue::Ia5String(text.try_into().map_err(|_| refuse())?),
            _ => return Err(refuse()),
        };
        subject.push(DnType::from_oid(&oid), value);
    }
    if subject.iter().next().is_none() {
        return Err(CaError::NotAnAuthority { reason: "its subject is empty" });
    }
    Ok(subject)
}

/// The subject as the encoder writes it, taken from a throw-away certificate with an empty signature.
fn encoded_subject(params: &CertificateParams, key: &AuthorityKey) -> Result<Vec<u8>, CaError> {
    struct Unsigned<'a>(&'a AuthorityKey);
    impl PublicKeyData for Unsigned<'_> {
        fn der_bytes(&self) -> &[u8] {
            self.0.der_bytes()
        }
        fn algorithm(&self) -> &'static SignatureAlgorithm {
            self.0.algorithm()
        }
    }
    impl SigningKey for Unsigned<'_> {
        fn sign(&self, _: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
            Ok(Vec::new())
        }
    }
    let draft = params.self_signed(&Unsigned(key)).map_err(CaError::encoding)?;
    let (_, draft) = X509Certificate::from_der(draft.der()).map_err(CaError::encoding)?;
    Ok(draft.subject().as_raw().to_vec())
}
