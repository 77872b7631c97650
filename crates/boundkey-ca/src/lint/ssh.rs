use std::collections::BTreeSet;

use boundkey_keys::PublicKey;

use super::{LintError, Lints, display_name, hex, is_principal};
use crate::ssh::{SshOptions, SshProfile, SshRequest, SshView};

/// What OpenSSH reads at most (SSHKEY_CERT_MAX_PRINCIPALS).
const PRINCIPALS_LIMIT: usize = 256;
const TEXT_LIMIT: usize = 1024;

/// The rules that a request must keep before anything is encoded.
pub(crate) fn ssh_request(request: &SshRequest<'_>, options: &SshOptions<'_>) -> Result<(), LintError> {
    let mut lints = Lints::default();
    request.window().lint(&mut lints);
    lints.require(request.serial != 0, "serial", "0", "a positive number");
    lints.require(is_text(request.key_id), "key_id", display_name(request.key_id), TEXT_RULE);
    let count = request.principals.len();
    lints.require(
        (1..=PRINCIPALS_LIMIT).contains(&count),
        "principals",
        format_args!("{count} principals"),
        "1 to 256 principals: none would mean all of them",
    );
    for (index, principal) in request.principals.iter().enumerate() {
        let field = || format!("principals[{index}]");
        lints.require(
            is_principal(principal),
            field(),
            display_name(principal),
            "a name without blanks, commas, quotes and the pattern characters *, ? and !",
        );
    }
    match request.profile {
        SshProfile::Host => lints.require(
            options.critical().is_empty() && options.permissions.is_empty(),
            "options",
            "options for a host",
            "none for a host",
        ),
        SshProfile::User => user_options(options, &mut lints),
    }
    lints.finish()
}

const TEXT_RULE: &str = "1 to 1024 printable ASCII characters";

fn is_text(text: &str) -> bool {
    (1..=TEXT_LIMIT).contains(&text.len()) && text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
}

fn user_options(options: &SshOptions<'_>, lints: &mut Lints) {
    if let Some(command) = options.force_command {
        lints.require(is_text(command), "options.force_command", display_name(command), TEXT_RULE);
    }
    lints.require(
        options.source_addresses.len() <= PRINCIPALS_LIMIT,
        "options.source_addresses",
        format_args!("{} networks", options.source_addresses.len()),
        "256 networks",
    );
    for (index, network) in options.source_addresses.iter().enumerate() {
        lints.require(
            network.addr() == network.network(),
            format!("options.source_addresses[{index}]"),
            network,
            "a network address without host bits, or sshd refuses the certificate",
        );
    }
    let distinct: BTreeSet<_> = options.permissions.iter().collect();
    lints.require(
        distinct.len() == options.permissions.len(),
        "options.permissions",
        "a permission twice",
        "each permission once",
    );
}

/// The finished certificate, read again, says what was asked for and nothing else.
pub(crate) fn ssh_result(
    view: &SshView,
    request: &SshRequest<'_>,
    options: &SshOptions<'_>,
    ca: &PublicKey,
) -> Result<(), LintError> {
    let mut lints = Lints::default();
    let mut same = |holds, field: &str, found: String| {
        lints.require(holds, format!("certificate.{field}"), found, "what was asked for");
    };
    same(view.profile == request.profile, "profile", format!("{:?}", view.profile));
    same(view.public_key == *request.public_key, "public_key", view.public_key.to_openssh());
    same(view.ca_key == *ca, "ca_key", view.ca_key.to_openssh());
    same(view.key_id == request.key_id, "key_id", view.key_id.clone());
    same(view.principals == request.principals, "principals", view.principals.join(","));
    same(view.serial == request.serial, "serial", view.serial.to_string());
    same(view.nonce == request.nonce, "nonce", hex(&view.nonce));
    let window = request.window();
    same(view.valid_after == window.not_before.unsigned_abs(), "valid_after", view.valid_after.to_string());
    same(view.valid_before == window.not_after.unsigned_abs(), "valid_before", view.valid_before.to_string());
    same(
        view.critical_options == options.critical(),
        "critical_options",
        format!("{:?}", view.critical_options),
    );
    let mut extensions: Vec<_> = options
        .permissions
        .iter()
        .map(|permission| (permission.extension().to_owned(), String::new()))
        .collect();
    extensions.sort();
    same(view.extensions == extensions, "extensions", format!("{:?}", view.extensions));
    lints.finish()
}
