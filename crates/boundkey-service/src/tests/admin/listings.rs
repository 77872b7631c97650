//! Listings: pages, filters, rows; nodes and the server's status.

use serde_json::{Value, json};

use super::token;
use crate::tests::fixture::{Fixture, Machine};

fn names(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().unwrap().iter();
    items.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn tokens_come_by_name_page_by_page() {
    let fixture = Fixture::new();
    let tokens = ["c", "a", "e", "b", "d"].map(|name| token(name, json!({})));
    fixture.create(false, tokens.into()).await.ok();
    let first = fixture.get("/v1/tokens?limit=2").await.ok();
    assert_eq!((names(&first), first["next"].as_str()), (vec!["a".to_owned(), "b".to_owned()], Some("b")));
    let second = fixture.get("/v1/tokens?limit=2&after=b").await.ok();
    assert_eq!(names(&second), ["c", "d"]);
    let last = fixture.get("/v1/tokens?limit=2&after=d").await.ok();
    assert_eq!((names(&last), last.get("next")), (vec!["e".to_owned()], None));
    // Out of range reads as the nearest bound.
    assert_eq!(names(&fixture.get("/v1/tokens?limit=0").await.ok()), ["a"]);
}

#[tokio::test]
async fn tokens_can_be_asked_for_by_state_and_as_rows() {
    let fixture = Fixture::new();
    let machine = fixture.registered("web");
    fixture.create(false, vec![token("idle", json!({}))]).await.ok();
    assert_eq!(names(&fixture.get("/v1/tokens?state=pending").await.ok()), ["idle"]);
    assert_eq!(names(&fixture.get("/v1/tokens?state=bound").await.ok()), ["web"]);
    let rows = fixture.get("/v1/tokens?view=summary&state=bound").await.ok();
    let row = &rows["items"][0];
    assert_eq!(
        (&row["name"], &row["state"], &row["hostname"]),
        (&json!("web"), &json!("bound"), &json!("node-1"))
    );
    assert_eq!((&row["recovery_limit"], &row["recoveries_left"]), (&json!(3), &json!(2)));
    assert_eq!(row["host_id"].as_str(), Some(fixture.enrolment("web").enrolment.identity.unwrap().id()));
    assert_eq!(machine.token, "web");
    for query in ["view=rows", "order=name", "limit=many", "state=happy"] {
        let answer = fixture.get(&format!("/v1/tokens?{query}")).await;
        assert_eq!(answer.refused(), (400, "malformed_request"), "{query}");
    }
}

#[tokio::test]
async fn nodes_are_the_hosts_that_joined() {
    let fixture = Fixture::new();
    fixture.create(false, vec![token("idle", json!({}))]).await.ok();
    assert_eq!(fixture.get("/v1/nodes").await.ok(), json!({ "items": [] }));
    fixture.registered("web");
    let nodes = fixture.get("/v1/nodes").await.ok();
    let enrolment = fixture.enrolment("web").enrolment;
    assert_eq!(nodes["items"].as_array().unwrap().len(), 1);
    assert_eq!(nodes["items"][0]["host_id"].as_str(), Some(enrolment.identity.unwrap().id()));
    assert_eq!(nodes["items"][0]["certificates_expire_at"], "2026-05-02T12:00:00Z");
}

#[tokio::test]
async fn the_status_counts_tokens_by_how_they_stand() {
    let fixture = Fixture::new();
    fixture.registered("web");
    fixture.create(false, vec![token("idle", json!({})), token("bad", json!({}))]).await.ok();
    fixture.post("/v1/locks", json!({ "target": { "join_token": "bad" } })).await.ok();
    let status = fixture.get("/v1/status").await.ok();
    assert_eq!(status["tokens"], 3);
    assert_eq!(
        status["states"],
        json!({ "bound": 1, "locked": 1, "pending": 1 }),
        "as `tokens ls` counts them"
    );
    assert_eq!((&status["cluster_name"], &status["store"]), (&json!("example.com"), &json!("memory")));
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let fixture = Fixture::new();
    for path in ["/v1/tokens/absent", "/v1/bots/absent", "/v1/locks/absent"] {
        assert_eq!(fixture.get(path).await.refused(), (404, "not_found"), "{path}");
        assert_eq!(fixture.delete(path).await.refused(), (404, "not_found"), "{path}");
    }
}

#[tokio::test]
async fn a_bot_is_created_shown_and_removed() {
    let fixture = Fixture::new();
    let bot = json!({
        "kind": "bot", "version": "v1", "metadata": { "name": "ci" }, "spec": { "logins": ["deploy"] },
    });
    assert_eq!(fixture.put("/v1/bots/ci", &bot, &[]).await.ok()["created"], true);
    assert_eq!(fixture.put("/v1/bots/ci", &bot, &[]).await.ok()["changed"], false);
    assert_eq!(names(&fixture.get("/v1/bots").await.ok()), ["ci"]);
    assert_eq!(fixture.get("/v1/bots/ci").await.ok()["spec"]["logins"], json!(["deploy"]));

    let mut deployer = token("deployer", json!({}));
    deployer["spec"]["roles"] = json!(["Bot"]);
    deployer["spec"]["bot_name"] = json!("ci");
    fixture.create(false, vec![deployer]).await.ok();
    fixture.delete("/v1/bots/ci?confirm=true").await.ok();
    let mut machine = Machine::new("deployer", 1, Some(fixture.generated_secret("deployer")));
    machine.roles = boundkey_token::RoleSet::new([boundkey_token::Role::Bot]);
    assert_eq!(machine.join(&fixture).unwrap_err().code, "bot_not_found");
}

#[tokio::test]
async fn a_node_has_the_state_of_its_token_and_can_be_asked_for_by_it() {
    let fixture = Fixture::new();
    fixture.registered("web");
    let states = async |query: &str| {
        let page = fixture.get(&format!("/v1/nodes{query}")).await.ok();
        let items = page["items"].as_array().unwrap().iter();
        items.map(|node| node["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(states("").await, ["bound"]);
    fixture.post("/v1/locks?confirm=true", json!({ "target": { "join_token": "web" } })).await.ok();
    assert_eq!(states("").await, ["locked"]);
    assert_eq!(states("?state=locked").await, ["locked"]);
    assert_eq!(states("?state=bound").await, [""; 0]);
    let refused = fixture.get("/v1/nodes?state=lockd").await;
    assert_eq!(refused.refused(), (400, "malformed_request"));
    assert!(refused.text.contains("did you mean `locked`?"), "{}", refused.text);
}

#[tokio::test]
async fn of_many_hosts_that_share_a_token_the_locked_one_is_told() {
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
    (0..5).for_each(|_| second.next_attempt());
    let id = second.join(&fixture).unwrap().identity.id().to_owned();
    fixture.post("/v1/locks?confirm=true", json!({ "target": { "server_id": id } })).await.ok();
    let nodes = fixture.get("/v1/nodes?state=locked").await.ok();
    assert_eq!(nodes["items"].as_array().unwrap().len(), 1);
    assert_eq!(nodes["items"][0]["host_id"], id.as_str());
    assert_eq!(fixture.get("/v1/nodes?state=shared").await.ok()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_does_not_exist_is_told_with_the_nearest_name() {
    let fixture = Fixture::new();
    let bot = json!({ "kind": "bot", "version": "v1", "metadata": { "name": "runner" } });
    fixture.create(false, vec![token("example-token", json!({})), bot]).await.ok();
    for (path, nearest) in
        [("/v1/tokens/exmaple-token", "token/example-token"), ("/v1/bots/runer", "bot/runner")]
    {
        let answer = fixture.get(path).await;
        assert_eq!(answer.refused(), (404, "not_found"));
        assert!(answer.text.contains(&format!("(did you mean {nearest}?)")), "{}", answer.text);
        assert!(fixture.delete(path).await.text.contains(nearest));
    }
    assert!(!fixture.get("/v1/tokens/zzz").await.text.contains("did you mean"));
}

/// All items of a listing, page by page, with what happens between two pages.
async fn walk(
    fixture: &Fixture,
    path: &str,
    limit: usize,
    mut between: impl AsyncFnMut(usize),
) -> Vec<Value> {
    let (mut items, mut after) = (Vec::new(), String::new());
    for number in 0.. {
        let page = fixture.get(&format!("{path}limit={limit}{after}")).await.ok();
        let found = page["items"].as_array().unwrap();
        assert!(found.len() <= limit, "{path} {limit}: {}", found.len());
        items.extend(found.iter().cloned());
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={}", next.replace('/', "%2F"));
        between(number).await;
    }
    items
}

#[tokio::test]
async fn pages_join_without_gap_or_repeat_while_tokens_come_and_go() {
    let fixture = Fixture::new();
    let stays: Vec<String> = (0..9).map(|n| format!("m{n}")).collect();
    let goes: Vec<String> = (0..9).map(|n| format!("m{n}-goes")).collect();
    let all = stays.iter().chain(&goes).map(|name| token(name, json!({}))).collect();
    fixture.create(false, all).await.ok();
    for (path, pointer) in [("/v1/tokens?", "/metadata/name"), ("/v1/tokens?view=summary&", "/name")] {
        for limit in 1..5 {
            let seen = walk(&fixture, path, limit, async |number| {
                // One that was shown and one that was not go, others come on both sides.
                for name in [goes.get(number), goes.get(goes.len() - 1 - number.min(8))].into_iter().flatten()
                {
                    drop(fixture.delete(&format!("/v1/tokens/{name}?confirm=true")).await);
                }
                for name in
                    [format!("a{}-{limit}-{number}", path.len()), format!("z{}-{limit}-{number}", path.len())]
                {
                    if number < 3 {
                        fixture.create(false, vec![token(&name, json!({}))]).await.ok();
                    }
                }
            });
            let seen = seen.await;
            let names: Vec<&str> =
                seen.iter().map(|item| item.pointer(pointer).unwrap().as_str().unwrap()).collect();
            assert!(
                names.is_sorted() && names.windows(2).all(|pair| pair[0] != pair[1]),
                "{limit}: {names:?}"
            );
            assert!(stays.iter().all(|name| names.contains(&name.as_str())), "{limit}: {names:?}");
            assert!(names.contains(&format!("z{}-{limit}-0", path.len()).as_str()), "{limit}: {names:?}");
            let gone = goes.iter().map(|name| token(name, json!({}))).collect();
            fixture.create(true, gone).await.ok();
        }
    }
}

#[tokio::test]
async fn rows_have_their_own_enrolments_whatever_stands_between_them() {
    let fixture = Fixture::new();
    for name in ["b", "d"] {
        fixture.registered(name);
    }
    let others = ["a", "c", "e"].map(|name| token(name, json!({})));
    fixture.create(false, others.into()).await.ok();
    // Neither of these should be there, and neither may shift what belongs to the others.
    let now = fixture.service.now();
    let stray = fixture.enrolment("b");
    let batch = boundkey_store::Batch::new()
        .write(boundkey_store::Write::record(boundkey_store::keys::enrolment("b-removed"), &stray))
        .write(boundkey_store::Write::delete(boundkey_store::keys::enrolment("c")));
    fixture.service.store().commit(batch, now).await.unwrap();
    for limit in 1..7 {
        let rows = walk(&fixture, "/v1/tokens?view=summary&", limit, async |_| ()).await;
        let shown: Vec<(&str, &str)> =
            rows.iter().map(|row| (row["name"].as_str().unwrap(), row["state"].as_str().unwrap())).collect();
        assert_eq!(
            shown,
            [("a", "pending"), ("b", "bound"), ("c", "pending"), ("d", "bound"), ("e", "pending")],
            "{limit}"
        );
    }
}

#[tokio::test]
async fn the_many_clients_of_one_token_come_in_pages_too() {
    let fixture = Fixture::new();
    fixture.registered("a");
    fixture.registered("z");
    let mut first = Machine::new("m", 1, None);
    let key = first.bound.public_key().to_openssh();
    fixture.node_token(
        "m",
        &format!(
            "  bound_keypair:\n    onboarding: {{initial_public_key: \"{key}\"}}\n    recovery: {{mode: insecure}}\n"
        ),
    );
    first.join(&fixture).unwrap();
    let mut locked = String::new();
    for attempt in 1..8 {
        let mut client = Machine::new("m", 1, None);
        (0..attempt).for_each(|_| client.next_attempt());
        locked = client.join(&fixture).unwrap().identity.id().to_owned();
    }
    fixture.post("/v1/locks?confirm=true", json!({ "target": { "server_id": locked } })).await.ok();
    let whole = fixture.get("/v1/nodes").await.ok();
    assert_eq!(whole["items"].as_array().unwrap().len(), 10);
    assert_eq!(whole["states"], json!({ "bound": 2, "locked": 1, "shared": 7 }));
    for limit in 1..12 {
        let walked = walk(&fixture, "/v1/nodes?", limit, async |_| ()).await;
        assert_eq!(Value::Array(walked), whole["items"], "{limit}");
        let walked = walk(&fixture, "/v1/nodes?state=locked&", limit, async |_| ()).await;
        assert_eq!(walked.len(), 1, "{limit}");
    }
}

#[tokio::test]
async fn listings_are_filtered_by_label_and_by_the_last_join() {
    let fixture = Fixture::new();
    let mut labelled = token("idle", json!({}));
    labelled["metadata"]["labels"] = json!({ "site": "berlin", "a=b": "c&d", "tier": "1" });
    fixture.create(false, vec![labelled, token("plain", json!({}))]).await.ok();
    fixture.registered("web");
    fixture.clock.advance(time::Duration::hours(1));
    let get = async |path: &str| {
        let page = fixture.get(path).await.ok();
        let items = page["items"].as_array().unwrap().clone();
        items
            .iter()
            .map(|item| item["name"].as_str().or(item["token"].as_str()).unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let rows = "/v1/tokens?view=summary&";
    assert_eq!(get(&format!("{rows}label=site=berlin&label=tier=1")).await, ["idle"]);
    assert_eq!(get(&format!("{rows}label=site=berlin&label=tier=2")).await, [""; 0]);
    assert_eq!(get(&format!("{rows}label=site=berlin&label=site=paris")).await, [""; 0]);
    assert_eq!(get(&format!("{rows}stale=3601")).await, ["idle", "plain"], "never joined is stale");
    assert_eq!(get(&format!("{rows}stale=3600")).await, ["idle", "plain", "web"]);
    assert_eq!(get("/v1/nodes?stale=3600").await, ["web"]);
    assert_eq!(get("/v1/nodes?stale=3601").await, [""; 0]);
    let page = fixture.get(&format!("{rows}label=tier=1")).await.ok();
    assert_eq!(page["states"], json!({ "bound": 1, "pending": 2 }), "of all that were looked at");
    for query in ["label=site", "stale=1h", "secrets=maybe", "states=bound"] {
        assert_eq!(
            fixture.get(&format!("/v1/nodes?{query}")).await.refused(),
            (400, "malformed_request"),
            "{query}"
        );
    }
}
