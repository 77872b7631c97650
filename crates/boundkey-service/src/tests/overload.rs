//! More joins than can be worked on, and strangers who send nothing but wrong ones.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use boundkey_keys::Secret;
use boundkey_proto::JoinKindName;

use super::fixture::{CLUSTER, Fixture, Machine, now};
use crate::admission::{Pass, Source};
use crate::{ServiceConfig, join};

fn narrow(at_once: usize, waiting: usize) -> Fixture {
    let mut config = ServiceConfig::new(CLUSTER);
    config.limits.concurrent_joins = at_once;
    config.limits.waiting_joins = waiting;
    Fixture::with(config)
}

fn from(network: u8) -> Source {
    Source::of(Some(IpAddr::from([203, 0, network, 7])))
}

/// Takes places in the gate, as joins that take long do.
fn occupy(fixture: &Fixture, network: u8) -> Pass {
    let entered = now(fixture.service.joins().entrance().enter(from(network), true, || 0));
    entered.map_err(|told| format!("{told:?}")).expect("a free place")
}

#[test]
fn who_is_turned_away_is_told_when_to_come_and_when_all_are_served() {
    let fixture = narrow(1, 0);
    fixture.node_token("web", "");
    let machine = Machine::new("web", 1, Some(fixture.generated_secret("web")));
    let challenge = join::begin(&fixture.service, fixture.service.now()).challenge;
    let taken = occupy(&fixture, 1);
    let mut asked = BTreeSet::new();
    for _ in 0..400 {
        let problem = machine.send(&fixture, &challenge).unwrap_err().refusal.problem;
        assert_eq!((problem.status, problem.code.as_str()), (503, "overloaded"));
        let seconds = problem.retry_after.unwrap();
        assert!(problem.detail.contains(&format!("ask again in {seconds} s")), "{}", problem.detail);
        assert!(problem.detail.contains("are served within"), "{}", problem.detail);
        asked.insert(seconds);
    }
    // 75 a second, until a better pace is known.
    assert!(asked.len() >= 6 && *asked.last().unwrap() < 9, "{asked:?}");
    drop(taken);
    machine.send(&fixture, &challenge).unwrap();
}

#[tokio::test]
async fn a_join_waits_its_turn_for_a_while_before_it_is_given_an_appointment() {
    let mut config = ServiceConfig::new(CLUSTER);
    config.limits.concurrent_joins = 1;
    config.limits.join_patience = Duration::from_millis(20);
    let fixture = Fixture::with(config);
    fixture.node_token("web", "");
    let mut machine = Machine::new("web", 1, Some(fixture.generated_secret("web")));
    let body = |m: &Machine| m.body(&join::begin(&fixture.service, fixture.service.now()).challenge);
    let taken = occupy(&fixture, 1);
    let context = machine.context(&fixture);
    let late = join::complete(&fixture.service, &body(&machine), &context, fixture.service.now()).await;
    assert_eq!(late.unwrap_err().refusal.problem.code, "overloaded");
    let first = body(&machine);
    let (joined, ()) =
        tokio::join!(join::complete(&fixture.service, &first, &context, fixture.service.now()), async {
            drop(taken)
        });
    joined.unwrap();
    machine.next_attempt();
    fixture.service.joins().entrance().look(|gate| assert_eq!((gate.running(), gate.waiting()), (0, 0)));
}

#[tokio::test]
async fn a_request_that_goes_away_while_it_waits_leaves_no_trace() {
    let fixture = narrow(1, 10);
    let entrance = fixture.service.joins().entrance();
    let taken = occupy(&fixture, 1);
    {
        let waits = entrance.enter(from(2), true, || 0);
        tokio::pin!(waits);
        assert!(tokio::time::timeout(Duration::ZERO, &mut waits).await.is_err());
        entrance.look(|gate| assert_eq!(gate.waiting(), 1));
        // Called, and gone before it heard of it.
        drop(taken);
        entrance.look(|gate| assert_eq!((gate.running(), gate.waiting()), (1, 0)));
    }
    entrance.look(|gate| assert_eq!((gate.running(), gate.waiting()), (0, 0)));
}

