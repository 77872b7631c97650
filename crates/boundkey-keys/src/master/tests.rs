use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

const FILE: &str = r#"{"version":1,"keys":[{"id":2,"key":"AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI"},{"id":1,"key":"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"}],"epoch":5,"retired_below":3}"#;

fn ring() -> MasterKey {
    MasterKey::from_json(FILE.as_bytes()).unwrap()
}

fn error(text: &str) -> MasterKeyError {
    match MasterKey::from_json(text.as_bytes()) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => error,
    }
}

#[test]
fn hkdf_is_that_of_rfc_5869() {
    let salt: Vec<u8> = (0..=0x0c).collect();
    let info: Vec<u8> = (0xf0..=0xf9).collect();
    assert_eq!(
        hex(hkdf_sha256(&salt, &[0x0b; 22], &[&info]).as_slice()),
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
    );
    assert_eq!(
        hex(hkdf_sha256(&[], &[0x0b; 22], &[]).as_slice()),
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
    );
}

/// The bytes of `docs/protocol.md`, put together by hand.
#[test]
fn derived_keys_have_the_documented_info() {
    let derived = ring().derive(Purpose::JoinState, Epoch { master: 2, epoch: 5 }).unwrap();
    let info = b"boundkey join-state v1\0\0\0\0\x02\0\0\0\x05";
    assert_eq!(derived.as_bytes(), &*hkdf_sha256(&[], &[2; 32], &[info]));
}

#[test]
fn every_purpose_key_and_epoch_has_a_key_of_its_own() {
    let purposes = [
        Purpose::Seal,
        Purpose::JoinState,
        Purpose::Challenge,
        Purpose::InstanceId,
        Purpose::Serials,
        Purpose::SecretFingerprint,
        Purpose::SourceHash,
    ];
    let mut seen = std::collections::HashSet::new();
    for purpose in purposes {
        for master in [1, 2] {
            for epoch in [3, 4, 5, 6, u32::MAX] {
                let derived = ring().derive(purpose, Epoch { master, epoch }).unwrap();
                assert!(seen.insert(*derived.as_bytes()), "{purpose:?} {master}.{epoch}");
            }
        }
    }
}

#[test]
fn unknown_keys_and_retired_epochs_derive_nothing() {
    let derive = |master, epoch| ring().derive(Purpose::Seal, Epoch { master, epoch }).is_some();
    assert!(derive(1, 3));
    assert!(derive(2, 6));
    assert!(!derive(3, 5));
    assert!(!derive(1, 2));
    assert!(!derive(2, 0));
}

#[test]
fn the_file_form_round_trips() {
    let ring = ring();
    assert_eq!(ring.current(), Epoch { master: 2, epoch: 5 });
    assert_eq!(ring.to_json().as_slice(), format!("{FILE}\n").as_bytes());
    let new = MasterKey::new(7, [9; 32]);
    let read = MasterKey::from_json(&new.to_json()).unwrap();
    assert_eq!(read.fingerprint(), new.fingerprint());
    assert_eq!(read.current(), Epoch { master: 7, epoch: 0 });
}

#[test]
fn every_fault_of_the_file_has_its_error() {
    assert_eq!(error(""), MasterKeyError::Empty);
    assert_eq!(error(" \n"), MasterKeyError::Empty);
    assert_eq!(error(&" ".repeat(20_000)), MasterKeyError::TooLong);
    assert_eq!(error(&FILE.replace("\"version\":1", "\"version\":2")), MasterKeyError::Version { found: 2 });
    let bare = r#"{"version":1,"keys":[],"epoch":0,"retired_below":0}"#;
    assert_eq!(error(bare), MasterKeyError::Count { found: 0 });
    assert_eq!(error(&FILE.replace("\"id\":1", "\"id\":2")), MasterKeyError::Repeated { id: 2 });
    assert_eq!(error(&FILE.replace("AQE\"", "AQ\"")), MasterKeyError::Key { id: 1 });
    assert_eq!(error(&FILE.replace("AQE\"", "AQF\"")), MasterKeyError::Key { id: 1 });
    assert_eq!(error(&FILE.replace("AQE\"", "AQE=\"")), MasterKeyError::Key { id: 1 });
    assert_eq!(
        error(&FILE.replace("below\":3", "below\":6")),
        MasterKeyError::Retired { retired_below: 6, epoch: 5 }
    );
    for wrong in [
        &FILE[..FILE.len() - 1],
        &FILE.replace("\"epoch\":5", "\"epoch\":5,\"epoch\":5"),
        &FILE.replace("\"epoch\":5", "\"epoch\":5,\"more\":0"),
        &FILE.replace("\"epoch\":5", "\"epoch\":-5"),
        &FILE.replace("\"epoch\":5,", ""),
        &format!("{FILE}{{}}"),
        "[1,[],0,0]",
        "key",
        "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI",
    ] {
        assert!(matches!(error(wrong), MasterKeyError::Syntax { .. }), "{wrong}");
    }
}

#[test]
fn no_error_repeats_key_material() {
    for text in [
        FILE.replace("\"id\":1", "\"id\":2"),
        FILE.replace("AQE\"", "AQ\""),
        FILE.replace("\"epoch\":5", "\"epoch\":\"AQEBAQEBAQEBAQE\""),
        FILE.replace("\"id\":1", "\"AQEBAQEBAQEBAQE\":1"),
    ] {
        let error = error(&text);
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("AQEBAQEB") && !shown.contains("AgICAgIC"), "{shown}");
    }
}

