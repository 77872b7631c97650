//! What must hold of every answer, whatever was said behind signatures that hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use boundkey_ca::inspect_leaf;
use boundkey_lifecycle::{
    Enrolment, Identity, LockInForce, LockOrigin, OnboardingInForce, StateClaims, StateEvidence,
};
use boundkey_proto::{
    Complete, JoinAnswer, JoinKindName, JoinResult, ProtoError, Received, open_state, read_challenge,
    receive_complete,
};
use boundkey_service::{Refusal, join};
use boundkey_store::records::{EnrolmentRecord, EventRecord, InstanceEntry, LockIndex, Record, TokenRecord};
use boundkey_store::{Change, Store as _, keys};
use boundkey_token::RecoveryMode;

use super::super::say;
use super::super::world::{Site, poll};
use super::World;
use crate::scene::CLUSTER;

/// Code and status of every refusal that the chapter on the protocol tells clients of.
static DOCUMENTED: LazyLock<BTreeMap<&'static str, u16>> = LazyLock::new(|| {
    let page = include_str!("../../../../docs/protocol.md");
    let chapters = page
        .split("\n### Codes of the ")
        .skip(1)
        .map(|chapter| chapter.split("\n## ").next().unwrap_or(chapter));
    let rows =
        chapters.flat_map(str::lines).filter(|line| line.starts_with("| `") && !line.contains("*audit*"));
    let codes: BTreeMap<_, _> = rows
        .filter_map(|row| {
            let mut cells = row.trim_matches('|').split('|').map(str::trim);
            Some((cells.next()?.trim_matches('`'), cells.next()?.parse().ok()?))
        })
        .collect();
    assert!(
        codes.len() > 25 && codes["denied"] == 403,
        "the tables of codes are not where they were: {codes:?}"
    );
    codes
});

/// Where a token stood before the message.
struct Before {
    token: Option<TokenRecord>,
    enrolment: Enrolment,
    /// Locks by hand that are in force on anything that the message names.
    by_hand: Vec<LockInForce>,
}

impl Before {
    fn read(site: &Site, received: &Received) -> Self {
        let name = received.request.token.as_str();
        let token = load::<TokenRecord>(site, &keys::token(name));
        let uid = token.as_ref().map(|token| token.uid);
        let enrolment = site.enrolment(name).filter(|found| Some(found.uid) == uid);
        let enrolment = enrolment.map(|found| found.enrolment).unwrap_or_default();
        let mut named = vec![keys::lock_of("token", name)];
        // Of many clients the enrolment names whoever joined first, and a lock on him stops no other.
        let mode = token.as_ref().map(|token| token.token.spec.bound_keypair.recovery.mode);
        if mode != Some(RecoveryMode::Insecure) && !enrolment.shared {
            named.extend(enrolment.identity.as_ref().map(lock_of));
        }
        if let StateEvidence::Valid(claims) = &received.join_state {
            named.push(lock_of(&claims.identity));
        }
        let by_hand = named.iter().flat_map(|key| by_hand(site, key)).collect();
        Self { token, enrolment, by_hand }
    }
}

fn lock_of(identity: &Identity) -> String {
    keys::lock_of(if identity.is_bot() { "instance" } else { "host" }, identity.id())
}

fn by_hand(site: &Site, key: &str) -> Vec<LockInForce> {
    let index = load::<LockIndex>(site, key).unwrap_or_default();
    index.locks.into_iter().filter(|lock| lock.origin == LockOrigin::ByHand).collect()
}

fn load<R: Record>(site: &Site, key: &str) -> Option<R> {
    poll(site.service.load::<R>(key, site.now())).expect("readable").map(|found| found.record)
}

/// What one message changed: the kinds of the records, and the events that tell of it.
#[derive(Debug)]
struct Changed {
    keys: Vec<String>,
    events: Vec<EventRecord>,
}

impl Changed {
    fn nothing(&self) -> bool {
        self.keys.is_empty() && self.events.is_empty()
    }

