//! Whoever asks for what cuts machines off learns whom it hits first, and confirms exactly that.

use boundkey_lifecycle::Identity;
use boundkey_store::records::{InstanceEntry, Record as _};
use boundkey_store::{Batch, Write, keys};
use boundkey_token::{Role, RoleSet};
use serde_json::{Value, json};

use super::token;
use crate::tests::fixture::{Fixture, Machine};

/// How a request is made.
struct Way {
    method: &'static str,
    path: &'static str,
    body: Value,
    /// The next join as it is told.
    next_join: &'static str,
}

fn ways() -> Vec<Way> {
    let lock = json!({ "target": { "join_token": "web" } });
    let mut expired = token("web", json!({}));
    expired["metadata"]["expires"] = json!("2020-01-01T00:00:00Z");
    let resource = json!({
        "kind": "lock", "version": "v2", "metadata": { "name": "incident-7" }, "spec": lock.clone(),
    });
    let way = |method, path, body, next_join| Way { method, path, body, next_join };
    let stands = "next join: refused: a lock stands";
    let gone = "next join: refused: there is no such token";
    vec![
        way("POST", "/v1/tokens/web/reset", json!({}), "next join: only with the new registration secret"),
        way("POST", "/v1/tokens/web/revoke", json!({}), "next join: recovers; one recovery is used"),
        way("DELETE", "/v1/tokens/web", json!(null), gone),
        way("DELETE", "/v1/tokens/web?revoke=true", json!(null), gone),
        way("POST", "/v1/locks", lock.clone(), stands),
        way("POST", "/v1/locks", json!({ "target": lock["target"], "revoke": true }), stands),
        way("POST", "/v1/apply", json!({ "resources": [resource] }), stands),
        way(
            "POST",
            "/v1/apply",
            json!({ "force": true, "resources": [expired.clone()] }),
            "next join: refused: the token has expired",
        ),
        way("PUT", "/v1/tokens/web", expired, "next join: refused: the token has expired"),
    ]
}

async fn send(fixture: &Fixture, way: &Way, confirm: &str) -> super::Answered {
    let separator = if way.path.contains('?') { '&' } else { '?' };
    let path = match confirm {
        "" => way.path.to_owned(),
        confirm => format!("{}{separator}confirm={confirm}", way.path),
    };
    match way.method {
        "DELETE" => fixture.delete(&path).await,
        "PUT" => fixture.put(&path, &way.body, &[]).await,
        _ => fixture.post(&path, way.body.clone()).await,
    }
}

#[tokio::test]
async fn whatever_cuts_a_machine_off_says_whom_and_changes_nothing_until_it_is_confirmed() {
    for way in ways() {
        let fixture = Fixture::new();
        let mut machine = fixture.registered("web");
        let id = fixture.enrolment("web").enrolment.identity.unwrap().id().to_owned();
        let before = (fixture.enrolment("web"), fixture.events().len());
        let shown = format!("{} {}", way.method, way.path);
        for unconfirmed in ["", "false", "yes", "0123456789abcdef0123456789abcdef"] {
            let refused = send(&fixture, &way, unconfirmed).await;
            assert_eq!(refused.refused(), (409, "confirmation_required"), "{shown} {unconfirmed}");
        }
        let refused = send(&fixture, &way, "").await;
        let detail = refused.json["detail"].as_str().unwrap();
        for wanted in ["node-1", &id, "token web", "joined last at 2026-05-01T12:00:00", way.next_join] {
            assert!(detail.contains(wanted), "{shown}: {wanted}: {detail}");
        }
        let confirmation = &refused.json["confirmation"];
        assert_eq!(confirmation["machines"], 1, "{shown}");
        let affected = &confirmation["affected"][0];
        assert_eq!((&affected["token"], &affected["identity"]), (&json!("web"), &json!(id)), "{shown}");
        assert_eq!((fixture.enrolment("web"), fixture.events().len()), before, "{shown}");
        assert_eq!((fixture.count("lock/"), fixture.count("revoked/")), (0, 0), "{shown}");
        machine.join(&fixture).expect("nothing has happened");

        // It has renewed, and is the same one to which the same would happen: the tag still stands for it.
        send(&fixture, &way, confirmation["tag"].as_str().unwrap()).await.ok();
        assert!(fixture.events().len() > before.1 + 1, "{shown}");
    }
}

