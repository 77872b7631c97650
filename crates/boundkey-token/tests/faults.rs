//! Every field wrong in every way: what is said, and where. The expected texts are `files/faults.txt`.

use boundkey_token::{ResourceError, read_resources};

const TOKEN: &str = "\
kind: token
version: v2
metadata:
  name: example
  labels: {team: web}
  expires: \"\"
  revision: \"\"
spec:
  roles: [Node]
  join_method: bound_keypair
  bot_name: \"\"
  bound_keypair:
    onboarding:
      initial_public_key: \"\"
      registration_secret: \"\"
      must_register_before: \"\"
    recovery:
      limit: 1
      mode: standard
    rotate_after: \"\"
  certificates:
    dns_names: [a.example.com]
    ip_addresses: [10.0.0.0/8]
    principals: [web]
    max_ttl: 24h
";
const BOT: &str = "\
kind: bot
version: v1
metadata:
  name: ci
  labels: {}
  expires: \"\"
  revision: \"\"
spec:
  logins: [deploy]
  admin_role: provisioner
  token_prefix: web-
";
const LOCK: &str = "\
kind: lock
version: v2
metadata:
  name: stolen
  revision: \"\"
spec:
  target:
    join_token: example
    user: \"\"
    server_id: \"\"
    bot_instance_id: \"\"
  message: lost
  public_message: lost
  expires: \"\"
";

const PRIVATE: &str =
    "\"-----BEGIN OPENSSH PRIVATE KEY-----\\nhunter2hunter2\\n-----END OPENSSH PRIVATE KEY-----\\n\"";
const PUBLIC: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJLIVitLyzszfqCtSRqDgGeWLcJCOVZNED6xka+82JYC hunter2@host";
const RSA_1024: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQCR2RmaoQMpfj9P2Ee1OFTQ3IpqGzXOtbrCl/nZEqsxr2x+b2sOF9BBt5WVjDN5akxYKl/6YRXqfFqzoVTqKuRNrV9762jsQ0ZuvpQxROh6ylMSK+NPOoAJeJch4HroDapDglqEzuQe5a2s914UXebrOq4tVNMMVYS9z83+CtwVeQ==";
const P521: &str = "ecdsa-sha2-nistp521 AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBAEegsZVzDNoWQKD81VZi0vhRCcIm9fv+mhytdyMBWkwdphOGZZ7UIaHmQcklZpoKgpaHPJ+SaP02lTgMtrCcsXpnwHALt4sWg32BcNKrgpZGeqsAuVT65nWm5kGjDrd0uYAKy+gknm1TcidtY+mbXHRd/UdT+6ffJKxryR6KaLzfkZNgQ==";

/// Wrong for most fields; what a field accepts of it shows in the table as `accepted`.
const ANY: [&str; 10] =
    ["5", "-1", "1.50", "true", "some text", "[a, 5, ~]", "[]", "{a: b}", "~", "\"\\e[31m\\u0007\""];

