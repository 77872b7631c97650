use std::net::IpAddr;
use std::time::Duration;

use boundkey_document::{Fields, format_duration, quoted};
use ipnet::IpNet;
use serde_json::{Map, Value, json};

use crate::ResourceName;
use crate::metadata::listed;

/// `spec.certificates`: the names a token allows. `None` of a field: its default, and nothing else.
///
/// ```
/// use boundkey_token::{CertificateNames, Principals, RequestedNames};
///
/// let allowed = CertificateNames { dns_names: Some(vec!["*.web.example.com".into()]), ..Default::default() };
/// let defaults = RequestedNames { principals: vec!["web-1".into()], ..Default::default() };
/// let asked = |name: &str| RequestedNames { dns_names: vec![name.into()], ..Default::default() };
///
/// let granted = allowed.grant(&asked("a.web.example.com"), &defaults, Principals::Hosts).unwrap();
/// assert_eq!((granted.dns_names, granted.principals), (vec!["a.web.example.com".into()], vec!["web-1".into()]));
/// assert_eq!(
///     allowed.grant(&asked("web.example.com"), &defaults, Principals::Hosts),
///     Err(vec![("spec.certificates.dns_names", "web.example.com".into())])
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CertificateNames {
    /// DNS names; a leading `*.` matches one label.
    pub dns_names: Option<Vec<String>>,
    /// Networks whose addresses are allowed.
    pub ip_addresses: Option<Vec<IpNet>>,
    /// SSH principals, matched as [`Principals`] says.
    pub principals: Option<Vec<String>>,
    /// The longest validity of a certificate.
    pub max_ttl: Option<Duration>,
}

/// What the SSH principals of a certificate name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Principals {
    /// Hosts: ssh looks for them in lower case, so letter case does not count.
    Hosts,
    /// Users: logins are matched exactly.
    Logins,
}

impl Principals {
    fn same(self, a: &str, b: &str) -> bool {
        match self {
            Self::Hosts => a.eq_ignore_ascii_case(b),
            Self::Logins => a == b,
        }
    }
}

/// A name that is not allowed: the field of the token to change, and the name.
pub type NotAllowed = (&'static str, String);

/// What a machine asks to be named; empty = what the token allows by default. serde JSON: part of the wire request.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestedNames {
    /// DNS names; never a wildcard.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns_names: Vec<String>,
    /// Addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_addresses: Vec<IpAddr>,
    /// SSH principals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<String>,
}

const DNS_ALLOWED: &str = "a DNS name without a final dot; a wildcard only as a leading `*.`";
const NET_ALLOWED: &str = "an address or a network such as 10.1.0.0/16, without bits beyond its prefix";
pub(crate) const PRINCIPAL_ALLOWED: &str =
    "a principal: up to 255 printable ASCII characters without blanks, quotes, commas, `*`, `?` or `!`";

impl CertificateNames {
    /// The names to put in a certificate, or all that are not allowed.
    ///
    /// `defaults`: what is allowed, and given, for fields that the token leaves out (the token's name, NAME.CLUSTER,
    /// host id; a bot's logins). A field that the token lists gives by default its concrete entries only: no wildcard
    /// and no network of more than one address.
    ///
    /// # Errors
    /// Every name asked for that the token does not allow.
    pub fn grant(
        &self,
        requested: &RequestedNames,
        defaults: &RequestedNames,
        principals: Principals,
    ) -> Result<RequestedNames, Vec<NotAllowed>> {
        let mut refused = Vec::new();
        let granted = RequestedNames {
            dns_names: grant_field(
                &requested.dns_names,
                &defaults.dns_names,
                self.dns_names.as_deref(),
                |listed| (!listed.starts_with("*.")).then(|| listed.clone()),
                |listed, name| is_dns_name(name) && dns_matches(listed, name),
                |default, name| is_dns_name(name) && default.eq_ignore_ascii_case(name),
                |name| refused.push(("spec.certificates.dns_names", name.clone())),
            ),
            ip_addresses: grant_field(
                &requested.ip_addresses,
                &defaults.ip_addresses,
                self.ip_addresses.as_deref(),
                |net| (net.prefix_len() == net.max_prefix_len()).then(|| net.addr()),
                |net, address| net.contains(address),
                |default, address| default == address,
                |address| refused.push(("spec.certificates.ip_addresses", address.to_string())),
            ),
            principals: grant_field(
                &requested.principals,
                &defaults.principals,
                self.principals.as_deref(),
                |listed| Some(listed.clone()),
                |listed, name| is_principal(name) && principals.same(listed, name),
                |default, name| is_principal(name) && principals.same(default, name),
                |name| refused.push(("spec.certificates.principals", name.clone())),
            ),
        };
        if refused.is_empty() { Ok(granted) } else { Err(refused) }
    }

