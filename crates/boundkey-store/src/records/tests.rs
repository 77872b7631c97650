use std::collections::BTreeMap;

use boundkey_lifecycle::{
    Adoption, CaKind, Enrolment, Hash32, Identity, InstanceRecord, IssuedCertificate, LastAttempt,
    LockInForce, LockOrigin, LockPosition, MachineFacts, Sealed, SecretRecord, StateId, Trail, Uid,
};
use boundkey_token::{
    AdminRole, Bot, BoundKeypairSpec, CertificateNames, JoinMethod, LockTarget, Onboarding, Recovery,
    RecoveryMode, Role, RoleSet, Token, TokenSpec,
};
use time::OffsetDateTime;
use time::macros::datetime;

use super::*;

const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea";

// Every field is written out, never `..Default::default()`: a new field has to fail to compile here,
// so that whoever adds it meets the rules in `mod.rs`.

fn uid() -> Uid {
    Uid(*b"0123456789abcdef")
}

fn at(minute: u8) -> OffsetDateTime {
    datetime!(2030-06-01 12:00 UTC).replace_minute(minute).unwrap().replace_microsecond(123_456).unwrap()
}

fn issued() -> Vec<IssuedCertificate> {
    [CaKind::Tls, CaKind::Host, CaKind::Bot, CaKind::SshHost, CaKind::SshUser]
        .map(|ca| IssuedCertificate { ca, serial: "0a1b".to_owned(), expires_at: at(50) })
        .into()
}

fn facts() -> MachineFacts {
    MachineFacts {
        hostname: "node1".to_owned(),
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        version: "0.1.0".to_owned(),
        roles: RoleSet::new([Role::Node]),
    }
}

fn last_attempt() -> LastAttempt {
    LastAttempt {
        attempt: Hash32([1; 32]),
        presented: Some(StateId([2; 16])),
        identity: Identity::Host("9f0c".to_owned()),
        issued_at: at(10),
        certified: Hash32([3; 32]),
        granted: Hash32([4; 32]),
    }
}

fn token() -> TokenRecord {
    TokenRecord {
        uid: uid(),
        created_at: at(0),
        token: Token {
            name: "example-token".parse().unwrap(),
            labels: BTreeMap::from([("env".to_owned(), "prod".to_owned())]),
            expires: Some(datetime!(2031-01-01 0:00 +02:00)),
            revision: None,
            spec: TokenSpec {
                roles: RoleSet::new([
                    Role::Node,
                    Role::Proxy,
                    Role::App,
                    Role::Kube,
                    Role::Db,
                    Role::WindowsDesktop,
                    Role::Bot,
                ]),
                join_method: JoinMethod::BoundKeypair,
                bot_name: Some("robot".parse().unwrap()),
                bound_keypair: BoundKeypairSpec {
                    onboarding: Onboarding {
                        initial_public_key: Some(ED25519.parse().unwrap()),
                        registration_secret: None,
                        must_register_before: Some(at(1)),
                    },
                    recovery: Recovery { limit: 3, mode: RecoveryMode::Relaxed },
                    rotate_after: Some(at(2)),
                },
                certificates: CertificateNames {
                    dns_names: Some(vec!["*.example.com".to_owned()]),
                    ip_addresses: Some(vec![
                        "192.0.2.0/24".parse().unwrap(),
                        "2001:db8::/32".parse().unwrap(),
                    ]),
                    principals: Some(vec![]),
                    max_ttl: Some(std::time::Duration::new(5400, 1)),
                },
            },
        },
        sealed_secret: Some(Sealed(vec![0, 1, 254, 255])),
    }
}

fn least_token() -> TokenRecord {
    let mut record = token();
    record.sealed_secret = None;
    record.token.labels.clear();
    record.token.expires = None;
    record.token.spec = TokenSpec {
        roles: RoleSet::new([Role::Node]),
        join_method: JoinMethod::BoundKeypair,
        bot_name: None,
        bound_keypair: BoundKeypairSpec::default(),
        certificates: CertificateNames::default(),
    };
    record
}

fn bot() -> BotRecord {
    BotRecord {
        bot: Bot {
            name: "robot".parse().unwrap(),
            labels: BTreeMap::from([("team".to_owned(), "\u{e4}\"\\".to_owned())]),
            expires: Some(at(3)),
            revision: None,
            logins: vec!["deploy".to_owned()],
            admin_role: Some(AdminRole::Provisioner),
            token_prefix: Some("ci-".to_owned()),
        },
        created_at: at(0),
    }
}