#[tokio::test]
async fn what_cuts_nobody_off_asks_nothing() {
    for way in ways() {
        let fixture = Fixture::new();
        fixture.create(false, vec![token("web", json!({}))]).await.ok();
        send(&fixture, &way, "").await.ok();
    }
    let fixture = Fixture::new();
    let bot = json!({ "kind": "bot", "version": "v1", "metadata": { "name": "ci" } });
    fixture.create(false, vec![bot]).await.ok();
    let removed = fixture.delete("/v1/bots/ci").await.ok();
    assert_eq!(removed, json!({ "removed": "bot/ci", "message": "bot/ci removed" }));
    for target in
        [json!({ "server_id": "nobody" }), json!({ "bot_instance_id": "nobody" }), json!({ "user": "x" })]
    {
        let answer = fixture.post("/v1/locks", json!({ "target": target })).await.ok();
        assert_eq!(answer["warnings"].as_array().unwrap().len(), 1, "{target}: {answer}");
    }
}

/// A second lock, and a revocation where nothing valid is left, hit nobody any more; but they may take its certificates.
#[tokio::test]
async fn who_is_cut_off_already_is_not_asked_about_again() {
    let fixture = Fixture::new();
    fixture.registered("web");
    let lock = json!({ "target": { "join_token": "web" } });
    fixture.post("/v1/locks?confirm=true", lock.clone()).await.ok();
    fixture.post("/v1/locks", lock.clone()).await.ok();
    let revoking = json!({ "target": lock["target"], "revoke": true });
    assert_eq!(fixture.post("/v1/locks", revoking.clone()).await.refused().0, 409, "it has certificates yet");
    fixture.post("/v1/locks?confirm=true", revoking.clone()).await.ok();
    fixture.post("/v1/locks", revoking).await.ok();
    fixture.post("/v1/tokens/web/revoke", json!({})).await.ok();
}

/// A bot is removed: so many machines, and when the last of them joined.
#[tokio::test]
async fn removing_a_bot_names_the_machines_of_its_tokens() {
    let fixture = Fixture::new();
    let bot = json!({ "kind": "bot", "version": "v1", "metadata": { "name": "ci" } });
    let mut resources = vec![bot];
    for name in ["a", "b", "idle"] {
        let mut token = token(name, json!({}));
        token["spec"]["roles"] = json!(["Bot"]);
        token["spec"]["bot_name"] = json!("ci");
        resources.push(token);
    }
    fixture.create(false, resources).await.ok();
    for (name, seed) in [("a", 5), ("b", 6)] {
        let mut machine = Machine::new(name, seed, Some(fixture.generated_secret(name)));
        machine.roles = RoleSet::new([Role::Bot]);
        machine.join(&fixture).expect("registers");
    }
    for path in ["/v1/bots/ci", "/v1/bots/ci?dry_run=true"] {
        let refused = fixture.delete(path).await;
        assert_eq!(refused.refused(), (409, "confirmation_required"));
        assert_eq!(refused.json["confirmation"]["machines"], 2);
        let detail = refused.json["detail"].as_str().unwrap();
        assert_eq!(
            detail,
            "`bots rm ci` cuts off 2 machines of 2 tokens, of which one joined at 2026-05-01T12:00:00Z"
        );
        for (index, token) in ["a", "b"].into_iter().enumerate() {
            let affected = &refused.json["confirmation"]["affected"][index];
            assert_eq!((&affected["token"], &affected["bot"]), (&json!(token), &json!("ci")));
            let consequence = affected["consequence"].as_str().unwrap();
            assert!(
                consequence.contains("next join: refused: the token's bot is not there"),
                "{consequence}"
            );
        }
    }
    fixture.delete("/v1/bots/ci?dry_run=true&confirm=true").await.ok();
    fixture.get("/v1/bots/ci").await.ok();
    let removed = fixture.delete("/v1/bots/ci?confirm=true").await.ok();
    assert_eq!(removed["message"], "bot/ci removed; joins with its 3 tokens are refused until `bots add ci`");
}

