//! What `tokens ls` and `explain` say.

use std::time::Duration;

use boundkey_lifecycle::*;
use boundkey_token::RecoveryMode::{Insecure, Relaxed, Standard};
use boundkey_token::Role;

use crate::scene::*;

fn see(server: &Server) -> Explanation {
    let seen = server.view().explain();
    assert_eq!(seen.state, server.view().state());
    seen
}

fn changed(pair: (Server, Client), change: impl FnOnce(&mut Server)) -> Server {
    let mut server = pair.0;
    change(&mut server);
    server
}

fn standard() -> (Server, Client) {
    bound(Standard, 1, 2)
}

#[test]
fn the_derived_state_is_the_most_pressing_one() {
    let unbound = || (Server::host(Standard, 1), Client::new(1, &Server::host(Standard, 1)));
    let rows: [(Server, &str, &str); 15] = [
        (unbound().0, "pending", "registers whoever proves the registration secret first"),
        (Server::preregistered(5), "pending", "registers the holder of the initial public key"),
        (
            changed(unbound(), |s| s.spec().onboarding.must_register_before = Some(s.now)),
            "registration_expired",
            "refused: the time for registering has passed",
        ),
        (
            changed((Server::preregistered(5), unbound().1), |s| {
                s.spec().onboarding.must_register_before = Some(s.now)
            }),
            "pending",
            "registers the holder of the initial public key",
        ),
        (standard().0, "bound", "renews; no recovery is used"),
        (
            changed(standard(), |s| {
                s.verb(Verb::Rotate { at: None });
            }),
            "rotation_due",
            "renews; no recovery is used, with a new key (the agent makes it)",
        ),
        (changed(standard(), |s| s.later(DAY)), "overdue", "renews; no recovery is used"),
        (
            changed(standard(), |s| s.later(31 * DAY)),
            "no_recoveries_left",
            "refused: it would be a recovery, and none is left",
        ),
        (
            changed(standard(), |s| {
                s.later(31 * DAY);
                s.verb(Verb::GrantRecovery { count: 1 });
            }),
            "overdue",
            "recovers; one recovery is used",
        ),
        (
            changed(standard(), |s| {
                s.later(31 * DAY);
                s.mode(Relaxed);
            }),
            "overdue",
            "recovers; one recovery is used",
        ),
        (changed(standard(), Server::lock_by_hand), "locked", "refused: a lock stands"),
        (
            changed(standard(), |s| {
                s.lock_by_hand();
                s.token.as_mut().unwrap().expires = Some(s.now);
            }),
            "expired",
            "refused: the token has expired",
        ),
        (bound(Insecure, 1, 1).0, "shared", "admits any holder of the key as one of many clients"),
        (
            changed(bound(Insecure, 1, 1), |s| s.mode(Standard)),
            "shared",
            "the first of the clients that shared the token keeps it; the others are refused",
        ),
        (
            changed(standard(), |s| s.mode(Insecure)),
            "bound",
            "makes the token a shared one: any holder of the key is admitted",
        ),
    ];
    for (server, state, next_join) in rows {
        let seen = see(&server);
        assert_eq!((seen.state.as_str(), seen.next_join.as_str()), (state, next_join));
        assert_eq!(seen.state.to_string(), state);
    }
}

/// What `explain` foretells is what `decide` does, for the machine that has its key and its present state.
#[test]
fn what_is_foretold_comes_true() {
    let days = [0, 1, 2, 29, 30, 31, 32, 90];
    for mode in [Standard, Relaxed, Insecure] {
        for limit in [1, 2] {
            for day in days {
                for (rotate, revoke) in [(false, false), (true, false), (false, true)] {
                    let (mut server, mut client) = bound(mode, limit, 2);
                    server.later(day * DAY);
                    if rotate {
                        server.verb(Verb::Rotate { at: None });
                    }
                    if revoke {
                        server.verb(Verb::Revoke);
                    }
                    let seen = see(&server);
                    let key_before = client.key;
                    let outcome = client.join(&mut server);
                    let foretold = match seen.next_join.split([';', ',', ':']).next().unwrap() {
                        "renews" => Outcome::Admitted(JoinKind::Renew),
                        "recovers" => Outcome::Admitted(JoinKind::Recover),
                        "refused" => Outcome::Denied(Code::RecoveryLimitReached),
                        other => {
                            assert_eq!(other, "admits any holder of the key as one of many clients");
                            continue;
                        }
                    };
                    assert_eq!(outcome, foretold, "{mode:?} limit {limit} day {day}");
                    let rotates = seen.next_join.contains("with a new key");
                    assert_eq!(client.key != key_before, rotates, "{mode:?} limit {limit} day {day}");
                }
            }
        }
    }
}

