//! The public routes, as an HTTP client sees them.

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use boundkey_proto::{BeginAnswer, Problem, SignedBundle};
use tower::ServiceExt as _;

use super::fixture::{Fixture, Machine};
use crate::CORRELATION_HEADER;

struct Answered {
    status: StatusCode,
    content_type: String,
    correlation: String,
    body: Vec<u8>,
}

impl Answered {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn problem(&self) -> Problem {
        assert_eq!(self.content_type, "application/problem+json");
        let problem: Problem = serde_json::from_slice(&self.body).expect("a problem");
        assert_eq!(problem.correlation_id.as_deref(), Some(self.correlation.as_str()));
        assert_eq!(problem.status, self.status.as_u16());
        problem
    }
}

async fn ask(fixture: &Fixture, method: Method, path: &str, body: impl Into<Body>) -> Answered {
    let request = Request::builder().method(method).uri(path).body(body.into()).unwrap();
    let response = fixture.service.public_router().oneshot(request).await.unwrap();
    let text = |name: &str| {
        response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned()
    };
    Answered {
        status: response.status(),
        content_type: text(header::CONTENT_TYPE.as_str()),
        correlation: text(CORRELATION_HEADER),
        body: to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec(),
    }
}

#[tokio::test]
async fn every_answer_has_its_own_correlation_id() {
    let fixture = Fixture::new();
    let one = ask(&fixture, Method::GET, "/healthz", "").await;
    let other = ask(&fixture, Method::GET, "/healthz", "").await;
    assert_eq!((one.status, one.text().as_str()), (StatusCode::OK, "ok\n"));
    assert_eq!(one.correlation.len(), 32);
    assert_ne!(one.correlation, other.correlation);
}

#[tokio::test]
async fn refusals_of_all_kinds_are_problems() {
    let fixture = Fixture::new();
    let large = vec![b' '; 65 * 1024];
    for (method, path, body, status, code) in [
        (Method::GET, "/nothing/here", Vec::new(), 404, "not_found"),
        (Method::GET, "/v1/ca/letters", Vec::new(), 404, "not_found"),
        (Method::GET, "/v1/crl/tls", Vec::new(), 404, "not_found"),
        (Method::GET, "/v1/tokens", Vec::new(), 404, "not_found"),
        (Method::DELETE, "/v1/join/begin", Vec::new(), 405, "method_not_allowed"),
        (Method::POST, "/v1/join/begin", b"[1]".to_vec(), 400, "malformed_request"),
        (Method::POST, "/v1/join/complete", b"{}".to_vec(), 400, "malformed_request"),
        (Method::POST, "/v1/join/complete", b"\xff\xfe".to_vec(), 400, "malformed_request"),
        (Method::POST, "/v1/join/complete", large, 413, "body_too_large"),
    ] {
        let shown = format!("{method} {path}");
        let answer = ask(&fixture, method, path, body).await;
        assert_eq!((answer.status.as_u16(), answer.problem().code.as_str()), (status, code), "{shown}");
    }
}

#[tokio::test]
async fn find_names_the_cluster_and_its_pin() {
    let fixture = Fixture::new();
    let answer = ask(&fixture, Method::GET, "/v1/webapi/find", "").await;
    let found: boundkey_api::Find = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(found.cluster_name, "example.com");
    assert_eq!(found.ca_pins, [fixture.service.authorities().tls.pin()]);
}

#[tokio::test]
async fn cas_come_as_pem_or_as_openssh_lines_and_all_together_signed() {
    let fixture = Fixture::new();
    for kind in ["tls", "host", "bot"] {
        let answer = ask(&fixture, Method::GET, &format!("/v1/ca/{kind}"), "").await;
        assert!(answer.text().starts_with("-----BEGIN CERTIFICATE-----\n"), "{}", answer.text());
    }
    for kind in ["ssh-host", "ssh-user"] {
        let answer = ask(&fixture, Method::GET, &format!("/v1/ca/{kind}"), "").await;
        let key = boundkey_keys::PublicKey::from_openssh(answer.text().trim_end());
        assert!(key.is_ok(), "{}", answer.text());
    }
    let answer = ask(&fixture, Method::GET, "/v1/ca", "").await;
    let bundle: SignedBundle = serde_json::from_slice(&answer.body).unwrap();
    let key = boundkey_keys::Signer::public_key(fixture.service.authorities().tls.key()).clone();
    let content = bundle.verify(&[key]).unwrap();
    assert_eq!(content.ssh_user, [fixture.service.authorities().ssh_user.key().public_key().clone()]);
}

#[tokio::test]
async fn empty_revocation_lists_are_lists() {
    let fixture = Fixture::new();
    let both = ask(&fixture, Method::GET, "/v1/crl", "").await;
    assert_eq!(both.text().matches("-----BEGIN X509 CRL-----").count(), 2);
    let host = ask(&fixture, Method::GET, "/v1/crl/host", "").await;
    assert_eq!(host.content_type, "application/pkix-crl");
    assert_eq!(host.body.first(), Some(&0x30));
    let krl = ask(&fixture, Method::GET, "/v1/krl", "").await;
    assert_eq!(&krl.body[..8], b"SSHKRL\n\0");
}

