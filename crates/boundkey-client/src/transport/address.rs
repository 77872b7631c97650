use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::str::FromStr;

use rustls_pki_types::ServerName;

/// The port of an address that names none.
const DEFAULT_PORT: u16 = 443;
/// What is allowed, in words.
pub(crate) const ALLOWED: &str = "HOST:PORT, for example server.example.com:443 or [fe80::1%eth0]:443";

/// A server's address: `HOST:PORT`, `HOST`, `[IPv6]:PORT`, or any of them after `https://`. An IPv6 address may have a
/// zone: the name or number of the interface behind which it is (`[fe80::1%eth0]:443`, RFC 4007).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    host: String,
    zone: Option<String>,
    port: u16,
    name: ServerName<'static>,
}

/// A text that is no server's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not a server's address; allowed: {ALLOWED}", boundkey_document::quoted(.found))]
pub struct AddressError {
    /// The text.
    pub found: String,
}

impl ServerAddress {
    /// The host: a name, or an address without brackets and zone.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 443 if none was written.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The host's address, if it is one.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// As `Host` and `CONNECT` have it: the zone is this machine's own affair.
    pub(crate) fn authority(&self) -> String {
        bracketed(&self.host, None, self.port)
    }

    /// The name that the server's certificate must have: an address without its zone.
    pub(crate) fn name(&self) -> &ServerName<'static> {
        &self.name
    }

    /// The socket addresses of an address; none for a name, which is for the resolver.
    ///
    /// # Errors
    /// If the zone is no interface of this machine.
    pub(crate) fn literal(&self) -> Result<Option<SocketAddr>, String> {
        Ok(match (self.ip(), &self.zone) {
            (Some(IpAddr::V6(address)), Some(zone)) => {
                Some(SocketAddrV6::new(address, self.port, 0, interface(zone)?).into())
            }
            (Some(address), _) => Some(SocketAddr::new(address, self.port)),
            (None, _) => None,
        })
    }
}

/// The number of an interface that is named or numbered.
fn interface(zone: &str) -> Result<u32, String> {
    use rustix::net::{AddressFamily, SocketType, netdevice, socket};
    if let Ok(number) = zone.parse() {
        return Ok(number);
    }
    socket(AddressFamily::INET6, SocketType::DGRAM, None)
        .and_then(|any| netdevice::name_to_index(&any, zone))
        .map_err(|error| format!("this machine has no interface `{zone}` ({error})"))
}

fn is_zone(text: &str) -> bool {
    (1..=15).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-@".contains(&b))
}

/// An IPv6 address and its zone.
fn address_and_zone(text: &str) -> Option<(&str, Option<&str>)> {
    let (address, zone) = text.split_once('%').map_or((text, None), |(address, zone)| (address, Some(zone)));
    (address.parse::<Ipv6Addr>().is_ok() && zone.is_none_or(is_zone)).then_some((address, zone))
}

impl FromStr for ServerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = || AddressError { found: text.to_owned() };
        let text = boundkey_keys::tidy(text);
        // In a URL the percent sign before the zone is written `%25` (RFC 6874).
        let plain = text.strip_prefix("https://").map(|rest| rest.replacen("%25", "%", 1));
        let rest = plain.as_deref().unwrap_or(text);
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, zone, port) = if let Some(rest) = rest.strip_prefix('[') {
            let (host, port) = rest.split_once(']').ok_or_else(error)?;
            let (host, zone) = address_and_zone(host).ok_or_else(error)?;
            let port = if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or_else(error)?) };
            (host, zone, port)
        } else if let Some((host, zone)) = address_and_zone(rest) {
            (host, zone, None)
        } else {
            let (host, port) = rest.rsplit_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
            (host, None, port)
        };
        let port = match port {
            None => DEFAULT_PORT,
            Some(digits) => port_number(digits).ok_or_else(error)?,
        };
        let name = ServerName::try_from(host.to_owned()).map_err(|_| error())?;
        Ok(Self { host: host.to_owned(), zone: zone.map(ToOwned::to_owned), port, name })
    }
}

/// A port that can be connected to; `from_str` of numbers reads a sign too.
pub(super) fn port_number(digits: &str) -> Option<u16> {
    let port = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())??;
    (port != 0).then_some(port)
}

fn bracketed(host: &str, zone: Option<&str>, port: u16) -> String {
    match (host.parse::<Ipv6Addr>(), zone) {
        (Ok(_), Some(zone)) => format!("[{host}%{zone}]:{port}"),
        (Ok(_), None) => format!("[{host}]:{port}"),
        (Err(_), _) => format!("{host}:{port}"),
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bracketed(&self.host, self.zone.as_deref(), self.port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_form_is_read() {
        for (text, shown) in [
            ("server.example.com:443", "server.example.com:443"),
            ("server.example.com", "server.example.com:443"),
            ("https://server.example.com:3443/", "server.example.com:3443"),
            ("127.0.0.1:3443", "127.0.0.1:3443"),
            ("[::1]:3443", "[::1]:3443"),
            ("[::1]", "[::1]:443"),
            ("::1", "[::1]:443"),
            ("fe80::1%eth0", "[fe80::1%eth0]:443"),
            ("[fe80::1%eth0.100]:3443", "[fe80::1%eth0.100]:3443"),
            ("[fe80::1%25]", "[fe80::1%25]:443"),
            ("https://[fe80::1%25wlan0]:443/", "[fe80::1%wlan0]:443"),
            (" server.example.com:443\n", "server.example.com:443"),
        ] {
            assert_eq!(text.parse::<ServerAddress>().unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_is_allowed() {
        for bad in [
            "",
            ":443",
            "a:0",
            "a:65536",
            "a:+1",
            "a:",
            "http://a:1",
            "a b:1",
            "[::1",
            "[::1]x",
            "a/b:1",
            "[a]:1",
            "[fe80::1%]:1",
            "[fe80::1%a/b]:1",
            "[fe80::1%an-interface-name]:1",
            "127.0.0.1%lo:1",
            "a%lo:1",
        ] {
            assert_eq!(bad.parse::<ServerAddress>(), Err(AddressError { found: bad.to_owned() }), "{bad}");
        }
    }

    #[test]
    fn a_zone_is_an_interface_by_name_or_number_and_no_part_of_the_name_in_the_certificate() {
        let by_number: ServerAddress = "[fe80::1%7]:1".parse().unwrap();
        assert_eq!(by_number.literal(), Ok(Some("[fe80::1%7]:1".parse().unwrap())));
        assert_eq!(by_number.authority(), "[fe80::1]:1");
        assert_eq!(by_number.name().to_str(), "fe80::1");
        let none: ServerAddress = "[fe80::1%none0]:1".parse().unwrap();
        let error = none.literal().unwrap_err();
        assert!(error.starts_with("this machine has no interface `none0`"), "{error}");
        let loopback = std::fs::read_to_string("/sys/class/net/lo/ifindex");
        if let Ok(index) = loopback {
            let named: ServerAddress = "[::1%lo]:1".parse().unwrap();
            let expected = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 1, 0, index.trim().parse().unwrap());
            assert_eq!(named.literal(), Ok(Some(expected.into())));
        }
    }
}