#[test]
fn the_reasons_name_the_facts() {
    let mut server = changed(standard(), |s| {
        s.lock_by_hand();
        s.verb(Verb::GrantRecovery { count: 1 });
        s.resync();
    });
    server.token.as_mut().unwrap().expires = Some(server.now + DAY);
    let seen = see(&server);
    assert_eq!(
        seen.reasons,
        [
            "lock `hand` stands, set by hand: under repair; `boundkeyctl rm lock/hand` lifts it",
            "bound, generation 0, sequence 2",
            "the certificates expire at 2026-01-02T01:00:00Z; until 2026-02-01T01:00:00Z a join renews",
            "1 of 2 (by grant) recoveries are used, registration included",
            "a rotation is due since 2026-01-01T01:00:00Z",
            "a resync grant is open until 2026-01-01T02:00:00Z: the holder of the bound key needs no join state",
        ]
    );
    assert_eq!(seen.warnings, ["after metadata.expires, 2026-01-02T01:00:00Z, renewals are refused too"]);
    server.later(40 * DAY);
    server.locks.clear();
    let seen = see(&server);
    assert_eq!(seen.reasons[0], "metadata.expires 2026-01-02T01:00:00Z has passed");
    assert_eq!(
        seen.reasons[2],
        "the certificates expired at 2026-01-02T01:00:00Z; since 2026-02-01T01:00:00Z a join is a recovery"
    );
}

#[test]
fn the_warnings_say_what_has_no_effect_and_what_runs_out() {
    let warnings = |server: &Server| see(server).warnings.join("\n");
    assert!(warnings(&standard().0).contains("a machine away until after 2026-02-01T01:00:00Z needs `boundkeyctl bound-keypair grant-recovery web-1`"));
    assert_eq!(warnings(&bound(Standard, 2, 2).0), "");
    assert_eq!(warnings(&bound(Relaxed, 1, 2).0), "");
    let changed_key =
        changed(bound(Standard, 2, 2), |s| s.spec().onboarding.initial_public_key = Some(key(5)));
    assert!(
        warnings(&changed_key)
            .starts_with("onboarding.initial_public_key has no effect: another key is bound")
    );
    let reset = changed(bound(Standard, 2, 2), |s| {
        s.spec().onboarding.initial_public_key = Some(key(5));
        s.reset();
    });
    assert!(warnings(&reset).starts_with("onboarding.initial_public_key was made void by a reset"));
    assert!(warnings(&reset).contains("shows the one in force"));
    let insecure = changed(bound(Insecure, 1, 1), |s| {
        s.verb(Verb::Rotate { at: None });
    });
    assert!(warnings(&insecure).contains("no copy is ever detected"));
    assert!(warnings(&insecure).contains("change the key by hand"));
    let left = changed(bound(Insecure, 1, 1), |s| s.mode(Relaxed));
    assert!(warnings(&left).contains("only the first to come back stays"));
}

#[test]
fn an_automatic_lock_is_told_with_its_sequence() {
    let (mut server, mut client) = standard();
    client.copied(50_000).join(&mut server);
    client.join(&mut server);
    let seen = see(&server);
    assert!(seen.reasons[0].starts_with(
        "lock `auto-token` stands, set by itself at sequence 3: token `web-1` stands at sequence 3"
    ));
}

#[test]
fn a_bot_that_is_not_there_is_told_before_locks() {
    let mut server = Server::new(&[Role::Bot]);
    assert_eq!(see(&server).state, LifecycleState::Pending);
    server.lock_by_hand();
    server.bot.as_mut().unwrap().expires = Some(server.now);
    let seen = see(&server);
    assert_eq!(seen.state, LifecycleState::BotMissing);
    assert_eq!(seen.next_join, "refused: the token's bot is not there");
    assert!(seen.reasons[0].starts_with("bot `deploy` expired at 2026-"), "{seen:?}");
    assert!(seen.reasons[1].contains("stands, set by hand"), "{seen:?}");
    server.bot.as_mut().unwrap().expires = Some(server.now + Duration::from_nanos(1));
    assert_eq!(see(&server).state, LifecycleState::Locked);
    server.bot = None;
    let seen = see(&server);
    assert_eq!(seen.state, LifecycleState::BotMissing);
    assert!(seen.reasons[0].starts_with("bot `deploy` does not exist"), "{seen:?}");
}