#[test]
fn every_field_wrong_in_every_way() {
    let mut table = String::new();
    for base in [TOKEN, BOT, LOCK] {
        for line in 0..base.lines().count() {
            let field = path_of(base, line);
            let kind = base.lines().next().unwrap();
            table.push_str(&format!("# {kind}, {field}\n"));
            record(&mut table, "left out", &without(base, line));
            record(&mut table, "misspelt", &misspelt(base, line));
            for value in ANY.iter().copied().chain(special(&field)) {
                let shown = if value.len() > 70 { format!("{}...", &value[..60]) } else { value.to_owned() };
                record(&mut table, &shown, &with(base, line, value));
            }
            table.push('\n');
        }
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/files/faults.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(file, &table).unwrap();
    }
    let expected = include_str!("files/faults.txt");
    for (found, expected) in table.lines().zip(expected.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(table.len(), expected.len());
}

fn record(table: &mut String, case: &str, text: &str) {
    table.push_str(&format!("{case}\n"));
    match read_resources(text.as_bytes()) {
        Ok(_) => table.push_str("    accepted\n"),
        Err(error) => {
            for line in error.lines("f") {
                let report = line.split(case).collect::<String>();
                assert!(!report.contains("hunter2"), "shows a secret: {line}");
                assert!(!line.contains(char::is_control), "{line:?}");
                table.push_str(&format!("    {line}\n"));
            }
        }
    }
}

/// What only this field could be thought to accept.
fn special(field: &str) -> Vec<&'static str> {
    const TIMES: [&str; 7] = [
        "2025-01-01",
        "2025-01-01 00:00:00Z",
        "2025-13-01T00:00:00Z",
        "2025-01-01T00:00:00",
        "9999-12-31T23:59:59-01:00",
        "1735689600",
        "tomorrow",
    ];
    match field {
        "kind" => vec!["tokens", "Token", "TeleportProvisionToken", "tokn", "user"],
        "version" => vec!["v1", "v3", "2", "V2"],
        "metadata.name" => vec!["-a", "a b", "a/b", "é", "../../etc/passwd", "2025-01-01"],
        "metadata.labels" => vec!["{a: 5}", "{a: true}", "{a: [b]}", "{\" \": b}", "{a: ~}", "{a: \"\"}"],
        "metadata.expires" | "spec.expires" => TIMES.to_vec(),
        "spec.bound_keypair.onboarding.must_register_before" | "spec.bound_keypair.rotate_after" => {
            TIMES.to_vec()
        }
        "spec.roles" => vec![
            "Node",
            "[Nod]",
            "[node, NODE]",
            "[Bot]",
            "[Bot, Node]",
            "[Node, Bot, Nod]",
            "[windows_desktop]",
            "[Auth]",
            "[[Node]]",
            "[Node, \"\"]",
        ],
        "spec.join_method" => vec!["bound-keypair", "Bound_Keypair", "token", "boundkeypair"],
        "spec.bot_name" => vec!["ci", "\"a b\""],
        "spec.bound_keypair.onboarding.initial_public_key" => vec![
            PRIVATE,
            RSA_1024,
            P521,
            "ssh-ed25519",
            "ssh-ed25519 AAAAC3Nza",
            "hunter2hunter2",
            "\"from=\\\"*\\\" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJLIVitLyzszfqCtSRqDgGeWLcJCOVZNED6xka+82JYC\"",
            "\"-----BEGIN PUBLIC KEY-----\\nhunter2\\n-----END PUBLIC KEY-----\\n\"",
            "\"ssh-ed25519 AAAA\\nssh-ed25519 hunter2\"",
            PUBLIC,
        ],
        "spec.bound_keypair.onboarding.registration_secret" => {
            vec![
                "hunter2",
                "\"hunter2 \"",
                "\"hunter2\\nhunter2\"",
                "12345678",
                PRIVATE,
                PUBLIC,
                "hunter2hunter2",
            ]
        }
        "spec.bound_keypair.recovery.limit" => {
            vec![
                "0",
                "\"1\"",
                "4294967296",
                "99999999999999999999999999999999999999999",
                "1e3",
                "one",
                "007",
                "0x10",
            ]
        }
        "spec.bound_keypair.recovery.mode" => vec!["Standard", "standrad", "relax", "none"],
        "spec.certificates.dns_names" => vec![
            "a.example.com",
            "[\"*\"]",
            "[\"*.com\"]",
            "[a.*.com]",
            "[\"*a.com\"]",
            "[a.example.com.]",
            "[10.0.0.1]",
            "[\"a b\"]",
            "[a..b]",
            "[-a.com]",
            "[\"\"]",
            "[\"http://a.com\"]",
        ],
        "spec.certificates.ip_addresses" => {
            vec![
                "[10.0.0.1]",
                "[10.0.0.1/8]",
                "[10.0.0.0/33]",
                "[a.example.com]",
                "[\"::1\"]",
                "[010.0.0.1]",
                "[10.0.0.0-9]",
            ]
        }
        "spec.certificates.principals" | "spec.logins" => {
            vec!["[root]", "[\"*\"]", "[\"a,b\"]", "[\"a b\"]", "[\"!a\"]", "[\"\"]"]
        }
        "spec.certificates.max_ttl" => vec![
            "24",
            "0",
            "0s",
            "1.5h",
            "1h30m",
            "30m1h",
            "1y",
            "24 h",
            "-1h",
            "99999d",
            "999999999999999999999h",
        ],
        "spec.admin_role" => vec!["Admin", "admin", "audit", "\"\""],
        "spec.token_prefix" => vec!["-x", "\"a b\""],
        "spec.target" => vec!["example", "{join_token: a, user: b}", "{}", "{join_tokn: a}"],
        "spec.target.user" | "spec.target.server_id" => vec!["ci"],
        "spec.target.join_token" => vec!["\"\"", "a/b"],
        _ => vec![],
    }
}

