//! What every [`Keystore`] must do, as tests to run against an implementation.
//!
//! ```
//! boundkey_keystore::conformance::run(|| Box::new(boundkey_keystore::MemoryKeystore::default()));
//! ```

use boundkey_keys::PrivateKey;
use time::OffsetDateTime;

use crate::{AgentState, HeldKey, IdentityRecord, Keystore, MAX_SUPERSEDED, PendingAttempt, Superseded};

/// Runs the whole suite; `make` gives a new, empty keystore each time.
///
/// # Panics
/// If the implementation does not conform; the message says how.
pub fn run(make: impl Fn() -> Box<dyn Keystore>) {
    an_empty_keystore_holds_the_default_state(&mut *make());
    every_field_survives_a_save(&mut *make());
    a_save_replaces_the_whole_state(&mut *make());
    loading_changes_nothing(&mut *make());
    a_loaded_key_signs_like_the_saved_one(&mut *make());
    many_saves_keep_the_last(&mut *make());
    large_states_survive(&mut *make());
}

/// A state with every field set, lists full, times with fractions.
pub fn full_state() -> AgentState {
    let time = |seconds: i64| OffsetDateTime::UNIX_EPOCH + time::Duration::new(seconds, 123_456_789);
    AgentState {
        machine: Some("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k".to_owned()),
        cluster: Some("example.com".to_owned()),
        token: Some("example-token".to_owned()),
        bound_key: Some(key(1)),
        join_state: Some("header.payload.tag".to_owned()),
        superseded: (0..MAX_SUPERSEDED as u8)
            .map(|n| Superseded { key: key(10 + n), join_state: (n % 2 == 0).then(|| format!("state {n}")) })
            .collect(),
        pending: Some(PendingAttempt {
            attempt: *b"sixteen bytes id",
            started_at: time(1_700_000_000),
            tls_key: PrivateKey::ed25519_from_seed(&[3; 32]),
            ssh_key: Some(PrivateKey::ed25519_from_seed(&[4; 32])),
            ssh_public_key: Some(PrivateKey::ed25519_from_seed(&[4; 32]).public_key().clone()),
            new_key: Some(key(5)),
        }),
        identity: Some(IdentityRecord {
            identity_kind: "host".to_owned(),
            id: "3f3e8d2c-9d3b-4b8e-a9a6-0d3a52a5a1b0".to_owned(),
            tls_key: PrivateKey::ed25519_from_seed(&[6; 32]),
            ssh_key: Some(PrivateKey::ed25519_from_seed(&[7; 32])),
            x509_chain: vec![vec![0x30, 0x03, 0x02, 0x01, 0x00], vec![0xff; 900], vec![]],
            ssh_certificate: Some("ssh-ed25519-cert-v01@openssh.com AAAA comment".to_owned()),
            obtained_at: time(1_700_000_001),
            not_after: time(1_700_086_400),
            renew_at: time(-1),
        }),
        ca_bundle: Some(r#"{"payload":"...","signatures":["one","two"]}"#.to_owned()),
        ca_bundle_signer: Some(PrivateKey::ed25519_from_seed(&[8; 32]).public_key().clone()),
        last_error: Some("no connection".to_owned()),
        last_error_at: Some(time(1_700_000_002)),
    }
}

/// Panics at the first field in which two states differ.
///
/// # Panics
/// If they differ.
pub fn assert_same(left: &AgentState, right: &AgentState) {
    assert_eq!(left.machine, right.machine, "machine");
    assert_eq!(left.cluster, right.cluster, "cluster");
    assert_eq!(left.token, right.token, "token");
    assert_eq!(left.join_state, right.join_state, "join_state");
    assert_eq!(left.ca_bundle, right.ca_bundle, "ca_bundle");
    assert_eq!(left.last_error, right.last_error, "last_error");
    assert_eq!(left.last_error_at, right.last_error_at, "last_error_at");
    assert_eq!(left.superseded.len(), right.superseded.len(), "length of superseded");
    // The rest holds keys, which have no equality: their encodings do.
    let (left, right) = (left.to_json(), right.to_json());
    assert!(left == right, "a key, the pending attempt or the identity differs");
}

fn an_empty_keystore_holds_the_default_state(store: &mut dyn Keystore) {
    assert_same(&load(store), &AgentState::default());
    assert_same(&load(store), &AgentState::default());
}

fn every_field_survives_a_save(store: &mut dyn Keystore) {
    store.save(&full_state()).expect("a full state is saved");
    let loaded = load(store);
    assert_same(&loaded, &full_state());
    let pending = loaded.pending.expect("the pending attempt is kept");
    assert_eq!(pending.attempt, *b"sixteen bytes id");
    assert_eq!(pending.new_key.map(|key| key.public_key().clone()), Some(key(5).public_key().clone()));
    let identity = loaded.identity.expect("the identity is kept");
    assert_eq!(identity.x509_chain.len(), 3, "the chain keeps its length and order");
    let order: Vec<_> = loaded.superseded.iter().map(|pair| pair.key.public_key().clone()).collect();
    let expected: Vec<_> = (0..MAX_SUPERSEDED as u8).map(|n| key(10 + n).public_key().clone()).collect();
    assert_eq!(order, expected, "superseded keys keep their order");
}

fn a_save_replaces_the_whole_state(store: &mut dyn Keystore) {
    store.save(&full_state()).expect("a full state is saved");
    let small = AgentState { token: Some("another".to_owned()), ..AgentState::default() };
    store.save(&small).expect("a smaller state is saved over it");
    assert_same(&load(store), &small);
    store.save(&AgentState::default()).expect("an empty state is saved");
    assert_same(&load(store), &AgentState::default());
}

fn loading_changes_nothing(store: &mut dyn Keystore) {
    store.save(&full_state()).expect("a full state is saved");
    let mut loaded = load(store);
    loaded.pending = None;
    loaded.join_state = None;
    drop(loaded);
    assert_same(&load(store), &full_state());
}

fn a_loaded_key_signs_like_the_saved_one(store: &mut dyn Keystore) {
    store.save(&full_state()).expect("a full state is saved");
    let loaded = load(store).bound_key.expect("the bound key is kept");
    let text = boundkey_keys::Signer::sign_jws(&loaded, "test+jwt", b"{}").expect("Ed25519 always signs");
    let proven = boundkey_keys::verify_jws(&text, "test+jwt", key(1).public_key());
    assert_eq!(proven.map(|(proven, _)| proven.thumbprint()), Ok(key(1).public_key().thumbprint()));
}

fn many_saves_keep_the_last(store: &mut dyn Keystore) {
    for n in 0..20 {
        let state = AgentState { token: Some(format!("token {n}")), ..full_state() };
        store.save(&state).expect("each state is saved");
        assert_same(&load(store), &state);
    }
}

fn large_states_survive(store: &mut dyn Keystore) {
    let state = AgentState { ca_bundle: Some("x".repeat(256 * 1024)), ..full_state() };
    store.save(&state).expect("a state of 256 KiB is saved");
    assert_same(&load(store), &state);
}

fn load(store: &mut dyn Keystore) -> AgentState {
    store.load().expect("what was saved can be loaded")
}

fn key(seed: u8) -> HeldKey {
    HeldKey::new(PrivateKey::ed25519_from_seed(&[seed; 32]))
}
