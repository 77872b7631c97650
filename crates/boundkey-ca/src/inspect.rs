use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use boundkey_keys::{PublicKey, sha256};
use time::OffsetDateTime;
use x509_parser::asn1_rs::Oid;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::extension::{decode_result, decode_roles, result_oid, roles_oid};
use crate::{CaError, lint};

const CERTIFICATE: &str = "certificate";

/// What a leaf says. Nothing in it is checked against a CA or a clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafView {
    /// The certified key.
    pub public_key: PublicKey,
    /// The digest of the join's result, if the extension is there.
    pub result_digest: Option<[u8; 32]>,
    /// Roles in their order, empty without the extension.
    pub roles: Vec<String>,
    /// The only URI among the alternative names.
    pub spiffe_id: Option<String>,
    /// Host names among the alternative names.
    pub dns_names: Vec<String>,
    /// Addresses among the alternative names.
    pub ip_addresses: Vec<IpAddr>,
    /// The subject's common name; empty if it has none.
    pub common_name: String,
    /// Big-endian, without leading zeros.
    pub serial: Vec<u8>,
    /// Start of validity, to the second.
    pub not_before: OffsetDateTime,
    /// End of validity, to the second.
    pub not_after: OffsetDateTime,
}

/// Reads a leaf certificate strictly: nothing after it, each extension once, a supported key, one URI at most.
///
/// # Errors
/// [`CaError::Unreadable`] with what the parser met.
pub fn inspect_leaf(der: &[u8]) -> Result<LeafView, CaError> {
    let certificate = parse(der)?;
    let unreadable = |reason: &str| CaError::unreadable(CERTIFICATE, reason);
    let public_key = PublicKey::from_spki_der(certificate.public_key().raw)
        .map_err(|error| CaError::unreadable(CERTIFICATE, error))?;
    let result_digest = match private_extension(&certificate, &result_oid())? {
        Some(value) => Some(decode_result(value).ok_or_else(|| unreadable("a malformed result digest"))?),
        None => None,
    };
    let roles = match private_extension(&certificate, &roles_oid())? {
        Some(value) => decode_roles(value).ok_or_else(|| unreadable("malformed roles"))?,
        None => Vec::new(),
    };
    let common_name = match certificate.subject().iter_common_name().next() {
        Some(name) => name.as_str().map_err(|error| CaError::unreadable(CERTIFICATE, error))?.to_owned(),
        None => String::new(),
    };
    let time = |seconds: i64| {
        OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| unreadable("a time out of range"))
    };
    let validity = certificate.validity();
    let mut view = LeafView {
        public_key,
        result_digest,
        roles,
        spiffe_id: None,
        dns_names: Vec::new(),
        ip_addresses: Vec::new(),
        common_name,
        serial: certificate.tbs_certificate.serial.to_bytes_be(),
        not_before: time(validity.not_before.timestamp())?,
        not_after: time(validity.not_after.timestamp())?,
    };
    alternative_names(&certificate, &mut view)?;
    Ok(view)
}

/// `sha256:` + lower-case hex of SHA-256 of a certificate's SPKI.
///
/// # Errors
/// [`CaError::Unreadable`]: not a certificate.
pub fn spki_pin(certificate_der: &[u8]) -> Result<String, CaError> {
    parse(certificate_der).map(|certificate| pin_of_spki(certificate.public_key().raw))
}

pub(crate) fn pin_of_spki(spki: &[u8]) -> String {
    format!("sha256:{}", lint::hex(&sha256(&[spki])))
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, CaError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok((rest, _)) => Err(CaError::unreadable(CERTIFICATE, format_args!("{} bytes after it", rest.len()))),
        Err(error) => Err(CaError::unreadable(CERTIFICATE, error)),
    }
}

fn private_extension<'a>(
    certificate: &'a X509Certificate<'_>,
    oid: &Oid<'_>,
) -> Result<Option<&'a [u8]>, CaError> {
    let extension =
        certificate.get_extension_unique(oid).map_err(|error| CaError::unreadable(CERTIFICATE, error))?;
    Ok(extension.map(|extension| extension.value))
}

fn alternative_names(certificate: &X509Certificate<'_>, view: &mut LeafView) -> Result<(), CaError> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| CaError::unreadable(CERTIFICATE, error))?
        .map(|extension| &extension.value.general_names);
    for name in names.into_iter().flatten() {
        match name {
            GeneralName::DNSName(name) => view.dns_names.push((*name).to_owned()),
            GeneralName::IPAddress(octets) => view.ip_addresses.push(address(octets)?),
            GeneralName::URI(_) if view.spiffe_id.is_some() => {
                return Err(CaError::unreadable(CERTIFICATE, "more than one URI"));
            }
            GeneralName::URI(uri) => view.spiffe_id = Some((*uri).to_owned()),
            GeneralName::Invalid(..) => return Err(CaError::unreadable(CERTIFICATE, "a malformed name")),
            // Other kinds of names are never issued here and nothing relies on them.
            _ => {}
        }
    }
    Ok(())
}

fn address(octets: &[u8]) -> Result<IpAddr, CaError> {
    if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        Ok(Ipv4Addr::from(v4).into())
    } else if let Ok(v6) = <[u8; 16]>::try_from(octets) {
        Ok(Ipv6Addr::from(v6).into())
    } else {
        Err(CaError::unreadable(CERTIFICATE, format_args!("an address of {} bytes", octets.len())))
    }
}
