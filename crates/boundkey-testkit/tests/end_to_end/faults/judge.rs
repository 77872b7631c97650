//! What has to hold after any fault, seen from outside.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use boundkey_testkit::{Agent, Cluster, find, run};

use crate::facts;

/// A number from the environment, for longer runs.
pub(crate) fn from_environment(variable: &str, otherwise: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text}: not a number")),
        Err(_) => otherwise,
    }
}

/// Code and sequence of each join that the audit log says was admitted, by sequence.
pub(crate) fn admissions(cluster: &Cluster, token: &str) -> Vec<(String, u64)> {
    let mut joins: Vec<(String, u64)> = cluster
        .events(token)
        .iter()
        .filter_map(|event| {
            let code = event["code"].as_str()?;
            if !matches!(code, "registered" | "renewed" | "recovered") {
                return None;
            }
            let detail = event["detail"].as_str()?;
            let rest = detail.split("sequence ").nth(1)?;
            let number = rest.split(',').next()?.parse().ok()?;
            Some((code.to_owned(), number))
        })
        .collect();
    joins.sort_by_key(|(_, sequence)| *sequence);
    joins
}

/// What the audit log says was refused.
pub(crate) fn refusals(cluster: &Cluster, token: &str) -> Vec<String> {
    let events = cluster.events(token);
    let codes = events.iter().filter_map(|event| event["code"].as_str());
    let unwanted =
        |code: &&str| code.starts_with("denied") || code.starts_with("clone") || *code == "secret_replayed";
    codes.filter(unwanted).map(ToOwned::to_owned).collect()
}

/// No lock stands, each sequence was given out once, and the facts agree with the audit log. Gives back the sequence.
#[track_caller]
pub(crate) fn assert_one_honest_lineage(cluster: &Cluster, token: &str) -> u64 {
    let locks = cluster.ctl(&["get", "locks", "--format", "json"]).success();
    assert_eq!(locks.trim(), "[]", "{token}");
    let joins = admissions(cluster, token);
    let sequences: Vec<u64> = joins.iter().map(|(_, sequence)| *sequence).collect();
    let expected: Vec<u64> = (1..=joins.len() as u64).collect();
    assert_eq!(sequences, expected, "{token}: each sequence once, none left out");
    let count = |code: &str| joins.iter().filter(|(found, _)| found == code).count() as u64;
    assert_eq!(count("registered"), 1, "{token}");
    assert_eq!(facts(cluster, token)["recovery_count"], 1 + count("recovered"), "{token}");
    expected.len() as u64
}

/// The sequence in the join state that the agent holds.
pub(crate) fn sequence_held(agent: &Agent) -> u64 {
    let text = std::fs::read(agent.state_dir().join("state.json")).expect("a state");
    let state: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let token = state["join_state"].as_str().expect("a join state");
    let payload = token.split('.').nth(1).expect("a compact JWS");
    let claims: serde_json::Value = serde_json::from_slice(&decode(payload)).expect("JSON");
    claims["seq"].as_u64().expect("a sequence")
}

/// base64url without padding.
fn decode(text: &str) -> Vec<u8> {
    let mut bits = 0_u32;
    let mut count = 0;
    let mut bytes = Vec::new();
    for c in text.bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => panic!("not base64url: {text}"),
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 0xff).expect("eight bits"));
        }
    }
    bytes
}

/// Certificate, key and CA of a directory with `cert.pem`, `key.pem` and `ca.pem` belong together, as OpenSSL sees it.
#[track_caller]
pub(crate) fn assert_whole(directory: &Path) {
    let openssl = find("openssl").expect("openssl is installed");
    let of_certificate = run(Command::new(&openssl)
        .args(["x509", "-noout", "-pubkey", "-in"])
        .arg(directory.join("cert.pem")))
    .success();
    let of_key =
        run(Command::new(&openssl).args(["pkey", "-pubout", "-in"]).arg(directory.join("key.pem"))).success();
    assert_eq!(of_certificate, of_key, "{}: the certificate is for another key", directory.display());
    run(Command::new(&openssl)
        .arg("verify")
        .arg("-CAfile")
        .arg(directory.join("ca.pem"))
        .arg(directory.join("cert.pem")))
    .success();
}

/// Nothing but these lies in a directory.
#[track_caller]
pub(crate) fn assert_only(directory: &Path, expected: &[&str]) {
    let found: BTreeSet<String> = std::fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    let expected: BTreeSet<String> = expected.iter().map(|&name| name.to_owned()).collect();
    let more: Vec<_> = found.difference(&expected).collect();
    assert!(more.is_empty(), "{}: left behind: {more:?}", directory.display());
}
