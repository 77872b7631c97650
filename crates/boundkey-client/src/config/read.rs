use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use boundkey_document::{Document, Faults, Fields, Item, Node, quoted};
use boundkey_keys::{NoSecret, Secret, tidy};
use boundkey_token::{RequestedNames, ResourceName, Role, RoleSet};
use zeroize::Zeroizing;

use super::{
    AgentConfig, ConfigError, Credential, DEFAULT_DATA_DIR, Environment, SECRET_VARIABLE,
    STATIC_KEY_VARIABLE, SecretSource, StaticKeySource, TrustConfig, outputs,
};
use crate::transport::{ADDRESS_ALLOWED, PROXY_ALLOWED, ProxyError, ServerAddress};
use crate::trust::Pin;

/// The sections that stand for a role each.
const SERVICES: [(&str, Role); 6] = [
    ("ssh_service", Role::Node),
    ("proxy_service", Role::Proxy),
    ("app_service", Role::App),
    ("kubernetes_service", Role::Kube),
    ("db_service", Role::Db),
    ("windows_desktop_service", Role::WindowsDesktop),
];
const PIN_FORM: &str = "`sha256:` and 64 hexadecimal digits, as the server prints it";
const NAME_FORM: &str =
    "the name of a token: a letter or digit, then up to 252 letters, digits, dots, underscores or dashes";
/// The bounds of a requested lifetime.
const TTL: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(366 * 24 * 3600);
/// Requested names of one kind.
const MOST_NAMES: usize = 64;

pub(super) fn read(
    document: &Document,
    file: &str,
    environment: Environment,
) -> Result<AgentConfig, ConfigError> {
    let static_key = environment.static_key.as_ref().map(decode_static_key).transpose()?;
    let faults = Faults::new(document);
    let mut top = Fields::root(&faults);
    top.word("version", &[("v3", ())]);
    let agent_key = top.same_key(&["agent", "teleport"]);
    let mut agent = top.section(agent_key);
    let data_dir = agent.file_path("data_dir").unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR));
    // `identity/sshd.conf` names files in it.
    if !data_dir.to_str().is_some_and(outputs::for_sshd) {
        agent.fault(
            "data_dir",
            quoted(&data_dir.display().to_string()),
            "a path without control characters, `\"`, `\\`, `*`, `?` and `[`",
        );
    }
    let mut join = agent.section("join_params");
    let token = join.parsed("token_name", NAME_FORM, str::parse::<ResourceName>);
    join.missing("token_name", NAME_FORM);
    join.word("method", &[("bound_keypair", ())]);
    let credential = read_credential(&mut join, file, environment.registration_secret, static_key);
    join.finish();
    let server_key = agent.same_key(&["proxy_server", "server", "auth_server"]);
    let server = agent.parsed(server_key, ADDRESS_ALLOWED, str::parse::<ServerAddress>);
    agent.missing(server_key, ADDRESS_ALLOWED);
    let trust = read_trust(&mut agent);
    let machine_check = on_or_off(&mut top, &mut agent, "machine_check").unwrap_or(true);
    let facts = top.word("facts", &[("all", true), ("none", false)]).unwrap_or(true);
    agent.finish();
    let roles = read_roles(&mut top);
    let (names, ttl) = read_certificates(&mut top);
    let outputs = outputs::read(&mut top, &data_dir, roles.is_bot());
    top.finish();

    let proxy = match server.as_ref().map(|server| environment.proxies.for_server(server)) {
        Some(Err(ProxyError { variable, found })) => {
            return Err(ConfigError::Environment { variable, found, allowed: PROXY_ALLOWED });
        }
        Some(Ok(proxy)) => proxy,
        None => None,
    };
    let config = token.zip(server).map(|(token, server)| AgentConfig {
        data_dir,
        token,
        credential,
        server,
        proxy,
        trust,
        roles,
        names,
        ttl,
        outputs,
        machine_check,
        facts,
    });
    faults.finish(config).map_err(|violations| ConfigError::Violations { file: file.to_owned(), violations })
}

fn decode_static_key(text: &Secret) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
    let compact: Zeroizing<String> = Zeroizing::new(tidy(text.expose()).split_ascii_whitespace().collect());
    base64::engine::general_purpose::STANDARD.decode(compact.as_bytes()).map(Zeroizing::new).map_err(|_| {
        let found = match Secret::from_written(text.expose().as_bytes()) {
            Err(NoSecret::PrivateKey) => "a private key as it stands in its file (not shown)".to_owned(),
            Err(
                mistake @ (NoSecret::Quotes | NoSecret::Placeholder | NoSecret::Template | NoSecret::Path),
            ) => mistake.to_string().replace("secret", "value"),
            _ => "a value that is not base64 (not shown)".to_owned(),
        };
        ConfigError::Environment {
            variable: STATIC_KEY_VARIABLE,
            found,
            allowed: "base64 of the key file's bytes, as `base64 -w0 KEY_FILE` prints it",
        }
    })
}