    fn kinds(&self) -> BTreeSet<&str> {
        self.keys.iter().map(|key| key.split('/').next().unwrap_or(key)).collect()
    }

    fn only(&self, kinds: &[&str]) -> bool {
        self.kinds().iter().all(|kind| kinds.contains(kind))
    }

    fn notes(&self, word: &str) -> bool {
        self.events.iter().flat_map(|event| &event.notes).any(|note| note.split(' ').next() == Some(word))
    }
}

impl World<'_> {
    pub(super) fn deliver(&mut self, message: &Complete) -> Option<JoinAnswer> {
        let site = self.site;
        let (service, now) = (&site.service, site.now());
        let body = serde_json::to_vec(message).expect("JSON");
        let received = receive_complete(&body, CLUSTER, service.master(), now);
        say(&received);
        let before = received.as_ref().ok().map(|received| Before::read(site, received));
        site.write_counted();
        let revision = poll(site.store.revision()).expect("a revision");
        let answer = poll(join::complete(service, &body, &self.context, now));
        let changed = self.changes(revision);
        say((&answer, &changed));
        match (answer, received, before) {
            (Ok(answer), Ok(received), Some(before)) => {
                self.answered(&answer, &received, &before, &changed);
                Some(answer)
            }
            (Ok(_), Err(error), _) => panic!("an answer to what is refused: {error}"),
            (Err(refused), Err(error), _) => {
                assert!(changed.nothing(), "a message that is none changed {changed:?}");
                unread(&refused.refusal, &error);
                None
            }
            (Err(refused), Ok(received), Some(before)) => {
                self.refused(&refused.refusal, &received, &before, &changed);
                None
            }
            (_, Ok(_), None) => unreachable!("what was received was looked up"),
        }
    }

    fn changes(&self, since: boundkey_store::Revision) -> Changed {
        let store = &self.site.store;
        let mut changed = Changed { keys: Vec::new(), events: Vec::new() };
        if poll(store.revision()).expect("a revision") == since {
            return changed;
        }
        let mut watch = poll(store.watch("", since)).expect("a watch");
        for change in poll(watch.next()).expect("changes") {
            match change {
                Change::Put(entry) if entry.key.starts_with(keys::EVENT) => {
                    changed.events.push(EventRecord::decode(&entry.value).expect("an event"));
                }
                other => changed.keys.push(other.key().to_owned()),
            }
        }
        changed
    }

    fn refused(&self, refusal: &Refusal, received: &Received, before: &Before, changed: &Changed) {
        let (code, status) = (refusal.problem.code.as_str(), refusal.problem.status);
        documented(code, status);
        if status != 403 || code == "denied" {
            assert!(changed.nothing(), "{code} changed {changed:?}");
            return;
        }
        let (own, counted) = (changed.events.len(), self.site.write_counted());
        assert_eq!(
            own + counted,
            1,
            "a refusal of somebody who proved something has an event, or a row that counts it"
        );
        if code != "clone_detected" {
            assert!(changed.keys.is_empty(), "{code} changed {changed:?}");
            return;
        }
        let Some(token) = &before.token else { panic!("a clone of no token") };
        let live = received.position == Some(before.enrolment.position(token.uid));
        assert!(live, "locked by a message that is not live");
        assert!(!before.enrolment.shared, "a shared lineage locks nobody");
        assert_ne!(token.token.spec.bound_keypair.recovery.mode, RecoveryMode::Insecure);
        // Those of a bot are revoked at once.
        let is_bot = token.token.spec.roles.is_bot();
        let more: &[&str] = if is_bot { &["enrolment", "revoked"] } else { &[] };
        assert!(changed.only(&[&["lock", "lock-of"], more].concat()), "{changed:?}");
        assert!(changed.kinds().contains("lock"), "a clone without a lock: {changed:?}");
        let name = received.request.token.as_str();
        let after = self.site.enrolment(name).map(|found| found.enrolment).unwrap_or_default();
        let as_before = Enrolment {
            certificates_revoked: before.enrolment.certificates_revoked,
            issued: before.enrolment.issued.clone(),
            ..after
        };
        assert_eq!(as_before, before.enrolment, "a lock changed the enrolment");
        let kept = by_hand(self.site, &keys::lock_of("token", name));
        assert!(kept.iter().all(|lock| before.by_hand.contains(lock)), "a lock by hand was made");
        assert!(before.by_hand.is_empty(), "the lock by hand comes first: {:?}", before.by_hand);
    }

    fn answered(&mut self, answer: &JoinAnswer, received: &Received, before: &Before, changed: &Changed) {
        let uid = before.token.as_ref().expect("an answer for no token").uid;
        assert!(received.proven.current.is_some(), "an answer to whoever proved no key");
        assert!(before.by_hand.is_empty(), "past a lock by hand: {:?}", before.by_hand);
        let position = before.enrolment.position(uid);
        match answer {
            JoinAnswer::Confirm { challenge } => {
                assert!(changed.nothing(), "a question changed {changed:?}");
                assert_ne!(received.position, Some(position), "a live message is asked to be live");
                let view = read_challenge(challenge, Some(CLUSTER)).expect("a challenge");
                assert_eq!(view.position, Some(position));
                if self.challenges.len() < 24 {
                    self.challenges.push(challenge.clone());
                }
            }
            JoinAnswer::RotationRequired {} => assert!(changed.nothing(), "a question changed {changed:?}"),
            JoinAnswer::Admitted(result) => {
                let claims = self.admitted(result, received, before);
                if result.kind == JoinKindName::Retried {
                    assert!(changed.nothing(), "a repetition changed {changed:?}");
                } else {
                    self.advanced(result, &claims, received, before, changed);
                }
                self.made.insert(result.join_state.clone());
                if self.states.len() < 24 {
                    self.states.push(result.join_state.clone());
                } else {
                    self.states[usize::from(self.next_attempt) % 24].clone_from(&result.join_state);
                }
            }
        }
    }

    /// What holds of every result: it is of this attempt and of proven keys, and says what is stored.
    fn admitted(&self, result: &JoinResult, received: &Received, before: &Before) -> StateClaims {
        let (site, request) = (self.site, &received.request);
        assert!(received.proven.has(&result.bound_key), "a key is bound that was not proven");
        assert_eq!(result.attempt, request.attempt);
        assert!(by_hand(site, &lock_of(&result.identity)).is_empty(), "its identity is locked by hand");
        assert_eq!(
            result.identity.is_bot(),
            before.token.as_ref().is_some_and(|t| t.token.spec.roles.is_bot())
        );
        if let Some(certificates) = &result.certificates {
            let chain = certificates.chain_der().expect("a chain");
            let leaf = inspect_leaf(&chain[0]).expect("a leaf");
            assert_eq!(leaf.public_key, request.tls_key, "a certificate for another key");
            assert_eq!(leaf.result_digest, Some(result.digest()));
            assert_eq!(certificates.ssh.is_some(), request.ssh_key.is_some());
        } else {
            assert_eq!(result.kind, JoinKindName::Retried, "a join without certificates");
        }
        let opened = open_state(&result.join_state, CLUSTER, site.service.master());
        let StateEvidence::Valid(claims) = opened else { panic!("its own join state is {opened:?}") };
        let EnrolmentRecord { uid, enrolment } =
            site.enrolment(request.token.as_str()).expect("an enrolment");
        let instance = load::<InstanceEntry>(site, &keys::instance(&uid.to_string(), result.identity.id()));
        let of_one = instance
            .filter(|_| enrolment.shared)
            .and_then(|entry| enrolment.instance_claims(uid, &entry.record));
        let stored = [enrolment.claims(uid), of_one];
        assert!(stored.contains(&Some((*claims).clone())), "the state says {claims:?}, stored is {stored:?}");
        assert_eq!(claims.key, result.bound_key.thumbprint());
        assert_eq!(claims.identity, result.identity);
        *claims
    }

    /// What holds of a join that is no repetition.
    fn advanced(
        &mut self,
        result: &JoinResult,
        claims: &StateClaims,
        received: &Received,
        before: &Before,
        changed: &Changed,
    ) {
        let (name, was) = (received.request.token.as_str(), &before.enrolment);
        let token = &before.token.as_ref().expect("a token").token;
        let [event] = changed.events.as_slice() else { panic!("{} events of a join", changed.events.len()) };
        let is_instance = event.code == "instance_joined";
        let kind = match result.kind {
            JoinKindName::Registered => "registered",
            JoinKindName::Renewed => "renewed",
            _ => "recovered",
        };
        assert!(is_instance || event.code == kind, "{} is told as {}", kind, event.code);
        assert!(changed.only(&["enrolment", "instance", "void", "revoked", "lock", "lock-of"]), "{changed:?}");
        let own = [keys::enrolment(name), keys::lock_of("token", name)];
        let foreign = |key: &&String| key.starts_with(keys::ENROLMENT) || key.starts_with("lock-of/token");
        assert!(
            changed.keys.iter().filter(foreign).all(|key| own.contains(key)),
            "another token: {changed:?}"
        );
        let now = self.site.enrolment(name).expect("an enrolment").enrolment;
        if is_instance {
            assert_eq!(now, *was, "one of many clients moved the lineage");
            return;
        }
        let presented = match &received.join_state {
            StateEvidence::Valid(claims) => Some(&**claims),
            _ => None,
        };
        let healed = presented.filter(|_| changed.notes("rollback_healed"));
        let from = healed.map_or((was.generation, was.sequence), |s| (s.generation, s.sequence));
        assert!(from >= (was.generation, was.sequence), "healed backwards");
        assert_eq!((now.generation, now.sequence), (from.0, from.1 + 1), "a sequence is left out");
        assert_eq!((claims.generation, claims.sequence), (now.generation, now.sequence));
        let used = healed.map_or(was.recovery_count, |s| s.recovery_count);
        if now.recovery_count > used && token.spec.bound_keypair.recovery.mode == RecoveryMode::Standard {
            assert!(now.recovery_count <= now.limit_in_force(token), "past the limit of recoveries");
        }
        if result.kind == JoinKindName::Registered {
            assert!(!was.is_bound(), "registered over a key that is bound");
            let by_secret = was.onboarding(token) == OnboardingInForce::Secret;
            assert!(!by_secret || !was.secret.used, "a used secret registered");
        }
        assert!(now.secret.used && now.secret.generated.is_none(), "a secret outlives a registration");
        self.once(received, &now, healed.is_some(), changed);
    }

    /// One attempt from one state admits at most once in one history, unless an administrator opened another way.
    fn once(&mut self, received: &Received, now: &Enrolment, healed: bool, changed: &Changed) {
        let request = &received.request;
        let presented = request.join_state.clone();
        self.book.carried_off |= healed && presented.as_ref().is_some_and(|text| !self.made.contains(text));
        let uid = self.site.enrolment(request.token.as_str()).expect("an enrolment").uid;
        let lineage = [&uid.0[..], &now.generation.to_be_bytes()].concat();
        let first = self.book.admitted.insert((lineage, request.attempt, presented));
        let reopened = ["by_grant", "left_shared", "entered_shared"].iter().any(|note| changed.notes(note));
        assert!(first || reopened || self.book.carried_off, "one attempt was admitted twice");
    }
}

fn documented(code: &str, status: u16) {
    assert_eq!(
        DOCUMENTED.get(code),
        Some(&status),
        "{code} ({status}) is not in the chapter on the protocol"
    );
    // There is nothing wrong with this server.
    assert!(!["internal", "unavailable", "busy", "overloaded"].contains(&code), "{code}");
}

/// What is no message is refused as such, before anything is decided (unless the server's clock is wrong).
fn unread(refusal: &Refusal, error: &ProtoError) {
    documented(&refusal.problem.code, refusal.problem.status);
    if refusal.problem.code != "server_clock" {
        assert_eq!(refusal.problem.code, error.code());
    }
}