/// What was shown is what is done: somebody else who would be hit by it is told first.
#[tokio::test]
async fn a_tag_stands_for_those_who_were_told_and_no_others() {
    let fixture = Fixture::new();
    let bot = json!({ "kind": "bot", "version": "v1", "metadata": { "name": "ci" } });
    let tokens = ["a", "b"].map(|name| {
        let mut token = token(name, json!({}));
        token["spec"]["roles"] = json!(["Bot"]);
        token["spec"]["bot_name"] = json!("ci");
        token
    });
    fixture.create(false, [vec![bot], tokens.to_vec()].concat()).await.ok();
    let join = |name: &str, seed| {
        let mut machine = Machine::new(name, seed, Some(fixture.generated_secret(name)));
        machine.roles = RoleSet::new([Role::Bot]);
        machine.join(&fixture).expect("registers");
    };
    join("a", 5);
    let told = fixture.delete("/v1/bots/ci").await.json["confirmation"].clone();
    assert_eq!(told["machines"], 1);
    join("b", 6);
    let path = |tag: &Value| format!("/v1/bots/ci?confirm={}", tag.as_str().unwrap());
    let again = fixture.delete(&path(&told["tag"])).await;
    assert_eq!(again.refused(), (409, "confirmation_required"));
    let told = again.json["confirmation"].clone();
    assert_eq!(told["machines"], 2);
    fixture.delete(&path(&told["tag"])).await.ok();
}

/// A token that may be shared, and the id of the first who joined with it.
fn shared(fixture: &Fixture) -> String {
    let mut first = Machine::new("web", 1, None);
    let key = first.bound.public_key().to_openssh();
    fixture.node_token(
        "web",
        &format!(
            "  bound_keypair:\n    onboarding: {{initial_public_key: \"{key}\"}}\n    recovery: {{mode: insecure}}\n"
        ),
    );
    first.join(fixture).unwrap().identity.id().to_owned()
}

/// Whoever holds a shared key could make any answer old by joining once more.
#[tokio::test]
async fn a_yes_to_all_who_share_a_token_is_one_to_those_too_who_join_meanwhile() {
    for verb in ["reset", "revoke"] {
        let fixture = Fixture::new();
        shared(&fixture);
        let path = format!("/v1/tokens/web/{verb}");
        let told = fixture.post(&path, json!({})).await.json["confirmation"].clone();
        assert_eq!(told["machines"], 1, "{verb}");
        let mut second = Machine::new("web", 1, None);
        (0..5).for_each(|_| second.next_attempt());
        second.join(&fixture).unwrap();
        let again = fixture.post(&path, json!({})).await;
        assert_eq!(again.json["confirmation"]["machines"], 2, "{verb}");
        assert!(again.text.contains("2 machines that share token web"), "{}", again.text);
        assert_eq!(again.json["confirmation"]["tag"], told["tag"], "{verb}");
        fixture.post(&format!("{path}?confirm={}", told["tag"].as_str().unwrap()), json!({})).await.ok();
    }
}

#[tokio::test]
async fn of_very_many_who_share_a_token_no_more_are_counted_than_are_told() {
    let fixture = Fixture::new();
    shared(&fixture);
    let mut second = Machine::new("web", 1, None);
    (0..5).for_each(|_| second.next_attempt());
    let id = second.join(&fixture).unwrap().identity.id().to_owned();
    let uid = fixture.enrolment("web").uid.to_string();
    let store = fixture.service.store();
    let now = fixture.service.now();
    let found = store.get_many(&[&keys::instance(&uid, &id)], now).await.unwrap();
    let value = found[0].as_ref().unwrap().value.clone();
    let mut batch = Batch::default();
    for number in 0..1500 {
        let mut entry = InstanceEntry::decode(&value).unwrap();
        let id = format!("00000000-0000-4000-8000-{number:012}");
        entry.record.identity = Identity::Host(id.clone());
        batch.writes.push(Write::Put { key: keys::instance(&uid, &id), value: entry.encode() });
    }
    store.commit(batch, now).await.unwrap();
    let refused = fixture.post("/v1/tokens/web/revoke", json!({})).await;
    assert_eq!(refused.json["confirmation"]["machines"], 1001);
    assert!(refused.text.contains("more than 1000 machines that share token web"), "{}", refused.text);
    // One of them that is named is found all the same.
    let request = json!({ "target": { "server_id": id } });
    let refused = fixture.post("/v1/locks", request).await;
    let told = &refused.json["confirmation"];
    assert_eq!((&told["machines"], &told["affected"][0]["identity"]), (&json!(1), &json!(id)));
}

