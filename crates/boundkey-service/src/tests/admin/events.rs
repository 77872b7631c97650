//! The audit log: pages by cursor, filters, and waiting for what happens next.

use serde_json::{Value, json};
use std::time::Duration;

use super::token;
use crate::ServiceConfig;
use crate::join;
use crate::tests::fixture::{Fixture, Machine};

fn column(page: &Value, name: &str) -> Vec<String> {
    let items = page["items"].as_array().unwrap().iter();
    items.map(|event| event[name].as_str().unwrap_or_default().to_owned()).collect()
}

async fn with_tokens(count: usize) -> Fixture {
    let fixture = Fixture::new();
    for number in 0..count {
        fixture.create(false, vec![token(&format!("t{number}"), json!({}))]).await.ok();
    }
    fixture
}

#[tokio::test]
async fn pages_by_cursor_show_each_event_once_and_in_order() {
    let fixture = with_tokens(5).await;
    let all = fixture.get("/v1/events").await.ok();
    assert_eq!(column(&all, "token"), ["t0", "t1", "t2", "t3", "t4"]);
    assert!(all.get("next").is_none());
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = fixture.get(&format!("/v1/events?limit=2{after}")).await.ok();
        assert!(page["items"].as_array().unwrap().len() <= 2);
        seen.extend(column(&page, "token"));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, column(&all, "token"));
    let last = column(&all, "cursor").pop().unwrap();
    assert_eq!(fixture.get(&format!("/v1/events?after={last}")).await.ok(), json!({ "items": [] }));
}

#[tokio::test]
async fn an_event_that_is_committed_late_reaches_a_reader_who_is_past_its_time() {
    let fixture = with_tokens(2).await;
    let page = fixture.get("/v1/events").await.ok();
    let cursor = column(&page, "cursor").pop().unwrap();
    // Two requests that began earlier commit now; one event is newer.
    let start = fixture.service.now();
    for (seconds, name) in [(50, "early-1"), (40, "early-2"), (-1, "newer")] {
        fixture.clock.set(start - time::Duration::seconds(seconds));
        fixture.create(false, vec![token(name, json!({}))]).await.ok();
    }
    let (mut seen, mut after) = (Vec::new(), cursor);
    for _ in 0..3 {
        let page = fixture.get(&format!("/v1/events?limit=1&after={after}")).await.ok();
        seen.extend(column(&page, "token"));
        after = column(&page, "cursor").pop().unwrap();
    }
    assert_eq!(seen, ["early-1", "early-2", "newer"]);
    assert_eq!(fixture.get(&format!("/v1/events?after={after}")).await.ok(), json!({ "items": [] }));
}

/// A listing that goes on is not sent back by what is committed meanwhile, and whoever follows the log then misses none of it.
#[tokio::test]
async fn a_listing_of_many_pages_is_of_one_moment() {
    let fixture = with_tokens(7).await;
    let (mut seen, mut last, mut after) = (Vec::new(), String::new(), String::new());
    for number in 0.. {
        let page = fixture.get(&format!("/v1/events?limit=3{after}")).await.ok();
        seen.extend(column(&page, "token"));
        last = column(&page, "cursor").pop().unwrap_or(last);
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
        fixture.create(false, vec![token(&format!("later-{number}"), json!({}))]).await.ok();
    }
    assert_eq!(seen, ["t0", "t1", "t2", "t3", "t4", "t5", "t6"]);
    let page = fixture.get(&format!("/v1/events?after={last}")).await.ok();
    assert_eq!(column(&page, "token"), ["later-0", "later-1"]);
}

#[tokio::test]
async fn events_can_be_asked_for_by_token_code_and_time() {
    let fixture = with_tokens(3).await;
    fixture.delete("/v1/tokens/t1").await.ok();
    let get = async |query: &str| fixture.get(&format!("/v1/events?{query}")).await.ok();
    assert_eq!(column(&get("token=t1").await, "code"), ["token_created", "token_removed"]);
    assert_eq!(column(&get("code=token_removed").await, "token"), ["t1"]);
    assert_eq!(column(&get("code=token_created&token=t2").await, "token"), ["t2"]);
    fixture.clock.advance(time::Duration::hours(1));
    fixture.create(false, vec![token("late", json!({}))]).await.ok();
    assert_eq!(column(&get("since=2026-05-01T12:30:00Z").await, "token"), ["late"]);
    assert_eq!(fixture.get("/v1/events?since=yesterday").await.refused(), (400, "malformed_request"));
    assert_eq!(fixture.get("/v1/events?tokens=t1").await.refused(), (400, "malformed_request"));
}

#[tokio::test]
async fn an_event_says_who_did_what_and_under_which_id() {
    let fixture = with_tokens(1).await;
    let event = fixture.get("/v1/events").await.ok()["items"][0].clone();
    assert_eq!((&event["actor"], &event["code"]), (&json!("admin:socket"), &json!("token_created")));
    assert_eq!(event["correlation_id"].as_str().unwrap().len(), 32);
}

