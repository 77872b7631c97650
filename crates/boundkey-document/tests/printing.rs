//! The guide's style of YAML, and that what is printed is read back as it was.

use boundkey_document::{Node, parse_json, parse_yaml, to_yaml};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

#[test]
fn the_guides_output_is_printed_byte_for_byte() {
    let value = json!({
        "kind": "token",
        "version": "v2",
        "metadata": {"name": "example-token"},
        "spec": {
            "roles": ["Node"],
            "join_method": "bound_keypair",
            "bound_keypair": {"onboarding": {}, "recovery": {"limit": 1, "mode": "standard"}},
        },
        "status": {"bound_keypair": {
            "bound_bot_instance_id": "",
            "bound_public_key": "",
            "recovery_count": 0,
            "registration_secret": "example-value",
        }},
    });
    let expected = "\
kind: token
metadata:
  name: example-token
spec:
  bound_keypair:
    onboarding: {}
    recovery:
      limit: 1
      mode: standard
  join_method: bound_keypair
  roles:
  - Node
status:
  bound_keypair:
    bound_bot_instance_id: \"\"
    bound_public_key: \"\"
    recovery_count: 0
    registration_secret: example-value
version: v2
";
    assert_eq!(to_yaml(&value), expected);
}

#[test]
fn texts_are_quoted_where_some_reader_would_take_them_for_something_else() {
    let plain = [
        "example-token",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI+/x= me@host",
        "db-1.example.com",
        "a:b",
        "/a/b",
        "24h",
        "7d",
        "10.0.0.0",
        "10.0.0.0/8",
        "10.0.0.0/8 net",
        "sha256:ab",
        "it (is) so",
        "user@host",
        "_x",
    ];
    for text in plain {
        assert_eq!(to_yaml(&json!({"a": text})), format!("a: {text}\n"));
    }
    let quoted = [
        "",
        " ",
        "true",
        "Yes",
        "no",
        "ON",
        "null",
        "~",
        "1",
        "-1",
        "1.5",
        "1e3",
        "0x1f",
        "0o7",
        "1_000",
        "12:30:45",
        "007",
        "2025-01-01",
        "2025-01-01T00:00:00Z",
        ".inf",
        "- a",
        "? a",
        "a: b",
        "a #b",
        "a:",
        "[a]",
        "{a}",
        "*a",
        "&a",
        "!a",
        "|",
        ">",
        "%a",
        "@a",
        "`a",
        "'a'",
        "\"a\"",
        "a ",
        " a",
        "<<",
        "---",
        "=",
        "é",
        "a\nb",
        "a\tb",
        "a\\b",
        "a\u{2028}b",
        "\u{feff}",
        "\u{10ffff}",
    ];
    for text in quoted {
        let printed = to_yaml(&json!({"a": text}));
        assert!(printed.starts_with("a: \"") && printed.ends_with("\"\n"), "{printed:?}");
    }
}

#[test]
fn nested_lists_and_mappings_keep_the_style() {
    let value = json!([{"a": [[1, 2], [], {"b": {"c": [{}]}}]}, null, "x"]);
    assert_eq!(
        to_yaml(&value),
        "- a:\n  - - 1\n    - 2\n  - []\n  - b:\n      c:\n      - {}\n- null\n- x\n"
    );
    assert_eq!(to_yaml(&json!({})), "{}\n");
    assert_eq!(to_yaml(&json!("yes")), "\"yes\"\n");
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,12}",
        "[0-9xoe:._+-]{1,10}",
        "[a-z]{1,6}(: | #|:|- )[a-z]{0,3}",
        proptest::sample::select(vec![
            "",
            "true",
            "Null",
            "~",
            "<<",
            ".nan",
            "y",
            "2025-01-01",
            "- ",
            "---",
            "..."
        ])
        .prop_map(str::to_owned),
        proptest::collection::vec(any::<char>(), 0..8).prop_map(String::from_iter),
    ]
}

/// Values as resources hold them; keys as users may write labels (`<<` is refused in YAML, so it is left out).
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec((any_text(), inner), 0..6).prop_map(|entries| {
                Value::Object(entries.into_iter().filter(|(key, _)| key != "<<").collect::<Map<_, _>>())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back_as_it_was(value in any_value()) {
        prop_assume!(!value.is_null());
        let printed = to_yaml(&value);
        let expected = boundkey_document::Document::from_json_value(&value);
        match parse_yaml(printed.as_bytes()) {
            Ok(documents) => prop_assert_eq!(documents[0].root(), expected.root(), "{}", printed),
            Err(error) => prop_assert!(false, "{}: {}", error, printed),
        }
        let json = parse_json(value.to_string().as_bytes(), 1 << 20).map(|document| document.root().clone());
        match json {
            Ok(root) => prop_assert_eq!(&root, expected.root()),
            // JSON texts may hold U+007F and the like unescaped; documents may not.
            Err(error) => prop_assert!(error.to_string().contains("control character"), "{}", error),
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused_with_a_line(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for error in [parse_yaml(&bytes).err(), parse_json(&bytes, 100).err()].into_iter().flatten() {
            prop_assert!(error.to_string().starts_with("line "));
        }
    }

    #[test]
    fn any_yaml_like_text_is_read_or_refused_with_a_line(text in "[a-c:,\\[\\]{}&*!|>'\"#%@ \n\t?-]{0,60}") {
        match parse_yaml(text.as_bytes()) {
            Ok(documents) => prop_assert!(documents.iter().all(|document| document.root() != &Node::Null)),
            Err(error) => prop_assert!(error.to_string().starts_with("line ")),
        }
    }
}
