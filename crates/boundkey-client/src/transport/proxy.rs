//! The way to the server that the environment prescribes: `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`.
//!
//! Read here and not by a library: those that exist pass over what they cannot read, and then connect directly. In a network
//! where only the proxy may go out, that is a join that never works and never says why.

use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use boundkey_keys::{Secret, tidy};
use hyper::header::HeaderValue;
use ipnet::IpNet;
use zeroize::Zeroizing;

use super::ServerAddress;
use super::address::port_number;

/// The port of a proxy that names none, as browsers and Go have it.
const DEFAULT_PORT: u16 = 80;
/// What is allowed in a variable that names a proxy.
pub const PROXY_ALLOWED: &str =
    "http://[USER:PASSWORD@]HOST:PORT of a proxy that understands CONNECT, or nothing";

/// What the environment says about proxies; an empty variable is unset.
#[derive(Debug, Default)]
pub struct ProxyVariables {
    /// The first that is set of `https_proxy`, `HTTPS_PROXY`, `all_proxy`, `ALL_PROXY`: its name and value. Secret, for it
    /// may hold a password.
    pub proxy: Option<(&'static str, Secret)>,
    /// `no_proxy`, else `NO_PROXY`.
    pub exceptions: Option<String>,
}

/// A proxy to reach the server by: plain HTTP to it, and a tunnel through it (`CONNECT`, RFC 9110 9.3.6).
#[derive(Clone)]
pub struct Proxy {
    host: String,
    port: u16,
    variable: &'static str,
    authorization: Option<HeaderValue>,
}

/// Why a variable names no proxy. The value is never shown: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyError {
    /// The variable.
    pub variable: &'static str,
    /// What it holds, in words.
    pub found: String,
}

impl ProxyVariables {
    /// This process's environment.
    pub fn of_process() -> Self {
        Self::of(|name| Some(std::env::var_os(name)?.to_string_lossy().into_owned()))
    }

    /// Of variables by name. The lower-case form wins over the other, as with curl.
    pub fn of(read: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &&'static str| {
            read(name).filter(|value| !tidy(value).is_empty()).map(|value| (*name, value))
        };
        let proxy = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"].iter().find_map(set);
        let exceptions = ["no_proxy", "NO_PROXY"].iter().find_map(set);
        Self {
            proxy: proxy.map(|(name, value)| (name, Secret::new(value))),
            exceptions: exceptions.map(|(_, value)| value),
        }
    }

    /// The proxy for a server; none: it is reached directly.
    ///
    /// A server on this machine's loopback is reached by a proxy only if the proxy is there too: for any other proxy that
    /// address is another machine.
    ///
    /// # Errors
    /// [`ProxyError`], if there should be one and the variable names none that can be used.
    pub fn for_server(&self, server: &ServerAddress) -> Result<Option<Proxy>, ProxyError> {
        let Some((variable, value)) = &self.proxy else { return Ok(None) };
        if self.exceptions.as_deref().is_some_and(|list| is_excepted(list, server)) {
            return Ok(None);
        }
        let proxy = Proxy::parse(variable, value.expose())?;
        let elsewhere = is_loopback(server.host()) && !is_loopback(&proxy.host);
        Ok(Some(proxy).filter(|_| !elsewhere))
    }
}

impl Proxy {
    /// Reads the value of a variable.
    ///
    /// # Errors
    /// [`ProxyError`].
    pub fn parse(variable: &'static str, value: &str) -> Result<Self, ProxyError> {
        let error = |found: &str| ProxyError { variable, found: found.to_owned() };
        let unreadable = || error("a value that is no proxy's address (not shown)");
        let text = tidy(value);
        let rest = match text.split_once("://") {
            None => text,
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme, _)) => {
                return Err(error(&format!("a proxy of the kind {}", boundkey_document::quoted(scheme))));
            }
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, place) = rest.rsplit_once('@').map_or((None, rest), |(user, place)| (Some(user), place));
        let (host, port) = match place.strip_prefix('[') {
            Some(inner) => {
                let (host, port) = inner.split_once(']').ok_or_else(unreadable)?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| unreadable())?;
                (
                    host,
                    if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or_else(unreadable)?) },
                )
            }
            None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        let port = match port {
            None => DEFAULT_PORT,
            Some(digits) => port_number(digits).ok_or_else(unreadable)?,
        };
        // The same names as a server's.
        rustls_pki_types::ServerName::try_from(host).map_err(|_| unreadable())?;
        let authorization = user.map(basic).transpose().map_err(|()| unreadable())?;
        Ok(Self { host: host.to_owned(), port, variable, authorization })
    }

    /// The host: a name, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The variable that names it.
    pub fn variable(&self) -> &'static str {
        self.variable
    }

    /// The value of `Proxy-Authorization`.
    pub(crate) fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }
}

