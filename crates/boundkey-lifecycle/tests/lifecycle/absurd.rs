//! `decide()` and its kin answer on any input: absurd clocks, counters at their ends, records that no join wrote.

use std::time::Duration;

use boundkey_lifecycle::*;
use boundkey_token::{RecoveryMode, RequestedNames, Role, RoleSet};
use proptest::prelude::*;
use time::OffsetDateTime;

use crate::scene::*;

fn any_time() -> impl Strategy<Value = OffsetDateTime> {
    let least = time::PrimitiveDateTime::MIN.assume_utc();
    let greatest = time::PrimitiveDateTime::MAX.assume_utc();
    prop_oneof![
        Just(least),
        Just(greatest),
        Just(start()),
        Just(start() + DAY),
        Just(OffsetDateTime::UNIX_EPOCH),
        (least.unix_timestamp()..greatest.unix_timestamp()).prop_map(|s| {
            let offset = time::UtcOffset::from_whole_seconds((s % 80_000) as i32).unwrap();
            let t = OffsetDateTime::from_unix_timestamp(s).unwrap();
            t.checked_to_offset(offset).unwrap_or(t)
        }),
    ]
}

fn any_duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::MAX),
        Just(LIFETIME),
        any::<u32>().prop_map(|s| Duration::from_secs(s.into()))
    ]
}

fn any_number() -> impl Strategy<Value = u64> {
    prop_oneof![0..4_u64, Just(u64::MAX), Just(u64::MAX - 1), Just(u64::from(u32::MAX))]
}

fn any_state_id() -> impl Strategy<Value = StateId> {
    (0..3_u8).prop_map(|n| StateId([n; 16]))
}

fn any_trail() -> impl Strategy<Value = Trail> {
    prop::collection::vec((0..3_u8).prop_map(|n| [n; 8]), 0..20).prop_map(Trail)
}

fn any_identity() -> impl Strategy<Value = Identity> {
    (any::<bool>(), 0..2_u8).prop_map(|(bot, n)| {
        if bot { Identity::BotInstance(format!("{n}")) } else { Identity::Host(format!("{n}")) }
    })
}

prop_compose! {
    fn any_claims()(
        uid in 6..8_u8, generation in any_number(), sequence in any_number(), state_id in any_state_id(),
        trail in any_trail(), shared in any::<bool>(), recovery_count in any_number(), key in 1..4_u32,
        identity in any_identity(), certificates_expire_at in any_time(), issued_at in any_time(),
        key_since in prop::option::of(any_time()),
        adoption in prop::option::of((any_identity(), any_number())), passed in any_trail(),
    ) -> StateClaims {
        StateClaims {
            uid: Uid([uid; 16]), generation: generation as u32, sequence, state_id, trail, shared,
            registration_attempt: None, recovery_count: recovery_count as u32, key: thumb(key), identity,
            certificates_expire_at, issued_at, key_since,
            adoption: adoption.map(|(instance, sequence)| Adoption { instance, sequence }), passed,
        }
    }
}

prop_compose! {
    fn any_enrolment()(
        generation in any_number(), sequence in any_number(), recovery_count in any_number(), granted in any_number(),
        bound in prop::option::of(1..4_u32), identity in prop::option::of(any_identity()),
        times in prop::collection::vec(prop::option::of(any_time()), 6), flags in prop::collection::vec(any::<bool>(), 4),
        last_state_id in prop::option::of(any_state_id()), trail in any_trail(),
        registration in prop::option::of((0..3_u32, 1..4_u32)),
        adoption in prop::option::of((any_identity(), any_number())),
        last in prop::option::of((0..3_u32, prop::option::of(any_state_id()), any_identity(), any_time())),
    ) -> Enrolment {
        Enrolment {
            generation: generation as u32,
            sequence,
            recovery_count: recovery_count as u32,
            granted_limit: granted as u32,
            bound_public_key: bound.map(key),
            identity,
            rotate_requested_at: times[0],
            certificates_expire_at: times[1],
            last_joined_at: times[2],
            key_bound_at: times[3],
            resync_until: times[4],
            last_recovered_at: times[5],
            certificates_revoked: flags[0],
            shared: flags[1],
            secret: SecretRecord { used: flags[2], spec_void: flags[3], ..SecretRecord::default() },
            last_state_id,
            trail,
            registration_attempt: registration.map(|(a, k)| Enrolment::registration_hash(attempt(a), thumb(k))),
            adoption: adoption.map(|(instance, sequence)| Adoption { instance, sequence }),
            last_attempt: last.map(|(a, presented, identity, issued_at)| LastAttempt {
                attempt: Enrolment::attempt_hash(attempt(a)), presented, identity, issued_at, certified: hash(1), granted: hash(1),
            }),
            ..Enrolment::default()
        }
    }
}

