//! Where a path stands, in YAML and in JSON, and what plain scalars are.

use std::time::Duration;

use boundkey_document::{Document, Faults, Fields, Item, Node, Path, Place, parse_json, parse_yaml};

fn at(line: usize, column: usize) -> Place {
    Place { line, column }
}

const YAML: &str = "\
# comment
kind: token
---

---
spec:
  roles:
  - Node
  - {deep: [a, \"ä\", x]}
  text: |
    several
    lines
  empty:
  \"quoted key\": 1
  alias: &a {b: 1}
  again: *a
";

#[test]
fn yaml_paths_have_exact_places() {
    let documents = parse_yaml(YAML.as_bytes()).unwrap();
    assert_eq!(documents.iter().map(Document::index).collect::<Vec<_>>(), [0, 2]);
    let spec = Path::root().key("spec");
    let roles = spec.key("roles");
    let table = [
        (Path::root(), at(6, 1), at(6, 1)),
        (spec.clone(), at(7, 3), at(6, 1)),
        (roles.clone(), at(8, 3), at(7, 3)),
        (roles.index(0), at(8, 5), at(8, 5)),
        (roles.index(1).key("deep"), at(9, 12), at(9, 6)),
        (roles.index(1).key("deep").index(2), at(9, 21), at(9, 21)),
        (spec.key("text"), at(10, 9), at(10, 3)),
        (spec.key("empty"), at(13, 9), at(13, 3)),
        (spec.key("quoted key"), at(14, 17), at(14, 3)),
        (spec.key("again").key("b"), at(15, 17), at(15, 14)),
        // What is missing stands where it should be added: at the key of the nearest ancestor.
        (spec.key("missing"), at(6, 1), at(6, 1)),
        (roles.index(7), at(7, 3), at(7, 3)),
        (spec.key("empty").key("below"), at(13, 3), at(13, 3)),
        (Path::root().key("kind"), at(6, 1), at(6, 1)),
    ];
    for (path, value, key) in table {
        assert_eq!(documents[1].place(&path), value, "value of {path}");
        assert_eq!(documents[1].place_of_key(&path), key, "key of {path}");
    }
}

#[test]
fn json_paths_have_exact_places() {
    let text =
        "{\n\t\"spec\": {\"a\\u0062\": [1, \"x,]}\\\"\", {\"c\" : -2.5e3}],\n  \"ä\": {}, \"d\": null}\n}\n";
    let document = parse_json(text.as_bytes(), 4096).unwrap();
    let spec = Path::root().key("spec");
    let list = spec.key("ab");
    let table = [
        (Path::root(), at(1, 1), at(1, 1)),
        (spec.clone(), at(2, 10), at(2, 2)),
        (list.clone(), at(2, 22), at(2, 11)),
        (list.index(0), at(2, 23), at(2, 23)),
        (list.index(1), at(2, 26), at(2, 26)),
        (list.index(2).key("c"), at(2, 43), at(2, 37)),
        (spec.key("ä"), at(3, 8), at(3, 3)),
        (spec.key("d"), at(3, 17), at(3, 12)),
        (spec.key("missing"), at(2, 2), at(2, 2)),
    ];
    for (path, value, key) in table {
        assert_eq!(document.place(&path), value, "value of {path}");
        assert_eq!(document.place_of_key(&path), key, "key of {path}");
    }
}

#[test]
fn a_value_without_text_stands_at_the_beginning() {
    let document = Document::from_json_value(&serde_json::json!({"a": {"b": 1.5}}));
    assert_eq!(document.place(&Path::root().key("a").key("b")), at(1, 1));
    assert_eq!(
        document.root(),
        &Node::Map(vec![("a".into(), Node::Map(vec![("b".into(), Node::Float(1.5))]))])
    );
}

#[test]
fn plain_scalars_are_what_their_authors_mean() {
    let text = |text: &str| Node::Text(text.to_owned());
    let table = [
        ("2025-01-01", text("2025-01-01")),
        ("2025-01-01T00:00:00Z", text("2025-01-01T00:00:00Z")),
        ("yes", text("yes")),
        ("on", text("on")),
        ("12:30:45", text("12:30:45")),
        ("007", text("007")),
        ("1_000", text("1_000")),
        ("v1.10", text("v1.10")),
        ("\"1\"", text("1")),
        ("'true'", text("true")),
        ("true", Node::Bool(true)),
        ("False", Node::Bool(false)),
        ("1", Node::Integer(1)),
        ("-5", Node::Integer(-5)),
        ("0x1F", Node::Integer(31)),
        ("0o17", Node::Integer(15)),
        ("1e3", Node::Float(1000.0)),
        ("340282366920938463463374607431768211455", Node::Float(3.402823669209385e38)),
        ("", Node::Null),
        ("~", Node::Null),
        ("null", Node::Null),
        ("!!str 1", text("1")),
    ];
    for (written, expected) in table {
        let documents = parse_yaml(format!("a: {written}\n").as_bytes()).unwrap();
        assert_eq!(
            documents[0].root(),
            &Node::Map(vec![("a".to_owned(), expected.clone())]),
            "{written}: {expected:?}"
        );
    }
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_read() {
    let documents = parse_yaml("\u{feff}a: 1\r\nb:\r\n- x\r\n".as_bytes()).unwrap();
    assert_eq!(documents[0].place(&Path::root().key("b").index(0)), at(3, 3));
    assert_eq!(
        documents[0].root(),
        &Node::Map(vec![
            ("a".into(), Node::Integer(1)),
            ("b".into(), Node::List(vec![Node::Text("x".into())])),
        ])
    );
}

#[test]
fn an_empty_mapping_is_a_document_and_json_is_yaml() {
    assert_eq!(parse_yaml(b"{}").unwrap()[0].root(), &Node::Map(vec![]));
    let documents = parse_yaml(b"{\"a\": [1, true, null]}").unwrap();
    assert_eq!(
        documents[0].root(),
        &Node::Map(vec![("a".into(), Node::List(vec![Node::Integer(1), Node::Bool(true), Node::Null]),)])
    );
}

/// What each reader says of each kind of value.
#[test]
fn every_reader_names_what_it_found_and_what_is_allowed() {
    let text = "\
nothing: ~
empty: \"\"
truth: true
number: 5
big: 99999999999999999999999999999999999999999
fraction: 1.10
words: some text
list: [a]
map: {a: b}
";
    let document = &parse_yaml(text.as_bytes()).unwrap()[0];
    let keys = ["nothing", "empty", "truth", "number", "big", "fraction", "words", "list", "map"];
    type Read = fn(&mut Fields<'_>, &'static str) -> bool;
    const HOUR: Duration = Duration::from_secs(3600);
    let readers: [(&str, Read); 10] = [
        ("text", |fields, key| fields.text(key).is_some()),
        ("secret", |fields, key| fields.secret(key).is_some()),
        ("boolean", |fields, key| fields.boolean(key).is_some()),
        ("integer", |fields, key| fields.integer(key, 1..=3_u8).is_some()),
        ("duration", |fields, key| fields.duration_in(key, HOUR..=24 * HOUR).is_some()),
        ("time", |fields, key| fields.time(key).is_some()),
        ("word", |fields, key| fields.word(key, &[("some", ()), ("texts", ())]).is_some()),
        ("list", |fields, key| fields.list(key).is_some()),
        ("mapping", |fields, key| fields.mapping(key).is_some()),
        ("text map", |fields, key| fields.text_map(key).is_some()),
    ];
    let mut all = String::new();
    for (name, read) in readers {
        let faults = Faults::new(document);
        let mut fields = Fields::root(&faults);
        let good: Vec<&str> = keys.into_iter().filter(|key| read(&mut fields, key)).collect();
        fields.finish();
        all.push_str(&format!("{name}: reads {}\n", good.join(", ")));
        for violation in faults.into_violations() {
            all.push_str(&format!("{name}: {violation}\n"));
        }
    }
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/readers.txt"), &all).unwrap();
    }
    assert_eq!(all, include_str!("readers.txt"));
}

#[test]
fn at_most_fifty_violations_are_reported() {
    let text: String = (0..200).map(|number| format!("k{number}: 1\n")).collect();
    let document = &parse_yaml(text.as_bytes()).unwrap()[0];
    let faults = Faults::new(document);
    Fields::root(&faults).finish();
    let violations = faults.into_violations();
    assert_eq!(violations.len(), 50);
    assert_eq!(violations[49].to_string(), "50:1: k49: found an unknown field; allowed: none");
}

#[test]
fn a_document_of_another_form_is_one_violation() {
    let document = &parse_yaml(b"- a\n- b\n").unwrap()[0];
    let faults = Faults::new(document);
    let mut top = Fields::root(&faults);
    assert_eq!(top.required_text("name"), None);
    let mut inner = top.section("inner");
    assert_eq!(inner.required_text("name"), None);
    inner.finish();
    top.finish();
    let shown: Vec<String> = faults.into_violations().iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["1:1: found a list; allowed: a mapping"]);
}

#[test]
fn two_names_of_one_key_are_a_fault_when_both_are_set() {
    let document = &parse_yaml(b"server: a\nproxy_server: b\nauth_server: ''\n").unwrap()[0];
    let faults = Faults::new(document);
    let mut top = Fields::root(&faults);
    let key = top.same_key(&["server", "auth_server", "proxy_server"]);
    assert_eq!(top.text(key), Some("a"));
    top.finish();
    let shown: Vec<String> = faults.into_violations().iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["2:1: proxy_server: found a second name of `server`, which is set too; allowed: one of the two",]
    );
}

#[test]
fn elements_of_a_list_report_their_own_places() {
    let document = &parse_yaml(b"- {a: 1}\n-\n- {b: 1}\n- x\n").unwrap()[0];
    let faults = Faults::new(document);
    for item in Item::root(&faults).list().unwrap() {
        if let Some(mut fields) = item.mapping() {
            assert_eq!(fields.integer("a", 0..=9_i64), fields.is_set("a").then_some(1));
            fields.finish();
        }
    }
    let shown: Vec<String> = faults.into_violations().iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "2:2: [1]: found nothing; allowed: a value",
            "3:4: [2].b: found an unknown field; allowed: a (did you mean `a`?)",
            "4:3: [3]: found a text; allowed: a mapping",
        ]
    );
}
