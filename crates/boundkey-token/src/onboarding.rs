use boundkey_document::Fields;
use boundkey_keys::{PublicKey, Secret};

use crate::{Onboarding, SpecSecret};

const MIN_SECRET: usize = 8;
const GOOD_SECRET: usize = 16;
const MAX_SECRET: usize = 1024;
const KEY_ALLOWED: &str = "a public key in authorized_keys form: ssh-ed25519, ecdsa-sha2-nistp256, \
                           ecdsa-sha2-nistp384, or ssh-rsa of 2048 to 8192 bits";

pub(crate) fn read(keypair: &mut Fields<'_>) -> Onboarding {
    let mut fields = keypair.section("onboarding");
    let onboarding = Onboarding {
        initial_public_key: public_key(&mut fields),
        registration_secret: secret(&mut fields),
        must_register_before: fields.time("must_register_before"),
    };
    fields.finish();
    onboarding
}

/// What does not parse is described and never shown: it may be a private key or a secret in the wrong place.
fn public_key(fields: &mut Fields<'_>) -> Option<PublicKey> {
    let text = fields.secret("initial_public_key")?;
    match PublicKey::from_openssh(text.trim_end()) {
        Ok(key) => Some(key),
        Err(_) => {
            let (found, hint) = wrong_key(text);
            fields.fault("initial_public_key", found, format!("{KEY_ALLOWED}{hint}"));
            None
        }
    }
}

fn wrong_key(text: &str) -> (String, &'static str) {
    const READABLE: [&str; 4] = ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ssh-rsa"];
    const OTHERS: [&str; 5] = [
        "ssh-dss",
        "ssh-ed448",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    ];
    if is_private_key(text) {
        return (
            "a private key (not shown)".to_owned(),
            "; a private key stays on its machine, and this one should be replaced",
        );
    }
    if text.trim_start().starts_with("-----BEGIN") {
        return ("a PEM block (not shown)".to_owned(), "");
    }
    if text.trim_end().contains(['\n', '\r']) {
        return ("several lines (not shown)".to_owned(), "; one key on one line");
    }
    let word = text.split_whitespace().next().unwrap_or_default();
    if READABLE.contains(&word) {
        return (
            format!("a key of type `{word}` that is cut off, damaged, or of a size that is not allowed"),
            "",
        );
    }
    if OTHERS.contains(&word) {
        return (format!("a key of type `{word}`"), "");
    }
    if text.split_whitespace().any(|word| READABLE.contains(&word)) {
        return ("a public key with options before it (not shown)".to_owned(), "; without options");
    }
    (format!("a text of {} characters that is no public key (not shown)", text.chars().count()), "")
}

/// The registration secret. No violation ever repeats it.
fn secret(fields: &mut Fields<'_>) -> Option<SpecSecret> {
    let text = fields.secret("registration_secret")?;
    let length = text.chars().count();
    let fault = if is_private_key(text) {
        Some(("a private key (not shown)".to_owned(), "a secret text; a private key stays on its machine"))
    } else if PublicKey::from_openssh(text.trim()).is_ok() {
        Some(("a public key".to_owned(), "a secret text; a public key belongs to initial_public_key"))
    } else if length < MIN_SECRET {
        Some((format!("a secret of {length} characters (not shown)"), "at least 8 characters"))
    } else if text.len() > MAX_SECRET {
        Some((format!("a secret of {} bytes (not shown)", text.len()), "at most 1024 bytes"))
    } else if text.trim() != text || text.contains(char::is_control) {
        Some((
            "a secret with line breaks, or blanks at its ends (not shown)".to_owned(),
            "one line without blanks at its ends",
        ))
    } else {
        None
    };
    match fault {
        Some((found, allowed)) => {
            fields.fault("registration_secret", found, allowed);
            None
        }
        None => Some(SpecSecret(Secret::new(text.to_owned()))),
    }
}

fn is_private_key(text: &str) -> bool {
    text.contains("PRIVATE KEY")
}

/// What an administrator should know about an onboarding that is allowed.
pub(crate) fn warnings(onboarding: &Onboarding) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(secret) = &onboarding.registration_secret {
        let length = secret.0.expose().chars().count();
        if length < GOOD_SECRET {
            warnings.push(format!(
                "spec.bound_keypair.onboarding.registration_secret has {length} characters: use {GOOD_SECRET} or \
                 more, or leave it out to have one generated"
            ));
        }
    }
    if onboarding.initial_public_key.is_some() {
        for (set, field) in [
            (onboarding.registration_secret.is_some(), "registration_secret"),
            (onboarding.must_register_before.is_some(), "must_register_before"),
        ] {
            if set {
                warnings.push(format!(
                    "spec.bound_keypair.onboarding.{field} has no effect: initial_public_key is set and wins over it"
                ));
            }
        }
    }
    warnings
}
