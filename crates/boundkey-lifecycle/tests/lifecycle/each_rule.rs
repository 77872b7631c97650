//! One property for each rule, over random lives of a lineage: what the rule says of every request, not of an example.

use std::time::Duration;

use boundkey_lifecycle::*;
use boundkey_token::RecoveryMode::{Insecure, Relaxed, Standard};
use boundkey_token::{RequestedNames, Role, RoleSet};
use proptest::prelude::*;

use crate::scene::*;

const HOUR: Duration = Duration::from_secs(3600);
/// So many recoveries that none is ever missing.
const PLENTY: u32 = 1_000_000;

/// What happened to a lineage before the request that is judged.
#[derive(Debug, Clone)]
enum Event {
    Join,
    /// The answer to the join is lost.
    Lost,
    Hours(u64),
    Rotate,
    Revoke,
    /// The server is put back to where it was so many events ago.
    Back(usize),
}

fn life() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => Just(Event::Join),
        2 => Just(Event::Lost),
        2 => (1..2000_u64).prop_map(Event::Hours),
        1 => Just(Event::Rotate),
        1 => Just(Event::Revoke),
        1 => (1..6_usize).prop_map(Event::Back),
    ];
    prop::collection::vec(event, 0..25)
}

/// A registered host that lived so. The message is the last one that it sent.
fn lived(events: &[Event]) -> (Server, Client, Message) {
    let (mut server, mut client) = bound(Standard, PLENTY, 1);
    let mut sent = vec![client.message_of_next()];
    let mut past = vec![server.clone()];
    for event in events {
        match event {
            Event::Join => drop(client.complete(&mut server, &mut sent)),
            Event::Lost => {
                client.begin();
                sent.push(client.message(None));
                server.handle(&client.message(None));
            }
            Event::Hours(hours) => server.later(HOUR * (*hours as u32)),
            Event::Rotate => drop(server.verb(Verb::Rotate { at: None })),
            Event::Revoke => drop(server.verb(Verb::Revoke)),
            Event::Back(steps) => {
                let backup = past[past.len().saturating_sub(*steps)].clone();
                server.restore(&backup);
            }
        }
        past.push(server.clone());
    }
    let last = sent.pop().expect("one was sent");
    (server, client, last)
}

impl Client {
    fn message_of_next(&self) -> Message {
        let mut next = self.clone();
        next.begin();
        next.message(None)
    }
}

const ROLES: [Role; 3] = [Role::Node, Role::Db, Role::App];

fn roles(mask: u8) -> RoleSet {
    RoleSet::new(ROLES.into_iter().enumerate().filter(|(n, _)| mask & (1 << n) != 0).map(|(_, role)| role))
}

fn is_admitted(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Admit(_))
}

