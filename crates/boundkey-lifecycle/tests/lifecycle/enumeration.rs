//! Every combination of mode, binding, proof, state, liveness, grant, lock, age and rotation: what must hold for all.

use boundkey_lifecycle::*;
use boundkey_token::RecoveryMode;

use crate::scene::*;

const MODES: [RecoveryMode; 3] = [RecoveryMode::Standard, RecoveryMode::Relaxed, RecoveryMode::Insecure];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Unbound,
    Preregistered,
    Numbered,
    Shared,
    Adopted,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Prove {
    Nothing,
    Bound,
    BoundAsNew,
    Old,
    Stranger,
    Secret,
    WrongSecret,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Shown {
    Nothing,
    Invalid,
    OtherToken,
    EarlierGeneration,
    Behind,
    Forked,
    Current,
    Ahead,
    AheadForked,
    /// Forked, and its holder has been where the enrolment stands.
    Returned,
    SharedFellow,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Locked {
    No,
    ByHand,
    Here,
    Passed,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    mode: RecoveryMode,
    kind: Kind,
    prove: Prove,
    shown: Shown,
    /// The state names the old key instead of the bound one.
    of_old_key: bool,
    live: bool,
    granted: bool,
    locked: Locked,
    overdue: bool,
    rotation_due: bool,
    offers_new: bool,
}

const BOUND: u32 = 11;
const OLD: u32 = 12;
const STRANGER: u32 = 13;

fn claims(row: &Row, e: &Enrolment) -> Option<StateClaims> {
    let mut c = StateClaims {
        uid: UID,
        generation: e.generation,
        sequence: e.sequence.max(3),
        state_id: e.last_state_id.unwrap_or(StateId([1; 16])),
        trail: e.trail.clone(),
        shared: e.shared,
        registration_attempt: e.registration_attempt,
        recovery_count: e.recovery_count,
        key: if row.of_old_key { thumb(OLD) } else { thumb(BOUND) },
        identity: e.identity.clone().unwrap_or(Identity::Host("id".to_owned())),
        certificates_expire_at: e.certificates_expire_at.unwrap_or(start()),
        issued_at: start(),
        key_since: e.key_bound_at,
        adoption: e.adoption.clone(),
        passed: Trail::default(),
    };
    match row.shown {
        Shown::Nothing | Shown::Invalid => return None,
        Shown::OtherToken => c.uid = Uid([9; 16]),
        Shown::EarlierGeneration => c.generation = 0,
        Shown::Behind => {
            c.sequence -= 1;
            c.state_id = StateId([2; 16]);
        }
        Shown::Forked => c.state_id = StateId([3; 16]),
        Shown::Current => {}
        Shown::Ahead => {
            c.sequence += 1;
            c.state_id = StateId([4; 16]);
            c.trail.push(c.state_id);
        }
        Shown::AheadForked | Shown::Returned => {
            c.sequence += 1;
            c.trail = Trail(vec![[8; 8], [9; 8]]);
            c.state_id = StateId([9; 16]);
            c.passed = Trail(if row.shown == Shown::Returned { vec![[1; 8], [9; 8]] } else { Vec::new() });
        }
        Shown::SharedFellow => {
            c.shared = true;
            c.sequence -= 1;
            c.identity = Identity::Host("fellow".to_owned());
            c.state_id = StateId([5; 16]);
        }
    }
    Some(c)
}

fn scene(row: &Row) -> (Server, Message) {
    let mut server = Server::host(row.mode, 1);
    match row.kind {
        Kind::Unbound => {}
        Kind::Preregistered => server.spec().onboarding.initial_public_key = Some(key(BOUND)),
        Kind::Numbered | Kind::Shared | Kind::Adopted => {
            let e = &mut server.enrolment;
            e.secret.used = true;
            e.bound_public_key = Some(key(BOUND));
            e.identity = Some(Identity::Host("id".to_owned()));
            e.sequence = 3;
            e.recovery_count = 1;
            e.last_state_id = Some(StateId([1; 16]));
            e.trail = Trail(vec![[7; 8], [2; 8], [1; 8]]);
            e.certificates_expire_at = Some(start() + LIFETIME);
            e.last_joined_at = Some(start());
            e.key_bound_at = Some(start() - DAY);
            e.registration_attempt = Some(Enrolment::registration_hash(attempt(70), thumb(OLD)));
            e.shared = row.kind == Kind::Shared;
            if row.kind == Kind::Adopted {
                e.adoption = Some(Adoption { instance: Identity::Host("id".to_owned()), sequence: 3 });
            }
        }
    }
    server.enrolment.generation = 1;
    if row.overdue {
        server.later(60 * DAY);
    }
    let now = server.now;
    server.enrolment.resync_until = row.granted.then_some(now + DAY);
    server.enrolment.rotate_requested_at = row.rotation_due.then_some(now);
    let position = |sequence, id| {
        LockOrigin::Automatic(LockPosition { generation: 1, sequence, state_id: Some(StateId([id; 16])) })
    };
    let lock = match row.locked {
        Locked::No => None,
        Locked::ByHand => Some(LockOrigin::ByHand),
        Locked::Here => Some(position(3, 1)),
        Locked::Passed => Some(position(2, 2)),
    };
    server.locks = lock
        .into_iter()
        .map(|origin| LockInForce {
            id: AUTO_LOCK.to_owned(),
            origin,
            message: None,
            public_message: None,
            expires: None,
        })
        .collect();

    let mut message = Message::new(BOUND, 70);
    message.current = match row.prove {
        Prove::Nothing => None,
        Prove::Bound => Some(BOUND),
        Prove::BoundAsNew | Prove::Old => Some(OLD),
        Prove::Stranger | Prove::Secret | Prove::WrongSecret => Some(STRANGER),
    };
    message.new = match row.prove {
        Prove::BoundAsNew => Some(BOUND),
        _ => row.offers_new.then_some(20),
    };
    message.secret = match row.prove {
        Prove::Secret => Some(server.secret),
        Prove::WrongSecret => Some(1),
        _ => None,
    };
    message.state = match (row.shown, claims(row, &server.enrolment)) {
        (Shown::Invalid, _) => StateEvidence::Invalid(InvalidState::BadTag),
        (_, Some(claims)) => StateEvidence::Valid(Box::new(claims)),
        (_, None) => StateEvidence::None,
    };
    if row.live {
        message = message.live(&server);
    }
    (server, message)
}

fn rows() -> impl Iterator<Item = Row> {
    const KINDS: [Kind; 5] =
        [Kind::Unbound, Kind::Preregistered, Kind::Numbered, Kind::Shared, Kind::Adopted];
    const PROVES: [Prove; 7] = [
        Prove::Nothing,
        Prove::Bound,
        Prove::BoundAsNew,
        Prove::Old,
        Prove::Stranger,
        Prove::Secret,
        Prove::WrongSecret,
    ];
    const SHOWN: [Shown; 11] = [
        Shown::Nothing,
        Shown::Invalid,
        Shown::OtherToken,
        Shown::EarlierGeneration,
        Shown::Behind,
        Shown::Forked,
        Shown::Current,
        Shown::Ahead,
        Shown::AheadForked,
        Shown::Returned,
        Shown::SharedFellow,
    ];
    const LOCKED: [Locked; 4] = [Locked::No, Locked::ByHand, Locked::Here, Locked::Passed];
    (0..MODES.len() * KINDS.len() * PROVES.len() * SHOWN.len() * LOCKED.len() * 64).map(move |mut n| {
        let mut take = |size: usize| {
            let digit = n % size;
            n /= size;
            digit
        };
        Row {
            mode: MODES[take(MODES.len())],
            kind: KINDS[take(KINDS.len())],
            prove: PROVES[take(PROVES.len())],
            shown: SHOWN[take(SHOWN.len())],
            locked: LOCKED[take(LOCKED.len())],
            of_old_key: take(2) == 1,
            live: take(2) == 1,
            granted: take(2) == 1,
            overdue: take(2) == 1,
            rotation_due: take(2) == 1,
            offers_new: take(2) == 1,
        }
    })
}

impl Row {
    /// A state of this token that names a key which is proven.
    fn names_proven(&self, server: &Server, message: &Message) -> bool {
        match &message.state {
            StateEvidence::Valid(c) => {
                c.uid == server.uid
                    && c.generation >= server.enrolment.generation
                    && [message.current, message.new].iter().flatten().any(|k| thumb(*k) == c.key)
            }
            _ => false,
        }
    }
    fn proves_bound(&self) -> bool {
        matches!(self.prove, Prove::Bound | Prove::BoundAsNew)
    }
    /// Nobody joined since its holder did.
    fn is_present(&self) -> bool {
        matches!(self.shown, Shown::Current | Shown::Returned)
    }
    fn bound(&self) -> bool {
        !matches!(self.kind, Kind::Unbound | Kind::Preregistered)
    }
}

#[test]
fn what_must_hold_for_every_combination_holds() {
    let mut seen = std::collections::BTreeMap::<String, u32>::new();
    for row in rows() {
        let (server, message) = scene(&row);
        let verdict = server.verdict(&message);
        *seen.entry(word(&verdict)).or_default() += 1;
        let named = row.names_proven(&server, &message);
        let ahead = named && (row.shown == Shown::Ahead || !row.bound() && server.enrolment.sequence == 0);
        match &verdict {
            Verdict::Admit(a) => {
                // Nobody gets in without a key that this lineage knows.
                let entitled = match row.kind {
                    Kind::Unbound => row.prove == Prove::Secret || ahead,
                    Kind::Preregistered => row.proves_bound() || ahead,
                    _ => row.proves_bound() || ahead || (named && row.is_present()),
                };
                assert!(entitled, "{row:?}");
                // Nobody passes a lock, but a witness that it was lifted.
                match row.locked {
                    Locked::No => assert!(a.remove_locks.is_empty(), "{row:?}"),
                    Locked::ByHand => panic!("admitted past a lock by hand: {row:?}"),
                    Locked::Here | Locked::Passed => assert_eq!(a.remove_locks, [AUTO_LOCK], "{row:?}"),
                }
                // The lineage takes one step beyond what was presented, or none.
                match &a.write {
                    Write::Enrolment(next) => {
                        let from = match &message.state {
                            StateEvidence::Valid(c) if ahead => c.sequence,
                            _ => server.enrolment.sequence,
                        };
                        assert_eq!(next.sequence, from + 1, "{row:?}");
                        assert_eq!(next.shared, row.mode == RecoveryMode::Insecure, "{row:?}");
                        assert_eq!(next.resync_until, None, "{row:?}");
                        assert!(next.secret.used, "{row:?}");
                        let raised = next.recovery_count > server.enrolment.recovery_count && !ahead;
                        if row.mode == RecoveryMode::Standard && raised {
                            assert!(next.recovery_count <= 1, "{row:?}");
                        }
                        let due = row.rotation_due && row.mode != RecoveryMode::Insecure;
                        let by_grant = a.event.notes.contains(&Note::ByGrant);
                        let by_state = row.of_old_key && named && (ahead || row.is_present());
                        if due && by_grant && row.prove == Prove::BoundAsNew && !by_state {
                            assert!(next.rotate_requested_at.is_some(), "the rotation stays due: {row:?}");
                        } else if due && a.kind != JoinKind::Register {
                            let before = if by_state { OLD } else { BOUND };
                            assert_ne!(next.bound_public_key, Some(key(before)), "{row:?}");
                        }
                    }
                    Write::Instance(_) => {
                        assert!(row.mode == RecoveryMode::Insecure && row.kind == Kind::Shared, "{row:?}");
                    }
                }
                // Without the current state only a live request by grant, or `insecure`, gets in.
                if row.bound() && row.mode != RecoveryMode::Insecure && !ahead && !row.is_present() {
                    assert!(row.live && (row.granted || row.kind == Kind::Shared), "{row:?}");
                }
            }
            Verdict::Deny(d) => {
                if let Some(lock) = &d.lock {
                    assert!(row.live && row.mode != RecoveryMode::Insecure, "{row:?}");
                    assert!(matches!(row.kind, Kind::Numbered | Kind::Adopted), "{row:?}");
                    let registrant =
                        row.shown == Shown::Nothing && matches!(row.prove, Prove::Old | Prove::BoundAsNew);
                    assert!(row.proves_bound() || named || registrant, "{row:?}");
                    assert!(!row.is_present(), "{row:?}");
                    let position = &lock.position;
                    assert_eq!((position.generation, position.sequence), (1, 3));
                    assert!(!row.granted || !row.proves_bound(), "a grant stands above the lock: {row:?}");
                }
                if !d.proven {
                    assert!(!row.proves_bound() || !row.bound() && row.kind == Kind::Unbound, "{row:?}");
                    assert!(!(row.prove == Prove::Secret && row.kind != Kind::Preregistered), "{row:?}");
                }
                if row.prove == Prove::Nothing {
                    assert!(!d.proven && d.lock.is_none(), "{row:?}");
                }
            }
            Verdict::Confirm(c) => {
                assert!(!row.live, "a live request is never asked to be live: {row:?}");
                assert_eq!(c.position, server.enrolment.position(UID));
                assert!(row.bound() || ahead, "{row:?}");
            }
            Verdict::RotationRequired(_) => {
                assert!(row.rotation_due && row.mode != RecoveryMode::Insecure, "{row:?}");
                assert!(!row.offers_new || row.prove == Prove::BoundAsNew, "{row:?}");
            }
            Verdict::Retry(_) => panic!("no attempt was made before: {row:?}"),
        }
    }
    // The enumeration meets every outcome that needs no earlier attempt.
    let expected = [
        "admit recover",
        "admit recover instance",
        "admit register",
        "admit renew",
        "admit renew instance",
        "confirm clonesuspected",
        "confirm resync",
        "confirm shared",
        "deny join_state_invalid",
        "deny join_state_required",
        "deny locked",
        "deny recovery_limit_reached",
        "deny secret_used",
        "deny shared_token",
        "deny token_recreated",
        "deny wrong_key",
        "deny wrong_key (unproven)",
        "deny wrong_secret (unproven)",
        "lock",
        "rotation",
    ];
    for outcome in expected {
        assert!(seen.contains_key(outcome), "{outcome} is not met; met are {seen:?}");
    }
}
