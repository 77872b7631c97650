//! Administration as its clients see it: requests to the router of the Unix socket, on a memory store. Every answer is
//! held against the served description.

mod apply;
mod cut_off;
mod events;
mod listings;
mod locks;
mod next_steps;
pub(super) mod race;
mod removal;
mod retention;
mod secrets;
mod verbs;

use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use boundkey_keys::Secret;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::fixture::{Fixture, Machine};
use super::schema;
use crate::Service;

pub(super) struct Answered {
    status: u16,
    etag: Option<String>,
    text: String,
    json: Value,
}

impl Answered {
    /// The body of a success.
    #[track_caller]
    pub(super) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        self.json
    }

    /// Status and code of a refusal.
    fn refused(&self) -> (u16, &str) {
        (self.status, self.json["code"].as_str().unwrap_or("(no problem)"))
    }
}

async fn ask(service: &Service, method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Answered {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = service.admin_router().oneshot(request.body(body).unwrap()).await.unwrap();
    let text = |name: header::HeaderName| {
        response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned)
    };
    let (status, etag) = (response.status().as_u16(), text(header::ETAG));
    let content_type = text(header::CONTENT_TYPE).unwrap_or_default();
    let body = to_bytes(response.into_body(), 1 << 24).await.unwrap();
    let faults = schema::faults(method, path, status, &content_type, &body);
    assert!(faults.is_empty(), "{faults:#?}");
    let text = String::from_utf8_lossy(&body).into_owned();
    let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Answered { status, etag, text, json }
}

impl Fixture {
    pub(super) async fn get(&self, path: &str) -> Answered {
        ask(&self.service, "GET", path, &[], Body::empty()).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Answered {
        self.clock.advance(time::Duration::milliseconds(1));
        ask(&self.service, "POST", path, &[], Body::from(body.to_string())).await
    }

    async fn put(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Answered {
        self.clock.advance(time::Duration::milliseconds(1));
        ask(&self.service, "PUT", path, headers, Body::from(body.to_string())).await
    }

    async fn delete(&self, path: &str) -> Answered {
        self.clock.advance(time::Duration::milliseconds(1));
        ask(&self.service, "DELETE", path, &[], Body::empty()).await
    }

    async fn create(&self, force: bool, resources: Vec<Value>) -> Answered {
        self.post("/v1/apply", json!({ "force": force, "resources": resources })).await
    }

    /// A machine that has registered with a token of this name, made for it.
    fn registered(&self, name: &str) -> Machine {
        self.node_token(name, "  bound_keypair:\n    recovery: {limit: 3}\n");
        let mut machine = Machine::new(name, 1, Some(self.generated_secret(name)));
        machine.join(self).expect("registers");
        machine
    }
}

/// A token of role Node.
fn token(name: &str, onboarding: Value) -> Value {
    json!({
        "kind": "token",
        "version": "v2",
        "metadata": { "name": name },
        "spec": {
            "roles": ["Node"],
            "join_method": "bound_keypair",
            "bound_keypair": { "onboarding": onboarding },
        },
    })
}

/// A secret of the generated form: nothing is stretched.
fn secret(seed: u8) -> Secret {
    Secret::generated([seed; 32])
}

fn spec_secret(seed: u8) -> Value {
    json!({ "registration_secret": secret(seed).expose() })
}

#[tokio::test]
async fn every_described_operation_is_answered_by_its_handler() {
    let fixture = Fixture::new();
    let document = schema::document();
    for (template, item) in document["paths"].as_object().unwrap() {
        let path = template
            .replace("{verb}", "rotate")
            .replace("{kind}", "host")
            .replace("{name}", "absent")
            .replace("{id}", "absent");
        for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            let method = method.to_uppercase();
            let answer = ask(&fixture.service, &method, &path, &[], Body::empty()).await;
            let detail = answer.json["detail"].as_str().unwrap_or_default();
            assert_ne!(answer.status, 405, "{method} {path}");
            assert!(!detail.starts_with("no such path"), "{method} {path}: {detail}");
        }
    }
}

#[tokio::test]
async fn administration_is_not_on_the_port_for_machines() {
    let fixture = Fixture::new();
    let document = schema::document();
    for (template, item) in document["paths"].as_object().unwrap() {
        let path = template.replace("{kind}", "host").replace("{name}", "absent").replace("{id}", "absent");
        for (method, operation) in item.as_object().unwrap().iter().filter(|(key, _)| *key != "parameters") {
            let request = Request::builder().method(method.to_uppercase().as_str()).uri(&path);
            let response =
                fixture.service.public_router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            let is_administration = operation["tags"][0] == "administration";
            assert_eq!(response.status().as_u16() == 404, is_administration, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn the_description_is_served_as_json() {
    let fixture = Fixture::new();
    assert_eq!(fixture.get("/v1/openapi.json").await.ok()["openapi"], "3.1.0");
}
