use std::net::IpAddr;

use boundkey_keys::PublicKey;
use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SanType, SerialNumber,
};
use time::OffsetDateTime;

use crate::CaError;
use crate::extension::{RESULT_EXTENSION_OID, ROLES_EXTENSION_OID, encode_result, encode_roles};
use crate::lint::{Window, utc};

/// What a leaf is for. It decides the extended key usage and what must and must not be in the certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeafProfile {
    /// The cluster's own server certificate (tls CA): serverAuth.
    Server,
    /// A host's (host CA): serverAuth and clientAuth.
    Host,
    /// A bot's (bot CA): clientAuth.
    Bot,
    /// A person's or machine's administration identity (bot CA): clientAuth, role in the roles extension.
    Admin,
}

/// One leaf to sign. Equal requests give equal to-be-signed bytes.
#[derive(Debug, Clone)]
pub struct LeafRequest<'a> {
    /// What it is for.
    pub profile: LeafProfile,
    /// The key to certify: Ed25519, P-256 or P-384. RSA is refused.
    pub public_key: &'a PublicKey,
    /// 1 to 64 characters; see [`crate::common_name`].
    pub common_name: &'a str,
    /// Host names, each as [`crate::is_dns_name`] says. At least one name or address for Server, none for Admin.
    pub dns_names: &'a [String],
    /// Addresses, each of one host.
    pub ip_addresses: &'a [IpAddr],
    /// `spiffe://CLUSTER/host/ID` for Host, `/bot/BOT/INSTANCE` for Bot: exactly one for both. None for Server.
    pub spiffe_id: Option<&'a str>,
    /// Words, in the order in which they will stand. At least one for Admin, none for Server.
    pub roles: &'a [&'a str],
    /// Big-endian, positive: [`crate::derive_serials`] for joins, else random with the top bit clear.
    pub serial: [u8; 20],
    /// As it stands in the certificate, cut to seconds: the caller back-dates by 5 min. Not before the CA's own.
    pub not_before: OffsetDateTime,
    /// As it stands in the certificate, cut to seconds. Not after the CA's own.
    pub not_after: OffsetDateTime,
    /// SHA-256(join state, bound key thumbprint, attempt id): for Host and Bot always, for the others never.
    pub result_digest: Option<[u8; 32]>,
}

impl LeafRequest<'_> {
    pub(crate) fn window(&self) -> Window {
        Window::new(self.not_before, self.not_after)
    }
}

impl LeafProfile {
    fn extended_key_usages(self) -> Vec<ExtendedKeyUsagePurpose> {
        use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        match self {
            Self::Server => vec![ServerAuth],
            Self::Host => vec![ServerAuth, ClientAuth],
            Self::Bot | Self::Admin => vec![ClientAuth],
        }
    }
}

pub(crate) fn leaf_params(request: &LeafRequest<'_>) -> Result<CertificateParams, CaError> {
    let mut params = base_params(request.common_name, &request.serial, request.window());
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = request.profile.extended_key_usages();
    for name in request.dns_names {
        params.subject_alt_names.push(SanType::DnsName(ia5(name)?));
    }
    params.subject_alt_names.extend(request.ip_addresses.iter().copied().map(SanType::IpAddress));
    if let Some(id) = request.spiffe_id {
        params.subject_alt_names.push(SanType::URI(ia5(id)?));
    }
    if let Some(digest) = &request.result_digest {
        let extension = CustomExtension::from_oid_content(RESULT_EXTENSION_OID, encode_result(digest));
        params.custom_extensions.push(extension);
    }
    if !request.roles.is_empty() {
        let extension = CustomExtension::from_oid_content(ROLES_EXTENSION_OID, encode_roles(request.roles)?);
        params.custom_extensions.push(extension);
    }
    Ok(params)
}

/// A common name, a serial, a window; every default of the encoder that matters is overridden.
pub(crate) fn base_params(common_name: &str, serial: &[u8], window: Window) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.serial_number = Some(SerialNumber::from_slice(serial));
    params.not_before = utc(window.not_before);
    params.not_after = utc(window.not_after);
    params
}

fn ia5(text: &str) -> Result<Ia5String, CaError> {
    Ia5String::try_from(text).map_err(CaError::encoding)
}