/// `HOST:PORT`; never the password.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// Basic credentials (RFC 7617) of `USER:PASSWORD` with percent signs.
fn basic(user: &str) -> Result<HeaderValue, ()> {
    let mut plain = Zeroizing::new(Vec::with_capacity(user.len() + 1));
    let mut rest = user.bytes();
    while let Some(byte) = rest.next() {
        plain.push(match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
                let (high, low) = (digit().ok_or(())?, digit().ok_or(())?);
                u8::try_from(high * 16 + low).map_err(drop)?
            }
            other => other,
        });
    }
    if !user.contains(':') {
        plain.push(b':');
    }
    let encoded = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(plain.as_slice()));
    let mut value = HeaderValue::from_str(&format!("Basic {}", encoded.as_str())).map_err(drop)?;
    value.set_sensitive(true);
    Ok(value)
}

fn is_loopback(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let by_name = name == "localhost" || name.ends_with(".localhost");
    by_name || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Whether `NO_PROXY` lists a server. Entries are parted by commas or blanks: `*`; a host; a domain, with or without a dot
/// before it, which stands for all that is below it too; an address; a network; each of them, but for `*` and networks,
/// also with a port, and then for that port only.
fn is_excepted(list: &str, server: &ServerAddress) -> bool {
    list.split(|c: char| c == ',' || c.is_whitespace())
        .any(|entry| !entry.is_empty() && excepts(entry, server))
}

fn excepts(entry: &str, server: &ServerAddress) -> bool {
    if entry == "*" {
        return true;
    }
    let ip = server.ip().map(|address| address.to_canonical());
    if let Ok(network) = entry.parse::<IpNet>() {
        return ip.is_some_and(|address| network.contains(&address));
    }
    let (host, port) = match entry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None if entry.parse::<IpAddr>().is_ok() => (entry, None),
        None => entry.rsplit_once(':').map_or((entry, None), |(host, port)| (host, Some(port))),
    };
    if port.is_some_and(|port| port_number(port) != Some(server.port())) {
        return false;
    }
    match (host.parse::<IpAddr>(), ip) {
        (Ok(listed), Some(address)) => listed.to_canonical() == address,
        (Ok(_), None) | (Err(_), Some(_)) => false,
        (Err(_), None) => is_of_domain(server.host(), host),
    }
}

