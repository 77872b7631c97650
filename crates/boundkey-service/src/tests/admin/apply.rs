//! Applying: all or nothing, in place or not, at the revision that was read.

use serde_json::json;

use super::{spec_secret, token};
use crate::tests::fixture::Fixture;

#[tokio::test]
async fn several_resources_are_applied_all_or_none() {
    let fixture = Fixture::new();
    fixture.create(false, vec![token("taken", json!({}))]).await.ok();
    let revision = fixture.get("/v1/tokens/taken").await.etag;
    let refused = fixture.create(false, vec![token("new", json!({})), token("taken", json!({}))]).await;
    assert_eq!(refused.refused(), (409, "already_exists"));
    assert!(refused.json["detail"].as_str().unwrap().contains("token/taken"), "{}", refused.text);
    assert_eq!(fixture.get("/v1/tokens/new").await.refused(), (404, "not_found"));
    assert_eq!(fixture.get("/v1/tokens/taken").await.etag, revision);
    assert_eq!(fixture.event_codes(), ["token_created"]);
}

#[tokio::test]
async fn every_fault_of_every_resource_is_reported_and_nothing_is_stored() {
    let fixture = Fixture::new();
    let mut faulty = token("faulty", json!({}));
    faulty["spec"]["roles"] = json!(["Nod"]);
    faulty["spec"]["bound_keypair"]["recovery"] = json!({ "limit": 0 });
    let refused = fixture.create(false, vec![token("good", json!({})), faulty]).await;
    assert_eq!(refused.refused(), (422, "invalid_resource"));
    let paths: Vec<&str> = refused.json["violations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|violation| violation["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["resources[1].spec.roles[0]", "resources[1].spec.bound_keypair.recovery.limit"]);
    assert_eq!(fixture.get("/v1/tokens").await.ok(), json!({ "items": [] }));
}

#[tokio::test]
async fn a_resource_that_stands_twice_is_refused() {
    let fixture = Fixture::new();
    let refused = fixture.create(true, vec![token("web", json!({})), token("web", json!({}))]).await;
    assert_eq!(refused.refused(), (422, "repeated_resource"));
    assert_eq!(fixture.get("/v1/tokens").await.ok(), json!({ "items": [] }));
}

#[tokio::test]
async fn no_more_secrets_are_stretched_for_one_request_than_its_time_allows() {
    let fixture = Fixture::new();
    let tokens = |count: usize, onboarding: serde_json::Value| {
        (0..count).map(|n| token(&format!("m-{n}"), onboarding.clone())).collect::<Vec<_>>()
    };
    let chosen = json!({ "registration_secret": "correct horse battery" });
    let refused = fixture.create(false, tokens(65, chosen)).await;
    assert_eq!(refused.refused(), (422, "too_many_chosen_secrets"));
    assert_eq!(fixture.get("/v1/tokens").await.ok(), json!({ "items": [] }));
    let applied = fixture.create(false, tokens(65, spec_secret(3))).await.ok();
    assert_eq!(applied["applied"].as_array().unwrap().len(), 65);
}

#[tokio::test]
async fn an_update_in_place_keeps_the_enrolment() {
    let fixture = Fixture::new();
    let mut machine = fixture.registered("web");
    let before = fixture.enrolment("web");
    let mut changed = token("web", json!({}));
    changed["metadata"]["labels"] = json!({ "env": "prod" });
    changed["spec"]["bound_keypair"]["recovery"] = json!({ "limit": 9 });
    let applied = fixture.create(true, vec![changed]).await.ok()["applied"][0].clone();
    assert_eq!((&applied["created"], &applied["changed"]), (&json!(false), &json!(true)));
    assert_eq!(fixture.enrolment("web"), before);
    let shown = fixture.get("/v1/tokens/web").await.ok();
    assert_eq!(shown["metadata"]["labels"]["env"], "prod");
    assert_eq!(shown["spec"]["bound_keypair"]["recovery"]["limit"], 9);
    assert_eq!(shown["status"]["bound_keypair"]["bound_public_key"], machine.bound.public_key().to_openssh());
    machine.join(&fixture).expect("renews as before");
}

