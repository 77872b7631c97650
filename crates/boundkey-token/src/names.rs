use std::net::IpAddr;
use std::time::Duration;

/// `spec.certificates`: the names a token allows. A leading `*.` matches one label. None of a field = default (see interfaces).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CertificateNames {
    pub dns_names: Option<Vec<String>>,
    pub ip_addresses: Option<Vec<ipnet::IpNet>>,
    pub principals: Option<Vec<String>>,
    pub max_ttl: Option<Duration>,
}

/// What a machine asks to be named; empty = what the token allows by default. serde JSON: part of the wire request.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestedNames {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns_names: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_addresses: Vec<IpAddr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<String>,
}

impl CertificateNames {
    /// The names to put in a certificate, or the first one that is not allowed: (field of the token to change, value).
    /// `defaults`: what is allowed, and given, for fields that the token leaves out (the token's name, NAME.CLUSTER, host id; a bot's logins).
    pub fn grant(
        &self,
        requested: &RequestedNames,
        defaults: &RequestedNames,
    ) -> Result<RequestedNames, (&'static str, String)> {
        todo!()
    }
}