proptest! {
    /// Rule 1: roles are some of those of the token, whatever else is true.
    #[test]
    fn roles_are_some_of_the_tokens(events in life(), allowed in 1..8_u8, asked in 0..8_u8) {
        let (mut server, client, _) = lived(&events);
        server.token.as_mut().unwrap().spec.roles = roles(allowed);
        let mut message = client.message_of_next();
        message.roles = roles(asked);
        let refused = word(&server.verdict(&message)) == "deny role_not_allowed";
        prop_assert_eq!(refused, asked == 0 || asked & !allowed != 0);
    }

    /// Rule 1: names are some of those that the token lists, or of its own.
    #[test]
    fn names_are_some_of_the_tokens(events in life(), listed in prop::option::of(0..8_u8), asked in 0..8_u8) {
        let names = |mask: u8| -> Vec<String> {
            let own = ["web-1.example.com", "db.internal", "app.internal"];
            own.iter().enumerate().filter(|(n, _)| mask & (1 << n) != 0).map(|(_, s)| (*s).to_owned()).collect()
        };
        let (mut server, client, _) = lived(&events);
        server.token.as_mut().unwrap().spec.certificates.dns_names = listed.map(names);
        let mut message = client.message_of_next();
        message.names = RequestedNames { dns_names: names(asked), ..RequestedNames::default() };
        let refused = word(&server.verdict(&message)) == "deny name_not_allowed";
        prop_assert_eq!(refused, asked & !listed.unwrap_or(1) != 0);
    }

    /// Rule 2: without a key of the lineage nothing is to be had, and nothing to be learnt.
    #[test]
    fn a_stranger_learns_nothing(events in life(), state in any::<bool>(), attempt in any::<bool>(), live in any::<bool>(), mode in 0..3_usize) {
        let (mut server, _, sent) = lived(&events);
        server.mode([Standard, Relaxed, Insecure][mode]);
        let mut message = Message { current: Some(9), new: Some(8), secret: None, ..sent };
        if !state {
            message.state = StateEvidence::None;
        }
        if !attempt {
            message.attempt = 900;
        }
        if live {
            message = message.live(&server);
        }
        let denial = denied(server.verdict(&message));
        prop_assert_eq!(denial.public_code(), Code::Denied);
        prop_assert_eq!(denial.lock, None);
    }

    /// Rule 3: nobody passes a lock by hand, not even with an answer to an old attempt.
    #[test]
    fn nobody_passes_a_lock_by_hand(events in life(), again in any::<bool>(), live in any::<bool>(), mode in 0..3_usize) {
        let (mut server, client, last) = lived(&events);
        server.mode([Standard, Relaxed, Insecure][mode]);
        server.lock_by_hand();
        let mut message = if again { last } else { client.message_of_next() };
        if live {
            message = message.live(&server);
        }
        prop_assert!(matches!(server.verdict(&message), Verdict::Deny(_)));
    }

    /// Rule 3a: put back to any moment of its life, the server takes the lineage up where the client stands.
    #[test]
    fn a_restored_server_goes_on_where_the_client_stands(events in life(), after in life()) {
        let (mut server, mut client, _) = lived(&events);
        client.join(&mut server);
        let backup = server.clone();
        for _ in 0..=after.len() % 20 {
            client.join(&mut server);
        }
        let stood = client.state.clone().expect("it has joined").sequence;
        server.restore(&backup);
        prop_assert!(matches!(client.join(&mut server), Outcome::Admitted(_)));
        prop_assert_eq!(server.enrolment.sequence, stood + 1);
    }

    /// Rule 4: repeated any number of times, at any time, the last admitted request gets the same state, and nothing
    /// else changes.
    #[test]
    fn a_repetition_changes_nothing(events in life(), hours in prop::collection::vec(0..5000_u32, 1..5)) {
        let (mut server, mut client, _) = lived(&events);
        client.join(&mut server);
        let mut sent = Vec::new();
        client.begin();
        let admitted = client.complete(&mut server, &mut sent);
        prop_assert!(matches!(admitted, Outcome::Admitted(_)));
        let message = sent.pop().expect("one was sent");
        let before = server.enrolment.clone();
        for h in hours {
            server.later(HOUR * h);
            let again = retried(server.handle(&message));
            prop_assert_eq!(Some(again.claims), client.state.clone());
            prop_assert_eq!(&server.enrolment, &before);
            let runs = before.certificates_expire_at.is_some_and(|end| server.now < end);
            prop_assert_eq!(again.certificates.is_some(), runs);
        }
    }

    /// Rule 5: a grant lets one in, once, and never without the bound key.
    #[test]
    fn a_grant_is_for_one_join(events in life(), keep_key in any::<bool>(), hours in 0..3_u32) {
        let (mut server, mut client, _) = lived(&events);
        client.join(&mut server);
        let mut lost = Client { state: None, pending: None, ..client.copied(50_000) };
        let mut other = Client { state: None, pending: None, ..client.copied(90_000) };
        prop_assert_eq!(lost.join(&mut server), Outcome::Denied(Code::JoinStateRequired));
        let count = server.enrolment.recovery_count;
        server.verb(Verb::Resync { ttl: 2 * HOUR, keep_key });
        server.later(HOUR * hours);
        let found = lost.join(&mut server);
        prop_assert_eq!(matches!(found, Outcome::Admitted(_)), hours < 2, "{:?}", found);
        prop_assert_eq!(server.enrolment.recovery_count, count);
        if hours < 2 {
            prop_assert_eq!(server.enrolment.resync_until, None);
            let second = other.join(&mut server);
            prop_assert!(matches!(second, Outcome::Denied(_)), "{:?}", second);
        }
    }

    /// Rule 6: only the state of the last join is a way in.
    #[test]
    fn only_the_last_state_is_a_way_in(events in life(), joins in 1..20_usize, which in any::<prop::sample::Index>()) {
        let (mut server, mut client, _) = lived(&events);
        client.join(&mut server);
        let mut states = Vec::new();
        for _ in 0..joins {
            states.push(client.clone());
            client.join(&mut server);
        }
        let mut old = which.get(&states).copied(50_000);
        prop_assert_eq!(old.clone().join(&mut server), Outcome::Denied(Code::CloneDetected));
        server.locks.clear();
        prop_assert!(matches!(client.join(&mut server), Outcome::Admitted(_)));
        old.state = None;
        prop_assert_eq!(old.join(&mut server), Outcome::Denied(Code::JoinStateRequired));
    }

    /// Rule 7: as many recoveries as the limit says, counted by hand.
    #[test]
    fn recoveries_are_counted(limit in 1..6_u32, gaps in prop::collection::vec(0..70_u32, 1..20), granted in prop::collection::vec(0..20_usize, 0..3)) {
        let (mut server, mut client) = bound(Standard, limit, 1);
        let (mut used, mut in_force) = (1, limit);
        for (n, days) in gaps.into_iter().enumerate() {
            if granted.contains(&n) {
                server.verb(Verb::GrantRecovery { count: 1 });
                in_force = limit.max(used + 1);
            }
            server.later(DAY * days);
            let expected = if days < 31 {
                Outcome::Admitted(JoinKind::Renew)
            } else if used < in_force {
                used += 1;
                Outcome::Admitted(JoinKind::Recover)
            } else {
                Outcome::Denied(Code::RecoveryLimitReached)
            };
            prop_assert_eq!(client.join(&mut server), expected.clone(), "after {} days", days);
            prop_assert_eq!(server.enrolment.recovery_count, used);
            if matches!(expected, Outcome::Denied(_)) {
                return Ok(());
            }
        }
    }

    /// Rule 8: of many clients, those that were revoked are out, and no other.
    #[test]
    fn of_many_clients_the_revoked_are_out(clients in 1..8_u32, revoked in any::<u8>(), hours in 0..2000_u32) {
        let (mut server, first) = bound(Insecure, 1, 1);
        let mut all: Vec<Client> =
            (0..clients).map(|n| Client { state: None, ..first.copied(50_000 * (n + 1)) }).collect();
        for client in &mut all {
            prop_assert!(matches!(client.join(&mut server), Outcome::Admitted(_)));
        }
        let is_out = |n: usize| revoked & (1 << n) != 0;
        for (n, client) in all.iter().enumerate().filter(|(n, _)| is_out(*n)) {
            let id = client.state.as_ref().expect("it has joined").identity.id().to_owned();
            server.instances.get_mut(&id).unwrap_or_else(|| panic!("client {n}")).revoked = true;
        }
        server.later(HOUR * hours);
        for (n, client) in all.iter_mut().enumerate() {
            let found = client.join(&mut server);
            prop_assert_eq!(found == Outcome::Denied(Code::InstanceRevoked), is_out(n), "{:?}", found);
        }
    }

    /// Rule 9: after any join no rotation is due, and the key is another one if it was.
    #[test]
    fn no_rotation_stays_due(events in life(), by_spec in prop::option::of(-2000..2000_i64), asked in any::<bool>()) {
        let (mut server, mut client, _) = lived(&events);
        client.join(&mut server);
        server.later(HOUR);
        server.spec().rotate_after = by_spec.map(|hours| server.now + time::Duration::hours(hours));
        if asked {
            server.verb(Verb::Rotate { at: None });
        }
        let due = |server: &Server| {
            let seen = server.view().explain();
            seen.reasons.iter().any(|reason| reason.contains("rotation is due"))
        };
        let (was_due, before) = (due(&server), client.key);
        prop_assert!(was_due || !asked);
        prop_assert!(matches!(client.join(&mut server), Outcome::Admitted(_)));
        prop_assert!(!due(&server));
        prop_assert_eq!(client.key != before, was_due);
        prop_assert_eq!(server.enrolment.bound_public_key.clone(), Some(key(client.key)));
    }

    /// Rule 10: each admission is one step, the same on every replica, and leaves its name at the end of the trail.
    #[test]
    fn every_admission_is_one_step(events in life(), hours in 0..2000_u32) {
        let (mut server, mut client, _) = lived(&events);
        client.join(&mut server);
        let (before, message) = (server.enrolment.clone(), client.message_of_next());
        let mut replica = server.clone();
        replica.later(HOUR * hours);
        let verdicts = [server.handle(&message), replica.handle(&message)];
        for verdict in verdicts {
            prop_assert!(is_admitted(&verdict));
            let Write::Enrolment(next) = admitted(verdict).write else { panic!("a numbered join") };
            prop_assert_eq!(next.sequence, before.sequence + 1);
            let id = StateId::derive(UID, 0, before.last_state_id, attempt(message.attempt));
            prop_assert_eq!(next.last_state_id, Some(id));
            prop_assert_eq!(next.trail.at(next.sequence, next.sequence), Some(id.short()));
            let kept = next.trail.at(next.sequence, before.sequence);
            prop_assert_eq!(kept, before.last_state_id.map(StateId::short));
        }
        prop_assert_eq!(server.enrolment.position(UID), replica.enrolment.position(UID));
    }
}