fn enrolment() -> EnrolmentRecord {
    EnrolmentRecord {
        uid: uid(),
        enrolment: Enrolment {
            generation: 2,
            secret: SecretRecord {
                generated: Some(Sealed(vec![1])),
                proof_key: Some(Sealed(vec![2])),
                used: true,
                spec_void: true,
                void_keys: vec![boundkey_thumbprint()],
            },
            bound_public_key: Some(ED25519.parse().unwrap()),
            identity: Some(Identity::BotInstance("7d1e".to_owned())),
            sequence: 7,
            recovery_count: 3,
            granted_limit: 4,
            rotate_requested_at: Some(at(4)),
            certificates_expire_at: Some(at(5)),
            certificates_revoked: true,
            shared_revoked_at: Some(at(12)),
            issued: issued(),
            last_joined_at: Some(at(6)),
            last_recovered_at: Some(at(7)),
            last_rotated_at: Some(at(8)),
            key_bound_at: Some(at(9)),
            last_attempt: Some(last_attempt()),
            registration_attempt: Some(Hash32([5; 32])),
            last_state_id: Some(StateId([6; 16])),
            trail: Trail(vec![[7; 8], [8; 8]]),
            shared: true,
            adoption: Some(Adoption { instance: Identity::BotInstance("7d1d".to_owned()), sequence: 6 }),
            resync_until: Some(at(11)),
            passed: Trail::default(),
            facts: facts(),
        },
    }
}

/// Of [`ED25519`]; its type is named by inference alone, as this crate knows no keys.
fn boundkey_thumbprint<T: FromStr>() -> T
where
    T::Err: std::fmt::Debug,
{
    "ZUvIcI4nxRCgDJR8ZVMFKbhVjPqLgrWbVlUlBTOkNZc".parse().unwrap()
}

fn instance() -> InstanceEntry {
    InstanceEntry {
        token: "example-token".to_owned(),
        record: InstanceRecord {
            identity: Identity::BotInstance("7d1e".to_owned()),
            last_attempt: last_attempt(),
            certificates_expire_at: at(12),
            revoked: true,
            issued: issued(),
            last_joined_at: at(13),
            facts: facts(),
            passed: Trail::default(),
        },
    }
}

fn lock_in_force() -> LockInForce {
    LockInForce {
        id: "auto-0123".to_owned(),
        origin: LockOrigin::Automatic(LockPosition {
            generation: 2,
            sequence: 7,
            state_id: Some(StateId([6; 16])),
        }),
        message: Some("two holders of one key".to_owned()),
        public_message: Some("call the service desk".to_owned()),
        expires: Some(at(14)),
    }
}

fn lock() -> LockRecord {
    LockRecord {
        target: LockTarget::BotInstance("7d1e".to_owned()),
        lock: lock_in_force(),
        created_at: at(15),
    }
}

fn lock_index() -> LockIndex {
    let by_hand = LockInForce {
        id: "stolen".to_owned(),
        origin: LockOrigin::ByHand,
        message: None,
        public_message: None,
        expires: None,
    };
    LockIndex { locks: vec![lock_in_force(), by_hand] }
}

fn event() -> EventRecord {
    EventRecord {
        counted: None,
        at: at(16),
        code: "join.recovered".to_owned(),
        token: Some("example-token".to_owned()),
        identity: Some("9f0c".to_owned()),
        source: Some("192.0.2.0/24".to_owned()),
        correlation_id: "c-1".to_owned(),
        detail: "recovered, 1 of 3".to_owned(),
        actor: "join".to_owned(),
        notes: vec!["rotated".to_owned()],
        count: 2,
    }
}

fn authority() -> AuthorityRecord {
    AuthorityRecord {
        kind: "ssh-host".to_owned(),
        sealed_key: Sealed(vec![1, 2, 3]),
        certificate: Some(Sealed(vec![4, 5, 6])),
        created_at: at(17),
    }
}

fn cluster() -> ClusterRecord {
    ClusterRecord {
        cluster: "example.com".to_owned(),
        master_fingerprint: "f1".to_owned(),
        created_at: at(18),
    }
}

fn ca_bundle() -> CaBundleRecord {
    CaBundleRecord { signed: vec!["aGVhZA.Ym9keQ.c2lnbmVk".to_owned()] }
}

fn revoked() -> RevokedRecord {
    RevokedRecord { revoked_at: at(19), expires_at: at(20) }
}

fn void() -> VoidRecord {
    VoidRecord {
        name: "example-token".to_owned(),
        at: at(21),
        correlation_id: "c-2".to_owned(),
        before: Some(crate::Revision(77)),
    }
}

fn least_void() -> VoidRecord {
    VoidRecord { before: None, ..void() }
}

fn swept() -> SweptRecord {
    SweptRecord { machines: 600, certificates: 1200 }
}

/// The bytes in the file are what is written, and what is read is the record.
fn is_golden<R: Record + PartialEq + std::fmt::Debug>(file: &str, record: &R, golden: &str) {
    let written = String::from_utf8(record.encode()).unwrap();
    assert_eq!(written, golden.trim_end(), "the encoding in golden/{file} has changed: see mod.rs");
    assert_eq!(&R::decode(golden.trim_end().as_bytes()).unwrap(), record, "golden/{file} is read back");
}

macro_rules! golden {
    ($($test:ident: $file:literal = $record:expr;)*) => {$(
        #[test]
        fn $test() {
            is_golden($file, &$record, include_str!(concat!("golden/", $file)));
        }
    )*};
}

