use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::conformance::{assert_same, full_state};

fn text() -> String {
    String::from_utf8(full_state().to_json().to_vec()).unwrap()
}

fn error(text: &str) -> StateFormatError {
    AgentState::from_json(text.as_bytes()).unwrap_err()
}

#[test]
fn the_default_state_is_small_and_reads_back() {
    let json = AgentState::default().to_json();
    assert!(json.len() < 500 && json.ends_with(b"}\n"));
    assert_same(&AgentState::from_json(&json).unwrap(), &AgentState::default());
}

#[test]
fn the_buffer_is_made_in_its_final_size() {
    let json = full_state().to_json();
    assert_eq!(json.len(), json.capacity());
}

#[test]
fn p256_keys_survive_too() {
    let key = PrivateKey::generate_p256().unwrap();
    let state = AgentState { bound_key: Some(HeldKey::new(key.duplicate())), ..AgentState::default() };
    let read = AgentState::from_json(&state.to_json()).unwrap();
    assert_eq!(read.bound_key.map(|held| held.public_key().clone()), Some(key.public_key().clone()));
}

#[test]
fn a_cut_state_is_never_taken_for_another() {
    let text = text();
    let end = text.trim_end().len();
    assert_eq!(error(""), StateFormatError::Empty);
    assert_eq!(error("\n"), StateFormatError::Empty);
    for length in 1..end {
        let found = AgentState::from_json(&text.as_bytes()[..length]).unwrap_err();
        assert!(matches!(found, StateFormatError::Truncated { .. }), "{length}: {found:?}");
    }
    // What a crash leaves where data is not synced before the rename.
    assert_eq!(error(&"\0".repeat(4096)), StateFormatError::Foreign);
}

#[test]
fn foreign_files_are_named_as_such() {
    for foreign in [
        "hello",
        "[]",
        "{}",
        "null",
        r#"{"version":1}"#,
        r#"{"kind":"token","version":"v2"}"#,
        r#"{"kind":"boundkey-agent-state"}"#,
        r#"{"kind":5,"version":1}"#,
        r#"["boundkey-agent-state",1]"#,
        "-----BEGIN PRIVATE KEY-----",
    ] {
        assert_eq!(error(foreign), StateFormatError::Foreign, "{foreign}");
    }
}

#[test]
fn a_newer_version_is_named_whatever_else_it_holds() {
    let newer = text().replace("\"version\": 1", "\"version\": 2, \"news\": [1]");
    assert_eq!(error(&newer), StateFormatError::Version { found: 2 });
    assert!(error(&newer).to_string().contains("run the newer agent"));
}

#[test]
fn unknown_missing_and_repeated_fields_are_refused() {
    let text = text();
    for changed in [
        text.replace("\"token\": \"example-token\"", "\"tokens\": \"example-token\""),
        text.replace("\"token\": \"example-token\",", ""),
        text.replace("\"ssh_certificate\": \"ssh-ed25519-cert-v01@openssh.com AAAA comment\",", ""),
        text.replace(",\n      \"join_state\": \"state 4\"", ""),
        text.replace("\"token\": \"example-token\"", "\"token\": \"a\", \"token\": \"b\""),
        text.replace("\"token\": \"example-token\"", "\"token\": 5"),
        text.replace("\"kind\": \"host\"", "\"kind\": \"host\", \"kind\": \"bot\""),
        text.replace("\"started_at\": \"2023", "\"started_at\": \"23"),
    ] {
        assert_ne!(changed, text);
        let found = error(&changed);
        assert!(matches!(found, StateFormatError::Shape { .. }), "{found:?}");
    }
    assert!(matches!(error(&format!("{text}{{}}")), StateFormatError::Syntax { .. }));
    assert!(matches!(error(&text.replacen(',', ";", 1)), StateFormatError::Syntax { .. }));
}

#[test]
fn damaged_values_name_their_field() {
    let text = text();
    let key = encode(full_state().bound_key.unwrap().private());
    let bad = text.replace(key.as_str(), &key[..key.len() - 4]);
    let source = KeyFileError::Damaged;
    assert_eq!(error(&bad), StateFormatError::Key { field: "bound_key", source });
    let bad = text.replace(key.as_str(), "?");
    let expected = "padded base64";
    assert_eq!(error(&bad), StateFormatError::Field { field: "bound_key", expected });
    let attempt = URL_SAFE_NO_PAD.encode(b"sixteen bytes id");
    for wrong in ["", "c2l4", &format!("{attempt}A"), &format!("+{}", &attempt[1..])] {
        let bad = text.replace(&attempt, wrong);
        let expected = "22 characters of unpadded base64url";
        assert_eq!(error(&bad), StateFormatError::Field { field: "pending.attempt", expected }, "{wrong}");
    }
    let bad = text.replace("MAMCAQA=", "MAMCAQA");
    assert_eq!(error(&bad), StateFormatError::Field { field: "identity.x509_chain", expected: "base64" });
}

