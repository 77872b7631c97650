use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use rustls_pki_types::ServerName;

/// The port of an address that names none.
const DEFAULT_PORT: u16 = 443;

/// A server's address: `HOST:PORT`, `HOST`, `[IPv6]:PORT`, or any of them after `https://`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    host: String,
    port: u16,
    name: ServerName<'static>,
}

/// A text that is no server's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a server's address; allowed: HOST:PORT, for example server.example.com:443")]
pub struct AddressError {
    /// The text.
    pub found: String,
}

impl ServerAddress {
    /// The host: a name, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 443 if none was written.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn name(&self) -> &ServerName<'static> {
        &self.name
    }
}

impl FromStr for ServerAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = || AddressError { found: text.to_owned() };
        let rest = text.strip_prefix("https://").unwrap_or(text);
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = if let Some(rest) = rest.strip_prefix('[') {
            let (host, port) = rest.split_once(']').ok_or_else(error)?;
            host.parse::<Ipv6Addr>().map_err(|_| error())?;
            let port = if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or_else(error)?) };
            (host, port)
        } else if rest.parse::<Ipv6Addr>().is_ok() {
            (rest, None)
        } else {
            rest.rsplit_once(':').map_or((rest, None), |(host, port)| (host, Some(port)))
        };
        let port = match port {
            None => DEFAULT_PORT,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => match digits.parse() {
                Ok(0) | Err(_) => return Err(error()),
                Ok(port) => port,
            },
            Some(_) => return Err(error()),
        };
        let name = ServerName::try_from(host.to_owned()).map_err(|_| error())?;
        Ok(Self { host: host.to_owned(), port, name })
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if matches!(self.host.parse(), Ok(IpAddr::V6(_))) {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
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
        ] {
            assert_eq!(bad.parse::<ServerAddress>(), Err(AddressError { found: bad.to_owned() }), "{bad}");
        }
    }
}
