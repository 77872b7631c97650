//! What each fuzz target does with its bytes, as plain functions: the targets are one line each, and the seeds run
//! through the same functions as an ordinary test on the stable toolchain.
//!
//! A target finds a panic, a hang, a leak, or a broken promise: what was accepted is written out and read again, and
//! must be the same; what is authenticated must have one form only.

/// The server binary has no library; its reader of configurations is compiled in here (see `config`), and asks for
/// this module by this name.
#[path = "../../bins/boundkey-server/src/args.rs"]
#[allow(dead_code, reason = "only the flags of the configuration are named")]
mod args;
mod certificates;
mod config;
mod documents;
mod keys;
mod protocol;
mod sequences;
mod store;

pub use certificates::{certificate, server_names, ssh_certificate};
pub use config::{agent_config, agent_state, server_config, server_config_fault};
pub use documents::{durations_and_times, resource_json, token_document, yaml};
pub use keys::{jws, mac_jws, master_key, openssh_public_key, private_key, spki};
pub use protocol::{
    ca_bundle, challenge, join_answer, join_begin, join_complete, join_request, join_state, join_state_claims,
};
pub use sequences::{
    client_accepts_all, client_ceremony, decide_sequence, keystore_transitions, server_accepts_all,
    server_ceremony, store_batches,
};
pub use store::stored_record;

/// A target: its name and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target, in the order of the README.
pub const TARGETS: &[Target] = &[
    ("token_document", token_document),
    ("resource_json", resource_json),
    ("yaml", yaml),
    ("durations_and_times", durations_and_times),
    ("join_begin", join_begin),
    ("join_complete", join_complete),
    ("join_request", join_request),
    ("join_answer", join_answer),
    ("challenge", challenge),
    ("join_state", join_state),
    ("join_state_claims", join_state_claims),
    ("ca_bundle", ca_bundle),
    ("jws", jws),
    ("mac_jws", mac_jws),
    ("openssh_public_key", openssh_public_key),
    ("spki", spki),
    ("private_key", private_key),
    ("master_key", master_key),
    ("certificate", certificate),
    ("ssh_certificate", ssh_certificate),
    ("server_names", server_names),
    ("agent_state", agent_state),
    ("agent_config", agent_config),
    ("server_config", server_config),
    ("stored_record", stored_record),
    ("decide_sequence", decide_sequence),
    ("server_ceremony", server_ceremony),
    ("client_ceremony", client_ceremony),
    ("server_accepts_all", server_accepts_all),
    ("client_accepts_all", client_accepts_all),
    ("keystore_transitions", keystore_transitions),
    ("store_batches", store_batches),
];

/// The fixed scene: seeds are made for it.
pub mod scene {
    use boundkey_keys::{MasterKey, PrivateKey};
    use time::OffsetDateTime;
    use time::macros::datetime;

    pub const CLUSTER: &str = "example.com";
    pub const NOW: OffsetDateTime = datetime!(2030-01-01 12:00 UTC);

    pub fn master() -> MasterKey {
        MasterKey::new(1, [7; 32])
    }

    /// Key number `n`, Ed25519: the same signature each time.
    pub fn key(n: u8) -> PrivateKey {
        PrivateKey::ed25519_from_seed(&[n; 32])
    }
}

/// Text targets see the longest part of the bytes that is UTF-8.
fn text(data: &[u8]) -> &str {
    match std::str::from_utf8(data) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&data[..error.valid_up_to()]).unwrap_or_default(),
    }
}