/// Its next join would be refused as surely as by a lock.
#[tokio::test]
async fn taking_away_a_role_that_a_machine_has_is_asked_about() {
    let fixture = Fixture::new();
    let mut wide = token("web", json!({}));
    wide["spec"]["roles"] = json!(["Node", "Db", "Proxy"]);
    fixture.create(false, vec![wide.clone()]).await.ok();
    let mut machine = Machine::new("web", 1, Some(fixture.generated_secret("web")));
    machine.roles = RoleSet::new([Role::Node, Role::Db]);
    machine.join(&fixture).expect("registers");
    // A role that it does not have is nothing to it.
    wide["spec"]["roles"] = json!(["Node", "Db"]);
    fixture.put("/v1/tokens/web", &wide, &[]).await.ok();
    wide["spec"]["roles"] = json!(["Node"]);
    let file = json!({ "force": true, "resources": [wide.clone()] });
    for refused in
        [fixture.put("/v1/tokens/web", &wide, &[]).await, fixture.post("/v1/apply", file.clone()).await]
    {
        assert_eq!(refused.refused(), (409, "confirmation_required"));
        let consequence = refused.json["confirmation"]["affected"][0]["consequence"].as_str().unwrap();
        assert!(
            consequence.ends_with("; next join: refused: role Db is not in spec.roles any more"),
            "{consequence}"
        );
    }
    machine.join(&fixture).expect("nothing was changed");
    fixture.put("/v1/tokens/web?confirm=true", &wide, &[]).await.ok();
    assert_eq!(machine.join(&fixture).unwrap_err().code, "role_not_allowed");
    // It is out, and a second change hits nobody.
    fixture.put("/v1/tokens/web", &wide, &[]).await.ok();
}

/// Of many machines that share a token, a lock on one hits that one.
#[tokio::test]
async fn a_lock_on_one_of_many_names_that_one() {
    let fixture = Fixture::new();
    let mut ids = vec![shared(&fixture)];
    let mut second = Machine::new("web", 1, None);
    (0..5).for_each(|_| second.next_attempt());
    ids.push(second.join(&fixture).unwrap().identity.id().to_owned());
    for id in ids {
        for revoke in [false, true] {
            let request = json!({ "target": { "server_id": id }, "revoke": revoke });
            let refused = fixture.post("/v1/locks", request).await;
            assert_eq!(refused.refused(), (409, "confirmation_required"), "{id} {revoke}");
            let told = &refused.json["confirmation"];
            assert_eq!((&told["machines"], &told["affected"][0]["identity"]), (&json!(1), &json!(id)));
        }
    }
}

/// The sentence afterwards is the server's own view of the state afterwards.
#[tokio::test]
async fn what_is_said_afterwards_is_what_the_next_join_comes_to() {
    for (limit, said, code) in [
        (
            1,
            "the certificates of token/web are revoked; next join: refused: it would be a recovery, and none is left; to \
             let it in, allow another recovery, if the machine is the right one: `boundkeyctl bound-keypair \
             grant-recovery web`",
            Some("recovery_limit_reached"),
        ),
        (2, "the certificates of token/web are revoked; next join: recovers; one recovery is used", None),
    ] {
        let fixture = Fixture::new();
        fixture.node_token("web", &format!("  bound_keypair:\n    recovery: {{limit: {limit}}}\n"));
        let mut machine = Machine::new("web", 1, Some(fixture.generated_secret("web")));
        machine.join(&fixture).expect("registers");
        let answer = fixture.post("/v1/tokens/web/revoke?confirm=true", json!({})).await.ok();
        assert_eq!(answer["message"], said);
        assert_eq!(machine.join(&fixture).err().map(|problem| problem.code), code.map(str::to_owned));
    }
    let fixture = Fixture::new();
    fixture.registered("web");
    let removed = fixture.delete("/v1/tokens/web?confirm=true").await.ok();
    assert_eq!(
        removed["message"],
        "token/web removed; its certificates are valid until 2026-05-02T12:00:00Z; next join: refused: there is no such \
         token"
    );
}
