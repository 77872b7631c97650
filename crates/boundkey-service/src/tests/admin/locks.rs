//! Locks: set, listed, ended by the clock or by hand; and the index that joins read.

use boundkey_lifecycle::Identity;
use boundkey_store::keys;
use boundkey_store::records::LockIndex;
use boundkey_token::{Role, RoleSet};
use serde_json::{Value, json};

use super::token;
use crate::Loaded;
use crate::tests::fixture::{Fixture, Machine, now};

fn index(fixture: &Fixture, kind: &str, id: &str) -> Vec<String> {
    let loaded: Option<Loaded<LockIndex>> =
        now(fixture.service.load(&keys::lock_of(kind, id), fixture.service.now())).expect("readable");
    loaded.map(|index| index.record.locks.into_iter().map(|lock| lock.id).collect()).unwrap_or_default()
}

async fn lock(fixture: &Fixture, request: Value) -> String {
    let answer = fixture.post("/v1/locks?confirm=true", request).await.ok();
    answer["lock"]["metadata"]["name"].as_str().unwrap().to_owned()
}

async fn listed(fixture: &Fixture) -> Vec<String> {
    let page = fixture.get("/v1/locks").await.ok();
    let items = page["items"].as_array().unwrap().iter();
    items.map(|lock| lock["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_lock_stops_joins_until_it_is_removed() {
    let fixture = Fixture::new();
    let mut machine = fixture.registered("web");
    let request = json!({ "target": { "join_token": "web" }, "message": "stolen laptop" });
    let set = fixture.post("/v1/locks?confirm=true", request).await.ok()["lock"].clone();
    assert_eq!(set["spec"], json!({ "target": { "join_token": "web" }, "message": "stolen laptop" }));
    assert_eq!(set["status"]["origin"], "by_hand");
    let id = set["metadata"]["name"].as_str().unwrap();
    assert_eq!(listed(&fixture).await, [id]);
    assert_eq!(fixture.get(&format!("/v1/locks/{id}")).await.ok()["spec"], set["spec"]);
    assert_eq!(fixture.get("/v1/tokens?view=summary").await.ok()["items"][0]["state"], "locked");
    assert_eq!(machine.join(&fixture).unwrap_err().code, "locked");

    fixture.delete(&format!("/v1/locks/{id}")).await.ok();
    assert_eq!(listed(&fixture).await, [""; 0]);
    assert_eq!(fixture.get(&format!("/v1/locks/{id}")).await.refused(), (404, "not_found"));
    assert_eq!(fixture.delete(&format!("/v1/locks/{id}")).await.refused(), (404, "not_found"));
    assert_eq!(fixture.count("lock-of/"), 0);
    machine.join(&fixture).expect("the lock is gone");
}

#[tokio::test]
async fn one_lock_of_two_may_be_removed() {
    let fixture = Fixture::new();
    let mut machine = fixture.registered("web");
    let first = lock(&fixture, json!({ "target": { "join_token": "web" } })).await;
    let second = lock(&fixture, json!({ "target": { "join_token": "web" } })).await;
    assert_eq!(index(&fixture, "token", "web"), [first.clone(), second.clone()]);
    fixture.delete(&format!("/v1/locks/{first}")).await.ok();
    assert_eq!(index(&fixture, "token", "web"), [second]);
    assert_eq!(machine.join(&fixture).unwrap_err().code, "locked");
}

#[tokio::test]
async fn a_lock_ends_by_the_clock_and_the_next_change_cleans_the_index() {
    let fixture = Fixture::new();
    let mut machine = fixture.registered("web");
    let short = lock(&fixture, json!({ "target": { "join_token": "web" }, "ttl_seconds": 600 })).await;
    assert_eq!(machine.join(&fixture).unwrap_err().code, "locked");
    fixture.clock.advance(time::Duration::seconds(601));
    machine.join(&fixture).expect("the lock has ended");
    assert_eq!(listed(&fixture).await, [""; 0]);
    assert_eq!(fixture.get(&format!("/v1/locks/{short}")).await.status, 404);
    assert_ne!(fixture.get("/v1/tokens?view=summary").await.ok()["items"][0]["state"], "locked");
    let next = lock(&fixture, json!({ "target": { "join_token": "web" } })).await;
    assert_eq!(index(&fixture, "token", "web"), [next]);
}

#[tokio::test]
async fn hosts_bots_and_instances_can_be_locked() {
    let fixture = Fixture::new();
    let mut host = fixture.registered("web");
    let Some(Identity::Host(host_id)) = fixture.enrolment("web").enrolment.identity else { panic!("a host") };
    lock(&fixture, json!({ "target": { "server_id": host_id } })).await;
    assert_eq!(host.join(&fixture).unwrap_err().code, "locked");

    let mut deployer = token("deployer", json!({}));
    deployer["spec"]["roles"] = json!(["Bot"]);
    deployer["spec"]["bot_name"] = json!("ci");
    let bot = json!({ "kind": "bot", "version": "v1", "metadata": { "name": "ci" } });
    fixture.create(false, vec![bot, deployer]).await.ok();
    let mut machine = Machine::new("deployer", 5, Some(fixture.generated_secret("deployer")));
    machine.roles = RoleSet::new([Role::Bot]);
    machine.join(&fixture).expect("registers");
    let Some(Identity::BotInstance(id)) = fixture.enrolment("deployer").enrolment.identity else {
        panic!("a bot's instance")
    };
    for target in [json!({ "user": "ci" }), json!({ "bot_instance_id": id })] {
        let lock = lock(&fixture, json!({ "target": target })).await;
        assert_eq!(machine.join(&fixture).unwrap_err().code, "locked", "{target}");
        fixture.delete(&format!("/v1/locks/{lock}")).await.ok();
        machine.join(&fixture).expect("renews");
    }
}

#[tokio::test]
async fn a_lock_may_revoke_what_its_target_holds() {
    for target in ["join_token", "server_id"] {
        let fixture = Fixture::new();
        let mut machine = fixture.registered("web");
        let enrolment = fixture.enrolment("web").enrolment;
        let name = if target == "join_token" { "web" } else { enrolment.identity.as_ref().unwrap().id() };
        let id = lock(&fixture, json!({ "target": { target: name }, "revoke": true })).await;
        assert_eq!(enrolment.issued.len(), 2);
        assert_eq!(fixture.count("revoked/"), 2, "{target}");
        fixture.delete(&format!("/v1/locks/{id}")).await.ok();
        let result = machine.join(&fixture).expect("comes back");
        assert_eq!(result.kind, boundkey_proto::JoinKindName::Recovered, "{target}");
    }
}

#[tokio::test]
async fn locks_are_applied_as_resources_too() {
    let fixture = Fixture::new();
    let mut resource = json!({
        "kind": "lock", "version": "v2", "metadata": { "name": "incident-7" },
        "spec": { "target": { "join_token": "web" }, "message": "why" },
    });
    fixture.create(false, vec![resource.clone()]).await.ok();
    assert_eq!(index(&fixture, "token", "web"), ["incident-7"]);
    assert_eq!(fixture.create(false, vec![resource.clone()]).await.refused(), (409, "already_exists"));
    let again = fixture.create(true, vec![fixture.get("/v1/locks/incident-7").await.ok()]).await.ok();
    assert_eq!(again["applied"][0]["changed"], false);
    resource["spec"]["target"] = json!({ "user": "ci" });
    fixture.create(true, vec![resource]).await.ok();
    assert_eq!(index(&fixture, "token", "web"), [""; 0]);
    assert_eq!(index(&fixture, "bot", "ci"), ["incident-7"]);
    assert_eq!(fixture.count("lock-of/"), 1);
}

#[tokio::test]
async fn a_lock_of_the_servers_is_lifted_but_never_rewritten() {
    let fixture = Fixture::new();
    let mut machine = fixture.registered("web");
    let mut copy = machine.copy();
    copy.join(&fixture).expect("a copy's first join");
    assert_eq!(machine.join(&fixture).unwrap_err().code, "clone_detected");
    let [id] = listed(&fixture).await.try_into().expect("one lock");
    assert!(id.starts_with("auto-"), "{id}");
    let shown = fixture.get(&format!("/v1/locks/{id}")).await.ok();
    assert_eq!(shown["status"]["origin"], "automatic");
    let mut rewritten = shown;
    rewritten["spec"]["expires"] = json!("2026-05-01T12:00:00Z");
    assert_eq!(fixture.create(true, vec![rewritten]).await.refused(), (409, "automatic_lock"));
    fixture.delete(&format!("/v1/locks/{id}")).await.ok();
    assert_eq!(fixture.count("lock-of/"), 0);
}

#[tokio::test]
async fn locks_that_make_no_sense_are_refused() {
    let fixture = Fixture::new();
    for (request, status, code) in [
        (json!({ "target": { "join_token": "" } }), 422, "invalid_resource"),
        (json!({ "target": { "join_token": "web" }, "ttl_seconds": u64::MAX }), 422, "invalid_request"),
        (json!({ "target": { "join_token": "web" }, "ttl_seconds": 1_u64 << 40 }), 422, "invalid_request"),
        (json!({ "target": { "token": "web" } }), 400, "malformed_request"),
        (json!({ "target": { "join_token": "web", "user": "ci" } }), 400, "malformed_request"),
        (json!({ "message": "why" }), 400, "malformed_request"),
        (json!({ "target": { "join_token": "web" }, "until": "tomorrow" }), 400, "malformed_request"),
    ] {
        assert_eq!(fixture.post("/v1/locks", request.clone()).await.refused(), (status, code), "{request}");
    }
    assert_eq!((fixture.count("lock/"), fixture.count("lock-of/")), (0, 0));
}

/// The record of a shared token names one of its clients, the first. A lock on him is no lock on the others, neither while
/// they share the token nor when one of them keeps it.
#[tokio::test]
async fn a_lock_on_any_client_of_many_stops_that_client_alone() {
    for locked in 0..3 {
        let fixture = Fixture::new();
        let mut machines: Vec<Machine> = (0..3)
            .map(|n| {
                let mut machine = Machine::new("web", 1, None);
                (0..n * 5).for_each(|_| machine.next_attempt());
                machine
            })
            .collect();
        let key = machines[0].bound.public_key().to_openssh();
        let spec = |mode: &str| {
            format!(
                "  bound_keypair:\n    onboarding: {{initial_public_key: \"{key}\"}}\n    recovery: {{mode: {mode}}}\n"
            )
        };
        fixture.node_token("web", &spec("insecure"));
        let ids: Vec<String> = machines
            .iter_mut()
            .map(|machine| machine.join(&fixture).expect("joins").identity.id().to_owned())
            .collect();
        lock(&fixture, json!({ "target": { "server_id": ids[locked] }, "revoke": true })).await;
        assert!(!fixture.enrolment("web").enrolment.certificates_revoked, "the others' are not in question");
        for (n, machine) in machines.iter_mut().enumerate() {
            let joined = machine.join(&fixture).map(|result| result.identity.id().to_owned());
            match n == locked {
                true => assert_eq!(joined.unwrap_err().code, "locked", "{n}"),
                false => assert_eq!(joined.expect("is not locked"), ids[n], "lock on {locked}"),
            }
        }
        let summary = fixture.get("/v1/tokens?view=summary").await.ok();
        assert_eq!(summary["items"][0]["state"], "shared");
        fixture.node_token("web", &spec("standard"));
        assert_eq!(
            machines[locked].join(&fixture).unwrap_err().code,
            "locked",
            "it is not the one to keep it"
        );
        let other = (locked + 1) % 3;
        assert_eq!(machines[other].join(&fixture).expect("is adopted").identity.id(), ids[other]);
    }
}

#[tokio::test]
async fn a_lock_that_revokes_one_client_of_many_keeps_it_out_while_it_stands_and_no_longer() {
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
    second.join(&fixture).unwrap();
    let mut third = Machine::new("web", 1, None);
    (0..5).for_each(|_| third.next_attempt());
    let id = third.join(&fixture).unwrap().identity.id().to_owned();
    lock(&fixture, json!({ "target": { "server_id": id }, "revoke": true, "ttl_seconds": 3600 })).await;
    assert_eq!(fixture.count("revoked/"), 2, "its own, nobody else's");
    assert_eq!(third.join(&fixture).unwrap_err().code, "locked");
    second.join(&fixture).expect("the others go on");
    fixture.clock.advance(time::Duration::hours(2));
    assert_eq!(third.join(&fixture).expect("the lock has ended").identity.id(), id);
}

/// A lock on a mistyped name would look like one that works: all four kinds of targets, however the lock is set.
#[tokio::test]
async fn a_lock_on_a_name_that_nobody_has_is_warned_about() {
    let fixture = Fixture::new();
    fixture.registered("web");
    let resource = |name: &str, target: &Value| json!({ "kind": "lock", "version": "v2", "metadata": { "name": name }, "spec": { "target": target } });
    for (number, (target, warning)) in [
        (json!({ "join_token": "wbe" }), "there is no token `wbe`"),
        (json!({ "user": "ci" }), "there is no bot `ci`"),
        (
            json!({ "server_id": "node-1" }),
            "no host has the id `node-1`, so the lock keeps nobody out; it is the hostname of ",
        ),
        (
            json!({ "server_id": "other" }),
            "no host has the id `other`, so the lock keeps nobody out; `nodes ls` shows the ids",
        ),
        (json!({ "bot_instance_id": "node-1" }), "no bot instance has the id `node-1`"),
    ]
    .into_iter()
    .enumerate()
    {
        let set = fixture.post("/v1/locks", json!({ "target": target })).await.ok();
        let applied = fixture.create(false, vec![resource(&format!("l{number}"), &target)]).await.ok();
        for told in [&set["warnings"], &applied["applied"][0]["warnings"]] {
            assert!(told[0].as_str().unwrap_or_default().starts_with(warning), "{target}: {told}");
        }
    }
    let past = json!({ "target": { "join_token": "web" }, "ttl_seconds": 0 });
    let answer = fixture.post("/v1/locks", past).await.ok();
    assert_eq!(answer["warnings"], json!(["ttl_seconds is 0: this lock keeps nobody out"]));
}