#[test]
fn a_lock_that_has_ended_is_not_told() {
    let (mut server, _) = standard();
    server.lock_by_hand();
    server.locks[0].expires = Some(server.now);
    assert_eq!(see(&server).state, LifecycleState::Bound);
    server.locks[0].expires = Some(server.now + Duration::from_secs(1));
    assert_eq!(see(&server).state, LifecycleState::Locked);
}

#[test]
fn what_runs_out_is_told_in_a_few_words() {
    let words = |server: &Server| server.view().running_out().join(", ");
    assert_eq!(words(&standard().0), "");
    let expiring =
        |by: Duration| changed(standard(), |s| s.token.as_mut().unwrap().expires = Some(s.now + by));
    assert_eq!(words(&expiring(15 * DAY)), "");
    assert_eq!(words(&expiring(14 * DAY)), "expires in 14 d");
    assert_eq!(words(&expiring(3 * DAY)), "expires in 3 d");
    assert_eq!(words(&expiring(DAY)), "expires in 24 h");
    assert_eq!(words(&expiring(Duration::from_secs(150))), "expires in 2 min");
    let mut unbound = Server::host(Standard, 1);
    unbound.spec().onboarding.must_register_before = Some(unbound.now + Duration::from_secs(7200));
    assert_eq!(words(&unbound), "register within 2 h");
    let mut asked = changed(standard(), |s| {
        let at = s.now + 2 * DAY;
        s.verb(Verb::Rotate { at: Some(at) });
    });
    assert_eq!(words(&asked), "rotation in 2 d");
    asked.later(2 * DAY);
    assert_eq!(words(&asked), "rotation due");
    asked.later(20 * DAY);
    let told = words(&asked);
    assert!(
        told.starts_with("renews for ") && told.ends_with(" d, no recovery after, rotation due"),
        "{told}"
    );
    // A time that the key is no older than asks for nothing, and hides nothing that comes.
    let later = changed(bound(Standard, 1, 1), |s| {
        s.spec().rotate_after = Some(s.now);
        let at = s.now + 2 * DAY;
        s.verb(Verb::Rotate { at: Some(at) });
    });
    assert_eq!(words(&later), "rotation in 2 d");
    // With a recovery left nothing runs out.
    let overdue = |limit| changed(bound(Standard, limit, 2), |s| s.later(20 * DAY));
    assert_eq!(words(&overdue(2)), "");
    assert_eq!(words(&overdue(1)), "renews for 11 d, no recovery after");
    let shared = changed(bound(Insecure, 1, 2), |s| {
        s.verb(Verb::Rotate { at: None });
    });
    assert_eq!(words(&shared), "rotation overdue");
    let mut locked = changed(standard(), Server::lock_by_hand);
    assert_eq!(words(&locked), "");
    locked.locks[0].expires = Some(locked.now + Duration::from_secs(3600));
    assert_eq!(words(&locked), "lock ends in 60 min");
    let resync = changed(standard(), |s| {
        let until = s.now + Duration::from_secs(3600);
        s.enrolment.resync_until = Some(until);
    });
    assert_eq!(words(&resync), "resync open for 60 min");
}

/// At the very end of a grant `decide()` takes it for closed, and so does `explain`.
#[test]
fn a_grant_ends_at_its_end() {
    let (mut server, _) = bound(Standard, 1, 1);
    server.later(60 * DAY);
    let explained = |server: &Server| see(server).next_join;
    server.enrolment.resync_until = Some(server.now + Duration::from_micros(1));
    let open = explained(&server);
    server.enrolment.resync_until = Some(server.now);
    let closed = explained(&server);
    server.enrolment.resync_until = None;
    assert_eq!(closed, explained(&server));
    assert_ne!(open, closed);
}

/// Whoever holds an old key is refused by the lock too: why it was set is for administrators.
#[test]
fn why_a_lock_was_set_is_told_to_no_client() {
    let (mut server, mut client) = standard();
    server.lock_by_hand();
    client.begin();
    let Verdict::Deny(denial) = server.handle(&client.message(None)) else { panic!("the lock stands") };
    let rest =
        "an administrator sees it, and how it is removed, with `boundkeyctl bound-keypair explain web-1`";
    assert_eq!(denial.message, format!("a lock is in force; {rest}"), "neither its name nor its message");
    assert!(see(&server).reasons[0].contains("under repair"), "administrators see it");
    server.locks[0].public_message = Some("back at noon".to_owned());
    let Verdict::Deny(denial) = server.handle(&client.message(None)) else { panic!("the lock stands") };
    assert_eq!(denial.message, format!("a lock is in force: back at noon; {rest}"));
}
