//! What an administrator is told of a resource that is allowed.

use boundkey_token::read_resources;
use time::macros::datetime;

const NOW: time::OffsetDateTime = datetime!(2026-05-01 12:00 UTC);

fn warnings(spec: &str) -> Vec<String> {
    let text = format!(
        "kind: token\nversion: v2\nmetadata:\n  name: a\n{spec}\n  roles: [Node]\n  join_method: bound_keypair\n"
    );
    read_resources(text.as_bytes()).map_err(|error| panic!("{error}")).unwrap_or_default()[0].warnings(NOW)
}

#[test]
fn an_expiry_ends_renewals_too() {
    assert_eq!(
        warnings("  expires: 2030-01-01T01:00:00+01:00\nspec:"),
        [
            "metadata.expires ends renewals too: from 2030-01-01T00:00:00Z on this token admits nobody, and a machine that \
          joined with it is cut off when its certificates expire"
        ]
    );
}

#[test]
fn a_short_secret_is_weak_and_counted_in_characters() {
    let spec = |secret: &str| {
        warnings(&format!("spec:\n  bound_keypair: {{onboarding: {{registration_secret: {secret}}}}}"))
    };
    assert_eq!(
        spec("pässword"),
        [
            "spec.bound_keypair.onboarding.registration_secret has 8 characters: use 16 or more, or leave it out to have \
          one generated"
        ]
    );
    assert_eq!(spec("correct horse ba"), Vec::<String>::new());
}

#[test]
fn an_initial_key_wins_over_a_secret_and_its_deadline() {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJLIVitLyzszfqCtSRqDgGeWLcJCOVZNED6xka+82JYC";
    let onboarding = format!(
        "spec:\n  bound_keypair:\n    onboarding:\n      initial_public_key: {key}\n      \
         registration_secret: correct horse battery\n      must_register_before: 2030-01-01T00:00:00Z"
    );
    assert_eq!(
        warnings(&onboarding),
        [
            "spec.bound_keypair.onboarding.registration_secret has no effect: initial_public_key is set and wins over it",
            "spec.bound_keypair.onboarding.must_register_before has no effect: initial_public_key is set and wins over it",
        ]
    );
}

#[test]
fn mode_insecure_admits_copies_and_never_rotates() {
    assert_eq!(
        warnings("spec:\n  bound_keypair: {recovery: {mode: insecure}, rotate_after: 2030-01-01T00:00:00Z}"),
        [
            "spec.bound_keypair.recovery.mode insecure lets every holder of the key join, copies included",
            "spec.bound_keypair.rotate_after has no effect in mode insecure: it is only reported as overdue",
        ]
    );
}

#[test]
fn a_provisioner_without_a_prefix_may_change_every_token() {
    let bot = |spec: &str| {
        let text = format!("kind: bot\nversion: v1\nmetadata: {{name: ci}}\nspec: {{{spec}}}\n");
        read_resources(text.as_bytes()).map_err(|error| panic!("{error}")).unwrap_or_default()[0]
            .warnings(NOW)
    };
    assert_eq!(
        bot("admin_role: provisioner"),
        ["spec.token_prefix is not set: this provisioner may change every token"]
    );
    assert_eq!(
        bot("admin_role: auditor, token_prefix: web-"),
        ["spec.token_prefix has no effect: it limits provisioners only"]
    );
    assert_eq!(bot("admin_role: provisioner, token_prefix: web-"), Vec::<String>::new());
}

#[test]
fn a_time_that_is_past_already_is_told_for_every_kind() {
    let of = |text: &str| {
        read_resources(text.as_bytes()).map_err(|error| panic!("{error}")).unwrap_or_default()[0]
            .warnings(NOW)
    };
    assert_eq!(
        warnings("  expires: 2020-01-01T00:00:00Z\nspec:"),
        ["metadata.expires 2020-01-01T00:00:00Z is in the past: this token admits nobody"]
    );
    assert_eq!(
        warnings("spec:\n  bound_keypair: {onboarding: {must_register_before: \"2026-05-01T12:00:00Z\"}}"),
        [
            "spec.bound_keypair.onboarding.must_register_before 2026-05-01T12:00:00Z is in the past: no secret \
          registers any more"
        ]
    );
    assert_eq!(
        of("kind: bot\nversion: v1\nmetadata: {name: ci, expires: \"2020-01-01T00:00:00Z\"}\n"),
        ["metadata.expires 2020-01-01T00:00:00Z is in the past: this bot's tokens admit nobody"]
    );
    assert_eq!(
        of(
            "kind: lock\nversion: v2\nmetadata: {name: l}\nspec: {target: {join_token: a}, expires: \"2020-01-01T00:00:00Z\"}\n"
        ),
        ["spec.expires 2020-01-01T00:00:00Z is in the past: this lock keeps nobody out"]
    );
}

#[test]
fn listed_names_take_the_place_of_the_defaults_and_that_is_told() {
    let told = |spec: &str| warnings(&format!("spec:\n  certificates: {spec}"));
    assert_eq!(
        told("{principals: [db]}"),
        [
            "spec.certificates.principals takes the place of the default names (a, a.CLUSTER, the host's id): list those of \
          them that are to be certified too"
        ]
    );
    assert_eq!(told("{principals: [A, db], dns_names: [a, db.example.com]}"), Vec::<String>::new());
    assert!(
        told("{dns_names: [db.example.com]}")[0].starts_with("spec.certificates.dns_names takes the place")
    );
}

#[test]
fn a_key_that_no_agent_of_ours_can_hold_is_told() {
    let rsa = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDLei81RwAOe4sEzcUr3i3NEvx9xH7LFknlYPM4vlHaSFYz0SjZQedasav5hCogeOtiPeAhQtk+hVSK3pr65RH97RBANqjqlb6tD4UIZhqd4nvedjTFncXSX9pLFAWXpYJsz3QO2Y/qU0yyl8gwjs5ReRNuN2zQKah5A2dO+H5fcT16O3lb9nHBP+vwRROL3gbGGsg+MwTt32eP0KVzG/yXoKuUGWc4ZwCHK7OJyJvNPUb7d5jWG0qXcbGkOO2whk5+meIKQAdNCenAwwNqjSgYiOWR1kWcnM9DsCZ8IqOYGP+yLUL4NtQi1hQkyuKgcXEHkHu3lxftJNun7m8Z5ZlD";
    assert_eq!(
        warnings(&format!("spec:\n  bound_keypair: {{onboarding: {{initial_public_key: {rsa}}}}}")),
        [
            "spec.bound_keypair.onboarding.initial_public_key is of type ssh-rsa, which boundkey-agent cannot hold: use \
          ssh-ed25519 or ecdsa-sha2-nistp256 unless another agent has it"
        ]
    );
}
