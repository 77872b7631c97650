use std::net::IpAddr;

use crate::LeafProfile;

/// `ub-common-name` of RFC 5280: what strict readers accept.
const COMMON_NAME_LIMIT: usize = 64;

/// Whether a name may stand as a dNSName in a certificate: labels of ASCII letters, digits, `-` and `_` (no
/// `-` at either end, 63 characters at most), 253 characters at most, no trailing dot, no wildcard, no address.
/// These are the rules by which tokens allow names.
///
/// Names of tokens may break them (`a..b`, `10.0.0.1`): filter default names through this.
///
/// # Source
/// RFC 5280 section 4.2.1.6, RFC 1034 section 3.5; `_` as in practice.
pub fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    name.len() <= 253 && name.split('.').all(label) && name.parse::<IpAddr>().is_err()
}

/// Whether a name may stand as a principal in an OpenSSH certificate: 1 to 255 printable ASCII characters
/// without blanks, commas, quotes or the pattern characters `*`, `?` and `!`.
pub fn is_principal(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic() && !b",*?!\"'`".contains(&byte))
}

/// The name to show in a certificate's subject: `preferred` if it fits in the 64 characters that a common name
/// may have, otherwise `fallback` (a host or instance id). Names that count stand in the alternative names.
pub fn common_name<'a>(preferred: &'a str, fallback: &'a str) -> &'a str {
    if is_common_name(preferred) { preferred } else { fallback }
}

pub(crate) fn is_common_name(name: &str) -> bool {
    (1..=COMMON_NAME_LIMIT).contains(&name.chars().count()) && !name.chars().any(char::is_control)
}

/// Found values in messages: an empty one must be visible.
pub(crate) fn display_name(name: &str) -> &str {
    if name.is_empty() { "nothing" } else { name }
}

/// Whether a SPIFFE ID has the form of its profile: `spiffe://CLUSTER/host/ID`, `/bot/BOT/INSTANCE`, or any
/// path for administrators.
pub(super) fn is_spiffe_id(id: &str, profile: LeafProfile) -> bool {
    let Some(rest) = id.strip_prefix("spiffe://") else { return false };
    let mut parts = rest.split('/');
    let trust_domain = parts.next().unwrap_or_default();
    let path: Vec<&str> = parts.collect();
    let segment = |segment: &&str| {
        !matches!(*segment, "" | "." | "..")
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let domain = (1..=255).contains(&trust_domain.len())
        && trust_domain
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte));
    let shape = match profile {
        LeafProfile::Host => matches!(path[..], ["host", _]),
        LeafProfile::Bot => matches!(path[..], ["bot", _, _]),
        LeafProfile::Admin => !path.is_empty(),
        LeafProfile::Server => false,
    };
    id.len() <= 2048 && domain && shape && path.iter().all(segment)
}

/// Roles are words: they are shown in key ids and compared by name.
pub(super) fn is_role(role: &str) -> bool {
    (1..=64).contains(&role.len())
        && role.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_names() {
        for name in ["localhost", "a.example.com", "A_b-1.example", "1.example", "x".repeat(63).as_str()] {
            assert!(is_dns_name(name), "{name}");
        }
    }

    #[test]
    fn wildcards_addresses_and_malformed_names_are_not() {
        let long = format!("{}.com", "a.".repeat(125));
        for name in [
            "",
            "*",
            "*.example.com",
            "a*.example.com",
            "example.com.",
            "a..b",
            ".a",
            "-a.com",
            "a-.com",
            "a b",
            "10.0.0.1",
            "ü.example",
            "a:1",
            "[::1]",
            "a\0b",
            &"x".repeat(64),
            &long,
        ] {
            assert!(!is_dns_name(name), "{name:?}");
        }
    }

    #[test]
    fn principals_have_no_patterns_and_no_separators() {
        for name in ["root", "web-1.example.com", "user@example.com", "DOMAIN\\user", "a.1"] {
            assert!(is_principal(name), "{name}");
        }
        for name in ["", "*", "a*", "web-?", "!root", "a,b", "a b", "a\n", "ü", "a\"", "a`", &"x".repeat(256)]
        {
            assert!(!is_principal(name), "{name:?}");
        }
    }

    #[test]
    fn spiffe_ids_fit_their_profile() {
        let host = "spiffe://example.com/host/5a3f";
        let bot = "spiffe://example.com/bot/ci/5a3f";
        assert!(is_spiffe_id(host, LeafProfile::Host));
        assert!(is_spiffe_id(bot, LeafProfile::Bot));
        assert!(is_spiffe_id("spiffe://example.com/admin/a", LeafProfile::Admin));
        assert!(!is_spiffe_id(host, LeafProfile::Bot));
        assert!(!is_spiffe_id(bot, LeafProfile::Host));
        assert!(!is_spiffe_id(host, LeafProfile::Server));
        for id in [
            "https://example.com/host/a",
            "spiffe://Example.com/host/a",
            "spiffe:///host/a",
            "spiffe://e:1/host/a",
            "spiffe://e/host/",
            "spiffe://e/host/..",
            "spiffe://e/host/a/",
            "spiffe://e/host/a?b",
            "spiffe://e",
            "spiffe://u@e/host/a",
        ] {
            assert!(!is_spiffe_id(id, LeafProfile::Host), "{id}");
        }
    }

    #[test]
    fn a_long_name_leaves_the_subject_to_the_id() {
        let long = "x".repeat(65);
        assert_eq!(common_name(&long, "id"), "id");
        assert_eq!(common_name("", "id"), "id");
        assert_eq!(common_name(&long[1..], "id"), &long[1..]);
    }
}
