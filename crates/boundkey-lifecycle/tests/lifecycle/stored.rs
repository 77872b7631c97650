//! The stored and transmitted forms, pinned: a change here is a migration.

use boundkey_lifecycle::*;
use boundkey_token::RecoveryMode::{Insecure, Standard};

use crate::scene::*;

#[test]
fn ids_have_one_text_form() {
    let uid = Uid(*b"0123456789abcdef");
    assert_eq!(uid.to_string(), "30313233343536373839616263646566");
    assert_eq!(uid.to_string().parse(), Ok(uid));
    let letters = Uid([0xab, 0xcd, 0xef, 0xba, 0xdc, 0xfe, 0x1a, 0xa1, 0, 0, 0, 0, 0, 0, 0, 0xff]);
    assert_eq!("abcdefbadcfe1aa100000000000000ff".parse(), Ok(letters));
    for bad in [
        "",
        "30",
        "3031323334353637383961626364656G",
        "3031323334353637383961626364656F",
        "é0313233343536373839616263646566",
    ] {
        assert_eq!(
            bad.parse::<Uid>().map_err(|e| e.to_string()),
            Err("not 32 lower-case hex digits".to_owned()),
            "{bad}"
        );
    }
    let attempt = AttemptId([0xff; 16]);
    assert_eq!(attempt.to_string(), "_____________________w");
    assert_eq!(attempt.to_string().parse(), Ok(attempt));
    // Padded, too short, bits beyond the end, the other alphabet.
    for bad in [
        "_____________________w==",
        "____________________w",
        "______________________",
        "/////////////////////w",
    ] {
        assert!(bad.parse::<AttemptId>().is_err(), "{bad}");
    }
    let hash = hash(1);
    assert_eq!(hash.to_string().parse(), Ok(hash));
    assert!("AAAA".parse::<Hash32>().is_err());
}

#[test]
fn an_identity_is_shown_by_its_id_alone() {
    for identity in [Identity::Host("a".to_owned()), Identity::BotInstance("a".to_owned())] {
        assert_eq!(identity.id(), "a");
    }
}

#[test]
fn a_key_is_proven_as_current_or_as_new() {
    let server = Server::host(Standard, 1);
    let proven = server.evidence(&Message::new(1, 1).with_new(2)).proven;
    assert_eq!([1, 2, 3].map(|n| proven.has(&key(n))), [true, true, false]);
    assert!(!Proven::default().has(&key(1)));
}

#[test]
fn derived_ids_are_what_every_replica_derives() {
    // Computed by another implementation of SHA-256.
    let id = StateId::derive(UID, 2, None, attempt(1));
    assert_eq!(id.to_string(), "qzIAdaI3xD9YeioR8VD_Pw");
    assert_eq!(StateId::derive(UID, 2, Some(StateId([0; 16])), attempt(1)), id, "none is zeros");
    let different = [
        StateId::derive(Uid([8; 16]), 2, None, attempt(1)),
        StateId::derive(UID, 3, None, attempt(1)),
        StateId::derive(UID, 2, Some(id), attempt(1)),
        StateId::derive(UID, 2, None, attempt(2)),
    ];
    assert!(different.iter().all(|other| *other != id));
    assert_eq!(Position::derive(UID, 2, 5, Some(id)).to_string(), "EJsr1UmtiYh9Kw-YHjoY7A");
    assert_ne!(Position::derive(UID, 2, 5, Some(id)), Position::derive(UID, 2, 6, Some(id)));
}