#[tokio::test]
async fn a_waiting_request_is_answered_by_the_event_it_waits_for() {
    let fixture = with_tokens(1).await;
    let cursor = column(&fixture.get("/v1/events").await.ok(), "cursor").remove(0);
    let path = format!("/v1/events?after={cursor}&token=wanted&wait=30");
    let (waited, ()) = tokio::join!(fixture.get(&path), async {
        fixture.create(false, vec![token("other", json!({}))]).await.ok();
        tokio::task::yield_now().await;
        fixture.create(false, vec![token("wanted", json!({}))]).await.ok();
    });
    assert_eq!(column(&waited.ok(), "token"), ["wanted"]);
}

#[tokio::test]
async fn a_waiting_request_is_answered_before_it_is_given_up() {
    let mut config = ServiceConfig::new("example.com");
    config.limits.request_timeout = Duration::from_millis(60);
    let fixture = Fixture::with(config);
    assert_eq!(fixture.get("/v1/events?wait=30").await.ok(), json!({ "items": [] }));
}

#[tokio::test]
async fn a_server_that_stops_keeps_nobody_waiting() {
    let fixture = Fixture::new();
    let (waited, ()) = tokio::join!(fixture.get("/v1/events?wait=30"), async {
        tokio::task::yield_now().await;
        fixture.service.stop();
    });
    assert_eq!(waited.ok(), json!({ "items": [] }));
}

#[tokio::test]
async fn a_code_that_no_event_has_is_refused_with_the_nearest_one() {
    let fixture = with_tokens(1).await;
    let refused = fixture.get("/v1/events?code=clone_detectd").await;
    assert_eq!(refused.refused(), (400, "malformed_request"));
    assert!(refused.text.contains("did you mean `clone_detected`?"), "{}", refused.text);
    assert_eq!(fixture.get("/v1/events?code=clone_detected").await.ok(), json!({ "items": [] }));
}

/// The list that clients check by is that of what is ever written.
#[test]
fn the_codes_that_clients_know_are_all_there_are() {
    let mut written: Vec<&str> = boundkey_lifecycle::EventCode::all().map(|code| code.as_str()).collect();
    written.extend(["token_created", "token_updated", "token_removed"]);
    written.extend(["bot_created", "bot_updated", "bot_removed", "lock_created", "lock_removed"]);
    written.push("audit_trimmed");
    written.push("denied_too_many_clients");
    let mut known = boundkey_api::EVENT_CODES.to_vec();
    written.sort_unstable();
    known.sort_unstable();
    assert_eq!(known, written);
    let mut states: Vec<&str> =
        boundkey_lifecycle::LifecycleState::ALL.iter().map(|state| state.as_str()).collect();
    let mut known = boundkey_api::TOKEN_STATES.to_vec();
    states.sort_unstable();
    known.sort_unstable();
    assert_eq!(known, states);
}

#[tokio::test]
async fn an_event_is_found_by_its_correlation_id_or_by_how_that_begins() {
    let fixture = with_tokens(2).await;
    let ids = column(&fixture.get("/v1/events").await.ok(), "correlation_id");
    for asked in [ids[1].as_str(), &ids[1][..12], &ids[1].to_uppercase()] {
        let found = fixture.get(&format!("/v1/events?id={asked}")).await.ok();
        assert_eq!(column(&found, "token"), ["t1"], "{asked}");
    }
    for asked in ["", "abc", "xyzxyzxyz", &"a".repeat(33)] {
        assert_eq!(
            fixture.get(&format!("/v1/events?id={asked}")).await.refused(),
            (400, "malformed_request")
        );
    }
}

/// Refusals where nothing was proven share a row: the first and the last of them are found by their ids.
#[tokio::test]
async fn counted_refusals_are_found_by_the_first_and_the_last_id() {
    let fixture = with_tokens(1).await;
    let mut contexts = Vec::new();
    for _ in 0..3 {
        let mut stranger = Machine::new("t0", 9, Some(super::secret(9)));
        stranger.next_attempt();
        let context = stranger.context(&fixture);
        let challenge = join::begin(&fixture.service, fixture.service.now()).challenge;
        let body = stranger.body(&challenge);
        join::complete(&fixture.service, &body, &context, fixture.service.now()).await.unwrap_err();
        contexts.push((context.correlation, fixture.service.now()));
        fixture.clock.advance(time::Duration::seconds(5));
    }
    join::flush_refusals(&fixture.service, fixture.service.now()).await.unwrap();
    let found = async |id: &str| fixture.get(&format!("/v1/events?id={id}")).await.ok()["items"].clone();
    let text = |at: time::OffsetDateTime| at.format(&time::format_description::well_known::Rfc3339).unwrap();
    let row = found(&contexts[0].0).await[0].clone();
    assert_eq!(row["count"], 3);
    assert_eq!(row["first_correlation_id"], contexts[0].0.as_str());
    assert_eq!(row["correlation_id"], contexts[2].0.as_str());
    assert_eq!(row["first_at"], text(contexts[0].1).as_str());
    assert_eq!(row["last_at"], text(contexts[2].1).as_str());
    assert_eq!(found(&contexts[2].0).await[0], row);
    assert_eq!(found(&contexts[1].0).await, json!([]), "it is in the server's log alone");
}
