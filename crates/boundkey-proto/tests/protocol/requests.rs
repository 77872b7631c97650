//! `requests.json`: the request R, decoded strictly.

use boundkey_proto::{ProtoError, Request};
use serde_json::{Value, json};

use crate::completes::non_canonical;
use crate::scene::*;
use crate::vectors::{cases, frame, text};

const ECDSA_P384: &str = "ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBKqHyiK+iwU3jrHHHvMgrXRuHTtimLp5uYWfdB4IglQq5QL3JdvyllRyw2x2YFUvtx2CSi/oCIfv+zZG1xHHiTY2F94sSmKWJm9dvnQ4S3cP9FK0Wj4yQg==";

fn outcome(encoded: &str) -> Value {
    match Request::decode(encoded) {
        Ok(_) => json!({"accepted": true}),
        Err(error) => {
            let mut expect = json!({"code": error.code()});
            if let ProtoError::MalformedRequest { member, .. }
            | ProtoError::NotUnderstood { what: member, .. } = error
            {
                expect["member"] = json!(member);
            }
            expect
        }
    }
}

fn case(name: &str, json: &str, expect: Value) -> Value {
    json!({"name": name, "json": json, "request": b64(json.as_bytes()), "expect": expect})
}

fn malformed(member: &str) -> Value {
    json!({"code": "malformed_request", "member": member})
}

/// The plain request with one member set to something else; `path` may go one level down.
fn with(path: &str, value: Value) -> String {
    let mut request = request_json();
    match path.split_once('.') {
        None => request[path] = value,
        Some((outer, inner)) => request[outer][inner] = value,
    }
    request.to_string()
}

fn without(member: &str) -> String {
    let mut request = request_json();
    request.as_object_mut().expect("an object").remove(member);
    request.to_string()
}

pub(crate) fn file() -> Value {
    let mut all = accepted();
    all.extend(not_json_of_a_request());
    all.extend(out_of_bounds());
    frame(
        "The JSON of requests, R as it is sent, and whether a server takes it. `member`: which one it names.",
        json!({"cluster": CLUSTER}),
        all,
    )
}

fn accepted() -> Vec<Value> {
    let rsa = crate::foreign::rsa_public_key();
    let yes = json!({"accepted": true});
    let least = json!({
        "version": 1, "token": TOKEN, "roles": ["Bot"], "attempt": b64(&[0xa7; 16]),
        "bound_key": public(BOUND), "tls_key": public(TLS),
    });
    let all = [
        ("every member but the optional keys", request_json().to_string()),
        ("only what must be there", least.to_string()),
        ("an RSA key as the bound key", with("bound_key", json!(rsa))),
        ("a new key", with("new_key", json!(public(NEW)))),
        ("shortest lifetime", with("ttl_seconds", json!(60))),
        ("longest lifetime", with("ttl_seconds", json!(31_622_400))),
        ("several roles", with("roles", json!(["Node", "App", "Kube", "Db", "WindowsDesktop", "Proxy"]))),
        ("a role in another letter case", with("roles", json!(["node", "DB"]))),
        ("as many names as are allowed", with("names.dns_names", json!(vec!["a.example.com"; 64]))),
        ("names of the greatest length", with("names.principals", json!(["p".repeat(253)]))),
        ("an IPv6 address", with("names.ip_addresses", json!(["2001:db8::7"]))),
        ("facts beyond ASCII", with("facts.os", json!("Débian"))),
        ("a fact of the greatest length", with("facts.os", json!("o".repeat(256)))),
        ("any text as join state", with("join_state", json!("not a join state"))),
    ];
    all.into_iter().map(|(name, json)| case(name, &json, yes.clone())).collect()
}

