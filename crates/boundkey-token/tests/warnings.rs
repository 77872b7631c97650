//! What an administrator is told of a resource that is allowed.

use boundkey_token::read_resources;

fn warnings(spec: &str) -> Vec<String> {
    let text = format!(
        "kind: token\nversion: v2\nmetadata:\n  name: a\n{spec}\n  roles: [Node]\n  join_method: bound_keypair\n"
    );
    read_resources(text.as_bytes()).map_err(|error| panic!("{error}")).unwrap_or_default()[0].warnings()
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
        read_resources(text.as_bytes()).map_err(|error| panic!("{error}")).unwrap_or_default()[0].warnings()
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
