//! The first start makes a cluster, later ones keep it, others are refused.

use std::sync::Arc;

use boundkey_keys::MasterKey;
use boundkey_store::records::CaBundleRecord;
use boundkey_store::{Batch, MemoryStore, Store, Write, keys};
use time::macros::datetime;

use super::fixture::{CLUSTER, Fixture, now, start};
use crate::{CA_KINDS, ManualClock, ServiceConfig, StartError, remembered_cluster};

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(datetime!(2026-06-01 0:00 UTC)))
}

#[test]
fn a_second_start_finds_the_same_cas() {
    let first = Fixture::new();
    let again =
        start(first.store.clone(), clock(), MasterKey::new(1, [7; 32]), ServiceConfig::new(CLUSTER)).unwrap();
    for kind in CA_KINDS {
        let exported = first.service.authorities().export(kind);
        assert!(!exported.is_empty());
        assert_eq!(exported, again.authorities().export(kind), "{kind:?}");
    }
    assert_eq!(first.service.ca_pins(), again.ca_pins());
    assert_eq!(first.service.authorities().bundle(), again.authorities().bundle(), "signed once");
}

#[test]
fn a_bundle_that_is_missing_or_not_of_these_cas_is_signed_anew_and_kept() {
    let first = Fixture::new();
    let put = |signed: &[&str]| {
        let record = CaBundleRecord { signed: signed.iter().map(|text| (*text).to_owned()).collect() };
        vec![Write::record(keys::CA_BUNDLE, &record)]
    };
    let other = Fixture::new();
    let foreign: Vec<&str> = other.service.authorities().bundle().0.iter().map(String::as_str).collect();
    for writes in
        [vec![Write::Delete { key: keys::CA_BUNDLE.to_owned() }], put(&[]), put(&["a.b.c"]), put(&foreign)]
    {
        now(first.store.commit(Batch { conditions: Vec::new(), writes }, first.service.now())).unwrap();
        let starts = || {
            let config = ServiceConfig::new(CLUSTER);
            start(first.store.clone(), clock(), MasterKey::new(1, [7; 32]), config).unwrap()
        };
        let (one, other) = (starts(), starts());
        let tls = one.authorities().tls.key().public_key().clone();
        assert_eq!(one.authorities().bundle().verify(&[tls]).unwrap().cluster, CLUSTER);
        assert_eq!(one.authorities().bundle(), other.authorities().bundle());
    }
}

#[test]
fn the_name_is_remembered_and_no_other_is_accepted() {
    let first = Fixture::new();
    let remembered = now(remembered_cluster(&*first.store, first.service.now())).unwrap();
    assert_eq!(remembered.as_deref(), Some(CLUSTER));
    let other = ServiceConfig::new("other.example");
    let error = start(first.store, clock(), MasterKey::new(1, [7; 32]), other).unwrap_err();
    assert_eq!(
        error,
        StartError::OtherCluster { stored: CLUSTER.to_owned(), asked: "other.example".to_owned() }
    );
}

#[test]
fn another_master_key_is_refused_and_changes_nothing() {
    let first = Fixture::new();
    let before = now(first.store.revision()).unwrap();
    let error = start(first.store.clone(), clock(), MasterKey::new(1, [8; 32]), ServiceConfig::new(CLUSTER))
        .unwrap_err();
    assert!(matches!(error, StartError::OtherMasterKey { .. }), "{error}");
    assert!(error.to_string().contains("put back the master key"), "{error}");
    assert_eq!(now(first.store.revision()).unwrap(), before);
}

#[test]
fn a_rotated_keyring_opens_the_cluster_and_is_remembered() {
    let first = Fixture::new();
    let rotated = || MasterKey::new(1, [7; 32]).rotated(2, [9; 32]).unwrap();
    let pins = start(first.store.clone(), clock(), rotated(), ServiceConfig::new(CLUSTER)).unwrap().ca_pins();
    assert_eq!(pins, first.service.ca_pins());
    let settled = now(first.store.revision()).unwrap();
    start(first.store.clone(), clock(), rotated(), ServiceConfig::new(CLUSTER)).unwrap();
    assert_eq!(now(first.store.revision()).unwrap(), settled, "remembered once");
}

#[test]
fn a_store_that_lost_a_ca_is_refused() {
    let first = Fixture::new();
    let key = keys::authority("ssh-user");
    let batch = Batch { conditions: Vec::new(), writes: vec![Write::Delete { key: key.clone() }] };
    now(first.store.commit(batch, first.service.now())).unwrap();
    let error =
        start(first.store, clock(), MasterKey::new(1, [7; 32]), ServiceConfig::new(CLUSTER)).unwrap_err();
    assert_eq!(error, StartError::Incomplete(key));
}

#[test]
fn names_that_cannot_stand_in_certificates_name_no_cluster() {
    for name in ["", "Example.com", "a..b", "-a", "a b", "a/b", &"a".repeat(64), &"a.".repeat(130)] {
        let store = Arc::new(MemoryStore::new());
        let error =
            start(store.clone(), clock(), MasterKey::new(1, [7; 32]), ServiceConfig::new(name)).unwrap_err();
        assert_eq!(error, StartError::BadClusterName(name.to_owned()));
        assert_eq!(now(store.revision()).unwrap().0, 0, "nothing is stored");
    }
}