fn not_json_of_a_request() -> Vec<Value> {
    let plain = request_json().to_string();
    let open = plain.strip_suffix('}').expect("an object").to_owned();
    let inner = |member: &str, extra: &str| {
        let start = format!(r#""{member}":{{"#);
        assert!(plain.contains(&start));
        plain.replace(&start, &format!("{start}{extra},"))
    };
    let texts = [
        ("unknown member", format!(r#"{open},"debug":true}}"#)),
        ("repeated member", format!(r#"{open},"token":"other-token"}}"#)),
        ("repeated member, the same value twice", format!(r#"{open},"token":"{TOKEN}"}}"#)),
        ("unknown member of names", inner("names", r#""emails":[]"#)),
        ("repeated member of names", inner("names", r#""dns_names":[]"#)),
        ("unknown member of facts", inner("facts", r#""kernel":"6""#)),
        ("repeated member of facts", inner("facts", r#""hostname":"a""#)),
        ("names is an array", with("names", json!([["a.example.com"]]))),
        ("facts is an array", with("facts", json!(["web-1", "", "", ""]))),
        ("the request is an array", json!([1, TOKEN]).to_string()),
        ("something after it", format!("{plain} {{}}")),
        ("a comment in it", format!("{open}/**/}}")),
        ("a trailing comma", format!("{open},}}")),
        ("cut short", open.clone()),
        ("empty", String::new()),
        ("version is missing", without("version")),
        ("version is a float", plain.replace(r#""version":1"#, r#""version":1.0"#)),
        ("version is a text", with("version", json!("1"))),
        ("token is missing", without("token")),
        ("token is empty", with("token", json!(""))),
        ("token with a slash", with("token", json!("a/b"))),
        ("token of 254 characters", with("token", json!("a".repeat(254)))),
        ("roles are missing", without("roles")),
        ("an unknown role", with("roles", json!(["Root"]))),
        ("roles as a text", with("roles", json!("Node"))),
        ("a repeated role", with("roles", json!(["Node", "Node"]))),
        ("a repeated role in another letter case", with("roles", json!(["Node", "node"]))),
        ("attempt is missing", without("attempt")),
        ("attempt of 15 bytes", with("attempt", json!(b64(&[1; 15])))),
        ("attempt with padding", with("attempt", json!(format!("{}==", b64(&[1; 16]))))),
        ("attempt not canonical", with("attempt", json!(non_canonical(&b64(&[1; 16]))))),
        ("bound_key is missing", without("bound_key")),
        ("bound_key is not a key", with("bound_key", json!("ssh-ed25519 AAAA"))),
        ("bound_key off the curve", with("bound_key", json!(ECDSA_P384))),
        ("tls_key is missing", without("tls_key")),
        ("new_key is null", with("new_key", Value::Null)),
        ("ssh_key is null", with("ssh_key", Value::Null)),
        ("join_state is null", with("join_state", Value::Null)),
        ("ttl_seconds is null", with("ttl_seconds", Value::Null)),
        ("ttl_seconds is negative", with("ttl_seconds", json!(-60))),
        ("ttl_seconds is a text", with("ttl_seconds", json!("1h"))),
        ("an address that is none", with("names.ip_addresses", json!(["192.0.2.256"]))),
        ("a network instead of an address", with("names.ip_addresses", json!(["192.0.2.0/24"]))),
    ];
    let mut all: Vec<Value> =
        texts.into_iter().map(|(name, json)| case(name, &json, malformed("request"))).collect();
    let version_2 = format!(r#"{{"version":2,"token":"{TOKEN}","colour":"blue"}}"#);
    let unsupported = json!({"code": "unsupported_version"});
    all.push(case("version 2", &version_2, unsupported.clone()));
    all.push(case("version 0", &with("version", json!(0)), unsupported));
    let encoded = b64(plain.as_bytes());
    let spaced = format!("{plain} ");
    let bits = [plain, spaced.clone(), format!("{spaced} ")].map(|json| b64(json.as_bytes()));
    let loose = bits.iter().find(|text| text.len() % 4 != 0).expect("one of three lengths");
    for (name, request) in [
        ("with padding", format!("{encoded}=")),
        ("in the standard alphabet", b64(&[0xfb, 0xff, 0xfe]).replace('-', "+").replace('_', "/")),
        ("with a line feed", format!("{encoded}\n")),
        ("not canonical", non_canonical(loose)),
    ] {
        all.push(json!({"name": name, "request": request, "expect": malformed("request")}));
    }
    all
}

fn out_of_bounds() -> Vec<Value> {
    let rsa = json!(crate::foreign::rsa_public_key());
    let long_facts = json!({
        "hostname": "h".repeat(256), "os": "o".repeat(256), "arch": "a".repeat(256), "version": "v".repeat(256),
        "roles": ["Node"],
    });
    let all = [
        ("no role", with("roles", json!([])), "roles"),
        ("new_key is the bound key", with("new_key", json!(public(BOUND))), "new_key"),
        ("an RSA key as the new key", with("new_key", rsa.clone()), "new_key"),
        ("an RSA key as the TLS key", with("tls_key", rsa.clone()), "tls_key"),
        ("an RSA key as the SSH key", with("ssh_key", rsa), "ssh_key"),
        ("lifetime under a minute", with("ttl_seconds", json!(59)), "ttl_seconds"),
        ("lifetime over a leap year", with("ttl_seconds", json!(31_622_401)), "ttl_seconds"),
        ("too many DNS names", with("names.dns_names", json!(vec!["a.example.com"; 65])), "names.dns_names"),
        (
            "too many addresses",
            with("names.ip_addresses", json!(vec!["192.0.2.7"; 65])),
            "names.ip_addresses",
        ),
        ("too many principals", with("names.principals", json!(vec!["root"; 65])), "names.principals"),
        ("an empty DNS name", with("names.dns_names", json!([""])), "names.dns_names"),
        ("a DNS name too long", with("names.dns_names", json!(["d".repeat(254)])), "names.dns_names"),
        (
            "a principal with a line feed",
            with("names.principals", json!(["root\nadmin"])),
            "names.principals",
        ),
        ("a principal with NUL", with("names.principals", json!(["root\u{0}"])), "names.principals"),
        ("a hostname with an escape sequence", with("facts.hostname", json!("\u{1b}[2J")), "facts.hostname"),
        (
            "a hostname that turns round",
            with("facts.hostname", json!("web-1\u{202e}gpj.exe")),
            "facts.hostname",
        ),
        (
            "a DNS name with an invisible character",
            with("names.dns_names", json!(["a\u{200b}.example.com"])),
            "names.dns_names",
        ),
        ("a fact too long", with("facts.version", json!("v".repeat(257))), "facts.version"),
        ("facts too long together", with("facts", long_facts), "facts"),
        ("a join state too long", with("join_state", json!("s".repeat(8193))), "join_state"),
    ];
    all.into_iter().map(|(name, json, member)| case(name, &json, malformed(member))).collect()
}

#[test]
fn a_server_takes_the_requests_of_the_file_and_no_other() {
    for case in cases("requests.json") {
        assert_eq!(outcome(text(&case, "request")), case["expect"], "{}", case["name"]);
    }
}

#[test]
fn a_request_reads_back_as_it_was_encoded() {
    let mut request = request();
    request.new_key = Some(public(NEW));
    request.join_state = Some("state".to_owned());
    assert_eq!(Request::decode(&request.encode()), Ok(request));
}

#[test]
fn a_request_with_invisible_characters_is_refused() {
    for hidden in
        ['\u{1b}', '\n', '\u{85}', '\u{202e}', '\u{2066}', '\u{2028}', '\u{200b}', '\u{feff}', '\u{ad}']
    {
        let text = format!("web-1{hidden}gpj.exe");
        for (path, value) in [
            ("facts.hostname", json!(text)),
            ("facts.os", json!(text)),
            ("names.dns_names", json!([text])),
            ("names.principals", json!([text])),
        ] {
            let refused = Request::decode(&b64(with(path, value).as_bytes())).unwrap_err();
            let said = refused.to_string();
            assert!(said.contains(path) && !said.contains(hidden), "{path}, {hidden:?}: {said}");
            assert!(said.contains("without control or invisible characters"), "{said}");
        }
    }
}
