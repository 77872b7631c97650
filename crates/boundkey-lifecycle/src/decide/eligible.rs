//! Rule 1: the token exists (found when the case was laid out), has not expired, is of this method; the bot is
//! there; roles and names are allowed.

use boundkey_token::{Bot, JoinMethod, Principals, RequestedNames};
use time::OffsetDateTime;

use super::case::Case;
use super::{Early, refuse};
use crate::{Hash32, Identity};

/// The names to certify.
pub(super) fn check(case: &Case<'_>) -> Result<RequestedNames, Early> {
    let (token, input) = (case.token, case.input);
    // Also for renewals: an expired token is kept until it is removed, and a later expiry revives it.
    if token.expires.is_some_and(|end| end <= input.now) {
        return Err(refuse::token_expired(case));
    }
    match token.spec.join_method {
        JoinMethod::BoundKeypair => {}
    }
    let roles = &input.evidence.roles;
    if roles.is_empty() {
        return Err(refuse::no_role(case));
    }
    if let Some(role) = roles.first_not_in(&token.spec.roles) {
        return Err(refuse::role(case, role));
    }
    let logins = match &token.spec.bot_name {
        None => None,
        Some(name) => match usable(input.bot, input.now) {
            Some(bot) => Some(bot),
            None => return Err(refuse::bot_not_found(case, name.as_str())),
        },
    };
    let defaults = match logins {
        Some(bot) if bot.logins.is_empty() => principals(vec![bot.name.to_string()]),
        Some(bot) => principals(bot.logins.clone()),
        None => host_defaults(case),
    };
    let principals = if logins.is_some() { Principals::Logins } else { Principals::Hosts };
    token
        .spec
        .certificates
        .grant(&input.evidence.names, &defaults, principals)
        .map_err(|names| refuse::names(case, &names))
}

/// The bot, unless it has expired.
pub(crate) fn usable(bot: Option<&Bot>, now: OffsetDateTime) -> Option<&Bot> {
    bot.filter(|bot| bot.expires.is_none_or(|end| end > now))
}

fn principals(principals: Vec<String>) -> RequestedNames {
    RequestedNames { principals, ..RequestedNames::default() }
}

/// The token's name, NAME.CLUSTER and the host id.
fn host_defaults(case: &Case<'_>) -> RequestedNames {
    let name = case.token.name.as_str();
    let mut names = vec![name.to_owned(), format!("{name}.{}", case.input.cluster)];
    if let Identity::Host(id) = case.subject {
        names.push(id.clone());
    }
    let dns_names = names.iter().filter(|n| may_be_dns_name(n)).cloned().collect();
    RequestedNames { dns_names, principals: names, ..RequestedNames::default() }
}

/// A resource's name may be longer, or have other dots, than DNS allows: such a default is left out, for nobody
/// could sign it after the join was committed.
fn may_be_dns_name(name: &str) -> bool {
    let label =
        |l: &str| (1..=63).contains(&l.len()) && !l.starts_with('-') && !l.ends_with('-') && l.is_ascii();
    name.len() <= 253 && name.split('.').all(label) && name.parse::<std::net::IpAddr>().is_err()
}

/// What `last_attempt` keeps of the names granted: a retry must sign the very same bytes, or none.
pub(super) fn digest(names: &RequestedNames) -> Hash32 {
    let mut text = Vec::with_capacity(256);
    let mut put = |kind: u8, value: &[u8]| {
        text.push(kind);
        text.extend_from_slice(&(value.len() as u64).to_be_bytes());
        text.extend_from_slice(value);
    };
    names.dns_names.iter().for_each(|n| put(b'd', n.as_bytes()));
    names.ip_addresses.iter().for_each(|ip| match ip {
        std::net::IpAddr::V4(v4) => put(b'4', &v4.octets()),
        std::net::IpAddr::V6(v6) => put(b'6', &v6.octets()),
    });
    names.principals.iter().for_each(|n| put(b'p', n.as_bytes()));
    Hash32(boundkey_keys::sha256(&[b"boundkey granted names v1", &text]))
}