prop_compose! {
    fn any_server()(
        enrolment in any_enrolment(), mode in 0..3_usize, limit in any_number(), now in any_time(),
        lifetime in any_duration(), grace in any_duration(), is_bot in any::<bool>(), initial in prop::option::of(1..4_u32),
        times in prop::collection::vec(prop::option::of(any_time()), 4), lock in prop::option::of((any::<bool>(), any_number(), any_number(), prop::option::of(any_state_id()))),
        instance in prop::option::of((any_identity(), any_time(), any::<bool>())),
    ) -> Server {
        let mut server = Server::new(if is_bot { &[Role::Bot] } else { &[Role::Node] });
        server.mode([RecoveryMode::Standard, RecoveryMode::Relaxed, RecoveryMode::Insecure][mode]);
        server.spec().recovery.limit = limit as u32;
        server.spec().rotate_after = times[0];
        server.spec().onboarding.must_register_before = times[1];
        server.spec().onboarding.initial_public_key = initial.map(key);
        server.enrolment = enrolment;
        server.now = now;
        server.lifetime = lifetime;
        server.policy = Policy { host_grace: grace, bot_grace: grace };
        server.token.as_mut().unwrap().expires = times[2];
        server.locks = lock.into_iter().map(|(by_hand, generation, sequence, state_id)| LockInForce {
            id: "lock".to_owned(),
            origin: if by_hand { LockOrigin::ByHand } else { LockOrigin::Automatic(LockPosition { generation: generation as u32, sequence, state_id }) },
            message: None, public_message: None,
            expires: times[3],
        }).collect();
        server.instances = instance.into_iter().map(|(identity, time, revoked)| (identity.id().to_owned(), InstanceRecord {
            last_attempt: LastAttempt { attempt: Enrolment::attempt_hash(attempt(1)), presented: None, identity: identity.clone(), issued_at: time, certified: hash(1), granted: hash(1) },
            identity, certificates_expire_at: time, revoked, issued: vec![IssuedCertificate { ca: CaKind::Host, serial: String::new(), expires_at: time }],
            last_joined_at: time, facts: MachineFacts::default(), passed: Trail::default(),
        })).collect();
        server
    }
}

prop_compose! {
    fn any_message()(
        current in prop::option::of(1..5_u32), new in prop::option::of(1..5_u32), secret in prop::option::of(999..1001_u32),
        state in prop_oneof![Just(StateEvidence::None), Just(StateEvidence::Invalid(InvalidState::Unreadable)), any_claims().prop_map(|c| StateEvidence::Valid(Box::new(c)))],
        attempt in 0..3_u32, live in any::<bool>(), bot in any::<bool>(), name in prop::option::of(".{0,6}"),
    ) -> (Message, bool) {
        let names = RequestedNames { dns_names: name.into_iter().collect(), ..RequestedNames::default() };
        let roles = RoleSet::new([if bot { Role::Bot } else { Role::Node }]);
        (Message { current, new, secret, state, attempt, position: None, certified: 1, roles, names }, live)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8 * ProptestConfig::default().cases, ..ProptestConfig::default() })]

    #[test]
    fn any_input_gets_a_verdict(server in any_server(), (message, live) in any_message()) {
        let mut server = server;
        let message = if live { message.live(&server) } else { message };
        let before = server.enrolment.clone();
        let verdict = server.handle(&message);
        match &verdict {
            Verdict::Admit(a) => {
                if let Write::Enrolment(next) = &a.write {
                    prop_assert!(next.is_bound());
                    prop_assert!((next.generation, next.sequence) >= (before.generation, before.sequence));
                    prop_assert!(next.trail.0.len() <= TRAIL_LENGTH);
                    // What is admitted can be stored and read back.
                    let text = serde_json::to_string(next);
                    if let Ok(text) = text {
                        prop_assert_eq!(&serde_json::from_str::<Enrolment>(&text).unwrap(), next);
                    }
                }
                prop_assert!(a.certificates_expire_at.nanosecond() == 0);
            }
            Verdict::Deny(d) => {
                prop_assert!(d.lock.is_none() || (live && d.proven && d.code == Code::CloneDetected));
            }
            Verdict::Retry(_) | Verdict::RotationRequired(_) | Verdict::Confirm(_) => {}
        }
        if !matches!(verdict, Verdict::Admit(_)) {
            prop_assert_eq!(&before, &server.enrolment);
        }
        if message.current.is_none() && message.new.is_none() {
            prop_assert!(!matches!(verdict, Verdict::Admit(_) | Verdict::Retry(_) | Verdict::Confirm(_)));
        }
        // The same input, the same verdict.
        let again = Server { enrolment: before, ..server.clone() };
        if matches!(verdict, Verdict::Retry(_) | Verdict::RotationRequired(_) | Verdict::Confirm(_)) {
            prop_assert_eq!(again.verdict(&message), verdict);
        }
    }

    #[test]
    fn any_record_can_be_shown_and_changed(server in any_server(), ttl in any_duration(), at in prop::option::of(any_time()), count in any::<u32>()) {
        let mut server = server;
        let seen = server.view().explain();
        prop_assert!(!seen.next_join.is_empty());
        for verb in [
            Verb::GrantRecovery { count },
            Verb::Rotate { at },
            Verb::Resync { ttl, keep_key: false },
            Verb::Revoke,
            Verb::Reset { generated: Sealed(vec![]), proof_key: Sealed(vec![]) },
        ] {
            server.verb(verb);
        }
        prop_assert!(!server.enrolment.is_bound());
    }
}
