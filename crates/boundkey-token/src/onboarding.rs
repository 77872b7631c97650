use boundkey_document::Fields;
use boundkey_keys::{Algorithm, NoSecret, ParseKeyError, PublicKey, Secret, tidy};
use time::OffsetDateTime;

use crate::{Onboarding, SpecSecret, metadata};

const MIN_SECRET: usize = 8;
const GOOD_SECRET: usize = 16;
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
        Err(error) => {
            let (found, hint) = wrong_key(text, &error);
            fields.fault("initial_public_key", found, format!("{KEY_ALLOWED}{hint}"));
            None
        }
    }
}

/// What was found instead of a public key, without any part that could be secret, and a hint.
fn wrong_key(text: &str, error: &ParseKeyError) -> (String, &'static str) {
    match error {
        ParseKeyError::PrivateKey => (
            "a private key (not shown)".to_owned(),
            "; a private key stays on its machine, and this one should be replaced",
        ),
        ParseKeyError::Pem { .. } => ("a PEM block (not shown)".to_owned(), ""),
        ParseKeyError::SeveralLines => ("several lines (not shown)".to_owned(), "; one key on one line"),
        ParseKeyError::Options { .. } => {
            ("options before the key (not shown)".to_owned(), "; without options")
        }
        ParseKeyError::Certificate { .. } => {
            ("an OpenSSH certificate".to_owned(), "; give the plain key that it certifies")
        }
        ParseKeyError::SecurityKey { .. } => {
            ("the key of a security key, whose use needs a touch".to_owned(), "")
        }
        ParseKeyError::Unsupported { found }
            if ["ssh-dss", "ecdsa-sha2-nistp521"].contains(&found.as_str()) =>
        {
            (format!("a key of type `{found}`"), "")
        }
        ParseKeyError::Damaged { .. } => {
            ("a key that is cut off or damaged (not shown)".to_owned(), "; copy the whole line")
        }
        ParseKeyError::RsaSize { bits } => (format!("an RSA key of {bits} bits"), ""),
        ParseKeyError::NotOnCurve { .. }
        | ParseKeyError::SmallOrder
        | ParseKeyError::RsaModulus
        | ParseKeyError::RsaExponent => ("a key that nobody can safely use".to_owned(), "; make a new one"),
        _ => (format!("a text of {} characters that is no public key (not shown)", text.chars().count()), ""),
    }
}

/// The registration secret. No violation ever repeats it.
fn secret(fields: &mut Fields<'_>) -> Option<SpecSecret> {
    let text = fields.secret("registration_secret")?;
    let length = text.chars().count();
    let fault = match Secret::from_written(text.as_bytes()) {
        Err(NoSecret::PrivateKey) => Some((
            "a private key (not shown)".to_owned(),
            "a secret text; a private key stays on its machine",
        )),
        Err(NoSecret::PublicKey) => {
            Some(("a public key".to_owned(), "a secret text; a public key belongs to initial_public_key"))
        }
        _ if length < MIN_SECRET => {
            Some((format!("a secret of {length} characters (not shown)"), "at least 8 characters"))
        }
        Err(NoSecret::TooLong(bytes)) => {
            Some((format!("a secret of {bytes} bytes (not shown)"), "at most 1024 bytes"))
        }
        Err(NoSecret::SeveralLines | NoSecret::Invisible | NoSecret::Nothing) => Some(ragged()),
        Ok(_) if tidy(text) != text => Some(ragged()),
        Err(mistake) => {
            Some((format!("{mistake} (not shown)"), "a secret text, or nothing: one is generated then"))
        }
        Ok(_) => None,
    };
    match fault {
        Some((found, allowed)) => {
            fields.fault("registration_secret", found, allowed);
            None
        }
        None => Some(SpecSecret(Secret::new(text.to_owned()))),
    }
}

/// An agent drops what stands at the ends of a secret, wherever it reads it.
fn ragged() -> (String, &'static str) {
    let found = "a secret with line breaks, or blanks at its ends (not shown)";
    (found.to_owned(), "one line without blanks at its ends")
}

/// What an administrator should know about an onboarding that is allowed.
pub(crate) fn warnings(onboarding: &Onboarding, now: OffsetDateTime) -> Vec<String> {
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
    let deadline = onboarding.must_register_before;
    if let Some(key) = &onboarding.initial_public_key {
        if matches!(key.algorithm(), Algorithm::Rsa | Algorithm::EcdsaP384) {
            warnings.push(format!(
                "spec.bound_keypair.onboarding.initial_public_key is of type {}, which boundkey-agent cannot hold: use \
                 ssh-ed25519 or ecdsa-sha2-nistp256 unless another agent has it",
                key.algorithm().openssh()
            ));
        }
        for (set, field) in [
            (onboarding.registration_secret.is_some(), "registration_secret"),
            (deadline.is_some(), "must_register_before"),
        ] {
            if set {
                warnings.push(format!(
                    "spec.bound_keypair.onboarding.{field} has no effect: initial_public_key is set and wins over it"
                ));
            }
        }
    } else {
        let field = "spec.bound_keypair.onboarding.must_register_before";
        warnings.extend(metadata::past(field, deadline, now, "no secret registers any more"));
    }
    warnings
}