fn is_of_domain(host: &str, listed: &str) -> bool {
    let plain = |name: &str| name.trim_end_matches('.').to_ascii_lowercase();
    let (host, listed) = (plain(host), plain(listed));
    let domain = listed.strip_prefix("*.").or(listed.strip_prefix('.')).unwrap_or(&listed);
    !domain.is_empty()
        && (host == domain || host.strip_suffix(domain).is_some_and(|below| below.ends_with('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(variables: &[(&str, &str)], server: &str) -> Result<Option<String>, ProxyError> {
        let read = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let proxy = ProxyVariables::of(read).for_server(&server.parse().unwrap())?;
        Ok(proxy.map(|proxy| format!("{proxy} by {}", proxy.variable())))
    }

    #[test]
    fn the_first_variable_that_is_not_empty_names_the_proxy() {
        let said = |variables: &[(&str, &str)]| proxy(variables, "s.example:443").unwrap();
        assert_eq!(said(&[]), None);
        assert_eq!(said(&[("HTTPS_PROXY", ""), ("https_proxy", " ")]), None);
        let all = [
            ("ALL_PROXY", "http://all:1"),
            ("HTTPS_PROXY", "http://upper:2"),
            ("https_proxy", "http://lower:3"),
        ];
        assert_eq!(said(&all).as_deref(), Some("lower:3 by https_proxy"));
        assert_eq!(said(&all[..2]).as_deref(), Some("upper:2 by HTTPS_PROXY"));
        assert_eq!(said(&all[..1]).as_deref(), Some("all:1 by ALL_PROXY"));
        assert_eq!(said(&[("HTTP_PROXY", "http://other:1")]), None, "that is for http: servers");
    }

    #[test]
    fn proxies_are_read_in_every_usual_form() {
        for (value, shown) in [
            ("http://proxy.example:3128", "proxy.example:3128"),
            ("http://proxy.example:3128/", "proxy.example:3128"),
            ("HTTP://proxy.example", "proxy.example:80"),
            ("proxy.example:3128\n", "proxy.example:3128"),
            ("10.0.0.1:8080", "10.0.0.1:8080"),
            ("http://[2001:db8::1]:8080", "[2001:db8::1]:8080"),
            ("http://user:hush@proxy.example:3128", "proxy.example:3128"),
        ] {
            let proxy = Proxy::parse("HTTPS_PROXY", value).unwrap();
            assert_eq!(proxy.to_string(), shown, "{value}");
            assert_eq!(format!("{proxy:?}"), format!("Proxy({shown})"));
        }
    }

    #[test]
    fn credentials_are_sent_as_basic_and_never_shown() {
        for (user, expected) in [
            ("user:pass", "Basic dXNlcjpwYXNz"),
            ("user", "Basic dXNlcjo="),
            ("us%40er:p%3Aa%25ss", "Basic dXNAZXI6cDphJXNz"),
            ("us@er:pass", "Basic dXNAZXI6cGFzcw=="),
        ] {
            let proxy = Proxy::parse("HTTPS_PROXY", &format!("http://{user}@p:1")).unwrap();
            let header = proxy.authorization().unwrap();
            assert_eq!((header.to_str().unwrap(), format!("{header:?}")), (expected, "Sensitive".to_owned()));
        }
    }

    #[test]
    fn what_is_no_proxy_is_an_error_that_shows_no_password() {
        for (value, found) in [
            ("https://user:hush@p:1", "a proxy of the kind `https`"),
            ("socks5://p:1", "a proxy of the kind `socks5`"),
            ("http://", "a value that is no proxy's address (not shown)"),
            ("http://user:hush@:1", "a value that is no proxy's address (not shown)"),
            ("http://p:port", "a value that is no proxy's address (not shown)"),
            ("http://p:0", "a value that is no proxy's address (not shown)"),
            ("http://p:1/path", "a value that is no proxy's address (not shown)"),
            ("http://us%4:hush@p:1", "a value that is no proxy's address (not shown)"),
            ("http://[::1:1", "a value that is no proxy's address (not shown)"),
            ("a proxy", "a value that is no proxy's address (not shown)"),
        ] {
            let error = proxy(&[("https_proxy", value)], "s.example:443").unwrap_err();
            assert_eq!(error, ProxyError { variable: "https_proxy", found: found.to_owned() }, "{value}");
            assert_eq!(proxy(&[("https_proxy", value), ("NO_PROXY", "*")], "s.example:443"), Ok(None));
        }
    }

    #[test]
    fn no_proxy_lists_hosts_domains_addresses_and_networks() {
        let table: &[(&str, &str, bool)] = &[
            ("*", "s.example.com:443", true),
            ("s.example.com", "S.Example.com.:443", true),
            ("example.com", "s.example.com:443", true),
            (".example.com", "s.example.com:443", true),
            (".example.com", "example.com:443", true),
            ("*.example.com", "s.example.com:443", true),
            ("a.test, example.com", "s.example.com:443", true),
            ("a.test  example.com", "s.example.com:443", true),
            ("ample.com", "s.example.com:443", false),
            ("s.example.com.org", "s.example.com:443", false),
            ("s.example.com:443", "s.example.com:443", true),
            ("s.example.com:8443", "s.example.com:443", false),
            (".example.com:443", "s.example.com:443", true),
            ("10.1.2.3", "10.1.2.3:443", true),
            ("10.1.2.3:443", "10.1.2.3:443", true),
            ("10.1.2.3:444", "10.1.2.3:443", false),
            ("10.0.0.0/8", "10.1.2.3:443", true),
            ("10.9.9.9/8", "10.1.2.3:443", true),
            ("10.0.0.0/16", "10.1.2.3:443", false),
            ("10.0.0.0/99", "10.1.2.3:443", false),
            ("10.0.0.0/8", "ten.example.com:443", false),
            ("2001:db8::/32", "[2001:db8::1]:443", true),
            ("[2001:db8::1]", "[2001:db8::1]:443", true),
            ("[2001:db8::1]:444", "[2001:db8::1]:443", false),
            ("2001:db8::1", "[2001:db8:0::1]:443", true),
            ("::ffff:10.1.2.3", "10.1.2.3:443", true),
            ("fe80::/10", "[fe80::1%eth0]:443", true),
            (",, ,", "s.example.com:443", false),
            (".", "s.example.com:443", false),
            ("2.3", "10.1.2.3:443", false),
        ];
        for (list, server, direct) in table {
            let said = proxy(&[("https_proxy", "http://p:1"), ("no_proxy", list)], server).unwrap();
            assert_eq!(said.is_none(), *direct, "{list} {server}");
        }
    }

    #[test]
    fn a_server_on_loopback_is_reached_only_by_a_proxy_on_loopback() {
        for server in ["127.0.0.1:443", "localhost:443", "[::1]:443", "a.localhost:443"] {
            assert_eq!(proxy(&[("https_proxy", "http://proxy.example:1")], server), Ok(None), "{server}");
            let near = proxy(&[("https_proxy", "http://127.0.0.1:1")], server).unwrap();
            assert_eq!(near.as_deref(), Some("127.0.0.1:1 by https_proxy"), "{server}");
        }
    }
}