#[test]
fn a_trail_keeps_sixteen_and_finds_them_by_sequence() {
    let mut trail = Trail::default();
    assert_eq!(trail.at(0, 0), None);
    for n in 1..=40_u8 {
        trail.push(StateId([n; 16]));
        assert_eq!(trail.0.len(), usize::from(n).min(TRAIL_LENGTH));
    }
    assert_eq!(trail.at(40, 40), Some([40; 8]));
    assert_eq!(trail.at(40, 25), Some([25; 8]));
    assert_eq!(trail.at(40, 24), None);
    assert_eq!(trail.at(40, 41), None);
    assert_eq!(trail.at(u64::MAX, 0), None);
    let text = serde_json::to_string(&trail).unwrap();
    assert_eq!(serde_json::from_str::<Trail>(&text).unwrap(), trail);
    let too_long = Trail(vec![[1; 8]; 17]);
    let text = serde_json::to_string(&too_long).unwrap();
    assert!(serde_json::from_str::<Trail>(&text).unwrap_err().to_string().contains("at most 16"));
    assert!(serde_json::from_str::<Trail>(r#"["AAAA"]"#).is_err());
    // One that was made too long by hand shrinks to its bound.
    let mut long = too_long;
    long.push(StateId([2; 16]));
    assert_eq!(long.0.len(), TRAIL_LENGTH);
}

#[test]
fn an_enrolment_is_stored_in_this_form() {
    let mut server = Server::host(Standard, 1);
    server.enrolment.secret.proof_key = Some(Sealed(vec![9, 9]));
    let mut client = Client::new(1, &server);
    client.join(&mut server);
    server.verb(Verb::GrantRecovery { count: 2 });
    server.verb(Verb::Rotate { at: Some(start() + DAY) });
    let stored = serde_json::to_string_pretty(&server.enrolment).unwrap();
    assert_eq!(stored, include_str!("enrolment.json").trim_end());
    assert_eq!(serde_json::from_str::<Enrolment>(&stored).unwrap(), server.enrolment);
}

#[test]
fn an_empty_enrolment_reads_as_a_fresh_one() {
    assert_eq!(serde_json::from_str::<Enrolment>("{}").unwrap(), Enrolment::default());
    let text = serde_json::to_string(&Enrolment::default()).unwrap();
    assert!(!text.contains("trail"), "what is empty is left out: {text}");
    assert_eq!(serde_json::from_str::<Enrolment>(&text).unwrap(), Enrolment::default());
}

#[test]
fn every_field_survives_the_store() {
    let full = Enrolment {
        generation: 3,
        secret: SecretRecord {
            generated: Some(Sealed(vec![1, 2, 3])),
            proof_key: Some(Sealed(vec![])),
            used: true,
            spec_void: true,
            void_keys: vec![thumb(1), thumb(2)],
        },
        bound_public_key: Some(key(4)),
        identity: Some(Identity::BotInstance("b".to_owned())),
        sequence: u64::MAX,
        recovery_count: u32::MAX,
        granted_limit: 7,
        rotate_requested_at: Some(start()),
        certificates_expire_at: Some(start()),
        certificates_revoked: true,
        shared_revoked_at: Some(start()),
        issued: vec![IssuedCertificate { ca: CaKind::SshUser, serial: "ff".to_owned(), expires_at: start() }],
        last_joined_at: Some(start()),
        last_recovered_at: Some(start()),
        last_rotated_at: Some(start()),
        key_bound_at: Some(start()),
        last_attempt: Some(LastAttempt {
            attempt: hash(1),
            presented: Some(StateId([1; 16])),
            identity: Identity::Host("h".to_owned()),
            issued_at: start(),
            certified: hash(2),
            granted: hash(3),
        }),
        registration_attempt: Some(hash(4)),
        last_state_id: Some(StateId([5; 16])),
        trail: Trail(vec![[6; 8]]),
        shared: true,
        adoption: Some(Adoption { instance: Identity::Host("h".to_owned()), sequence: 9 }),
        passed: Trail(vec![[7; 8]]),
        resync_until: Some(start()),
        facts: MachineFacts { hostname: "h".to_owned(), ..MachineFacts::default() },
    };
    let text = serde_json::to_string(&full).unwrap();
    assert_eq!(serde_json::from_str::<Enrolment>(&text).unwrap(), full);
}

#[test]
fn an_instance_is_stored_and_read_back() {
    let (mut server, client) = bound(Insecure, 1, 1);
    Client { state: None, ..client.copied(50_000) }.join(&mut server);
    let record = server.instances.values().next().unwrap();
    let text = serde_json::to_string(record).unwrap();
    assert_eq!(serde_json::from_str::<InstanceRecord>(&text).unwrap(), *record);
}

#[test]
fn codes_and_events_are_snake_case_and_distinct() {
    let mut texts: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    texts.extend(Code::ALL.iter().map(|code| EventCode::Denied(*code).as_str()));
    let more = [
        EventCode::Registered,
        EventCode::Renewed,
        EventCode::Recovered,
        EventCode::InstanceJoined,
        EventCode::CloneSuspected,
        EventCode::SecretReplayed,
    ];
    texts.extend(more.iter().map(|event| event.as_str()));
    for text in &texts {
        assert!(text.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{text}");
    }
    let count = texts.len();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), count);
    assert_eq!(EventCode::Denied(Code::Locked).to_string(), "denied_locked");
}

#[test]
fn a_state_says_what_the_enrolment_says() {
    let (server, client) = bound(Standard, 1, 2);
    let claims = server.enrolment.claims(UID).unwrap();
    assert_eq!(Some(&claims), client.state.as_ref());
    assert_eq!(claims.issued_at, server.now);
    assert_eq!(claims.key_since, Some(start()));
    assert_eq!(Enrolment::default().claims(UID), None);
    // A verb changes no state that was issued: a retry repeats it byte for byte.
    let mut server = server;
    server.verb(Verb::Rotate { at: None });
    server.verb(Verb::GrantRecovery { count: 9 });
    server.verb(Verb::Revoke);
    server.resync();
    server.later(DAY);
    assert_eq!(server.enrolment.claims(UID), Some(claims));
}
