use super::names::{is_role, is_spiffe_id};
use super::{LintError, Lints, Window, display_name, hex, is_common_name, is_dns_name};
use crate::{LeafProfile, LeafRequest};
use boundkey_keys::Algorithm;

/// Alternative names that one certificate may carry: enough for any service, small enough for any handshake.
const NAMES_LIMIT: usize = 256;
const ROLES_LIMIT: usize = 32;

/// The rules that a request must keep before anything is encoded.
pub(crate) fn leaf_request(request: &LeafRequest<'_>, authority: Window) -> Result<(), LintError> {
    let mut lints = Lints::default();
    let window = request.window();
    window.lint(&mut lints);
    lints.require(
        authority.contains(window),
        "not_after",
        window,
        "a window inside that of the CA's certificate",
    );
    lints.require(
        request.serial[0] < 0x80 && request.serial != [0; 20],
        "serial",
        hex(&request.serial),
        "a positive number of 20 bytes at most",
    );
    lints.require(
        request.public_key.algorithm() != Algorithm::Rsa,
        "public_key",
        "RSA",
        "Ed25519, ECDSA P-256 or ECDSA P-384",
    );
    lints.require(
        is_common_name(request.common_name),
        "common_name",
        display_name(request.common_name),
        "1 to 64 characters without control characters",
    );
    names(request, &mut lints);
    identity(request, &mut lints);
    lints.finish()
}

fn names(request: &LeafRequest<'_>, lints: &mut Lints) {
    for (index, name) in request.dns_names.iter().enumerate() {
        lints.require(
            is_dns_name(name),
            format!("dns_names[{index}]"),
            display_name(name),
            "a host name of letters, digits, '-' and '_', without wildcards",
        );
    }
    for (index, address) in request.ip_addresses.iter().enumerate() {
        lints.require(
            !address.is_unspecified(),
            format!("ip_addresses[{index}]"),
            address,
            "the address of one host",
        );
    }
    let count = request.dns_names.len() + request.ip_addresses.len();
    lints.require(
        count <= NAMES_LIMIT,
        "dns_names",
        format_args!("{count} names"),
        "256 names and addresses",
    );
    match request.profile {
        LeafProfile::Server => {
            lints.require(count > 0, "dns_names", "nothing", "at least one name or address")
        }
        LeafProfile::Admin => lints.require(count == 0, "dns_names", format_args!("{count} names"), "none"),
        LeafProfile::Host | LeafProfile::Bot => {}
    }
}

fn identity(request: &LeafRequest<'_>, lints: &mut Lints) {
    let profile = request.profile;
    let joined = matches!(profile, LeafProfile::Host | LeafProfile::Bot);
    match request.spiffe_id {
        Some(id) => lints.require(
            is_spiffe_id(id, profile),
            "spiffe_id",
            display_name(id),
            match profile {
                LeafProfile::Host => "spiffe://CLUSTER/host/ID with a lower-case cluster",
                LeafProfile::Bot => "spiffe://CLUSTER/bot/BOT/INSTANCE with a lower-case cluster",
                LeafProfile::Admin => "spiffe://CLUSTER/PATH with a lower-case cluster",
                LeafProfile::Server => "none",
            },
        ),
        None => lints.require(!joined, "spiffe_id", "nothing", "exactly one for a host or a bot"),
    }
    lints.require(
        request.result_digest.is_some() == joined,
        "result_digest",
        if joined { "nothing" } else { "a digest" },
        "for hosts and bots always, for others never",
    );
    for (index, role) in request.roles.iter().enumerate() {
        lints.require(
            is_role(role),
            format!("roles[{index}]"),
            display_name(role),
            "a word of letters, digits, '-' and '_', 64 characters at most",
        );
    }
    let roles = request.roles.len();
    lints.require(roles <= ROLES_LIMIT, "roles", format_args!("{roles} roles"), "32 roles");
    match profile {
        LeafProfile::Admin => lints.require(roles > 0, "roles", "nothing", "at least one role"),
        LeafProfile::Server => lints.require(roles == 0, "roles", format_args!("{roles} roles"), "none"),
        LeafProfile::Host | LeafProfile::Bot => {}
    }
}
