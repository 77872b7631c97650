//! Removing tokens.

use serde_json::json;

use super::token;
use crate::tests::fixture::{Fixture, Machine};

#[tokio::test]
async fn a_token_that_nobody_joined_is_removed_at_once() {
    let fixture = Fixture::new();
    fixture.create(false, vec![token("web", json!({}))]).await.ok();
    assert_eq!(
        fixture.delete("/v1/tokens/web").await.ok(),
        json!({ "removed": "token/web", "message": "token/web removed" })
    );
    assert_eq!(
        (fixture.count("token/"), fixture.count("enrolment/"), fixture.count("used-secret/")),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn a_bound_token_is_removed_only_by_whoever_says_so() {
    let fixture = Fixture::new();
    let mut machine = fixture.registered("web");
    let refused = fixture.delete("/v1/tokens/web").await;
    assert_eq!(refused.refused(), (409, "confirmation_required"));
    assert!(refused.json["detail"].as_str().unwrap().contains("node-1"), "{}", refused.text);
    machine.join(&fixture).expect("nothing has happened");
    fixture.delete("/v1/tokens/web?confirm=true").await.ok();
    assert_eq!(fixture.count("revoked/"), 0, "its certificates live on");
    assert_eq!(machine.join(&fixture).unwrap_err().code, "denied");
    assert_eq!(fixture.event_codes().iter().filter(|code| *code == "token_removed").count(), 1);
}

#[tokio::test]
async fn a_removal_may_revoke_the_certificates() {
    let fixture = Fixture::new();
    fixture.registered("web");
    fixture.delete("/v1/tokens/web?revoke=true&confirm=true").await.ok();
    assert_eq!(fixture.count("revoked/"), 2);
}

#[tokio::test]
async fn a_token_made_anew_knows_nothing_of_the_one_before() {
    let fixture = Fixture::new();
    let mut machine = fixture.registered("web");
    let uid = fixture.enrolment("web").uid;
    fixture.delete("/v1/tokens/web?confirm=true").await.ok();
    fixture.create(false, vec![token("web", json!({}))]).await.ok();
    assert_ne!(fixture.enrolment("web").uid, uid);
    assert_eq!(machine.join(&fixture).unwrap_err().code, "denied");
    let mut next = Machine::new("web", 2, Some(fixture.generated_secret("web")));
    next.join(&fixture).expect("registers");
}

#[tokio::test]
async fn the_servers_lock_goes_with_its_token_and_a_lock_by_hand_stays() {
    let fixture = Fixture::new();
    let mut machine = fixture.registered("web");
    machine.copy().join(&fixture).expect("a copy's first join");
    assert_eq!(machine.join(&fixture).unwrap_err().code, "clone_detected");
    fixture.post("/v1/locks?confirm=true", json!({ "target": { "join_token": "web" } })).await.ok();
    assert_eq!(fixture.count("lock/"), 2);
    fixture.delete("/v1/tokens/web?confirm=true").await.ok();
    let locks = fixture.get("/v1/locks").await.ok();
    assert_eq!(locks["items"].as_array().unwrap().len(), 1);
    assert_eq!(locks["items"][0]["status"]["origin"], "by_hand");
}
