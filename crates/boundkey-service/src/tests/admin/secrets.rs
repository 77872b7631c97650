//! Registration secrets: which is in force, which is void, and where they may be seen.

use boundkey_proto::JoinKindName;
use serde_json::{Value, json};

use super::{secret, spec_secret, token};
use crate::tests::fixture::{Fixture, Machine};
use crate::tests::schema;

async fn shown_secret(fixture: &Fixture, name: &str) -> Option<String> {
    let shown = fixture.get(&format!("/v1/tokens/{name}?secrets=true")).await.ok();
    shown["status"]["bound_keypair"]["registration_secret"].as_str().map(str::to_owned)
}

fn warnings(applied: &Value) -> Vec<String> {
    let warnings = applied["applied"][0]["warnings"].as_array().unwrap();
    warnings.iter().map(|warning| warning.as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_file_without_the_secret_leaves_it_in_force() {
    let fixture = Fixture::new();
    fixture.create(false, vec![token("web", spec_secret(1))]).await.ok();
    let applied = fixture.create(true, vec![token("web", json!({}))]).await.ok();
    assert_eq!(applied["applied"][0]["changed"], false);
    assert_eq!(shown_secret(&fixture, "web").await, None, "no other secret was generated");
    let result = Machine::new("web", 1, Some(secret(1))).join(&fixture).unwrap();
    assert_eq!(result.kind, JoinKindName::Registered);
}

#[tokio::test]
async fn a_changed_secret_takes_effect_and_voids_the_one_before() {
    let fixture = Fixture::new();
    fixture.create(false, vec![token("web", json!({}))]).await.ok();
    let generated = fixture.generated_secret("web");
    fixture.create(true, vec![token("web", spec_secret(1))]).await.ok();
    assert_eq!(shown_secret(&fixture, "web").await, None);
    assert_eq!(Machine::new("web", 1, Some(generated)).join(&fixture).unwrap_err().code, "denied");
    fixture.create(true, vec![token("web", spec_secret(2))]).await.ok();
    assert_eq!(Machine::new("web", 2, Some(secret(1))).join(&fixture).unwrap_err().code, "denied");
    Machine::new("web", 3, Some(secret(2))).join(&fixture).expect("the new secret registers");
}

#[tokio::test]
async fn an_initial_key_removes_the_generated_secret_and_its_removal_brings_another() {
    let fixture = Fixture::new();
    fixture.create(false, vec![token("web", json!({}))]).await.ok();
    let generated = fixture.generated_secret("web");
    let machine = Machine::new("web", 1, None);
    let key = json!({ "initial_public_key": machine.bound.public_key().to_openssh() });
    fixture.create(true, vec![token("web", key)]).await.ok();
    assert_eq!(shown_secret(&fixture, "web").await, None);
    let by_secret = Machine::new("web", 2, Some(generated.duplicate())).join(&fixture);
    assert_eq!(by_secret.unwrap_err().code, "denied");
    fixture.create(true, vec![token("web", json!({}))]).await.ok();
    let another = fixture.generated_secret("web");
    assert!(another != generated);
    assert_eq!(Machine::new("web", 1, None).join(&fixture).unwrap_err().code, "denied");
    Machine::new("web", 3, Some(another)).join(&fixture).expect("registers");
}

#[tokio::test]
async fn on_a_bound_token_a_changed_secret_only_warns() {
    let fixture = Fixture::new();
    let mut machine = fixture.registered("web");
    let before = fixture.enrolment("web");
    let applied = fixture.create(true, vec![token("web", spec_secret(7))]).await.ok();
    assert!(warnings(&applied).iter().any(|warning| warning.contains("web is bound")), "{applied}");
    assert_eq!(fixture.enrolment("web"), before);
    assert_eq!(Machine::new("web", 2, Some(secret(7))).join(&fixture).unwrap_err().code, "denied");
    assert_eq!(machine.join(&fixture).unwrap().kind, JoinKindName::Renewed);
}

#[tokio::test]
async fn a_used_secret_stays_used_when_its_token_is_made_anew() {
    let fixture = Fixture::new();
    fixture.create(false, vec![token("web", spec_secret(1))]).await.ok();
    Machine::new("web", 1, Some(secret(1))).join(&fixture).unwrap();
    fixture.delete("/v1/tokens/web?confirm=true").await.ok();
    let refused = fixture.create(false, vec![token("web", spec_secret(1))]).await;
    assert_eq!(refused.refused(), (422, "secret_used"));
    let path = "spec.bound_keypair.onboarding.registration_secret";
    assert_eq!(refused.json["violations"][0]["path"], path);
    assert!(!refused.text.contains(secret(1).expose()));
    assert_eq!(fixture.get("/v1/tokens/web").await.status, 404);
    fixture.create(false, vec![token("web", spec_secret(2))]).await.ok();
    Machine::new("web", 2, Some(secret(2))).join(&fixture).expect("another secret registers");
}

#[tokio::test]
async fn a_used_secret_stays_used_after_a_reset() {
    let fixture = Fixture::new();
    fixture.create(false, vec![token("web", spec_secret(1))]).await.ok();
    Machine::new("web", 1, Some(secret(1))).join(&fixture).unwrap();
    fixture.post("/v1/tokens/web/reset?confirm=true", json!({})).await.ok();
    fixture.create(true, vec![token("web", spec_secret(2))]).await.ok();
    assert_eq!(
        fixture.create(true, vec![token("web", spec_secret(1))]).await.refused(),
        (422, "secret_used")
    );
    fixture.delete("/v1/tokens/web").await.ok();
    assert_eq!(
        fixture.create(true, vec![token("web", spec_secret(1))]).await.refused(),
        (422, "secret_used")
    );
}

#[tokio::test]
async fn a_secret_that_a_reset_voided_stays_void_until_it_is_replaced() {
    let fixture = Fixture::new();
    let key = Machine::new("web", 9, None).bound.public_key().to_openssh();
    let with_key = json!({ "registration_secret": secret(1).expose(), "initial_public_key": key });
    fixture.create(false, vec![token("web", with_key)]).await.ok();
    fixture.post("/v1/tokens/web/reset?confirm=true", json!({})).await.ok();
    let in_force = fixture.generated_secret("web");
    // The onboarding changes, its secret does not.
    fixture.create(true, vec![token("web", spec_secret(1))]).await.ok();
    assert_eq!(Machine::new("web", 1, Some(secret(1))).join(&fixture).unwrap_err().code, "denied");
    assert!(fixture.generated_secret("web") == in_force, "what `reset` printed stays in force");
    fixture.create(true, vec![token("web", spec_secret(2))]).await.ok();
    assert_eq!(Machine::new("web", 2, Some(in_force)).join(&fixture).unwrap_err().code, "denied");
    Machine::new("web", 3, Some(secret(2))).join(&fixture).expect("the replacement registers");
}

#[tokio::test]
async fn a_generated_secret_is_gone_once_it_is_used() {
    let fixture = Fixture::new();
    fixture.create(false, vec![token("web", json!({}))]).await.ok();
    let generated = fixture.generated_secret("web");
    assert_eq!(shown_secret(&fixture, "web").await.as_deref(), Some(generated.expose()));
    Machine::new("web", 1, Some(generated)).join(&fixture).unwrap();
    assert_eq!(shown_secret(&fixture, "web").await, None);
}

#[tokio::test]
async fn no_get_shows_a_secret_unless_it_is_asked_to() {
    let fixture = Fixture::new();
    let applied =
        fixture.create(false, vec![token("own", spec_secret(1)), token("generated", json!({}))]).await;
    fixture.create(false, vec![token("reset", json!({}))]).await.ok();
    let reset = fixture.post("/v1/tokens/reset/reset", json!({})).await;
    let secrets = [secret(1), fixture.generated_secret("generated"), fixture.generated_secret("reset")];
    let shows = |text: &str| secrets.iter().any(|secret| text.contains(secret.expose()));
    assert!(!shows(&applied.text) && !shows(&reset.text));

    let document = schema::document();
    let mut asked = 0;
    for (template, item) in document["paths"].as_object().unwrap() {
        if item.get("get").is_none() {
            continue;
        }
        for name in ["own", "generated", "reset"] {
            let path = template.replace("{name}", name).replace("{kind}", "host").replace("{id}", name);
            let answer = fixture.get(&path).await;
            assert!(!shows(&answer.text), "GET {path} shows a secret: {}", answer.text);
            asked += 1;
        }
    }
    assert!(asked > 30, "{asked}");
    for query in ["?view=summary&secrets=true", "?secrets=false"] {
        assert!(!shows(&fixture.get(&format!("/v1/tokens{query}")).await.text), "{query}");
    }
    let all = fixture.get("/v1/tokens?secrets=true").await.text;
    for secret in &secrets {
        assert!(all.contains(secret.expose()));
    }
}