#[test]
fn more_than_ten_superseded_keys_are_refused() {
    let text = text();
    let at = text.find("\"superseded\": [").unwrap() + "\"superseded\": [".len();
    let key = encode(full_state().bound_key.unwrap().private());
    let more = format!("{}{{\"key\":\"{}\",\"join_state\":null}},{}", &text[..at], *key, &text[at..]);
    assert_eq!(error(&more), StateFormatError::Field { field: "superseded", expected: "at most 10 keys" });
}

#[test]
fn the_size_is_bounded() {
    let long = " ".repeat(MAX_BYTES + 1);
    assert_eq!(error(&long), StateFormatError::TooLong { bytes: MAX_BYTES + 1 });
}

#[test]
fn no_error_repeats_a_key() {
    let text = text();
    let key = encode(full_state().bound_key.unwrap().private()).to_string();
    for changed in [
        text.replace(&format!("\"{key}\""), &format!("[\"{key}\"]")),
        text.replace("\"version\": 1", &format!("\"version\": \"{key}\"")),
        text.replace("\"token\"", &format!("\"{key}\"")),
        text.replace(&key, &format!("{key}{key}")),
        text.replace("\"example-token\"", &key),
    ] {
        assert_ne!(changed, text);
        let error = error(&changed);
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(&key[..12]), "{shown}");
    }
}

prop_compose! {
    fn held()(seed: [u8; 32]) -> HeldKey { HeldKey::new(PrivateKey::ed25519_from_seed(&seed)) }
}

prop_compose! {
    fn private()(seed: [u8; 32]) -> PrivateKey { PrivateKey::ed25519_from_seed(&seed) }
}

prop_compose! {
    fn time()(seconds in -62_135_596_800i64..253_402_300_800, nanoseconds in 0i64..1_000_000_000)
        -> OffsetDateTime
    {
        OffsetDateTime::from_unix_timestamp(seconds).unwrap().replace_nanosecond(nanoseconds as u32).unwrap()
    }
}

prop_compose! {
    fn pair()(key in held(), join_state: Option<String>) -> Superseded { Superseded { key, join_state } }
}

prop_compose! {
    fn pending()(
        attempt: [u8; 16],
        started_at in time(),
        tls_key in private(),
        ssh_key in option::of(private()),
        ssh_public_key in option::of(private()),
        new_key in option::of(held()),
    ) -> PendingAttempt {
        let ssh_public_key = ssh_public_key.map(|key| key.public_key().clone());
        PendingAttempt { attempt, started_at, tls_key, ssh_key, ssh_public_key, new_key }
    }
}

prop_compose! {
    fn identity()(
        identity_kind: String,
        id: String,
        tls_key in private(),
        ssh_key in option::of(private()),
        x509_chain: Vec<Vec<u8>>,
        ssh_certificate: Option<String>,
        times in [time(), time(), time()],
    ) -> IdentityRecord {
        let [obtained_at, not_after, renew_at] = times;
        IdentityRecord {
            identity_kind, id, tls_key, ssh_key, x509_chain, ssh_certificate, obtained_at, not_after, renew_at,
        }
    }
}

prop_compose! {
    fn state()(
        texts: [Option<String>; 6],
        bound_key in option::of(held()),
        superseded in prop::collection::vec(pair(), 0..=MAX_SUPERSEDED),
        pending in option::of(pending()),
        identity in option::of(identity()),
        last_error_at in option::of(time()),
    ) -> AgentState {
        let [machine, cluster, token, join_state, ca_bundle, last_error] = texts;
        AgentState {
            machine, cluster, token, bound_key, join_state, superseded, pending, identity,
            ca_bundle, ca_bundle_signer: None, last_error, last_error_at,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_state_reads_back_as_it_was(state in state()) {
        let json = state.to_json();
        let read = AgentState::from_json(&json).unwrap();
        assert_same(&read, &state);
        let keys = |state: &AgentState| -> Vec<_> {
            state.pairs().map(|pair| pair.key.public_key().clone()).collect()
        };
        prop_assert_eq!(keys(&read), keys(&state));
        prop_assert_eq!(read.identity.map(|i| (i.not_after, i.renew_at)), state.identity.map(|i| (i.not_after, i.renew_at)));
    }

    #[test]
    fn no_changed_byte_makes_the_reader_panic(at in 0usize..8000, to: u8) {
        let mut json = full_state().to_json().to_vec();
        let at = at % json.len();
        json[at] = to;
        let _ = AgentState::from_json(&json);
    }

    #[test]
    fn no_text_makes_the_reader_panic(bytes: Vec<u8>) {
        prop_assert!(AgentState::from_json(&bytes).is_err());
    }
}