#[test]
fn what_is_sealed_opens_only_in_its_place() {
    let ring = ring();
    let sealed = ring.seal(b"ca/host", [1; 12], b"private");
    assert_eq!(ring.open(b"ca/host", &sealed).unwrap().as_slice(), b"private");
    let epoch = Epoch { master: 2, epoch: 5 };
    assert_eq!(ring.open(b"ca/bot", &sealed), Err(OpenError::NotAuthentic { epoch }));
    assert_eq!(ring.open(b"", &sealed), Err(OpenError::NotAuthentic { epoch }));
    assert_eq!(sealed.len(), 1 + 4 + 4 + 12 + 7 + 16);
    assert_eq!(&sealed[..9], &[1, 0, 0, 0, 2, 0, 0, 0, 5]);
    assert!(!sealed.windows(7).any(|window| window == b"private"));
}

#[test]
fn any_flipped_bit_of_a_sealed_value_is_refused() {
    let ring = ring();
    let sealed = ring.seal(b"aad", [1; 12], b"private");
    for at in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[at / 8] ^= 1 << (at % 8);
        assert!(ring.open(b"aad", &changed).is_err(), "bit {at}");
    }
    for length in 0..sealed.len() {
        assert!(ring.open(b"aad", &sealed[..length]).is_err(), "{length} bytes");
    }
    assert!(ring.open(b"aad", &[&sealed[..], &[0]].concat()).is_err());
}

/// The epoch is part of what is authenticated, not only a hint which key to take.
#[test]
fn a_sealed_value_cannot_be_moved_to_another_epoch_of_the_same_key() {
    let one = MasterKey { epoch: 0, retired_below: 0, ..MasterKey::new(1, [1; 32]) };
    let mut sealed = one.seal(b"aad", [1; 12], b"private");
    sealed[8] = 1;
    assert_eq!(
        one.open(b"aad", &sealed),
        Err(OpenError::NotAuthentic { epoch: Epoch { master: 1, epoch: 1 } })
    );
}

#[test]
fn the_errors_of_opening_tell_what_to_look_for() {
    let ring = ring();
    assert_eq!(ring.open(b"", &[]), Err(OpenError::Malformed));
    assert_eq!(ring.open(b"", &[1; 20]), Err(OpenError::Malformed));
    let mut newer = ring.seal(b"", [0; 12], b"");
    newer[0] = 2;
    assert_eq!(ring.open(b"", &newer), Err(OpenError::Version { found: 2 }));
    let foreign = MasterKey::new(9, [9; 32]).seal(b"", [0; 12], b"");
    assert_eq!(ring.open(b"", &foreign), Err(OpenError::UnknownKey { epoch: Epoch { master: 9, epoch: 0 } }));
}

#[test]
fn a_rotated_ring_opens_what_the_old_one_sealed_and_is_known_by_the_store() {
    let old = MasterKey::new(1, [1; 32]);
    let (sealed, fingerprint) = (old.seal(b"aad", [0; 12], b"private"), old.fingerprint());
    let new = old.rotated(2, [2; 32]).unwrap();
    assert_eq!(new.current(), Epoch { master: 2, epoch: 0 });
    assert_eq!(new.open(b"aad", &sealed).unwrap().as_slice(), b"private");
    assert_ne!(new.fingerprint(), fingerprint);
    assert!(new.knows_fingerprint(&fingerprint));
    assert!(!MasterKey::new(1, [3; 32]).knows_fingerprint(&fingerprint));
    assert_eq!(new.rotated(1, [3; 32]).err(), Some(MasterKeyError::Repeated { id: 1 }));
}

#[test]
fn epochs_have_one_spelling() {
    let epoch = Epoch { master: 12, epoch: 345 };
    assert_eq!(epoch.to_string(), "12.345");
    assert_eq!("12.345".parse(), Ok(epoch));
    for wrong in ["", "12", "12.", ".345", "12.345.6", "+12.345", "012.345", "12.4294967296", "-1.0", " 1.0"]
    {
        assert_eq!(wrong.parse::<Epoch>(), Err(MasterKeyError::Epoch { found: wrong.to_owned() }));
    }
}

proptest::proptest! {
    #[test]
    fn any_value_opens_again(plain: Vec<u8>, aad: Vec<u8>, nonce: [u8; 12], key: [u8; 32], id: u32) {
        let ring = MasterKey::new(id, key);
        let sealed = ring.seal(&aad, nonce, &plain);
        proptest::prop_assert_eq!(&*ring.open(&aad, &sealed).unwrap(), &plain);
        let read = MasterKey::from_json(&ring.to_json()).unwrap();
        proptest::prop_assert_eq!(&*read.open(&aad, &sealed).unwrap(), &plain);
    }

    #[test]
    fn no_bytes_open_or_panic(sealed: Vec<u8>) {
        proptest::prop_assert!(ring().open(b"aad", &sealed).is_err());
    }

    #[test]
    fn no_text_makes_the_reader_panic(text: Vec<u8>) {
        let _ = MasterKey::from_json(&text);
    }
}