#[tokio::test]
async fn what_get_printed_may_be_applied_again_and_changes_nothing() {
    let fixture = Fixture::new();
    for (name, onboarding) in [("own", spec_secret(1)), ("generated", json!({}))] {
        fixture.create(false, vec![token(name, onboarding)]).await.ok();
        fixture.create(true, vec![fixture.get(&format!("/v1/tokens/{name}")).await.ok()]).await.ok();
        let enrolment = fixture.enrolment(name);
        for query in ["", "?secrets=true"] {
            let printed = fixture.get(&format!("/v1/tokens/{name}{query}")).await.ok();
            let events = fixture.event_codes();
            let applied = fixture.create(true, vec![printed.clone()]).await.ok()["applied"][0].clone();
            assert_eq!(applied["changed"], false, "{name}{query}");
            assert_eq!(fixture.get(&format!("/v1/tokens/{name}{query}")).await.ok(), printed);
            assert_eq!(fixture.enrolment(name), enrolment);
            assert_eq!(fixture.event_codes(), events);
        }
    }
}

#[tokio::test]
async fn a_stale_revision_is_refused_and_the_present_one_is_taken() {
    let fixture = Fixture::new();
    fixture.create(false, vec![token("web", json!({}))]).await.ok();
    let read = fixture.get("/v1/tokens/web").await.ok();
    let mut mine = read.clone();
    mine["metadata"]["labels"] = json!({ "by": "me" });
    let mut yours = read;
    yours["metadata"]["labels"] = json!({ "by": "you" });
    fixture.create(true, vec![mine]).await.ok();
    assert_eq!(fixture.create(true, vec![yours.clone()]).await.refused(), (412, "stale_revision"));
    assert_eq!(fixture.put("/v1/tokens/web", &yours, &[]).await.refused(), (412, "stale_revision"));
    yours["metadata"]["revision"] = fixture.get("/v1/tokens/web").await.ok()["metadata"]["revision"].clone();
    fixture.create(true, vec![yours]).await.ok();
    assert_eq!(fixture.get("/v1/tokens/web").await.ok()["metadata"]["labels"]["by"], "you");
}

#[tokio::test]
async fn a_stale_revision_of_a_bot_is_refused_too() {
    let fixture = Fixture::new();
    let bot =
        json!({ "kind": "bot", "version": "v1", "metadata": { "name": "ci" }, "spec": { "logins": ["a"] } });
    fixture.create(false, vec![bot.clone()]).await.ok();
    let mut read = fixture.get("/v1/bots/ci").await.ok();
    let mut other = bot;
    other["spec"]["logins"] = json!(["b"]);
    fixture.put("/v1/bots/ci", &other, &[]).await.ok();
    read["spec"]["logins"] = json!(["c"]);
    assert_eq!(fixture.put("/v1/bots/ci", &read, &[]).await.refused(), (412, "stale_revision"));
    assert_eq!(fixture.get("/v1/bots/ci").await.ok()["spec"]["logins"], json!(["b"]));
}

#[tokio::test]
async fn headers_decide_whether_put_creates_or_updates() {
    let fixture = Fixture::new();
    let mut web = token("web", json!({}));
    let path = "/v1/tokens/web";
    assert_eq!(fixture.put(path, &web, &[("if-match", "\"1\"")]).await.refused(), (412, "stale_revision"));
    assert_eq!(fixture.put(path, &web, &[("if-match", "*")]).await.refused(), (412, "stale_revision"));
    assert_eq!(fixture.put(path, &web, &[("if-none-match", "*")]).await.ok()["created"], true);
    assert_eq!(fixture.put(path, &web, &[("if-none-match", "*")]).await.refused(), (409, "already_exists"));
    let etag = fixture.get(path).await.etag.unwrap();
    web["metadata"]["labels"] = json!({ "n": "1" });
    assert_eq!(fixture.put(path, &web, &[("if-match", &etag)]).await.ok()["changed"], true);
    web["metadata"]["labels"] = json!({ "n": "2" });
    assert_eq!(fixture.put(path, &web, &[("if-match", &etag)]).await.refused(), (412, "stale_revision"));
    assert_eq!(fixture.put(path, &web, &[("if-match", "*")]).await.ok()["changed"], true);
}

