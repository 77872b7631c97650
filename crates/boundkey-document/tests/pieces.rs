//! Files longer than one parser sees at a time are read as if it had seen them whole.

use boundkey_document::{
    Document, Faults, Item, MAX_YAML_BYTES, Node, SyntaxError, each_document, parse_json, parse_yaml, to_yaml,
};
use serde_json::{Value, json};

const LIMIT: usize = 16 * 1024 * 1024;

fn item(index: usize) -> Value {
    json!({
        "kind": "token", "metadata": {"name": format!("web-{index:06}"), "labels": {"rack": format!("r{}", index % 40)}},
        "spec": {"roles": ["Node"], "text": "words that fill the line".repeat(4)}
    })
}

fn items(count: usize) -> Vec<Value> {
    (0..count).map(item).collect()
}

/// The elements of every document handed out, and whether each knows its place and path in the whole.
fn read(text: &str) -> Result<Vec<Node>, SyntaxError> {
    let mut nodes = Vec::new();
    each_document(text.as_bytes(), LIMIT, &mut |document: &Document| {
        let faults = Faults::new(document);
        let root = Item::root(&faults);
        let (elements, bare) = match root.node() {
            Node::List(_) => (root.list().expect("a list"), false),
            _ => (vec![root], true),
        };
        for (index, element) in elements.iter().enumerate() {
            let Node::Map(entries) = element.node() else { panic!("{:?}", element.node()) };
            if !bare && index == 0 {
                element.fault("", "");
            }
            if entries.iter().any(|(key, _)| key == "metadata" || key == "kind") {
                nodes.push(element.node().clone());
            }
        }
        drop(elements);
        for fault in faults.into_violations() {
            let line = text.lines().nth(fault.place.line - 1).expect("a line");
            let there = &line[fault.place.column - 1..];
            assert!(there.starts_with("kind") || there.starts_with('{'), "{fault}: {there}");
        }
        true
    })?;
    Ok(nodes)
}

fn expected(values: &[Value]) -> Vec<Node> {
    values.iter().map(|value| Document::from_json_value(value).root().clone()).collect()
}

#[test]
fn long_files_of_every_form_hold_what_was_put_in() {
    let values = items(3000);
    let whole = expected(&values);
    let list =
        json!({"apiVersion": "v1", "items": values, "kind": "List", "metadata": {"resourceVersion": ""}});
    let documents: String = values.iter().map(|value| format!("---\n{}", to_yaml(value))).collect();
    let lines: String = values.iter().map(|value| format!("{value}\n")).collect();
    let indented = to_yaml(&json!(values)).replace('\n', "\n  ");
    for (form, text) in [
        ("a YAML list", to_yaml(&json!(values))),
        (
            "with comments and CRLF",
            format!("\u{feff}# all\n\n{}", to_yaml(&json!(values)).replace("\n- ", "\n# next\n- "))
                .replace('\n', "\r\n"),
        ),
        ("documents", documents),
        ("a JSON array", json!(values).to_string()),
        ("a JSON array over lines", serde_json::to_string_pretty(&json!(values)).unwrap()),
        ("JSON lines", lines),
    ] {
        assert!(text.len() > MAX_YAML_BYTES);
        assert_eq!(read(&text).unwrap(), whole, "{form}");
    }
    let rest = |kind: &str| {
        Document::from_json_value(
            &json!({"apiVersion": "v1", "items": null, "kind": kind, "metadata": {"resourceVersion": ""}}),
        )
        .root()
        .clone()
    };
    for (form, text) in [
        ("kubectl's YAML", to_yaml(&list)),
        (
            "indented",
            format!(
                "apiVersion: v1\nitems:\n  {}\nkind: List\nmetadata:\n  resourceVersion: \"\"\n",
                indented.trim_end()
            ),
        ),
    ] {
        let mut nodes = read(&text).unwrap();
        assert_eq!(nodes.pop(), Some(rest("List")), "{form}");
        assert_eq!(nodes, whole, "{form}");
    }
    assert_eq!(read(&list.to_string()).unwrap(), whole, "kubectl's JSON");
}

