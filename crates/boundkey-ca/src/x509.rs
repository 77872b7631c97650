use std::net::IpAddr;

use boundkey_keys::PublicKey;
use time::OffsetDateTime;

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

/// One leaf to sign. `not_before` is as it stands in the certificate (the caller back-dates by 5 min).
#[derive(Debug, Clone)]
pub struct LeafRequest<'a> {
    pub profile: LeafProfile,
    pub public_key: &'a PublicKey,
    pub common_name: &'a str,
    pub dns_names: &'a [String],
    pub ip_addresses: &'a [IpAddr],
    /// e.g. `spiffe://example.com/host/ID`: exactly one for Host and Bot.
    pub spiffe_id: Option<&'a str>,
    pub roles: &'a [&'a str],
    /// The token and instance, for Host and Bot.
    pub serial: [u8; 20],
    pub not_before: OffsetDateTime,
    pub not_after: OffsetDateTime,
    /// SHA-256(join state, bound key thumbprint, attempt id), for Host and Bot.
    pub result_digest: Option<[u8; 32]>,
}

/// Private extensions, non-critical. UUID-based arc `2.25.<128-bit>.1` and `.2` (no registered arc is ours).
pub const RESULT_EXTENSION_OID: &[u64] = &[2, 25, 1];
pub const ROLES_EXTENSION_OID: &[u64] = &[2, 25, 2];