    /// A list takes the place of the defaults, whole: whoever only meant to add a name has lost them.
    pub(crate) fn warnings(&self, token: &ResourceName, bot: bool) -> Vec<String> {
        let lost = |field: &str, listed: Option<&Vec<String>>, defaults: &str| {
            let kept = |name: &String| name.eq_ignore_ascii_case(token.as_str());
            let lost = listed.is_some_and(|listed| !listed.iter().any(kept));
            lost.then(|| {
                format!(
                    "spec.certificates.{field} takes the place of the default names ({defaults}): list those of them that \
                     are to be certified too"
                )
            })
        };
        let hosts = format!("{token}, {token}.CLUSTER, the host's id");
        let principals = if bot { "the bot's logins".to_owned() } else { hosts.clone() };
        let mut warnings = Vec::new();
        warnings.extend(lost("dns_names", self.dns_names.as_ref().filter(|_| !bot), &hosts));
        warnings.extend(lost("principals", self.principals.as_ref(), &principals));
        warnings
    }

    pub(crate) fn read(spec: &mut Fields<'_>) -> Self {
        let mut fields = spec.section("certificates");
        let names = Self {
            dns_names: entries(&mut fields, "dns_names", "name", read_dns_name),
            ip_addresses: entries(&mut fields, "ip_addresses", "network", read_network),
            principals: entries(&mut fields, "principals", "principal", |text| {
                is_principal(text).then(|| text.to_owned()).ok_or_else(|| PRINCIPAL_ALLOWED.to_owned())
            }),
            max_ttl: fields
                .duration_in("max_ttl", Duration::from_secs(1)..=Duration::from_secs(3650 * 86_400)),
        };
        fields.finish();
        names
    }

    pub(crate) fn to_json(&self) -> Map<String, Value> {
        let mut certificates = Map::new();
        if let Some(names) = &self.dns_names {
            certificates.insert("dns_names".to_owned(), json!(names));
        }
        if let Some(networks) = &self.ip_addresses {
            certificates.insert("ip_addresses".to_owned(), json!(networks));
        }
        if let Some(principals) = &self.principals {
            certificates.insert("principals".to_owned(), json!(principals));
        }
        if let Some(ttl) = self.max_ttl {
            certificates.insert("max_ttl".to_owned(), json!(format_duration(ttl)));
        }
        certificates
    }
}

/// One field of a grant. `concrete`: the name that a listed entry stands for, if it is one.
fn grant_field<T: Clone + PartialEq, L>(
    requested: &[T],
    defaults: &[T],
    listed: Option<&[L]>,
    concrete: impl Fn(&L) -> Option<T>,
    allows: impl Fn(&L, &T) -> bool,
    is_default: impl Fn(&T, &T) -> bool,
    mut refuse: impl FnMut(&T),
) -> Vec<T> {
    if requested.is_empty() {
        return match listed {
            Some(listed) => listed.iter().filter_map(concrete).collect(),
            None => defaults.to_vec(),
        };
    }
    let mut granted = Vec::with_capacity(requested.len());
    for name in requested {
        let allowed = match listed {
            Some(listed) => listed.iter().any(|entry| allows(entry, name)),
            None => defaults.iter().any(|default| is_default(default, name)),
        };
        if !allowed {
            refuse(name);
        } else if !granted.contains(name) {
            granted.push(name.clone());
        }
    }
    granted
}

fn entries<T>(
    fields: &mut Fields<'_>,
    key: &'static str,
    element: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Option<Vec<T>> {
    let items = listed(fields, key, element)?;
    Some(
        items
            .iter()
            .filter_map(|item| read(item.text()?).map_err(|allowed| item.refuse(allowed)).ok())
            .collect(),
    )
}

fn read_dns_name(text: &str) -> Result<String, String> {
    if text.parse::<IpAddr>().is_ok() || text.parse::<IpNet>().is_ok() {
        return Err(format!("{DNS_ALLOWED}; addresses belong to ip_addresses"));
    }
    let name = text.strip_prefix("*.").unwrap_or(text);
    if is_dns_name(name) { Ok(text.to_owned()) } else { Err(DNS_ALLOWED.to_owned()) }
}

fn read_network(text: &str) -> Result<IpNet, String> {
    let network = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| NET_ALLOWED.to_owned())?;
    if network.trunc() == network {
        Ok(network)
    } else {
        Err(format!("{NET_ALLOWED} (did you mean {}?)", quoted(&network.trunc().to_string())))
    }
}

/// Host names: letters, digits, dashes and underscores in labels of 1 to 63, 253 in all, no final dot, not an address.
fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    name.len() <= 253 && name.split('.').all(label) && name.parse::<IpAddr>().is_err()
}

fn dns_matches(listed: &str, name: &str) -> bool {
    match listed.strip_prefix("*.") {
        Some(parent) => name.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent)),
        None => listed.eq_ignore_ascii_case(name),
    }
}

/// OpenSSH reads `*`, `?`, `!` and `,` in principals as patterns, so none of them is ever certified.
pub(crate) fn is_principal(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'`,*?!".contains(&byte))
}