#[test]
fn a_right_proof_is_checked_however_many_wrong_ones_its_network_sent() {
    let fixture = Fixture::new();
    fixture.node_token("web", "");
    fixture.node_token("other", "");
    let challenge = join::begin(&fixture.service, fixture.service.now()).challenge;
    let wrong = Machine::new("web", 2, Some(Secret::generated([9; 32])));
    let holds: Vec<u64> =
        (0..9).map(|_| wrong.send(&fixture, &challenge).unwrap_err().hold.as_secs()).collect();
    assert_eq!(holds, [0, 0, 0, 0, 0, 1, 2, 4, 8]);
    let other = Machine::new("other", 2, Some(Secret::generated([9; 32])));
    assert_eq!(other.send(&fixture, &challenge).unwrap_err().hold.as_secs(), 8, "whichever token it names");
    let mut right = Machine::new("web", 3, Some(fixture.generated_secret("web")));
    right.source = wrong.source;
    assert_eq!(right.join(&fixture).unwrap().kind, JoinKindName::Registered);
    assert_eq!(right.join(&fixture).unwrap().kind, JoinKindName::Renewed);
}

#[test]
fn wrong_keys_forged_tags_and_garbage_are_answered_late_too() {
    let fixture = Fixture::new();
    fixture.node_token("web", "");
    let mut machine = Machine::new("web", 1, Some(fixture.generated_secret("web")));
    machine.join(&fixture).unwrap();
    let stranger = |network: u8| Some(IpAddr::from([198, 51, network, 7]));
    let send = |body: &[u8], network: u8| {
        let context = crate::RequestContext::new(fixture.service.entropy(), stranger(network), "public");
        now(join::complete(&fixture.service, body, &context, fixture.service.now())).unwrap_err()
    };
    let challenge = join::begin(&fixture.service, fixture.service.now()).challenge;
    let wrong_key = Machine::new("web", 9, None).body(&challenge);
    let forged = machine.body(&challenge);
    let tag = forged.windows(3).position(|w| w == b"\",\"").expect("the end of the challenge");
    let mut forged = forged;
    forged[tag - 5] = if forged[tag - 5] == b'A' { b'B' } else { b'A' };
    let mut networks = 1..;
    for body in [wrong_key.as_slice(), forged.as_slice(), b"{\"garbage\": 1}".as_slice()] {
        // The next that shares its row of the table with none before it.
        let free = networks.find_map(|network| {
            let first = send(body, network).hold.as_secs();
            (first == 0).then_some((network, first))
        });
        let (network, first) = free.expect("a free row");
        let rest = (0..7).map(|_| send(body, network).hold.as_secs());
        let holds: Vec<u64> = std::iter::once(first).chain(rest).collect();
        assert_eq!(holds, [0, 0, 0, 0, 0, 1, 2, 4], "network {network}: {:?}", send(body, network));
    }
    // A slow client is no stranger.
    let old = join::begin(&fixture.service, fixture.service.now()).challenge;
    fixture.clock.advance(time::Duration::minutes(2));
    let outlived = machine.body(&old);
    for _ in 0..20 {
        let refused = send(&outlived, 4);
        assert_eq!(
            (refused.refusal.problem.code.as_str(), refused.hold),
            ("challenge_expired", Duration::ZERO)
        );
    }
    assert_eq!(machine.join(&fixture).unwrap().kind, JoinKindName::Renewed);
}

#[test]
fn a_network_of_strangers_takes_no_appointment_from_machines() {
    let fixture = narrow(1, 0);
    fixture.node_token("web", "");
    let challenge = join::begin(&fixture.service, fixture.service.now()).challenge;
    let mut stranger = Machine::new("web", 2, Some(Secret::generated([9; 32])));
    stranger.source = Some(IpAddr::from([198, 51, 100, 1]));
    for _ in 0..50 {
        stranger.send(&fixture, &challenge).unwrap_err();
    }
    let _taken = occupy(&fixture, 1);
    for _ in 0..1000 {
        let seconds = stranger.send(&fixture, &challenge).unwrap_err().refusal.problem.retry_after.unwrap();
        assert!((30..=61).contains(&seconds), "{seconds}");
    }
    let machine = Machine::new("web", 1, Some(fixture.generated_secret("web")));
    let told = machine.send(&fixture, &challenge).unwrap_err().refusal.problem.retry_after;
    assert_eq!(told, Some(1));
}