golden! {
    the_encoding_of_a_token_is_golden: "token-v1.json" = token();
    the_encoding_of_a_token_with_little_is_golden: "token-least-v1.json" = least_token();
    the_encoding_of_a_bot_is_golden: "bot-v1.json" = bot();
    the_encoding_of_an_enrolment_is_golden: "enrolment-v1.json" = enrolment();
    the_encoding_of_a_fresh_enrolment_is_golden: "enrolment-least-v1.json" = EnrolmentRecord { uid: uid(), enrolment: Enrolment::default() };
    the_encoding_of_an_instance_is_golden: "instance-v1.json" = instance();
    the_encoding_of_a_lock_is_golden: "lock-v1.json" = lock();
    the_encoding_of_an_index_of_locks_is_golden: "lock-index-v1.json" = lock_index();
    the_encoding_of_an_event_is_golden: "event-v1.json" = event();
    the_encoding_of_an_authority_is_golden: "authority-v1.json" = authority();
    the_encoding_of_a_cluster_is_golden: "cluster-v1.json" = cluster();
    the_encoding_of_a_ca_bundle_is_golden: "ca-bundle-v1.json" = ca_bundle();
    the_encoding_of_a_revoked_certificate_is_golden: "revoked-v1.json" = revoked();
    the_encoding_of_a_mark_of_what_is_void_is_golden: "void-v1.json" = void();
    the_encoding_of_a_mark_of_what_came_before_it_is_golden: "void-least-v1.json" = least_void();
    the_encoding_of_the_progress_of_a_sweep_is_golden: "swept-v1.json" = swept();
}

#[test]
fn every_encoding_starts_with_its_version() {
    let all = [
        token().encode(),
        bot().encode(),
        enrolment().encode(),
        instance().encode(),
        lock().encode(),
        lock_index().encode(),
        event().encode(),
        authority().encode(),
        cluster().encode(),
        ca_bundle().encode(),
        revoked().encode(),
        void().encode(),
        swept().encode(),
    ];
    for bytes in all {
        assert!(bytes.starts_with(b"{\"v\":1,"), "{}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn a_secret_in_the_spec_is_never_stored() {
    let mut record = token();
    let text = "not-to-be-found-in-the-store-1234567890";
    record.token.spec.bound_keypair.onboarding.registration_secret = Some(spec_secret(text));
    record.token.revision = Some("rev-not-stored".to_owned());
    let bytes = String::from_utf8(record.encode()).unwrap();
    assert!(!bytes.contains(text) && !bytes.contains("rev-not-stored"), "{bytes}");
    let read = TokenRecord::decode(bytes.as_bytes()).unwrap();
    assert_eq!(read, token());
}

fn spec_secret(text: &str) -> boundkey_token::SpecSecret {
    let document = format!(
        "kind: token\nversion: v2\nmetadata: {{name: t}}\nspec:\n  roles: [Node]\n  join_method: bound_keypair\n  \
         bound_keypair: {{onboarding: {{registration_secret: {text}}}}}\n"
    );
    match boundkey_token::read_resources(document.as_bytes()).unwrap().remove(0) {
        boundkey_token::Resource::Token(token) => {
            token.spec.bound_keypair.onboarding.registration_secret.unwrap()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_newer_encoding_is_refused_and_says_so() {
    let newer = String::from_utf8(bot().encode()).unwrap().replacen("\"v\":1", "\"v\":2", 1);
    let error = BotRecord::decode(newer.as_bytes()).unwrap_err();
    assert_eq!(error, RecordError::Newer { kind: "bot", found: 2, known: 1 });
    assert!(error.to_string().contains("written by a newer server"), "{error}");
    // Whatever else a newer version says, it is its version that is told.
    let error = EnrolmentRecord::decode(br#"{"v":3,"body":[1,2]}"#).unwrap_err();
    assert_eq!(error, RecordError::Newer { kind: "enrolment", found: 3, known: 1 });
}

#[test]
fn what_is_no_record_is_damaged_and_never_quoted() {
    let secret = r#"{"v":1,"cluster":{"very":"secret"}}"#;
    let cases: [&[u8]; 8] = [
        b"",
        b"{",
        b"null",
        b"[1]",
        b"{}",
        br#"{"v":0,"cluster":"c","master_fingerprint":"f","created_at":"2030-06-01T12:00:00Z"}"#,
        br#"{"v":"1"}"#,
        secret.as_bytes(),
    ];
    for bytes in cases {
        match ClusterRecord::decode(bytes).unwrap_err() {
            RecordError::Damaged { kind: "cluster", cause } => assert!(!cause.contains("secret"), "{cause}"),
            other => panic!("{other}"),
        }
    }
    let wrong = String::from_utf8(token().encode()).unwrap().replace("ssh-ed25519", "ssh-ed0");
    let error = TokenRecord::decode(wrong.as_bytes()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the stored token cannot be read: its initial_public_key has another form than expected"
    );
}
