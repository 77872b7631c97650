//! The administrator's verbs: what they change, and that they may be repeated.

use boundkey_proto::JoinKindName;
use boundkey_token::{Role, RoleSet};
use serde_json::{Value, json};

use super::token;
use crate::tests::fixture::{Fixture, Machine};

async fn verb(fixture: &Fixture, verb: &str, request: Value) -> Value {
    fixture.post(&format!("/v1/tokens/web/{verb}?confirm=true"), request).await.ok()
}

#[tokio::test]
async fn a_verb_says_the_second_time_that_nothing_was_left_to_do() {
    let requests = [
        ("grant-recovery", json!({ "count": 2 }), "recovery_granted"),
        ("rotate", json!({}), "rotation_requested"),
        ("rotate", json!({ "at": "2026-06-01T00:00:00Z" }), "rotation_requested"),
        ("revoke", json!({}), "certificates_revoked"),
    ];
    for (name, request, event) in requests {
        let fixture = Fixture::new();
        fixture.registered("web");
        let first = verb(&fixture, name, request.clone()).await;
        assert_eq!(first["changed"], true, "{name} {request}");
        assert_eq!(fixture.event_codes().last().map(String::as_str), Some(event));
        let (enrolment, events) = (fixture.enrolment("web"), fixture.events().len());
        let second = verb(&fixture, name, request.clone()).await;
        assert_eq!(second["changed"], false, "{name} {request}");
        let message = second["message"].as_str().unwrap();
        assert!(message.starts_with("nothing was left to do for token/web; next join: "), "{message}");
        assert_eq!((fixture.enrolment("web"), fixture.events().len()), (enrolment, events));
    }
}

#[tokio::test]
async fn resync_may_be_repeated_and_only_extends_the_grant() {
    let fixture = Fixture::new();
    fixture.registered("web");
    verb(&fixture, "resync", json!({})).await;
    let first = fixture.enrolment("web").enrolment;
    verb(&fixture, "resync", json!({})).await;
    let second = fixture.enrolment("web").enrolment;
    assert_eq!(second.rotate_requested_at, first.rotate_requested_at);
    assert!(second.resync_until > first.resync_until);
}

#[tokio::test]
async fn verbs_on_a_token_that_nobody_joined_do_what_makes_sense() {
    let fixture = Fixture::new();
    fixture.create(false, vec![token("web", json!({}))]).await.ok();
    let before = fixture.enrolment("web");
    for name in ["resync", "revoke"] {
        assert_eq!(verb(&fixture, name, json!({})).await["changed"], false, "{name}");
    }
    assert_eq!(fixture.enrolment("web"), before);
}

#[tokio::test]
async fn granted_recoveries_admit_a_machine_that_has_used_its_own() {
    let fixture = Fixture::new();
    fixture.node_token("web", "");
    let mut machine = Machine::new("web", 1, Some(fixture.generated_secret("web")));
    machine.join(&fixture).unwrap();
    verb(&fixture, "revoke", json!({})).await;
    assert_eq!(machine.join(&fixture).unwrap_err().code, "recovery_limit_reached");
    verb(&fixture, "grant-recovery", json!({})).await;
    assert_eq!(machine.join(&fixture).unwrap().kind, JoinKindName::Recovered);
    let shown = fixture.get("/v1/tokens/web").await.ok()["status"]["bound_keypair"].clone();
    assert_eq!((&shown["recovery_count"], &shown["granted_limit"]), (&json!(2), &json!(2)));
}

