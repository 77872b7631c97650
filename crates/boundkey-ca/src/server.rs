use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::lint::{Lints, common_name, display_name};
use crate::{LeafView, LintError, is_dns_name};

const LOCALHOST: &str = "localhost";

/// The names under which a cluster's server is reached: `localhost`, both loopback addresses, and those of the
/// addresses given. Sorted and without repeats, so that equal configurations give equal certificates.
///
/// ```
/// let names = boundkey_ca::ServerNames::new(["server.example.com:443", "0.0.0.0:3443", "[2001:db8::1]:443"])?;
/// assert_eq!(names.dns_names(), ["localhost", "server.example.com"]);
/// assert_eq!(names.ip_addresses().len(), 3);
/// assert_eq!(names.common_name(), "server.example.com");
/// # Ok::<(), boundkey_ca::LintError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerNames {
    dns: Vec<String>,
    ip: Vec<IpAddr>,
    common_name: String,
}

impl ServerNames {
    /// From listen and public addresses: a name or an address, each with or without a port. Unspecified
    /// addresses (`0.0.0.0`, `::`) name nobody and are left out; host names are lower-cased.
    ///
    /// # Errors
    /// Every address that is neither a host name nor an IP address.
    pub fn new<'a>(addresses: impl IntoIterator<Item = &'a str>) -> Result<Self, LintError> {
        let mut lints = Lints::default();
        let mut dns = BTreeSet::from([LOCALHOST.to_owned()]);
        let mut ip = BTreeSet::from([IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
        let mut shown = LOCALHOST.to_owned();
        for (index, address) in addresses.into_iter().enumerate() {
            let host = without_zone(host_of(address));
            if let Ok(address) = host.parse::<IpAddr>() {
                if !address.is_unspecified() {
                    ip.insert(address);
                }
                continue;
            }
            let host = host.to_ascii_lowercase();
            lints.require(
                is_dns_name(&host),
                format!("addresses[{index}]"),
                display_name(address),
                "HOST, HOST:PORT, IPv4, IPv4:PORT, IPv6 or [IPv6]:PORT",
            );
            if shown == LOCALHOST {
                shown = common_name(&host, LOCALHOST).to_owned();
            }
            dns.insert(host);
        }
        lints.finish()?;
        Ok(Self { dns: dns.into_iter().collect(), ip: ip.into_iter().collect(), common_name: shown })
    }

    /// Host names, sorted.
    pub fn dns_names(&self) -> &[String] {
        &self.dns
    }

    /// Addresses, sorted.
    pub fn ip_addresses(&self) -> &[IpAddr] {
        &self.ip
    }

    /// The first name given that fits in a subject, else `localhost`.
    pub fn common_name(&self) -> &str {
        &self.common_name
    }

    /// Whether a certificate is for exactly these names: if not, it has to be made anew.
    pub fn fit(&self, leaf: &LeafView) -> bool {
        self.dns == leaf.dns_names && self.ip == leaf.ip_addresses && self.common_name == leaf.common_name
    }
}

/// An address without its zone, which is a matter of one machine and of no certificate.
fn without_zone(host: &str) -> &str {
    let address = host.split_once('%').map(|(address, _)| address);
    address.filter(|address| address.parse::<std::net::Ipv6Addr>().is_ok()).unwrap_or(host)
}

/// The host of `HOST`, `HOST:PORT`, `IPv6` or `[IPv6]:PORT`.
fn host_of(address: &str) -> &str {
    if let Some(rest) = address.strip_prefix('[') {
        return match rest.split_once(']') {
            Some((host, "")) => host,
            Some((host, port)) if is_port(port.strip_prefix(':')) => host,
            _ => address,
        };
    }
    match address.split_once(':') {
        Some((host, port)) if is_port(Some(port)) => host,
        _ => address,
    }
}

fn is_port(text: Option<&str>) -> bool {
    text.is_some_and(|text| text.parse::<u16>().is_ok() && text.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_brackets_are_not_part_of_a_name() {
        for (address, host) in [
            ("a.example", "a.example"),
            ("a.example:443", "a.example"),
            ("10.0.0.1:1", "10.0.0.1"),
            ("::1", "::1"),
            ("[::1]", "::1"),
            ("[::1]:443", "::1"),
            ("2001:db8::5", "2001:db8::5"),
        ] {
            assert_eq!(host_of(address), host, "{address}");
        }
    }

    #[test]
    fn repeats_and_unspecified_addresses_vanish() {
        let names =
            ServerNames::new(["B.example:1", "b.example:2", "[::]:1", "0.0.0.0:1", "127.0.0.1:1"]).unwrap();
        assert_eq!(names.dns_names(), ["b.example", "localhost"]);
        assert_eq!(names.ip_addresses(), [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
    }

    #[test]
    fn all_bad_addresses_are_reported_by_place() {
        let error = ServerNames::new(["ok.example", "*.example:443", "a:b:c", ""]).unwrap_err();
        let fields: Vec<_> = error.violations().iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["addresses[1]", "addresses[2]", "addresses[3]"]);
    }
}
