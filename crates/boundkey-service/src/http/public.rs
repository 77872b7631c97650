//! What anybody may read: who the server is, which CAs to trust, what is revoked, whether it is well.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use boundkey_api::Find;
use boundkey_lifecycle::CaKind;

use super::unchanged;
use crate::{CA_KINDS, Refusal, Service, ca_kind_text};

pub(super) async fn find(State(service): State<Service>) -> Json<Find> {
    Json(Find {
        server_version: env!("CARGO_PKG_VERSION").to_owned(),
        cluster_name: service.cluster().to_owned(),
        ca_pins: service.ca_pins(),
        signature_suite: "balanced-v1".to_owned(),
    })
}

pub(super) async fn bundle(State(service): State<Service>, asked: HeaderMap) -> Response {
    unchanged::answer(service.bundle(), "application/json", &asked)
}

pub(super) async fn authority(
    State(service): State<Service>,
    Path(kind): Path<String>,
) -> Result<Response, Refusal> {
    let kind = read_kind(&kind, &CA_KINDS)?;
    let content_type = match kind {
        CaKind::Tls | CaKind::Host | CaKind::Bot => "application/x-pem-file",
        CaKind::SshHost | CaKind::SshUser => "text/plain; charset=utf-8",
    };
    Ok(([(header::CONTENT_TYPE, content_type)], service.authorities().export(kind)).into_response())
}

/// Both lists, one after the other in PEM.
pub(super) async fn all_crls(State(service): State<Service>, asked: HeaderMap) -> Result<Response, Refusal> {
    let lists = service.revocation_lists().await?;
    Ok(unchanged::answer(&lists.both, "application/x-pem-file", &asked))
}

pub(super) async fn crl(
    State(service): State<Service>,
    Path(kind): Path<String>,
    asked: HeaderMap,
) -> Result<Response, Refusal> {
    let kind = read_kind(&kind, &[CaKind::Host, CaKind::Bot])?;
    let lists = service.revocation_lists().await?;
    let list = if kind == CaKind::Host { &lists.host } else { &lists.bot };
    Ok(unchanged::answer(list, "application/pkix-crl", &asked))
}

pub(super) async fn krl(State(service): State<Service>, asked: HeaderMap) -> Result<Response, Refusal> {
    let lists = service.revocation_lists().await?;
    Ok(unchanged::answer(&lists.krl, "application/octet-stream", &asked))
}

/// The process answers.
pub(super) async fn health() -> &'static str {
    "ok\n"
}

/// The store answers too.
pub(super) async fn ready(State(service): State<Service>) -> Result<&'static str, Refusal> {
    service.store().revision().await?;
    Ok("ok\n")
}

pub(super) async fn install_script(State(service): State<Service>) -> Response {
    let server =
        service.config().public_addrs.first().cloned().unwrap_or_else(|| service.config().listen.clone());
    let script = include_str!("install.sh")
        .replace("@CLUSTER@", service.cluster())
        .replace("@SERVER@", &server)
        .replace("@PIN@", service.ca_pins().first().map_or("", String::as_str))
        .replace("@VERSION@", env!("CARGO_PKG_VERSION"));
    ([(header::CONTENT_TYPE, "text/x-shellscript; charset=utf-8")], script).into_response()
}

fn read_kind(text: &str, allowed: &[CaKind]) -> Result<CaKind, Refusal> {
    allowed.iter().copied().find(|kind| ca_kind_text(*kind) == text).ok_or_else(|| {
        let allowed: Vec<&str> = allowed.iter().map(|kind| ca_kind_text(*kind)).collect();
        let shown: String = text.chars().take(40).collect();
        Refusal::new(404, "not_found", format!("no CA `{shown}`; there are {}", allowed.join(", ")))
    })
}