#[test]
fn all_faults_of_all_documents_are_reported_at_once_in_the_order_of_the_text() {
    let text = "\
kind: token
version: v1
metadata: {nam: a}
spec:
  roles: [Nod, Bot]
  bound_keypair:
    recovery: {limit: 0, mod: relaxed}
  extra: 1
---
kind: lock
version: v2
metadata: {name: l, labels: {}}
spec: {target: {user: \"a b\"}}
---
knd: bot
";
    let lines = read_resources(text.as_bytes()).unwrap_err().lines("all.yaml");
    assert_eq!(
        lines,
        [
            "all.yaml:2:10: version: found `v1`; allowed: v2",
            "all.yaml:3:1: metadata.name: found nothing; allowed: a name: a letter or digit, then up to 252 letters, digits, dots, underscores or dashes",
            "all.yaml:3:12: metadata.nam: found an unknown field; allowed: name, revision, labels, expires (did you mean `name`?)",
            "all.yaml:4:1: spec.join_method: found nothing; allowed: bound_keypair",
            "all.yaml:5:11: spec.roles[0]: found `Nod`; allowed: Node, Proxy, App, Kube, Db, WindowsDesktop or Bot (did you mean `Node`?)",
            "all.yaml:7:23: spec.bound_keypair.recovery.limit: found the number 0; allowed: a whole number from 1 to 4294967295",
            "all.yaml:7:26: spec.bound_keypair.recovery.mod: found an unknown field; allowed: limit, mode (did you mean `mode`?)",
            "all.yaml:8:3: spec.extra: found an unknown field; allowed: roles, bot_name, join_method, bound_keypair, certificates",
            "all.yaml:12:21: metadata.labels: found an unknown field; allowed: name, revision",
            "all.yaml:13:23: spec.target.user: found `a b`; allowed: a name: a letter or digit, then up to 252 letters, digits, dots, underscores or dashes",
            "all.yaml:15:1: kind: found nothing; allowed: token, bot or lock",
            "all.yaml:15:1: knd: found an unknown field; allowed: kind, version, apiVersion, metadata, spec, status (did you mean `kind`?)",
        ]
    );
}

#[test]
fn the_same_resource_twice_in_a_file_is_a_fault() {
    let lock = LOCK.replace("stolen", "example");
    let lines = read_resources(format!("{TOKEN}---\n{lock}---\n{TOKEN}").as_bytes()).unwrap_err().lines("f");
    assert_eq!(
        lines,
        [
            "f:45:9: metadata.name: found `example`, which another token of this file has; allowed: each resource once",
        ]
    );
}

#[test]
fn a_list_of_resources_reports_the_element() {
    let lines = read_resources(b"[{\"kind\": \"token\"},\n {\"kind\": \"bot\", \"version\": \"v1\", \"metadata\": {\"name\": \"a\"}}, 5]").unwrap_err().lines("f");
    assert_eq!(
        lines,
        [
            "f:1:2: [0].version: found nothing; allowed: v2",
            "f:1:2: [0].metadata.name: found nothing; allowed: a name: a letter or digit, then up to 252 letters, digits, dots, underscores or dashes",
            "f:1:2: [0].spec: found nothing; allowed: a mapping with roles, join_method, ...",
            "f:2:63: [2]: found the number 5; allowed: a mapping",
        ]
    );
}

#[test]
fn no_more_than_fifty_violations_come_out_of_one_file() {
    let many: String = (0..60).map(|number| format!("---\nkind: token{number}\n")).collect();
    match read_resources(many.as_bytes()) {
        Err(ResourceError::Violations(violations)) => assert_eq!(violations.len(), 50),
        other => panic!("{other:?}"),
    }
}

#[test]
fn faults_of_syntax_name_the_line() {
    let table: [(&[u8], &str); 6] = [
        (b"", "f: line 1, column 1: no document: the text is empty or holds only comments"),
        (
            b"kind: token\nkind: token\n",
            "f: line 2, column 1: the key `kind` stands twice in the same mapping",
        ),
        (
            b"kind: token\n\tversion: v2\n",
            "f: line 2, column 1: found a tab character that violates indentation",
        ),
        (
            b"{\"kind\": \"token\",\n \"kind\": \"bot\"}",
            "f: line 2, column 7: the key `kind` stands twice in the same mapping",
        ),
        (b"{\"kind\": \"token\"", "f: line 1, column 16: EOF while parsing an object"),
        (b"kind: t\xffken\n", "f: line 1, column 8: a byte that is not UTF-8; allowed: UTF-8 text"),
    ];
    for (text, expected) in table {
        assert_eq!(read_resources(text).unwrap_err().lines("f"), [expected]);
    }
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn key(line: &str) -> &str {
    line.trim_start().split(':').next().unwrap_or_default()
}

/// The path of the field in a line.
fn path_of(base: &str, line: usize) -> String {
    let lines: Vec<&str> = base.lines().collect();
    let mut path = vec![key(lines[line])];
    let mut depth = indent(lines[line]);
    for above in lines[..line].iter().rev() {
        if indent(above) < depth {
            depth = indent(above);
            path.push(key(above));
        }
    }
    path.reverse();
    path.join(".")
}

/// The base with other lines for a field and all below it.
fn replaced(base: &str, line: usize, replacement: &[String]) -> String {
    let lines: Vec<&str> = base.lines().collect();
    let end = (line + 1..lines.len())
        .find(|next| indent(lines[*next]) <= indent(lines[line]))
        .unwrap_or(lines.len());
    let kept = lines[..line].iter().map(|line| (*line).to_owned()).chain(replacement.iter().cloned());
    kept.chain(lines[end..].iter().map(|line| (*line).to_owned())).map(|line| line + "\n").collect()
}

fn without(base: &str, line: usize) -> String {
    replaced(base, line, &[])
}

fn with(base: &str, line: usize, value: &str) -> String {
    let old = base.lines().nth(line).expect("a line of the base");
    replaced(base, line, &[format!("{}{}: {value}", " ".repeat(indent(old)), key(old))])
}

/// The key with its third letter missing.
fn misspelt(base: &str, line: usize) -> String {
    let mut lines: Vec<String> = base.lines().map(str::to_owned).collect();
    let at = indent(&lines[line]) + 2;
    lines[line].remove(at);
    lines.into_iter().map(|line| line + "\n").collect()
}

#[test]
fn invisible_characters_in_labels_and_messages_are_refused_and_shown_escaped() {
    let token = r#"{"kind": "token", "version": "v2", "metadata": {"name": "web", "labels": {"a\u202eb": "1", "site": "ber\u200blin"}},
        "spec": {"roles": ["Node"], "join_method": "bound_keypair"}}"#;
    let lock = r#"{"kind": "lock", "version": "v2", "metadata": {"name": "l"},
        "spec": {"target": {"join_token": "web"}, "message": "stolen\u2028by J."}}"#;
    let told = |text: &str| match boundkey_token::read_resources(text.as_bytes()) {
        Err(boundkey_token::ResourceError::Violations(found)) => {
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let (of_token, of_lock) = (told(token).join("\n"), told(lock).join("\n"));
    assert!(of_token.contains("a label name of one line"), "{of_token}");
    assert!(
        of_token.contains("metadata.labels.site: found `ber\\u{200b}lin`; allowed: one line without control"),
        "{of_token}"
    );
    assert!(of_lock.contains("spec.message: found `stolen\\u{2028}by J.`; allowed: one line"), "{of_lock}");
    for hidden in ['\u{202e}', '\u{200b}', '\u{2028}'] {
        assert!(!of_token.contains(hidden) && !of_lock.contains(hidden), "{of_token}\n{of_lock}");
    }
}

#[test]
fn a_list_without_items_and_another_format_that_begins_like_json_are_named() {
    for (text, expected) in [
        ("kind: List\n", "items: found nothing; allowed: a list of resources"),
        ("kind: List\nitems:\n", "items: found nothing; allowed: a list of resources"),
        ("[token]\nname = \"x\"\n", "this looks like TOML or INI; allowed: YAML or JSON"),
    ] {
        let error = boundkey_token::ResourceFile::check(text.as_bytes().to_vec()).err().unwrap();
        let said = error.lines("file").join("\n");
        assert!(said.ends_with(expected), "{said}");
    }
}