#[test]
fn messages_beyond_the_memory_for_them_are_turned_away_before_they_are_read() {
    let mut config = ServiceConfig::new(CLUSTER);
    config.limits.message_bytes = 1 << 20;
    let fixture = Fixture::with(config);
    let context = |network: u8| {
        let source = Some(IpAddr::from([198, 51, network, 1]));
        crate::RequestContext::new(fixture.service.entropy(), source, "public")
    };
    let mut held = Vec::new();
    let refused = loop {
        match join::make_room(&fixture.service, 65_536, &context(1)) {
            Ok(room) => held.push(room),
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(refused.problem.code, "overloaded");
    assert!((11..=14).contains(&held.len()), "{}", held.len());
    assert!(join::make_room(&fixture.service, 3000, &context(2)).is_ok(), "a machine of another network");
    drop(held);
    assert!(join::make_room(&fixture.service, 65_536, &context(1)).is_ok());
}

#[tokio::test]
async fn a_silent_handshake_of_one_network_leaves_slots_for_others() {
    // The gate of handshakes is the same code; here with its bounds.
    let clock: Arc<dyn crate::Clock> = Arc::new(crate::SystemClock);
    let bounds = crate::admission::Bounds { at_once: 16, queue: 1000, patience: Duration::from_secs(10) };
    let gate = crate::admission::Entrance::new(bounds, clock);
    let mut passes = Vec::new();
    while let Ok(Ok(pass)) = tokio::time::timeout(Duration::ZERO, gate.enter(from(1), true, || 0)).await {
        passes.push(pass);
    }
    assert!((10..16).contains(&passes.len()), "{}", passes.len());
    let other = tokio::time::timeout(Duration::from_secs(5), gate.enter(from(2), true, || 0)).await;
    assert!(matches!(other, Ok(Ok(_))), "at once");
}

#[test]
fn whether_a_token_exists_is_told_neither_by_waits_nor_by_words() {
    let fixture = Fixture::new();
    let existing = ["web-7", "db-1", "web-8"];
    for name in existing {
        fixture.node_token(name, "");
    }
    let challenge = join::begin(&fixture.service, fixture.service.now()).challenge;
    // Wrong secrets and wrong keys, of names that exist and of invented ones, in the order of the attack.
    let ask = |names: &[&str], network: u8| {
        let source = Some(IpAddr::from([198, 51, network, 7]));
        let context = crate::RequestContext::new(fixture.service.entropy(), source, "public");
        let told = names.iter().flat_map(|name| {
            [Some(Secret::generated([9; 32])), None].map(|secret| {
                let body = Machine::new(name, 2, secret).body(&challenge);
                let refused = now(join::complete(&fixture.service, &body, &context, fixture.service.now()));
                let refused = refused.unwrap_err();
                assert!(refused.blur, "{name}: how long it took is hidden");
                (refused.hold, refused.refusal.problem)
            })
        });
        told.collect::<Vec<_>>()
    };
    // Three networks whose rows of the table nobody shares.
    let fresh = |names: &[&str], networks: std::ops::Range<u8>| {
        networks.map(|network| ask(names, network)).max_by_key(|told| std::cmp::Reverse(told[0].0))
    };
    let invented = fresh(&["nope-1", "nope-2", "nope-3"], 1..9).unwrap();
    let mixed = fresh(&["web-7", "nope-1", "db-1"], 11..19).unwrap();
    let real = fresh(&existing, 21..29).unwrap();
    assert_eq!(invented, real);
    assert_eq!(invented, mixed);
    let holds: Vec<u64> = real.iter().map(|(hold, _)| hold.as_secs()).collect();
    assert_eq!(holds, [0, 0, 0, 0, 0, 1]);
}

#[test]
fn answers_that_tell_nothing_go_out_at_whole_steps() {
    let sent = |micros: u64| {
        let took = Duration::from_micros(micros);
        (took + join::until_next_step(took)).as_millis()
    };
    assert_eq!([0, 1, 300, 19_999, 20_000, 25_000].map(sent), [20, 20, 20, 20, 40, 40]);
}