#[tokio::test]
async fn the_install_script_names_this_server_and_fetches_nothing() {
    let mut config = crate::ServiceConfig::new("example.com");
    config.public_addrs = vec!["server.example.com:443".to_owned()];
    let fixture = Fixture::with(config);
    let script = ask(&fixture, Method::GET, "/scripts/install.sh", "").await.text();
    assert!(script.starts_with("#!/bin/sh\n"));
    assert!(script.contains("server='server.example.com:443'"), "{script}");
    assert!(script.contains(&fixture.service.ca_pins()[0]));
    for word in ["curl", "wget", "@"] {
        assert!(!script.contains(word), "{word}");
    }
}

#[tokio::test]
async fn a_machine_joins_over_http() {
    let fixture = Fixture::new();
    fixture.node_token("web", "");
    let machine = Machine::new("web", 1, Some(fixture.generated_secret("web")));
    let begun = ask(&fixture, Method::POST, "/v1/join/begin", "{}").await;
    let begun: BeginAnswer = serde_json::from_slice(&begun.body).unwrap();
    let done = ask(&fixture, Method::POST, "/v1/join/complete", machine.body(&begun.challenge)).await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text());
    assert!(done.text().contains("\"kind\":\"registered\""), "{}", done.text());
    assert_eq!(fixture.events().last().unwrap().correlation_id, done.correlation);
}

#[tokio::test]
async fn the_admin_router_has_the_public_routes_too() {
    let fixture = Fixture::new();
    for path in ["/healthz", "/v1/tokens", "/v1/status"] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = fixture.service.admin_router().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert!(response.headers().contains_key(CORRELATION_HEADER), "{path}");
    }
}

async fn ask_knowing(
    fixture: &Fixture,
    method: Method,
    path: &str,
    tags: &[&str],
) -> axum::response::Response {
    let mut request = Request::builder().method(method).uri(path);
    for tag in tags {
        request = request.header(header::IF_NONE_MATCH, *tag);
    }
    fixture.service.public_router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

#[tokio::test]
async fn who_has_the_present_answer_already_is_told_so_without_it() {
    let fixture = Fixture::new();
    for path in ["/v1/crl", "/v1/crl/host", "/v1/crl/bot", "/v1/krl", "/v1/ca", "/v1/openapi.json"] {
        let whole = ask_knowing(&fixture, Method::GET, path, &[]).await;
        let tag = whole.headers()[header::ETAG].to_str().unwrap().to_owned();
        let kind = whole.headers()[header::CONTENT_TYPE].clone();
        assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() == 34, "{path}: {tag}");
        assert_eq!(whole.headers()[header::CACHE_CONTROL], "no-cache", "{path}");
        let body = to_bytes(whole.into_body(), 1 << 20).await.unwrap();

        let head = ask_knowing(&fixture, Method::HEAD, path, &[]).await;
        assert_eq!(head.status(), StatusCode::OK, "{path}");
        assert_eq!(head.headers()[header::ETAG], *tag, "{path}");
        assert_eq!(head.headers()[header::CONTENT_LENGTH], body.len().to_string(), "{path}");
        assert_eq!(head.headers()[header::CONTENT_TYPE], kind, "{path}");
        assert!(to_bytes(head.into_body(), 1).await.unwrap().is_empty(), "{path}");

        let weak = format!("W/{tag}");
        let several = format!("\"another\", {tag}");
        for known in [&[&*tag][..], &[&*weak], &[&*several], &["*"], &["\"x\"", &*tag]] {
            for method in [Method::GET, Method::HEAD] {
                let unchanged = ask_knowing(&fixture, method, path, known).await;
                assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED, "{path} {known:?}");
                assert_eq!(unchanged.headers()[header::ETAG], *tag, "{path} {known:?}");
                assert!(!unchanged.headers().contains_key(header::CONTENT_TYPE), "{path} {known:?}");
                assert!(to_bytes(unchanged.into_body(), 1).await.unwrap().is_empty(), "{path} {known:?}");
            }
        }
        let other = ask_knowing(&fixture, Method::GET, path, &["\"another\""]).await;
        assert_eq!(other.status(), StatusCode::OK, "{path}");
        assert_eq!(to_bytes(other.into_body(), 1 << 20).await.unwrap(), body, "{path}");
    }
}

#[tokio::test]
async fn another_commit_leaves_the_lists_as_they_are_and_a_revocation_does_not() {
    let fixture = Fixture::new();
    let lists = fixture.service.revocation_lists().await.unwrap();
    fixture.node_token("web", "");
    fixture.clock.advance(time::Duration::seconds(1));
    let reads = fixture.service.revocation_lists().await.unwrap();
    assert!(std::sync::Arc::ptr_eq(&lists, &reads), "built again for a token");
    let tag = ask_knowing(&fixture, Method::GET, "/v1/crl", &[]).await.headers()[header::ETAG].clone();
    let expires = fixture.service.now() + time::Duration::days(1);
    let revoked =
        boundkey_store::records::RevokedRecord { revoked_at: fixture.service.now(), expires_at: expires };
    let key = boundkey_store::keys::revoked("host", expires.unix_timestamp(), "1234");
    let batch =
        boundkey_store::Batch::new().write(boundkey_store::Write::record_until(key, &revoked, expires));
    fixture.service.store().commit(batch, fixture.service.now()).await.unwrap();
    let changed = ask_knowing(&fixture, Method::GET, "/v1/crl", &[tag.to_str().unwrap()]).await;
    assert_eq!(changed.status(), StatusCode::OK, "a list that lacks what was revoked");
    assert_ne!(changed.headers()[header::ETAG], tag);
}