#[test]
fn faults_have_the_place_and_path_of_the_whole_file() {
    let values = items(3000);
    let wrong = |text: &str| {
        let mut shown = Vec::new();
        each_document(text.as_bytes(), LIMIT, &mut |document: &Document| {
            let faults = Faults::new(document);
            let root = Item::root(&faults);
            let elements =
                if matches!(root.node(), Node::List(_)) { root.list().unwrap() } else { vec![root] };
            for mut top in elements.iter().filter_map(Item::mapping) {
                top.accept(&["kind", "apiVersion", "items"]);
                let mut metadata = top.section("metadata");
                metadata.accept(&["labels", "resourceVersion"]);
                let name = metadata.text("name").is_some_and(|name| name == "web-002345");
                if name {
                    metadata.fault("name", "this", "another");
                }
                metadata.finish();
            }
            shown.extend(faults.into_violations().iter().map(ToString::to_string));
            true
        })
        .unwrap();
        shown
    };
    let line_of = |text: &str, word: &str| text.lines().position(|line| line.contains(word)).unwrap() + 1;
    let yaml = to_yaml(&json!(values));
    let expected =
        format!("{}:11: [2345].metadata.name: found this; allowed: another", line_of(&yaml, "web-002345"));
    assert_eq!(wrong(&yaml), [expected]);
    let list =
        to_yaml(&json!({"apiVersion": "v1", "items": values, "kind": "List", "metadata": {"uid": ""}}));
    assert_eq!(
        wrong(&list),
        [
            format!(
                "{}:11: items[2345].metadata.name: found this; allowed: another",
                line_of(&list, "web-002345")
            ),
            format!(
                "{}:3: metadata.uid: found an unknown field; allowed: labels, resourceVersion, name",
                list.lines().count()
            ),
        ]
    );
    let json = json!(values).to_string();
    let column = json.find("\"web-002345\"").unwrap() + 1;
    assert_eq!(wrong(&json), [format!("1:{column}: [2345].metadata.name: found this; allowed: another")]);
    let pretty = serde_json::to_string_pretty(&json!({"kind": "List", "items": values})).unwrap();
    let expected = format!(
        "{}:17: items[2345].metadata.name: found this; allowed: another",
        line_of(&pretty, "web-002345")
    );
    assert_eq!(wrong(&pretty), [expected]);
}

#[test]
fn syntax_errors_have_the_line_of_the_whole_file() {
    let yaml = to_yaml(&json!(items(3000)));
    let line = yaml.lines().position(|line| line.contains("web-002345")).unwrap();
    let broken = yaml.replace("name: web-002345", "name: [web-002345");
    let error = read(&broken).unwrap_err();
    assert!((line + 1..line + 6).contains(&error.place.line), "{error}");
    let documents: String = items(3000).iter().map(|value| format!("---\n{}", to_yaml(value))).collect();
    let line = documents.lines().position(|line| line.contains("web-002345")).unwrap();
    let broken = documents.replace("name: web-002345", "name: web-002345\n  name: twice");
    let error = read(&broken).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("line {}, column 3: the key `name` stands twice in the same mapping", line + 2)
    );
    let json = json!(items(3000)).to_string().replace("\"web-002345\"", "web-002345");
    assert!(read(&json).unwrap_err().to_string().starts_with("line 1, column "));
}

#[test]
fn hostile_long_files_are_refused_and_soon() {
    for text in [
        "[".repeat(8_000_000),
        "- [".repeat(2_000_000),
        format!("- a: {}\n", "x".repeat(1_000_000)),
        "a: 1\n".repeat(1_000_000),
        "- &a [*a]\n".repeat(100_000),
        "---\n".repeat(2_000_000),
        " ".repeat(4_000_000),
        "{\"a\":".repeat(1_000_000),
    ] {
        assert!(read(&text).is_err(), "{}", &text[..10]);
    }
}

#[test]
fn other_formats_and_encodings_are_named_by_every_reader() {
    let utf16: Vec<u8> = "\u{feff}kind: token\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let table: [(&[u8], &str); 5] = [
        (
            b"resource \"a\" \"b\" {\n}\n",
            "line 1, column 1: this looks like HCL (Terraform); allowed: YAML or JSON",
        ),
        (
            b"<html>",
            "line 1, column 1: this looks like HTML (a page instead of a file?); allowed: YAML or JSON",
        ),
        (
            b"{\n  \"kind\": \"token\", // hi\n  \"version\": \"v2\"\n}\n",
            "line 2, column 20: a comment in JSON, which has none; in YAML comments start with `#`",
        ),
        (&utf16, "line 1, column 1: UTF-16 text; allowed: UTF-8 (save the file in that encoding)"),
        (&utf16[2..], "line 1, column 1: UTF-16 text; allowed: UTF-8 (save the file in that encoding)"),
    ];
    for (text, expected) in table {
        let mut each = |_: &Document| true;
        assert_eq!(each_document(text, LIMIT, &mut each).unwrap_err().to_string(), expected);
        assert_eq!(parse_yaml(text).unwrap_err().to_string(), expected);
    }
    assert_eq!(parse_json(table[2].0, LIMIT).unwrap_err().to_string(), table[2].1);
}

#[test]
fn lines_that_are_indented_unevenly_are_both_named() {
    for (text, expected) in [
        (
            "kind: token\nspec:\n  roles:\n  - Node\n   join_method: a\n  bot_name: b\n",
            "line 5, column 15: mapping values are not allowed in this context (line 4 is indented by 2, line 5 by 3: is a blank \
             too many or missing?)",
        ),
        (
            "metadata:\n   name: a\n  labels: {}\n",
            "line 3, column 3: did not find expected key (line 2 is indented by 3, line 3 by 2: is a blank too many or missing?)",
        ),
    ] {
        assert_eq!(parse_yaml(text.as_bytes()).unwrap_err().to_string(), expected);
    }
}