#[tokio::test]
async fn put_takes_the_kind_and_name_of_its_path_only() {
    let fixture = Fixture::new();
    let web = token("web", json!({}));
    assert_eq!(fixture.put("/v1/tokens/other", &web, &[]).await.refused(), (422, "invalid_resource"));
    assert_eq!(fixture.put("/v1/bots/web", &web, &[]).await.refused(), (422, "invalid_resource"));
    assert_eq!(fixture.put("/v1/tokens/web", &json!("web"), &[]).await.status, 422);
    assert_eq!(fixture.get("/v1/tokens").await.ok(), json!({ "items": [] }));
}

#[tokio::test]
async fn a_token_warns_of_a_bot_that_is_not_there_unless_it_comes_along() {
    let fixture = Fixture::new();
    let mut deployer = token("deployer", json!({}));
    deployer["spec"]["roles"] = json!(["Bot"]);
    deployer["spec"]["bot_name"] = json!("ci");
    let applied = fixture.create(true, vec![deployer.clone()]).await.ok()["applied"][0].clone();
    assert!(applied["warnings"][0].as_str().unwrap().contains("bot/ci does not exist"), "{applied}");
    let bot = json!({ "kind": "bot", "version": "v1", "metadata": { "name": "ci" } });
    // The token stands before its bot in the file.
    let applied = fixture.create(true, vec![deployer, bot]).await.ok();
    assert_eq!(applied["applied"][0]["warnings"], json!([]));
    assert_eq!(
        (&applied["applied"][1]["created"], &applied["applied"][1]["changed"]),
        (&json!(true), &json!(true))
    );
}

#[tokio::test]
async fn a_time_that_is_past_is_warned_about_when_it_is_applied() {
    let fixture = Fixture::new();
    let mut web = token("web", json!({ "must_register_before": "2020-01-01T00:00:00Z" }));
    web["metadata"]["expires"] = json!("2020-01-01T00:00:00Z");
    let bot = json!({
        "kind": "bot", "version": "v1", "metadata": { "name": "ci", "expires": "2020-01-01T00:00:00Z" },
    });
    let lock = json!({
        "kind": "lock", "version": "v2", "metadata": { "name": "l" },
        "spec": { "target": { "join_token": "web" }, "expires": "2020-01-01T00:00:00Z" },
    });
    let applied = fixture.create(false, vec![web, bot, lock]).await.ok();
    for (at, times) in [(0, 2), (1, 1), (2, 1)] {
        let warnings = applied["applied"][at]["warnings"].to_string();
        assert_eq!(warnings.matches("2020-01-01T00:00:00Z is in the past").count(), times, "{warnings}");
    }
}

#[tokio::test]
async fn one_key_in_two_tokens_is_warned_about() {
    let fixture = Fixture::new();
    let with_key = |name: &str, seed: u8| {
        let key = crate::tests::fixture::Machine::new(name, seed, None).bound.public_key().to_openssh();
        token(name, json!({ "initial_public_key": key }))
    };
    let warnings = async |resources| {
        let applied = fixture.create(true, resources).await.ok();
        let all = applied["applied"].as_array().unwrap().iter();
        all.map(|one| one["warnings"].as_array().unwrap().clone()).collect::<Vec<_>>()
    };
    let told = |names: &str| {
        vec![json!(format!(
            "spec.bound_keypair.onboarding.initial_public_key is also that of token/{names}: give each machine a key of its \
             own"
        ))]
    };
    let nothing = Vec::<serde_json::Value>::new;
    assert_eq!(warnings(vec![with_key("a", 1), with_key("b", 2)]).await, [nothing(), nothing()]);
    assert_eq!(warnings(vec![with_key("a", 1)]).await, [nothing()], "its own, once more");
    assert_eq!(warnings(vec![with_key("c", 1)]).await, [told("a")]);
    assert_eq!(
        warnings(vec![with_key("d", 1), with_key("e", 1)]).await,
        [told("a and 2 more"), told("a and 2 more")]
    );
    assert_eq!(warnings(vec![with_key("x", 7), with_key("y", 7)]).await, [told("y"), told("x")]);
}