/// One source at most, counting the environment.
fn read_credential(
    join: &mut Fields<'_>,
    file: &str,
    secret: Option<Secret>,
    static_key: Option<Zeroizing<Vec<u8>>>,
) -> Credential {
    const ALLOWED: &str = "one of registration_secret_value, registration_secret_path, static_key_path, \
                           BOUNDKEY_REGISTRATION_SECRET and BOUNDKEY_STATIC_KEY";
    const VALUE: &str = "registration_secret_value";
    let mut section = join.section("bound_keypair");
    let mut chosen: Option<(&str, Credential)> = None;
    if let Some(secret) = secret {
        let source = SecretSource::written(secret.expose().as_bytes(), SECRET_VARIABLE.to_owned());
        chosen = Some((SECRET_VARIABLE, Credential::Secret(source)));
    }
    if let Some(key) = static_key {
        let credential = Credential::StaticKey(StaticKeySource::Given(key));
        // Two variables: there is no place in the file to point at but the section itself.
        if let Some((other, _)) = &chosen {
            join.fault(
                "bound_keypair",
                format!("both {other} and {STATIC_KEY_VARIABLE} in the environment"),
                ALLOWED,
            );
        }
        chosen = Some((STATIC_KEY_VARIABLE, credential));
    }
    let value = section.secret(VALUE).map(|text| {
        let place = section.faults().document().place(&section.path().key(VALUE));
        let origin = format!("{file}:{}:{}: `{VALUE}`", place.line, place.column);
        SecretSource::written(text.as_bytes(), origin)
    });
    let path = section.file_path("registration_secret_path");
    let key = section.file_path("static_key_path");
    let written = [
        (VALUE, value.map(Credential::Secret)),
        ("registration_secret_path", path.map(|path| Credential::Secret(SecretSource::File(path)))),
        ("static_key_path", key.map(|path| Credential::StaticKey(StaticKeySource::File(path)))),
    ];
    for (name, credential) in written {
        let Some(credential) = credential else { continue };
        match &chosen {
            Some((other, _)) => section.fault(name, format!("a second source beside {other}"), ALLOWED),
            None => chosen = Some((name, credential)),
        }
    }
    section.finish();
    chosen.map_or(Credential::StoredKey, |(_, credential)| credential)
}

fn read_trust(agent: &mut Fields<'_>) -> TrustConfig {
    let pins_key = agent.same_key(&["ca_pins", "ca_pin"]);
    let pins: Vec<Pin> = agent
        .item(pins_key)
        .map(|item| match item.node() {
            Node::Text(_) => vec![item],
            _ => item.list().unwrap_or_default(),
        })
        .unwrap_or_default()
        .iter()
        .filter_map(|item| item.parsed(PIN_FORM, str::parse))
        .collect();
    let file = agent.file_path("ca_file");
    if agent.is_set(pins_key) && agent.is_set("ca_file") {
        agent.fault(
            "ca_file",
            format!("a second way to know the server beside {pins_key}"),
            "one of the two",
        );
    }
    match file {
        Some(file) => TrustConfig::CaFile(file),
        None if pins.is_empty() => TrustConfig::System,
        None => TrustConfig::Pins(pins),
    }
}

fn read_roles(top: &mut Fields<'_>) -> RoleSet {
    let mut roles = Vec::new();
    for (key, role) in SERVICES {
        let mut service = top.section(key);
        if service.item("enabled").and_then(|item| flag(&item)).unwrap_or(false) {
            roles.push(role);
        }
        service.finish();
    }
    let mut auth = top.section("auth_service");
    if let Some(item) = auth.item("enabled")
        && flag(&item) == Some(true)
    {
        item.fault("true", "false: this is an agent, the cluster's server is `boundkey-server`");
    }
    auth.finish();
    if roles.is_empty() {
        roles.push(Role::Bot);
    }
    RoleSet::new(roles)
}

/// At the top, or in the agent's section.
fn on_or_off(top: &mut Fields<'_>, agent: &mut Fields<'_>, key: &'static str) -> Option<bool> {
    let (outer, inner) = (top.item(key), agent.item(key));
    outer.or(inner).and_then(|item| flag(&item))
}

/// True or false, also as the words that older YAML read so.
fn flag(item: &Item<'_>) -> Option<bool> {
    match item.node() {
        Node::Text(text) => match text.to_ascii_lowercase().as_str() {
            "yes" | "on" | "true" => Some(true),
            "no" | "off" | "false" => Some(false),
            _ => {
                item.refuse("true or false");
                None
            }
        },
        _ => item.boolean(),
    }
}

fn read_certificates(top: &mut Fields<'_>) -> (RequestedNames, Option<Duration>) {
    let mut section = top.section("certificates");
    let dns_names = names(&mut section, "dns_names", "a DNS name without wildcard", |text| {
        is_dns_name(text).then(|| text.to_owned())
    });
    let ip_addresses = names(&mut section, "ip_addresses", "an IP address", |text| text.parse().ok());
    let principals =
        names(&mut section, "principals", "a name without blanks, commas and wildcards", |text| {
            let good = text.len() <= 253
                && !text.contains(|c: char| c.is_whitespace() || c.is_control() || ",*?".contains(c));
            good.then(|| text.to_owned())
        });
    let ttl = section.duration_in("ttl", TTL);
    section.finish();
    (RequestedNames { dns_names, ip_addresses, principals }, ttl)
}

fn names<T>(
    section: &mut Fields<'_>,
    key: &'static str,
    allowed: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Vec<T> {
    let items = section.list(key).unwrap_or_default();
    if items.len() > MOST_NAMES {
        section.fault(key, format!("{} entries", items.len()), format!("at most {MOST_NAMES}"));
    }
    items.iter().filter_map(|item| item.parsed(allowed, |text| parse(text).ok_or(()))).collect()
}

fn is_dns_name(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.len() <= 253 && text.split('.').all(label)
}
