//! Small forms of certificates and names.

use base64::Engine as _;
use rustls_pki_types::ServerName;

/// Standard, padded base64: the form of DER in messages.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

/// A PEM block of certificates.
pub(crate) fn pem_certificate(der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::with_capacity(text.len() + 80);
    pem.push_str("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        // Base64 is ASCII: a chunk of it is text.
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

/// A name as a person writes it.
pub(crate) fn name_text(name: &ServerName<'_>) -> String {
    match name {
        ServerName::DnsName(name) => name.as_ref().to_owned(),
        ServerName::IpAddress(address) => std::net::IpAddr::from(*address).to_string(),
        other => format!("{other:?}"),
    }
}

/// webpki shows names as `DnsName("a.example")`: the part inside the quotes, where there is one.
pub(crate) fn plain_name(shown: &str) -> String {
    match (shown.find('"'), shown.rfind('"')) {
        (Some(from), Some(to)) if from < to => shown[from + 1..to].to_owned(),
        _ => match (shown.find('('), shown.rfind(')')) {
            (Some(from), Some(to)) if from < to => shown[from + 1..to].to_owned(),
            _ => shown.to_owned(),
        },
    }
}