#[tokio::test]
async fn revoked_certificates_are_on_the_lists() {
    let fixture = Fixture::new();
    let mut machine = fixture.registered("web");
    let issued = fixture.enrolment("web").enrolment.issued;
    let [x509, ssh] = [&issued[0].serial, &issued[1].serial].map(|serial| bytes(serial));
    let lists = fixture.service.revocation_lists().await.unwrap();
    assert!(!holds(lists.crl(boundkey_lifecycle::CaKind::Host), &x509) && !holds(lists.krl(), &ssh));
    verb(&fixture, "revoke", json!({})).await;
    let lists = fixture.service.revocation_lists().await.unwrap();
    assert!(holds(lists.crl(boundkey_lifecycle::CaKind::Host), &x509));
    assert!(!holds(lists.crl(boundkey_lifecycle::CaKind::Bot), &x509));
    assert!(holds(lists.krl(), &ssh));
    assert_eq!(machine.join(&fixture).unwrap().kind, JoinKindName::Recovered);

    // A verifier whose clock is slow still finds them for a while after they have expired.
    fixture.clock.set(issued[0].expires_at + time::Duration::minutes(10));
    assert!(holds(
        fixture.service.revocation_lists().await.unwrap().crl(boundkey_lifecycle::CaKind::Host),
        &x509
    ));
    fixture.clock.set(issued[0].expires_at + time::Duration::hours(2));
    assert!(!holds(
        fixture.service.revocation_lists().await.unwrap().crl(boundkey_lifecycle::CaKind::Host),
        &x509
    ));
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().map(|digit| (digit as char).to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn holds(list: impl AsRef<[u8]>, serial: &[u8]) -> bool {
    list.as_ref().windows(serial.len()).any(|window| window == serial)
}

#[tokio::test]
async fn a_rotation_that_was_asked_for_is_done_at_the_next_join() {
    let fixture = Fixture::new();
    let mut machine = fixture.registered("web");
    let before = machine.bound.public_key().clone();
    verb(&fixture, "rotate", json!({})).await;
    machine.join(&fixture).unwrap();
    assert_ne!(*machine.bound.public_key(), before);
    let shown = fixture.get("/v1/tokens/web").await.ok()["status"]["bound_keypair"].clone();
    assert_eq!(shown["bound_public_key"], machine.bound.public_key().to_openssh());
}

#[tokio::test]
async fn resync_takes_the_holder_of_the_key_back_and_shuts_the_copy_out() {
    let fixture = Fixture::new();
    let mut machine = fixture.registered("web");
    let mut copy = machine.copy();
    copy.join(&fixture).expect("a copy's first join");
    assert_eq!(machine.join(&fixture).unwrap_err().code, "clone_detected");
    assert_eq!(verb(&fixture, "resync", json!({})).await["changed"], true);
    assert_eq!(fixture.count("lock-of/"), 0);
    machine.join(&fixture).expect("is taken back");
    assert!(copy.join(&fixture).is_err());
}

#[tokio::test]
async fn reset_binds_another_machine_and_tells_its_secret_only_if_asked_to() {
    let fixture = Fixture::new();
    let mut before = fixture.registered("web");
    let silent = verb(&fixture, "reset", json!({})).await;
    assert!(silent.get("registration_secret").is_none(), "{silent}");
    assert_eq!(fixture.count("revoked/"), 2);
    let generation = fixture.enrolment("web").enrolment.generation;
    let told = fixture.post("/v1/tokens/web/reset?secrets=true&confirm=true", json!({})).await.ok();
    let secret = boundkey_keys::Secret::new(told["registration_secret"].as_str().unwrap().to_owned());
    assert!(secret == fixture.generated_secret("web"));
    assert_eq!(before.join(&fixture).unwrap_err().code, "denied");
    let mut after = Machine::new("web", 2, Some(secret));
    assert_eq!(after.join(&fixture).unwrap().kind, JoinKindName::Registered);
    assert!(fixture.enrolment("web").enrolment.generation > generation);
}

#[tokio::test]
async fn what_many_share_is_revoked_for_all_and_all_may_come_back() {
    let fixture = Fixture::new();
    let mut first = Machine::new("web", 1, None);
    let key = first.bound.public_key().to_openssh();
    fixture.node_token(
        "web",
        &format!(
            "  bound_keypair:\n    onboarding: {{initial_public_key: \"{key}\"}}\n    recovery: {{mode: insecure}}\n"
        ),
    );
    first.join(&fixture).unwrap();
    let mut second = Machine::new("web", 1, None);
    second.next_attempt();
    second.next_attempt();
    second.join(&fixture).expect("another holder of the key");
    assert_eq!(fixture.get("/v1/nodes").await.ok()["items"].as_array().unwrap().len(), 2);
    assert_eq!(verb(&fixture, "revoke", json!({})).await["changed"], true);
    assert_eq!(fixture.count("revoked/"), 4);
    assert_eq!(verb(&fixture, "revoke", json!({})).await["changed"], false);
    first.join(&fixture).expect("comes back");
    second.join(&fixture).expect("comes back too");
}

#[tokio::test]
async fn what_is_no_verb_no_token_or_no_request_is_refused() {
    let fixture = Fixture::new();
    fixture.create(false, vec![token("web", json!({}))]).await.ok();
    for (path, request, status, code) in [
        ("web/dance", json!({}), 404, "not_found"),
        ("absent/rotate", json!({}), 404, "not_found"),
        ("absent/explain", json!({}), 404, "not_found"),
        ("web/grant-recovery", json!({ "count": 0 }), 422, "invalid_request"),
        ("web/grant-recovery", json!({ "count": -1 }), 400, "malformed_request"),
        ("web/grant-recovery", json!({ "number": 1 }), 400, "malformed_request"),
        ("web/rotate", json!({ "at": "tomorrow" }), 400, "malformed_request"),
    ] {
        let answer = fixture.post(&format!("/v1/tokens/{path}"), request.clone()).await;
        assert_eq!(answer.refused(), (status, code), "{path} {request}");
    }
    assert_eq!(fixture.event_codes(), ["token_created"]);
}

#[tokio::test]
async fn a_grant_may_be_as_long_as_time_itself() {
    let fixture = Fixture::new();
    fixture.registered("web");
    assert_eq!(verb(&fixture, "resync", json!({ "ttl_seconds": u64::MAX })).await["changed"], true);
    assert_eq!(verb(&fixture, "grant-recovery", json!({ "count": u32::MAX })).await["changed"], true);
    fixture.get("/v1/tokens/web").await.ok();
}

#[tokio::test]
async fn explain_follows_the_lineage() {
    let fixture = Fixture::new();
    fixture.create(false, vec![token("web", json!({}))]).await.ok();
    let explain = async || verb(&fixture, "explain", json!({})).await["state"].as_str().unwrap().to_owned();
    assert_eq!(explain().await, "pending");
    let mut machine = Machine::new("web", 1, Some(fixture.generated_secret("web")));
    machine.join(&fixture).unwrap();
    assert_eq!(explain().await, "bound");
    verb(&fixture, "rotate", json!({})).await;
    assert_eq!(explain().await, "rotation_due");
    verb(&fixture, "revoke", json!({})).await;
    assert_eq!(explain().await, "no_recoveries_left");
    fixture.post("/v1/locks?confirm=true", json!({ "target": { "join_token": "web" } })).await.ok();
    assert_eq!(explain().await, "locked");
}

/// Each lock that stops a machine, and nothing else, makes its token a locked one for those who look.
#[tokio::test]
async fn explain_listing_and_status_tell_of_every_lock_that_stops_the_machine() {
    let fixture = Fixture::new();
    let mut host = fixture.registered("web");
    let (mut bot, resources) = bot_machine(&fixture).await;
    let id_of = |name: &str| fixture.enrolment(name).enrolment.identity.expect("joined").id().to_owned();
    let seen = async |name: &str| {
        let explained = fixture.post(&format!("/v1/tokens/{name}/explain"), json!({})).await.ok();
        let rows = fixture.get("/v1/tokens?view=summary").await.ok();
        let row = rows["items"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap().clone();
        assert_eq!(explained["state"], row["state"], "{name}");
        (explained, row["state"].as_str().unwrap().to_owned())
    };
    let locked = async || fixture.get("/v1/status").await.ok()["states"]["locked"].as_u64().unwrap_or(0);
    for (name, target) in [
        ("web", json!({ "join_token": "web" })),
        ("web", json!({ "server_id": id_of("web") })),
        ("deployer", json!({ "join_token": "deployer" })),
        ("deployer", json!({ "user": "ci" })),
        ("deployer", json!({ "bot_instance_id": id_of("deployer") })),
    ] {
        let lock = fixture.post("/v1/locks?confirm=true", json!({ "target": target })).await.ok();
        let id = lock["lock"]["metadata"]["name"].as_str().unwrap();
        let machine = if name == "web" { &mut host } else { &mut bot };
        assert_eq!(machine.join(&fixture).unwrap_err().code, "locked", "{target}");
        let (explained, state) = seen(name).await;
        assert_eq!(state, "locked", "{target}");
        assert_eq!(explained["next_join"], "refused: a lock stands");
        assert!(explained["reasons"].to_string().contains(id), "{explained}");
        let other = if name == "web" { "deployer" } else { "web" };
        assert_eq!(seen(other).await.1, "bound", "{target}");
        assert_eq!(locked().await, 1, "{target}");
        fixture.delete(&format!("/v1/locks/{id}")).await.ok();
        assert_eq!(seen(name).await.1, "bound", "{target}");
        machine.join(&fixture).expect("nothing stops it");
    }
    assert_eq!(locked().await, 0);

    fixture.delete("/v1/bots/ci?confirm=true").await.ok();
    assert_eq!(bot.join(&fixture).unwrap_err().code, "bot_not_found");
    let (explained, state) = seen("deployer").await;
    assert_eq!(
        (state.as_str(), &explained["next_join"]),
        ("bot_missing", &json!("refused: the token's bot is not there"))
    );
    assert!(explained["reasons"].to_string().contains("`ci` does not exist"), "{explained}");
    fixture.create(true, resources).await.ok();
    bot.join(&fixture).expect("its bot is back");
}

/// A bot `ci`, its token `deployer` and a machine that joined with it; and the resources.
async fn bot_machine(fixture: &Fixture) -> (Machine, Vec<Value>) {
    let mut deployer = token("deployer", json!({}));
    deployer["spec"]["roles"] = json!(["Bot"]);
    deployer["spec"]["bot_name"] = json!("ci");
    let bot = json!({ "kind": "bot", "version": "v1", "metadata": { "name": "ci" } });
    fixture.create(false, vec![bot.clone(), deployer]).await.ok();
    let mut machine = Machine::new("deployer", 5, Some(fixture.generated_secret("deployer")));
    machine.roles = RoleSet::new([Role::Bot]);
    machine.join(fixture).expect("registers");
    (machine, vec![bot])
}
